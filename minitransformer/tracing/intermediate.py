"""A tensor on the way from a model's input to its output."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from minitransformer.tracing.axes import UNKNOWN, Axes

RESULT, ARGUMENT, STEP = "result", "argument", "step"


@dataclass(eq=False)
class Intermediate:
    """A tensor of the pass: what it is called, which equation it belongs to, and what that was given.

    A `result` is what an equation or a part of the model gives, an `argument` what it was given that nobody had named,
    and a `step` stands between the two.
    """

    name: str
    value: Tensor
    equation: str
    kind: str
    depth: int
    function: str = ""
    """The function that gives it, if it is one's result."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """What the function was given."""
    reads: Sequence[str] = ()
    """The names of the tensors among them."""
    aliases: list[str] = field(default_factory=list)
    """Other names of the same tensor."""
    axes: Axes | None = None
    within: str = ""
    """The function that it stands in, if it is in one."""
    has_equation: bool = False
    """Whether the equation is that of this very result, and not only of what it is a part of."""

    @property
    def shape(self) -> str:
        """Its axes with their sizes.

        >>> Intermediate("x", torch.zeros(2, 5), "", STEP, 0, axes=("B", "L")).shape
        'B=2 L=5'
        """
        axes = self.axes or (UNKNOWN,) * self.value.ndim
        sizes = zip(axes, self.value.shape, strict=True)
        return " ".join(f"{axis}={size}" if axis.isalpha() else str(size) for axis, size in sizes)

    @property
    def summary(self) -> str:
        """Its values in short: all of a few, and of many the least, the mean of the finite ones, and the largest.

        >>> Intermediate("x", torch.tensor([1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 11.0]), "", STEP, 0).summary
        '1 … 5 … 11'
        """
        if self.value.numel() <= 4:
            return ", ".join(f"{number:.4g}" for number in self.value.flatten().tolist())
        numbers = self.value.double()
        mean = numbers[numbers.isfinite()].mean()
        return " … ".join(f"{float(number):.4g}" for number in (numbers.min(), mean, numbers.max()))
