"""The doctor on a Python file: what it takes from there by name, and one clear line for whatever is wrong."""

import json
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from doctor_patients import failed, found

from minitransformer import cli
from minitransformer.doctor import LADDER, examine_file
from minitransformer.errors import InputError

pytestmark = pytest.mark.usefixtures("without_shape_checks")

MODEL = """
    import torch
    import torch.nn.functional as F
    from torch import nn

    class Bigrams(nn.Module):
        def __init__(self):
            super().__init__()
            self.next = nn.Embedding(11, 11)
            nn.init.normal_(self.next.weight, std=0.1)

        def forward(self, input_ids, labels=None):
            logits = self.next(input_ids)
            loss = None if labels is None else F.cross_entropy(logits.flatten(0, 1), labels.flatten())
            return {"loss": loss, "logits": logits}

    def some_ids():
        ids = torch.arange(3 * 4).reshape(3, 4) % 11
        return {"input_ids": ids[:, :-1], "labels": ids[:, 1:]}
"""
HEALTHY = (
    MODEL
    + """
    model = Bigrams()
    batch = some_ids()
    causal = True
"""
)
PAIR = (
    MODEL
    + """
    class Pair(Bigrams):
        def forward(self, ids, targets=None):
            return tuple(super().forward(ids, targets).values())[::-1]

    def turned(model, batch):
        logits, loss = model(batch["input_ids"], batch.get("labels"))
        return loss, logits

    model, batch = Pair, some_ids
"""
)


def written(folder: Path, text: str, name: str = "mine.py") -> Path:
    """A learner's file."""
    path = folder / name
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return path


# What is taken from the file


def test_a_model_and_a_batch_are_found_by_their_names(tmp_path: Path) -> None:
    diagnosis = examine_file(written(tmp_path, HEALTHY))
    assert diagnosis.passed, str(diagnosis)
    assert "ln 11" in found(diagnosis, "first loss")
    assert found(diagnosis, "later tokens") == "they do not change earlier logits"


def test_functions_and_classes_without_arguments_give_a_model_and_a_batch(tmp_path: Path) -> None:
    path = written(tmp_path, MODEL + "\n    model, batch = Bigrams, some_ids\n")
    assert examine_file(path).passed


def test_other_names_can_be_given(tmp_path: Path) -> None:
    assert examine_file(written(tmp_path, MODEL), model="Bigrams", batch="some_ids").passed


def test_an_adapter_is_taken_by_its_name_or_by_another(tmp_path: Path) -> None:
    path = written(tmp_path, PAIR)
    assert examine_file(path, adapter="turned").passed
    with pytest.raises(InputError, match=r"the model takes \(ids, targets\) and the batch holds \(input_ids, labels\)"):
        examine_file(path)
    assert examine_file(written(tmp_path, PAIR + "\n    adapter = turned\n")).passed


def test_the_number_of_classes_and_whether_it_is_causal_are_taken_too_and_can_be_given(tmp_path: Path) -> None:
    path = written(tmp_path, HEALTHY.replace("causal = True", "vocab_size = 12"))
    diagnosis = examine_file(path, steps=1)
    assert "ln 12" in found(diagnosis, "first loss")
    assert found(diagnosis, "later tokens").startswith("not judged")
    diagnosis = examine_file(path, vocab_size=13, causal=True, steps=1)
    assert "ln 13" in found(diagnosis, "first loss")
    assert found(diagnosis, "later tokens") == "they do not change earlier logits"


def test_a_batch_without_labels_leaves_the_checks_of_the_loss_not_judged(tmp_path: Path) -> None:
    path = written(tmp_path, HEALTHY + "\n    del batch['labels']\n")
    diagnosis = examine_file(path)
    for name in ("finite loss", "first loss", "labels", "gradient", "learning rates", "one batch by heart"):
        assert found(diagnosis, name).startswith("not judged: ")
    assert diagnosis.passed, "what could be judged is healthy"


def test_an_examination_of_a_file_is_repeatable_and_leaves_the_random_numbers_alone(tmp_path: Path) -> None:
    path, state = written(tmp_path, HEALTHY), torch.get_rng_state()
    assert examine_file(path, steps=3).to_json() == examine_file(path, steps=3).to_json()
    assert torch.equal(torch.get_rng_state(), state)


def test_a_file_may_import_its_neighbours_which_are_read_anew_each_time(tmp_path: Path) -> None:
    path = written(tmp_path, "from neighbour import Bigrams as model, some_ids as batch\n")
    before = list(sys.path)
    written(tmp_path, MODEL, "neighbour.py")
    assert examine_file(path, steps=1).checks[0].passed
    written(tmp_path, MODEL.replace("F.cross_entropy(", "torch.nan * F.cross_entropy("), "neighbour.py")
    assert not examine_file(path, steps=1).checks[0].passed
    assert sys.path == before
    assert "neighbour" not in sys.modules


def test_dataclasses_of_a_file_find_their_module(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "from __future__ import annotations\n"
        + textwrap.dedent(HEALTHY)
        + "from dataclasses import dataclass\n@dataclass\nclass Config:\n    width: int = 3\n",
    )
    assert examine_file(path, steps=1).checks[0].passed


def test_what_raises_is_told_with_its_line(tmp_path: Path) -> None:
    path = written(tmp_path, HEALTHY.replace("labels.flatten()", "labels"))
    diagnosis = examine_file(path)
    line = next(number for number, row in enumerate(path.read_text().splitlines(), 1) if "F.cross_entropy" in row)
    assert f"(mine.py:{line})" in found(diagnosis, "finite loss")
    assert failed(diagnosis) == ["finite loss"]
    assert "other shapes, types or names" in diagnosis.failures[0].means


