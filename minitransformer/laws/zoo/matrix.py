"""Which law notices which mutant: the whole zoo, held against the whole catalogue."""

import multiprocessing
import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from minitransformer.attention import MultiHeadAttention
from minitransformer.embeddings import Embeddings
from minitransformer.feed_forward import FeedForward
from minitransformer.heads import ClassificationHead, MaskedWordHead, NextSentenceHead, Pooler
from minitransformer.laws.block_cases import shapes_of as shapes_of_parameters
from minitransformer.laws.cases import coins, numbers, randomise, whole_numbers
from minitransformer.laws.claims import CLAIMS, HEAVY
from minitransformer.laws.judging import is_broken
from minitransformer.laws.law import laws_of
from minitransformer.laws.saving import SavingCase
from minitransformer.laws.training import RUN
from minitransformer.laws.zoo.mutant import ZOO, Mutant

MAX_EXAMPLES, EXAMPLES_OF_HEAVY = 50, 12
"""Fewer than a check asks for: a survey judges thousands of pairs of a mutant and a law, and some of them are slow."""

Progress = Callable[[Iterable[Any]], Iterable[Any]]

KILLED, SURVIVED = "✗", "·"
GITHUB = "https://github.com"


@dataclass(frozen=True)
class Survey:
    """What came of every mutant under every law of its claim."""

    killed_by: dict[str, dict[str, bool]]
    """For each mutant, by name, whether each law of its claim kills it."""
    passes_shape_only: dict[str, bool]
    """For each mutant, by name, whether a test of the shape alone would let it pass."""
    seconds: float

    @property
    def survivors(self) -> list[str]:
        """The mutants that no law kills."""
        return [name for name, laws in self.killed_by.items() if not any(laws.values())]

    @property
    def idle_laws(self) -> list[str]:
        """The laws that kill no mutant, each as `claim: name`."""
        return [
            f"{claim}: {law}"
            for claim in claims_of_the_zoo()
            for law in names_of_laws(claim)
            if not self.deaths(claim, law)
        ]

    @property
    def n_laws(self) -> int:
        """How many laws were asked; one that speaks about three claims is three."""
        return sum(len(names_of_laws(claim)) for claim in claims_of_the_zoo())

    @property
    def n_shape_only(self) -> int:
        """How many mutants a test of the shape alone would let pass."""
        return sum(self.passes_shape_only.values())

    def deaths(self, claim: str, law: str) -> int:
        """How many mutants of a claim a law kills."""
        return sum(self.killed_by[mutant.name][law] for mutant in mutants_of(claim) if mutant.name in self.killed_by)


def claims_of_the_zoo() -> list[str]:
    """The claims that have mutants.

    >>> "softmax" in claims_of_the_zoo()
    True
    """
    return [claim for claim in CLAIMS if mutants_of(claim)]


def claims_without_mutants() -> list[str]:
    """The claims that laws speak about, and that no mutant makes yet.

    >>> "softmax" in claims_without_mutants()
    False
    """
    return [claim for claim in CLAIMS if not mutants_of(claim)]


def names_of_laws(claim: str) -> list[str]:
    """The laws about a claim.

    >>> names_of_laws("relu")[:2]
    ['what_passes_of_a_number_and_of_its_opposite_is_the_number', 'far_from_zero_everything_or_nothing_passes']
    """
    return [law.name for law in laws_of(claim)]


def mutants_of(claim: str) -> list[Mutant]:
    """The mutants that claim to be something.

    >>> mutants_of("causal-visibility")[0].name
    'next_token_visible'
    """
    return [mutant for mutant in ZOO if mutant.claim == claim]


def kills(mutant: Mutant, max_examples: int | None = None) -> dict[str, bool]:
    """Whether each law of its claim kills a mutant, by the name of the law."""
    max_examples = max_examples or (EXAMPLES_OF_HEAVY if mutant.claim in HEAVY else MAX_EXAMPLES)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # wrong functions overflow and divide by zero
        return {law.name: is_broken(law, mutant.function, max_examples) for law in laws_of(mutant.claim)}


