"""Kill training wherever it can be killed, resume it, and compare with a run that nothing disturbed.

    python benchmarks/trust.py --output-file trust.json

Four tables: every way to train, stopped and resumed; a SIGKILL at random moments of a run; a SIGKILL at every write of
a save; single bits flipped in random places of a checkpoint. Compared bit for bit: parameters, moments, logs, and what
callbacks remember. Small models, so that it takes minutes; what is held to is no matter of size.
"""

import os
import random
import shutil
import signal
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import tyro
from killing import killed
from safetensors.torch import load_file, save_file
from tables import as_table
from tqdm import tqdm
from trusted_runs import N_STEPS, SCENARIOS, Material, Scenario, differences, outcome, resumed_after

from minitransformer import files
from minitransformer.checkpoint import newest_checkpoint, require_whole
from minitransformer.errors import InputError

SHORT_RUN = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2, "save_total_limit": 1}
"""A run that saves twice, and removes what it saved first."""
LONG_RUN = {"max_steps": 40, "save_strategy": "steps", "save_steps": 1, "save_total_limit": 2}
"""A run that writes checkpoints most of the time."""
KILLED = ("masks drawn anew, dropout, shuffled", "accumulation", "grouped by length", "evaluations on the way")


@dataclass(frozen=True)
class Trial:
    """How hard to try."""

    kills: int = 100
    """Kills at random moments."""
    flips: int = 200
    """Single bits flipped in a checkpoint."""
    seed: int = 0
    """Decides the moments and the places."""
    output_file: Path | None = None
    """Where the figures go, as JSON."""


def main(trial: Trial) -> None:
    """Print the tables, and end with 1 if anything was lost."""
    torch.set_num_threads(1)  # a process with threads cannot be forked
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        material = Material.prepare(folder)
        tables = {
            "stopped and resumed": table_of_scenarios(material, folder),
            "killed at random moments": table_of_kills(material, folder, trial),
            "killed at every operation on files": table_of_operations(material, folder),
            "flipped bits": table_of_flips(material, folder, trial),
        }
    for title, rows in tables.items():
        print(f"\n{title}\n\n{as_table(rows)}")
    if trial.output_file is not None:
        files.write_json(trial.output_file, {"torch": torch.__version__, "tables": tables})
    if not all(row["exact"] == row["tried"] for rows in tables.values() for row in rows):
        raise SystemExit("something was lost: see the rows in which exact is below tried")


# Stopped and resumed


def table_of_scenarios(material: Material, folder: Path) -> list[dict[str, Any]]:
    """Each way to train, stopped after each of its steps."""
    rows = []
    for number, (name, scenario) in enumerate(tqdm(SCENARIOS.items(), desc="scenarios")):
        whole = scenario.build(material, folder / f"whole-{number}")
        whole.train()
        stops = range(1, whole.state.global_step)
        differing: set[str] = set()
        n_exact = 0
        for step in stops:
            place = folder / f"stopped-{number}-{step}"
            found = differences(outcome(resumed_after(scenario, material, place, step)), outcome(whole))
            differing |= set(found)
            n_exact += not found
            shutil.rmtree(place)
        rows.append(
            {"way to train": name, "tried": len(stops), "exact": n_exact, "differs": ", ".join(sorted(differing))}
        )
    return rows


# Killed at random moments


def table_of_kills(material: Material, folder: Path, trial: Trial) -> list[dict[str, Any]]:
    """Runs that are killed at a random moment, again and again until one gets through, and what was left each time."""
    moments = random.Random(trial.seed)
    rows = []
    for number, name in enumerate(KILLED):
        scenario, place = SCENARIOS[name], folder / f"killed-{number}"
        whole, seconds = undisturbed(scenario, material, folder / f"long-{number}", LONG_RUN)
        n_kills = trial.kills // len(KILLED) + (number < trial.kills % len(KILLED))
        left = {"nothing": 0, "half a checkpoint": 0, "whole ones": 0}
        n_exact = 0
        for _ in tqdm(range(n_kills), desc=name):
            shutil.rmtree(place, ignore_errors=True)
            train = partial(train_and_keep, scenario, material, place, LONG_RUN)
            kill_after(moments.uniform(0, seconds), train)
            left[what_is_left(place)] += 1
            in_child(train)
            n_exact += not differences(kept(place), whole)
        rows.append({"way to train": name, "tried": n_kills, "exact": n_exact, **left})
    return rows


