"""Gradient checkpointing: blocks computed once more on the way back, less kept, the same numbers bit for bit."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from bert_twins import CLASSES, SMALL, batch_for, labels_for, ours
from torch import Tensor, nn

from minitransformer import BertConfig, BertModel, Decoder, kernels
from minitransformer.errors import InputError

DROPOUT = {"hidden_dropout_prob": 0.25, "attention_probs_dropout_prob": 0.25}


def learned(model: nn.Module, loss_of: Callable[[], Tensor]) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    """A loss, its gradients, and the next random number: the one after those of the pass."""
    torch.manual_seed(7)
    model.zero_grad()
    loss = loss_of()
    loss.backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return loss.detach(), gradients, torch.rand(1)


def assert_bit_equal(model: Any, loss_of: Callable[[], Tensor]) -> None:
    """Fail unless computing once more changes nothing."""
    kept = learned(model, loss_of)
    model.gradient_checkpointing_enable()
    recomputed = learned(model, loss_of)
    model.gradient_checkpointing_disable()
    assert torch.equal(recomputed[0], kept[0])
    assert recomputed[1].keys() == kept[1].keys()
    assert all(torch.equal(recomputed[1][name], gradient) for name, gradient in kept[1].items())
    assert torch.equal(recomputed[2], kept[2]), "the generator stands where it would have stood"
    assert any(gradient.any() for gradient in kept[1].values())


@pytest.mark.parametrize("name", [name for name in CLASSES if name != "BertModel"])
@pytest.mark.usefixtures("kernels_in_use")
def test_losses_and_gradients_are_bit_equal_with_dropout_and_padding(name: str) -> None:
    model = ours(name, **DROPOUT).train()
    batch = {**batch_for(name), **labels_for(name)}
    assert_bit_equal(model, lambda: model(**batch).loss)


@pytest.mark.parametrize("name", ["BertForPreTraining", "BertForMaskedLM", "BertForQuestionAnswering"])
@pytest.mark.usefixtures("kernels_in_use")
def test_parts_of_the_loss_are_bit_equal_too(name: str) -> None:
    """Kills: a last block at some positions alone that is left out of it."""
    model = ours(name, **DROPOUT).train()
    batch = {**batch_for(name), **labels_for(name)}
    assert_bit_equal(model, lambda: sum(part.mean for part in model.training_losses(**batch).values()))


@pytest.mark.usefixtures("kernels_in_use")
def test_hidden_states_and_attentions_can_be_asked_for_meanwhile() -> None:
    model = ours("BertForMaskedLM", **DROPOUT).train()
    batch = {**batch_for("BertForMaskedLM"), **labels_for("BertForMaskedLM")}

    def loss_of() -> Tensor:
        output = model(**batch, output_hidden_states=True, output_attentions=True)
        return output.loss + sum(state.square().mean() for state in (*output.hidden_states, *output.attentions))

    assert_bit_equal(model, loss_of)


@pytest.mark.parametrize("kind", ["equations", "fused", "tiled"])
def test_the_kernels_are_those_of_the_way_there_even_after_the_choice_has_ended(kind: str) -> None:
    """Kills: a block computed once more by other kernels, because the way back comes after `with kernels.use(...)`."""
    model = ours("BertForMaskedLM", **DROPOUT).train()
    batch = {**batch_for("BertForMaskedLM"), **labels_for("BertForMaskedLM")}

    def loss_of() -> Tensor:
        with kernels.use(kind):
            return model(**batch).loss

    with kernels.use("fused" if kind == "equations" else "equations"):
        before = kernels.active()
        assert_bit_equal(model, loss_of)
        assert kernels.active() == before


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_bit_equal_too(dtype: torch.dtype) -> None:
    model = ours("BertForMaskedLM", **DROPOUT).train()
    batch = {**batch_for("BertForMaskedLM"), **labels_for("BertForMaskedLM")}

    def loss_of() -> Tensor:
        with torch.autocast("cpu", dtype=dtype):
            return model(**batch).loss

    assert_bit_equal(model, loss_of)


def test_a_decoder_computes_its_blocks_once_more_too() -> None:
    decoder = Decoder(n_blocks=2, d_model=6, n_heads=2, d_ff=5, dropout=0.25)
    x, memory = torch.randn(3, 5, 6), torch.randn(3, 7, 6)
    kept = learned(decoder, lambda: decoder(x, memory).square().mean())
    decoder.recomputes = True
    recomputed = learned(decoder, lambda: decoder(x, memory).square().mean())
    assert torch.equal(recomputed[0], kept[0])
    assert all(torch.equal(recomputed[1][name], gradient) for name, gradient in kept[1].items())


def kept_numbers(model: nn.Module, batch: dict[str, Tensor]) -> int:
    """How many numbers, apart from the parameters, a pass keeps for the way back."""
    parameters = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    seen: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            seen[storage.data_ptr()] = storage.nbytes() // tensor.element_size()
        alive.append(tensor)
        return tensor

    alive: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        model(**batch)
    return sum(seen.values())


@pytest.mark.usefixtures("kernels_in_use")
def test_of_each_block_only_the_input_is_kept() -> None:
    """Kills: blocks computed once more that keep everything all the same."""
    blocks = 6
    batch = batch_for("BertModel")
    hidden = batch["input_ids"].numel() * SMALL["hidden_size"]
    kept = []
    for n_blocks in (blocks, 2 * blocks):
        model = BertModel(BertConfig(**{**SMALL, **DROPOUT, "num_hidden_layers": n_blocks})).train()
        usually = kept_numbers(model, batch)
        model.gradient_checkpointing_enable()
        kept.append((usually, kept_numbers(model, batch)))
    (usual, less), (usual_of_twice, less_of_twice) = kept
    assert (usual_of_twice - usual) / blocks > 10 * hidden
    assert (less_of_twice - less) / blocks <= 2 * hidden
    assert less_of_twice < usual_of_twice / 5


def test_evaluating_computes_nothing_twice() -> None:
    model = ours("BertModel").eval()
    model.gradient_checkpointing_enable()
    calls = []
    model.encoder.blocks[0].register_forward_pre_hook(lambda *_: calls.append(1))
    model(**batch_for("BertModel")).pooler_output.sum().backward()
    assert len(calls) == 1
    model.train()
    model(**batch_for("BertModel")).pooler_output.sum().backward()
    assert len(calls) == 3, "while training: there, and once more on the way back"


def test_it_can_be_asked_for_seen_and_ended() -> None:
    model = ours("BertForMaskedLM")
    assert not model.is_gradient_checkpointing
    model.gradient_checkpointing_enable({"use_reentrant": False, "preserve_rng_state": True})
    assert model.is_gradient_checkpointing
    assert model.bert.is_gradient_checkpointing
    model.gradient_checkpointing_disable()
    assert not model.is_gradient_checkpointing


@pytest.mark.parametrize("wrong", [{"use_reentrant": True}, {"preserve_rng_state": False}, {"early_stop": True}])
def test_settings_that_would_change_the_numbers_are_refused(wrong: dict[str, bool]) -> None:
    model = ours("BertModel")
    with pytest.raises(InputError, match=f"asks for {next(iter(wrong))}="):
        model.gradient_checkpointing_enable(wrong)
    assert not model.is_gradient_checkpointing


COMPILED = """
import torch
from minitransformer import BertConfig, BertForSequenceClassification

config = BertConfig(vocab_size=23, hidden_size=12, num_hidden_layers=2, num_attention_heads=3, intermediate_size=13,
                    hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
model = BertForSequenceClassification(config).train()
ids = torch.randint(23, (5, 11))
batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids).tril(5), "labels": torch.tensor([0, 1, 0, 1, 1])}
batch["attention_mask"][:, 0] = 1

def gradients(run):
    model.zero_grad()
    run(**batch).loss.backward()
    return [parameter.grad.clone() for parameter in model.parameters()]

kept = gradients(model)
model.gradient_checkpointing_enable()
recomputed = gradients(torch.compile(model, backend="aot_eager", fullgraph=True))
for found, wanted in zip(recomputed, kept, strict=True):
    torch.testing.assert_close(found, wanted)
"""


def test_a_compiled_model_is_one_graph_and_computes_its_blocks_once_more_too() -> None:
    """Kills: a check of values, or a switch of kernels, that breaks the graph. Without the checks that tests add."""
    run = subprocess.run([sys.executable, "-c", COMPILED], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
