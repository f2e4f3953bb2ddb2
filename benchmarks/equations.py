"""Pretraining by the equations themselves: the readable path, with no fused kernel, beside `transformers`.

    python benchmarks/equations.py

The same measurement as in `pretrain.py`, in float32. `kernels.use("equations")` runs what is written in the files that
people read; `transformers` computes with its fused attention and its fused AdamW, not compiled.
"""

from dataclasses import dataclass
from pathlib import Path

import tyro
from pretrain import Case, Comparison, Size, check_same, share_of_roofline, sides_of, timing_of
from real_text import real_text
from results import FOLDER, Results, Row
from training_speed import Side
from turns import rate, ratio

from minitransformer import kernels

FEW_STEPS = 10
"""Over which the loss has to fall alike; `pretrain.py` watches it for longer."""


@dataclass(frozen=True)
class Readable:
    """What to compare."""

    config: tuple[Size, ...] = ("mini",)
    """Sizes of the model."""
    dropout: tuple[float, ...] = (0.1,)
    """Rates of dropout."""
    turns: int = 5
    """How often each side trains."""
    quick: bool = False
    """A tiny model, twice, to see that all of this runs."""
    folder: Path = FOLDER
    """Where results go."""

    @property
    def cases(self) -> list[Case]:
        """The models, in float32."""
        given = {"compiled": False, "quick": self.quick, "folder": self.folder, "precision": ("float32",)}
        comparison = Comparison(config=self.config, dropout=self.dropout, turns=self.turns, **given).as_asked()
        text = real_text(self.folder / "text", self.quick)
        return [Case(*choice, comparison, text) for choice in comparison.choices]


class ByEquations(Side):
    """A trainer of ours that computes what is written."""

    def turn(self) -> float:
        """Train, without a fused kernel."""
        with kernels.use("equations"):
            return super().turn()


def main(readable: Readable) -> None:
    """Check, measure, and write what came of it."""
    results = Results("equations", "The readable path over transformers, in real tokens a second")
    cases = readable.cases
    with kernels.use("equations"):
        check_same(results, cases, FEW_STEPS)
    results.require_checks()
    for case in cases:
        results.add(**row_of(case))
    results.finish(readable.folder)


def row_of(case: Case) -> Row:
    """The row of a case: theirs, the equations, and for orientation the fused kernels."""
    examples = case.examples()
    theirs, fused = sides_of(case, examples).values()
    read = sides_of(case, examples)["ours"]
    sides = {"theirs": theirs, "equations": ByEquations(read.trainer, read.clock), "fused": fused}
    timing = timing_of(case, sides, examples)
    seconds = timing.seconds
    return {
        "case": str(case),
        **{f"{name}, tokens/s": rate(timing.n_tokens, of_side) for name, of_side in seconds.items()},
        "equations over theirs": ratio(seconds["theirs"], seconds["equations"]),
        "fused over equations": ratio(seconds["equations"], seconds["fused"]),
        "the equations' share of the roofline": share_of_roofline(timing, "equations"),
    }


if __name__ == "__main__":
    main(tyro.cli(Readable))
