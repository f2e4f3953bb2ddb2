"""The trainer: what a run depends on, what it leaves alone, and what it refuses."""

import math
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from minitransformer.batches import MaskedLanguageCollator, NextSentencePairs
from minitransformer.checkpoint import MODEL_FILE, OPTIMIZER_FILE, checkpoints, sha256
from minitransformer.corpora import SyntheticLanguage
from minitransformer.errors import InputError
from minitransformer.laws.cases import numbers, whole_numbers
from minitransformer.laws.tolerances import STACK, assert_close, assert_same
from minitransformer.losses import LossPart
from minitransformer.models.bert import BertForPreTraining, BertForSequenceClassification
from minitransformer.models.bert_config import BertConfig
from minitransformer.shards import Shards
from minitransformer.tokenizer import Tokenizer
from minitransformer.trainer import (
    EvalPrediction,
    Trainer,
    TrainerCallback,
    TrainerState,
    TrainingInterruptedError,
    decay_groups,
)
from minitransformer.training_arguments import TrainingArguments

IGNORED = -100
SPEED = "tokens_per_second"


@dataclass
class Corpus:
    """A tokenised text, and what reads it."""

    tokenizer: Tokenizer
    shards: Shards


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Four short documents of the synthetic language: five batches of four pairs or so."""
    documents = list(SyntheticLanguage().documents(4, seed=1, sentences=10))
    tokenizer = Tokenizer.train(documents, vocab_size=60)
    return Corpus(tokenizer, Shards.build(tmp_path_factory.mktemp("shards") / "shards", documents, tokenizer))


def small_bert(corpus: Corpus, seed: int = 0, dropout: float = 0.1) -> BertForPreTraining:
    """A BERT of two blocks with dropout."""
    torch.manual_seed(seed)
    return BertForPreTraining(
        BertConfig(
            vocab_size=corpus.tokenizer.vocab_size,
            hidden_size=10,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=14,
            max_position_embeddings=30,
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout,
        )
    )


def pretraining(corpus: Corpus, folder: Path, model_seed: int = 0, **changes: Any) -> Trainer:
    """A trainer on everything that chance decides: pairs drawn anew, their order, masks, dropout."""
    pairs = NextSentencePairs(corpus.shards, max_length=30, seed=3)
    callbacks = changes.pop("callbacks", ())
    settings = {"max_steps": 12, "learning_rate": 1e-2, "warmup_steps": 3, "weight_decay": 0.1, "logging_steps": 4}
    settings |= {"per_device_train_batch_size": 4, "per_device_eval_batch_size": 3, "save_steps": 100, "seed": 5}
    return Trainer(
        small_bert(corpus, model_seed),
        TrainingArguments(str(folder), disable_tqdm=True, **{**settings, **changes}),
        train_dataset=pairs,
        eval_dataset=NextSentencePairs(corpus.shards, max_length=30, seed=4),
        data_collator=MaskedLanguageCollator(corpus.tokenizer),
        callbacks=callbacks,
    )


def steps_of_an_epoch(corpus: Corpus) -> int:
    """How many batches of four the pairs make."""
    return math.ceil(len(NextSentencePairs(corpus.shards, max_length=30, seed=3)) / 4)


class Line(nn.Module):
    """A linear classifier that knows nothing of this library; its loss is the mean over the labels that count."""

    def __init__(self, d_model: int = 3, n_classes: int = 2) -> None:
        super().__init__()
        torch.manual_seed(7)
        self.dense = nn.Linear(d_model, n_classes)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> dict[str, Tensor | None]:
        logits = self.dense(x)
        loss = None if labels is None else nn.functional.cross_entropy(logits.flatten(0, -2), labels.flatten())
        return {"loss": loss, "logits": logits}


class Examples:
    """Vectors with a class each."""

    def __init__(self, count: int, *shape: int) -> None:
        self.x = numbers(11, "x", count, *shape, 3, dtype=torch.float32)
        self.labels = whole_numbers(11, "labels", 0, 2, count, *shape)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"x": self.x[index], "labels": self.labels[index]}


def line_trainer(folder: Path, dataset: Any = None, model: nn.Module | None = None, **changes: Any) -> Trainer:
    """A trainer of a line, logging each step."""
    options = {name: changes.pop(name) for name in ("callbacks", "compute_metrics", "eval_dataset") if name in changes}
    settings = {"learning_rate": 0.1, "logging_steps": 1, "per_device_train_batch_size": 2, "num_train_epochs": 1.0}
    arguments = TrainingArguments(str(folder), disable_tqdm=True, **{**settings, **changes})
    dataset = Examples(7) if dataset is None else dataset
    return Trainer(model or Line(), arguments, train_dataset=dataset, **options)


def copy_of(model: nn.Module) -> dict[str, Tensor]:
    """All tensors of a model as they are now."""
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_same_tensors(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    """Fail unless two models hold the same numbers."""
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert_same(found[name], tensor, name)


def assert_same_run(found: Trainer, wanted: Trainer) -> None:
    """Fail unless two runs ended with the same model, optimizer and logs, bit for bit; their speeds may differ."""
    assert_same_tensors(copy_of(found.model), copy_of(wanted.model))
    for ours, theirs in zip(found.model.parameters(), wanted.model.parameters(), strict=True):
        assert found.optimizer.state[ours]["step"] == wanted.optimizer.state[theirs]["step"]
        for moment in ("first_moment", "second_moment"):
            assert_same(found.optimizer.state[ours][moment], wanted.optimizer.state[theirs][moment], moment)
    assert without_speed(found.state) == without_speed(wanted.state)


def state_after(trainer: Trainer) -> TrainerState:
    """Where a run ends."""
    trainer.train()
    return trainer.state


def history_of(trainer: Trainer) -> list[dict[str, float]]:
    """What a run logs."""
    return state_after(trainer).log_history


def without_speed(state: TrainerState) -> list[dict[str, float]]:
    """What was logged, but for how fast it went."""
    return [{name: value for name, value in entry.items() if name != SPEED} for entry in state.log_history]


class StoppedError(Exception):
    """The machine went off."""


@dataclass
class StopAt(TrainerCallback):
    """Go down as soon as the checkpoint of a step stands."""

    step: int

    def on_save(self, args: Any, state: TrainerState, control: Any, **given: Any) -> None:
        if state.global_step == self.step:
            raise StoppedError


@dataclass
class Told(TrainerCallback):
    """Remember what one is told."""

    events: list[tuple[str, int]] = field(default_factory=list)

    def on_log(self, args: Any, state: TrainerState, control: Any, **given: Any) -> None:
        self.events.append(("log", state.global_step))

    def on_evaluate(self, args: Any, state: TrainerState, control: Any, **given: Any) -> None:
        self.events.append(("evaluate", state.global_step))

    def on_save(self, args: Any, state: TrainerState, control: Any, **given: Any) -> None:
        assert (given["checkpoint"] / MODEL_FILE).is_file()
        self.events.append(("save", state.global_step))


# Sameness.


@pytest.fixture(scope="module")
def uninterrupted(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    """A run of twelve steps that nothing stopped."""
    trainer = pretraining(corpus, tmp_path_factory.mktemp("uninterrupted"), save_steps=12)
    trainer.train()
    return trainer


def test_the_same_seed_gives_the_same_run_bit_for_bit(corpus: Corpus, uninterrupted: Trainer, tmp_path: Path) -> None:
    again = pretraining(corpus, tmp_path)
    torch.manual_seed(99)  # what happened before the run has no part in it
    again.train()
    assert_same_run(again, uninterrupted)


def test_another_seed_gives_another_run(corpus: Corpus, uninterrupted: Trainer, tmp_path: Path) -> None:
    other = pretraining(corpus, tmp_path, seed=6)
    other.train()
    assert without_speed(other.state) != without_speed(uninterrupted.state)


@pytest.mark.parametrize("stop", ["in the first epoch, between two logs", "at the epoch's end", "in the second epoch"])
def test_a_resumed_run_equals_one_that_never_stopped(
    corpus: Corpus, uninterrupted: Trainer, tmp_path: Path, stop: str
) -> None:
    epoch = steps_of_an_epoch(corpus)
    assert 4 < epoch < 11, "the stops below should lie where their names say"
    step = {"in": 3, "at": epoch}[stop[:2]] if "first" in stop or "end" in stop else epoch + 1
    with pytest.raises(StoppedError):
        pretraining(corpus, tmp_path, save_steps=step, callbacks=[StopAt(step)]).train()
    resumed = pretraining(corpus, tmp_path, model_seed=8, save_steps=12)
    torch.manual_seed(99)
    resumed.train(resume_from_checkpoint=True)
    assert_same_run(resumed, uninterrupted)
    for file in (MODEL_FILE, OPTIMIZER_FILE):
        ends = [Path(trainer.args.output_dir) / "checkpoint-12" / file for trainer in (resumed, uninterrupted)]
        assert sha256(ends[0]) == sha256(ends[1]), f"{file} differs"


class Noisy(Examples):
    """Examples with noise that is drawn whenever they are read."""

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        example = super().__getitem__(index)
        return {**example, "x": example["x"] + torch.randn(example["x"].shape)}


def test_a_dataset_that_draws_when_it_is_read_resumes_as_if_it_had_never_stopped(tmp_path: Path) -> None:
    whole = line_trainer(tmp_path / "whole", Noisy(7))
    whole.train()
    with pytest.raises(StoppedError):
        line_trainer(tmp_path, Noisy(7), save_steps=2, callbacks=[StopAt(2)]).train()
    resumed = line_trainer(tmp_path, Noisy(7))
    torch.manual_seed(99)
    resumed.train(resume_from_checkpoint=True)
    assert_same_run(resumed, whole)


def test_resuming_reads_no_earlier_example_again(tmp_path: Path) -> None:
    with pytest.raises(StoppedError):
        line_trainer(tmp_path, save_steps=3, callbacks=[StopAt(3)]).train()
    resumed = line_trainer(tmp_path, Remembering(Examples(7)))
    resumed.train(resume_from_checkpoint=True)
    everything = line_trainer(tmp_path / "all", Remembering(Examples(7)))
    everything.train()
    assert resumed.train_dataset.read == everything.train_dataset.read[6:]


def test_resuming_from_a_named_checkpoint_starts_there(tmp_path: Path) -> None:
    line_trainer(tmp_path, save_steps=1).train()
    resumed = line_trainer(tmp_path, Remembering(Examples(7)), save_steps=100)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert len(resumed.train_dataset.read) == 3
    assert [entry["step"] for entry in resumed.state.log_history] == [1, 2, 3, 4]


def test_resuming_where_nothing_was_kept_starts_anew(tmp_path: Path) -> None:
    assert line_trainer(tmp_path).train(resume_from_checkpoint=True).global_step == 4


def test_a_finished_run_has_nothing_left_to_resume(tmp_path: Path) -> None:
    line_trainer(tmp_path, save_steps=4).train()
    again = line_trainer(tmp_path, Remembering(Examples(7)), save_steps=4)
    assert again.train(resume_from_checkpoint=True).global_step == 4
    assert again.train_dataset.read == []


# What is read, and when.


class Remembering:
    """A dataset that remembers what was read from it."""

    def __init__(self, examples: Examples) -> None:
        self.examples = examples
        self.read: list[int] = []

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        self.read.append(index)
        return self.examples[index]


class Breathing(Remembering):
    """A dataset whose length differs from epoch to epoch, as that of pairs drawn anew does."""

    lengths = (7, 3, 20)

    def __init__(self) -> None:
        super().__init__(Examples(20))
        self.epoch = 2

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.lengths[self.epoch]


def test_every_epoch_reads_each_example_once_in_an_order_of_its_own(tmp_path: Path) -> None:
    dataset = Remembering(Examples(7))
    line_trainer(tmp_path, dataset, num_train_epochs=3.0).train()
    epochs = [dataset.read[start : start + 7] for start in (0, 7, 14)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]


def test_an_epoch_is_as_long_as_the_first_though_the_dataset_shrinks_or_grows(tmp_path: Path) -> None:
    dataset = Breathing()
    state = state_after(line_trainer(tmp_path, dataset, num_train_epochs=3.0))
    epochs = [dataset.read[start : start + 7] for start in (0, 7, 14)]
    assert state.global_step == 12
    assert len(dataset.read) == 21
    assert [len(set(epoch)) for epoch in epochs] == [7, 3, 7]
    assert max(epochs[2]) >= 7, "a longer epoch is drawn from all of it"


def test_a_dataset_that_shrinks_resumes_as_if_it_had_never_stopped(tmp_path: Path) -> None:
    whole = line_trainer(tmp_path / "whole", Breathing(), num_train_epochs=3.0)
    whole.train()
    with pytest.raises(StoppedError):
        line_trainer(tmp_path, Breathing(), num_train_epochs=3.0, save_steps=6, callbacks=[StopAt(6)]).train()
    resumed = line_trainer(tmp_path, Breathing(), num_train_epochs=3.0)
    resumed.train(resume_from_checkpoint=True)
    assert_same_run(resumed, whole)


def test_words_are_masked_anew_at_each_step(corpus: Corpus, tmp_path: Path) -> None:
    seen: list[Tensor] = []
    one_pair = [NextSentencePairs(corpus.shards, max_length=30, seed=3)[0]]
    mask = MaskedLanguageCollator(corpus.tokenizer)

    def collate(examples: list[Any]) -> dict[str, Tensor]:
        seen.append(mask(examples)["labels"])
        return mask(examples)

    trainer = pretraining(corpus, tmp_path, max_steps=6)
    trainer.train_dataset, trainer.data_collator = one_pair, collate
    trainer.train()
    assert len({tuple(labels.flatten().tolist()) for labels in seen}) > 1


@pytest.mark.parametrize(
    ("epochs", "max_steps", "expected"), [(2.0, -1, 8), (0.5, -1, 2), (1.5, -1, 6), (2.0, 3, 3), (1.0, 9, 9)]
)
def test_a_run_has_as_many_steps_as_was_asked_for(tmp_path: Path, epochs: float, max_steps: int, expected: int) -> None:
    state = state_after(line_trainer(tmp_path, num_train_epochs=epochs, max_steps=max_steps))
    assert state.global_step == state.max_steps == expected
    assert state.epoch == expected / 4


# Evaluation.


def test_evaluating_on_the_way_changes_nothing_that_comes_after(
    corpus: Corpus, uninterrupted: Trainer, tmp_path: Path
) -> None:
    evaluated = pretraining(corpus, tmp_path, eval_strategy="steps", eval_steps=2)
    evaluated.train()
    assert_same_tensors(copy_of(evaluated.model), copy_of(uninterrupted.model))
    logs = [entry for entry in without_speed(evaluated.state) if "eval_loss" not in entry]
    assert logs == without_speed(uninterrupted.state)
    assert sum("eval_loss" in entry for entry in evaluated.state.log_history) == 6


@pytest.mark.parametrize("training", [True, False])
def test_evaluation_leaves_parameters_mode_gradients_and_random_state_alone(
    corpus: Corpus, tmp_path: Path, training: bool
) -> None:
    trainer = pretraining(corpus, tmp_path)
    trainer.model.train(training)
    before, random_state = copy_of(trainer.model), torch.random.get_rng_state()
    first = trainer.evaluate()["eval_loss"]
    assert_same_tensors(copy_of(trainer.model), before)
    assert trainer.model.training is training
    assert all(parameter.grad is None for parameter in trainer.model.parameters())
    assert_same(torch.random.get_rng_state(), random_state, "the random state")
    assert trainer.evaluate()["eval_loss"] == first, "no dropout, and the same masks each time"


def test_evaluations_on_the_way_all_see_the_same_masks(corpus: Corpus, tmp_path: Path) -> None:
    trainer = pretraining(corpus, tmp_path, learning_rate=0.0, weight_decay=0.0, eval_strategy="steps", eval_steps=3)
    losses = {entry["eval_loss"] for entry in history_of(trainer) if "eval_loss" in entry}
    assert len(losses) == 1, "the model stays as it is, and so should its loss"


def test_the_evaluation_loss_is_the_mean_over_the_labels_that_count(tmp_path: Path) -> None:
    dataset = Examples(5, 4)
    dataset.labels[0, 1:] = IGNORED
    dataset.labels[3, :3] = IGNORED
    trainer = line_trainer(tmp_path, eval_dataset=dataset, per_device_eval_batch_size=1)
    whole = trainer.model(dataset.x, dataset.labels)["loss"].item()
    means = [trainer.model(dataset.x[i : i + 1], dataset.labels[i : i + 1])["loss"].item() for i in range(5)]
    assert abs(np.mean(means) - whole) > 1e-3, "the mean of the batches' means should be another number"
    assert_close(np.float32(trainer.evaluate()["eval_loss"]), whole)


def test_a_batch_without_a_label_that_counts_weighs_nothing_in_the_evaluation(tmp_path: Path) -> None:
    dataset = Examples(3, 4)
    dataset.labels[1] = IGNORED
    trainer = line_trainer(tmp_path, eval_dataset=dataset, per_device_eval_batch_size=1)
    whole = trainer.model(dataset.x, dataset.labels)["loss"].item()
    assert_close(np.float32(trainer.evaluate()["eval_loss"]), whole)


def test_the_parts_of_the_loss_are_evaluated_one_by_one_over_what_counts(corpus: Corpus, tmp_path: Path) -> None:
    trainer = pretraining(corpus, tmp_path)
    sums = {"masked_lm_loss": (0.0, 0), "next_sentence_loss": (0.0, 0)}
    batches: list[dict[str, Tensor]] = []
    mask = trainer.data_collator
    trainer.data_collator = lambda examples: batches.append(mask(examples)) or batches[-1]
    figures = trainer.evaluate()
    trainer.model.eval()
    for batch in batches:
        output = trainer.model(**{**batch, "labels": None, "next_sentence_label": None})
        for name, logits, labels in (
            ("masked_lm_loss", output.prediction_logits.flatten(0, 1), batch["labels"].flatten()),
            ("next_sentence_loss", output.seq_relationship_logits, batch["next_sentence_label"]),
        ):
            total, count = sums[name]
            surprise = nn.functional.cross_entropy(logits, labels, reduction="sum").item()
            sums[name] = (total + surprise, count + int((labels != IGNORED).sum()))
    for name, (total, count) in sums.items():
        assert_close(np.float32(figures[f"eval_{name}"]), total / count, c=STACK, what=name)
    assert figures["eval_loss"] == figures["eval_masked_lm_loss"] + figures["eval_next_sentence_loss"]


def test_metrics_are_computed_from_all_examples_in_order(tmp_path: Path) -> None:
    dataset = Examples(7)
    given: list[EvalPrediction] = []

    def accuracy(prediction: EvalPrediction) -> dict[str, float]:
        given.append(prediction)
        return {"accuracy": float((prediction.predictions.argmax(-1) == prediction.label_ids).mean())}

    trainer = line_trainer(tmp_path, eval_dataset=dataset, compute_metrics=accuracy, per_device_eval_batch_size=3)
    figures = trainer.evaluate()
    assert_same(given[0].label_ids, dataset.labels)
    assert_close(given[0].predictions, trainer.model(dataset.x)["logits"])
    assert figures["eval_accuracy"] == (trainer.model(dataset.x)["logits"].argmax(-1) == dataset.labels).float().mean()


def test_prediction_needs_no_labels_and_keeps_the_order(tmp_path: Path) -> None:
    dataset = Examples(7)
    trainer = line_trainer(tmp_path, per_device_eval_batch_size=3)
    unlabelled = [{"x": row} for row in dataset.x]
    scores, truths, _ = trainer.predict(unlabelled)
    assert truths is None
    assert_same(scores, trainer.predict(dataset).predictions)


def test_scores_of_batches_of_unequal_length_are_filled_up_as_ignored(tmp_path: Path) -> None:
    rows = [{"x": torch.ones(length, 3), "labels": torch.ones(length, dtype=torch.int64)} for length in (2, 4)]
    scores, truths, _ = line_trainer(tmp_path, per_device_eval_batch_size=1).predict(rows)
    assert scores.shape == (2, 4, 2)
    assert truths.tolist() == [[1, 1, IGNORED, IGNORED], [1, 1, 1, 1]]
    assert (scores[0, 2:] == IGNORED).all()


# One update.


def test_every_parameter_gets_a_gradient_and_moves(corpus: Corpus, tmp_path: Path) -> None:
    trainer = pretraining(corpus, tmp_path, max_steps=2)
    before = copy_of(trainer.model)
    trainer.train()
    for name, parameter in trainer.model.named_parameters():
        assert parameter.grad is not None, f"{name} has no gradient"
        # The same number added to all scores of a query changes nothing, so the key's bias has nothing to learn.
        if not name.endswith("key.bias"):
            assert parameter.grad.abs().max() > 0, f"the gradient of {name} is zero"
            assert (parameter != before[name]).any(), f"{name} has not moved"


def test_matrices_decay_and_biases_and_gains_do_not(corpus: Corpus) -> None:
    model = small_bert(corpus)
    decaying, others = decay_groups(model, weight_decay=0.25)
    assert (decaying["weight_decay"], others["weight_decay"]) == (0.25, 0.0)
    decays = {id(parameter) for parameter in decaying["params"]}
    assert len(decaying["params"]) + len(others["params"]) == len(list(model.parameters()))
    for name, parameter in model.named_parameters():
        assert (id(parameter) in decays) == (not name.endswith(("bias", "gain"))), name


class Indifferent(Line):
    """A line whose loss is the same wherever its parameters are."""

    def forward(self, x: Tensor, labels: Tensor | None = None) -> dict[str, Tensor | None]:
        return {"loss": 0 * (self.dense.weight.sum() + self.dense.bias.sum()), "logits": self.dense(x)}


def test_decay_is_decoupled_from_the_gradient(tmp_path: Path) -> None:
    trainer = line_trainer(tmp_path, model=Indifferent(), max_steps=1, learning_rate=0.5, weight_decay=0.1)
    before = copy_of(trainer.model)
    trainer.train()
    after = trainer.model.state_dict()
    assert_close(after["dense.weight"], 0.95 * before["dense.weight"])
    assert_same(after["dense.bias"], before["dense.bias"])


@pytest.mark.parametrize("max_grad_norm", [1e-3, 1e3, 0.0])
def test_gradients_are_clipped_together_by_their_global_norm(tmp_path: Path, max_grad_norm: float) -> None:
    trainer = line_trainer(tmp_path, max_grad_norm=max_grad_norm)
    trainer.model(**{name: tensor[None] for name, tensor in Examples(1)[0].items()})["loss"].backward()
    before = [parameter.grad.clone() for parameter in trainer.model.parameters()]
    norm = math.sqrt(sum(float(gradient.double().square().sum()) for gradient in before))
    assert 1e-3 < norm < 1e3
    reported = trainer.learner.clip_gradients()
    share = 1e-3 / norm if max_grad_norm == 1e-3 else 1.0
    assert_close(np.float32(reported), norm)
    for parameter, gradient in zip(trainer.model.parameters(), before, strict=True):
        assert_close(parameter.grad, share * gradient, scale=share * float(gradient.abs().max()))


SCHEDULES = {
    "linear": lambda step: step / 3 if step < 3 else (10 - step) / 7,
    "cosine": lambda step: step / 3 if step < 3 else 0.5 * (1 + math.cos(math.pi * (step - 3) / 7)),
    "inverse_sqrt": lambda step: step / 3 if step < 3 else math.sqrt(3 / step),
}


class Rates(TrainerCallback):
    """Remember the rates that the optimizer really used."""

    def __init__(self) -> None:
        self.used: list[float] = []

    def on_log(self, args: Any, state: TrainerState, control: Any, **given: Any) -> None:
        self.used += {group["lr"] for group in self.optimizer.param_groups}

    optimizer: torch.optim.Optimizer


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_rate_warms_up_from_zero_and_then_falls(tmp_path: Path, schedule: str) -> None:
    rates = Rates()
    trainer = line_trainer(
        tmp_path, lr_scheduler_type=schedule, max_steps=10, warmup_steps=3, learning_rate=0.5, callbacks=[rates]
    )
    rates.optimizer = trainer.optimizer
    logged = [entry["learning_rate"] for entry in history_of(trainer)]
    assert_close(logged, [0.5 * SCHEDULES[schedule](step) for step in range(10)])
    assert rates.used == logged


def test_an_update_at_a_rate_of_zero_changes_no_parameter(tmp_path: Path) -> None:
    trainer = line_trainer(tmp_path, max_steps=1, warmup_steps=1, weight_decay=0.1)
    before = copy_of(trainer.model)
    trainer.train()
    assert_same_tensors(copy_of(trainer.model), before)


@pytest.mark.usefixtures("kernels_in_use")
def test_a_tied_table_stays_tied_through_training_and_resuming(corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(StoppedError):
        pretraining(corpus, tmp_path, save_steps=2, callbacks=[StopAt(2)]).train()
    resumed = pretraining(corpus, tmp_path, model_seed=8, max_steps=4)
    resumed.train(resume_from_checkpoint=True)
    words, decoder = resumed.model.bert.embeddings.word.weight, resumed.model.masked_word.decoder.weight
    assert decoder is words
    assert sum(words is parameter for group in resumed.optimizer.param_groups for parameter in group["params"]) == 1


def test_bfloat16_computes_coarsely_and_keeps_float32_parameters(tmp_path: Path) -> None:
    exact, coarse = line_trainer(tmp_path / "exact"), line_trainer(tmp_path / "coarse", bf16=True)
    losses = [history_of(trainer)[0]["loss"] for trainer in (exact, coarse)]
    assert losses[0] != losses[1]
    assert abs(losses[0] - losses[1]) < 8 * torch.finfo(torch.bfloat16).eps
    assert {parameter.dtype for parameter in coarse.model.parameters()} == {torch.float32}


# Accumulation.


def updates(trainer: Trainer) -> tuple[list[dict[str, float]], dict[str, Tensor]]:
    """What a run logs, and the gradients of its last update."""
    logs = without_speed(state_after(trainer))
    return logs, {name: parameter.grad for name, parameter in trainer.model.named_parameters()}


def assert_same_updates(found: Trainer, wanted: Trainer, amplification: float = 1.0) -> None:
    """Fail unless two runs log the same, and end with the same gradients, up to rounding."""
    (found_logs, found_gradients), (wanted_logs, wanted_gradients) = updates(found), updates(wanted)
    assert [entry.keys() for entry in found_logs] == [entry.keys() for entry in wanted_logs]
    for ours, theirs in zip(found_logs, wanted_logs, strict=True):
        for name, value in theirs.items():
            assert_close(ours[name], np.float64(value), STACK, amplification, what=f"{name} of step {theirs['step']}")
    for name, gradient in wanted_gradients.items():
        assert_close(found_gradients[name], gradient, STACK, amplification, what=f"the gradient of {name}")


STEEPEST = 1e8
"""How much the optimizer can magnify a rounding of the gradient: one over its eps."""


def unequal(*shape: int) -> Examples:
    """Examples of which most micro-batches have labels in other numbers, one has none, and the last is not full."""
    dataset = Examples(13, *shape)
    dataset.x = dataset.x.double()
    dataset.labels[whole_numbers(5, "ignored", 0, 3, 13, *shape) == 0] = IGNORED
    dataset.labels[np.random.default_rng([42, 0]).permutation(13)[2:4]] = IGNORED
    return dataset


@pytest.mark.parametrize("shape", [(), (4,)], ids=["a label for each example", "a label for each token"])
@pytest.mark.parametrize("max_grad_norm", [1.0, 0.1])
def test_small_batches_accumulated_are_one_large_batch(
    tmp_path: Path, shape: tuple[int, ...], max_grad_norm: float
) -> None:
    settings = {"max_steps": 6, "max_grad_norm": max_grad_norm}
    small, large = (
        line_trainer(tmp_path, unequal(*shape), Line().double(), **settings, **sizes)
        for sizes in (
            {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4},
            {"per_device_train_batch_size": 8},
        )
    )
    assert_same_updates(small, large, STEEPEST)


def test_small_batches_of_pretraining_accumulated_are_one_large_batch(corpus: Corpus, tmp_path: Path) -> None:
    dataset = PairsOnce(corpus)
    dataset.batch["labels"][::3] = IGNORED
    runs, settings = [], {"max_steps": 3, "learning_rate": 1e-2, "max_grad_norm": 0.5, "logging_steps": 1}
    for size, accumulation in ((2, 4), (8, 1)):
        sizes = {"per_device_train_batch_size": size, "gradient_accumulation_steps": accumulation}
        arguments = TrainingArguments(str(tmp_path), disable_tqdm=True, **settings, **sizes)
        model = small_bert(corpus, dropout=0.0).double()
        runs.append(Trainer(model, arguments, train_dataset=dataset))
    assert_same_updates(*runs, STEEPEST)


def test_small_batches_of_a_classifier_accumulated_are_one_large_batch(tmp_path: Path) -> None:
    runs = []
    for size, accumulation in ((2, 4), (8, 1)):
        torch.manual_seed(0)
        sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
        without = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
        model = BertForSequenceClassification(BertConfig(vocab_size=9, max_position_embeddings=5, **sizes, **without))
        dataset = [{"input_ids": row, "labels": (row[1] > 6).long()} for row in whole_numbers(3, "ids", 5, 9, 13, 5)]
        settings = {"per_device_train_batch_size": size, "gradient_accumulation_steps": accumulation, "max_steps": 3}
        runs.append(line_trainer(tmp_path, dataset, model.double(), **settings))
    assert_same_updates(*runs, STEEPEST)


def test_an_update_that_accumulates_collates_small_batches_and_an_epoch_ends_with_what_is_left(tmp_path: Path) -> None:
    sizes: list[int] = []
    trainer = line_trainer(
        tmp_path, Examples(13), per_device_train_batch_size=2, gradient_accumulation_steps=3, num_train_epochs=2.0
    )
    collate = trainer.data_collator
    trainer.data_collator = lambda examples: sizes.append(len(examples)) or collate(examples)
    state = state_after(trainer)
    assert sizes == 2 * [2, 2, 2, 2, 2, 2, 1]
    assert (state.global_step, state.max_steps, state.epoch) == (6, 6, 2.0)


def test_a_run_that_accumulates_resumes_as_if_it_had_never_stopped(corpus: Corpus, tmp_path: Path) -> None:
    settings = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2, "max_steps": 8}
    whole = pretraining(corpus, tmp_path / "whole", **settings)
    whole.train()
    with pytest.raises(StoppedError):
        pretraining(corpus, tmp_path, **settings, save_steps=3, callbacks=[StopAt(3)]).train()
    resumed = pretraining(corpus, tmp_path, model_seed=8, **settings)
    resumed.train(resume_from_checkpoint=True)
    assert_same_run(resumed, whole)


def test_a_model_in_parts_has_to_say_how_many_each_is_over(tmp_path: Path) -> None:
    class Uncounted(Line):
        def training_losses(self, x: Tensor, labels: Tensor) -> dict[str, LossPart]:
            return {"one": LossPart(self.dense(x).sum(), len(labels))}

    with pytest.raises(InputError, match="Uncounted has training_losses, and needs training_counts"):
        line_trainer(tmp_path, model=Uncounted()).train()


# What is refused.


class TurnsBad(Line):
    """A line whose loss, or only its gradient, is no number from some update on."""

    def __init__(self, good_updates: int, kind: str) -> None:
        super().__init__()
        self.good_updates, self.kind, self.n_updates = good_updates, kind, 0

    def forward(self, x: Tensor, labels: Tensor | None = None) -> dict[str, Tensor | None]:
        output = super().forward(x, labels)
        self.n_updates += 1
        if self.n_updates > self.good_updates:
            zero = self.dense.weight.sum() * 0
            output["loss"] = output["loss"] + (zero.sqrt() if self.kind == "gradient" else zero + float(self.kind))
        return output


@pytest.mark.parametrize("kind", ["nan", "inf", "gradient"])
def test_a_loss_that_is_no_number_stops_the_run_and_touches_nothing(tmp_path: Path, kind: str) -> None:
    trainer = line_trainer(tmp_path, model=TurnsBad(2, kind), save_steps=1)
    with pytest.raises(InputError, match=r"at step 3.*learning_rate=0\.1") as refusal:
        trainer.train()
    assert "\n" not in str(refusal.value)
    assert [folder.name for folder in checkpoints(tmp_path)] == ["checkpoint-1", "checkpoint-2"]
    kept = line_trainer(tmp_path, model=TurnsBad(9, kind))
    kept.resume(resume_from_checkpoint=True)
    assert_same_tensors(copy_of(trainer.model), copy_of(kept.model))


def test_an_update_that_is_no_number_is_skipped_and_told_where_that_was_asked_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class BadOnce(TurnsBad):
        def forward(self, x: Tensor, labels: Tensor | None = None) -> dict[str, Tensor | None]:
            output = super().forward(x, labels)
            self.good_updates += 1000 * (self.n_updates == 3)
            return output

    trainer = line_trainer(tmp_path, model=BadOnce(2, "nan"), skip_nonfinite_updates=True, save_steps=1)
    logs = history_of(trainer)
    order = np.random.default_rng([trainer.args.seed, 0]).permutation(7)
    assert f"on the examples {order[4]}, {order[5]}; the update is skipped" in caplog.text
    assert [entry.get("skipped_updates") for entry in logs] == [None, None, 1, None]
    assert "loss" not in logs[2], "there is no loss to tell, and 0 would be a lie"
    before, after = (load_file(tmp_path / f"checkpoint-{step}" / MODEL_FILE) for step in (2, 3))
    assert_same_tensors(after, before)
    assert trainer.optimizer.state[trainer.model.dense.weight]["step"] == 3


def test_the_error_of_a_loss_that_is_no_number_names_the_examples_and_the_last_good_checkpoint(tmp_path: Path) -> None:
    trainer = line_trainer(tmp_path, model=TurnsBad(2, "nan"), save_steps=1)
    order = np.random.default_rng([trainer.args.seed, 0]).permutation(7)
    with pytest.raises(InputError, match=f"on the examples {order[4]}, {order[5]};.*checkpoint is .*checkpoint-2"):
        trainer.train()


@pytest.mark.parametrize("dataset", [[], None])
def test_training_on_nothing_is_refused(tmp_path: Path, dataset: list[Any] | None) -> None:
    trainer = Trainer(Line(), TrainingArguments(str(tmp_path)), train_dataset=dataset)
    with pytest.raises(InputError, match="train_dataset is missing or empty"):
        trainer.train()


def test_evaluating_or_predicting_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="eval_dataset is missing or empty"):
        line_trainer(tmp_path).evaluate()
    with pytest.raises(InputError, match="test_dataset is missing or empty"):
        line_trainer(tmp_path).predict([])


def test_a_batch_without_a_label_that_counts_is_refused(corpus: Corpus, tmp_path: Path) -> None:
    dataset = Examples(2)
    dataset.labels[:] = IGNORED
    with pytest.raises(InputError, match="no label counts"):
        line_trainer(tmp_path, dataset).train()
    trainer = pretraining(corpus, tmp_path)
    mask = trainer.data_collator
    trainer.data_collator = lambda examples: {**mask(examples), "labels": mask(examples)["labels"] * 0 + IGNORED}
    with pytest.raises(InputError, match="no label counts"):
        trainer.train()


def test_a_model_that_gives_no_loss_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Line returned no loss; do the examples hold labels"):
        line_trainer(tmp_path, [{"x": torch.ones(3)}]).train()


def test_a_model_that_cannot_learn_is_refused(tmp_path: Path) -> None:
    frozen = Line().requires_grad_(False)
    with pytest.raises(InputError, match="frozen"):
        line_trainer(tmp_path, model=frozen).train()


def test_a_frozen_part_stays_as_it_is(tmp_path: Path) -> None:
    model = Line()
    model.dense.weight.requires_grad_(False)
    before = copy_of(model)
    line_trainer(tmp_path, model=model, save_steps=2, weight_decay=0.1).train()
    assert_same(model.dense.weight, before["dense.weight"])
    assert (model.dense.bias != before["dense.bias"]).all()
    line_trainer(tmp_path, model=model).train(resume_from_checkpoint=True)


def test_an_output_without_scores_cannot_be_predicted_with(tmp_path: Path) -> None:
    class Silent(Line):
        def forward(self, x: Tensor, labels: Tensor | None = None) -> dict[str, Tensor | None]:
            return {"loss": self.dense.weight.sum()}

    with pytest.raises(InputError, match="no logits to predict with"):
        line_trainer(tmp_path, model=Silent()).predict(Examples(2))


# Ctrl-C.


class Interrupting(Examples):
    """A dataset at whose n-th reading somebody presses Ctrl-C."""

    def __init__(self, at: int, times: int = 1, signal_number: int = signal.SIGINT) -> None:
        super().__init__(7)
        self.readings, self.at, self.times, self.signal_number = 0, at, times, signal_number

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        self.readings += 1
        if self.readings == self.at:
            for _ in range(self.times):
                os.kill(os.getpid(), self.signal_number)
        return super().__getitem__(index)


@pytest.fixture
def interrupts_as_usual() -> Iterator[None]:
    """Let Ctrl-C raise KeyboardInterrupt, as it does outside of test runners."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interrupts_as_usual")
