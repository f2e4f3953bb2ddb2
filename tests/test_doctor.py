"""The doctor: a healthy model passes every check, and each mistake fails the one check that is there for it."""

import json
import math
from copy import deepcopy
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from doctor_patients import (
    TOKENIZER,
    VOCABULARY,
    WIDTH,
    Batch,
    Student,
    failed,
    found,
    not_judged,
    small_bert,
    student_batch,
)
from torch import Tensor, nn

from minitransformer.doctor import LADDER, Diagnosis, batch_for, examine
from minitransformer.errors import InputError
from minitransformer.models.bert import BertForMaskedLM, BertForQuestionAnswering

# The mistakes, each with the check that is to notice it


class DividesByNothing(Student):
    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return super().loss(logits, labels) / 0


class KeepsARowOfLosses(Student):
    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return super().loss(logits, labels)[None]


class BeginsTooWide(Student):
    def __init__(self) -> None:
        super().__init__()
        nn.init.normal_(self.word.weight)


class SumsTheLoss(Student):
    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum") / 3


class ReadsNoLabels(Student):
    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return super().loss(logits, torch.full_like(labels, 7))


class HasALayerToSpare(Student):
    def __init__(self) -> None:
        super().__init__()
        self.spare = nn.Linear(WIDTH, 3)


class KeepsAPlainList(Student):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = [nn.Linear(WIDTH, WIDTH)]

    def read(self, x: Tensor, mask: Tensor) -> Tensor:
        return super().read(self.blocks[0](x), mask)


class DetachesTheQuery(Student):
    def read(self, x: Tensor, mask: Tensor) -> Tensor:
        score = self.query(x).detach() @ self.key(x).mT / math.sqrt(WIDTH)
        return self.norm(x + score.masked_fill(~self.may_attend(mask), -torch.inf).softmax(-1) @ self.value(x))


class DropsWhileEvaluating(Student):
    def read(self, x: Tensor, mask: Tensor) -> Tensor:
        return super().read(F.dropout(x, 0.1), mask)


class ForgetsThePadding(Student):
    def may_attend(self, mask: Tensor) -> Tensor:
        return torch.ones(len(mask), 1, mask.shape[1], dtype=torch.bool)


class CountsThePadding(Student):
    def read(self, x: Tensor, mask: Tensor) -> Tensor:
        return super().read(x, mask) / x.shape[1] ** 0.5


class ReadsOneAhead(Student):
    def may_attend(self, mask: Tensor) -> Tensor:
        length = mask.shape[1]
        return torch.ones(length, length, dtype=torch.bool).tril(1) & (mask[:, None] > 0)


class NumbersItsRows(Student):
    def read(self, x: Tensor, mask: Tensor) -> Tensor:
        return super().read(x, mask) + 0.01 * torch.arange(len(x))[:, None, None]


class AddsUpItsRows(Student):
    def read(self, x: Tensor, mask: Tensor) -> Tensor:
        return super().read(x.cumsum(0), mask)


class CentresOverTheBatch(Student):
    def read(self, x: Tensor, mask: Tensor) -> Tensor:
        read = super().read(x, mask)
        return read - 0.5 * read[:, :1].mean(0)


class TiesByData(Student):
    def __init__(self) -> None:
        super().__init__()
        self.decoder.weight = nn.Parameter(torch.empty(0))
        self.decoder.weight.data = self.word.weight.data


class LoadsByReplacing(Student):
    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = True) -> Any:
        return super().load_state_dict(state_dict, strict, assign=True)


class ForgetsWhileLoading(Student):
    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        return super().load_state_dict({**state_dict, "norm.bias": torch.ones(WIDTH)}, strict, assign)


class ClimbsUp(Student):
    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        loss = super().loss(logits, labels)
        return 2 * loss.detach() - loss


class TakesSoftmaxTwice(Student):
    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return super().loss(logits.softmax(-1), labels)


MISTAKES = {
    DividesByNothing: "finite loss",
    KeepsARowOfLosses: "finite loss",
    BeginsTooWide: "first loss",
    SumsTheLoss: "first loss",
    ReadsNoLabels: "labels",
    HasALayerToSpare: "gradient",
    KeepsAPlainList: "gradient",
    DetachesTheQuery: "gradient",
    DropsWhileEvaluating: "evaluation",
    CountsThePadding: "padding",
    ReadsOneAhead: "later tokens",
    NumbersItsRows: "order of the batch",
    AddsUpItsRows: "order of the batch",
    CentresOverTheBatch: "size of the batch",
    TiesByData: "saving",
    LoadsByReplacing: "saving",
    ForgetsWhileLoading: "saving",
    ClimbsUp: "learning rates",
    TakesSoftmaxTwice: "one batch by heart",
}


