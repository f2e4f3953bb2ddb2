"""One page that shows what a run has learned; it holds its pictures itself and needs no network."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from string import Template
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minitransformer import plots
from minitransformer.prediction import Guess

PAGE = Template(
    """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
body { font: 17px/1.6 Georgia, serif; color: #1f2933; max-width: 62rem; margin: 2.5rem auto; padding: 0 1.25rem; }
h1, h2, th, figcaption, .figure { font-family: "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.9rem; margin-bottom: 0.2rem; } h2 { font-size: 1.25rem; margin-top: 2.6rem; }
.lead { color: #52606d; margin-top: 0; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(10.5rem, 1fr)); }
.figures { gap: 0.8rem; margin: 1.6rem 0; }
.figure { border: 1px solid #d9e2ec; border-radius: 6px; padding: 0.7rem 0.9rem; }
.figure b { display: block; font-size: 1.4rem; font-weight: 600; line-height: 1.25; }
.figure span { color: #52606d; font-size: 0.85rem; line-height: 1.35; display: block; }
img { max-width: 100%; height: auto; } figure { margin: 1rem 0; } figcaption { color: #52606d; font-size: 0.9rem; }
.pair { display: flex; flex-wrap: wrap; gap: 1.5rem; align-items: flex-start; } .pair figure { flex: 1 1 20rem; }
table { border-collapse: collapse; width: 100%; } th { text-align: left; font-size: 0.85rem; color: #52606d; }
td, th { padding: 0.35rem 0.6rem; border-bottom: 1px solid #e4e7eb; vertical-align: top; }
td.right b { color: #2e8540; } mark { background: #dbeafe; padding: 0 0.25rem; border-radius: 3px; }
.guess { white-space: nowrap; margin-right: 0.9rem; } .guess small { color: #7b8794; }
</style>
</head>
<body>
<h1>$title</h1>
<p class="lead">$lead</p>
<div class="figures">$figures</div>
$sections
</body>
</html>
"""
)


@dataclass(frozen=True)
class FilledText:
    """A text with one word hidden, that word, and the model's guesses."""

    before: str
    hidden: str
    after: str
    guesses: Sequence[Guess]


@dataclass(frozen=True)
class Attention:
    """The weights (blocks, heads, queries, keys) of one text, and its tokens."""

    weights: NDArray[Any]
    tokens: Sequence[str]


def report(
    title: str,
    lead: str,
    metrics: Mapping[str, Any],
    history: Sequence[Mapping[str, int | float]],
    attention: Attention,
    filled: Sequence[FilledText],
    task: str,
) -> str:
    """The whole page."""
    sections = (
        learning_section(metrics, history),
        filled_section(filled),
        attention_section(attention),
        outcome_section(metrics, task),
    )
    return PAGE.substitute(
        title=escape(title), lead=escape(lead), figures=key_figures(metrics), sections="\n".join(sections)
    )


def key_figures(metrics: Mapping[str, Any]) -> str:
    """The figures to look at first."""
    pretrained, scratch = np.mean(metrics["finetuned_accuracy"]), np.mean(metrics["scratch_accuracy"])
    below = metrics["unigram_entropy"] - metrics["masked_lm_loss"]
    figures = (
        (f"{metrics['masked_lm_loss']:.2f} nats", f"masked-word loss, {below:.2f} below the words' frequencies alone"),
        (f"{metrics['next_sentence_accuracy']:.1%}", "of next sentences told from others; a coin gets 50%"),
        (f"{pretrained:.1%}", f"right after fine-tuning on {metrics['labelled_examples']} labels"),
        (f"{100 * (pretrained - scratch):+.1f} points", f"over the same training from scratch ({scratch:.1%})"),
        (
            f"{metrics['seconds'] / 60:.1f} min",
            f"on {metrics['cores']} CPU cores, {metrics['parameters'] / 1e6:.2f} M parameters",
        ),
    )
    return "".join(f'<div class="figure"><b>{value}</b><span>{meaning}</span></div>' for value, meaning in figures)


def learning_section(metrics: Mapping[str, Any], history: Sequence[Mapping[str, int | float]]) -> str:
    """How the two losses of pretraining fell."""
    figure = plots.loss_curves(history, int(metrics["vocabulary"]), metrics["unigram_entropy"])
    perplexity, choices = math.exp(metrics["masked_lm_loss"]), math.exp(metrics["unigram_entropy"])
    return section(
        "Learning to read",
        "Whoever knows nothing finds every word equally likely, and is as surprised as ln V. The frequencies of words, "
        "with which this model begins, bring it down to the lower dashed line; whatever lies below that was learned "
        "from the context. Counts of which words occur together are its first word vectors.",
        picture(figure, "Training losses: each log, and their running mean."),
        f"<p>On documents that it never saw, a hidden word is as uncertain as a choice among {perplexity:.0f} words; "
        f"frequencies alone leave {choices:.0f}. It guesses {metrics['masked_lm_accuracy']:.0%} of them exactly.</p>",
    )


def filled_section(filled: Sequence[FilledText]) -> str:
    """What the model puts in the place of hidden words."""
    rows = "".join(
        f"<tr><td>{escape(text.before)}<mark>{escape(text.hidden)}</mark>{escape(text.after)}</td>"
        f'<td class="right">{"".join(guess_cell(guess, text.hidden) for guess in text.guesses)}</td></tr>'
        for text in filled
    )
    return section(
        "Filling in words",
        "One word of each sentence was hidden from the model. The sentences come from held-out documents.",
        f"<table><tr><th>Sentence, and the word that was hidden</th><th>The model's guesses</th></tr>{rows}</table>",
    )


def guess_cell(guess: Guess, hidden: str) -> str:
    """One guess with its probability; the right one stands out."""
    word = escape(guess.answer)
    word = f"<b>{word}</b>" if guess.answer.lower() == hidden.lower() else word
    return f'<span class="guess">{word} <small>{guess.probability:.0%}</small></span>'


def attention_section(attention: Attention) -> str:
    """Who reads whom."""
    return section(
        "Who reads whom",
        "Each row is a token that asks, each column one that is read; the darker, the more. The first four heads of "
        "block 1 began by reading the words around, those after them by comparing two segments, all others at random. "
        "What each does now, training has left or made of it.",
        picture(plots.attention_maps(attention.weights, attention.tokens), "All heads of all blocks on one sentence."),
    )


def outcome_section(metrics: Mapping[str, Any], task: str) -> str:
    """Whether pretraining was worth it."""
    accuracies = {"from scratch": metrics["scratch_accuracy"], "pretrained": metrics["finetuned_accuracy"]}
    counts, labels = metrics["confusion_matrix"], metrics["labels"]
    chance = max(sum(row) for row in counts) / sum(map(sum, counts))
    pictures = picture(
        plots.outcomes(accuracies, chance),
        f"Held-out accuracy, a dot for each of {len(accuracies['pretrained'])} seeds.",
    ) + picture(plots.confusion(counts, labels), "The pretrained model's answers, first seed.")
    return section(
        "Was pretraining worth it?",
        f"{task} Both models are alike, begin with the same heads and see the same "
        f"{metrics['labelled_examples']} labelled texts; one of them has read before.",
        f'<div class="pair">{pictures}</div>',
        scores_table(metrics),
    )


def scores_table(metrics: Mapping[str, Any]) -> str:
    """Accuracy, precision, recall and F1 of both, as means over seeds with their spread."""
    rows = "".join(
        f"<tr><td>{name}</td>" + "".join(f"<td>{mean_and_spread(runs[score])}</td>" for score in SCORES) + "</tr>"
        for name, runs in (("from scratch", metrics["scratch"]), ("pretrained", metrics["finetuned"]))
    )
    head = "".join(f"<th>{score}</th>" for score in SCORES)
    note = f"Precision, recall and F1 {escape(metrics['averaged'])}; mean ± standard deviation over seeds."
    return f"<table><tr><th></th>{head}</tr>{rows}</table><p class='lead'>{note}</p>"


SCORES = ("accuracy", "precision", "recall", "f1")


def mean_and_spread(values: Sequence[float]) -> str:
    """A mean and the standard deviation around it.

    >>> mean_and_spread([0.5, 0.7])
    '60.0% ± 14.1'
    """
    spread = np.std(values, ddof=1) if len(values) > 1 else 0.0
    return f"{np.mean(values):.1%} ± {100 * spread:.1f}"


def section(title: str, text: str, *content: str) -> str:
    """A part of the page."""
    return f"<h2>{escape(title)}</h2>\n<p>{escape(text)}</p>\n" + "\n".join(content)


def picture(figure: plots.Figure, caption: str) -> str:
    """A figure, held in the page itself."""
    address = plots.data_address(figure)
    return f'<figure><img src="{address}" alt="{escape(caption)}"><figcaption>{escape(caption)}</figcaption></figure>'
