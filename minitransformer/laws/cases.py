"""What hypothesis draws: the structure of a case, and a seed from which its numbers follow.

Everything drawn is a named field of the case, and a failing test prints them all. Sizes of one case are distinct, so
that no two axes can be taken for each other; a single one of them may be 1.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import torch
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor, nn

from minitransformer.laws.tolerances import as_arrays

Module = TypeVar("Module", bound=nn.Module)
Draw = Callable[..., Any]

SIZES = (2, 3, 5, 7, 11, 13)
LARGE = 1e4
COARSE = (torch.bfloat16,)
"""The type that training computes in where asked to: the range of float32 with eight bits of precision."""

few_examples = settings(max_examples=max(12, settings().max_examples // 20))
"""For laws of whole stacks, whose parts have met the full number of examples before."""

seeds = st.integers(0, 2**32 - 1)
dtypes = st.sampled_from([torch.float64, torch.float32])


def numbers(seed: int, name: str, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Numbers from N(0, 1); each name has its own."""
    generator = np.random.default_rng([seed, *name.encode()])
    return torch.from_numpy(generator.standard_normal(shape)).to(dtype)


def whole_numbers(seed: int, name: str, low: int, high: int, *shape: int) -> Tensor:
    """Whole numbers from low up to, and without, high."""
    return torch.from_numpy(np.random.default_rng([seed, *name.encode()]).integers(low, high, shape))


def coins(seed: int, name: str, *shape: int) -> Tensor:
    """True or False, as likely as each other."""
    return whole_numbers(seed, name, 0, 2, *shape).bool()


def shuffled(seed: int, name: str, length: int) -> Tensor:
    """The numbers below length in another order."""
    return torch.from_numpy(np.random.default_rng([seed, *name.encode()]).permutation(length))


@st.composite
def distinct_sizes(draw: Draw, count: int, may_be_one: tuple[int, ...] = ()) -> tuple[int, ...]:
    """Sizes of which no two agree; one of the axes named in `may_be_one` may be 1."""
    sizes = list(draw(st.permutations(SIZES))[:count])
    narrow = draw(st.sampled_from([None, None, *may_be_one]))
    if narrow is not None:
        sizes[narrow] = 1
    return tuple(sizes)


def randomise(module: Module, seed: int, dtype: torch.dtype = torch.float64) -> Module:
    """Give every parameter of a module numbers of its own, gains and biases too, and stop its dropout."""
    module.to(dtype)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            drawn = numbers(seed, name, *parameter.shape)
            width = parameter.shape[-1]
            parameter.copy_(1 + drawn / 4 if name.endswith("gain") else drawn / math.sqrt(width))
    return module.eval()


def parameters_of(module: nn.Module) -> dict[str, np.ndarray]:
    """The parameters of a module as the reference takes them."""
    return as_arrays(module.state_dict())


@dataclass(frozen=True)
class AttentionCase:
    """Queries, keys and values, and who may attend to whom."""

    batch: int
    length: int
    memory: int
    d_k: int
    d_v: int
    scores: str
    visibility: str
    dtype: torch.dtype
    seed: int

    @cached_property
    def key(self) -> Tensor:
        """One row for each key, or the same row for all."""
        drawn = numbers(self.seed, "key", self.batch, self.memory, self.d_k, dtype=self.dtype)
        return drawn[:, :1].expand_as(drawn).clone() if self.scores == "equal" else drawn

    @cached_property
    def query(self) -> Tensor:
        """One row for each query; in the large kind the largest score is ±10,000."""
        drawn = numbers(self.seed, "query", self.batch, self.length, self.d_k, dtype=self.dtype)
        if self.scores != "large":
            return drawn
        return drawn * LARGE / (drawn @ self.key.mT / math.sqrt(self.d_k)).abs().max()

    @cached_property
    def value(self) -> Tensor:
        """One row for each key."""
        return numbers(self.seed, "value", self.batch, self.memory, self.d_v, dtype=self.dtype)

    @cached_property
    def may_attend(self) -> Tensor | None:
        """A rule for each query of each example, or none."""
        return visibility_of(self.visibility, self.seed, self.batch, self.length, self.memory)

    @cached_property
    def visible(self) -> Tensor:
        """The rule written out."""
        everything = torch.ones(self.batch, self.length, self.memory, dtype=torch.bool)
        return everything if self.may_attend is None else self.may_attend

    @cached_property
    def score_size(self) -> float:
        """The largest number on the way to a score; the softmax turns its rounding into a relative error."""
        return 1 + float((self.query.abs() @ self.key.abs().mT).max()) / math.sqrt(self.d_k)

    @cached_property
    def scale(self) -> float:
        """The size of the largest number on the way to a result."""
        return self.score_size * max(1.0, float(self.value.abs().max()))


VISIBILITIES = ("all", "random", "padding", "one row sees nothing", "nothing")
SEEING = ("all", "some", "padding")
"""The kinds of rule in which every query sees something, for laws that would not know what to say otherwise."""