@pytest.mark.parametrize("save_steps", [100, 1])
def test_an_interrupt_finishes_the_update_writes_a_checkpoint_and_can_go_on(tmp_path: Path, save_steps: int) -> None:
    whole = line_trainer(tmp_path / "whole")
    whole.train()
    told = Told()
    with pytest.raises(TrainingInterruptedError, match="run the same command again to go on") as stop:
        line_trainer(tmp_path, Interrupting(at=4), save_steps=save_steps, callbacks=[told]).train()
    assert stop.value.checkpoint == tmp_path / "checkpoint-2"
    assert ("save", 2) in told.events
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler, "Ctrl-C should mean what it did before"
    resumed = line_trainer(tmp_path)
    resumed.train(resume_from_checkpoint=True)
    assert_same_run(resumed, whole)


@pytest.mark.usefixtures("interrupts_as_usual")
def test_a_second_interrupt_does_not_wait(tmp_path: Path) -> None:
    trainer = line_trainer(tmp_path, Interrupting(at=4, times=2))
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    assert trainer.state.global_step == 1
    assert checkpoints(tmp_path) == []
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.usefixtures("interrupts_as_usual")
def test_sigterm_ends_the_program_without_an_error_and_ctrl_c_with_130(tmp_path: Path) -> None:
    codes = {}
    for number in (signal.SIGTERM, signal.SIGINT):
        with pytest.raises(SystemExit) as stop:
            line_trainer(tmp_path / str(number), Interrupting(at=4, signal_number=number)).train()
        codes[number] = stop.value.code
        assert [folder.name for folder in checkpoints(tmp_path / str(number))] == ["checkpoint-2"]
    assert codes == {signal.SIGTERM: 0, signal.SIGINT: 130}


