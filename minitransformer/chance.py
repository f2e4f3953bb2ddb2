"""Chance by number: what is drawn is a function of what it is drawn for, so that any of it is found without the rest.

A generator that has to be asked in turn tells its thousandth number after 999 others. A hash of where the number is
needed tells it at once, for a whole batch together, and in whichever process.
"""

import math

import numpy as np
from jaxtyping import Bool, Float64, Int, UInt64

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""2⁶⁴ over the golden ratio, odd."""
MIXING = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1))
ROUNDS_OF_SHUFFLE = 6


def mixed(numbers: UInt64[np.ndarray, "..."]) -> UInt64[np.ndarray, "..."]:
    """Mix the bits of numbers so that each bit of the result hangs on all of them; no two numbers become one.

    Source: the finaliser of SplitMix64, Steele, Lea and Flood 2014, with the constants of Stafford's variant 13.
    """
    for shift, factor in MIXING:
        numbers = (numbers ^ (numbers >> np.uint64(shift))) * np.uint64(factor)
    return numbers


def hashed(*places: int | Int[np.ndarray, "..."] | UInt64[np.ndarray, "..."]) -> UInt64[np.ndarray, "..."]:
    """64 random bits for each place, named by one or more numbers, of which some may be arrays.

    >>> hashed(7, np.array([1, 2]))[1] == hashed(7, 2)[0], hashed(7, 2)[0] == hashed(2, 7)[0]
    (np.True_, np.False_)
    """
    found = np.zeros(1, dtype=np.uint64)  # an array, since numbers of their own warn when they wrap around
    for place in places:
        bits = np.atleast_1d(np.asarray(place % 2**64 if isinstance(place, int) else place).astype(np.uint64))
        found = mixed((found + GOLDEN) ^ mixed(bits + GOLDEN))
    return found


def uniform(*places: int | Int[np.ndarray, "..."] | UInt64[np.ndarray, "..."]) -> Float64[np.ndarray, "..."]:
    """A random number from 0 up to but not 1 for each place, in all 53 bits.

    >>> bool(0 <= uniform(7, 2)[0] < 1)
    True
    """
    return (hashed(*places) >> np.uint64(11)) * 2.0**-53


def permuted(numbers: Int[np.ndarray, " n"], count: int, seed: int) -> Int[np.ndarray, " n"]:
    """Where a shuffle of 0 … count − 1 puts these numbers: no two at one place, in memory that hangs on neither.

    A Feistel network permutes the cells of a square that has room for `count`: a round turns each column by a hash of
    its number and exchanges rows and columns, which can be undone. What falls beyond `count` is sent through again
    until it falls inside; since that follows a cycle of a permutation, it too can be undone.

    Source: Luby and Rackoff 1988 for the network; Black and Rogaway 2002 for sizes that are no power of two, by cycle
    walking and sums in place of bits.

    >>> sorted(permuted(np.arange(5), count=5, seed=0).tolist())
    [0, 1, 2, 3, 4]
    """
    side = math.isqrt(count - 1) + 1
    keys = hashed(seed, np.arange(ROUNDS_OF_SHUFFLE))
    places = feistel(numbers, side, keys)
    while (beyond := places >= count).any():
        places[beyond] = feistel(places[beyond], side, keys)
    return places


def feistel(numbers: Int[np.ndarray, " n"], side: int, keys: UInt64[np.ndarray, " rounds"]) -> Int[np.ndarray, " n"]:
    """Permute the cells of a square, in a round for each key."""
    for key in keys:
        row, column = np.divmod(numbers, side)
        turn = (mixed(column.astype(np.uint64) ^ key) % np.uint64(side)).astype(np.int64)
        numbers = column * side + (row + turn) % side
    return numbers


def heads(coins: Int[np.ndarray, " n"], *places: int | Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """How many of so many fair coins show heads, for each place: a coin is a random bit.

    >>> heads(np.array([0, 0]), 7, np.array([1, 2])).tolist()
    [0, 0]
    """
    shown = np.zeros(len(coins), dtype=np.int64)
    for word in range(-(-int(coins.max(initial=0)) // 64)):
        left: Int[np.ndarray, " n"] = np.clip(coins - 64 * word, 0, 64)
        bits = hashed(*places, word) >> (64 - left).clip(max=63).astype(np.uint64)
        some: Bool[np.ndarray, " n"] = left > 0
        shown += np.where(some, np.bitwise_count(bits), 0)
    return shown