def test_a_healthy_model_passes_every_check() -> None:
    diagnosis = examine(Student(), student_batch(), causal=True)
    assert not failed(diagnosis), str(diagnosis)
    assert not_judged(diagnosis) == ["first loss of the next sentence"]
    assert diagnosis.passed


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_fails_the_check_that_is_there_for_it_and_no_other(mistake: type[Student]) -> None:
    diagnosis = examine(mistake(), student_batch(), causal=True)
    assert failed(diagnosis) == [MISTAKES[mistake]], str(diagnosis)
    assert not diagnosis.passed


def test_every_check_has_a_mistake() -> None:
    diagnosis = examine(Student(), student_batch(), steps=1)
    with_tests_of_their_own = {"first loss of the next sentence", "inputs", "dropout"}
    assert {check.name for check in diagnosis.checks} == set(MISTAKES.values()) | with_tests_of_their_own
    assert len(diagnosis.checks) == len(LADDER)


def test_ids_that_are_not_read_are_noticed_first() -> None:
    class ReadsPositionsAlone(Student):
        def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor | None = None) -> dict[str, Any]:
            return super().forward(torch.zeros_like(input_ids), attention_mask, labels)

    diagnosis = examine(ReadsPositionsAlone(), student_batch(), causal=True)
    assert failed(diagnosis) == ["inputs", "one batch by heart"]


def test_dropout_that_makes_no_difference_is_a_hint_and_no_failure() -> None:
    class NeverDrops(Student):
        def __init__(self) -> None:
            super().__init__()
            self.drop.register_forward_hook(lambda module, inputs, output: inputs[0])

    diagnosis = examine(NeverDrops(), student_batch(), causal=True)
    assert diagnosis.passed, str(diagnosis)
    assert found(diagnosis, "dropout").startswith("dropout is set to 0.1, yet two calls agree while training")
    student = Student()
    student.drop.p = 0.0
    assert found(examine(student, student_batch(), steps=1), "dropout") == "not judged: no dropout is set"


# Two questions at once


class TwoQuestions(Student):
    """Words, and from the first position whether the second sentence follows; either may be asked alone."""

    n_answers = 2

    def __init__(self) -> None:
        super().__init__()
        self.follows = nn.Linear(WIDTH, self.n_answers)

    def next_sentence_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, **labels: Tensor) -> dict[str, Any]:
        x = self.word(input_ids) + self.position.weight[: input_ids.shape[1]]
        read = self.read(self.drop(x), attention_mask)
        words, follows = self.decoder(read), self.follows(read[:, 0])
        losses = [self.loss(words, labels["labels"])] if "labels" in labels else []
        if "next_sentence_label" in labels:
            losses.append(self.next_sentence_loss(follows, labels["next_sentence_label"]))
        return {"loss": sum(losses) if losses else None, "prediction_logits": words, "seq_relationship_logits": follows}


class InsistsOnBoth(TwoQuestions):
    def forward(self, input_ids: Tensor, attention_mask: Tensor, **labels: Tensor) -> dict[str, Any]:
        if len(labels) == 1:
            raise ValueError("give both labels")
        return super().forward(input_ids, attention_mask, **labels)


class SumsOverThePairs(TwoQuestions):
    def next_sentence_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels, reduction="sum")


class HasManyAnswers(InsistsOnBoth):
    n_answers = 30


class AsksForWordsAlone(TwoQuestions):
    def next_sentence_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels) * 0.0


def two_questions_batch() -> Batch:
    """The batch of words, with every other pair in order."""
    return {**student_batch(), "next_sentence_label": torch.tensor([0, 1, 0, 1])}


@pytest.mark.parametrize("kind", [TwoQuestions, InsistsOnBoth])
def test_of_two_questions_the_first_loss_is_told_whole_and_for_each(kind: type[Student]) -> None:
    diagnosis = examine(kind(), two_questions_batch(), causal=True)
    assert not failed(diagnosis), str(diagnosis)
    whole = found(diagnosis, "first loss")
    assert f"ln {VOCABULARY} + ln 2 = {math.log(2 * VOCABULARY):.3f}; of the words alone " in whole
    assert whole.endswith(f"ln {VOCABULARY} = {math.log(VOCABULARY):.3f}")
    assert "a guess has ln 2 = 0.693" in found(diagnosis, "first loss of the next sentence")


