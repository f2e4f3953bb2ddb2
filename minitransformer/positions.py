"""Positions: attention alone reads a set, so the order has to be added to the input."""

import torch
from jaxtyping import Float
from torch import Tensor

from minitransformer.errors import InputError


def sinusoids(length: int, d_model: int) -> Float[Tensor, "L D"]:
    """Mark each position by waves of many lengths, a sine and a cosine of each.

    Equation eq:sinusoids:
        PE(pos, 2i) = sin(pos / 10000^(2i / d_model)), PE(pos, 2i + 1) = cos(pos / 10000^(2i / d_model))

    A shift by k positions turns each pair by a fixed angle, whatever the position, so that "k back" is a linear map.

    Source: Vaswani et al. 2017, §3.5. At an odd width the last sine has no cosine; the paper is silent on it.

    Raises: InputError for a length or width below 1.

    >>> sinusoids(2, 2)[0].tolist()
    [0.0, 1.0]
    """
    if length < 1 or d_model < 1:
        raise InputError(f"length={length} and d_model={d_model} must both be at least 1")
    column = torch.arange(d_model, dtype=torch.float64)
    pair = 2 * (column // 2)
    position = torch.arange(length, dtype=torch.float64)[:, None]
    angle_LD = position / 10_000 ** (pair / d_model)
    return torch.where(column % 2 == 0, angle_LD.sin(), angle_LD.cos()).to(torch.get_default_dtype())
