"""Training arguments: each of them changes something, and it is what its docstring says."""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from difflib import SequenceMatcher
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from minitransformer.checkpoint import checkpoints
from minitransformer.errors import InputError
from minitransformer.laws.cases import numbers, whole_numbers
from minitransformer.schedules import SCHEDULES, rate_share
from minitransformer.trainer import Trainer, TrainerCallback, decay_groups
from minitransformer.trainer.processes import Processes
from minitransformer.training_arguments import TrainingArguments

IGNORED = -100
ELSEWHERE = {
    **dict.fromkeys(("logging_dir", "report_to"), "tests/test_reporting.py"),
    **dict.fromkeys(
        (
            "ddp_backend",
            "ddp_timeout",
            "ddp_find_unused_parameters",
            "ddp_bucket_cap_mb",
            "ddp_broadcast_buffers",
            "fsdp",
        ),
        "the tests of several processes",
    ),
    "max_tokens": "tests/test_token_batches.py",
    "dataloader_pin_memory": "tests/test_reading_ahead.py",
}
"""Arguments that have their tests elsewhere, and where."""
PROVEN: set[str] = set()
Test = Callable[..., None]


def about(*names: str) -> Callable[[Test], Test]:
    """Note that a test proves what these arguments say."""

    def note(test: Test) -> Test:
        PROVEN.update(names)
        return test

    return note


def test_every_argument_has_a_test() -> None:
    known = {entry.name for entry in fields(TrainingArguments)}
    assert known - PROVEN - ELSEWHERE.keys() == set(), "these have no test"
    assert PROVEN - known == set(), "these are no arguments"
    assert ELSEWHERE.keys() & PROVEN == set(), "these have a test here"


# What is trained.


