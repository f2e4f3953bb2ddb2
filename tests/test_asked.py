"""What is asked of a batch is found before a step, so that nothing in the step waits for an accelerator."""

from typing import Any

import pytest
import torch
from bert_twins import batch_for, labels_for, ours
from torch import Tensor, nn

from minitransformer.errors import InputError
from minitransformer.laws.tolerances import STACK, assert_close
from minitransformer.rows import Rows

TRAINED_BY_PARTS = (
    "BertForPreTraining",
    "BertForMaskedLM",
    "BertForNextSentencePrediction",
    "BertForSequenceClassification",
    "BertForTokenClassification",
    "BertForMultipleChoice",
)


def ragged(name: str) -> dict[str, Tensor]:
    """A batch with its labels, of which some rows are shorter than others and no label stands at padding."""
    batch = {**batch_for(name), **labels_for(name)}
    mask = torch.ones_like(batch["input_ids"])
    mask[1::2, ..., -2:] = 0
    batch["attention_mask"] = mask
    if batch["labels"].shape == mask.shape:
        batch["labels"] = batch["labels"].masked_fill(mask == 0, -100)
    return batch


@pytest.mark.parametrize("name", TRAINED_BY_PARTS)
def test_the_loss_in_training_is_that_of_a_call_and_so_are_its_gradients(name: str, kernels_in_use: str) -> None:
    """Kills: an answer at another row's first token, a class of the wrong token, a label that counts at padding."""
    model, batch = ours(name, dtype=torch.float64), ragged(name)
    asked = model.what_is_asked(**batch)
    assert isinstance(asked.rows, Rows), "there is padding to be left out"
    found = gradients_of(model, sum(part.mean for part in model.training_losses(**batch, asked=asked).values()))
    for one, expected in gradients_of(model, model(**batch).loss).items():
        assert_close(found[one], expected, c=STACK, what=one)


def gradients_of(model: nn.Module, loss: Any) -> dict[str, Tensor]:
    """The loss, and its gradients by name."""
    model.zero_grad()
    loss.backward()
    by_name = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    return {"the loss": loss.detach(), **by_name}


@pytest.mark.parametrize("name", TRAINED_BY_PARTS)
def test_a_step_reads_no_number_back_from_where_it_is_computed(name: str) -> None:
    """On tensors without numbers, anything that depends on one fails: a count, a maximum, where a condition holds.

    Kills: a processor that waits for the accelerator in the middle of a step.
    """
    model, batch = ours(name).train(), ragged(name)
    asked, nowhere = model.what_is_asked(**batch), torch.device("meta")
    model.to(nowhere)
    there = {key: column.to(nowhere) for key, column in batch.items()}
    parts = model.training_losses(**there, asked=asked.to(nowhere))
    torch.stack([part.mean for part in parts.values()]).sum().backward()
    assert all(parameter.grad is None or parameter.grad.is_meta for parameter in model.parameters())
    with pytest.raises((RuntimeError, NotImplementedError), match=r"meta tensors"):
        model.training_losses(**there)


def test_what_is_asked_goes_where_the_batch_goes() -> None:
    model, batch = ours("BertForPreTraining"), ragged("BertForPreTraining")
    there = model.what_is_asked(**batch).to(torch.device("meta"))
    assert isinstance(there.rows, Rows)
    tensors = (there.positions, there.labelled, there.rows.is_token, there.rows.place, there.rows.token)
    assert {tensor.device.type for tensor in tensors} == {"meta"}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", TRAINED_BY_PARTS)
def test_a_gpu_is_not_waited_for_in_a_step(name: str) -> None:
    device = torch.device("cuda")
    model, batch = ours(name).to(device).train(), ragged(name)
    asked = model.what_is_asked(**batch).to(device)
    there = {key: column.to(device) for key, column in batch.items()}
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        torch.stack([part.mean for part in model.training_losses(**there, asked=asked).values()]).sum().backward()
    finally:
        torch.cuda.set_sync_debug_mode(before)


@pytest.mark.parametrize("name", ["BertForMultipleChoice", "BertForQuestionAnswering"])
def test_a_batch_without_tokens_is_refused_in_training_as_in_a_call(name: str) -> None:
    with pytest.raises(InputError, match="give either input_ids or inputs_embeds"):
        ours(name).training_losses(**labels_for(name))
