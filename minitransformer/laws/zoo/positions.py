"""Mutants of the positions."""

import math

import torch
from torch import Tensor

from minitransformer.laws.zoo.mutant import mutant


@mutant("sinusoids", symptom="Trains as well; but loaded weights read every position wrongly.", difficulty="easy")
def sine_and_cosine_swapped(length: int, d_model: int) -> Tensor:
    """The even columns hold cosines and the odd ones sines."""
    column = torch.arange(d_model, dtype=torch.float64)
    angle = torch.arange(length, dtype=torch.float64)[:, None] / 10_000 ** (2 * (column // 2) / d_model)
    return torch.where(column % 2 == 0, angle.cos(), angle.sin()).float()


@mutant(
    "sinusoids",
    symptom="Trains as well; tensor2tensor does it too, so weights of one code are noise in the other.",
    difficulty="medium",
)
def sines_before_cosines(length: int, d_model: int) -> Tensor:
    """All sines stand before all cosines, in place of taking turns."""
    first_half = torch.arange(0, d_model, 2, dtype=torch.float64)
    angle = torch.arange(length, dtype=torch.float64)[:, None] / 10_000 ** (first_half / d_model)
    return torch.cat([angle.sin(), angle.cos()], dim=-1)[:, :d_model].float()


@mutant(
    "sinusoids", symptom="Trains; but the pairs are no rotations, and distances are harder to learn.", difficulty="hard"
)
def a_wavelength_for_each_column(length: int, d_model: int) -> Tensor:
    """Columns are counted where pairs are meant, so that a cosine has another wavelength than its sine."""
    column = torch.arange(d_model, dtype=torch.float64)
    angle = torch.arange(length, dtype=torch.float64)[:, None] / 10_000 ** (column / d_model)
    return torch.where(column % 2 == 0, angle.sin(), angle.cos()).float()


@mutant("sinusoids", symptom="All columns but the first turn very fast or hardly at all; long texts get confused.")
def exponent_doubled(length: int, d_model: int) -> Tensor:
    """The number of an even column is doubled once more, so that the exponent is 4i / d_model."""
    column = torch.arange(d_model, dtype=torch.float64)
    even = 2 * (column // 2)
    angle = torch.arange(length, dtype=torch.float64)[:, None] / 10_000 ** (2 * even / d_model)
    return torch.where(column % 2 == 0, angle.sin(), angle.cos()).float()


@mutant("sinusoids", symptom="Two columns race, and all others never move.", difficulty="medium")
def power_before_the_quotient(length: int, d_model: int) -> Tensor:
    """10000 is raised to 2i and then divided by d_model: brackets round the quotient are missing."""
    column = torch.arange(d_model, dtype=torch.float64)
    wavelength = 10_000 ** (2 * (column // 2)) / d_model
    angle = torch.arange(length, dtype=torch.float64)[:, None] / wavelength
    return torch.where(column % 2 == 0, angle.sin(), angle.cos()).float()


@mutant("sinusoids", symptom="Trains as well; loaded weights read each position as the one after it.")
def positions_from_one(length: int, d_model: int) -> Tensor:
    """The first position is 1 and not 0."""
    column = torch.arange(d_model, dtype=torch.float64)
    position = torch.arange(1, length + 1, dtype=torch.float64)[:, None]
    angle = position / 10_000 ** (2 * (column // 2) / d_model)
    return torch.where(column % 2 == 0, angle.sin(), angle.cos()).float()


@mutant("sinusoids", symptom="Fine as long as all texts have one length; worse at every other one.")
def positions_scaled_by_the_length(length: int, d_model: int) -> Tensor:
    """Positions run from 0 to 1 whatever the length, so that a step is shorter in a longer text."""
    column = torch.arange(d_model, dtype=torch.float64)
    position = torch.linspace(0, 1, length, dtype=torch.float64)[:, None]
    angle = position / 10_000 ** (2 * (column // 2) / d_model)
    return torch.where(column % 2 == 0, angle.sin(), angle.cos()).float()


@mutant(
    "sinusoids", symptom="Neighbouring positions are all but the same; word order is learned late.", difficulty="medium"
)
def angles_in_degrees(length: int, d_model: int) -> Tensor:
    """Angles are turned from degrees to radians, but they are radians already."""
    column = torch.arange(d_model, dtype=torch.float64)
    angle = torch.arange(length, dtype=torch.float64)[:, None] / 10_000 ** (2 * (column // 2) / d_model)
    angle = angle * math.pi / 180
    return torch.where(column % 2 == 0, angle.sin(), angle.cos()).float()


@mutant("sinusoids", symptom="Works until someone chooses an odd width.", difficulty="medium")
def odd_widths_break(length: int, d_model: int) -> Tensor:
    """There is a cosine for every sine, which is one too many at an odd width."""
    table = torch.zeros(length, d_model)
    position = torch.arange(length, dtype=torch.float64)[:, None]
    angle = position / 10_000 ** (torch.arange(0, d_model, 2, dtype=torch.float64) / d_model)
    table[:, 0::2] = angle.sin().float()
    table[:, 1::2] = angle.cos().float()
    return table


@mutant(
    "sinusoids", symptom="Trains as well at even widths, and gives a table of its own at odd ones.", difficulty="hard"
)
def odd_widths_rounded_up(length: int, d_model: int) -> Tensor:
    """An odd width is rounded up in the exponent, and the last column cut off."""
    width = d_model + d_model % 2
    column = torch.arange(width, dtype=torch.float64)
    angle = torch.arange(length, dtype=torch.float64)[:, None] / 10_000 ** (2 * (column // 2) / width)
    return torch.where(column % 2 == 0, angle.sin(), angle.cos())[:, :d_model].float()