@pytest.mark.parametrize("mistake", [SumsOverThePairs, HasManyAnswers])
def test_a_next_sentence_that_costs_more_than_ln_2_is_noticed(mistake: type[Student]) -> None:
    diagnosis = examine(mistake(), two_questions_batch(), steps=1)
    assert "first loss of the next sentence" in failed(diagnosis), str(diagnosis)
    assert f"{math.log(VOCABULARY):.3f}" in found(diagnosis, "first loss")


def test_labels_that_one_of_two_losses_leaves_out_are_named() -> None:
    diagnosis = examine(AsksForWordsAlone(), two_questions_batch(), steps=1)
    assert found(diagnosis, "labels").startswith("other next_sentence_label leave the loss at 4.")
    assert "labels" in failed(diagnosis)


def test_one_kind_of_label_in_all_rows_can_be_exchanged_too() -> None:
    batch = {**two_questions_batch(), "next_sentence_label": torch.zeros(4, dtype=torch.long)}
    assert found(examine(TwoQuestions(), batch, steps=1), "labels") == "other labels change the loss"


def test_a_loss_of_few_digits_does_not_show_labels() -> None:
    batch = student_batch()
    diagnosis = examine(Student().to(torch.bfloat16), batch, steps=1)
    assert found(diagnosis, "labels") == "not judged: a loss of torch.bfloat16 has too few digits"


def test_ids_at_padding_that_are_read_are_noticed() -> None:
    diagnosis = examine(ForgetsThePadding(), student_batch())
    assert failed(diagnosis) == ["padding"]
    assert "other ids at padding" in found(diagnosis, "padding")


def test_parameters_that_the_gradient_misses_are_named() -> None:
    assert "spare.weight, spare.bias" in found(examine(HasALayerToSpare(), student_batch(), steps=1), "gradient")
    assert "query.weight, query.bias" in found(examine(DetachesTheQuery(), student_batch(), steps=1), "gradient")


def test_a_plain_list_of_modules_that_are_registered_elsewhere_is_no_mistake() -> None:
    student = Student()
    student.in_order = [student.query, student.key]
    assert found(examine(student, student_batch(), steps=1), "gradient").startswith("it reaches all")


def test_what_begins_behind_a_zero_is_reached_one_step_later() -> None:
    class BeginsBehindAZero(Student):
        def __init__(self) -> None:
            super().__init__()
            self.gate = nn.Parameter(torch.zeros(()))
            self.branch = nn.Linear(WIDTH, WIDTH)

        def read(self, x: Tensor, mask: Tensor) -> Tensor:
            return super().read(x + self.gate * self.branch(x), mask)

    assert failed(examine(BeginsBehindAZero(), student_batch(), causal=True)) == []


def test_nothing_is_compared_where_nothing_can_be_told() -> None:
    batch = {name: value[:1, :2] for name, value in student_batch().items()}
    diagnosis = examine(Student(), batch)
    for name in ("padding", "later tokens", "order of the batch", "size of the batch"):
        assert found(diagnosis, name).startswith("not judged: ")
    del batch["labels"], batch["attention_mask"]
    without = examine(Student(), {**batch, "attention_mask": torch.ones(1, 2)})
    assert found(without, "finite loss") == "not judged: the model gives no loss; give it labels"
    assert found(without, "one batch by heart").startswith("not judged: ")


def test_a_last_layer_of_zeros_hides_nothing_by_being_equal() -> None:
    student = Student()
    student.decoder.weight = nn.Parameter(torch.zeros(VOCABULARY, WIDTH))
    diagnosis = examine(student, student_batch())
    assert "all logits are equal" in found(diagnosis, "padding")
    assert diagnosis.passed, str(diagnosis)


def test_a_loss_below_that_of_a_guess_is_told_and_not_judged() -> None:
    student = Student()
    batch = student_batch()
    optimizer = torch.optim.Adam(student.parameters(), lr=0.01)
    for _ in range(20):
        optimizer.zero_grad()
        student(**batch)["loss"].backward()
        optimizer.step()
    diagnosis = examine(student, batch, causal=True)
    assert "a trained model may be below it" in found(diagnosis, "first loss")
    assert diagnosis.passed


