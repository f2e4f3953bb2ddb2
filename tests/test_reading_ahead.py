"""Reading ahead: the next update is read by a thread while this one computes, and nobody can tell by the numbers."""

import os
import random
import signal
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from minitransformer.batches import DataCollatorWithPadding, PaddingCollator, default_data_collator
from minitransformer.laws.cases import numbers, whole_numbers
from minitransformer.laws.tolerances import assert_same
from minitransformer.tokenizer import Tokenizer
from minitransformer.trainer import Trainer, TrainerCallback, TrainingInterruptedError, reading
from minitransformer.trainer.processes import Processes
from minitransformer.trainer.reading import Collation, MicroBatch, ReadUpdate, UpdatesOfPass, in_workers, one_ahead
from minitransformer.training_arguments import TrainingArguments


class Line(nn.Module):
    """A line with dropout, which draws while the next update is read."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(7)
        self.dense = nn.Linear(3, 2)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        logits = self.dense(nn.functional.dropout(x, 0.5, self.training))
        return {"logits": logits} if labels is None else {"logits": logits, "loss": self.loss(logits, labels)}

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The mean surprise."""
        return nn.functional.cross_entropy(logits, labels)


def vectors(count: int = 7) -> list[dict[str, Tensor]]:
    """Vectors with a class each."""
    x, labels = numbers(11, "x", count, 3, dtype=torch.float32), whole_numbers(11, "labels", 0, 2, count)
    return [{"x": x[number], "labels": labels[number]} for number in range(count)]


class Vectors:
    """The same as a dataset that says that it draws nothing, and notes which thread reads it."""

    is_read_without_chance = True

    def __init__(self, count: int = 7, bad: int | None = None) -> None:
        self.examples, self.bad = vectors(count), bad
        self.readers: list[bool] = []

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Tensor]]:
        self.readers.append(threading.current_thread() is threading.main_thread())
        if self.bad in indices:
            raise OSError(f"example {self.bad} cannot be read")
        return [self.examples[index] for index in indices]


class Noisy(Vectors):
    """Vectors with noise from the generators that all draw from."""

    is_read_without_chance = False

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        self.readers.append(threading.current_thread() is threading.main_thread())
        noise = torch.rand(3) + np.random.rand() + random.random()
        return {**self.examples[index], "x": self.examples[index]["x"] + noise}


def trainer_of(folder: Path, dataset: Any, **changes: Any) -> Trainer:
    """A trainer of a line on two vectors an update."""
    options = {name: changes.pop(name) for name in ("callbacks", "eval_dataset", "data_collator") if name in changes}
    settings = {"per_device_train_batch_size": 2, "num_train_epochs": 2, "learning_rate": 0.1, "disable_tqdm": True}
    settings |= {"logging_steps": 1, "save_strategy": "no", "use_cpu": True}
    arguments = TrainingArguments(str(folder), **{**settings, **changes})
    return Trainer(Line(), arguments, train_dataset=dataset, **options)


@pytest.fixture(autouse=True)
def as_for_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read ahead on a CPU, too."""
    how = {"n_workers": 0, "ahead": True, "pin": False}
    monkeypatch.setattr(Processes, "how_to_read", lambda *_: how)


def in_line(read: Any, count: int) -> Iterator[ReadUpdate]:
    """Read each update when it is asked for."""
    return (read(number) for number in range(count))


def assert_no_thread_is_left() -> None:
    """Fail if a thread that reads is still there."""
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("reading")] == []


def numbers_of(trainer: Trainer) -> tuple[list[float], dict[str, Tensor]]:
    """What a run logged and learned."""
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry], trainer.model.state_dict()


@pytest.mark.parametrize("dataset", [vectors(), tuple(vectors()), Vectors()], ids=["list", "tuple", "says so"])
def test_a_run_that_reads_ahead_is_the_run_that_reads_in_line(
    dataset: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kills: an update left out, read twice or in another order; a reader that moves the generators of dropout."""
    calls: list[int] = []
    monkeypatch.setattr(reading, "one_ahead", lambda read, count: calls.append(count) or one_ahead(read, count))
    ahead = trainer_of(tmp_path, dataset, eval_dataset=vectors(5), eval_strategy="steps", eval_steps=3)
    ahead.train()
    assert calls[0] == 4, "it should be read ahead"
    assert_no_thread_is_left()
    monkeypatch.setattr(reading, "one_ahead", in_line)
    inline = trainer_of(tmp_path, dataset, eval_dataset=vectors(5), eval_strategy="steps", eval_steps=3)
    inline.train()
    (losses, tensors), (wanted_losses, wanted) = numbers_of(ahead), numbers_of(inline)
    assert losses == wanted_losses
    for name, tensor in wanted.items():
        assert_same(tensors[name], tensor, name)