def visibility_of(kind: str, seed: int, batch: int, length: int, memory: int) -> Tensor | None:
    """Who may attend to whom, by the kind of rule."""
    random = coins(seed, "may_attend", batch, length, memory)
    if kind == "all":
        return None
    if kind == "padding":
        kept = whole_numbers(seed, "kept", 1, memory + 1, batch, 1, 1)
        return (torch.arange(memory) < kept).expand(batch, length, memory).clone()
    if kind == "some":
        chosen = whole_numbers(seed, "seen at least", 0, memory, batch, length, 1)
        return random | (torch.arange(memory) == chosen)
    if kind == "one row sees nothing":
        random[..., 0] = True
        random[seed % batch, seed % length] = False
    return random & (kind != "nothing")


@st.composite
def attention_cases(
    draw: Draw,
    scores: tuple[str, ...] = ("ordinary", "large", "equal"),
    visibilities: tuple[str, ...] = VISIBILITIES,
    types: tuple[torch.dtype, ...] = (torch.float64, torch.float32),
) -> AttentionCase:
    """Questions to attention, down to a single query, a single key and a width of 1."""
    batch, length, memory, d_k, d_v = draw(distinct_sizes(5, may_be_one=(0, 1, 2, 3, 4)))
    return AttentionCase(
        batch=batch,
        length=length,
        memory=memory,
        d_k=d_k,
        d_v=d_v,
        scores=draw(st.sampled_from(scores)),
        visibility=draw(st.sampled_from(visibilities)),
        dtype=draw(st.sampled_from(types)),
        seed=draw(seeds),
    )


@dataclass(frozen=True)
class SequenceCase:
    """Sequences for a module: positions with vectors, and others that can be read as a memory."""

    batch: int
    length: int
    memory_length: int
    n_heads: int
    d_k: int
    d_ff: int
    visibility: str
    dtype: torch.dtype
    seed: int

    @property
    def d_model(self) -> int:
        """The width that the heads share."""
        return self.n_heads * self.d_k

    @cached_property
    def x(self) -> Tensor:
        """One vector for each position."""
        return numbers(self.seed, "x", self.batch, self.length, self.d_model, dtype=self.dtype)

    @cached_property
    def memory(self) -> Tensor:
        """One vector for each position that is read."""
        return numbers(self.seed, "memory", self.batch, self.memory_length, self.d_model, dtype=self.dtype)

    @cached_property
    def may_attend(self) -> Tensor | None:
        """Who of the sequence may attend to whom of it, one rule for all heads."""
        rule = visibility_of(self.visibility, self.seed, self.batch, self.length, self.length)
        return None if rule is None else rule[:, None]

    @cached_property
    def may_attend_memory(self) -> Tensor | None:
        """Who of the sequence may attend to whom of the memory, one rule for all heads."""
        rule = visibility_of(self.visibility, self.seed, self.batch, self.length, self.memory_length)
        return None if rule is None else rule[:, None]


@st.composite
def sequence_cases(
    draw: Draw,
    visibilities: tuple[str, ...] = VISIBILITIES,
    types: tuple[torch.dtype, ...] = (torch.float64, torch.float32),
    narrow_heads: bool = True,
) -> SequenceCase:
    """Sequences for a module, down to a single position, a single head and heads of width 1.

    Batch and heads take the small sizes, for a module does its work as many times as their product. A norm over two
    columns magnifies rounding without bound, so laws of whole blocks leave narrow heads out.
    """
    batch, n_heads, *others = draw(st.permutations((2, 3, 5)))
    length, memory_length, d_k, d_ff = draw(st.permutations((*others, 7, 11, 13)))
    sizes = {"batch": batch, "n_heads": n_heads, "length": length, "memory_length": memory_length, "d_ff": d_ff}
    sizes["d_k"] = d_k if narrow_heads or d_k > 3 else 17
    may_be_one = [name for name in sizes if narrow_heads or name != "d_k"]
    narrow = draw(st.sampled_from([None, None, *may_be_one]))
    if narrow is not None:
        sizes[narrow] = 1
    return SequenceCase(
        **sizes,
        visibility=draw(st.sampled_from(visibilities)),
        dtype=draw(st.sampled_from(types)),
        seed=draw(seeds),
    )


@dataclass(frozen=True)
class VectorsCase:
    """Vectors to normalise or to pass through an activation, with a gain and a bias."""

    batch: int
    length: int
    width: int
    kind: str
    eps: float
    dtype: torch.dtype
    seed: int

    @cached_property
    def x(self) -> Tensor:
        """One vector for each position."""
        drawn = numbers(self.seed, "x", self.batch, self.length, self.width, dtype=self.dtype)
        size = {"ordinary": 1.0, "large": LARGE, "small": 1 / LARGE, "equal": 1.0}[self.kind]
        return torch.full_like(drawn, float(self.seed % 9 - 4)) if self.kind == "equal" else 3 * size * drawn

    @cached_property
    def gain(self) -> Tensor:
        """One factor for each column."""
        return numbers(self.seed, "gain", self.width, dtype=self.dtype)

    @cached_property
    def bias(self) -> Tensor:
        """One offset for each column."""
        return numbers(self.seed, "bias", self.width, dtype=self.dtype)

    @cached_property
    def scale(self) -> float:
        """The largest entry, divided as a norm divides it: the rounding of x − μ is relative to x."""
        spread = self.x.double().var(dim=-1, correction=0).min() + self.eps
        largest = float(self.x.abs().max()) / math.sqrt(float(spread))
        return 1 + largest * (1 + float(self.gain.abs().max()))


