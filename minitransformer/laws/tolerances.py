"""How close is close: tolerance = c · eps(dtype) · scale, here and nowhere else.

`c` counts the roundings that follow one another, and `scale` is the size of the largest number on the way to the
result. Neither is ever raised to make a test pass: a failure is explained first.
"""

from collections.abc import Mapping

import numpy as np
import torch

ROUNDING = 8
"""A few operations on each entry: an activation, a bias, a quotient."""

SUM = 32
"""A sum over some ten terms, then a few operations: a norm, an attention, a loss."""

LAYER = 256
"""Some sums in a row: a block, a head, a gradient that goes backwards through one."""

STACK = 2048
"""Some blocks in a row: a whole model."""

DIFFERENCE_STEP = float(np.finfo(np.float64).eps ** (1 / 3))
"""The step of a central difference at which the error of the formula and the rounding are equally small."""


def assert_close(
    actual: object, expected: object, c: float = SUM, scale: float | None = None, what: str = "the result"
) -> None:
    """Fail unless every entry is within c · eps · scale of what was expected, and say in words what was.

    eps belongs to the coarser of the two types. Without a scale, the largest expected entry gives it, at least 1.
    """
    eps = max(eps_of(actual), eps_of(expected))
    found, wanted = as_array(actual), as_array(expected)
    assert found.shape == wanted.shape, f"{what} should have shape {wanted.shape}, but has {found.shape}"
    assert not np.isnan(wanted).any(), f"{what}: the expected value itself is NaN"
    assert not np.isnan(found).any(), (
        f"{what} should be a number everywhere, but is NaN in {np.isnan(found).sum()} places"
    )
    if scale is None:
        scale = max(1.0, float(np.max(np.abs(wanted[np.isfinite(wanted)]), initial=0.0)))
    tolerance = c * eps * scale
    with np.errstate(invalid="ignore"):
        distance = np.where(found == wanted, 0.0, np.abs(found - wanted))
    if distance.size and not np.max(distance) <= tolerance:
        worst = np.unravel_index(int(np.argmax(distance)), distance.shape)
        place = tuple(int(index) for index in worst)
        raise AssertionError(
            f"{what} should be within c={c:g} · eps={eps:.3g} · scale={scale:.3g} = {tolerance:.3g} of "
            f"{wanted[worst]!r} at {place}, but is {found[worst]!r}, which is {distance[worst]:.3g} away"
        )


def assert_same(actual: object, expected: object, what: str = "the result") -> None:
    """Fail unless both are the same, bit for bit (0 and −0 count as the same number)."""
    found, wanted = as_array(actual), as_array(expected)
    assert found.shape == wanted.shape, f"{what} should have shape {wanted.shape}, but has {found.shape}"
    differs = found != wanted
    assert not differs.any(), (
        f"{what} should be the same bit for bit, but {np.count_nonzero(differs)} of {found.size} entries differ"
        f"{farthest_in_words(found[differs], wanted[differs])}"
    )


def farthest_in_words(found: np.ndarray, wanted: np.ndarray) -> str:
    """By how much numbers differ at most; nothing of truth values and texts, and nothing where one is NaN.

    >>> farthest_in_words(np.array([1.0, 2.0]), np.array([1.5, 2.25]))
    ', by up to 0.5'
    """
    if not (np.issubdtype(found.dtype, np.number) and np.issubdtype(wanted.dtype, np.number)):
        return ""
    farthest = np.max(np.abs(found.astype(np.float64) - wanted.astype(np.float64)))
    return "" if np.isnan(farthest) else f", by up to {farthest:.2g}"


def assert_same_type(actual: torch.Tensor, given: torch.Tensor) -> None:
    """Fail unless a result is of the float type that it was computed from."""
    assert actual.dtype == given.dtype, (
        f"the result should be {name_of(given.dtype)}, as what it was computed from, but is {name_of(actual.dtype)}"
    )


def name_of(dtype: torch.dtype) -> str:
    """A type by its own name.

    >>> name_of(torch.bfloat16)
    'bfloat16'
    """
    return str(dtype).removeprefix("torch.")


def as_array(values: object) -> np.ndarray:
    """Values of any kind as an array; no float type loses anything in float64."""
    if isinstance(values, torch.Tensor):
        values = values.detach()
        return (values.double() if values.is_floating_point() else values).cpu().numpy()
    array = np.asarray(values)
    return array.astype(np.float64) if np.issubdtype(array.dtype, np.floating) else array


def as_arrays(tensors: Mapping[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """Named tensors, such as parameters, as the reference takes them."""
    return {name: as_array(tensor) for name, tensor in tensors.items()}


def eps_of(values: object) -> float:
    """The relative distance of neighbouring numbers in the type of the values; Python's own are exact beside it."""
    if isinstance(values, torch.Tensor):
        return torch.finfo(values.dtype).eps if values.is_floating_point() else 0.0
    dtype = np.asarray(values).dtype
    return float(np.finfo(dtype).eps) if np.issubdtype(dtype, np.floating) else 0.0