def test_what_is_read_ahead_is_what_seeded_reading_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: a collator that draws, taken for one that doesn't because its seeds are left out."""
    tokenizer = Tokenizer.from_vocabulary([f"w{number}" for number in range(20)])
    examples = [{"input_ids": whole_numbers(number, "ids", 5, 20, 3 + number)} for number in range(6)]
    for collate in (PaddingCollator(tokenizer), DataCollatorWithPadding(tokenizer)):
        updates = UpdatesOfPass(examples, Collation(collate, 3), [np.array([4, 0]), np.array([2])], 1, 2)
        assert updates.leaves_generators_alone
        found = [update.micro_batches[0].batch for update in in_workers(updates, 0, ahead=True)]
        seeded = UpdatesOfPass(examples, Collation(lambda rows, c=collate: c(rows), 3), updates.updates, 1, 2)
        assert not seeded.leaves_generators_alone
        for batch, update in zip(found, in_workers(seeded, 0, ahead=True), strict=True):
            wanted = update.micro_batches[0].batch
            assert batch.keys() == wanted.keys()
            assert all(torch.equal(batch[name], wanted[name]) for name in wanted)


class DrawingCollator(DataCollatorWithPadding):
    """One of ours that somebody made draw."""


@pytest.mark.parametrize(
    ("dataset", "collate"),
    [
        (Noisy(), default_data_collator),
        (vectors(), partial(default_data_collator)),
        (vectors(), DrawingCollator(Tokenizer.from_vocabulary(["a"]))),
        ([type("Lazy", (dict,), {})(example) for example in vectors()], default_data_collator),
    ],
    ids=["a dataset", "a function", "a class of somebody's", "examples"],
)
def test_what_may_draw_is_read_in_line(dataset: Any, collate: Any) -> None:
    """Kills: a thread that seeds and moves the generators while the model draws from them."""
    assert not Collation(collate, 0).leaves_generators_alone(dataset)


def test_the_first_update_is_read_ahead_of_the_step_and_data_that_draws_is_not(tmp_path: Path) -> None:
    """Kills: a thread in which nothing is read; a thread for data that may not be read in one."""
    for dataset, by_main in ((Vectors(), {False}), (Noisy(), {True})):
        trainer_of(tmp_path, dataset).train()
        assert set(dataset.readers) == by_main


def test_the_next_update_is_being_read_while_this_one_computes_and_no_more() -> None:
    """Kills: an update that is read only when it is asked for; a whole pass read into memory."""
    begun = [threading.Event() for _ in range(4)]

    def read(number: int) -> int:
        begun[number].set()
        return number

    updates = one_ahead(read, 4)
    assert next(updates) == 0
    assert begun[1].wait(10)
    assert not begun[2].is_set()
    updates.close()
    assert_no_thread_is_left()
    assert not begun[2].is_set()


