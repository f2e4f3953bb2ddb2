"""The doctor: a healthy model passes every check, and each mistake fails the one check that is there for it."""

import json
import math
import sys
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minitransformer import cli, plots
from minitransformer.doctor import (
    LADDER,
    SENTENCES,
    Diagnosis,
    batch_for,
    examine,
    examine_kept,
    other_ids,
    sentences_of,
)
from minitransformer.errors import InputError
from minitransformer.models.bert import (
    BertForMaskedLM,
    BertForPreTraining,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertPreTrainedModel,
)
from minitransformer.models.bert_config import BertConfig
from minitransformer.tokenizer import Tokenizer

TOKENIZER = Tokenizer.train([SENTENCES], vocab_size=120)
VOCABULARY, WIDTH, LENGTH = TOKENIZER.vocab_size, 16, 9
Batch = dict[str, Tensor]


def small_bert(kind: type[BertPreTrainedModel], **changes: Any) -> BertPreTrainedModel:
    """One of our models, untrained, with a block of width 16."""
    torch.manual_seed(1)
    sizes = {"hidden_size": WIDTH, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 31}
    return kind(BertConfig(**{"vocab_size": VOCABULARY, "max_position_embeddings": 40, **sizes, **changes}))


class Student(nn.Module):
    """A language model as a student writes it, of one block and a tied output; each mistake changes one method."""

    def __init__(self) -> None:
        torch.manual_seed(1)
        super().__init__()
        self.word = nn.Embedding(VOCABULARY, WIDTH)
        self.position = nn.Embedding(LENGTH, WIDTH)
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.norm = nn.LayerNorm(WIDTH)
        self.decoder = nn.Linear(WIDTH, VOCABULARY, bias=False)
        nn.init.normal_(self.word.weight, std=0.1)
        self.decoder.weight = self.word.weight

    def may_attend(self, mask: Tensor) -> Tensor:
        length = mask.shape[1]
        return torch.ones(length, length, dtype=torch.bool).tril() & (mask[:, None] > 0)

    def read(self, x: Tensor, mask: Tensor) -> Tensor:
        score = self.query(x) @ self.key(x).mT / math.sqrt(WIDTH)
        return self.norm(x + score.masked_fill(~self.may_attend(mask), -torch.inf).softmax(-1) @ self.value(x))

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits.flatten(0, 1), labels.flatten())

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor | None = None) -> dict[str, Any]:
        x = self.word(input_ids) + self.position.weight[: input_ids.shape[1]]
        logits = self.decoder(self.read(x, attention_mask))
        return {"loss": None if labels is None else self.loss(logits, labels), "logits": logits}


def student_batch() -> Batch:
    """Rows of different lengths, to be continued word by word."""
    ids = torch.randint(5, VOCABULARY, (4, LENGTH + 1), generator=torch.Generator().manual_seed(0))
    mask = (torch.arange(LENGTH) < torch.tensor([[9], [5], [7], [8]])).long()
    return {"input_ids": ids[:, :-1], "attention_mask": mask, "labels": ids[:, 1:].masked_fill(mask == 0, -100)}


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


class HasALayerToSpare(Student):
    def __init__(self) -> None:
        super().__init__()
        self.spare = nn.Linear(WIDTH, 3)


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
    HasALayerToSpare: "gradient",
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


def failed(diagnosis: Diagnosis) -> list[str]:
    """The names of the checks that failed."""
    return [check.name for check in diagnosis.failures]


def found(diagnosis: Diagnosis, name: str) -> str:
    """What a check found."""
    return next(check.found for check in diagnosis.checks if check.name == name)


def verdicts(diagnosis: Diagnosis) -> set[bool | None]:
    """What the checks came to."""
    return {check.passed for check in diagnosis.checks}


def test_a_healthy_model_passes_every_check() -> None:
    diagnosis = examine(Student(), student_batch(), causal=True)
    assert verdicts(diagnosis) == {True}, str(diagnosis)
    assert diagnosis.passed


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_fails_the_check_that_is_there_for_it_and_no_other(mistake: type[Student]) -> None:
    diagnosis = examine(mistake(), student_batch(), causal=True)
    assert failed(diagnosis) == [MISTAKES[mistake]], str(diagnosis)
    assert not diagnosis.passed


def test_every_check_has_a_mistake() -> None:
    diagnosis = examine(Student(), student_batch(), steps=1)
    assert {check.name for check in diagnosis.checks} == set(MISTAKES.values())
    assert len(diagnosis.checks) == len(LADDER)


def test_ids_at_padding_that_are_read_are_noticed() -> None:
    diagnosis = examine(ForgetsThePadding(), student_batch())
    assert failed(diagnosis) == ["padding"]
    assert "other ids at padding" in found(diagnosis, "padding")


def test_parameters_that_the_gradient_misses_are_named() -> None:
    assert "spare.weight, spare.bias" in found(examine(HasALayerToSpare(), student_batch(), steps=1), "gradient")
    assert "query.weight, query.bias" in found(examine(DetachesTheQuery(), student_batch(), steps=1), "gradient")


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


def test_the_first_loss_of_a_kept_model_is_told_and_not_judged() -> None:
    model = small_bert(BertForMaskedLM, initializer_range=1.0)
    batch = batch_for(model, TOKENIZER)
    assert failed(examine(model, batch, steps=200)) == ["first loss"]
    assert "may be above on others" in found(examine_kept(model, TOKENIZER, steps=1), "first loss")


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
    assert found(diagnosis, "finite loss") == "it raised RuntimeError: shapes [3, 5] and [7]"
    assert not diagnosis.passed


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

    assert verdicts(examine(Tuple(), student_batch(), causal=True, adapter=adapter)) == {True}


