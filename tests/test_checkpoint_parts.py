"""What optimizers, schedules and scalers remember is kept without a pickle, and comes back bit for bit."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import lr_scheduler

from minitransformer import optimizer as ours
from minitransformer.checkpoint import (
    OPTIMIZER_FILE,
    OPTIMIZER_SETTINGS_FILE,
    SCALER_FILE,
    SCHEDULER_FILE,
    load_checkpoint,
    save_checkpoint,
)
from minitransformer.checkpoint.values import from_json, to_json
from minitransformer.errors import InputError
from minitransformer.laws.tolerances import assert_same
from minitransformer.pretrained import read_tensors

Groups = list[dict[str, Any]]
MakeOptimizer = Callable[[Groups], torch.optim.Optimizer]

OPTIMIZERS: dict[str, MakeOptimizer] = {
    "ours": lambda groups: ours.AdamW(groups, lr=0.05),
    "SGD": lambda groups: torch.optim.SGD(groups, lr=0.05),
    "SGD with momentum": lambda groups: torch.optim.SGD(groups, lr=0.05, momentum=0.9, nesterov=True),
    "AdamW": lambda groups: torch.optim.AdamW(groups, lr=0.05),
    "AdamW, amsgrad, one by one": lambda groups: torch.optim.AdamW(groups, lr=0.05, amsgrad=True, foreach=False),
    "AdamW, fused": lambda groups: torch.optim.AdamW(groups, lr=0.05, fused=True),
    "AdamW, a rate that is a tensor": lambda groups: torch.optim.AdamW(groups, lr=torch.tensor(0.05), foreach=False),
    "Adagrad": lambda groups: torch.optim.Adagrad(groups, lr=0.05, initial_accumulator_value=0.1),
    "RMSprop": lambda groups: torch.optim.RMSprop(groups, lr=0.05, momentum=0.5, centered=True),
    "NAdam": lambda groups: torch.optim.NAdam(groups, lr=0.05),
    "ASGD": lambda groups: torch.optim.ASGD(groups, lr=0.05),
    "Rprop": lambda groups: torch.optim.Rprop(groups, lr=0.05),
    "Adadelta": torch.optim.Adadelta,
    "Adafactor": lambda groups: torch.optim.Adafactor(groups, lr=0.05),
    "LBFGS": lambda groups: torch.optim.LBFGS(groups[0]["params"][1:], lr=0.1, max_iter=2),
}


class Small(nn.Module):
    """A model of several types and layouts, with a part that never learns."""

    def __init__(self, seed: int, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.inner = nn.Linear(3, 5, dtype=dtype)
        self.outer = nn.Linear(5, 2, dtype=dtype)
        self.unused = nn.Linear(2, 2, dtype=dtype)
        self.inner.weight.data = self.inner.weight.data.t().contiguous().t()

    def forward(self, x: Tensor) -> Tensor:
        return self.outer(torch.tanh(self.inner(x)))


def groups_of(model: Small) -> Groups:
    return [
        {"params": [*model.inner.parameters(), model.outer.weight, *model.unused.parameters()], "weight_decay": 0.1},
        {"params": [model.outer.bias], "weight_decay": 0.0},
    ]


def train(model: Small, optimizer: torch.optim.Optimizer, steps: range, scheduler: Any = None) -> None:
    """Some steps on data that the number of the step decides."""
    for step in steps:
        x = torch.randn(7, 3, generator=torch.Generator().manual_seed(step)).to(model.inner.weight.dtype)

        def loss(x: Tensor = x) -> Tensor:
            optimizer.zero_grad()
            loss = model(x).square().sum()
            loss.backward()
            return loss

        if isinstance(optimizer, torch.optim.LBFGS):
            optimizer.step(loss)
        else:
            loss()
            optimizer.step()
        if isinstance(scheduler, lr_scheduler.ReduceLROnPlateau):
            scheduler.step(1.0 + step)
        elif scheduler is not None:
            scheduler.step()


def assert_equal(found: Any, wanted: Any, name: str) -> None:
    """The same values of the same types, tensors bit for bit."""
    assert type(found) is type(wanted), name
    if isinstance(wanted, Tensor):
        assert_same(found, wanted, name)
        assert found.stride() == wanted.stride(), name
    elif isinstance(wanted, dict):
        assert found.keys() == wanted.keys(), name
        for key in wanted:
            assert_equal(found[key], wanted[key], f"{name}.{key}")
    elif isinstance(wanted, list | tuple):
        assert len(found) == len(wanted), name
        for number, (one, other) in enumerate(zip(found, wanted, strict=True)):
            assert_equal(one, other, f"{name}.{number}")
    else:
        assert found == wanted, name


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_three_steps_and_three_more_after_a_checkpoint_are_six_steps(
    tmp_path: Path, kind: str, dtype: torch.dtype
) -> None:
    make = OPTIMIZERS[kind]
    whole = Small(1, dtype)
    whole_optimizer = make(groups_of(whole))
    train(whole, whole_optimizer, range(6))
    first = Small(1, dtype)
    optimizer = make(groups_of(first))
    train(first, optimizer, range(3))
    folder = save_checkpoint(tmp_path, first, optimizer, {"global_step": 3})
    resumed = Small(2, dtype)
    other = make(groups_of(resumed))
    train(resumed, other, range(20, 21))
    load_checkpoint(folder, resumed, other)
    assert_equal(other.state_dict(), optimizer.state_dict(), "state after loading")
    train(resumed, other, range(3, 6))
    assert_equal(dict(resumed.named_parameters()), dict(whole.named_parameters()), "parameters")
    assert_equal(other.state_dict(), whole_optimizer.state_dict(), "state")


def test_master_moments_of_another_type_than_the_parameters_keep_it(tmp_path: Path) -> None:
    model = Small(1, torch.bfloat16)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    optimizer.state[model.outer.bias] = {"mean": torch.tensor([1.0, 1e-7]), "is_new": False, "name": "x", "none": None}
    folder = save_checkpoint(tmp_path, model, optimizer, {"global_step": 3})
    other = Small(2, torch.bfloat16)
    loaded = torch.optim.SGD(other.parameters(), lr=0.1)
    load_checkpoint(folder, other, loaded)
    assert_equal(dict(loaded.state[other.outer.bias]), dict(optimizer.state[model.outer.bias]), "state")


def test_an_optimizer_is_kept_as_safetensors_and_json_by_the_names_of_parameters(tmp_path: Path) -> None:
    model = Small(1)
    optimizer = ours.AdamW(groups_of(model), lr=0.05)
    train(model, optimizer, range(2))
    folder = save_checkpoint(tmp_path, model, optimizer, {"global_step": 3})
    assert {file.suffix for file in folder.iterdir()} == {".safetensors", ".json"}
    assert "inner.weight.first_moment" in read_tensors(folder / OPTIMIZER_FILE)
    text = (folder / OPTIMIZER_SETTINGS_FILE).read_text()
    assert '"step": 2' in text
    assert '"outer.bias"' in text


class Odd(torch.optim.SGD):
    """An optimizer that remembers something."""

    def __init__(self, parameters: Any, remembered: Any) -> None:
        super().__init__(parameters, lr=0.1)
        self.state[self.param_groups[0]["params"][0]]["odd"] = remembered


@pytest.mark.parametrize("remembered", [lambda: 1, {1, 2}, object(), [object()], {"a": b"bytes"}])
def test_what_cannot_be_kept_is_one_clear_error(tmp_path: Path, remembered: Any) -> None:
    model = Small(1)
    with pytest.raises(InputError, match=r"inner\.weight\.odd.* is of the type .*, which a checkpoint cannot hold"):
        save_checkpoint(tmp_path, model, Odd(model.parameters(), remembered), {"global_step": 3})
    assert list(tmp_path.iterdir()) == []


def test_an_optimizer_of_other_parameters_is_refused(tmp_path: Path) -> None:
    stranger = torch.optim.SGD([nn.Parameter(torch.zeros(4))], lr=0.1)
    with pytest.raises(InputError, match=r"a key of shape \(4,\) that is no parameter of the model"):
        save_checkpoint(tmp_path, Small(1), stranger, {"global_step": 3})
    model = Small(1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    optimizer.state["counts"] = {"a": 1}
    with pytest.raises(InputError, match="a key 'counts' that is no parameter of the model"):
        save_checkpoint(tmp_path, model, optimizer, {"global_step": 3})


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (lambda model: torch.optim.AdamW(groups_of(model)), "the state of minitransformer.AdamW, and .* torch.AdamW"),
        (lambda model: ours.AdamW(model.parameters()), "has 2 groups of parameters there, and 1 here"),
        (lambda model: ours.AdamW(groups_of(model)[::-1]), "'inner.bias' is in group 0 of .* in only one of the two"),
    ],
)
def test_the_state_of_another_optimizer_is_refused_and_changes_nothing(
    tmp_path: Path, other: Callable[[Small], torch.optim.Optimizer], named: str
) -> None:
    model = Small(1)
    optimizer = ours.AdamW(groups_of(model), lr=0.05)
    train(model, optimizer, range(2))
    folder = save_checkpoint(tmp_path, model, optimizer, {"global_step": 3})
    unlike = Small(2)
    before = {name: tensor.clone() for name, tensor in unlike.state_dict().items()}
    with pytest.raises(InputError, match=f"checkpoint-3 belongs to another optimizer: .*{named}"):
        load_checkpoint(folder, unlike, other(unlike))
    for name, tensor in unlike.state_dict().items():
        assert_same(tensor, before[name], name)


# Schedules and scalers.


SCHEDULES: dict[str, Callable[[torch.optim.Optimizer], Any]] = {
    "LambdaLR": lambda optimizer: lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step)),
    "MultiStepLR": lambda optimizer: lr_scheduler.MultiStepLR(optimizer, milestones=[2, 4, 4]),
    "OneCycleLR": lambda optimizer: lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=9),
    "CosineAnnealingWarmRestarts": lambda optimizer: lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=2),
    "ReduceLROnPlateau": lambda optimizer: lr_scheduler.ReduceLROnPlateau(optimizer, patience=1),
    "SequentialLR": lambda optimizer: lr_scheduler.SequentialLR(
        optimizer,
        [lr_scheduler.LinearLR(optimizer, total_iters=3), lr_scheduler.ExponentialLR(optimizer, 0.9)],
        milestones=[4],
    ),
}


@pytest.mark.parametrize("kind", SCHEDULES)
def test_a_schedule_goes_on_where_it_was(tmp_path: Path, kind: str) -> None:
    def fresh(seed: int) -> tuple[Small, torch.optim.Optimizer, Any]:
        model = Small(seed)
        optimizer = torch.optim.SGD(groups_of(model), lr=0.05, momentum=0.9)
        return model, optimizer, SCHEDULES[kind](optimizer)

    whole, whole_optimizer, whole_schedule = fresh(1)
    train(whole, whole_optimizer, range(6), whole_schedule)
    model, optimizer, schedule = fresh(1)
    train(model, optimizer, range(3), schedule)
    folder = save_checkpoint(tmp_path, model, optimizer, {"global_step": 3}, scheduler=schedule)
    resumed, other, other_schedule = fresh(2)
    load_checkpoint(folder, resumed, other, other_schedule)
    assert_equal(other_schedule.state_dict(), schedule.state_dict(), "schedule after loading")
    train(resumed, other, range(3, 6), other_schedule)
    assert_equal(other_schedule.get_last_lr(), whole_schedule.get_last_lr(), "rates")
    assert_equal(dict(resumed.named_parameters()), dict(whole.named_parameters()), "parameters")


def test_a_scaler_goes_on_where_it_was(tmp_path: Path) -> None:
    model = Small(1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    scaler.scale(model(torch.ones(1, 3)).sum()).backward()
    scaler.step(optimizer)
    scaler.update()
    folder = save_checkpoint(tmp_path, model, optimizer, {"global_step": 3}, scaler=scaler)
    other = torch.amp.GradScaler("cpu")
    load_checkpoint(folder, model, optimizer, scaler=other)
    assert other.state_dict() == scaler.state_dict() != torch.amp.GradScaler("cpu").state_dict()


def test_a_schedule_of_another_kind_or_none_is_refused(tmp_path: Path) -> None:
    model = Small(1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    schedule = SCHEDULES["LambdaLR"](optimizer)
    folder = save_checkpoint(tmp_path, model, optimizer, {"global_step": 3}, scheduler=schedule)
    with pytest.raises(InputError, match=rf"{SCHEDULER_FILE} holds the state of torch.LambdaLR, and here is torch.Mul"):
        load_checkpoint(folder, model, optimizer, SCHEDULES["MultiStepLR"](optimizer))
    with pytest.raises(InputError, match=rf"checkpoint-3 has no {SCALER_FILE}"):
        load_checkpoint(folder, model, optimizer, scaler=torch.amp.GradScaler("cpu"))


def test_a_tensor_in_a_schedule_is_one_clear_error(tmp_path: Path) -> None:
    model = Small(1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    schedule = SCHEDULES["LambdaLR"](optimizer)
    schedule.seen = torch.ones(2)
    with pytest.raises(InputError, match=r"scheduler\.json\.seen is of the type Tensor"):
        save_checkpoint(tmp_path, model, optimizer, {"global_step": 3}, scheduler=schedule)


# Values.


def test_two_tensors_of_one_name_are_refused() -> None:
    tensors: dict[str, Tensor] = {}
    to_json({"a.b": torch.ones(1)}, "x", tensors)
    with pytest.raises(InputError, match=r"two tensors would be kept as 'x\.a\.b'"):
        to_json({"a": {"b": torch.ones(1)}}, "x", tensors)


@pytest.mark.parametrize(
    "value", [{"unknown": 1}, {"tensor": "x"}, {"tuple": 1}, {"dict": [[1]]}, {}, {"a": 1, "b": 2}]
)
def test_what_was_never_written_is_not_read(value: Any) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        from_json(value)