@pytest.mark.usefixtures("interrupts_as_usual")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_an_evaluation_keeps_the_step_and_the_evaluation_is_made_later(
    tmp_path: Path, number: signal.Signals
) -> None:
    settings = {"eval_strategy": "steps", "eval_steps": 2, "per_device_eval_batch_size": 2, "save_steps": 2}
    settings |= {"metric_for_best_model": "loss"}
    whole = line_trainer(tmp_path / "whole", eval_dataset=Examples(7), **settings)
    whole.train()
    asking = Interrupting(at=3, signal_number=number)
    with pytest.raises(TrainingInterruptedError) as stop:
        line_trainer(tmp_path, eval_dataset=asking, **settings).train()
    assert stop.value.checkpoint == tmp_path / "checkpoint-2"
    assert asking.readings < 7, "the evaluation should not have gone on"
    resumed = line_trainer(tmp_path, eval_dataset=Examples(7), **settings)
    resumed.train(resume_from_checkpoint=True)
    assert_same_run(resumed, whole)
    assert resumed.state.best_global_step == whole.state.best_global_step
    assert [folder.name for folder in checkpoints(tmp_path)] == ["checkpoint-2", "checkpoint-4"]


def test_training_works_outside_the_main_thread(tmp_path: Path) -> None:
    trainer = line_trainer(tmp_path)
    thread = threading.Thread(target=trainer.train)
    thread.start()
    thread.join()
    assert trainer.state.global_step == 4