@st.composite
def vectors_cases(
    draw: Draw,
    kinds: tuple[str, ...] = ("ordinary", "large", "small", "equal"),
    types: tuple[torch.dtype, ...] = (torch.float64, torch.float32),
) -> VectorsCase:
    """Vectors down to a width of 1, with an eps that cannot be overlooked or one that can."""
    batch, length, width = draw(distinct_sizes(3, may_be_one=(0, 1, 2)))
    return VectorsCase(
        batch=batch,
        length=length,
        width=width,
        kind=draw(st.sampled_from(kinds)),
        eps=draw(st.sampled_from([1e-12, 1e-6, 1e-2, 1.0])),
        dtype=draw(st.sampled_from(types)),
        seed=draw(seeds),
    )


MANY = (512, 1024, 2048)
"""How many terms a sum has that comes to a stop where bfloat16 adds them one by one: there, 256 + 1 is 256."""


@dataclass(frozen=True)
class ManyCase:
    """Many entries of the same size in bfloat16, from a thousandth to more than float16 can hold."""

    count: int
    exponent: int
    seed: int

    @cached_property
    def size(self) -> Tensor:
        """A power of two, with which bfloat16 computes exactly."""
        return torch.tensor(2.0**self.exponent, dtype=torch.bfloat16)

    @cached_property
    def ones(self) -> Tensor:
        """As many equal scores, near zero: laws of their own speak about large ones."""
        return torch.ones(self.count, dtype=torch.bfloat16)

    @cached_property
    def signs(self) -> Tensor:
        """1 or −1 for each entry."""
        return torch.where(coins(self.seed, "signs", self.count), 1.0, -1.0).bfloat16()

    @cached_property
    def balanced_signs(self) -> Tensor:
        """As often 1 as −1, each `count` times."""
        return torch.where(shuffled(self.seed, "order", 2 * self.count) % 2 == 0, 1.0, -1.0).bfloat16()


@st.composite
def many_cases(draw: Draw) -> ManyCase:
    """Sums of so many terms that adding them one by one in bfloat16 comes to a stop."""
    return ManyCase(
        count=draw(st.sampled_from(MANY)),
        exponent=draw(st.integers(-10, 17)),
        seed=draw(seeds),
    )


@dataclass(frozen=True)
class LossCase:
    """Scores of classes, and which class is right; some positions may not count."""

    batch: int
    length: int
    n_classes: int
    scores: str
    ignored: str
    label_smoothing: float
    dtype: torch.dtype
    seed: int

    @cached_property
    def logits(self) -> Tensor:
        """One score for each class at each position."""
        drawn = numbers(self.seed, "logits", self.batch, self.length, self.n_classes, dtype=self.dtype)
        return drawn * {"ordinary": 2.0, "large": LARGE, "equal": 0.0}[self.scores]

    @cached_property
    def classes(self) -> Tensor:
        """A class for each position, whether it counts or not."""
        return whole_numbers(self.seed, "target", 0, self.n_classes, self.batch, self.length)

    @cached_property
    def counts(self) -> Tensor:
        """Which positions count: at least one of them."""
        if self.ignored == "none":
            return torch.ones(self.batch, self.length, dtype=torch.bool)
        kept = coins(self.seed, "counts", self.batch, self.length) & (self.ignored == "some")
        kept[self.seed % self.batch, self.seed % self.length] = True
        return kept

    @cached_property
    def target(self) -> Tensor:
        """The class of each position that counts, and −100 elsewhere."""
        return self.classes.where(self.counts, -100)

    @cached_property
    def scale(self) -> float:
        """The size of the largest score, times the number of positions that a sum runs over."""
        return (1 + float(self.logits.abs().max())) * self.batch * self.length


@st.composite
def loss_cases(
    draw: Draw,
    scores: tuple[str, ...] = ("ordinary", "large", "equal"),
    ignored: tuple[str, ...] = ("none", "some", "all but one"),
    types: tuple[torch.dtype, ...] = (torch.float64, torch.float32),
) -> LossCase:
    """Batches of scores, down to a single position and a single class."""
    batch, length, n_classes = draw(distinct_sizes(3, may_be_one=(0, 1, 2)))
    return LossCase(
        batch=batch,
        length=length,
        n_classes=n_classes,
        scores=draw(st.sampled_from(scores)),
        ignored=draw(st.sampled_from(ignored)),
        label_smoothing=draw(st.sampled_from([0.0, 0.1, 0.5, 1.0])),
        dtype=draw(st.sampled_from(types)),
        seed=draw(seeds),
    )
