"""A process of its own for code that nobody has read: with limits on time and memory, so that it can't take ours along.

This keeps accidents apart: an endless loop, too much memory, a crash. It is no sandbox: the code may read and write
whatever you may.
"""

import contextlib
import json
import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from types import FrameType
from typing import Any

import torch

Entry = dict[str, Any]
Work = Callable[[Callable[[Entry], None]], None]
MEMORY = 4 * 2**30
"""Bytes that the code may ask for beyond what the process has already."""


AGAIN = 0.5
"""Seconds after which the end of a time limit is told again."""


class OutOfTimeError(BaseException):
    """The limit of one law is over; not an Exception, so that nothing on the way takes it for an error of its own."""


def entries_from_child(work: Work, seconds: float) -> Iterator[Entry]:
    """Run `work` in a child, and yield what it tells, as it tells it; a last entry says how a child that fell ended.

    Without fork (Windows) the work is done in this process, and no limit holds.
    """
    if not hasattr(os, "fork"):
        told: list[Entry] = []
        work(told.append)
        yield from told
        return
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=do_in_child, args=(work, sender), daemon=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # we fork with threads on purpose: the child uses none
        child.start()
    sender.close()
    try:
        while receiver.poll(seconds):
            yield json.loads(receiver.recv_bytes())
        yield {"ended": f"it gave no sign for {seconds:g} seconds, and was stopped"}
    except EOFError:
        child.join()
        if child.exitcode:
            yield {"ended": f"its process ended with {end_of(child.exitcode)}"}
    finally:
        child.kill()
        child.join()
        receiver.close()


def do_in_child(work: Work, sender: Connection) -> None:
    """Do the work with limits; what it prints and warns of is not shown, for it is called hundreds of times."""
    torch.set_num_threads(1)
    sys.unraisablehook = lambda _unraisable: None  # the end of a time limit, where it could not be heard
    warnings.simplefilter("ignore")
    limit_memory()
    with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):  # noqa: PTH123
        work(lambda entry: sender.send_bytes(json.dumps(entry).encode()))
    sender.close()


def limit_memory() -> None:
    """Let no allocation go beyond the limit, where the system can say so."""
    if not sys.platform.startswith("linux"):
        return
    import resource  # noqa: PLC0415 - not on every system

    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
        pages = int(file.read().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def end_of(exit_code: int) -> str:
    """How a process ended.

    >>> end_of(-9), end_of(3)
    ('SIGKILL', 'exit code 3')
    """
    return signal.Signals(-exit_code).name if exit_code < 0 else f"exit code {exit_code}"


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Stop what is inside after some seconds, where the system can.

    Raises: OutOfTimeError in the middle of whatever was going on.
    """
    if not hasattr(signal, "setitimer"):
        yield
        return

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise OutOfTimeError

    before = signal.signal(signal.SIGALRM, stop)
    # Raised in the middle of a destructor it is lost, so it is raised again until it is heard.
    signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
