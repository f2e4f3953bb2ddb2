"""Rows without padding: what is computed for tokens alone is what is computed beside padding."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from minitransformer import BertConfig, BertForPreTraining, BertForSequenceClassification, BertModel
from minitransformer.errors import InputError
from minitransformer.laws.tolerances import STACK, assert_close
from minitransformer.rows import LEAST_SAVED, Rows, alike

pytestmark = pytest.mark.usefixtures("kernels_in_use")

SIZES = BertConfig(
    vocab_size=23,
    hidden_size=8,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=12,
    max_position_embeddings=13,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
    num_labels=3,
)


@st.composite
def ragged_batches(draw: st.DrawFn) -> dict[str, Tensor]:
    """Ids of sequences of different lengths, padded on one side, with numbers in the padding that must not matter."""
    lengths = draw(st.lists(st.integers(1, 11), min_size=2, max_size=5))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    place, length = torch.arange(max(lengths)), torch.tensor(lengths)[:, None]
    is_token = place >= place.numel() - length if draw(st.booleans()) else place < length
    shape = (2, len(lengths), place.numel())
    ids, segments = torch.randint(2, 23, shape, generator=generator)
    return {"input_ids": ids, "token_type_ids": segments % 2, "attention_mask": is_token.long()}


def drawn(model_class: type) -> torch.nn.Module:
    """A model of random parameters, in float64 so that nothing but mistakes can be seen."""
    torch.manual_seed(0)
    return model_class(SIZES).double()


@given(batch=ragged_batches())
def test_at_tokens_nothing_changes_and_at_padding_stand_zeros(batch: dict[str, Tensor]) -> None:
    """Kills: a position that counts on across sequences, a segment of a neighbour, a view into another sequence."""
    model = drawn(BertModel)
    whole, found = model(**batch), model(**batch, skip_padding=True)
    is_token = batch["attention_mask"][..., None] == 1
    scale = 1 + whole.last_hidden_state.detach().abs().max()
    assert_close(found.last_hidden_state, whole.last_hidden_state.where(is_token, 0.0), STACK, scale)


@given(batch=ragged_batches())
def test_gradients_come_back_to_tokens_as_beside_padding(batch: dict[str, Tensor]) -> None:
    """Kills: a gradient of padding that is added to a token's."""
    by_parameter = {}
    for skip_padding in (False, True):
        model = drawn(BertModel)
        read = model(**batch, skip_padding=skip_padding).last_hidden_state
        (read.sin() * batch["attention_mask"][..., None]).sum().backward()
        by_parameter[skip_padding] = {
            name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None
        }
    assert by_parameter[True].keys() == by_parameter[False].keys()
    for name, gradient in by_parameter[False].items():
        assert_close(by_parameter[True][name], gradient, STACK, 1 + gradient.abs().max())


@given(batch=ragged_batches())
def test_a_class_is_learned_from_tokens_as_beside_padding(batch: dict[str, Tensor]) -> None:
    """The loss in training, with the last block at the first token alone, is that of a call."""
    batch["attention_mask"] = batch["attention_mask"].flip(1).sort(dim=1, descending=True).values
    labels = torch.arange(len(batch["input_ids"])) % 3
    model = drawn(BertForSequenceClassification)
    part = model.training_losses(labels=labels, **batch)["loss"]
    loss = model(**batch, labels=labels).loss
    assert part.count == model.training_counts(labels=labels)["loss"] == len(labels)
    assert_close(part.mean, loss, STACK, 1 + loss.detach().abs())


def test_what_is_wrong_in_one_row_stays_in_it() -> None:
    """Kills: a neighbour's token in the place of padding, whose NaN a weight of zero would not keep out."""
    rows = Rows.of(torch.tensor([[1, 1, 1], [0, 0, 1], [0, 1, 1]]))
    x = torch.tensor([[[float("nan")]] * 3, [[5.0]] * 3, [[7.0]] * 3])
    assert rows.unpack(rows.pack(x))[1:].flatten().tolist() == [5.0, 5.0, 5.0, 7.0, 7.0, 7.0]


