"""Stop a program at any one of its operations on files: its process is killed there, or the operation fails.

    number = 0
    while killed(save, folder, number):
        ...  # look at what the killed process left in the folder, and put the folder back
        number += 1

Python announces every operation before it begins. They are counted in the order in which they come; a file that was
begun counts once more, half written. Flushing, and the writing of safetensors, are not announced, and counted here.
"""

import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from minitransformer import pretrained

ANNOUNCED = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "os.utime", "os.truncate"}
SECONDS_FOR_A_CHILD = 120


@dataclass
class Watch:
    """The operations on files below a folder, and what happens at one of them."""

    folder: Path
    at: int
    stop: Callable[[], None]
    operations: list[str] = field(default_factory=list)
    begun: Path | None = None

    def meet(self, name: str, begins: Path | None = None) -> None:
        """Count an operation that is about to begin, and stop if it is the one; a file begun before it may be half."""
        if self.begun is not None:
            half_written, self.begun = self.begun, None
            self.count(f"half of {half_written.name}", half_written)
        self.count(name)
        self.begun = begins

    def count(self, name: str, half_written: Path | None = None) -> None:
        """Count one operation, and stop if it is the one."""
        self.operations.append(name)
        if len(self.operations) == self.at + 1:
            if half_written is not None and half_written.is_file():
                os.truncate(half_written, half_written.stat().st_size // 2)
            self.stop()

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Count what Python announces, if it is an operation on a file below the folder."""
        if event not in ANNOUNCED or not isinstance(arguments[0], str | os.PathLike):
            return
        path = Path(arguments[0])
        is_relative_to_open_folder = not path.is_absolute() and event in ("os.remove", "os.rmdir")
        if not is_relative_to_open_folder and not path.is_relative_to(self.folder):
            return
        begins = event == "open" and isinstance(arguments[2], int) and bool(arguments[2] & (os.O_WRONLY | os.O_RDWR))
        self.meet(f"{event} {path.name}", path if begins else None)


heard: list[Watch] = []
"""The watch that is on, if any: what listens to Python's announcements can't be taken away again."""
listening: list[bool] = []


def announce(event: str, arguments: tuple[Any, ...]) -> None:
    """Tell the watch that is on what Python announces; what the watch itself does is not told."""
    if heard:
        watch = heard.pop()
        try:
            watch.hear(event, arguments)
        finally:
            heard.append(watch)


@contextmanager
def watching(folder: Path, at: int, stop: Callable[[], None]) -> Iterator[list[str]]:
    """Count the operations on files below a folder inside the block, and stop at the one of this number."""
    watch = Watch(folder, at, stop)
    fsync, save_file = os.fsync, pretrained.save_file

    def counted_fsync(descriptor: int) -> None:
        watch.meet("fsync")
        fsync(descriptor)

    def counted_save_file(tensors: Any, path: Path, **options: Any) -> None:
        watch.meet(f"save_file {path.name}")
        save_file(tensors, path, **options)
        watch.begun = path

    if not listening:
        sys.addaudithook(announce)
        listening.append(True)
    os.fsync, pretrained.save_file = counted_fsync, counted_save_file
    heard.append(watch)
    try:
        yield watch.operations
    finally:
        heard.clear()
        os.fsync, pretrained.save_file = fsync, save_file


def kill_this_process() -> None:
    """End at once, as in a power cut: nothing in the program can notice or clean up."""
    os.kill(os.getpid(), signal.SIGKILL)


def killed(act: Callable[[], object], folder: Path, at: int) -> bool:
    """Run something in a child process that is killed at an operation; False if it had ended before.

    Raises: RuntimeError if the child failed instead.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the child has one thread, and ends in this function
        child = os.fork()
    if child == 0:
        run_and_exit(act, folder, at)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return True
    if status:
        raise RuntimeError(f"the child process ended with status {status} before operation {at}")
    return False


def run_and_exit(act: Callable[[], object], folder: Path, at: int) -> None:
    """The child's life."""
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(SECONDS_FOR_A_CHILD)
        with watching(folder, at, kill_this_process):
            act()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)
