"""BERT: the numbers of `transformers` in both directions, the losses of each task, and the laws of an encoder."""

import copy
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from bert_twins import (
    BATCH,
    CLASSES,
    LABELS,
    LENGTH,
    PROMISED,
    SMALL,
    as_users_run_it,
    assert_agree,
    batch_for,
    labels_for,
    opened_by_them,
    opened_by_us,
    ours,
    results,
    theirs,
)
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from minitransformer import kernels
from minitransformer.errors import InputError
from minitransformer.laws.cases import few_examples, numbers, seeds, shuffled, whole_numbers
from minitransformer.laws.tolerances import STACK, assert_close, assert_same
from minitransformer.models import bert
from minitransformer.models.bert_config import BertConfig
from minitransformer.optimizer import AdamW

WITH_MASKED_WORDS = ("BertForPreTraining", "BertForMaskedLM")
EVERYTHING: dict[str, Any] = {"output_hidden_states": True, "output_attentions": True}


# The same numbers as transformers


@pytest.mark.parametrize("name", CLASSES)
def test_a_model_of_transformers_gives_the_same_numbers_here(name: str, tmp_path: Path, kernels_in_use: str) -> None:
    original = theirs(name)
    inputs = {**batch_for(name), **labels_for(name), **EVERYTHING}
    with torch.no_grad():
        assert_agree(opened_by_us(original, tmp_path)(**inputs), original(**inputs))


@pytest.mark.parametrize("name", CLASSES)
def test_a_model_of_ours_gives_the_same_numbers_in_transformers(name: str, tmp_path: Path, kernels_in_use: str) -> None:
    original = ours(name)
    inputs = {**batch_for(name), **labels_for(name), **EVERYTHING}
    with torch.no_grad():
        assert_agree(original(**inputs), opened_by_them(original, tmp_path)(**inputs))


@pytest.mark.parametrize("name", CLASSES)
def test_ids_alone_are_read_as_transformers_reads_them(name: str, tmp_path: Path) -> None:
    original = theirs(name)
    inputs = {"input_ids": batch_for(name)["input_ids"]}
    with torch.no_grad():
        assert_agree(opened_by_us(original, tmp_path)(**inputs), original(**inputs))


def test_position_ids_are_read_as_transformers_reads_them(tmp_path: Path, kernels_in_use: str) -> None:
    original = theirs("BertModel")
    inputs = {**batch_for("BertModel"), "position_ids": whole_numbers(0, "position_ids", 0, 17, BATCH, LENGTH)}
    with torch.no_grad():
        assert_agree(opened_by_us(original, tmp_path)(**inputs), original(**inputs))


@pytest.mark.parametrize("name", ["BertModel", "BertForMultipleChoice"])
def test_word_vectors_are_read_in_place_of_ids(name: str, tmp_path: Path, kernels_in_use: str) -> None:
    original = theirs(name)
    inputs = batch_for(name)
    shape = inputs.pop("input_ids").shape
    inputs["inputs_embeds"] = numbers(0, "inputs_embeds", *shape, SMALL["hidden_size"], dtype=torch.float32)
    with torch.no_grad():
        assert_agree(opened_by_us(original, tmp_path)(**inputs), original(**inputs))


def test_the_vectors_of_the_words_give_what_the_words_give(kernels_in_use: str) -> None:
    model = ours("BertModel")
    inputs = batch_for("BertModel")
    expected = model(**inputs).last_hidden_state
    vectors = model.embeddings.word(inputs.pop("input_ids"))
    assert_same(model(**inputs, inputs_embeds=vectors).last_hidden_state, expected)


@pytest.mark.parametrize("activation", ["relu", "gelu_new", "gelu_pytorch_tanh"])
def test_another_activation_is_the_one_of_transformers(activation: str, tmp_path: Path, kernels_in_use: str) -> None:
    original = theirs("BertForMaskedLM", hidden_act=activation)
    inputs = batch_for("BertForMaskedLM")
    with torch.no_grad():
        assert_agree(opened_by_us(original, tmp_path)(**inputs), original(**inputs))


def test_a_large_eps_of_the_norms_reaches_every_norm(tmp_path: Path, kernels_in_use: str) -> None:
    original = theirs("BertForMaskedLM", layer_norm_eps=0.5)
    inputs = batch_for("BertForMaskedLM")
    with torch.no_grad():
        assert_agree(opened_by_us(original, tmp_path)(**inputs), original(**inputs))