class Line(nn.Module):
    """A linear classifier with dropout, which notes what dropout leaves of ones."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(7)
        self.dense = nn.Linear(3, 2)
        self.dropout = nn.Dropout(dropout)
        self.masks: list[list[float]] = []
        self.types: list[torch.dtype] = []

    def forward(self, x: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        mask = self.dropout(torch.ones(3))
        self.masks.append(mask.tolist())
        logits = self.dense(x * mask)
        self.types.append(logits.dtype)
        return with_loss(logits, labels)


class Words(nn.Module):
    """A table of word vectors, the sum of a text's, and a line."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(7)
        self.table = nn.Embedding(10, 4)
        self.dense = nn.Linear(4, 2)
        self.vectors: list[Tensor] = []

    def get_input_embeddings(self) -> nn.Embedding:
        return self.table

    def forward(self, input_ids: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        self.vectors.append(self.table(input_ids))
        return with_loss(self.dense(self.vectors[-1].sum(1)), labels)


def with_loss(logits: Tensor, labels: Tensor | None) -> dict[str, Tensor]:
    """Scores, and the loss where there are labels."""
    if labels is None:
        return {"logits": logits}
    return {"loss": nn.functional.cross_entropy(logits.float(), labels), "logits": logits}


def vectors(n_examples: int = 7) -> list[dict[str, Tensor]]:
    """Vectors with a class each."""
    x = numbers(11, "x", n_examples, 3, dtype=torch.float32)
    labels = whole_numbers(11, "labels", 0, 2, n_examples)
    return [{"x": x[index], "labels": labels[index]} for index in range(n_examples)]


def texts(n_examples: int = 40) -> list[dict[str, Any]]:
    """Texts of 1 to 12 words with a class each."""
    lengths = whole_numbers(12, "lengths", 1, 13, n_examples).tolist()
    return [
        {"input_ids": whole_numbers(index, "words", 1, 10, length).tolist(), "labels": index % 2}
        for index, length in enumerate(lengths)
    ]


@dataclass
class Remembering:
    """Examples that note in which order they are read."""

    examples: Sequence[Any]
    read: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> Any:
        self.read.append(index)
        return self.examples[index]


@dataclass
class Padding:
    """A collator that pads texts with zeros, and notes its examples and its batches."""

    examples: list[dict[str, Any]] = field(default_factory=list)
    shapes: list[tuple[int, ...]] = field(default_factory=list)

    def __call__(self, examples: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        self.examples += examples
        batch = {name: padded([torch.as_tensor(example[name]) for example in examples]) for name in examples[0]}
        self.shapes.append(tuple(next(iter(batch.values())).shape))
        return batch

    @property
    def sizes(self) -> list[int]:
        """How many examples each batch had."""
        return [shape[0] for shape in self.shapes]


def padded(rows: list[Tensor]) -> Tensor:
    """Rows of one length."""
    return torch.stack(rows) if rows[0].ndim == 0 else nn.utils.rnn.pad_sequence(rows, batch_first=True)


@dataclass
class Watching(TrainerCallback):
    """Note what happens at which step, and what the model and its gradients look like then."""

    events: list[tuple[str, int]] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)
    evaluated: dict[int, dict[str, Tensor]] = field(default_factory=dict)

    def steps(self, event: str) -> list[int]:
        """The steps at which something happened."""
        return [step for name, step in self.events if name == event]

    def on_log(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        if "grad_norm" in given["logs"]:
            self.events.append(("log", state.global_step))

    def on_evaluate(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        self.events.append(("evaluate", state.global_step))
        self.evaluated[state.global_step] = tensors_of(given["model"])

    def on_save(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        self.events.append(("save", state.global_step))

    def on_substep_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        self.events.append(("substep", state.global_step))

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        gradients = [parameter.grad.flatten() for parameter in given["model"].parameters()]
        self.norms.append(torch.cat(gradients).norm().item())


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """A model's tensors as they are now."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


Run = Callable[..., Trainer]
OF_THE_TRAINER = ("data_collator", "eval_dataset", "compute_metrics", "optimizers")


@pytest.fixture
def build(tmp_path: Path) -> Run:
    """Build a trainer of a line with some arguments, each in a folder of its own, and watched."""
    number = count()

    def build_one(model: nn.Module | None = None, dataset: Any = None, **changes: Any) -> Trainer:
        options = {name: changes.pop(name) for name in OF_THE_TRAINER if name in changes}
        settings: dict[str, Any] = {"output_dir": str(tmp_path / str(next(number))), "disable_tqdm": True}
        settings |= {"learning_rate": 0.1, "logging_steps": 1, "num_train_epochs": 1, "per_device_train_batch_size": 2}
        arguments = TrainingArguments(**{**settings, **changes})
        dataset = vectors() if dataset is None else dataset
        return Trainer(model or Line(), arguments, train_dataset=dataset, callbacks=[Watching()], **options)

    return build_one


@pytest.fixture
def train(build: Run) -> Run:
    """Train a line with some arguments."""

    def train_one(model: nn.Module | None = None, dataset: Any = None, **changes: Any) -> Trainer:
        trainer = build(model, dataset, **changes)
        trainer.train()
        return trainer

    return train_one


def watched(trainer: Trainer) -> Watching:
    """What was noted of a run."""
    return next(callback for callback in trainer.callbacks if isinstance(callback, Watching))


def logged(trainer: Trainer, name: str) -> list[float]:
    """What a run logged under a name."""
    return [entry[name] for entry in trainer.state.log_history if name in entry]


def assert_same_model(found: Trainer, wanted: Trainer) -> None:
    """Fail unless two runs ended with the same tensors, bit for bit."""
    assert is_same(tensors_of(found.model), tensors_of(wanted.model))


def assert_other_model(found: Trainer, other: Trainer) -> None:
    """Fail if two runs ended with the same tensors."""
    assert not is_same(tensors_of(found.model), tensors_of(other.model))


def is_same(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> bool:
    """Whether two models hold the same numbers."""
    return all(torch.equal(found[name], tensor) for name, tensor in wanted.items())


def assert_close_models(found: Trainer, wanted: Trainer) -> None:
    """Fail unless two runs ended with the same tensors up to rounding."""
    for name, tensor in tensors_of(wanted.model).items():
        torch.testing.assert_close(tensors_of(found.model)[name], tensor, rtol=0, atol=2e-6)


# Where, how long, how much at once.


@about("output_dir")
def test_checkpoints_go_where_they_are_told(train: Run, tmp_path: Path) -> None:
    train(output_dir=tmp_path / "here", save_steps=4)
    assert [folder.name for folder in checkpoints(tmp_path / "here")] == ["checkpoint-4"]


@about("num_train_epochs", "max_steps")
@pytest.mark.parametrize(
    ("changes", "n_steps", "n_read"),
    [
        ({"num_train_epochs": 1}, 4, 7),
        ({"num_train_epochs": 2}, 8, 14),
        ({"num_train_epochs": 0.5}, 2, 4),
        ({"num_train_epochs": 2, "max_steps": 3}, 3, 6),
        ({"max_steps": 5}, 5, 9),
    ],
)
def test_a_run_has_the_passes_or_the_updates_it_is_told(
    train: Run, changes: dict[str, Any], n_steps: int, n_read: int
) -> None:
    trainer = train(dataset=Remembering(vectors()), **changes)
    assert (trainer.state.global_step, len(trainer.train_dataset.read)) == (n_steps, n_read)


@about("per_device_train_batch_size", "per_device_eval_batch_size")
def test_batches_are_as_large_as_they_are_told(train: Run) -> None:
    collate = Padding()
    trainer = train(data_collator=collate, per_device_train_batch_size=3, per_device_eval_batch_size=4)
    assert collate.sizes == [3, 3, 1]
    loss = trainer.evaluate(vectors())["eval_loss"]
    assert collate.sizes[3:] == [4, 3]
    trainer.args.per_device_eval_batch_size = 1
    assert trainer.evaluate(vectors())["eval_loss"] == pytest.approx(loss, abs=1e-6)
    assert collate.sizes[5:] == [1] * 7


@about("gradient_accumulation_steps")
def test_batches_that_are_accumulated_are_one_large_batch(train: Run) -> None:
    collate = Padding()
    small = train(gradient_accumulation_steps=2, data_collator=collate)
    assert collate.sizes == [2, 2, 2, 1]
    assert watched(small).steps("substep") == [0, 1]
    assert_close_models(small, train(per_device_train_batch_size=4))


class SmallMemory(Line):
    """A line on a machine that holds a few examples."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def forward(self, x: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        if len(x) > self.most:
            raise RuntimeError("out of memory: tried to allocate more than there is")
        return super().forward(x, labels)


@about("auto_find_batch_size")
@pytest.mark.parametrize("changes", [{}, {"dataloader_drop_last": True, "num_train_epochs": 2}])
def test_where_memory_runs_out_less_is_computed_at_once_and_the_updates_stay_the_same(
    train: Run, changes: dict[str, Any]
) -> None:
    settings = {"per_device_train_batch_size": 5, "gradient_accumulation_steps": 1, **changes}
    small = train(SmallMemory(most=1), auto_find_batch_size=True, **settings)
    assert_close_models(small, train(**settings))
    with pytest.raises(RuntimeError, match="out of memory"):
        train(SmallMemory(most=1), **settings)


def test_a_second_run_of_a_trainer_whose_memory_ran_out_has_the_same_updates(build: Run) -> None:
    trainer = build(SmallMemory(most=1), auto_find_batch_size=True, per_device_train_batch_size=4)
    assert [trainer.train().global_step for _ in range(2)] == [2, 2]


@about("group_by_length", "train_sampling_strategy")
@pytest.mark.parametrize("spelling", [{"group_by_length": True}, {"train_sampling_strategy": "group_by_length"}])
def test_examples_of_similar_length_meet_and_each_is_read_once(train: Run, spelling: dict[str, Any]) -> None:
    computed = {}
    for name, changes in {"grouped": spelling, "as it comes": {}}.items():
        collate = Padding()
        train(Words(), texts(), data_collator=collate, per_device_train_batch_size=4, **changes)
        assert sorted(example["input_ids"] for example in collate.examples) == sorted(
            example["input_ids"] for example in texts()
        )
        computed[name] = sum(rows * columns for rows, columns in collate.shapes)
    n_words = sum(len(example["input_ids"]) for example in texts())
    assert computed["grouped"] - n_words < 0.4 * (computed["as it comes"] - n_words), "padding should shrink"


# How fast.


@about("learning_rate")
def test_the_first_step_of_adam_is_as_long_as_the_rate(train: Run) -> None:
    for rate in (0.1, 0.02):
        model = train(learning_rate=rate, max_steps=1, per_device_train_batch_size=7, adam_epsilon=0.0).model
        steps = (model.dense.weight - Line().dense.weight).abs()
        torch.testing.assert_close(steps, torch.full((2, 3), rate), rtol=0, atol=1e-6)


SETTINGS_OF_SCHEDULES = {
    "cosine": {"num_cycles": 2.0},
    "cosine_with_restarts": {"num_cycles": 3.0},
    "polynomial": {"power": 2.0, "lr_end": 0.01},
    "inverse_sqrt": {"timescale": 3.0},
}


@about("lr_scheduler_type", "lr_scheduler_kwargs")
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_rate_follows_its_schedule_and_what_that_is_told(train: Run, schedule: str) -> None:
    told = SETTINGS_OF_SCHEDULES.get(schedule, {})
    rates = {}
    for name, settings in {"told": told, "alone": {}}.items():
        trainer = train(
            lr_scheduler_type=schedule, lr_scheduler_kwargs=settings, max_steps=8, save_strategy="no", warmup_steps=2
        )
        rates[name] = logged(trainer, "learning_rate")
        assert rates[name] == [0.1 * rate_share(schedule, step, 2, 8, 0.1, **settings) for step in range(8)]
    assert (rates["told"] != rates["alone"]) == bool(told)
    constant = {"constant": [0.1] * 8, "constant_with_warmup": [0.0, 0.05] + [0.1] * 6}
    assert rates["alone"] == constant.get(schedule, rates["alone"])


def test_a_schedule_may_be_named_by_a_member_of_an_enumeration(train: Run) -> None:
    transformers = pytest.importorskip("transformers")
    trainer = train(lr_scheduler_type=transformers.SchedulerType.CONSTANT)
    assert logged(trainer, "learning_rate") == [0.1] * 4


def test_a_schedule_is_told_nothing_that_it_does_not_know() -> None:
    with pytest.raises(InputError, match="did you mean 'num_cycles'"):
        TrainingArguments("runs/none", lr_scheduler_type="cosine", lr_scheduler_kwargs={"cycles": 2})


@about("warmup_steps", "warmup_ratio")
@pytest.mark.parametrize(
    ("changes", "warmup"),
    [
        ({}, 0),
        ({"warmup_steps": 4}, 4),
        ({"warmup_steps": 0.25}, 2),
        ({"warmup_ratio": 0.25}, 2),
        ({"warmup_ratio": 0.3}, 3),
        ({"warmup_steps": 1, "warmup_ratio": 0.5}, 1),
        ({"warmup_steps": 0.5, "warmup_ratio": 0.1}, 4),
    ],
)
def test_the_rate_rises_over_a_number_of_updates_or_a_share_of_them(
    train: Run, changes: dict[str, Any], warmup: int
) -> None:
    rates = logged(train(max_steps=8, **changes), "learning_rate")
    assert rates[:warmup] == pytest.approx([0.1 * step / warmup for step in range(warmup)])
    assert rates[warmup] == 0.1
    assert rates[-1] < 0.1 or warmup == 7


# How carefully.


@about("weight_decay")
def test_matrices_decay_by_the_rate_times_the_decay_and_biases_do_not(train: Run) -> None:
    settings = {"max_steps": 1, "learning_rate": 0.1}
    with_decay, without = (train(weight_decay=decay, **settings).model.dense for decay in (0.5, 0.0))
    torch.testing.assert_close(without.weight - with_decay.weight, 0.1 * 0.5 * Line().dense.weight, rtol=0, atol=1e-7)
    assert torch.equal(with_decay.bias, without.bias)


@about("adam_beta1", "adam_beta2", "adam_epsilon")
@pytest.mark.parametrize("changes", [{"adam_beta1": 0.5}, {"adam_beta2": 0.6}, {"adam_epsilon": 0.3}])
def test_adam_moves_as_that_of_pytorch_with_the_same_settings(train: Run, changes: dict[str, float]) -> None:
    settings = {"adam_beta1": 0.9, "adam_beta2": 0.999, "adam_epsilon": 1e-8, **changes}
    model = Line()
    theirs = torch.optim.AdamW(
        decay_groups(model, 0.0),
        lr=0.1,
        betas=(settings["adam_beta1"], settings["adam_beta2"]),
        eps=settings["adam_epsilon"],
    )
    found = train(save_strategy="no", **changes)
    assert_close_models(found, train(model, optimizers=(theirs, None), save_strategy="no"))
    assert_other_model(found, train(save_strategy="no"))


@about("max_grad_norm")
def test_a_gradient_is_no_longer_than_it_may_be_and_logged_as_it_was(train: Run) -> None:
    free = train(max_grad_norm=0, max_steps=1)
    norm = watched(free).norms[0]
    assert logged(free, "grad_norm")[0] == pytest.approx(norm)
    for longest, expected in ((norm / 2, norm / 2), (norm * 2, norm)):
        clipped = train(max_grad_norm=longest, max_steps=1)
        assert watched(clipped).norms[0] == pytest.approx(expected, rel=1e-5)
        assert logged(clipped, "grad_norm") == logged(free, "grad_norm")


@about("label_smoothing_factor")
def test_a_share_of_a_target_is_spread_over_all_classes_as_by_pytorch(build: Run) -> None:
    dataset = vectors()
    dataset[2]["labels"] = torch.tensor(IGNORED)
    scores = Line()(torch.stack([example["x"] for example in dataset]))["logits"]
    labels = torch.stack([example["labels"] for example in dataset])
    for share in (0.0, 0.3):
        expected = nn.functional.cross_entropy(scores, labels, label_smoothing=share).item()
        trainer = build(dataset=dataset, label_smoothing_factor=share, per_device_train_batch_size=7)
        assert trainer.evaluate(dataset)["eval_loss"] == pytest.approx(expected, abs=1e-6)
        trainer.train()
        assert logged(trainer, "loss")[0] == pytest.approx(expected, abs=1e-6)


class InATuple(Line):
    """A line whose outputs come in a tuple."""

    def forward(self, x: Tensor, labels: Tensor | None = None) -> tuple[Tensor, ...]:
        return tuple(super().forward(x, labels).values())


def test_labels_are_smoothed_of_a_model_that_returns_a_tuple_too(train: Run) -> None:
    smooth = train(InATuple(), label_smoothing_factor=0.3)
    assert_same_model(smooth, train(label_smoothing_factor=0.3))


@about("neftune_noise_alpha")
def test_word_vectors_are_noisy_while_training_and_only_then(build: Run) -> None:
    alpha, length, d_model = 6.0, 5, 4
    dataset = [{"input_ids": whole_numbers(0, "words", 1, 10, length), "labels": 0}]
    trainer = build(Words(), dataset, neftune_noise_alpha=alpha, learning_rate=0.0)
    trainer.train()
    trainer.evaluate(dataset)
    while_training, in_evaluation = trainer.model.vectors
    clean = Words().table(dataset[0]["input_ids"])
    loudness = alpha / math.sqrt(length * d_model)
    noise = (while_training - clean).abs()
    assert 0.5 * loudness < noise.max() <= loudness
    assert torch.equal(in_evaluation[0], clean)
    assert torch.equal(trainer.model.table(dataset[0]["input_ids"]), clean), "nothing should stay behind"


def test_noise_needs_a_model_that_shows_its_word_vectors(build: Run) -> None:
    with pytest.raises(InputError, match="neftune_noise_alpha=5 needs a model with get_input_embeddings"):
        build(neftune_noise_alpha=5)


@about("skip_nonfinite_updates")
def test_an_update_that_is_no_number_stops_the_run_or_is_left_out_and_logged(train: Run) -> None:
    dataset = vectors(6)
    dataset[3]["x"] = torch.full((3,), math.inf)
    with pytest.raises(InputError, match="the loss is nan"):
        train(dataset=dataset)
    trainer = train(dataset=dataset, skip_nonfinite_updates=True)
    assert trainer.state.global_step == 3
    assert logged(trainer, "skipped_updates") == [1]
    assert all(tensor.isfinite().all() for tensor in tensors_of(trainer.model).values())


# In which numbers, and where.


@about("bf16")
def test_bfloat16_is_what_is_computed_in_and_float32_what_is_kept(train: Run) -> None:
    for bf16, expected in ((True, torch.bfloat16), (False, torch.float32)):
        trainer = train(bf16=bf16)
        trainer.evaluate(vectors())
        assert set(trainer.model.types) == {expected}
        assert trainer.model.dense.weight.dtype == torch.float32


@about("fp16")
def test_float16_is_for_gpus_and_refused_on_cpus_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match=r"fp16=True needs a GPU.* choose bf16=True, which works on CPUs"):
        TrainingArguments("runs/none", fp16=True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert TrainingArguments("runs/none", fp16=True).fp16
    with pytest.raises(InputError, match="fp16=True needs a GPU"):
        TrainingArguments("runs/none", fp16=True, use_cpu=True)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_float16_is_what_a_gpu_computes_in(train: Run) -> None:
    assert set(train(fp16=True).model.types) == {torch.float16}


@about("torch_compile")
def test_what_was_compiled_is_what_is_called(train: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    class Compiled(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            calls.append("compile")
            self.inner = inner

        def forward(self, *given: Any) -> Any:
            calls.append("call")
            return self.inner(*given)

    monkeypatch.setattr(torch, "compile", lambda module, **_: Compiled(module))
    compiled = train(torch_compile=True)
    assert calls == ["compile"] + ["call"] * 4
    assert_same_model(compiled, train())
    assert len(calls) == 5, "a model that is not to be compiled should not be"


class TwiceComputed(Line):
    """A line whose block can be computed again in the backward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.told: Any = None
        self.is_computed_again = False
        self.n_computed = 0

    def gradient_checkpointing_enable(self, gradient_checkpointing_kwargs: dict[str, Any] | None = None) -> None:
        self.is_computed_again, self.told = True, gradient_checkpointing_kwargs

    def forward(self, x: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        logits = checkpoint(self.block, x, **self.told) if self.is_computed_again else self.block(x)
        return with_loss(logits, labels)

    def block(self, x: Tensor) -> Tensor:
        self.n_computed += 1
        return self.dense(x)


@about("gradient_checkpointing", "gradient_checkpointing_kwargs")
def test_blocks_are_computed_again_where_that_saves_memory(train: Run) -> None:
    told = {"use_reentrant": False}
    again = train(TwiceComputed(), gradient_checkpointing=True, gradient_checkpointing_kwargs=told)
    once = train(TwiceComputed())
    assert (again.model.told, again.model.n_computed) == (told, 8)
    assert (once.model.told, once.model.n_computed) == (None, 4)
    assert_same_model(again, once)
    with pytest.raises(
        InputError, match="gradient_checkpointing=True needs a model with gradient_checkpointing_enable"
    ):
        train(gradient_checkpointing=True)


class Elsewhere(Line):
    """A line that notes where it is sent, and stays."""

    sent_to: torch.device

    def to(self, device: torch.device) -> "Elsewhere":  # type: ignore[override]
        self.sent_to = device
        return self


@about("use_cpu", "no_cuda")
def test_a_gpu_is_used_where_there_is_one_unless_it_is_to_be_left_alone(
    build: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert build(Elsewhere()).model.sent_to == torch.device("cuda", 0)
    for changes in ({"use_cpu": True}, {"no_cuda": True}):
        assert build(Elsewhere(), **changes).model.sent_to == torch.device("cpu")
    assert Processes(local_rank=3).device(use_cpu=False) == torch.device("cuda", 3)


# What is logged, judged and kept, and when: 8 updates, a pass has 4.


@about("logging_strategy", "logging_steps", "logging_first_step")
@pytest.mark.parametrize(
    ("changes", "steps"),
    [
        ({"logging_steps": 3}, [3, 6, 8]),
        ({"logging_steps": 0.25}, [2, 4, 6, 8]),
        ({"logging_steps": 4, "logging_first_step": True}, [1, 4, 8]),
        ({"logging_strategy": "epoch"}, [4, 8]),
        ({"logging_strategy": "epoch", "logging_first_step": True}, [1, 4, 8]),
        ({"logging_strategy": "no"}, []),
    ],
)
def test_logs_are_written_when_they_are_due_and_at_the_end(
    train: Run, changes: dict[str, Any], steps: list[int]
) -> None:
    assert watched(train(num_train_epochs=2, **changes)).steps("log") == steps


@about("eval_strategy", "evaluation_strategy", "eval_steps", "eval_on_start")
@pytest.mark.parametrize(
    ("changes", "steps"),
    [
        ({"eval_strategy": "no"}, []),
        ({"eval_strategy": "epoch"}, [4, 8]),
        ({"evaluation_strategy": "epoch"}, [4, 8]),
        ({"eval_strategy": "steps", "eval_steps": 3}, [3, 6, 8]),
        ({"evaluation_strategy": "steps", "eval_steps": 0.5}, [4, 8]),
        ({"eval_strategy": "steps", "logging_steps": 2}, [2, 4, 6, 8]),
        ({"eval_strategy": "steps", "eval_steps": 5, "eval_on_start": True}, [0, 5, 8]),
    ],
)
def test_evaluations_are_made_when_they_are_due(train: Run, changes: dict[str, Any], steps: list[int]) -> None:
    trainer = train(num_train_epochs=2, eval_dataset=vectors(3), **changes)
    assert watched(trainer).steps("evaluate") == steps


@about("save_strategy", "save_steps")
@pytest.mark.parametrize(
    ("changes", "steps"),
    [
        ({"save_strategy": "no"}, []),
        ({"save_strategy": "epoch"}, [4, 8]),
        ({"save_steps": 3}, [3, 6, 8]),
        ({"save_steps": 0.5}, [4, 8]),
        ({"save_steps": 500}, [8]),
    ],
)
def test_checkpoints_are_kept_when_they_are_due(train: Run, changes: dict[str, Any], steps: list[int]) -> None:
    trainer = train(num_train_epochs=2, **changes)
    assert watched(trainer).steps("save") == steps
    assert steps_kept(trainer) == steps


def steps_kept(trainer: Trainer) -> list[int]:
    """The steps whose checkpoints are there."""
    return [int(folder.name.split("-")[1]) for folder in checkpoints(Path(trainer.args.output_dir))]


@dataclass
class Scores:
    """Metrics as they were settled beforehand, one after the other."""

    scores: Iterator[float]

    def __call__(self, _: Any) -> dict[str, float]:
        return {"score": next(self.scores)}


def judged(*scores: float) -> dict[str, Any]:
    """What a trainer needs to be judged by these scores, one a step."""
    return {
        "compute_metrics": Scores(iter(scores)),
        "eval_dataset": vectors(3),
        "eval_strategy": "steps",
        "eval_steps": 1,
        "save_steps": 1,
    }


@about("metric_for_best_model", "greater_is_better")
@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({"metric_for_best_model": "score"}, [1, 3]),
        ({"metric_for_best_model": "eval_score"}, [1, 3]),
        ({"metric_for_best_model": "score", "greater_is_better": True}, [1, 3]),
        ({"metric_for_best_model": "score", "greater_is_better": False}, [1, 2]),
    ],
)
def test_a_checkpoint_is_kept_whenever_an_evaluation_is_the_best_so_far(
    train: Run, changes: dict[str, Any], kept: list[int]
) -> None:
    trainer = train(save_strategy="best", **judged(0.5, 0.2, 0.9, 0.9), **changes)
    assert steps_kept(trainer) == kept
    assert trainer.state.best_global_step == kept[-1]


def test_without_a_metric_the_best_has_the_lowest_loss(train: Run) -> None:
    trainer = train(save_strategy="best", **judged(0.0, 0.0, 0.0, 0.0))
    losses = logged(trainer, "eval_loss")
    assert trainer.state.best_metric == min(losses)
    assert trainer.state.best_global_step == losses.index(min(losses)) + 1
    other = train(save_strategy="best", greater_is_better=True, **judged(0.0, 0.0, 0.0, 0.0))
    assert other.state.best_metric == max(losses), "the opposite, where it is asked for"


@about("load_best_model_at_end")
@pytest.mark.parametrize("save_strategy", ["steps", "best"])
def test_the_run_ends_with_the_parameters_of_the_best_evaluation_where_that_is_asked_for(
    train: Run, save_strategy: str
) -> None:
    settings = {"metric_for_best_model": "score", "save_strategy": save_strategy}
    best = train(load_best_model_at_end=True, **settings, **judged(0.1, 0.9, 0.5, 0.5))
    assert is_same(tensors_of(best.model), watched(best).evaluated[2])
    assert best.state.best_model_checkpoint == str(Path(best.args.output_dir) / "checkpoint-2")
    last = train(**settings, **judged(0.1, 0.9, 0.5, 0.5))
    assert is_same(tensors_of(last.model), watched(last).evaluated[4])


@about("save_total_limit")
@pytest.mark.parametrize(("limit", "kept"), [(None, [1, 2, 3, 4]), (2, [3, 4]), (1, [4])])
def test_only_so_many_checkpoints_stay(train: Run, limit: int | None, kept: list[int]) -> None:
    assert steps_kept(train(save_steps=1, save_total_limit=limit)) == kept


def test_the_best_checkpoint_stays_among_the_newest(train: Run) -> None:
    settings = {"metric_for_best_model": "score", "load_best_model_at_end": True, "save_total_limit": 2}
    trainer = train(**settings, **judged(0.9, 0.2, 0.3, 0.1))
    assert steps_kept(trainer) == [1, 4]
    assert is_same(tensors_of(trainer.model), watched(trainer).evaluated[1])


class TargetLine(Line):
    """A line whose labels have a name that does not say so."""

    def forward(self, x: Tensor, target: Tensor | None = None) -> dict[str, Tensor]:  # type: ignore[override]
        return super().forward(x, target)


@about("label_names")
def test_labels_have_the_name_that_they_are_told_to_have(build: Run) -> None:
    dataset = [{"x": example["x"], "target": example["labels"]} for example in vectors()]
    called = build(TargetLine(), dataset, label_names=["target"]).predict(dataset)
    assert called.label_ids.tolist() == [int(example["target"]) for example in dataset]
    assert build(TargetLine(), dataset).predict(dataset).label_ids is None, "nobody could know"


@about("resume_from_checkpoint")
@pytest.mark.parametrize("resume_from", [True, "the second"])
def test_training_goes_on_from_the_checkpoint_that_the_arguments_name(
    train: Run, tmp_path: Path, resume_from: Any
) -> None:
    first = train(save_steps=1, output_dir=tmp_path / "run", max_steps=3)
    resume_from = resume_from is True or tmp_path / "run" / "checkpoint-2"
    dataset = Remembering(vectors())
    second = train(dataset=dataset, output_dir=tmp_path / "run", resume_from_checkpoint=resume_from, max_steps=3)
    assert len(dataset.read) == (0 if resume_from is True else 2)
    assert_same_model(second, first)


@about("disable_tqdm")
def test_bars_are_shown_unless_they_are_not_wanted(train: Run, capsys: pytest.CaptureFixture[str]) -> None:
    train(disable_tqdm=True).evaluate(vectors())
    assert capsys.readouterr().err == ""
    train(disable_tqdm=False).evaluate(vectors())
    shown = capsys.readouterr().err
    assert "training" in shown
    assert "evaluating" in shown


# What chance and others decide.


@about("seed", "data_seed")
def test_one_seed_decides_the_order_of_the_data_and_another_what_is_dropped(train: Run) -> None:
    def order_and_masks(**seeds: int) -> tuple[list[int], list[list[float]]]:
        model, dataset = Line(dropout=0.5), Remembering(vectors())
        train(model, dataset, **seeds)
        return dataset.read, model.masks

    order, masks = order_and_masks(seed=1)
    assert order_and_masks(seed=1) == (order, masks)
    assert order_and_masks(seed=1, data_seed=1) == (order, masks), "one seed for both unless told"
    other_order, same_masks = order_and_masks(seed=1, data_seed=2)
    assert other_order != order
    assert same_masks == masks
    same_order, other_masks = order_and_masks(seed=2, data_seed=1)
    assert same_order == order
    assert other_masks != masks


class Drawn:
    """Vectors that are drawn when they are read, and who read them."""

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"x": torch.randn(3), "labels": index % 2, "reader": os.getpid()}


class KeepingReaders(Padding):
    """A collator that gives the model what it reads, and keeps the rest for us."""

    def __call__(self, examples: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        readers = torch.tensor([example["reader"] for example in examples])
        return {**super().__call__([{"x": one["x"], "labels": one["labels"]} for one in examples]), "reader": readers}


class ReaderLine(Line):
    """A line that notes who read its examples."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[int] = set()

    def forward(self, x: Tensor, labels: Tensor, reader: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
        self.readers |= set(reader.tolist())
        return super().forward(x, labels)


@about("dataloader_num_workers")
def test_other_processes_read_the_same(train: Run) -> None:
    runs = [train(ReaderLine(), Drawn(), data_collator=KeepingReaders(), dataloader_num_workers=n) for n in (0, 2)]
    assert runs[0].model.readers == {os.getpid()}
    assert os.getpid() not in runs[1].model.readers
    assert len(runs[1].model.readers) == 2
    assert_same_model(*runs)


@about("dataloader_drop_last")
@pytest.mark.parametrize(
    ("changes", "sizes"),
    [
        ({}, [3, 3, 1]),
        ({"dataloader_drop_last": True}, [3, 3]),
        ({"dataloader_drop_last": True, "per_device_train_batch_size": 2}, [2, 2, 2]),
        ({"dataloader_drop_last": True, "gradient_accumulation_steps": 2}, [3, 3]),
    ],
)
def test_what_does_not_fill_a_batch_can_be_left_out(train: Run, changes: dict[str, Any], sizes: list[int]) -> None:
    collate = Padding()
    train(data_collator=collate, **{"per_device_train_batch_size": 3, **changes})
    assert collate.sizes == sizes


@about("remove_unused_columns")
def test_the_collator_is_given_what_the_model_reads_or_everything(train: Run) -> None:
    dataset = [{**example, "title": "Moby-Dick"} for example in vectors()]
    collate = Padding()
    train(dataset=dataset, data_collator=collate)
    assert {tuple(example) for example in collate.examples} == {("x", "labels")}
    seen: list[tuple[str, ...]] = []

    def without_titles(examples: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        seen.extend(tuple(example) for example in examples)
        return Padding()([{"x": example["x"], "labels": example["labels"]} for example in examples])

    train(dataset=dataset, data_collator=without_titles, remove_unused_columns=False)
    assert set(seen) == {("x", "labels", "title")}


# Names and combinations.

SPELLINGS = [
    ({"evaluation_strategy": "epoch"}, {"eval_strategy": "epoch"}),
    ({"no_cuda": True}, {"use_cpu": True}),
    ({"group_by_length": True}, {"train_sampling_strategy": "group_by_length"}),
    ({"warmup_ratio": 0.1}, {"warmup_steps": 0.1}),
]


@pytest.mark.parametrize(("fourth", "fifth"), SPELLINGS)
def test_both_spellings_mean_the_same(fourth: dict[str, Any], fifth: dict[str, Any]) -> None:
    meant = [TrainingArguments("runs/none", **spelling) for spelling in (fourth, fifth)]
    for name, value in fifth.items():
        if name != "warmup_steps":
            assert getattr(meant[0], name) == value
    assert [args.warmup(total_steps=50) for args in meant] == [meant[0].warmup(total_steps=50)] * 2


def test_arguments_that_were_written_down_can_be_read_again() -> None:
    arguments = TrainingArguments("runs/none", evaluation_strategy="epoch", no_cuda=True, warmup_ratio=0.1)
    assert TrainingArguments(**arguments.to_dict()) == arguments


NAMES = [entry.name for entry in fields(TrainingArguments)]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_with_a_slip_is_refused_with_the_nearest(name: str) -> None:
    for slip in (name[:-1], name.replace("_", ""), name + "s", name[1:]):
        if slip in NAMES:
            continue
        with pytest.raises(InputError) as refusal:
            TrainingArguments("runs/none", **{slip: 1})
        assert str(refusal.value).startswith(f"there is no argument {slip}; did you mean ")
        nearest = str(refusal.value).rpartition("did you mean ")[2].rstrip("?")
        assert nearest in NAMES
        likeness = [SequenceMatcher(None, slip, known).ratio() for known in (nearest, name)]
        assert likeness[0] >= likeness[1]


def test_a_name_like_no_other_is_refused_too() -> None:
    with pytest.raises(InputError, match="there is no argument xyzzy; leave it out"):
        TrainingArguments("runs/none", xyzzy=1)


IMPOSSIBLE: list[tuple[dict[str, Any], str]] = [
    ({"fp16": True, "bf16": True}, "exclude each other"),
    ({"load_best_model_at_end": True}, "needs evaluations to choose by"),
    ({"save_strategy": "best"}, "needs evaluations to choose by"),
    ({"load_best_model_at_end": True, "eval_strategy": "epoch"}, "make them equal, or give save_strategy='best'"),
    (
        {"load_best_model_at_end": True, "eval_strategy": "steps", "eval_steps": 3, "save_steps": 4},
        "save_steps=4 is no multiple of eval_steps=3",
    ),
    (
        {"load_best_model_at_end": True, "eval_strategy": "steps", "eval_steps": 0.1, "save_steps": 0.25},
        "save_steps=0.25 is no multiple of eval_steps=0.1",
    ),
    ({"report_to": "wandb"}, "report_to='wandb' is not one of"),
    ({"fsdp": "offload"}, "is not one of"),
    ({"train_sampling_strategy": "sorted"}, "is not one of"),
    ({"lr_scheduler_type": "polynomial", "learning_rate": 1e-8}, "below the peak rate"),
    ({"label_smoothing_factor": 1.0}, "below 1"),
    ({"warmup_ratio": 1.5}, "below 1"),
    ({"logging_steps": 2.5}, "must be a whole number of updates"),
]


@pytest.mark.parametrize(("changes", "reason"), IMPOSSIBLE)
def test_what_cannot_work_is_refused_with_the_reason(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(InputError) as refusal:
        TrainingArguments("runs/none", **changes)
    assert reason in str(refusal.value)
    assert any(name in str(refusal.value) for name in (*changes, "lr_end"))


def test_what_the_data_cannot_do_is_refused_with_the_reason(build: Run) -> None:
    stream = iter(vectors())
    fractions = [{**example, "labels": np.float32(0.5)} for example in vectors()]
    with pytest.raises(InputError, match="needs an eval_dataset"):
        build(eval_strategy="epoch")
    with pytest.raises(InputError, match="has no epochs to count; give max_steps"):
        build(dataset=stream)
    with pytest.raises(InputError, match="group_by_length=True needs a train_dataset that is no stream"):
        build(dataset=stream, max_steps=1, group_by_length=True)
    with pytest.raises(InputError, match="dataloader_num_workers=2 would each read the same stream"):
        build(dataset=stream, max_steps=1, dataloader_num_workers=2)
    with pytest.raises(InputError, match="dataloader_drop_last=True leaves nothing of 7 examples"):
        build(dataloader_drop_last=True, per_device_train_batch_size=8).train()
    with pytest.raises(InputError, match="needs input_ids, but example 0 has"):
        build(group_by_length=True).train()
    with pytest.raises(InputError, match="label_smoothing_factor is for labels that number a class"):
        build(dataset=fractions, label_smoothing_factor=0.1).train()