# Who is told, and what is kept.


def test_callbacks_are_told_of_logs_evaluations_and_checkpoints(tmp_path: Path) -> None:
    told = Told()
    line_trainer(
        tmp_path,
        eval_dataset=Examples(3),
        num_train_epochs=2.0,
        logging_steps=3,
        eval_strategy="epoch",
        save_steps=5,
        callbacks=[told],
    ).train()
    # An evaluation logs its figures too, and so does the end of the training.
    expected = [("log", 3), ("log", 4), ("evaluate", 4), ("save", 5), ("log", 6), ("log", 8), ("log", 8)]
    assert told.events == [*expected, ("evaluate", 8), ("save", 8)]


def test_logged_losses_are_means_over_all_that_counted_since_the_last_log(tmp_path: Path) -> None:
    class Counted(Line):
        def training_losses(self, x: Tensor, labels: Tensor) -> dict[str, LossPart]:
            counts = self.training_counts(x, labels)["one"]
            return {"one": LossPart(self.dense(x).sum() * 0 + float(labels.sum()), counts)}

        def training_counts(self, x: Tensor, labels: Tensor) -> dict[str, int]:
            return {"one": int(labels.sum()) + 1}

    dataset = Examples(6)
    trainer = line_trainer(tmp_path, dataset, model=Counted(), logging_steps=2)
    logs = history_of(trainer)
    order = np.random.default_rng([trainer.args.seed, 0]).permutation(6)
    counts = [int(dataset.labels[order[start : start + 2]].sum()) for start in (0, 2, 4)]
    assert counts[0] != counts[1], "unequal counts should tell the mean from the mean of means"
    assert logs[0]["one"] == logs[0]["loss"] == (counts[0] + counts[1]) / (counts[0] + counts[1] + 2)
    assert logs[1]["one"] == counts[2] / (counts[2] + 1)


