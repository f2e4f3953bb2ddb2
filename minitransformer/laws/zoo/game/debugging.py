"""A game: a small model with one mistake in it, its training beside that of the healthy model, and a question."""

import csv
import io
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from types import ModuleType
from typing import Any

from tqdm import tqdm

from minitransformer import files, plots
from minitransformer.errors import InputError
from minitransformer.laws.zoo.game.model_file import (
    debuggable,
    debuggable_claims,
    model_file,
    name_of,
    require_debuggable,
)
from minitransformer.laws.zoo.mutant import Mutant
from minitransformer.laws.zoo.showing import find_mutant

MODEL, PICTURE, TABLE, QUESTION = "model.py", "curve.png", "curve.csv", "question.md"
LINE = 110
END = 20
"""The steps at the end whose mean loss is compared."""
SAME, NEAR = 1e-3, 0.1
"""How far losses may differ, in nats, to be the same, and to be nearly the same."""


@dataclass(frozen=True)
class Run:
    """The losses of one training, up to where it broke if it did."""

    losses: list[float]
    held_out: dict[int, float]
    complaint: str = ""

    @property
    def last(self) -> float:
        """The mean loss at its end."""
        end = self.losses[-END:]
        return sum(end) / len(end) if end else math.nan


def debug(wanted: str, seed: int | None, folder: Path, steps: int | None = None) -> None:
    """Fill a folder with a model that has a mistake in it, its curve beside the healthy one's, and a question.

    Without `steps` both are trained to the end.

    Raises: InputError for a mutant that can't be debugged, and for a folder that holds something already.
    """
    mutant = chosen(wanted, seed)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is there already, and is not empty; choose another --output-dir")
    healthy_file, this_file = model_file(None, seed or 0), model_file(mutant, seed or 0)
    steps = steps or module_of(healthy_file).STEPS
    with files.replacing_folder(folder) as unfinished:
        with tqdm(total=2 * steps, desc="training both", unit="step", leave=False) as bar:
            healthy, this = trained(healthy_file, steps, bar), trained(this_file, steps, bar)
        (unfinished / MODEL).write_text(this_file, encoding="utf-8")
        (unfinished / TABLE).write_text(table(healthy, this), encoding="utf-8")
        figure = plots.two_trainings(
            (healthy.losses, healthy.held_out), (this.losses, this.held_out), bool(this.complaint)
        )
        (unfinished / PICTURE).write_bytes(plots.png(figure))
        (unfinished / QUESTION).write_text(question(healthy, this), encoding="utf-8")


def chosen(wanted: str, seed: int | None) -> Mutant:
    """The mutant asked for by its name or number, or the one that a seed draws.

    As many seeds in a row as there are mutants to debug draw each of them once.

    Raises: InputError if neither is given, for a mutant that can't be debugged, and for a seed below 0.
    """
    if seed is not None and seed < 0:
        raise InputError(f"seed={seed} must be 0 or more; give each student a number of their own")
    if wanted:
        mutant = find_mutant(wanted)
        require_debuggable(mutant)
        return mutant
    if seed is None:
        raise InputError(
            "say which mistake: the number of a mutant (`minitransformer zoo list` shows them), or --seed N to draw one"
        )
    mutants = debuggable()
    return mutants[seed % len(mutants)]


# Training


def module_of(text: str) -> Any:
    """A file as a module, without a file."""
    module = ModuleType("model")
    exec(compile(text, MODEL, "exec"), vars(module))  # noqa: S102 - it is made of our own functions
    return module


def trained(text: str, steps: int, bar: "tqdm[Any]") -> Run:
    """Train the model of a file, and note its losses until it breaks: by an error, or by a loss that is no number."""
    run = Run([], {})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # wrong functions overflow and divide by zero
        try:
            for step, loss, held_out_loss in steps_until_lost(module_of(text), steps):
                run.losses.append(loss)
                if held_out_loss is not None and math.isfinite(held_out_loss):
                    run.held_out[step] = held_out_loss
                bar.update()
        except Exception as error:
            return Run(run.losses, run.held_out, f"{type(error).__name__}: {first_line(error)}")
    return run