def survey(progress: Progress = iter, max_examples: int | None = None, processes: int = 1) -> Survey:
    """Hold every mutant against every law; `progress` wraps what comes of each mutant while it comes, as tqdm does.

    More processes share the mutants, where the system can fork.
    """
    began = time.perf_counter()
    judged = partial(judged_mutant, max_examples=max_examples)
    with ExitStack() as stack:
        walk: Callable[..., Iterable[tuple[dict[str, bool], bool]]] = map
        if processes > 1 and hasattr(os, "fork"):
            walk = stack.enter_context(multiprocessing.get_context("fork").Pool(processes)).imap
        found = list(progress(walk(judged, range(len(ZOO)))))
    killed_by = {mutant.name: deaths for mutant, (deaths, _) in zip(ZOO, found, strict=True)}
    passes = {mutant.name: passed for mutant, (_, passed) in zip(ZOO, found, strict=True)}
    return Survey(killed_by, passes, time.perf_counter() - began)


def judged_mutant(index: int, max_examples: int | None) -> tuple[dict[str, bool], bool]:
    """Which laws kill the mutant at a place of the zoo, and whether a test of the shape alone lets it pass."""
    return kills(ZOO[index], max_examples), passes_shape_only(ZOO[index])


# What a test of the shape alone would say


def ordinary_arguments(claim: str) -> tuple[Any, ...]:
    """One ordinary case, such as a first test would use: no large numbers, no empty rows, no options."""
    batch, length, width = 2, 5, 4
    x = numbers(0, "x", batch, length, width)
    token_classes = whole_numbers(0, "classes", 0, width, batch, length)
    some_selected = token_classes.where(coins(0, "selected", batch, length), -100)
    attention_mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    causal = torch.ones(length, length, dtype=torch.bool).tril().expand(batch, length, length)
    gain_and_bias = {"norm.gain": torch.ones_like(x[0, 0]), "norm.bias": torch.zeros_like(x[0, 0])}
    query, key, value = (numbers(0, name, batch, length, width) for name in ("query", "key", "value"))
    rule = causal[:, None]
    if claim in (*SIZES_OF_BLOCKS, *(f"pre-norm-{block}" for block in SIZES_OF_BLOCKS)):
        return ordinary_block(claim, x, causal)
    return {
        "softmax": (x,),
        "log-softmax": (x,),
        "attention-weights": (query, key, causal),
        "attention": (query, key, value, causal),
        "online-softmax": (x[..., :1], x[..., :1].exp(), x, query, numbers(0, "values", batch, width, width)),
        "tiled-attention": (query, key, value, causal),
        "tiled-attention-gradient": (x, query, key, value, x, x[..., :1], causal),
        "multi-head-attention": (drawn(MultiHeadAttention(width, 2)), 2, x, None, rule),
        "linear-together": (x, [x[0, :3], x[1, :2]], [x[0, 0, :3], x[1, 0, :2]]),
        "packing": (x, attention_mask),
        "unpacking": (x.flatten(0, 1)[:8], attention_mask),
        "packed-attention": (*(each.flatten(0, 1)[:8] for each in (query, key, value)), attention_mask),
        "feed-forward": (drawn(FeedForward(width, 7)), x),
        "layer-norm": (x, torch.ones_like(x[0, 0]), torch.zeros_like(x[0, 0]), 1e-5),
        "rms-norm": (x, torch.ones_like(x[0, 0]), 1e-5),
        "post-norm": (gain_and_bias, x, torch.sin),
        "pre-norm": (gain_and_bias, x, torch.sin),
        "gelu": (x,),
        "gelu-tanh": (x,),
        "relu": (x,),
        "dropout": (x, 0.1),
        "dropout-layer": (x, 0.1, True),
        "embeddings": (drawn(Embeddings(width, length, 2, width)), token_classes, token_classes % 2),
        "pooler": (drawn(Pooler(width)), x),
        "masked-word-head": (drawn(MaskedWordHead(width, None, vocab_size=7)), x),
        "next-sentence-head": (drawn(NextSentenceHead(width)), x[:, 0]),
        "classification-head": (drawn(ClassificationHead(width, n_classes=3)), x[:, 0]),
        "sinusoids": (length, width),
        "causal-visibility": (length,),
        "padding-visibility": (attention_mask,),
        "packed-visibility": (torch.tensor([[0, 0, 1, 1, 1], [0, 1, 1, 2, 2]]),),
        "token-cross-entropy": (x, token_classes),
        "cross-entropy": (x, some_selected),
        "projected-cross-entropy": (x[0], x[1, :3], x[0, 0, :3], whole_numbers(0, "target", 0, 3, length)),
        "binary-cross-entropy": (x[..., 0], (token_classes % 2).to(x.dtype)),
        "mean-squared-error": (x, numbers(0, "target", batch, length, width)),
        "masked-lm-loss": (x, some_selected),
        "next-sentence-loss": (x[:, 0, :2], token_classes[:, 0] % 2),
        "linear-warmup": (6, 4, 12),
        "cosine-warmup": (6, 4, 12),
        "cosine-restarts-warmup": (6, 4, 12, 2.0),
        "polynomial-warmup": (6, 4, 12, 2.0, 1e-5, 1e-3),
        "constant-rate": (6,),
        "constant-warmup": (6, 4),
        "inverse-square-root-warmup": (6, 4),
        "global-norm": ([query, key],),
        "clip-global-norm": ([query, key], 1.0),
        "accumulation": (x[0, :3], [(x[1, :2], token_classes[0, :2] % 3), (x[1], token_classes[1] % 3)]),
        "training-run": (RUN.parameters, RUN.examples, RUN.run),
        "adamw": (query, [key, value], 0.1, (0.9, 0.999), 1e-8, 0.01),
        "saving": (SavingCase(n_blocks=1, tied=True, training=False, seed=0).model,),
        "neighbour-score": (length, 1, torch.tensor([1.0, 0.1], dtype=torch.float64), 2.0, width),
        "segment-score": (torch.tensor([0, 0, 1, 1, 1]), 1, 2.0, width),
        "positive-pmi": (whole_numbers(0, "counts", 1, 9, length, width),),
        "word-vectors": (x[0].abs(), 2),
        "masking": (token_classes + 5, torch.ones(batch, length, dtype=torch.bool), 4, torch.arange(5, 5 + width)),
        "next-sentence-pairs": ([[5, 7, 4], [6, 8], [3, 9]], 16, np.random.default_rng(0)),
    }[claim]


