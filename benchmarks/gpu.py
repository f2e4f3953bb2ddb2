"""BERT-base in bfloat16 at length 512 on a GPU: tokens a second, and the share of the card's multiplications in use.

    python benchmarks/gpu.py [--peak-tflops 989]

The utilisation is the operations that the model needs, by the formula of `operations.py` for real tokens and predicted
words alone, over what the device can do at its peak in that time. Whatever else a side computes, for padding or for
words that nobody asked for, counts for nothing. Without a GPU a small model is measured on the processor, against the
rate at which it was seen to multiply matrices.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from operations import training_operations
from pretrain import Case, Comparison, Timing, check_same, row_of, timed
from real_text import real_text
from results import FOLDER, Results
from roofline import Work, measure_machine
from turns import Measured, spread

FEW_STEPS = 10
"""Over which the loss has to fall alike; `pretrain.py` watches it for longer."""
PEAKS = {
    "B200": 2250,
    "H200": 989,
    "H100 PCIe": 756,
    "H100": 989,
    "A100": 312,
    "L40S": 362,
    "L4": 121,
    "RTX 4090": 165,
}
"""10¹² operations a second in bfloat16, nothing sparse, by NVIDIA's data sheets; the first name that matches counts."""


@dataclass(frozen=True)
class Measurement:
    """What to measure."""

    peak_tflops: float | None = None
    """What the device does at its peak, in 10¹² operations a second; known cards need not be told."""
    batch_size: int = 32
    """Pairs of an update."""
    turns: int = 5
    """How often each side trains."""
    quick: bool = False
    """A tiny model, twice, to see that all of this runs."""
    folder: Path = FOLDER
    """Where results go."""

    @property
    def comparison(self) -> Comparison:
        """What is trained: BERT-base on a GPU, a small model elsewhere."""
        given = {"turns": self.turns, "quick": self.quick, "folder": self.folder, "dropout": (0.1,)}
        if torch.cuda.is_available() and not self.quick:
            base = {"config": ("base",), "precision": ("bfloat16",), "length": 512, "batch_size": self.batch_size}
            return Comparison(**base, device="cuda", **given)
        small = {"config": ("mini",), "precision": ("float32",), "compiled": False, "batch_size": self.batch_size // 4}
        return Comparison(**small, **given).as_asked()


def main(measurement: Measurement) -> None:
    """Check, measure, and write what came of it."""
    comparison = measurement.comparison
    text = real_text(measurement.folder / "text", measurement.quick)
    cases = [Case(*choice, comparison, text) for choice in comparison.choices]
    results = Results("gpu", "Pretraining BERT where multiplications are fast: ours over transformers")
    check_same(results, cases, FEW_STEPS)
    results.require_checks()
    peak, source = peak_of(measurement, cases[0])
    results.note(f"Utilisation is of {peak / 1e12:.3g} · 10¹² operations a second, {source}.")
    for case in cases:
        timing = timed(case)
        shares = {f"{name}, utilisation": utilisation(timing, name, peak) for name in timing.seconds}
        results.add(**row_of(timing), **shares)
    results.finish(measurement.folder)


def peak_of(measurement: Measurement, case: Case) -> tuple[float, str]:
    """Operations a second at the device's peak, and how that is known."""
    if measurement.peak_tflops is not None:
        return 1e12 * measurement.peak_tflops, "as given"
    if case.comparison.device == "cuda":
        known = [tera for card, tera in PEAKS.items() if card in torch.cuda.get_device_name()]
        if known:
            return 1e12 * known[0], "by its data sheet"
    machine = measure_machine(quick=measurement.quick, device=case.comparison.device)
    return machine.rate(case.precision), "the fastest product of matrices seen on this device"


def utilisation(timing: Timing, side: str, peak: float) -> Measured:
    """The share of the peak that the model's own operations were computed at."""
    works = [Work(timing.case.config, batch) for batch in timing.batches]
    operations = sum(sum(training_operations(work).values()) for work in works)
    return spread([operations / seconds / peak for seconds in timing.seconds[side]])


if __name__ == "__main__":
    main(tyro.cli(Measurement))