def test_logits_that_are_probabilities_are_named_as_such() -> None:
    class AnswersWithShares(Student):
        def forward(self, *args: Tensor, **batch: Tensor) -> dict[str, Any]:
            output = super().forward(*args, **batch)
            return {**output, "logits": output["logits"].softmax(-1)}

    told = found(examine(AnswersWithShares(), student_batch(), steps=1), "one batch by heart")
    assert told.endswith("the logits are probabilities already: each row sums to 1")
    assert "probabilities" not in found(examine(Student(), student_batch(), steps=1), "one batch by heart")


def test_where_nothing_is_left_to_learn_nothing_is_learned_by_heart() -> None:
    class IsFarBelowZero(Student):
        def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
            return super().loss(logits, labels) - 9

    told = found(examine(IsFarBelowZero(), student_batch()), "one batch by heart")
    assert told.startswith("not judged: the loss begins at -4.")


def test_a_negative_cross_entropy_is_noticed() -> None:
    class Negative(Student):
        def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
            return -super().loss(logits, labels)

    assert "no cross-entropy is negative" in found(examine(Negative(), student_batch(), steps=1), "first loss")


def test_a_model_that_raises_stops_nothing() -> None:
    class Raises(nn.Module):
        def forward(self, **batch: Tensor) -> None:
            raise RuntimeError("shapes [3, 5] and [7]\ndo not fit")

    diagnosis = examine(Raises(), student_batch())
    assert len(diagnosis.checks) == len(LADDER)
    assert found(diagnosis, "finite loss").startswith("it raised RuntimeError: shapes [3, 5] and [7] (test_doctor.py:")
    assert failed(diagnosis) == ["finite loss", "gradient"], "the same error should be told once"
    assert found(diagnosis, "padding") == "not judged: it raised the same RuntimeError"
    assert not diagnosis.passed


def test_a_model_that_ends_the_program_does_not_end_the_doctor() -> None:
    class Exits(nn.Module):
        def forward(self, **batch: Tensor) -> None:
            raise SystemExit(3)

    assert "it raised SystemExit: 3" in found(examine(Exits(), student_batch()), "finite loss")


def test_a_loss_that_is_cut_off_from_the_parameters_is_noticed_once() -> None:
    class CutOff(Student):
        def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
            return super().loss(logits, labels).detach()

    diagnosis = examine(CutOff(), student_batch(), causal=True)
    assert failed(diagnosis) == ["gradient"]
    assert "cut off" in found(diagnosis, "gradient")


def test_the_model_the_random_numbers_and_the_batch_stay_as_they_are() -> None:
    student, batch = Student().train(), student_batch()
    before, batch_before, state = deepcopy(student.state_dict()), deepcopy(batch), torch.get_rng_state()
    examine(student, batch)
    assert student.training
    assert all(parameter.grad is None for parameter in student.parameters())
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())
    assert all(torch.equal(value, batch_before[name]) for name, value in batch.items())
    assert torch.equal(torch.get_rng_state(), state)


def test_an_examination_can_be_repeated() -> None:
    first, second = (examine(DropsWhileEvaluating(), student_batch(), seed=3, steps=5) for _ in range(2))
    assert first.to_json() == second.to_json()


# Other ways to take a batch and to answer


def test_an_adapter_fits_a_model_with_another_interface() -> None:
    class Tuple(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Student()

        def forward(self, ids: Tensor, mask: Tensor, labels: Tensor | None) -> tuple[Tensor | None, Tensor]:
            output = self.inner(ids, mask, labels)
            return output["loss"], output["logits"]

    def adapter(model: nn.Module, batch: Batch) -> tuple[Tensor | None, Tensor]:
        return model(batch["input_ids"], batch["attention_mask"], batch.get("labels"))

    diagnosis = examine(Tuple(), student_batch(), causal=True, adapter=adapter)
    assert not failed(diagnosis), str(diagnosis)
    assert len(not_judged(diagnosis)) == 1


def test_a_model_that_cannot_do_without_labels_gets_them() -> None:
    class NeedsLabels(Student):
        def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor) -> dict[str, Any]:
            return super().forward(input_ids, attention_mask, labels)

    def adapter(model: nn.Module, batch: Batch) -> tuple[Tensor | None, Tensor]:
        output = model(batch["input_ids"], batch["attention_mask"], batch["labels"])
        return output["loss"], output["logits"]

    for diagnosis in (
        examine(NeedsLabels(), student_batch(), causal=True),
        examine(NeedsLabels(), student_batch(), causal=True, adapter=adapter),
    ):
        assert not failed(diagnosis), str(diagnosis)
        assert len(not_judged(diagnosis)) == 1


