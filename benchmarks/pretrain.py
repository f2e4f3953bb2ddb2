"""Pretraining BERT: the tokens a second that we read, and those that `transformers` reads.

    python benchmarks/pretrain.py --config mini --dropout 0 --precision float32

Both trainers begin with the same weights and read the same pairs of segments in the same order, each through its own
collator, which masks and pads to the longest. Theirs has its best settings: attention by `sdpa`, the fused AdamW, and,
as a side of its own, a compiled model for which lengths may change. Tokens are those of the text; padding is none.
"""

import itertools
import os
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import torch
import transformers
import tyro
from both_trainers import Collator, largest_difference
from real_text import VOCABULARY, Text, real_text
from results import FOLDER, Results, Row, this_machine
from roofline import Work, measure_machine, training_token_floor
from torch import Tensor, nn
from training_speed import (
    MOST_STEPS,
    OurLosses,
    Side,
    TheirLosses,
    batches_of,
    folder_of,
    losses_of,
    our_side,
    our_trainer,
    scratch,
    settle,
    their_side,
    their_trainer,
)
from turns import Measured, in_turns, rate, ratio, spread

from minitransformer.batches import Example, MaskedLanguageCollator
from minitransformer.models.bert import BertForPreTraining
from minitransformer.models.bert_config import BertConfig

SIZES = {"mini": (256, 4, 4), "small": (512, 4, 8), "base": (768, 12, 12), "tiny": (32, 2, 2)}
"""Width, blocks and heads; the feed-forward network is four times as wide."""
ROUNDING = {"loss": 1e-6, "gradients": 1e-5, "curve": 2e-3}
"""What float32 leaves of equality, relative to the loss and to the longest gradient; and after some updates."""
BATCH_SIZES = {"mini": 32, "small": 32, "base": 32, "tiny": 2}
"""Pairs of an update, unless told."""
CURVE_STEPS, CURVE_BATCH = 16, 2
NOISE = 4.0
"""Standard errors by which two means of drawn losses may differ."""


Size = Literal["mini", "small", "base", "tiny"]
Precision = Literal["float32", "bfloat16"]
USUAL: dict[tuple[Size, float, Precision], bool] = {
    ("mini", 0.1, "float32"): True,
    ("mini", 0.0, "float32"): False,
    ("small", 0.1, "float32"): True,
    ("small", 0.0, "float32"): False,
    ("mini", 0.1, "bfloat16"): False,
    ("small", 0.1, "bfloat16"): False,
}
"""What is compared unless something is asked for, and whether with a compiled model of theirs: that takes a minute."""


@dataclass(frozen=True)
class Comparison:
    """What to compare; a choice that is left out, where another is given, stands for all there are."""

    config: tuple[Size, ...] = ()
    """Sizes of the model."""
    dropout: tuple[float, ...] = ()
    """Rates of dropout."""
    precision: tuple[Precision, ...] = ()
    """Types to compute in; parameters are float32."""
    length: int = 128
    """Tokens of a pair at most."""
    batch_size: int | None = None
    """Pairs of an update; those of the size unless given."""
    steps: int | None = None
    """Updates of a turn; as many as take seconds unless given."""
    turns: int = 5
    """How often each side trains."""
    compiled: bool = True
    """Compare with a compiled model of theirs too; where nothing is asked for, at each size once."""
    ours_compiled: bool = False
    """Measure a compiled model of ours too."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where to compute."""
    quick: bool = False
    """A tiny model, twice, to see that all of this runs."""
    folder: Path = FOLDER
    """Where results go."""

    def as_asked(self) -> "Comparison":
        """With `quick`, as little as there can be."""
        if not self.quick:
            return self
        tiny = {"config": ("tiny",), "dropout": (0.1,), "precision": ("float32",), "compiled": False}
        return replace(self, **tiny, length=32, batch_size=2, steps=1, turns=2)

    @property
    def is_usual(self) -> bool:
        """Whether nothing is asked for."""
        return not (self.config or self.dropout or self.precision)

    @property
    def choices(self) -> list[tuple[Size, float, Precision]]:
        """The models and types that are asked for."""
        if self.is_usual:
            return list(USUAL)
        every = (self.config or ("mini", "small"), self.dropout or (0.0, 0.1), self.precision or get_args(Precision))
        return list(itertools.product(*every))