def undisturbed(
    scenario: Scenario, material: Material, folder: Path, settings: dict[str, Any]
) -> tuple[dict[str, Any], float]:
    """How a run ends when nobody kills it, and how long it takes."""
    started = time.perf_counter()
    in_child(partial(train_and_keep, scenario, material, folder, settings))
    return kept(folder), time.perf_counter() - started


def train_and_keep(scenario: Scenario, material: Material, folder: Path, settings: dict[str, Any]) -> None:
    """Train from the newest checkpoint there is, and write down how it ends."""
    trainer = scenario.build(material, folder, **settings)
    trainer.train(resume_from_checkpoint=True)
    ended = outcome(trainer)
    tensors = {
        f"{part} {name}": torch.as_tensor(value)
        for part in ("model", "optimizer")
        for name, value in ended.pop(part).items()
    }
    with files.replacing(folder / "end.safetensors") as unfinished:
        save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, unfinished)
    files.write_json(folder / "end.json", ended)


def kept(folder: Path) -> dict[str, Any]:
    """How a run ended, as it was written down."""
    tensors = load_file(folder / "end.safetensors")
    parts = {
        part: {name: tensor for name, tensor in tensors.items() if name.startswith(f"{part} ")}
        for part in ("model", "optimizer")
    }
    return {**files.read_json(folder / "end.json"), **parts}


def what_is_left(folder: Path) -> str:
    """What a killed run left behind."""
    found = list(folder.glob(".checkpoint-*"))
    if found:
        return "half a checkpoint"
    return "nothing" if newest_checkpoint(folder) is None else "whole ones"


def kill_after(seconds: float, action: Callable[[], None]) -> None:
    """Do something in a process that is killed after a time, if it has not ended before."""
    child = fork(action)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def in_child(action: Callable[[], None]) -> None:
    """Do something in a process of its own, to its end."""
    _, status = os.waitpid(fork(action), 0)
    if status:
        raise SystemExit("a run that should have gone through has failed; see above")


def fork(action: Callable[[], None]) -> int:
    """A process of its own that does something, and nothing after it."""
    child = os.fork()
    if child:
        return child
    try:
        action()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


# Killed at every operation on files


def table_of_operations(material: Material, folder: Path) -> list[dict[str, Any]]:
    """A short run, killed at each operation on its files: before each, and with each file half written."""
    scenario, place = SCENARIOS["masks drawn anew, dropout, shuffled"], folder / "operations"
    whole, _ = undisturbed(scenario, material, folder / "short", SHORT_RUN)
    train = partial(train_and_keep, scenario, material, place, SHORT_RUN)
    n_killed = n_exact = 0
    left = {"nothing": 0, "half a checkpoint": 0, "whole ones": 0}
    with tqdm(desc="operations on files") as bar:
        while killed(train, place, n_killed):
            n_killed += 1
            left[what_is_left(place)] += 1
            in_child(train)
            n_exact += not differences(kept(place), whole)
            shutil.rmtree(place)
            bar.update()
    return [{"run": "four steps, two saves, one rotation", "tried": n_killed, "exact": n_exact, **left}]


# Flipped bits


def table_of_flips(material: Material, folder: Path, trial: Trial) -> list[dict[str, Any]]:
    """Single bits flipped in a checkpoint, half of them anywhere, half in a file drawn first."""
    scenario = SCENARIOS["masks drawn anew, dropout, shuffled"]
    scenario.build(material, folder / "flipped", save_strategy="steps", save_steps=N_STEPS).train()
    checkpoint = newest_checkpoint(folder / "flipped")
    if checkpoint is None:
        raise SystemExit("there is no checkpoint to flip bits in")
    places = random.Random(trial.seed)
    inside = sorted(file for file in checkpoint.rglob("*") if file.is_file())
    sizes = [file.stat().st_size for file in inside]
    counts = {file.name: [0, 0] for file in inside}
    for number in range(trial.flips):
        file = places.choices(inside, weights=sizes if number % 2 else None)[0]
        content = file.read_bytes()
        flipped = bytearray(content)
        flipped[places.randrange(len(content))] ^= 1 << places.randrange(8)
        file.write_bytes(flipped)
        counts[file.name][0] += 1
        counts[file.name][1] += is_named(file, checkpoint)
        file.write_bytes(content)
    require_whole(checkpoint)
    return [{"file": name, "tried": tried, "exact": noticed} for name, (tried, noticed) in counts.items()]


def is_named(file: Path, checkpoint: Path) -> bool:
    """Whether a damaged checkpoint is refused by the name of the file."""
    try:
        require_whole(checkpoint)
    except InputError as refusal:
        return file.name in str(refusal)
    return False


if __name__ == "__main__":
    main(tyro.cli(Trial))