def drawn(module: nn.Module) -> dict[str, Tensor]:
    """Parameters for a module.

    >>> list(drawn(nn.Linear(2, 1)))
    ['weight', 'bias']
    """
    return dict(randomise(module, seed=0).state_dict())


SIZES_OF_BLOCKS = {
    "encoder-block": (4, 2, 6),
    "decoder-block": (4, 2, 6),
    "encoder": (2, 4, 2, 6),
    "decoder": (2, 4, 2, 6),
}
"""The sizes of the blocks and stacks of an ordinary case: blocks where there are several, width, heads, d_ff."""


def ordinary_block(claim: str, x: Tensor, causal: Tensor) -> tuple[Any, ...]:
    """One ordinary case for a block or a stack: a rule as it stands in a decoder, and a memory as long as the input."""
    kind = claim.removeprefix("pre-norm-")
    shapes = shapes_of_parameters(kind, kind != claim, *SIZES_OF_BLOCKS[kind])
    parameters = {name: numbers(0, name, *shape) for name, shape in shapes.items()}
    memory = (numbers(0, "memory", *x.shape),) if kind.startswith("decoder") else ()
    return (parameters, 2, x, *memory, causal[:, None])


def passes_shape_only(mutant: Mutant) -> bool:
    """Whether a mutant returns finite numbers in the shape that ours has, in one ordinary case."""
    arguments = ordinary_arguments(mutant.claim)
    try:
        found = mutant.function(*arguments)
    except Exception:
        return False
    return shapes_of(found) == shapes_of(CLAIMS[mutant.claim](*arguments)) and is_finite(found)


def shapes_of(found: Any) -> Any:
    """The shape of a tensor, of each of several, or of a number, which has no axes; an iterator is but one.

    >>> shapes_of([torch.zeros(2, 3), torch.zeros(2)]), shapes_of(0.5)
    ([(2, 3), (2,)], ())
    """
    if isinstance(found, Iterator):
        return "an iterator"
    if isinstance(found, nn.Module):
        found = found.state_dict()
    if isinstance(found, dict):
        return {name: shapes_of(each) for name, each in found.items()}
    return (
        [shapes_of(each) for each in found] if isinstance(found, list | tuple) else tuple(torch.as_tensor(found).shape)
    )