@dataclass
class Output:
    """What a model of somebody else's may return."""

    loss: Tensor
    logits: Tensor


def test_a_loss_may_come_as_a_dictionary_or_as_an_attribute(tmp_path: Path) -> None:
    class Attribute(Line):
        def forward(self, x: Tensor, labels: Tensor | None = None) -> Any:
            output = super().forward(x, labels)
            return Output(output["loss"], output["logits"])

    by_name, by_attribute = line_trainer(tmp_path / "a"), line_trainer(tmp_path / "b", model=Attribute())
    by_name.train()
    by_attribute.train()
    assert_same_run(by_attribute, by_name)


def test_a_kept_model_opens_again_and_of_any_other_its_tensors_are_kept(corpus: Corpus, tmp_path: Path) -> None:
    trainer = pretraining(corpus, tmp_path)
    trainer.save_model(tmp_path / "kept")
    opened = BertForPreTraining.from_pretrained(tmp_path / "kept")
    assert_same_tensors(copy_of(opened), copy_of(trainer.model))
    line = line_trainer(tmp_path)
    line.save_model(tmp_path / "line")
    assert_same_tensors(load_file(tmp_path / "line" / "model.safetensors"), copy_of(line.model))


def test_a_checkpoint_of_a_kept_kind_opens_as_a_model(corpus: Corpus, uninterrupted: Trainer) -> None:
    opened = BertForPreTraining.from_pretrained(Path(uninterrupted.args.output_dir) / "checkpoint-12")
    assert_same_tensors(copy_of(opened), copy_of(uninterrupted.model))


