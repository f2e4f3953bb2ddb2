"""Each model's loss from unequal micro-batches: weighted as the trainer does, it is that of the whole batch."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch
from bert_twins import BATCH, CHOICES, LABELS, LENGTH, as_users_run_it, batch_for, labels_for, ours, theirs
from torch import Tensor, nn

from minitransformer.errors import InputError
from minitransformer.laws.cases import whole_numbers
from minitransformer.laws.tolerances import assert_close
from minitransformer.trainer.loss_parts import count_labels

Batch = dict[str, Tensor]


def drawn(name: str, below: int, *shape: int) -> Tensor:
    """Labels of one kind."""
    return whole_numbers(3, name, 0, below, *shape)


def some(labels: Tensor) -> Tensor:
    """Labels, half of which don't count, unevenly over the rows."""
    counts = drawn("counts", 2, *labels.shape).bool()
    counts[0], counts[1] = True, False
    counts.view(-1)[-1] = True
    return labels.where(counts, -100)


def ends(length: int) -> Batch:
    """Starts and ends of answers, some of them beyond the text, and not as many of each."""
    return {
        "start_positions": torch.tensor([3, length, 0, length + 9, 2]),
        "end_positions": torch.tensor([5, length, length, length + 9, 7]),
    }


CASES: dict[str, tuple[str, dict[str, Any], Batch]] = {
    "pretraining": ("BertForPreTraining", {}, labels_for("BertForPreTraining")),
    "pretraining, next sentences that don't count": (
        "BertForPreTraining",
        {},
        {**labels_for("BertForPreTraining"), "next_sentence_label": some(drawn("next", 2, BATCH))},
    ),
    "masked words": ("BertForMaskedLM", {}, labels_for("BertForMaskedLM")),
    "next sentence": ("BertForNextSentencePrediction", {}, {"labels": some(drawn("next", 2, BATCH))}),
    "one class": ("BertForSequenceClassification", {}, {"labels": drawn("class", LABELS, BATCH)}),
    "one class, some unknown": ("BertForSequenceClassification", {}, {"labels": some(drawn("class", LABELS, BATCH))}),
    "several classes": ("BertForSequenceClassification", {}, {"labels": drawn("classes", 2, BATCH, LABELS).float()}),
    "several classes, as whole numbers": (
        "BertForSequenceClassification",
        {"problem_type": "multi_label_classification"},
        {"labels": drawn("classes", 2, BATCH, LABELS)},
    ),
    "a number": ("BertForSequenceClassification", {"num_labels": 1}, {"labels": drawn("number", 9, BATCH) / 4}),
    "a number, in a column": (
        "BertForSequenceClassification",
        {"num_labels": 1},
        {"labels": drawn("number", 9, BATCH, 1) / 4},
    ),
    "a whole number": ("BertForSequenceClassification", {"num_labels": 1}, {"labels": drawn("number", 9, BATCH)}),
    "several numbers": (
        "BertForSequenceClassification",
        {"problem_type": "regression"},
        {"labels": drawn("numbers", 9, BATCH, LABELS) / 4},
    ),
    "classes of tokens": (
        "BertForTokenClassification",
        {},
        {"labels": some(drawn("classes", LABELS, BATCH, LENGTH))},
    ),
    "answers": ("BertForQuestionAnswering", {}, labels_for("BertForQuestionAnswering")),
    "answers, some beyond the text": ("BertForQuestionAnswering", {}, ends(LENGTH)),
    "choices": ("BertForMultipleChoice", {}, {"labels": drawn("choice", CHOICES, BATCH)}),
}


def micro_batches(batch: Mapping[str, Tensor]) -> Iterator[Batch]:
    """The batch in pieces of unequal sizes."""
    for rows in (slice(0, 1), slice(1, 2), slice(2, 5)):
        yield {name: column[rows] for name, column in batch.items()}


def sums_and_counts(model: nn.Module, batch: Batch) -> dict[str, tuple[Tensor, int]]:
    """The parts of a loss, as sums, and their counts, as the trainer takes them."""
    if hasattr(model, "training_losses"):
        parts, counts = model.training_losses(**batch), model.training_counts(**batch)
        assert {name: part.count for name, part in parts.items()} == counts
        return {name: (part.total, part.count) for name, part in parts.items()}
    count = count_labels(batch)
    return {"loss": (model(**batch).loss * count, count)} if count else {"loss": (torch.zeros(()), 0)}