@given(batch=ragged_batches())
def test_tokens_stand_in_grids_from_the_left_and_come_out_in_their_order(batch: dict[str, Tensor]) -> None:
    """Kills: rows that come back in the order of their lengths, and a gradient from behind the end of a row."""
    rows = Rows.of(batch["attention_mask"])
    x = torch.arange(1.0, 1 + batch["attention_mask"].sum())[None, :, None].requires_grad_()
    parts = rows.apart(x)
    in_rows = {
        tuple(row[kept].flatten().tolist())
        for part, grid in zip(parts, rows.grids, strict=True)
        for row, kept in zip(part.detach(), grid.is_token, strict=True)
    }
    assert in_rows == {
        tuple(row[kept].flatten().tolist()) for row, kept in zip(rows.unpack(x.detach()), rows.is_token, strict=True)
    }
    assert torch.equal(rows.together(parts), x)
    (gradient,) = torch.autograd.grad(sum((part * part).sum() for part in parts), x, retain_graph=True)
    assert torch.equal(gradient, 2 * x)
    apart = [part.detach().requires_grad_() for part in parts]
    for found, grid in zip(torch.autograd.grad(rows.together(apart).sum(), apart), rows.grids, strict=True):
        assert torch.equal(found[..., 0], grid.is_token.to(found.dtype))


@given(length=st.lists(st.integers(0, 60), min_size=1, max_size=40).filter(any).map(torch.tensor))
def test_rows_are_cut_where_the_fewest_scores_are_left_and_only_if_that_saves_enough(length: Tensor) -> None:
    """Every row with tokens is in one group, the long ones in the first."""
    groups = alike(length)
    assert sorted(torch.cat(groups).tolist()) == length.nonzero()[:, 0].tolist()
    shapes = [length[group] for group in groups]
    n_scores = sum(len(lengths) * int(lengths.max()) ** 2 for lengths in shapes)
    kept = length[length > 0].sort(descending=True).values
    by_cut = [cut * int(kept[0]) ** 2 + (len(kept) - cut) * int(kept[cut]) ** 2 for cut in range(len(kept))]
    if len(groups) == 2:
        assert shapes[0].min() >= shapes[1].max()
        assert n_scores == min(by_cut) < (1 - LEAST_SAVED) * by_cut[0]
    else:
        assert min(by_cut) >= (1 - LEAST_SAVED) * by_cut[0]


def test_a_row_without_tokens_is_in_no_grid() -> None:
    rows = Rows.of(torch.tensor([[1, 1, 1], [0, 0, 0], [1, 0, 0]]))
    assert [grid.is_token.tolist() for grid in rows.grids] == [[[True, True, True]], [[True]]]
    x = torch.arange(4.0)[None, :, None]
    assert torch.equal(rows.together(rows.apart(x)), x)


def test_a_label_at_padding_is_computed_as_in_a_call() -> None:
    model = drawn(BertForPreTraining)
    batch = {"input_ids": torch.tensor([[2, 7, 8], [2, 9, 0]]), "attention_mask": torch.tensor([[1, 1, 1], [1, 1, 0]])}
    labels = {"labels": torch.tensor([[-100, 7, -100], [-100, -100, 5]]), "next_sentence_label": torch.tensor([0, 1])}
    parts = model.training_losses(**batch, **labels)
    loss = model(**batch, **labels).loss
    assert_close(sum(part.mean for part in parts.values()), loss, STACK, 1 + loss.detach().abs())


def test_hardly_any_padding_is_not_worth_packing_and_neither_is_nothing_but_padding() -> None:
    assert Rows.worth_packing(torch.ones(2, 64)) is None
    assert Rows.worth_packing(torch.zeros(2, 64)) is None
    assert Rows.worth_packing(torch.tensor([[1, 1], [1, 0]])) is not None


def test_a_mask_of_another_shape_is_still_refused(without_shape_checks: None) -> None:
    with pytest.raises(InputError, match="attention_mask has shape"):
        drawn(BertModel)(torch.tensor([[2, 3]]), torch.tensor([[1, 0, 0]]), skip_padding=True)