# What cannot be used

REFUSED = [
    ("def f(:\n", "cannot be imported (mine.py:1: SyntaxError: "),
    ("import torch\nimport nowhere_at_all\n", "cannot be imported (mine.py:2: ModuleNotFoundError: No module named"),
    ("1 / 0\n", "cannot be imported (mine.py:1: ZeroDivisionError: division by zero)"),
    ("import json\njson.loads('{')\n", "cannot be imported (mine.py:2: JSONDecodeError: "),
    ("raise SystemExit(3)\n", "cannot be imported (mine.py:1: SystemExit: 3)"),
    ("import torch\nx = 1\n", "has no 'model': looked for an nn.Module, or a function"),
    ("import torch\nx = 1\n", "found: x; say --model NAME"),
    ("", "found: nothing; say --model NAME"),
    (MODEL + "\n    net = Bigrams()\n", "found: Bigrams, some_ids, net; say --model NAME"),
    (MODEL + "\n    model = Bigrams()\n", "has no 'batch': looked for a dict of tensors with input_ids and labels"),
    ("model = 3\n", "is an int, and must be an nn.Module, or a function without arguments that gives one"),
    ("def model(): ...\n", "is a NoneType, and must be an nn.Module"),
    ("def model(n): ...\n", "raised TypeError: model() missing 1 required positional argument: 'n'"),
    ("def model():\n    raise ValueError('no')\n", "raised ValueError: no (mine.py:2)"),
    (MODEL + "\n    model, batch = Bigrams, (1, 2)\n", "is a tuple of 2, and must be a dict of tensors with input_ids"),
    (MODEL + "\n    model, batch = Bigrams, {'input_ids': [1]}\n", "batch['input_ids'] of "),
    (MODEL + "\n    model, batch = Bigrams, {'ids': torch.ones(1)}\n", "the batch holds ['ids'], and needs input_ids"),
    (HEALTHY + "\n    adapter = 3\n", "adapter of "),
    (
        HEALTHY + "\n    adapter = lambda model, batch: 1\n",
        "the adapter returns an int, and must return (loss, logits)",
    ),
    (HEALTHY + "\n    vocab_size = 2.5\n", "is a float, and must be a whole number"),
    (HEALTHY + "\n    causal = 'yes'\n", "is a str, and must be True or False"),
    (
        HEALTHY.replace('return {"loss"', 'return logits; {"loss"'),
        "the model returns a Tensor, not results by name; give an adapter",
    ),
]


@pytest.mark.parametrize(("text", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_a_file_that_cannot_be_used_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError) as refused:
        examine_file(written(tmp_path, text))
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_missing_or_no_python_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no file"):
        examine_file(tmp_path / "none.py")
    with pytest.raises(InputError, match=r"cannot be imported .*is no Python file"):
        examine_file(written(tmp_path, "", "notes.txt"))


# The command


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command: its exit code, what it printed, and what it complained of."""

    def command(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["minitransformer", "doctor", *arguments])
        code: Any = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return command


def test_the_command_examines_a_file(run: Run, tmp_path: Path) -> None:
    code, out, err = run(str(written(tmp_path, HEALTHY)))
    assert (code, err) == (0, "")
    assert out.count("\n") == len(LADDER)
    assert "✗" not in out


def test_what_the_file_prints_does_not_mix_with_the_diagnosis(run: Run, tmp_path: Path) -> None:
    path = written(
        tmp_path, HEALTHY.replace("logits = ", "print('asked'); logits = ").replace("ids[:, 1:]", "ids[:, :0]")
    )
    code, out, err = run(str(path), "--output", "json")
    assert code == 1
    assert json.loads(out)["passed"] is False
    assert err.startswith("asked\n")


def test_all_names_can_be_given_on_the_command_line(run: Run, tmp_path: Path) -> None:
    path = written(tmp_path, PAIR)
    options = ("--model", "Pair", "--batch", "some_ids", "--adapter", "turned", "--causal", "--vocab-size", "11")
    code, out, err = run(str(path), *options)
    assert (code, err) == (0, "")
    assert "✓ later tokens" in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--model", "nothing"), "has no 'nothing': looked for an nn.Module"),
        (("--batch", "nothing"), "has no 'nothing': looked for a dict of tensors"),
        (("--adapter", "nothing"), "has no 'nothing': looked for a function of (model, batch)"),
        (("--vocab-size", "0"), "vocab_size=0 must be at least 1"),
        (("--steps", "0"), "steps=0 must be at least 1"),
        (("--text", "The sea."), "--text is for the folder of a kept model"),
        (("--picture", "/proc/none.png"), "cannot write /proc/none.png"),
    ],
)
def test_options_that_cannot_be_used_end_with_2_and_one_line(
    run: Run, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    code, _, err = run(str(written(tmp_path, HEALTHY)), *options)
    assert code == 2
    assert err.count("\n") == 1
    assert err.startswith("minitransformer: ")
    assert message in err


def test_a_file_that_cannot_be_used_ends_with_2(run: Run, tmp_path: Path) -> None:
    code, out, err = run(str(written(tmp_path, "x = (\n")))
    assert (code, out, err.count("\n")) == (2, "", 1)
    code, out, err = run(str(tmp_path / "none.py"))
    assert (code, out, err.count("\n")) == (2, "", 1)