def test_an_error_comes_where_its_update_would_have_come_and_leaves_no_thread(tmp_path: Path) -> None:
    """Kills: an error of the next update that ends this one; a thread that swallows it."""
    trainer = trainer_of(tmp_path, Vectors())
    trainer.train()
    order = np.random.default_rng([42, 0]).permutation(7)
    trainer = trainer_of(tmp_path, Vectors(bad=int(order[4])))
    with pytest.raises(OSError, match=f"^example {order[4]} cannot be read$"):
        trainer.train()
    assert trainer.state.global_step == 2
    assert_no_thread_is_left()


class At(TrainerCallback):
    """Do something after the third update."""

    def __init__(self, action: Any) -> None:
        self.action = action

    def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        if state.global_step == 3:
            self.action(control)


def stop(control: Any) -> None:
    """Ask for the end."""
    control.should_training_stop = True


def end_pass(control: Any) -> None:
    """Ask for the next pass."""
    control.should_epoch_stop = True


def break_off(_: Any) -> None:
    """Fail."""
    raise ArithmeticError


def interrupt(_: Any) -> None:
    """Press Ctrl-C."""
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("action", [stop, end_pass, break_off, interrupt])
def test_however_a_run_ends_no_thread_is_left(tmp_path: Path, action: Any) -> None:
    """Kills: a thread that waits for ever because nobody closes what it reads."""
    trainer = trainer_of(tmp_path, vectors(40), callbacks=[At(action)])
    expected = {break_off: ArithmeticError, interrupt: TrainingInterruptedError}.get(action)
    if expected is None:
        trainer.train()
    else:
        with pytest.raises(expected) as end:
            trainer.train()
        assert end.traceback is not None, "its frames are still there, and so would be what they hold"
    assert_no_thread_is_left()


def test_an_evaluation_that_ends_early_leaves_no_thread(tmp_path: Path) -> None:
    """Kills: a reader of an evaluation that outlives it."""

    class Break(TrainerCallback):
        def on_prediction_step(self, *_: Any, **__: Any) -> None:
            raise ArithmeticError

    trainer = trainer_of(tmp_path, vectors(), callbacks=[Break()], per_device_eval_batch_size=2)
    with pytest.raises(ArithmeticError) as end:
        trainer.evaluate(Vectors())
    assert end.traceback is not None
    assert_no_thread_is_left()


def test_batches_for_a_gpu_are_copied_from_pinned_memory_without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: pinning that changes what is read or whether it counts; pinning where there is no GPU."""
    asked: list[Tensor] = []
    monkeypatch.setattr(Tensor, "pin_memory", lambda tensor: asked.append(tensor) or tensor.clone())
    updates = UpdatesOfPass(vectors(), Collation(default_data_collator, 0), [np.array([4, 0]), np.array([2])], 1, 2)
    plain, pinned = list(in_workers(updates, 0)), list(in_workers(updates, 0, ahead=True, pin=True))
    assert len(asked) == 4, "two columns of each update"
    for found, wanted in zip(pinned, plain, strict=True):
        assert found.read_here == wanted.read_here
        for batch, expected in zip(found.micro_batches, wanted.micro_batches, strict=True):
            assert isinstance(batch, MicroBatch)
            assert batch.counts == expected.counts
            assert all(torch.equal(batch.batch[name], expected.batch[name]) for name in expected.batch)


def test_reading_ahead_and_pinning_are_for_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kills: an argument that changes nothing; memory pinned, or a thread that takes a core, without a GPU."""
    monkeypatch.undo()
    for device, pin, wanted in (
        ("cuda", True, (True, True)),
        ("cuda", False, (True, False)),
        ("cpu", True, (False,) * 2),
    ):
        monkeypatch.setattr(Processes, "device", lambda *_, name=device: torch.device(name))
        how = Processes().how_to_read(TrainingArguments("runs/none", dataloader_pin_memory=pin))
        assert (how["ahead"], how["pin"]) == wanted


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_is_given_pinned_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    trainer_of(tmp_path, vectors(), use_cpu=False, dataloader_pin_memory=True).train()