def test_results_by_attribute_are_read_and_a_tuple_asks_for_an_adapter() -> None:
    class ByAttribute(Student):
        def forward(self, *args: Tensor, **batch: Tensor) -> Any:
            return SimpleNamespace(**super().forward(*args, **batch))

    class ByNumber(Student):
        def forward(self, *args: Tensor, **batch: Tensor) -> Any:
            return tuple(super().forward(*args, **batch).values())

    assert failed(examine(ByAttribute(), student_batch(), steps=1)) == ["one batch by heart"]
    assert "give examine an adapter" in found(examine(ByNumber(), student_batch()), "finite loss")


@pytest.mark.parametrize("kind", [BertForMaskedLM, BertForPreTraining, BertForSequenceClassification])
def test_our_models_are_healthy(kind: type[BertPreTrainedModel]) -> None:
    model = small_bert(kind)
    diagnosis = examine(model, batch_for(model, TOKENIZER))
    assert not failed(diagnosis), str(diagnosis)
    assert [check.name for check in diagnosis.checks if check.passed is None] == ["later tokens"]
    if kind is BertForPreTraining:
        assert f"ln {VOCABULARY} + ln 2" in found(diagnosis, "first loss")


def test_one_of_our_models_that_comes_untied_from_its_folder_is_noticed() -> None:
    class Unties(BertForMaskedLM):
        def take_parameters(self, *arguments: Any) -> None:
            super().take_parameters(*arguments)
            self.untie("masked_word.decoder.weight")

    assert failed(examine_kept(small_bert(Unties), TOKENIZER)) == ["saving"]


@pytest.mark.parametrize(
    "task",
    [
        {"problem_type": "multi_label_classification", "num_labels": 3},
        {"problem_type": "regression", "num_labels": 1},
        {"num_labels": 5},
    ],
)
def test_classifiers_of_every_task_get_labels_that_they_take(task: dict[str, Any]) -> None:
    diagnosis = examine_kept(small_bert(BertForSequenceClassification, **task), TOKENIZER, steps=100)
    assert not failed(diagnosis), str(diagnosis)


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


def test_the_sweep_becomes_a_picture_with_a_line_for_each_rate() -> None:
    axes = plots.sweep_picture({0.01: [3.0, 2.0], 0.1: [3.0, 90.0]}).axes[0]
    assert [list(line.get_ydata()) for line in axes.lines] == [[3.0, 2.0], [3.0, 90.0]]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["0.01", "0.1"]
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_ylim()) == ("step", "loss in nats", (0, 4.5))
    assert not plots.sweep_picture({}).axes[0].lines


# What cannot be examined


@pytest.mark.parametrize("batch", [{}, {"input_ids": torch.tensor([1, 2])}, {"input_ids": torch.empty(0, 3)}])
def test_a_batch_without_rows_of_ids_is_refused(batch: Batch) -> None:
    with pytest.raises(InputError, match="needs input_ids with the axes"):
        examine(Student(), batch)


def test_no_steps_are_refused() -> None:
    with pytest.raises(InputError, match="steps=0 must be at least 1"):
        examine(Student(), student_batch(), steps=0)


def test_a_text_without_a_known_word_is_refused() -> None:
    with pytest.raises(InputError, match="knows no word of the text"):
        batch_for(small_bert(BertForMaskedLM), TOKENIZER, ["жук"])
    with pytest.raises(InputError, match="holds no sentence"):
        sentences_of(" \n")


def test_sentences_come_from_a_file_or_from_the_text_itself(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("One. Two!\nThree", encoding="utf-8")
    assert sentences_of(str(tmp_path / "text.txt")) == sentences_of("One. Two!\nThree") == ["One.", "Two!", "Three"]
    assert sentences_of("long " * 1000) == [("long " * 1000).strip()]
    (tmp_path / "latin.txt").write_bytes("café".encode("latin-1"))
    with pytest.raises(InputError, match="is not UTF-8 text"):
        sentences_of(str(tmp_path / "latin.txt"))


def test_batches_fit_the_model() -> None:
    for kind in (BertForMaskedLM, BertForPreTraining, BertForSequenceClassification):
        batch = batch_for(small_bert(kind, max_position_embeddings=12), TOKENIZER, ["one " * 50, "two"])
        assert batch["input_ids"].shape[1] <= 12
        assert len(batch["input_ids"]) == 2
    ids = torch.tensor([[5, 6, 9]])
    assert (other_ids(ids) != ids).all()


# The command


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command: its exit code, what it printed, and what it complained of."""

    def command(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["minitransformer", "doctor", *arguments])
        code: Any = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return command


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A kept model with its tokenizer."""
    path = tmp_path_factory.mktemp("kept")
    small_bert(BertForPreTraining).save_pretrained(path)
    TOKENIZER.save_pretrained(path)
    return str(path)


def test_the_command_tells_all_checks_and_draws_the_sweep(run: Run, folder: str, tmp_path: Path) -> None:
    picture = tmp_path / "sweep.png"
    code, out, err = run(folder, "--text", "The sea. The boat was gone.", "--picture", str(picture))
    assert (code, err) == (0, "")
    assert out.count("✓") == len(LADDER) - 2
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_command_ends_with_1_if_a_check_fails(run: Run, folder: str) -> None:
    code, out, _ = run(folder, "--steps", "1")
    assert code == 1
    assert "✗ one batch by heart" in out


@pytest.mark.usefixtures("without_shape_checks")
def test_the_command_ends_with_2_for_what_is_no_model(run: Run, folder: str, tmp_path: Path) -> None:
    code, _, err = run(str(tmp_path / "nowhere"))
    assert code == 2
    assert err.startswith("minitransformer: there is no folder")
    code, _, err = run(folder, "--steps", "0")
    assert (code, err.count("\n")) == (2, 1)