def accumulated(model: nn.Module, batch: Batch) -> Tensor:
    """The loss of a batch that is computed in pieces."""
    sums: dict[str, Any] = {}
    counts: dict[str, int] = {}
    for piece in micro_batches(batch):
        for name, (total, count) in sums_and_counts(model, piece).items():
            sums[name] = sums.get(name, 0.0) + total
            counts[name] = counts.get(name, 0) + count
    return torch.stack([sums[name] / counts[name] for name in sums]).sum()


def gradients(model: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    """The gradients of a loss."""
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.usefixtures("kernels_in_use")
def test_unequal_micro_batches_give_the_loss_and_the_gradients_of_the_whole_batch(case: str) -> None:
    """Kills: a mean of means; examples counted in place of the labels that count."""
    name, settings, labels = CASES[case]
    model = ours(name, dtype=torch.float64, **settings)
    batch = {**batch_for(name), **labels}
    whole, in_pieces = model(**batch).loss, accumulated(model, batch)
    assert_close(in_pieces, whole, c=200, scale=None, what="the loss")
    expected = gradients(model, whole)
    found = gradients(model, accumulated(model, batch))
    largest = max(float(gradient.abs().max()) for gradient in expected.values())
    for parameter, gradient in expected.items():
        assert_close(found[parameter], gradient, c=2_000, scale=largest, what=parameter)


def test_a_mean_over_examples_would_be_another() -> None:
    """The case can tell: where positions that don't count are counted, the loss differs."""
    model = ours("BertForQuestionAnswering", dtype=torch.float64)
    batch = {**batch_for("BertForQuestionAnswering"), **ends(LENGTH)}
    del batch["attention_mask"]
    pieces = [piece for piece in micro_batches(batch) if model.training_counts(**piece)["start_loss"]]
    by_examples = sum(
        sum(part.total / max(part.count, 1) for part in model.training_losses(**piece).values())
        * len(piece["input_ids"])
        for piece in pieces
    ) / sum(len(piece["input_ids"]) for piece in pieces)
    assert abs(by_examples - model(**batch).loss) > 0.01


@pytest.mark.parametrize("beyond", [False, True])
def test_the_parts_of_an_answers_loss_are_those_of_transformers_loss(beyond: bool) -> None:
    judge = theirs("BertForQuestionAnswering")
    model = ours("BertForQuestionAnswering")
    model.load_state_dict(
        {name: judge.state_dict()[model.name_on_disk(name)] for name in model.state_dict()}, strict=True
    )
    labels = ends(LENGTH) if beyond else labels_for("BertForQuestionAnswering")
    batch = {**batch_for("BertForQuestionAnswering"), **labels}
    parts = model.training_losses(**batch)
    assert_close(sum(part.mean for part in parts.values()), judge(**batch).loss.detach(), c=100, what="the loss")
    assert model.training_counts(**batch) == ({"start_loss": 3, "end_loss": 2} if beyond else dict.fromkeys(parts, 5))


def test_word_vectors_tell_the_length_of_a_text_as_ids_do() -> None:
    model = ours("BertForQuestionAnswering")
    batch = {**batch_for("BertForQuestionAnswering"), **ends(LENGTH)}
    vectors = model.get_input_embeddings()(batch.pop("input_ids"))
    assert model.training_counts(inputs_embeds=vectors, **batch) == {"start_loss": 3, "end_loss": 2}
    assert model.training_losses(inputs_embeds=vectors, **batch)["start_loss"].count == 3


@pytest.mark.usefixtures("without_shape_checks")
def test_a_number_that_elsewhere_means_ignored_is_refused_as_a_whole_number() -> None:
    """Kills: a temperature of -100 that the loss counts and the trainer does not."""
    model = ours("BertForSequenceClassification", num_labels=1)
    batch = batch_for("BertForSequenceClassification")
    labels = torch.tensor([3, -100, 5, 7, 2])
    with as_users_run_it(), pytest.raises(InputError, match="labels hold the whole number -100"):
        model(**batch, labels=labels)
    assert torch.isfinite(model(**batch, labels=labels.float()).loss)
    assert count_labels({**batch, "labels": labels.float()}) == BATCH