def test_epochs_and_steps_decide_when_a_checkpoint_is_due(tmp_path: Path) -> None:
    names = {}
    for strategy in ("no", "steps", "epoch"):
        folder = tmp_path / strategy
        line_trainer(folder, save_strategy=strategy, save_steps=3, num_train_epochs=2.0).train()
        names[strategy] = [int(checkpoint.name.split("-")[1]) for checkpoint in checkpoints(folder)]
    assert names == {"no": [], "steps": [3, 6, 8], "epoch": [4, 8]}


# Against transformers.


class PairsOnce:
    """Pairs whose words were hidden once and for all, so that another loop can read the same."""

    def __init__(self, corpus: Corpus) -> None:
        pairs = NextSentencePairs(corpus.shards, max_length=30, seed=3)
        collate = MaskedLanguageCollator(corpus.tokenizer, length=30, generator=torch.Generator().manual_seed(2))
        self.batch = collate([pairs[index] for index in range(len(pairs))])

    def __len__(self) -> int:
        return len(self.batch["labels"])

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {name: tensor[index] for name, tensor in self.batch.items()}


def test_losses_and_gradient_norms_are_those_of_the_published_pieces(corpus: Corpus, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    dataset, ours = PairsOnce(corpus), small_bert(corpus, dropout=0.0)
    ours.save_pretrained(tmp_path)
    theirs = transformers.BertForPreTraining.from_pretrained(tmp_path).train()
    ours, theirs = ours.double(), theirs.double()  # one rounding of a float32 loss of 5 is already 5e-7
    settings = {"max_steps": 8, "learning_rate": 1e-3, "warmup_steps": 2, "weight_decay": 0.01, "logging_steps": 1}
    arguments = TrainingArguments(str(tmp_path), per_device_train_batch_size=4, disable_tqdm=True, **settings)
    logs = history_of(Trainer(ours, arguments, train_dataset=dataset))
    losses, norms = losses_by_hand(theirs, dataset, arguments)
    assert np.abs(np.subtract([entry["loss"] for entry in logs], losses)).max() <= 5e-7
    assert np.abs(np.subtract([entry["grad_norm"] for entry in logs], norms)).max() <= 5e-6
    assert max(norms) > arguments.max_grad_norm, "clipping should have had something to do"


def losses_by_hand(
    model: nn.Module, dataset: PairsOnce, arguments: TrainingArguments
) -> tuple[list[float], list[float]]:
    """Train with torch's optimizer and the published schedule, in the trainer's order of the examples."""
    from transformers import get_linear_schedule_with_warmup

    decaying = [parameter for name, parameter in model.named_parameters() if parameter.ndim > 1]
    others = [parameter for name, parameter in model.named_parameters() if parameter.ndim == 1]
    groups = [{"params": decaying, "weight_decay": arguments.weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=arguments.learning_rate, eps=arguments.adam_epsilon)
    schedule = get_linear_schedule_with_warmup(optimizer, arguments.warmup_steps, arguments.max_steps)
    losses, norms = [], []
    while len(losses) < arguments.max_steps:
        epoch = len(losses) // math.ceil(len(dataset) / 4)
        order = np.random.default_rng([arguments.seed, epoch]).permutation(len(dataset))
        for start in range(0, len(dataset), 4)[: arguments.max_steps - len(losses)]:
            chosen = torch.from_numpy(order[start : start + 4])
            loss = model(**{name: tensor[chosen] for name, tensor in dataset.batch.items()}).loss
            optimizer.zero_grad()
            loss.backward()
            norms.append(float(nn.utils.clip_grad_norm_(model.parameters(), arguments.max_grad_norm)))
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
    return losses, norms


def test_a_classifier_learns_what_its_first_token_says(tmp_path: Path) -> None:
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    model = BertForSequenceClassification(BertConfig(vocab_size=9, max_position_embeddings=5, **sizes))
    ids = whole_numbers(3, "ids", 5, 9, 32, 5)
    dataset = [{"input_ids": row, "labels": (row[1] > 6).long()} for row in ids]
    trainer = line_trainer(tmp_path, dataset, model=model, learning_rate=1e-2, max_steps=150)
    trainer.args.per_device_train_batch_size = 8
    trainer.train()
    scores, truths, _ = trainer.predict(dataset)
    assert (scores.argmax(-1) == truths).all()
