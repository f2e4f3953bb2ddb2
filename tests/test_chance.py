"""Chance by number: numbers that are uniform and independent, and a shuffle that is one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, chisquare

from minitransformer.chance import hashed, heads, permuted, uniform
from minitransformer.trainer import order
from minitransformer.trainer.order import Order

FALSE_ALARM = 1e-9


def is_even(counts: np.ndarray) -> bool:
    """Whether counts can come from cells that are all as likely, wrongly denied once in a billion times."""
    return bool(chisquare(counts.ravel()).pvalue > FALSE_ALARM)


@settings(max_examples=25)
@given(st.integers(1, 5000), st.integers(0, 2**63))
def test_a_shuffle_puts_each_number_at_a_place_of_its_own(count: int, seed: int) -> None:
    """Kills: a hash modulo the count; cycle walking that stops outside; the last number never reached."""
    assert np.array_equal(np.sort(permuted(np.arange(count), count, seed)), np.arange(count))


@pytest.mark.usefixtures("without_shape_checks")
def test_a_number_falls_at_each_place_as_often_and_neighbours_part() -> None:
    """Kills: too few rounds; a seed that only turns the order; even numbers that stay even."""
    count, trials = 7, 1001
    shuffles = np.stack([permuted(np.arange(count), count, seed) for seed in range(trials)])
    for number in (0, 4, 6):
        assert is_even(np.bincount(shuffles[:, number], minlength=count))
    steps = (shuffles[:, 1] - shuffles[:, 0]) % count
    assert is_even(np.bincount(steps, minlength=count)[1:])
    both = np.bincount(shuffles[:-1, 3] * count + shuffles[1:, 3], minlength=count**2)
    assert is_even(both), "the next seed's shuffle should not follow from this one"


def test_a_large_shuffle_is_as_even_in_each_part() -> None:
    """Kills: a network whose halves are cut at the wrong bit, so that distant numbers never meet."""
    count = 10**9 + 7
    places = permuted(np.arange(40_009), count, seed=3)
    assert len(set(places.tolist())) == 40_009
    assert is_even(np.bincount(places * 64 // count, minlength=64))
    assert is_even(np.bincount(places % 64, minlength=64))


def test_numbers_are_even_and_each_part_of_a_place_counts() -> None:
    """Kills: a place's first or last number forgotten; sums in which 1, 2 and 2, 1 are one."""
    rows, columns = np.mgrid[:200, :200]
    drawn = uniform(5, rows, columns)
    assert is_even(np.histogram(drawn, bins=50, range=(0, 1))[0])
    assert is_even(np.histogram2d(drawn[:, :-1].ravel(), drawn[:, 1:].ravel(), bins=10, range=[[0, 1]] * 2)[0])
    assert is_even(np.histogram2d(drawn[:-1].ravel(), drawn[1:].ravel(), bins=10, range=[[0, 1]] * 2)[0])
    assert len(np.unique(hashed(5, rows, columns))) == rows.size
    assert len({int(hashed(1 << bit)[0]) for bit in range(64)}) == 64


@pytest.mark.parametrize("coins", [1, 63, 64, 65, 200])
def test_coins_show_heads_as_a_binomial_does(coins: int) -> None:
    """Kills: a coin too few at the border of two words; one coin for all."""
    trials = 20_011
    shown = heads(np.full(trials, coins), 9, np.arange(trials))
    assert shown.min() >= 0
    assert shown.max() <= coins
    expected = binom.pmf(np.arange(coins + 1), coins, 0.5) * trials
    likely = expected > 50
    found = np.bincount(shown, minlength=coins + 1)
    rest = [expected[~likely].sum()] if not likely.all() else []
    cells = np.array([*found[likely], *([found[~likely].sum()] if rest else [])])
    assert chisquare(cells, np.array([*expected[likely], *rest]) * cells.sum() / trials, sum_check=False).pvalue > 1e-9


def test_an_order_found_by_number_reads_each_example_once_and_goes_on_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: an order that differs after a resume; a pass like the one before; a last update that is lost."""
    monkeypatch.setattr(order, "SHUFFLED_IN_MEMORY", 10)
    whole = Order(103, examples_per_update=4, seed=5)
    first = whole.updates(0, 103)
    assert [len(update) for update in first] == [4] * 25 + [3]
    assert np.array_equal(np.sort(np.concatenate(first)), np.arange(103))
    assert not np.array_equal(np.concatenate(first), np.concatenate(whole.updates(1, 103)))
    resumed = whole.updates(0, 103, first=7)[:3]
    assert [update.tolist() for update in resumed] == [first[number].tolist() for number in (7, 8, 9)]
    fewer = np.concatenate(whole.updates(0, 50))
    assert np.array_equal(np.bincount(fewer), [3] * 3 + [2] * 47) or np.bincount(fewer).sum() == 103
    assert fewer.max() < 50
