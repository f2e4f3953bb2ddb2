"""Which axis is which: the letters of a tensor, from annotations, from names, and from tensors that it was made of."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

from torch import nn

from minitransformer.attention import MultiHeadAttention
from minitransformer.feed_forward import FeedForward

UNKNOWN = "?"
LEADING = {"L": ("B", "H"), "M": ("B", "H")}
BEFORE_A_VECTOR = ("B", "L")
"""What stands for "..." before the axes of a matrix of positions, and before a vector."""

Shape = Sequence[int]
Axes = tuple[str, ...]


def sizes_in(model: nn.Module) -> dict[str, int]:
    """The sizes that a model fixes, by letter.

    >>> sizes_in(FeedForward(d_model=2, d_ff=5))
    {'D': 2, 'F': 5}
    """
    sizes: dict[str, int] = {}
    for module in model.modules():
        if isinstance(module, MultiHeadAttention):
            sizes |= {"D": module.query.in_features, "H": module.n_heads}
            sizes["K"] = sizes["D"] // sizes["H"]
        if isinstance(module, FeedForward):
            sizes |= {"D": module.inner.in_features, "F": module.inner.out_features}
    return sizes


def annotated(annotation: Any) -> str:
    """The axes that an annotation spells out; empty for what is no tensor.

    >>> from jaxtyping import Float
    >>> from torch import Tensor
    >>> annotated(Float[Tensor, "B L D"] | None)
    'B L D'
    """
    options = (annotation, *get_args(annotation))
    return next((option.dim_str.strip() for option in options if hasattr(option, "dim_str")), "")


def axes_from_name(name: str, shape: Shape) -> Axes | None:
    """The axes that a local spells out at its end.

    >>> axes_from_name("read_BHLK", (2, 3, 5, 7))
    ('B', 'H', 'L', 'K')
    """
    suffix = re.search(r"_([A-Z]+)$", name)
    return tuple(suffix[1]) if suffix and len(suffix[1]) == len(shape) else None


def axes_from_annotation(spelled: str, shape: Shape, sizes: Mapping[str, int]) -> Axes | None:
    """The axes of an annotation; what "..." stands for follows from the sizes, or stays unknown.

    >>> axes_from_annotation("... L M", (2, 3, 5, 5), {"B": 2, "H": 3})
    ('B', 'H', 'L', 'M')
    >>> axes_from_annotation("...", (2, 3), {}) is None
    True
    """
    letters = spelled.split()
    if letters.count("...") != 1:
        return named(letters, shape) if letters and len(letters) == len(shape) else None
    place = letters.index("...")
    n_open = len(shape) - len(letters) + 1
    if len(letters) == 1 or n_open < 0:
        return None
    after = letters[place + 1 :]
    likely = LEADING.get(after[0], BEFORE_A_VECTOR)[:n_open] if place == 0 else ()
    fits = len(likely) == n_open and all(sizes.get(a) == n for a, n in zip(likely, shape, strict=False))
    return named([*letters[:place], *(likely if fits else (UNKNOWN,) * n_open), *after], shape)


def named(letters: Sequence[str], shape: Shape) -> Axes:
    """The letters of a shape, where one that stands for all of a batch has no letter.

    >>> named(("#B", "L"), (1, 5))
    ('1', 'L')
    """
    return tuple(
        "1" if "#" in axis and size == 1 else axis.strip("#") for axis, size in zip(letters, shape, strict=True)
    )


def axes_like(shape: Shape, other: Shape, axes: Axes, sizes: Mapping[str, int]) -> Axes | None:
    """The axes of a tensor by those of one that it was computed from, or with; None if they tell nothing.

    >>> axes_like((2, 5, 1), (2, 5, 7), ("B", "L", "D"), {})
    ('B', 'L', '1')
    >>> axes_like((2, 5, 11), (2, 5, 7), ("B", "L", "D"), {"F": 11})
    ('B', 'L', 'F')
    """
    if len(shape) == len(other):
        if all(mine in (theirs, 1) for mine, theirs in zip(shape, other, strict=True)):
            return tuple(axis if mine == theirs else "1" for axis, mine, theirs in zip(axes, shape, other, strict=True))
        if shape[:-1] == other[:-1]:
            return (*axes[:-1], letter_of(shape[-1], sizes))
    if len(shape) == len(other) + 1 and shape[:-1] == other:
        return (*axes, letter_of(shape[-1], sizes))
    return None


def letter_of(size: int, sizes: Mapping[str, int]) -> str:
    """The letter of an axis by its size, widths first."""
    letters: Iterable[str] = ("D", "F", "V", "N", "K")
    return next((letter for letter in letters if sizes.get(letter) == size), UNKNOWN)
