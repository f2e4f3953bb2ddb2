"""Signals wait: Ctrl-C and SIGTERM are remembered, and the trainer looks when an update is complete."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ASKED_TO_STOP = (signal.SIGINT, signal.SIGTERM)


class Interrupt:
    """Whether somebody asked for an end, and by which signal."""

    def __init__(self) -> None:
        self.number: int | None = None

    def remember(self, number: int, _frame: FrameType | None = None) -> None:
        """Note the first signal; the second one does not wait."""
        if self.number is None:
            self.number = number
        elif number == signal.SIGINT:
            raise KeyboardInterrupt
        else:
            raise SystemExit(128 + number)

    def is_set(self) -> bool:
        """Whether a signal came.

        >>> Interrupt().is_set()
        False
        """
        return self.number is not None


@contextmanager
def deferred_interrupts() -> Iterator[Interrupt]:
    """Let signals wait inside the block; outside of the main thread, which gets none, nothing changes."""
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    before = {number: signal.signal(number, interrupt.remember) for number in ASKED_TO_STOP}
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


def leave_signals_to_the_trainer(_worker: int = 0) -> None:
    """Let a process that reads data ignore what terminals and torchrun send to all: the trainer will end it."""
    for number in ASKED_TO_STOP:
        signal.signal(number, signal.SIG_IGN)
