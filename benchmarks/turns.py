"""Two things or more measured in turns, so that what slows the machine for a while slows all of them."""

import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median

Side = Callable[[], float | None]
"""One turn of one side. It gives its own seconds, or None for all that the call took."""

Measured = dict[str, float]
"""What was measured several times: its median, and the lowest and the highest of all turns."""


def in_turns(sides: Mapping[str, Side], turns: int = 5, warmups: int = 1) -> dict[str, list[float]]:
    """Let the sides run alternately, and give the seconds of each turn; warm-ups are not counted.

    >>> seconds = in_turns({"theirs": lambda: 3.0, "ours": lambda: 1.0}, turns=2)
    >>> seconds
    {'theirs': [3.0, 3.0], 'ours': [1.0, 1.0]}
    """
    for _ in range(warmups):
        for side in sides.values():
            side()
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(turns):
        for name, side in sides.items():
            seconds[name].append(seconds_of(side))
    return seconds


def seconds_of(side: Side) -> float:
    """How long one turn takes.

    >>> seconds_of(lambda: 2.5)
    2.5
    """
    started = time.perf_counter()
    own = side()
    return time.perf_counter() - started if own is None else own


def of_more(side: Side, times: float) -> Side:
    """A side of which a turn counts as so many, because the others do so much more in theirs.

    >>> of_more(lambda: 2.5, 2)()
    5.0
    """
    return lambda: times * seconds_of(side)


def spread(values: Sequence[float]) -> Measured:
    """What is kept of several turns.

    >>> spread([4.0, 1.0, 2.0])
    {'median': 2.0, 'low': 1.0, 'high': 4.0}
    """
    return {"median": median(values), "low": min(values), "high": max(values)}


def ratio(longer: Sequence[float], shorter: Sequence[float]) -> Measured:
    """How many times as long the first side took as the second, turn by turn: neighbours in time are compared.

    >>> ratio([4.0, 6.0, 8.0], [2.0, 2.0, 2.0])
    {'median': 3.0, 'low': 2.0, 'high': 4.0}
    """
    return spread([one / other for one, other in zip(longer, shorter, strict=True)])


def rate(amount: float, seconds: Sequence[float]) -> Measured:
    """How much is done in a second.

    >>> rate(12, [2.0, 3.0, 4.0])
    {'median': 4.0, 'low': 3.0, 'high': 6.0}
    """
    return spread([amount / of_turn for of_turn in seconds])