@pytest.mark.parametrize("name", CLASSES[1:])
def test_the_gradients_of_a_training_step_are_those_of_transformers(
    name: str, tmp_path: Path, kernels_in_use: str
) -> None:
    original = theirs(name)
    model = opened_by_us(original, tmp_path)
    inputs = {**batch_for(name), **labels_for(name)}
    model.train()(**inputs).loss.backward()
    original.train()(**inputs).loss.backward()
    expected = {one: parameter.grad for one, parameter in original.named_parameters()}
    assert {model.name_on_disk(one) for one, _ in model.named_parameters()} == expected.keys()
    for one, parameter in model.named_parameters():
        gradient = expected[model.name_on_disk(one)]
        assert parameter.grad is not None
        assert gradient is not None
        scale = max(1.0, float(gradient.abs().max()))
        assert_close(parameter.grad, gradient, c=PROMISED, scale=scale, what=f"the gradient of {one}")


@pytest.mark.parametrize("name", CLASSES)
def test_dropout_falls_where_transformers_lets_it_fall(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Drawn as PyTorch draws, equal seeds drop equal entries if the places are equal."""
    monkeypatch.setattr(kernels.fused, "draws_cheaply", lambda *_: False)
    original = theirs(name, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.3, classifier_dropout=0.6)
    original.set_attn_implementation("sdpa")
    model = opened_by_us(original, tmp_path)
    inputs = batch_for(name)
    with torch.no_grad(), kernels.use("fused"):
        torch.manual_seed(11)
        found = model.train()(**inputs)
        torch.manual_seed(11)
        expected = original.train()(**inputs)
        torch.manual_seed(13)
        assert not torch.equal(model(**inputs)[0], found[0]), "another seed must drop other entries"
    assert_agree(found, expected)


# What a model returns


def test_results_have_names_and_numbers_and_those_that_are_none_do_not_count() -> None:
    model, inputs, labels = ours("BertForMaskedLM"), batch_for("BertForMaskedLM"), labels_for("BertForMaskedLM")
    scored = model(**inputs)
    assert scored.loss is None
    assert scored[0] is scored.logits
    assert list(scored.keys()) == list(scored) == ["logits"]
    judged = model(**inputs, **labels, **EVERYTHING)
    assert list(judged.keys()) == ["loss", "logits", "hidden_states", "attentions"]
    assert judged[0] is judged["loss"] is judged.loss
    assert judged[1] is judged["logits"] is judged.logits
    assert judged[:2] == (judged.loss, judged.logits)
    assert len(judged) == 4
    assert "loss" in judged
    assert "loss" not in scored
    assert dict(judged)["attentions"] is judged.attentions
    assert tuple(name for name, _ in judged.items()) == judged.keys()
    with pytest.raises(KeyError):
        scored["loss"]


@pytest.mark.parametrize("name", CLASSES)
def test_the_names_of_the_results_and_their_order_are_those_of_transformers(name: str) -> None:
    inputs = {**batch_for(name), **labels_for(name), **EVERYTHING}
    found, expected = ours(name)(**inputs), theirs(name)(**inputs)
    assert list(found) == list(results(expected))
    assert type(found).__name__ == type(expected).__name__.removesuffix("AndCrossAttentions")


@pytest.mark.parametrize("name", CLASSES)
def test_a_plain_tuple_is_given_on_demand(name: str) -> None:
    model, inputs = ours(name), {**batch_for(name), **labels_for(name)}
    named, plain = model(**inputs), model(**inputs, return_dict=False)
    assert isinstance(plain, tuple)
    assert len(plain) == len(named)
    for found, expected in zip(plain, named.values(), strict=True):
        assert_same(found, expected)


def test_a_model_without_pooler_has_no_pooler_output() -> None:
    model = bert.BertModel(BertConfig(**SMALL), add_pooling_layer=False)
    assert list(model(**batch_for("BertModel"))) == ["last_hidden_state"]


def test_hidden_states_are_a_chain_and_attentions_its_links(kernels_in_use: str) -> None:
    model = ours("BertModel")
    inputs = batch_for("BertModel")
    out = model(**inputs, **EVERYTHING)
    may_attend = inputs["attention_mask"][:, None, None, :].bool()
    assert len(out.hidden_states) == SMALL["num_hidden_layers"] + 1
    assert len(out.attentions) == SMALL["num_hidden_layers"]
    assert_same(out.hidden_states[0], model.embeddings(inputs["input_ids"], inputs["token_type_ids"]))
    assert out.hidden_states[-1] is out.last_hidden_state
    for block, before, after in zip(model.encoder.blocks, out.hidden_states, out.hidden_states[1:], strict=False):
        assert_same(block(before, may_attend), after)
    for weights in out.attentions:
        assert weights.shape == (BATCH, SMALL["num_attention_heads"], LENGTH, LENGTH)
        assert not weights.masked_select(~may_attend).any(), "padding is read"
        assert_close(weights.sum(dim=-1), torch.ones(weights.shape[:-1]))


# The losses of each task


def given_logits(model: Any, logits: Tensor) -> None:
    """Let the task layer say what the test wants it to say, so that its loss can be reckoned by hand."""
    with torch.no_grad():
        model.classifier.dense.weight.zero_()
        model.classifier.dense.bias.copy_(logits)


SEQUENCE_LABELS: dict[str, tuple[int, Callable[[], Tensor]]] = {
    "whole numbers are one class each": (LABELS, lambda: whole_numbers(0, "labels", 0, LABELS, BATCH)),
    "a column of whole numbers is one class each": (LABELS, lambda: whole_numbers(0, "labels", 0, LABELS, BATCH, 1)),
    "a class that does not count": (LABELS, lambda: torch.tensor([3, -100, 0, -100, 6])),
    "fractional numbers are several classes at once": (
        LABELS,
        lambda: whole_numbers(0, "labels", 0, 2, BATCH, LABELS).float(),
    ),
    "one label is a number to predict": (1, lambda: numbers(0, "labels", BATCH, dtype=torch.float32)),
    "a column with one label is a number to predict": (1, lambda: numbers(0, "labels", BATCH, 1, dtype=torch.float32)),
}


@pytest.mark.parametrize("kind", SEQUENCE_LABELS)
def test_the_kind_of_task_follows_from_the_labels_as_in_transformers(
    kind: str, tmp_path: Path, kernels_in_use: str
) -> None:
    n_labels, draw = SEQUENCE_LABELS[kind]
    original = theirs("BertForSequenceClassification", num_labels=n_labels)
    model = opened_by_us(original, tmp_path)
    inputs = {**batch_for("BertForSequenceClassification"), "labels": draw()}
    assert_agree(model(**inputs), original(**inputs))


@pytest.mark.parametrize(
    ("problem_type", "labels"),
    [
        ("regression", numbers(0, "labels", BATCH, LABELS, dtype=torch.float32)),
        ("multi_label_classification", whole_numbers(0, "labels", 0, 2, BATCH, LABELS).float()),
        ("single_label_classification", whole_numbers(0, "labels", 0, LABELS, BATCH)),
    ],
)
def test_the_problem_type_of_the_configuration_decides(
    problem_type: str, labels: Tensor, tmp_path: Path, kernels_in_use: str
) -> None:
    original = theirs("BertForSequenceClassification", problem_type=problem_type)
    model = opened_by_us(original, tmp_path)
    assert model.config.problem_type == problem_type
    inputs = {**batch_for("BertForSequenceClassification"), "labels": labels}
    assert_agree(model(**inputs), original(**inputs))


def test_a_number_is_judged_by_its_squared_distance(kernels_in_use: str) -> None:
    model = ours("BertForSequenceClassification", num_labels=1)
    given_logits(model, torch.tensor([2.0]))
    inputs = {key: value[:2] for key, value in batch_for("BertForSequenceClassification").items()}
    assert model(**inputs, labels=torch.tensor([2.0, 5.0])).loss.item() == 4.5


def test_whole_numbers_can_be_predicted_as_numbers() -> None:
    model = ours("BertForSequenceClassification", num_labels=1)
    given_logits(model, torch.tensor([2.0]))
    inputs = {key: value[:2] for key, value in batch_for("BertForSequenceClassification").items()}
    assert model(**inputs, labels=torch.tensor([2, 5])).loss.item() == 4.5


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.zeros(3, LABELS), rf"labels have shape \(3, {LABELS}\), but the model gives \({BATCH}, {LABELS}\)"),
        (torch.full((BATCH, LABELS), 1.5), r"labels reach from 1\.5 to 1\.5, but yes is 1 and no is 0"),
        (
            torch.zeros(BATCH, LABELS).long(),
            rf"labels have shape \({BATCH}, {LABELS}\), but there are {BATCH} examples",
        ),
        (torch.full((BATCH,), LABELS), rf"target holds {LABELS}, but a label must lie from 0 to {LABELS - 1}"),
        (torch.full((BATCH,), -100), rf"all {BATCH} targets are ignore_index=-100"),
    ],
)
def test_labels_of_a_sequence_that_do_not_fit_are_refused(labels: Tensor, message: str) -> None:
    with as_users_run_it(), pytest.raises(InputError, match=message):
        ours("BertForSequenceClassification")(**batch_for("BertForSequenceClassification"), labels=labels)


def test_labels_of_minus_100_count_for_nothing_at_tokens() -> None:
    model, inputs = ours("BertForTokenClassification"), batch_for("BertForTokenClassification")
    labels = torch.full((BATCH, LENGTH), -100)
    labels[3, 2] = 5
    out = model(**inputs, labels=labels)
    assert_close(out.loss, out.logits[3, 2].logsumexp(0) - out.logits[3, 2, 5])
    with pytest.raises(InputError, match=f"all {BATCH * LENGTH} targets are ignore_index=-100"):
        model(**inputs, labels=torch.full_like(labels, -100))


def test_ends_of_an_answer_beyond_the_text_do_not_count(tmp_path: Path, kernels_in_use: str) -> None:
    original = theirs("BertForQuestionAnswering")
    model = opened_by_us(original, tmp_path)
    positions = {
        "start_positions": torch.tensor([0, LENGTH, LENGTH + 99, -7, 4]),
        "end_positions": torch.tensor([[2], [3], [LENGTH - 1], [-1], [LENGTH]]),
    }
    inputs = {**batch_for("BertForQuestionAnswering"), **positions}
    assert_agree(model(**inputs), original(**inputs))
    out = model(**inputs)
    start = (out.start_logits.logsumexp(-1) - out.start_logits.gather(1, torch.tensor([0, 0, 0, 0, 4])[:, None])[:, 0])[
        [0, 3, 4]
    ].mean()
    end = (out.end_logits.logsumexp(-1) - out.end_logits.gather(1, torch.tensor([2, 3, 10, 0, 0])[:, None])[:, 0])[
        [0, 1, 2, 3]
    ].mean()
    assert_close(out.loss, (start + end) / 2)


def test_one_end_of_an_answer_alone_gives_no_loss() -> None:
    inputs = {**batch_for("BertForQuestionAnswering"), "start_positions": torch.zeros(BATCH, dtype=torch.long)}
    assert ours("BertForQuestionAnswering")(**inputs).loss is None


def test_the_choices_of_an_example_are_scored_one_by_one(kernels_in_use: str) -> None:
    model, inputs = ours("BertForMultipleChoice", dtype=torch.float64), batch_for("BertForMultipleChoice")
    logits = model(**inputs).logits
    for choice in range(logits.shape[1]):
        alone = model(**{key: value[:, choice : choice + 1] for key, value in inputs.items()}).logits
        assert_close(logits[:, choice : choice + 1], alone, c=STACK, what=f"choice {choice}")


def test_the_pretraining_loss_is_the_sum_of_both(kernels_in_use: str) -> None:
    name = "BertForPreTraining"
    model, inputs, labels = ours(name), batch_for(name), labels_for(name)
    out = model(**inputs, **labels)
    counts = labels["labels"] != -100
    words = out.prediction_logits[counts].log_softmax(-1).gather(1, labels["labels"][counts][:, None])
    follows = out.seq_relationship_logits.log_softmax(-1).gather(1, labels["next_sentence_label"][:, None])
    assert_close(out.loss, -words.mean() - follows.mean())


@pytest.mark.parametrize("only", ["labels", "next_sentence_label"])
def test_one_half_of_the_pretraining_labels_is_refused(only: str) -> None:
    label = labels_for("BertForPreTraining")[only]
    with pytest.raises(InputError, match="give both labels and next_sentence_label"):
        ours("BertForPreTraining")(**batch_for("BertForPreTraining"), **{only: label})


@pytest.mark.parametrize("name", WITH_MASKED_WORDS)
def test_the_training_losses_sum_to_the_loss_of_forward(name: str, kernels_in_use: str) -> None:
    model, inputs, labels = ours(name, dtype=torch.float64), batch_for(name), labels_for(name)
    parts = model.training_losses(**labels, **inputs)
    assert_close(sum(part.mean for part in parts.values()), model(**inputs, **labels).loss, c=STACK)
    assert parts["masked_lm_loss"].count == (labels["labels"] != -100).sum() < labels["labels"].numel()
    assert {name: part.count for name, part in parts.items()} == model.training_counts(**labels, **inputs)


@pytest.mark.parametrize("name", WITH_MASKED_WORDS)
def test_the_gradients_of_the_training_losses_are_those_of_forward(name: str, kernels_in_use: str) -> None:
    model, inputs, labels = ours(name, dtype=torch.float64), batch_for(name), labels_for(name)
    model(**inputs, **labels).loss.backward()
    expected = {one: parameter.grad for one, parameter in model.named_parameters()}
    model.zero_grad()
    sum(part.mean for part in model.training_losses(**labels, **inputs).values()).backward()
    for one, parameter in model.named_parameters():
        assert_close(parameter.grad, expected[one], c=STACK, what=f"the gradient of {one}")


# What a model refuses


REFUSED: dict[str, tuple[dict[str, Tensor], str]] = {
    "a word outside the vocabulary": (
        {"input_ids": torch.tensor([[2, 23]])},
        r"input_ids holds 23, but ids must lie from 0 to 22 \(vocab_size=23\)",
    ),
    "a segment outside its table": (
        {"input_ids": torch.tensor([[2, 3]]), "token_type_ids": torch.tensor([[0, 4]])},
        r"token_type_ids holds 4, but ids must lie from 0 to 3 \(type_vocab_size=4\)",
    ),
    "a position outside its table": (
        {"input_ids": torch.tensor([[2, 3]]), "position_ids": torch.tensor([[-1, 0]])},
        r"position_ids holds -1, but ids must lie from 0 to 16 \(max_position_embeddings=17\)",
    ),
    "more tokens than positions": (
        {"input_ids": torch.ones(1, 18, dtype=torch.long)},
        "the sequence has 18 tokens, but max_position_embeddings=17; truncate it",
    ),
    "a mask of another length": (
        {"input_ids": torch.tensor([[2, 3, 5]]), "attention_mask": torch.ones(3, 1)},
        r"attention_mask has shape \(3, 1\), but the input has \(1, 3\)",
    ),
    "an additive mask": (
        {"input_ids": torch.tensor([[2, 3]]), "attention_mask": torch.tensor([[0.0, -10000.0]])},
        "attention_mask holds values other than 0 and 1",
    ),
    "neither words nor vectors": ({}, "give either input_ids or inputs_embeds, and not both"),
    "words and vectors": (
        {"input_ids": torch.tensor([[2, 3]]), "inputs_embeds": torch.ones(1, 2, 15)},
        "give either input_ids or inputs_embeds, and not both",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_input_that_cannot_be_read_is_refused_in_one_line(kind: str) -> None:
    inputs, message = REFUSED[kind]
    with as_users_run_it(), pytest.raises(InputError, match=message) as refusal:
        ours("BertModel")(**inputs)
    assert "\n" not in str(refusal.value)


def test_no_choices_at_all_are_refused() -> None:
    with pytest.raises(InputError, match="give either input_ids or inputs_embeds"):
        ours("BertForMultipleChoice")()


# Laws of an encoder


lengths = st.integers(1, LENGTH)


@cache
def lawful(name: str) -> Any:
    """One model for all examples of a law, in the precision in which a law is told from a coincidence."""
    return ours(name, dtype=torch.float64)


@few_examples
@given(seed=seeds, kept=lengths, padding=st.integers(0, 6))
def test_padding_is_invisible(kernels_in_use: str, seed: int, kept: int, padding: int) -> None:
    """A row alone, without its padding, says what it says in any batch, whatever stands in the padding."""
    model = lawful("BertForPreTraining")
    inputs = batch_for("BertForPreTraining", seed, length=kept + padding)
    inputs["attention_mask"][1] = torch.arange(kept + padding) < kept
    together = model(**inputs)
    alone = model(inputs["input_ids"][1:2, :kept], token_type_ids=inputs["token_type_ids"][1:2, :kept])
    assert_close(together.prediction_logits[1:2, :kept], alone.prediction_logits, c=STACK)
    assert_close(together.seq_relationship_logits[1:2], alone.seq_relationship_logits, c=STACK)


@few_examples
@given(seed=seeds)
def test_what_stands_in_the_padding_changes_nothing_bit_for_bit(kernels_in_use: str, seed: int) -> None:
    model, inputs = lawful("BertModel"), batch_for("BertModel", seed)
    expected = model(**inputs)
    read = inputs["attention_mask"].bool()
    inputs["input_ids"] = inputs["input_ids"].where(read, whole_numbers(seed, "other", 0, 23, BATCH, LENGTH))
    inputs["token_type_ids"] = inputs["token_type_ids"].where(read, 0)
    found = model(**inputs)
    assert_same(found.last_hidden_state[read], expected.last_hidden_state[read])
    assert_same(found.pooler_output, expected.pooler_output)


@few_examples
@given(seed=seeds)
def test_the_order_of_a_batch_does_not_matter(kernels_in_use: str, seed: int) -> None:
    model, inputs = lawful("BertForPreTraining"), batch_for("BertForPreTraining", seed)
    order = shuffled(seed, "order", BATCH)
    expected = model(**inputs)
    found = model(**{key: value[order] for key, value in inputs.items()})
    assert_close(found.prediction_logits, expected.prediction_logits[order], c=STACK)
    assert_close(found.seq_relationship_logits, expected.seq_relationship_logits[order], c=STACK)


@cache
def without_positions() -> Any:
    """A model in which every position has the same vector."""
    model = ours("BertModel", dtype=torch.float64)
    nn.init.zeros_(model.embeddings.position.weight)
    return model


@few_examples
@given(seed=seeds)
def test_without_positions_the_order_of_words_does_not_matter(kernels_in_use: str, seed: int) -> None:
    """Position is told by its table alone: without it, moved words take their vectors along."""
    model, inputs = without_positions(), batch_for("BertModel", seed)
    order = shuffled(seed, "order", LENGTH)
    moved = {key: value[:, order] for key, value in inputs.items()}
    assert_close(model(**moved).last_hidden_state, model(**inputs).last_hidden_state[:, order], c=STACK)


def test_with_positions_the_order_of_words_matters(kernels_in_use: str) -> None:
    model, inputs = ours("BertModel", dtype=torch.float64), batch_for("BertModel")
    order = torch.arange(LENGTH).flip(0)
    moved = {key: value[:, order] for key, value in inputs.items()}
    distance = model(**moved).last_hidden_state - model(**inputs).last_hidden_state[:, order]
    assert distance.abs().max() > 0.01


# The tied table


@pytest.mark.parametrize("name", WITH_MASKED_WORDS)
def test_the_decoder_stays_the_word_table(name: str, tmp_path: Path, kernels_in_use: str) -> None:
    model = opened_by_us(ours(name), tmp_path)
    for one in (model, copy.deepcopy(model), copy.deepcopy(model).double()):
        assert one.masked_word.decoder.weight is one.bert.embeddings.word.weight
        before = one.masked_word.decoder.weight.detach().clone()
        inputs = batch_for(name)
        one(**inputs, **labels_for(name)).loss.backward()
        AdamW(one.parameters(), lr=0.1).step()
        assert one.masked_word.decoder.weight is one.bert.embeddings.word.weight
        assert not torch.equal(one.masked_word.decoder.weight, before), "the step must have moved the table"


def test_an_untied_decoder_learns_on_its_own() -> None:
    model = ours("BertForMaskedLM", tie_word_embeddings=False)
    assert model.masked_word.decoder.weight is not model.bert.embeddings.word.weight
    tied = ours("BertForMaskedLM")
    assert model.num_parameters() - tied.num_parameters() == SMALL["vocab_size"] * SMALL["hidden_size"]


# Training and evaluation


def test_dropout_acts_while_training_and_never_while_evaluating(tmp_path: Path, kernels_in_use: str) -> None:
    rates = {"hidden_dropout_prob": 0.3, "attention_probs_dropout_prob": 0.3}
    new = bert.BertModel(BertConfig(**{**SMALL, **rates}))
    assert new.training, "a new model is there to be trained"
    model, inputs = opened_by_us(new, tmp_path), batch_for("BertModel")
    assert not model.training, "a model from a folder is there to be used"
    first, again = (model(**inputs).last_hidden_state for _ in range(2))
    assert_same(again, first)
    model.train()
    dropped, dropped_again = (model(**inputs).last_hidden_state for _ in range(2))
    assert not torch.equal(dropped, dropped_again)
    assert not torch.equal(dropped, first)


@pytest.mark.parametrize(
    ("rate", "places"),
    [("hidden_dropout_prob", {"last_hidden_state", "logits"}), ("classifier_dropout", {"logits"})],
)
def test_each_rate_drops_in_its_own_places(rate: str, places: set[str]) -> None:
    rates: dict[str, Any] = {"classifier_dropout": 0.0, rate: 0.5}
    model = ours("BertForSequenceClassification", **rates).train()
    inputs = batch_for("BertForSequenceClassification")

    def varies(function: Callable[..., Any], result: str) -> bool:
        return not torch.equal(function(**inputs)[result], function(**inputs)[result])

    assert varies(model, "logits")
    assert varies(model.bert, "last_hidden_state") == ("last_hidden_state" in places)


def test_a_model_does_not_change_its_input(kernels_in_use: str) -> None:
    inputs = {**batch_for("BertForPreTraining"), **labels_for("BertForPreTraining")}
    before = {key: value.clone() for key, value in inputs.items()}
    ours("BertForPreTraining").train()(**inputs).loss.backward()
    for key, value in inputs.items():
        assert_same(value, before[key], what=key)


# How a model begins


def test_a_new_model_begins_as_published() -> None:
    model = bert.BertForPreTraining(BertConfig.preset("tiny", vocab_size=1009, initializer_range=0.05, pad_token_id=3))
    for name, parameter in model.named_parameters():
        if name.endswith("gain"):
            assert_same(parameter, torch.ones_like(parameter), what=name)
        elif name.endswith("bias"):
            assert_same(parameter, torch.zeros_like(parameter), what=name)
        elif parameter.numel() > 10_000:
            assert 0.048 < parameter.std() < 0.052, f"{name} has deviation {parameter.std()}"
            assert parameter.mean().abs() < 0.002, f"{name} has mean {parameter.mean()}"
    words = model.bert.embeddings.word.weight
    assert not words[3].any(), "padding begins at 0"
    assert words[0].any()


def test_equal_seeds_begin_equally() -> None:
    def begin(seed: int) -> Any:
        torch.manual_seed(seed)
        return bert.BertForPreTraining(BertConfig(**SMALL))

    one, same, other = begin(5), begin(5), begin(7)
    for (name, first), second in zip(one.named_parameters(), same.parameters(), strict=True):
        assert_same(first, second, what=name)
    assert not torch.equal(one.bert.pooler.dense.weight, other.bert.pooler.dense.weight)


PUBLISHED_COUNTS = [
    ("BertModel", "tiny", 4_385_920),
    ("BertModel", "mini", 11_170_560),
    ("BertModel", "small", 28_763_648),
    ("BertModel", "medium", 41_373_184),
    ("BertModel", "base", 109_482_240),
    ("BertModel", "large", 335_141_888),
    ("BertForPreTraining", "base", 110_106_428),
]


@pytest.mark.parametrize(("name", "size", "count"), PUBLISHED_COUNTS)
def test_the_published_sizes_have_the_published_numbers_of_parameters(name: str, size: str, count: int) -> None:
    with torch.device("meta"):
        assert getattr(bert, name)(BertConfig.preset(size)).num_parameters() == count


@pytest.mark.parametrize("name", CLASSES)
def test_the_number_of_parameters_is_that_of_transformers(name: str) -> None:
    assert ours(name).num_parameters() == theirs(name).num_parameters()


def test_a_model_knows_its_device() -> None:
    assert ours("BertModel").device == torch.device("cpu")
