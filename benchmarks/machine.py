"""What this machine can do at best: its rate of multiplying matrices, and of moving bytes.

The fastest of all measurements counts, for whatever else runs can only slow one down. It is kept as long as the machine
is not started anew, and made better by every measurement after it.
"""

import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from minitransformer import files

CACHE = Path(__file__).parent.parent / "runs" / "bench" / "machine.json"
TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}

Shape = tuple[int, int, int]
"""Rows, inner width and columns of a product of matrices."""

SHAPES: tuple[Shape, ...] = ((2048, 2048, 2048), (4096, 256, 256), (4096, 256, 1024), (4096, 768, 768))
"""Where a machine is at its best: a large square, and products of models of the sizes mini and base."""


@dataclass(frozen=True)
class Machine:
    """Operations per second in each type, and bytes per second, each read and each written byte counted."""

    processor: str
    device: str
    n_threads: int
    torch: str
    boot: str
    float32: float
    bfloat16: float
    copy: float

    def rate(self, dtype: str) -> float:
        """Operations per second in a type."""
        return float(getattr(self, dtype))

    def ridge(self, dtype: str) -> float:
        """Operations per byte from which on the multiplications are the limit, and no longer the memory."""
        return self.rate(dtype) / self.copy

    @property
    def fastest_dtype(self) -> str:
        """The type in which it multiplies faster."""
        return max(TYPES, key=self.rate)


def measure_machine(anew: bool = False, quick: bool = False, device: str | None = None) -> Machine:
    """The machine as measured before, since it was started; `anew` measures it once more, and keeps what is better.

    With `quick` it is measured roughly, and nothing is kept.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if quick:
        return measured(device, quick=True)
    before = kept(device)
    if before and not anew:
        return before
    machine = measured(device, quick=False)
    if before:
        machine = replace(
            machine, **{what: max(getattr(each, what) for each in (machine, before)) for what in MEASURED}
        )
    keep(machine)
    return machine


MEASURED = ("float32", "bfloat16", "copy")


def measured(device: str, quick: bool) -> Machine:
    """Measure: a second or two for each figure; with `quick`, small products and a small copy."""
    shapes = ((256, 256, 256),) if quick else SHAPES
    seconds = 0.02 if quick else 0.5
    rates = {name: max(matmul_rate(shape, name, device, seconds) for shape in shapes) for name in TYPES}
    copied = 2**22 if quick else 2**28
    return Machine(**identity(device), copy=copy_rate(copied, device, seconds), **rates)  # type: ignore[arg-type]


def identity(device: str) -> dict[str, str | int]:
    """Which machine this is, and since when; measurements of another are none of this one."""
    name = torch.cuda.get_device_name() if device == "cuda" else processor()
    return {
        "processor": name,
        "device": device,
        "n_threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "boot": boot(),
    }


def processor() -> str:
    """The name of the processor, as the operating system knows it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        if names:
            return names[0]
    return platform.processor() or platform.machine()


def boot() -> str:
    """What tells this start of the machine from others; on systems without it, this process."""
    identifier = Path("/proc/sys/kernel/random/boot_id")
    return identifier.read_text().strip() if identifier.exists() else f"process {os.getpid()}"


def kept(device: str) -> Machine | None:
    """What was measured of this machine before."""
    if not CACHE.exists():
        return None
    for entry in json.loads(CACHE.read_text("utf-8")):
        if {name: entry.get(name) for name in identity(device)} == identity(device):
            return Machine(**entry)
    return None


def keep(machine: Machine) -> None:
    """Keep a measurement beside those of the same start with other devices or numbers of threads."""
    entries = json.loads(CACHE.read_text("utf-8")) if CACHE.exists() else []
    same = identity(machine.device)
    others = [
        entry
        for entry in entries
        if entry.get("boot") == machine.boot and {name: entry.get(name) for name in same} != same
    ]
    CACHE.parent.mkdir(parents=True, exist_ok=True)
    files.write_text(CACHE, json.dumps([*others, asdict(machine)], indent=2) + "\n")


def matmul_rate(shape: Shape, dtype: str, device: str, seconds: float) -> float:
    """Operations per second of a product of matrices: a multiplication and an addition for each pair that meets.

    Without instructions for a type a processor can be a hundred times slower in it; then a sixteenth of the rows do.
    """
    rows, inner, columns = shape
    left = torch.randn(rows, inner, device=device, dtype=TYPES[dtype])
    right = torch.randn(inner, columns, device=device, dtype=TYPES[dtype])
    few = left[: max(1, rows // 16)]
    in_short = fastest(lambda: few @ right, 0.0)
    if in_short > seconds / 16:
        return 2 * len(few) * inner * columns / in_short
    result = torch.empty(rows, columns, device=device, dtype=TYPES[dtype])
    return 2 * rows * inner * columns / fastest(lambda: torch.matmul(left, right, out=result), seconds)


def copy_rate(n_bytes: int, device: str, seconds: float) -> float:
    """Bytes per second through memory: of a copy, or of an addition in place, whichever is faster.

    Where a copy writes, a processor may read first what is there, unseen; an addition in place has to anyway.
    """
    source = torch.ones(n_bytes // 4, device=device)
    target = torch.zeros_like(source)
    copied = 2 * n_bytes / fastest(lambda: target.copy_(source), seconds)
    added = 3 * n_bytes / fastest(lambda: target.add_(source), seconds)
    return max(copied, added)


def fastest(action: Callable[[], object], seconds: float) -> float:
    """The shortest time that an action takes, tried twice at least, and for a number of seconds."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 2 or time.perf_counter() < end:
        times.append(seconds_of(action))
    return min(times)


def seconds_of(action: Callable[[], object]) -> float:
    """How long an action takes, on an accelerator to its very end."""
    finish()
    begin = time.perf_counter()
    action()
    finish()
    return time.perf_counter() - begin


def finish() -> None:
    """Wait for an accelerator, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
