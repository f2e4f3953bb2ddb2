"""Compiled training: what is made for the first lengths serves all others, and numbers stay as they are."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from bert_twins import SMALL, labels_for, ours
from torch import Tensor, nn
from torch._dynamo.utils import counters

from minitransformer import Trainer, TrainingArguments, blocks
from minitransformer.batches import Example
from minitransformer.laws.tolerances import STACK, assert_close

pytestmark = [
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf"),
    pytest.mark.filterwarnings("ignore:.*should not be instantiated. Methods on autograd functions:DeprecationWarning"),
]

WAYS = ("BertForPreTraining", "BertForQuestionAnswering")
"""One that asks the last block at some positions, and one that asks it at all; the others do as one of them."""
FORMS = 8
"""A block, and the last one at the positions asked: each without padding, with it, with one grid and with two."""


@pytest.fixture(autouse=True)
def without_a_compiler(monkeypatch: pytest.MonkeyPatch, without_shape_checks: None) -> Iterator[None]:
    """Trace as `torch.compile` does, and run what was traced as it is: no compiler need be installed."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    blocks.compiled.cache_clear()
    torch._dynamo.reset()
    counters.clear()
    yield
    blocks.compiled.cache_clear()
    torch._dynamo.reset()


def ragged_batches(name: str, n_batches: int) -> Iterator[dict[str, Tensor]]:
    """Batches of all sizes and lengths, with and without padding."""
    drawn = torch.Generator().manual_seed(0)
    for number in range(n_batches):
        n_rows, length = (int(torch.randint(low, high, (), generator=drawn)) for low, high in ((2, 7), (5, 17)))
        lengths = torch.randint(3, length + 1, (n_rows, 1), generator=drawn)
        is_token = torch.arange(length) < (length if number % 3 == 0 else lengths)
        ids = torch.randint(0, SMALL["vocab_size"], (n_rows, length), generator=drawn)
        batch = {"input_ids": ids, "attention_mask": is_token.expand(n_rows, length).long()}
        yield {**batch, **labels_of(name, n_rows, length, is_token.expand(n_rows, length))}


def labels_of(name: str, n_rows: int, length: int, is_token: Tensor) -> dict[str, Tensor]:
    """Labels of the kinds that a model learns from."""
    labels = {}
    for key, like in labels_for(name).items():
        shape = (n_rows, length) if like.ndim > 1 else (n_rows,)
        labels[key] = torch.arange(n_rows)[:, None].expand(n_rows, length) % 2 if like.ndim > 1 else torch.ones(shape)
        labels[key] = labels[key].masked_fill(~is_token, -100) if like.ndim > 1 else labels[key].long()
    return labels


@pytest.mark.parametrize("name", WAYS)
def test_other_lengths_are_computed_by_what_was_compiled_for_the_first(name: str) -> None:
    """Kills: code that is made anew for each length, which costs more than it saves."""
    model, plain = ours(name, dtype=torch.float64).train(), ours(name, dtype=torch.float64).train()
    model.compile_blocks()
    made = []
    for batch in ragged_batches(name, 24):
        loss, expected = loss_of(model, batch), loss_of(plain, batch)
        assert_close(loss, expected, STACK, 1 + expected.abs())
        made.append(counters["stats"]["unique_graphs"])
    assert 1 <= made[-1] <= FORMS
    assert made[11] == made[-1], "later lengths need nothing new"


def loss_of(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """The loss as it is trained on, after its gradients."""
    parts: Any = model.training_losses(**batch) if hasattr(model, "training_losses") else None  # type: ignore[operator]
    loss = sum(part.mean for part in parts.values()) if parts else model(**batch).loss
    loss.backward()
    return loss.detach()


class Mean(nn.Module):
    """A model that is none of ours."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(1, 1)

    def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return {"loss": (self.dense(x[..., None]).mean(dim=(1, 2)) - labels).square().mean()}


def rows(examples: list[Example]) -> dict[str, Tensor]:
    """A batch of examples that are equally long."""
    return {"x": torch.stack([e["x"] for e in examples]), "labels": torch.stack([e["labels"] for e in examples])}


def trained(folder: Path, compiles: bool) -> list[Tensor]:
    """The parameters after a pass over examples of twelve lengths."""
    torch.manual_seed(0)
    model, examples = Mean(), [{"x": torch.ones(length), "labels": torch.tensor(1.0)} for length in range(3, 15)]
    arguments = TrainingArguments(
        str(folder), per_device_train_batch_size=1, max_steps=12, torch_compile=compiles, use_cpu=True
    )
    Trainer(model, arguments, data_collator=rows, train_dataset=examples).train()
    return [parameter.detach() for parameter in model.parameters()]


def test_any_other_model_is_compiled_whole_and_once_for_all_lengths(tmp_path: Path) -> None:
    found = trained(tmp_path / "compiled", compiles=True)
    assert counters["stats"]["unique_graphs"] == 1
    for one, other in zip(found, trained(tmp_path / "plain", compiles=False), strict=True):
        assert_close(one, other, STACK, 1.0)


def test_a_model_of_ours_is_compiled_while_it_learns_and_not_after(tmp_path: Path) -> None:
    model = ours("BertForSequenceClassification")
    batches = list(ragged_batches("BertForSequenceClassification", 3))
    examples = [{key: column[0] for key, column in batch.items()} for batch in batches]
    arguments = TrainingArguments(
        str(tmp_path), per_device_train_batch_size=1, max_steps=3, torch_compile=True, use_cpu=True, save_strategy="no"
    )
    stack = lambda given: {key: torch.stack([one[key] for one in given]) for key in given[0]}  # noqa: E731
    Trainer(model, arguments, data_collator=stack, train_dataset=examples).train()
    made = counters["stats"]["unique_graphs"]
    assert made >= 1
    model.train()(**batches[0])
    assert counters["stats"]["unique_graphs"] == made
