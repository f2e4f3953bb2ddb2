"""The time of a training step by equation: all of it is told, each node belongs to who made it, and nothing changes."""

import inspect
import sys
import time
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import minitransformer as mt
from minitransformer import kernels
from minitransformer.attention import softmax
from minitransformer.doctor import random_batch_for
from minitransformer.feed_forward import FeedForward, gelu
from minitransformer.tracing import PHASES, time_step
from minitransformer.tracing.timing import ADDING, OUTSIDE, Watch, nodes_of
from minitransformer.tracing.watching import equation_of, watching

CONFIG = mt.BertConfig(
    vocab_size=53,
    hidden_size=22,
    num_hidden_layers=2,
    num_attention_heads=11,
    intermediate_size=35,
    max_position_embeddings=13,
)


@pytest.mark.parametrize("kind", ["equations", "fused", "tiled"])
def test_every_equation_of_a_step_has_its_time_and_the_shares_sum_to_one(kind: str) -> None:
    model = mt.BertForPreTraining(CONFIG)
    times = time_step(model, random_batch_for(model, 3, 13), kind, steps=2, warmups=1)
    rows = {row.equation: row for row in times.rows}
    both_ways = {"embeddings", "multi-head-attention", "feed-forward", "gelu", "layer-norm", "dropout", "encoder-block"}
    both_ways |= {"attention", "masked-word-head", "next-sentence-head", "pooler", "token-cross-entropy"}
    assert set(rows) >= both_ways | {"adamw", "global-norm", ADDING, OUTSIDE}
    assert all(rows[equation].forward > 0 < rows[equation].backward for equation in both_ways)
    assert rows["adamw"].update == rows["adamw"].seconds > 0
    assert ("softmax" in rows) == (kind == "equations")
    assert sum(map(times.share, times.rows)) == pytest.approx(1)
    assert [row.seconds for row in times.rows] == sorted((row.seconds for row in times.rows), reverse=True)
    assert "a whole step" in str(times)
    assert "outside any equation" in str(times)
    assert sum(entry["share"] for entry in times.entries()) == pytest.approx(1)


def test_the_time_of_a_slow_equation_is_its_own_forward_and_backward(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(torch.autograd.Function):
        @staticmethod
        def forward(_: Any, x: Tensor) -> Tensor:
            time.sleep(0.02)
            return x.clone()

        @staticmethod
        def backward(_: Any, gradient: Tensor) -> Tensor:
            time.sleep(0.05)
            return gradient

    def slow_gelu(x: Tensor) -> Tensor:
        return Slow.apply(x)  # type: ignore[no-any-return, no-untyped-call]

    slow_gelu.__code__ = slow_gelu.__code__.replace(
        co_filename=inspect.unwrap(kernels.fused.gelu).__code__.co_filename, co_name="gelu", co_qualname="gelu"
    )
    model = mt.BertForMaskedLM(mt.BertConfig(**{**vars(CONFIG), "num_hidden_layers": 1}))
    model.bert.encoder.blocks[0].feed_forward.activation = slow_gelu
    times = time_step(model, random_batch_for(model, 3, 13), steps=1, warmups=1)
    (row,) = (row for row in times.rows if row.equation == "gelu")
    assert 0.02 <= row.forward < 0.05 <= row.backward < 0.1


def test_a_node_belongs_to_the_innermost_equation_that_made_it() -> None:
    x = torch.randn(3, 5, requires_grad=True)
    watch = Watch(torch.device("cpu"))
    with kernels.use("equations"), watch.step():
        loss = (softmax(gelu(x) * 2) ** 2).sum()
    makers: dict[str, set[str]] = {}
    for node in nodes_of(loss):
        makers.setdefault(watch.maker_of(node), set()).add(node.name())
    assert makers["gelu"] >= {"ErfBackward0"}
    assert makers["softmax"] >= {"ExpBackward0", "DivBackward0"}
    assert makers[""] >= {"PowBackward0", "SumBackward0"}
    assert makers[ADDING] == {"torch::autograd::AccumulateGrad"}


def test_the_model_and_the_random_numbers_stay_as_they_are() -> None:
    model = mt.BertForMaskedLM(CONFIG).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    time_step(model, random_batch_for(model, 3, 13), steps=1, warmups=0)
    assert torch.equal(torch.rand(2), expected)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert sys.getprofile() is None
    assert kernels.active() == "fused"


def test_a_classifier_is_timed_and_senseless_sizes_are_refused() -> None:
    model = mt.BertForSequenceClassification(CONFIG)
    times = time_step(model, random_batch_for(model, 3, 13), steps=1, warmups=0)
    assert "classification-head" in {row.equation for row in times.rows}
    with pytest.raises(mt.InputError, match="steps=0 must be at least 1"):
        time_step(model, {}, steps=0)
    with pytest.raises(mt.InputError, match="length=14 from 1 to 13"):
        random_batch_for(model, 3, 14)


def test_an_error_leaves_nobody_watching() -> None:
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise ValueError(x)

    with pytest.raises(ValueError, match="tensor"), watching(lambda _: None, lambda *_: None):
        Broken()(torch.ones(1))
    assert sys.getprofile() is None


def test_a_kernel_has_the_tag_of_its_equation_and_others_code_has_none() -> None:
    assert equation_of(inspect.unwrap(kernels.fused.layer_norm).__code__) == "layer-norm"
    assert equation_of(inspect.unwrap(FeedForward.__init__).__code__) == "feed-forward"
    assert equation_of(nn.Linear.forward.__code__) == ""
    assert set(PHASES) == {"forward", "backward", "update"}