@dataclass(frozen=True)
class Case:
    """A model, and what it is trained on."""

    size: Size
    dropout: float
    precision: Precision
    comparison: Comparison
    text: Text

    def __str__(self) -> str:
        pairs = f"{self.batch_size} pair{'s' * (self.batch_size > 1)} of {self.length} tokens"
        return f"{self.size}, dropout {self.dropout:g}, {self.precision}, {pairs}"

    @property
    def compiled(self) -> bool:
        """Whether a compiled model of theirs is a side too."""
        choice = (self.size, self.dropout, self.precision)
        return self.comparison.compiled and (not self.comparison.is_usual or USUAL[choice])

    @property
    def is_imitated(self) -> bool:
        """Whether the processor has no instructions for the type, and is ten to a hundred times slower in it."""
        return self.precision == "bfloat16" and self.comparison.device == "cpu" and not multiplies_bfloat16()

    @property
    def batch_size(self) -> int:
        """Pairs of an update; few, where a processor has to imitate the type."""
        asked = self.comparison.batch_size or BATCH_SIZES[self.size]
        return max(1, asked // 32) if self.is_imitated else asked

    @property
    def length(self) -> int:
        """Tokens of a pair at most; few, where a processor has to imitate the type."""
        return max(8, self.comparison.length // 4) if self.is_imitated else self.comparison.length

    @property
    def config(self) -> BertConfig:
        """The configuration of both models."""
        width, n_blocks, n_heads = SIZES[self.size]
        return BertConfig(
            vocab_size=VOCABULARY,
            hidden_size=width,
            num_hidden_layers=n_blocks,
            num_attention_heads=n_heads,
            intermediate_size=4 * width,
            max_position_embeddings=self.length,
            hidden_dropout_prob=self.dropout,
            attention_probs_dropout_prob=self.dropout,
            pad_token_id=self.text.tokenizer.pad_token_id,
        )

    @property
    def numbers(self) -> dict[str, bool]:
        """What both trainers are told about types and places."""
        return {"bf16": self.precision == "bfloat16", "use_cpu": self.comparison.device == "cpu"}

    def start(self) -> Path:
        """A folder with the weights that both sides begin with."""
        torch.manual_seed(0)
        return folder_of(BertForPreTraining(self.config))

    def examples(self) -> list[Example]:
        """What a turn reads, at most."""
        return self.text.pairs((self.comparison.steps or MOST_STEPS) * self.batch_size, self.length)


def main(comparison: Comparison) -> None:
    """Check that both sides compute the same, measure them in turns, and write what came of it."""
    comparison = comparison.as_asked()
    text = real_text(comparison.folder / "text", comparison.quick)
    cases = [Case(*choice, comparison, text) for choice in comparison.choices]
    results = Results("pretrain", "Pretraining BERT: ours over transformers, in real tokens a second")
    results.note(f"Pairs are from {text.name}, and have at most as many tokens as the case says.")
    check_same(results, cases)
    check_own_draws(results, at_rest(cases[0]))
    results.require_checks()
    for case in cases:
        results.add(**row_of(timed(case)))
    results.finish(comparison.folder)


def check_same(results: Results, cases: Sequence[Case], n_steps: int = CURVE_STEPS) -> None:
    """Whether both sides compute the same: a batch at each size, and how the loss falls at the first."""
    for case in {case.size: at_rest(case) for case in cases}.values():
        check_batch(results, case)
    check_curve(results, at_rest(cases[0]), n_steps)


def at_rest(case: Case) -> Case:
    """The same size on the processor in float32, with nothing dropped."""
    return replace(case, dropout=0.0, precision="float32", comparison=replace(case.comparison, device="cpu"))


# The same thing


def check_batch(results: Results, case: Case) -> None:
    """Whether a batch has the same loss and the same gradients."""
    masked = masked_once(case.text.pairs(CURVE_BATCH, case.length), case.text)
    loss, gradients = differences_of_a_batch(case.start(), Collator(torch.float32)(masked))
    results.check(f"{case.size}: losses of a batch", loss, ROUNDING["loss"])
    results.check(f"{case.size}: gradients of a batch", gradients, ROUNDING["gradients"])


def check_curve(results: Results, case: Case, n_steps: int) -> None:
    """Whether the loss falls equally on the same masked words."""
    n_steps = 3 if case.comparison.quick else n_steps
    masked = masked_once(case.text.pairs(n_steps * CURVE_BATCH, case.length), case.text)
    pads = (Collator(torch.float32), Collator(torch.float32))
    ours, theirs = curves(case, n_steps, (masked, masked), pads)
    results.check(f"{case.size}: losses of {n_steps} steps", largest_difference(ours, theirs), ROUNDING["curve"])


def check_own_draws(results: Results, case: Case) -> None:
    """Whether the loss falls alike on average where each side draws its own words and its own dropout."""
    n_steps = 3 if case.comparison.quick else CURVE_STEPS
    examples = case.text.pairs(n_steps * CURVE_BATCH, case.length)
    own = (examples, their_examples(examples, case.text)), (our_collator(case.text), their_collator(case.text))
    gap, error = difference_of_means(*curves(replace(case, dropout=0.1), n_steps, *own))
    what = f"{case.size}: means of {n_steps} losses, each side with its own masks and dropout,"
    results.check(what, gap, NOISE * error)


def masked_once(examples: Sequence[Example], text: Text) -> list[Example]:
    """The examples with words hidden already, the same at each visit."""
    hide = MaskedLanguageCollator(text.tokenizer, static_seed=0)
    batches = [hide([example]) for example in examples]
    return [{name: column[0] for name, column in batch.items()} for batch in batches]


def differences_of_a_batch(start: Path, batch: dict[str, Tensor]) -> tuple[float, float]:
    """How far the losses and the gradients of both models are apart, by the size of theirs; ours as it trains."""
    ours, theirs = BertForPreTraining.from_pretrained(start).train(), opened_by_them(start).train()
    our_loss = torch.stack([part.mean for part in ours.training_losses(**batch).values()]).sum()
    their_loss = theirs(**batch).loss
    our_loss.backward()
    their_loss.backward()
    wanted = dict(theirs.named_parameters(remove_duplicate=False))
    pairs = [(parameter.grad, wanted[ours.name_on_disk(name)].grad) for name, parameter in ours.named_parameters()]
    gap = max((found - right).abs().max().item() for found, right in pairs)
    longest = max(right.abs().max().item() for _, right in pairs)
    return abs(our_loss.item() - their_loss.item()) / their_loss.item(), gap / longest


def curves(
    case: Case, n_steps: int, examples: tuple[Sequence[Any], Sequence[Any]], collators: tuple[Any, Any]
) -> tuple[list[float], list[float]]:
    """The losses of our trainer and of theirs, step by step, from the same start."""
    start, steps = case.start(), (n_steps, CURVE_BATCH)
    ours, theirs = BertForPreTraining.from_pretrained(start), opened_by_them(start)
    return (
        losses_of(our_trainer, OurLosses(), ours, examples[0], collators[0], *steps, use_cpu=True),
        losses_of(their_trainer, TheirLosses(), theirs, examples[1], collators[1], *steps, use_cpu=True),
    )


def difference_of_means(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float]:
    """How far two means are apart, and the standard error of that, for losses of the same steps.

    >>> difference_of_means([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])
    (0.0, 0.0)
    """
    gaps = [one - other for one, other in zip(ours, theirs, strict=True)]
    return abs(statistics.mean(gaps)), statistics.stdev(gaps) / len(gaps) ** 0.5


# How fast


@dataclass(frozen=True)
class Timing:
    """What was measured of a case: each side's seconds of every turn, and the lengths that a turn reads."""

    case: Case
    seconds: dict[str, list[float]]
    batches: list[list[int]]
    first_turns: dict[str, float]

    @property
    def n_tokens(self) -> int:
        """The real tokens of a turn."""
        return sum(map(sum, self.batches))

    def of_a_step(self, side: str) -> float:
        """The median seconds of a step."""
        return statistics.median(self.seconds[side]) / len(self.batches)


def timed(case: Case) -> Timing:
    """Measure a case in turns."""
    examples = case.examples()
    return timing_of(case, sides_of(case, examples), examples)


def timing_of(case: Case, sides: dict[str, Side], examples: Sequence[Example]) -> Timing:
    """Let these sides take turns."""
    n_steps = settle(sides, case.comparison.steps)
    seconds = in_turns({name: side.turn for name, side in sides.items()}, case.comparison.turns, warmups=0)
    lengths = [len(example["input_ids"]) for example in examples]
    first_turns = {name: side.first_turn for name, side in sides.items()}
    return Timing(case, seconds, batches_of(lengths, n_steps, case.batch_size), first_turns)


def sides_of(case: Case, examples: Sequence[Example]) -> dict[str, Side]:
    """Whoever trains, all from the same weights; what is compiled is compiled for the first time."""
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(scratch()))
    start, steps = case.start(), (case.comparison.steps or 1, case.batch_size)
    theirs, their_collate = their_examples(examples, case.text), their_collator(case.text)
    sides = {"theirs": their_side(opened_by_them(start), theirs, their_collate, *steps, **case.numbers)}
    if case.compiled:
        model = opened_by_them(start)
        model.compile(dynamic=True)
        sides["theirs, compiled"] = their_side(model, theirs, their_collate, *steps, **case.numbers)
    for name, compiled in {"ours": False, "ours, compiled": True}.items():
        if case.comparison.ours_compiled or not compiled:
            model = BertForPreTraining.from_pretrained(start)
            ours = {**case.numbers, "torch_compile": compiled}
            sides[name] = our_side(model, examples, our_collator(case.text), *steps, **ours)
    return sides


def row_of(timing: Timing) -> Row:
    """Tokens a second of each side, and the ratios that follow."""
    seconds = timing.seconds
    row: Row = {"case": str(timing.case)}
    row |= {f"{name}, tokens/s": rate(timing.n_tokens, of_side) for name, of_side in seconds.items()}
    row["ours over theirs"] = ratio(seconds["theirs"], seconds["ours"])
    if "theirs, compiled" in seconds:
        best = min(("theirs", "theirs, compiled"), key=timing.of_a_step)
        row["ours over the best of theirs"] = ratio(seconds[best], seconds["ours"])
        row["compiling theirs pays after"] = break_even(timing, "theirs")
    if "ours, compiled" in seconds:
        row["compiling ours pays after"] = break_even(timing, "ours")
    row["our share of the roofline"] = share_of_roofline(timing, "ours")
    return row


def share_of_roofline(timing: Timing, side: str) -> Measured:
    """The least time that this machine could take for the work, by the time that a side took."""
    case = timing.case
    machine = measure_machine(quick=case.comparison.quick, device=case.comparison.device)
    dtype = machine.fastest_dtype if case.precision == "bfloat16" else case.precision
    floors = [training_token_floor(Work(case.config, batch), machine, dtype).seconds for batch in timing.batches]
    least = sum(floor * sum(batch) for floor, batch in zip(floors, timing.batches, strict=True))
    return spread([least / seconds for seconds in timing.seconds[side]])


def break_even(timing: Timing, side: str) -> str:
    """After how many steps a compiled model has won back the time that compiling took."""
    plain, compiled = timing.of_a_step(side), timing.of_a_step(f"{side}, compiled")
    compiling = timing.first_turns[f"{side}, compiled"] - compiled
    steps = f"{compiling / (plain - compiled):,.0f} steps" if compiled < plain else "never"
    return f"{steps} ({compiling:.0f} s)"


# What each side is given


def opened_by_them(start: Path) -> nn.Module:
    """The model of `transformers` with its fastest attention."""
    return transformers.BertForPreTraining.from_pretrained(start, attn_implementation="sdpa")


def our_collator(text: Text) -> Callable[..., Any]:
    """Ours."""
    return MaskedLanguageCollator(text.tokenizer)


def their_collator(text: Text) -> Callable[..., Any]:
    """Theirs."""
    return transformers.DataCollatorForLanguageModeling(text.their_tokenizer, mlm_probability=0.15, seed=0)


def their_examples(examples: Iterable[Example], text: Text) -> list[dict[str, Any]]:
    """The examples in the form that is fastest for their collator: lists, and which of the tokens are special."""
    special = set(text.their_tokenizer.all_special_ids)
    return [
        {
            **{name: column.tolist() for name, column in example.items()},
            "special_tokens_mask": [int(token in special) for token in example["input_ids"].tolist()],
        }
        for example in examples
    ]


def multiplies_bfloat16() -> bool:
    """Whether this processor has instructions for it."""
    return bool({"avx512_bf16", "amx_bf16", "bf16"} & set(this_machine()["instruction_sets"]))


if __name__ == "__main__":
    main(tyro.cli(Comparison))