@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda loss, logits: logits, "the adapter returns a Tensor, and must return (loss, logits)"),
        (lambda loss, logits: (loss, logits, logits), "the adapter returns a tuple of 3"),
        (lambda loss, logits: (logits, loss), "the loss has axes and the logits have none"),
        (lambda loss, logits: (loss.item(), logits), "the loss is a float, and must be a tensor"),
        (lambda loss, logits: (loss, ["logits"]), "the logits are a str, and must be tensors"),
    ],
)
def test_an_adapter_that_returns_something_else_is_told_so_once(answer: Any, message: str) -> None:
    def adapter(model: nn.Module, batch: Batch) -> Any:
        output = model(**batch)
        loss = output["loss"]
        return answer(torch.zeros(()) if loss is None else loss, output["logits"])

    diagnosis = examine(Student(), student_batch(), adapter=adapter, steps=1)
    assert message in found(diagnosis, "finite loss")


def test_arguments_of_other_names_ask_for_an_adapter() -> None:
    class TakesX(nn.Module):
        def forward(self, x: Tensor, targets: Tensor | None = None) -> Tensor:
            return x

    message = found(examine(TakesX(), student_batch()), "finite loss")
    assert "the model takes (x, targets) and the batch holds (input_ids, attention_mask, labels)" in message
    assert "give an adapter(model, batch) that returns (loss, logits)" in message


def test_results_by_attribute_are_read_and_a_tuple_asks_for_an_adapter() -> None:
    class ByAttribute(Student):
        def forward(self, *args: Tensor, **batch: Tensor) -> Any:
            return SimpleNamespace(**super().forward(*args, **batch))

    class ByNumber(Student):
        def forward(self, *args: Tensor, **batch: Tensor) -> Any:
            return tuple(super().forward(*args, **batch).values())

    assert failed(examine(ByAttribute(), student_batch(), steps=1)) == ["one batch by heart"]
    assert "give an adapter" in found(examine(ByNumber(), student_batch()), "finite loss")


def test_logits_by_position_without_classes_are_compared_at_real_positions() -> None:
    batch = batch_for(small_bert(BertForMaskedLM), TOKENIZER)
    del batch["labels"]
    diagnosis = examine(small_bert(BertForQuestionAnswering), batch)
    assert found(diagnosis, "padding").startswith("no real position sees it")


# How it is told


def test_a_diagnosis_says_where_to_begin_and_what_it_usually_means() -> None:
    text = str(examine(HasALayerToSpare(), student_batch(), steps=1))
    assert "✗ gradient: it does not reach spare.weight, spare.bias\n    Usually: a layer that was built" in text
    assert "– later tokens: not judged: the model is not said to be causal" in text
    assert "✓ padding: " in text
    assert text.endswith("Begin with the first ✗, gradient: those below it often follow from it.")


def test_a_diagnosis_becomes_json_without_nan() -> None:
    entries = json.loads(examine(BeginsTooWide(), student_batch(), steps=1).to_json(), parse_constant=pytest.fail)
    assert entries["passed"] is False
    assert [check["name"] for check in entries["checks"]][:2] == ["finite loss", "first loss"]
    assert len(entries["sweep"]) == 8
    infinite = Diagnosis([], {0.1: [3.0, math.inf]})
    assert json.loads(infinite.to_json())["sweep"] == [{"rate": 0.1, "losses": [3.0, None]}]


# What cannot be examined


@pytest.mark.parametrize("batch", [{}, {"input_ids": torch.tensor([1, 2])}, {"input_ids": torch.empty(0, 3)}])
def test_a_batch_without_rows_of_ids_is_refused(batch: Batch) -> None:
    with pytest.raises(InputError, match="needs input_ids with the axes"):
        examine(Student(), batch)


def test_a_number_of_classes_that_cannot_be_is_refused() -> None:
    with pytest.raises(InputError, match="vocab_size=0 must be at least 1"):
        examine(Student(), student_batch(), vocab_size=0)


def test_no_steps_are_refused() -> None:
    with pytest.raises(InputError, match="steps=0 must be at least 1"):
        examine(Student(), student_batch(), steps=0)