def first_line(error: Exception) -> str:
    """The first line of what an error says.

    >>> first_line(ValueError("one\\ntwo")), first_line(ValueError())
    ('one', '')
    """
    return next(iter(str(error).splitlines()), "")


def steps_until_lost(module: Any, steps: int) -> Iterator[tuple[int, float, float | None]]:
    """The steps of a training, with an error where the loss is no number any more."""
    for step, loss, held_out_loss in module.training(steps):
        if not math.isfinite(loss):
            raise ArithmeticError(f"the loss is {loss}")
        yield step, loss, held_out_loss


# What is told of it


def table(healthy: Run, this: Run) -> str:
    """Both trainings as CSV, a line for each step; what there is not stays empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["step", "healthy", "healthy_held_out", "this_model", "this_model_held_out"])
    for step in range(max(len(healthy.losses), len(this.losses))):
        cells = [cell for run in (healthy, this) for cell in (at(run.losses, step), run.held_out.get(step))]
        writer.writerow([step, *("" if cell is None else f"{cell:.6g}" for cell in cells)])
    return text.getvalue()


def at(losses: list[float], step: int) -> float | None:
    """The loss of a step, or None if the training did not come to it."""
    return losses[step] if step < len(losses) else None


def question(healthy: Run, this: Run) -> str:
    """What is claimed, what is seen, and what is asked."""
    functions = ", ".join(f"`{name_of(claim)}`" for claim in debuggable_claims())
    claimed = f"""`{MODEL}` is a small BERT. It learns to guess hidden words of a made-up language: some words of the
        text are hidden, the rest is embedded and read by two blocks of attention and feed-forward networks, and what
        counts is the surprise at the hidden words. {functions} claim to compute what their docstrings say. All do, but
        for one. What is around them, the model and its training, is as it should be."""
    return f"""# Find the mistake

{paragraph(claimed)}

![The losses over the steps]({PICTURE})

{paragraph(what_is_seen(healthy, this))}

The losses of each step are in `{TABLE}`. `python {MODEL}` trains the model again.

## Questions

1. What does the curve make you suspect, before you have read the code? What does it rule out?
2. Which function is wrong?
3. Which line is it, and what should stand there?
4. Which law would have noticed? Say in a sentence what should hold for every input, and doesn't here.
5. What would someone see who trains a larger model for days with this mistake in it?
6. Correct it, and train again. Is the curve the healthy one?

## Ways to find out

- Read each function against its docstring. Ask what happens at the edges: one token, a row that is all padding, large
  numbers, another axis, an argument that is not the default.
- Call one function on numbers whose answer you know.
- `minitransformer check {MODEL}` holds each function against its laws, and shows the smallest case that breaks one.
  It takes some minutes; `--name layer_norm` looks at one function only. Keep it for the end.
"""


def paragraph(text: str) -> str:
    """A text in lines of one length, none of which parts a name."""
    return fill(" ".join(text.split()), LINE, break_long_words=False, break_on_hyphens=False)


def what_is_seen(healthy: Run, this: Run) -> str:
    """What the curve shows, in a paragraph."""
    begins = f"The healthy model begins at a loss of {healthy.losses[0]:.2f} and comes to {healthy.last:.2f}."
    if not this.losses:
        return f"{begins} This one does not even make its first step: `{this.complaint}`."
    seen = f"{begins} This one begins at {this.losses[0]:.2f}"
    if this.complaint:
        return f"{seen}, and breaks at step {len(this.losses)}: `{this.complaint}`."
    differences = [abs(one - other) for one, other in zip(healthy.losses, this.losses, strict=True)]
    if max(differences) < SAME:
        return f"{begins} This one does the same, step by step: the curve shows nothing, and the mistake is there."
    return f"{seen} and comes to {this.last:.2f}{judged(this, healthy)}"


def judged(this: Run, healthy: Run) -> str:
    """What to think of where a training has come to."""
    if abs(this.last - healthy.last) < NEAR:
        return ", nearly the same: whoever looks at the loss alone sees nothing."
    if this.last < healthy.last:
        return ", which is lower. Is it better?"
    return "."
