"""Everything that chance decides follows from the seed and from what it is decided for, never from what came before.

So a run that stops and goes on is bit for bit the run that never stopped, and no generator's state has to be kept.
"""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch

from minitransformer.chance import hashed


def seed_of(*numbers: int) -> int:
    """A seed for what the numbers say, unlike that of any others.

    >>> seed_of(1, 2) == seed_of(1, 2), seed_of(1, 2) == seed_of(2, 1)
    (True, False)
    """
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


def seeds_of(seed: int, numbers: Sequence[int]) -> list[int]:
    """A seed for each of many numbers, found at once.

    >>> seeds_of(1, [5, 6])[1] == seeds_of(1, [6])[0], seeds_of(1, [5]) == seeds_of(2, [5])
    (True, False)
    """
    return [int(bits) for bits in hashed(seed, np.asarray(numbers)) >> np.uint64(1)]


def set_seed(seed: int) -> None:
    """Seed Python's, NumPy's and PyTorch's generators.

    >>> set_seed(1)
    >>> first = torch.rand(1)
    >>> set_seed(1)
    >>> bool(first == torch.rand(1))
    True
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def seed_reading(seed: int) -> None:
    """Seed what an example may be read with; the generators of accelerators are the model's."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)


@contextmanager
def randomness_of_its_own() -> Iterator[None]:
    """Draw inside the block without a trace: after it all generators are where they were."""
    of_python, of_numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)
