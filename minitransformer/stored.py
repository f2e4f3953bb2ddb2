"""Arrays on disk: read where a place is known, memory-mapped where one has to be searched."""

import os
import weakref
from collections.abc import Sequence
from pathlib import Path
from threading import Lock

import numpy as np
from jaxtyping import Int

Numbers = Int[np.ndarray, " _"]
ONE_AT_A_TIME = Lock()


class Stored:
    """An array of numbers in a file that `np.save` wrote, of which parts are read.

    Nothing is mapped into memory, since what is looked at there counts as the process's own: a hundred tokens bring as
    much along as the operating system holds in one piece, which may be a megabyte.

    Raises: OSError or ValueError if there is no such file, it is cut off, or it holds no numbers.
    """

    def __init__(self, file: Path) -> None:
        with file.open("rb") as content:
            np.lib.format.read_magic(content)
            (self.count,), _, self.dtype = np.lib.format.read_array_header_1_0(content)
            self.offset = content.tell()
        if self.dtype.hasobject or file.stat().st_size < self.offset + self.count * self.dtype.itemsize:
            raise ValueError(f"{file} is cut off, or holds no numbers")
        self.descriptor = os.open(file, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        weakref.finalize(self, os.close, self.descriptor)


def read_parts(arrays: Sequence[Stored], array_of: Numbers, starts: Numbers, stops: Numbers) -> np.ndarray:
    """Read parts of several arrays of one type, each from a start to a stop, one after another."""
    size = arrays[0].dtype.itemsize
    places = zip(array_of.tolist(), (starts * size).tolist(), ((stops - starts) * size).tolist(), strict=True)
    files = [(array.descriptor, array.offset) for array in arrays]
    read = [read_at(files[at][0], length, files[at][1] + start) for at, start, length in places]
    return np.frombuffer(b"".join(read), arrays[0].dtype)


def read_at(descriptor: int, length: int, place: int) -> bytes:
    """Read some bytes of an open file; processes that were forked share it, and must not move each other's place."""
    if hasattr(os, "pread"):
        return os.pread(descriptor, length, place)
    with ONE_AT_A_TIME:  # Windows, where nothing is forked, but a thread may read ahead
        os.lseek(descriptor, place, os.SEEK_SET)
        return os.read(descriptor, length)
