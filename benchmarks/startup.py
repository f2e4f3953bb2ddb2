"""How long until something happens: the import, and the way to the first training step, in fresh processes in turns.

    python benchmarks/startup.py [--quick]

What the import adds is measured over `import torch`, which both libraries need. The first step is one of both trainers,
with the same model from the same folder and the same batch, from the first import to the end of the update.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import tyro
from matplotlib.figure import Figure
from results import FOLDER, Results, Row
from turns import in_turns, ratio, spread

from minitransformer.models.bert import BertForPreTraining
from minitransformer.models.bert_config import BertConfig
from minitransformer.plots.drawing import BLUE, FAINT, ORANGE, plain

MOST_ADDED = 0.5
"""Seconds that our import may add to that of torch."""
TORCH, ADDED, WHOLE = "import torch, alone", "what the import adds to it", "until the first step is done"
WHO = ("ours", "transformers")
IMPORTED = re.compile(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)")

OURS = "import minitransformer as library\n"
THEIRS = "import transformers as library\nfrom transformers import BertForPreTraining, Trainer, TrainingArguments\n"
IMPORT = """
import time
begin = time.perf_counter()
import torch
torch_there = time.perf_counter()
{library}
all_there = time.perf_counter()
"""
FIRST_STEP = """
import json
torch.manual_seed(0)
examples = [
    {{"input_ids": row, "labels": row, "next_sentence_label": torch.tensor(number % 2)}}
    for number, row in enumerate(torch.randint(5, 500, (8, 32)))
]
model = library.BertForPreTraining.from_pretrained({folder!r})
losses = []
class Note(library.TrainerCallback):
    def on_log(self, args, state, control, logs=None, **_):
        losses.append(logs.get("loss"))
arguments = library.TrainingArguments(
    {output!r}, max_steps=1, logging_steps=1, per_device_train_batch_size=8, save_strategy="no", report_to="none",
    disable_tqdm=True, use_cpu=True, seed=0,
)
library.Trainer(model=model, args=arguments, train_dataset=examples, callbacks=[Note()]).train()
done = time.perf_counter()
"""
TELL = """
print(json.dumps({"torch": torch_there - begin, "library": all_there - torch_there, "step": done - begin,
                  "loss": losses[0]}))
"""


@dataclass(frozen=True)
class Measurement:
    """How to measure."""

    quick: bool = False
    """One turn only, to see that it runs."""
    turns: int = 5
    """How often each side is started."""
    folder: Path = FOLDER
    """Where startup.json and startup.png go."""


def script(library: str, model: Path, output: Path) -> str:
    """What a fresh process does."""
    return IMPORT.format(library=library) + FIRST_STEP.format(folder=str(model), output=str(output)) + TELL


def run(program: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a fresh process that asks no network."""
    surroundings = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    return subprocess.run(  # noqa: S603 - the program is ours
        [sys.executable, "-W", "ignore", *options, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env=surroundings,
    )


def imported_by() -> list[tuple[str, float]]:
    """The seconds that our import spends in each package, and in each part of ours, the longest first."""
    told = run(f"import torch\n{OURS}", "-X", "importtime").stderr
    found = [(name, int(microseconds)) for microseconds, name in IMPORTED.findall(told)]
    after_torch = found[[name for name, _ in found].index("torch") + 1 :]
    seconds: Counter[str] = Counter()
    for name, microseconds in after_torch:
        depth = 2 if name.startswith("minitransformer") else 1
        seconds[".".join(name.split(".")[:depth])] += microseconds
    return [(name, microseconds / 1e6) for name, microseconds in seconds.most_common()]


def small_model(folder: Path) -> Path:
    """A small model without dropout, in a folder that both libraries open."""
    torch.manual_seed(0)
    changes = {"vocab_size": 500, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    BertForPreTraining(BertConfig.preset("tiny", **changes)).save_pretrained(folder)
    return folder


def draw(figure: Figure, rows: list[Row]) -> None:
    """The medians one after the other: both imports, and what is left until the first step is done."""
    figure.set_size_inches(8, 2.8)
    axes = figure.add_subplot()
    median = {(row["seconds"], who): row[who]["median"] for row in rows for who in WHO}
    torch_alone, added, whole = ([median[what, who] for who in WHO] for what in (TORCH, ADDED, WHOLE))
    imported = [sum(both) for both in zip(torch_alone, added, strict=True)]
    step = [until - before for until, before in zip(whole, imported, strict=True)]
    axes.barh(WHO, torch_alone, color=FAINT, label="import torch")
    axes.barh(WHO, added, left=torch_alone, color=ORANGE, label="import the library")
    axes.barh(WHO, step, left=imported, color=BLUE, label="open the model, train one step")
    axes.invert_yaxis()
    axes.set_xlabel("seconds from the first import, medians of all turns")
    plain(axes)
    axes.grid(visible=False)
    figure.legend(frameon=False, loc="outside lower left", ncols=3)


def measure(measurement: Measurement) -> None:
    """Check, measure in turns, and tell where our import spends its time."""
    results = Results("startup", "From the first import to the first training step")
    told, steps = started_in_turns(1 if measurement.quick else measurement.turns, warmups=0 if measurement.quick else 1)
    apart = abs(told["ours"][0]["loss"] - told["theirs"][0]["loss"])
    results.check("the losses of the first step", found=apart, allowed=1e-4)
    results.require_checks()
    n_turns = len(steps["ours"])
    imports, alone = (
        {who: [each[what] for each in told[who][-n_turns:]] for who in told} for what in ("library", "torch")
    )
    results.add(**{"seconds": TORCH, "ours": spread(alone["ours"]), "transformers": spread(alone["theirs"])})
    for what, measured in ((ADDED, imports), (WHOLE, steps)):
        both = {"ours": spread(measured["ours"]), "transformers": spread(measured["theirs"])}
        over = {"transformers over ours": ratio(measured["theirs"], measured["ours"])}
        results.add(**{"seconds": what, **both, **over})
    tell_of_our_import(results, spread(imports["ours"])["median"])
    results.finish(measurement.folder, draw=partial(draw, rows=results.rows))


def started_in_turns(turns: int, warmups: int) -> tuple[dict[str, list[dict[str, float]]], dict[str, list[float]]]:
    """What each new process of both sides told, the warm-ups too, and the seconds to its first step without them."""
    told: dict[str, list[dict[str, float]]] = {"theirs": [], "ours": []}
    with tempfile.TemporaryDirectory() as name:
        model = small_model(Path(name) / "model")

        def side(who: str, library: str) -> float:
            program = script(library, model, Path(name) / who)
            told[who].append(json.loads(run(program).stdout.splitlines()[-1]))
            return told[who][-1]["step"]

        sides = {"theirs": lambda: side("theirs", THEIRS), "ours": lambda: side("ours", OURS)}
        return told, in_turns(sides, turns=turns, warmups=warmups)


def tell_of_our_import(results: Results, added: float) -> None:
    """What it adds, whether it may, and what in it takes longest."""
    verdict = "within" if added <= MOST_ADDED else "ABOVE"
    results.note(f"Our import adds {added:.2f} s, {verdict} the {MOST_ADDED} s that it may add.")
    longest = ", ".join(f"{name} {1e3 * seconds:.0f} ms" for name, seconds in imported_by()[:8])
    results.note(f"The longest in it, watched by `-X importtime`, which slows it: {longest}.")


if __name__ == "__main__":
    measure(tyro.cli(Measurement))