def is_finite(found: Any) -> bool:
    """Whether there is neither NaN nor infinity in a tensor, a list of them, or a number.

    >>> is_finite([torch.zeros(2), torch.tensor(float("nan"))])
    False
    """
    if isinstance(found, nn.Module):
        found = found.state_dict()
    if isinstance(found, dict):
        return is_finite(list(found.values()))
    if isinstance(found, list | tuple | Iterator):
        return all(is_finite(each) for each in found)
    return bool(torch.isfinite(torch.as_tensor(found)).all())


# The page


def matrix_page(survey: Survey) -> str:
    """What came of the survey as a page of Markdown."""
    return "\n".join([*totals(survey), *(line for claim in claims_of_the_zoo() for line in section(survey, claim))])


def totals(survey: Survey) -> Iterator[str]:
    """The head of the page: what it shows, and how many of what."""
    n_mutants = len(survey.killed_by)
    yield "# The bug zoo"
    yield ""
    yield (
        "Each row is a classic mistake, written as a small wrong function, and each column a law about what it claims "
        f"to be. {KILLED} says that the law noticed the mistake, {SURVIVED} that it had nothing to say about it. "
        '"Shape only" says whether a test would notice that looks at the shape of the result, and whether it is '
        "finite, in one ordinary case."
    )
    yield ""
    yield f"- {n_mutants} mutants of {len(claims_of_the_zoo())} functions, under {survey.n_laws} laws."
    yield f"- Killed by a law: {n_mutants - len(survey.survivors)} of {n_mutants}."
    yield f"- Let pass by a test of shape and finiteness: {survey.n_shape_only} of {n_mutants}."
    yield f"- Survivors: {', '.join(survey.survivors) or 'none'}."
    yield f"- Laws that kill no mutant: {', '.join(survey.idle_laws) or 'none'}."
    yield f"- Claims without a mutant, their laws not counted: {', '.join(claims_without_mutants()) or 'none'}."
    yield ""


def section(survey: Survey, claim: str) -> Iterator[str]:
    """The table of one claim, with a legend of its laws and what each mutant looks like in training."""
    laws = names_of_laws(claim)
    yield f"## {claim}"
    yield ""
    for number, law in enumerate(laws, start=1):
        yield f"{number}. {in_words(law)}"
    yield ""
    numbers_of_laws = [str(number) for number in range(1, len(laws) + 1)]
    yield row(["Mutant", *numbers_of_laws, "Shape only", "What it looks like in training", "Source"])
    yield row(["---", *(":-:" for _ in laws), ":-:", "---", "---"])
    for mutant in mutants_of(claim):
        marks = [mark(survey.killed_by[mutant.name][law]) for law in laws]
        shape_only = mark(not survey.passes_shape_only[mutant.name])
        yield row([in_words(mutant.name), *marks, shape_only, mutant.symptom, link(mutant.source)])
    yield ""


def in_words(name: str) -> str:
    """The name of a function as words.

    >>> in_words("no_eps_at_all")
    'no eps at all'
    """
    return name.replace("_", " ")


def mark(killed: bool) -> str:
    """How a cell says whether a mutant was noticed.

    >>> mark(True)
    '✗'
    """
    return KILLED if killed else SURVIVED


def row(cells: Sequence[str]) -> str:
    """A row of a table; a bar within a cell would end it.

    >>> row(["a", "|b|"])
    '| a | \\\\|b\\\\| |'
    """
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def link(source: str) -> str:
    """A link to an issue or a pull request; GitHub finds out which of the two a number is.

    >>> link("rasbt/LLMs-from-scratch#1061")
    '[rasbt/LLMs-from-scratch#1061](https://github.com/rasbt/LLMs-from-scratch/issues/1061)'
    """
    if "#" not in source:
        return source
    repository, number = source.split("#")
    return f"[{source}]({GITHUB}/{repository}/issues/{number})"
