"""The trainer's interface against that of `transformers`: the same small task in both, told and answered the same."""

import gc
import inspect
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
import transformers
from torch import Tensor, nn
from torch.utils.data import Dataset, IterableDataset

import minitransformer
from minitransformer.checkpoint import checkpoints
from minitransformer.errors import InputError
from minitransformer.laws.cases import numbers, whole_numbers
from minitransformer.trainer.callbacks import EVENTS

N_EXAMPLES = 8
"""Four updates of two."""
PER_PASS = 4
SPEEDS = ("runtime", "samples_per_second", "steps_per_second")
Keys = set[str]

transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()


@pytest.fixture(scope="module", autouse=True)
def little_garbage() -> Iterator[None]:
    """Spare what is there already from the search for garbage with which their trainer begins each training."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


# The task, and both trainers.


class Line(nn.Module):
    """A linear classifier."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(7)
        self.dense = nn.Linear(3, 2)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Any:
        logits = self.dense(x)
        return answer(logits, labels)


def answer(logits: Tensor, labels: Tensor | None) -> dict[str, Tensor]:
    """Scores, and the loss where there are labels."""
    if labels is None:
        return {"logits": logits}
    return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


def vectors(n_examples: int = N_EXAMPLES) -> list[dict[str, Any]]:
    """Vectors with a class each."""
    x = numbers(11, "x", n_examples, 3, dtype=torch.float32)
    labels = whole_numbers(11, "labels", 0, 2, n_examples)
    return [{"x": x[index], "labels": labels[index]} for index in range(n_examples)]


def without_labels() -> list[dict[str, Any]]:
    """The same without their classes."""
    return [{"x": example["x"]} for example in vectors()]


class Library:
    """One of the two libraries, and its names."""

    def __init__(self, source: Any, folder: Path) -> None:
        self.source = source
        self.folder = folder
        self.is_ours = source is minitransformer

    def build(self, kind: Any = None, model: Any = "a line", dataset: Any = None, **changes: Any) -> Any:
        """A trainer, whose arguments are told from what goes to the trainer itself by their names."""
        for_trainer = {name: changes.pop(name) for name in tuple(changes) if name in OF_THE_TRAINER}
        settings: dict[str, Any] = {"learning_rate": 0.1, "per_device_train_batch_size": 2, "num_train_epochs": 2}
        settings |= {"logging_strategy": "no", "save_strategy": "no", "disable_tqdm": True, "use_cpu": True}
        settings |= {"report_to": "none"} | ({} if self.is_ours else {"dataloader_pin_memory": False})
        arguments = self.source.TrainingArguments(str(self.folder), **{**settings, **changes})
        model = Line() if model == "a line" else model
        dataset = vectors() if dataset is None else dataset
        trainer = (kind or self.source.Trainer)(model, arguments, train_dataset=dataset, **for_trainer)
        if not self.is_ours:
            trainer.remove_callback(transformers.trainer_callback.PrinterCallback)
        return trainer

    def subclass(self, mixin: type) -> Any:
        """The trainer with methods of one's own."""
        return type("Own", (mixin, self.source.Trainer), {})

    def callback(self, mixin: type, *given: Any) -> Any:
        """A callback with methods of one's own."""
        return type(mixin.__name__, (mixin, self.source.TrainerCallback), {})(*given)


OF_THE_TRAINER = inspect.signature(minitransformer.Trainer).parameters.keys() - {"model", "args", "train_dataset"}


@pytest.fixture
def ours(tmp_path: Path) -> Library:
    """Our library."""
    return Library(minitransformer, tmp_path / "ours")


@pytest.fixture
def theirs(tmp_path: Path) -> Library:
    """The library that people know."""
    return Library(transformers, tmp_path / "theirs")


@pytest.fixture
def both(ours: Library, theirs: Library) -> tuple[Library, Library]:
    """Ours and theirs."""
    return ours, theirs


def assert_same_weights(found: Any, wanted: Any) -> None:
    """Fail unless two trainers' models are equal up to rounding."""
    for name, tensor in wanted.model.state_dict().items():
        torch.testing.assert_close(found.model.state_dict()[name], tensor, rtol=0, atol=3e-6)


# What both are given.


def test_the_trainer_takes_its_arguments_in_the_order_people_know() -> None:
    known = [name for name in inspect.signature(transformers.Trainer).parameters if name != "optimizer_cls_and_kwargs"]
    assert list(inspect.signature(minitransformer.Trainer).parameters) == [*known, "tokenizer"]
    required = [*inspect.signature(minitransformer.Trainer).parameters.values()][-1]
    assert required.kind is required.KEYWORD_ONLY, "the fourth version's name for processing_class"


def test_methods_take_their_arguments_under_the_names_people_know() -> None:
    for name in ("evaluate", "predict", "compute_loss", "add_callback", "pop_callback", "remove_callback"):
        our_method, their_method = (getattr(source.Trainer, name) for source in (minitransformer, transformers))
        assert list(inspect.signature(our_method).parameters) == list(inspect.signature(their_method).parameters)
    for name in ("train", "save_model"):
        our_method, their_method = (getattr(source.Trainer, name) for source in (minitransformer, transformers))
        known = list(inspect.signature(their_method).parameters)
        assert list(inspect.signature(our_method).parameters) == known[:2]


def test_a_tokenizer_goes_by_both_of_its_names(ours: Library) -> None:
    tokenizer = type("Tokenizer", (), {"pad_token_id": 0})()
    for name in ("tokenizer", "processing_class"):
        trainer = ours.build(**{name: tokenizer})
        assert trainer.processing_class is tokenizer
        assert type(trainer.data_collator) is minitransformer.DataCollatorWithPadding


def test_names_of_the_library_are_public() -> None:
    shared = ("EarlyStoppingCallback", "EvalPrediction", "ProgressCallback", "Trainer", "TrainerCallback")
    shared += ("TrainerControl", "TrainerState", "TrainingArguments", "set_seed")
    for name in shared:
        assert hasattr(transformers, name)
        assert name in minitransformer.__all__
    for name in ("get_last_checkpoint", "PredictionOutput", "TrainOutput"):
        assert hasattr(transformers.trainer_utils, name)
        assert name in minitransformer.__all__


# What callbacks are told.


class Recording:
    """Notes each event, with the step and the names of what comes with it."""

    def __init__(self) -> None:
        self.events: list[tuple[str, int]] = []
        self.given: dict[str, Keys] = {}
        self.logs: list[Keys] = []

    def note(self, event: str, state: Any, given: dict[str, Any]) -> None:
        if "train_runtime" in given.get("logs", ()):
            return
        self.events.append((event, state.global_step))
        self.given[event] = set(given)
        if "logs" in given:
            self.logs.append(set(given["logs"]))


def method_for(event: str) -> Callable[..., None]:
    """The method that is told of an event."""

    def told(self: Any, args: Any, state: Any, control: Any, **given: Any) -> None:
        self.note(event, state, given)

    return told


for _event in EVENTS:
    setattr(Recording, _event, method_for(_event))

EVERY_STEP = {"logging_strategy": "steps", "eval_strategy": "steps", "save_strategy": "steps"}
EVERY_STEP |= {"logging_steps": 1, "eval_steps": 1, "save_steps": 1}
SOME_STEPS = {**EVERY_STEP, "logging_steps": 3, "eval_steps": 3, "save_steps": 3, "max_steps": 6}
EVERY_PASS = {"logging_strategy": "epoch", "eval_strategy": "epoch", "save_strategy": "epoch"}


def recorded(library: Library, **changes: Any) -> Recording:
    """What a callback is told in a run, a prediction after it."""
    recording = library.callback(Recording)
    trainer = library.build(callbacks=[recording], eval_dataset=vectors(3), **changes)
    trainer.train()
    trainer.predict(vectors(3))
    return recording


@pytest.mark.parametrize(
    "changes",
    [
        {},
        EVERY_PASS,
        {**EVERY_PASS, "gradient_accumulation_steps": 2},
        {**EVERY_PASS, "max_steps": 6},
        {**EVERY_PASS, "max_steps": 3, "eval_on_start": True},
        {**EVERY_PASS, "per_device_eval_batch_size": 2, "num_train_epochs": 1},
        {"logging_first_step": True, "max_steps": 3},
    ],
)
def test_events_come_in_the_order_people_know(ours: Library, theirs: Library, changes: dict[str, Any]) -> None:
    assert recorded(ours, **changes).events == recorded(theirs, **changes).events


@pytest.mark.parametrize("changes", [EVERY_STEP, SOME_STEPS])
def test_what_is_due_at_steps_comes_at_the_steps_people_know(
    ours: Library, theirs: Library, changes: dict[str, Any]
) -> None:
    """Of the last step of a pass, ours comes after `on_epoch_end`: what is kept then knows that the pass is over."""
    found, wanted = (recorded(library, **changes).events for library in (ours, theirs))
    assert sorted(found) == sorted(wanted)
    assert leave_out("on_epoch_end", found) == leave_out("on_epoch_end", wanted)


def leave_out(event: str, events: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """The other events."""
    return [one for one in events if one[0] != event]


def test_callbacks_are_given_what_people_know_and_data_instead_of_loaders(ours: Library, theirs: Library) -> None:
    """There are no loaders to give: which examples an update reads follows from its number."""
    found, wanted = (recorded(library, **EVERY_STEP).given for library in (ours, theirs))
    loaders, data = {"train_dataloader", "eval_dataloader"}, {"train_dataset", "eval_dataset"}
    assert found.keys() == wanted.keys()
    for event, names in wanted.items():
        own = {"checkpoint"} if event == "on_save" else set()
        assert found[event] == names - loaders | data | own, event


def test_logs_and_their_history_have_the_names_people_know(both: tuple[Library, Library]) -> None:
    """Ours leave the speed of evaluations out, and the summary of the run: logs of equal runs are equal."""
    histories = []
    for library in both:
        trainer = library.build(eval_dataset=vectors(3), **EVERY_STEP)
        trainer.train()
        histories.append([set(entry) for entry in trainer.state.log_history])
    assert histories[0][:2] == [
        histories[1][0] | {"tokens_per_second", "num_input_tokens_seen"},
        histories[1][1] - {f"eval_{speed}" for speed in SPEEDS},
    ]
    assert len(histories[0]) == len(histories[1]) - 1 == 2 * 2 * PER_PASS


# What callbacks ask for.


class Asking:
    """Asks for something at an event of a step, once; something is logged, judged and kept at step 3 anyway."""

    def __init__(self, flag: str, event: str, step: int) -> None:
        self.flag, self.event, self.step, self.is_done = flag, event, step, False


def asking_method(event: str) -> Callable[..., Any]:
    """The method that asks at an event."""

    def told(self: Any, args: Any, state: Any, control: Any, **given: Any) -> Any:
        if event == "on_step_end" and state.global_step == 3:
            control.should_log = control.should_evaluate = control.should_save = True
        if event == self.event and state.global_step == self.step and not self.is_done:
            setattr(control, self.flag, True)
            self.is_done = True
        return control

    return told


for _event in EVENTS:
    setattr(Asking, _event, asking_method(_event))

FLAGS = ("should_training_stop", "should_epoch_stop", "should_log", "should_evaluate", "should_save")
MOMENTS = [
    ("on_step_begin", 1),
    ("on_step_end", 2),
    ("on_step_end", PER_PASS),
    ("on_log", 3),
    ("on_evaluate", 3),
    ("on_save", 3),
    ("on_epoch_end", PER_PASS),
]


@pytest.mark.parametrize("flag", FLAGS)
@pytest.mark.parametrize(("event", "step"), MOMENTS)
def test_what_callbacks_ask_for_is_done_when_people_expect_it(
    both: tuple[Library, Library], flag: str, event: str, step: int
) -> None:
    told = []
    for library in both:
        recording = library.callback(Recording)
        callbacks = [library.callback(Asking, flag, event, step), recording]
        trainer = library.build(callbacks=callbacks, eval_dataset=vectors(3), metric_for_best_model="loss")
        trainer.train()
        told.append(sorted((step, event) for event, step in recording.events))
    assert told[0] == told[1]


def test_updates_that_were_asked_for_are_made_though_a_pass_was_cut_short(ours: Library, theirs: Library) -> None:
    """Ours keeps to `max_steps`, for which the rates were planned; theirs ends with the passes that they make up."""
    steps = []
    for library in (ours, theirs):
        asking = library.callback(Asking, "should_epoch_stop", "on_step_end", 2)
        steps.append(library.build(callbacks=[asking], max_steps=8, eval_dataset=vectors(2)).train().global_step)
    assert steps == [8, 6]


def test_a_callback_may_answer_with_a_control_of_its_own(ours: Library) -> None:
    class Answering(minitransformer.TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> Any:  # type: ignore[override]
            return minitransformer.TrainerControl(should_training_stop=True)

    assert ours.build(callbacks=[Answering]).train().global_step == 1


class Settled:
    """Metrics that were settled beforehand."""

    def __init__(self, *scores: float) -> None:
        self.scores = iter(scores)

    def __call__(self, _: Any) -> dict[str, float]:
        return {"score": next(self.scores)}


RISING_AND_FALLING = (0.5, 0.6, 0.55, 0.65, 0.64, 0.63, 0.9, 0.8)


@pytest.mark.parametrize(
    ("patience", "threshold", "greater_is_better"),
    [(1, 0.0, None), (2, 0.0, None), (3, 0.0, True), (1, 0.06, True), (2, 0.06, None), (3, 0.2, None), (2, 0.0, False)],
)
def test_early_stopping_stops_at_the_step_people_know(
    both: tuple[Library, Library], patience: int, threshold: float, greater_is_better: bool | None
) -> None:
    steps = []
    for library in both:
        trainer = library.build(
            callbacks=[library.source.EarlyStoppingCallback(patience, threshold)],
            compute_metrics=Settled(*RISING_AND_FALLING),
            eval_dataset=vectors(2),
            eval_strategy="steps",
            eval_steps=1,
            metric_for_best_model="score",
            greater_is_better=greater_is_better,
        )
        steps.append((trainer.train().global_step, trainer.state.best_metric))
    assert steps[0] == steps[1]


def test_early_stopping_judges_by_one_of_several_data_sets(ours: Library) -> None:
    trainer = ours.build(
        callbacks=[minitransformer.EarlyStoppingCallback()],
        eval_dataset={"near": vectors(2), "far": vectors(3)},
        eval_strategy="epoch",
        metric_for_best_model="eval_far_loss",
    )
    trainer.train()
    assert trainer.state.best_metric in [entry.get("eval_far_loss") for entry in trainer.state.log_history]
    trainer.evaluate(vectors(3), metric_key_prefix="test")


def test_callbacks_come_and_go_as_people_know(both: tuple[Library, Library]) -> None:
    for library in both:
        first, second = (type(name, (library.source.TrainerCallback,), {}) for name in ("First", "Second"))
        instance = second()
        trainer = library.build(callbacks=[first])
        trainer.add_callback(instance)
        assert trainer.pop_callback(second) is instance
        assert trainer.pop_callback(second) is None
        trainer.add_callback(second)
        assert type(trainer.pop_callback(library.source.TrainerCallback)) is not second, "the first of the class"
        trainer.remove_callback(second)
        assert trainer.pop_callback(second) is None
        trainer.add_callback(instance)
        trainer.remove_callback(instance)
        assert trainer.pop_callback(instance) is None


def test_removing_a_callback_that_is_not_there_is_refused(ours: Library) -> None:
    with pytest.raises(InputError, match=r"is none of the callbacks .*'ProgressCallback'"):
        ours.build().remove_callback(minitransformer.EarlyStoppingCallback)


# What is answered.


def test_the_end_of_a_training_is_told_as_people_know(ours: Library, theirs: Library) -> None:
    found, wanted = (library.build(per_device_train_batch_size=8).train() for library in (ours, theirs))
    assert found._fields == wanted._fields
    assert found.global_step == wanted.global_step
    assert found.training_loss == pytest.approx(wanted.training_loss, abs=1e-6)
    assert found.metrics.keys() == wanted.metrics.keys() - {"total_flos"}


def test_an_evaluation_is_answered_as_people_know(ours: Library, theirs: Library) -> None:
    figures = []
    for library in (ours, theirs):
        trainer = library.build(compute_metrics=lambda _: {"accuracy": np.float32(0.5), "eval_f1": np.int64(1)})
        trainer.train()
        figures.append(trainer.evaluate(vectors(5)))
    found, wanted = figures
    assert found.keys() == wanted.keys() == {f"eval_{name}" for name in ("loss", "accuracy", "f1", *SPEEDS)} | {"epoch"}
    assert {name: type(value) for name, value in found.items()} == {name: type(value) for name, value in wanted.items()}
    assert (found["epoch"], found["eval_accuracy"]) == (2.0, 0.5)
    assert found["eval_samples_per_second"] == pytest.approx(5 / found["eval_runtime"])


def test_speeds_are_not_logged_so_that_equal_runs_have_equal_logs(ours: Library) -> None:
    trainer = ours.build()
    trainer.evaluate(vectors(3))
    assert trainer.state.log_history[-1].keys() == {"step", "epoch", "eval_loss"}


def test_metrics_of_numpy_can_be_kept_with_a_checkpoint(ours: Library) -> None:
    measured = {"table": np.eye(2), "f1": np.float32(0.5), "right": torch.tensor(3)}
    settings = {"eval_dataset": vectors(3), "compute_metrics": lambda _: measured, **EVERY_PASS}
    ours.build(**settings).train()
    resumed = ours.build(num_train_epochs=3, **settings)
    resumed.train(resume_from_checkpoint=True)
    assert resumed.state.log_history[1]["eval_table"] == [[1.0, 0.0], [0.0, 1.0]]


def test_several_data_sets_are_evaluated_by_name(both: tuple[Library, Library]) -> None:
    answers = []
    for library in both:
        trainer = library.build(eval_dataset={"near": vectors(3), "far": vectors(8)})
        answers.append([trainer.evaluate(), trainer.evaluate({"other": vectors(2)})])
    for found, wanted in zip(*answers, strict=True):
        assert found.keys() == {name for name in wanted if "preparation" not in name}
        losses = {name: value for name, value in wanted.items() if name.endswith("loss")}
        assert {name: found[name] for name in losses} == pytest.approx(losses, abs=1e-6)


class Several(Line):
    """A classifier with two more outputs, of which one is of every word."""

    def forward(self, x: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        return {**super().forward(x, labels), "words": torch.stack([x, x + 1], 1), "sums": x.sum(-1)}


@dataclass
class Keeping:
    """Metrics that keep what they are given."""

    given: Any = None

    def __call__(self, prediction: Any) -> dict[str, float]:
        self.given = prediction
        return {"count": float(len(prediction.label_ids))}


def assert_same_arrays(found: Any, wanted: Any) -> None:
    """Fail unless both are the same arrays, or tuples of them."""
    assert type(found) is type(wanted)
    if isinstance(wanted, tuple):
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            assert_same_arrays(one, other)
    elif wanted is not None:
        assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape)
        np.testing.assert_allclose(found, wanted, atol=1e-6)


@pytest.mark.parametrize("ignore_keys", [None, ["words"], ["words", "sums"]])
@pytest.mark.parametrize("n_at_once", [2, 8])
def test_metrics_are_given_what_people_know(
    both: tuple[Library, Library], ignore_keys: list[str] | None, n_at_once: int
) -> None:
    given, metrics = [], []
    for library in both:
        keeping = Keeping()
        trainer = library.build(model=Several(), compute_metrics=keeping, per_device_eval_batch_size=n_at_once)
        metrics.append(trainer.evaluate(vectors(5), ignore_keys=ignore_keys)["eval_count"])
        given.append(keeping.given)
    predictions, label_ids = given[0]
    assert_same_arrays(predictions, given[1].predictions)
    assert_same_arrays(label_ids, given[1].label_ids)
    assert metrics[0] == metrics[1] == 5


def test_scores_are_made_smaller_before_they_are_kept(both: tuple[Library, Library]) -> None:
    given = []
    for library in both:
        keeping, seen = Keeping(), []

        def smaller(logits: Any, labels: Tensor, seen: list[Any] = seen) -> Tensor:
            seen.append((type(logits), len(logits), labels.shape))
            return logits[0].argmax(-1)

        trainer = library.build(
            model=Several(),
            compute_metrics=keeping,
            preprocess_logits_for_metrics=smaller,
            per_device_eval_batch_size=4,
        )
        trainer.evaluate(vectors(7))
        given.append((keeping.given.predictions, seen))
    assert_same_arrays(given[0][0], given[1][0])
    assert given[0][1] == given[1][1]


@pytest.mark.parametrize("data", [vectors, without_labels])
@pytest.mark.parametrize("model", [Line, Several])
def test_predictions_are_answered_as_people_know(
    both: tuple[Library, Library], data: Callable[[], Any], model: type[nn.Module]
) -> None:
    found, wanted = (
        library.build(model=model(), compute_metrics=Keeping()).predict(data(), metric_key_prefix="held_out")
        for library in both
    )
    assert found._fields == wanted._fields
    assert_same_arrays(found.predictions, wanted.predictions)
    assert_same_arrays(found.label_ids, wanted.label_ids)
    assert found.metrics.keys() == {name for name in wanted.metrics if "preparation" not in name}
    if data is vectors:
        assert found.metrics["held_out_loss"] == pytest.approx(wanted.metrics["held_out_loss"], abs=1e-6)


# Models, losses and optimizers of one's own.


class InATuple(Line):
    """A model that answers with a tuple."""

    def forward(self, x: Tensor, labels: Tensor | None = None) -> tuple[Tensor, ...]:
        return tuple(super().forward(x, labels).values())


class InAnOutput(Line):
    """A model that answers with an output of theirs."""

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Any:
        return transformers.modeling_outputs.SequenceClassifierOutput(**super().forward(x, labels))


@dataclass
class Answer:
    """An output of one's own."""

    logits: Tensor
    loss: Tensor | None = None


class InADataclass(Line):
    """A model that answers with an output of one's own."""

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Answer:
        return Answer(**super().forward(x, labels))


@pytest.mark.parametrize("kind", [Line, InATuple, InAnOutput, InADataclass])
def test_a_model_may_answer_in_any_of_the_usual_ways(ours: Library, theirs: Library, kind: type[nn.Module]) -> None:
    """Theirs cannot read a data class; it is compared with a dictionary's."""
    found = ours.build(model=kind(), per_device_train_batch_size=8)
    wanted = theirs.build(model=Line() if kind is InADataclass else kind(), per_device_train_batch_size=8)
    for trainer in (found, wanted):
        trainer.train()
    assert_same_weights(found, wanted)
    assert_same_arrays(found.predict(vectors()).predictions, wanted.predict(vectors()).predictions)


def test_a_model_of_theirs_trains_with_our_trainer(both: tuple[Library, Library]) -> None:
    config = transformers.BertConfig(
        vocab_size=20,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        max_position_embeddings=16,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    words = whole_numbers(5, "words", 1, 20, 6, 7)
    examples = [{"input_ids": words[index], "label": index % 2, "unread": index} for index in range(6)]
    trained = []
    for library in both:
        torch.manual_seed(3)
        model = transformers.BertForSequenceClassification(config)
        settings = {"per_device_train_batch_size": 6, "learning_rate": 1e-3, "adam_epsilon": 1e-6}
        trainer = library.build(model=model, dataset=examples, **settings)
        trained.append((trainer, trainer.train().training_loss, trainer.evaluate(examples)["eval_loss"]))
    assert trained[0][1:] == pytest.approx(trained[1][1:], abs=1e-6)
    assert_same_arrays(*(trainer.predict(examples).predictions for trainer, *_ in trained))


def no_trial() -> nn.Module:
    """A model."""
    return Line()


def with_a_trial(trial: Any) -> nn.Module:
    """A model, of a search that there is not."""
    assert trial is None
    return Line()


@pytest.mark.parametrize("model_init", [no_trial, with_a_trial])
def test_each_training_begins_with_a_new_model(both: tuple[Library, Library], model_init: Callable[..., Any]) -> None:
    weights = []
    for library in both:
        trainer = library.build(model=None, model_init=model_init, per_device_train_batch_size=8)
        for _ in range(2):
            trainer.train()
            weights.append(trainer.model.dense.weight.detach())
    for found in weights[1:]:
        torch.testing.assert_close(found, weights[0], rtol=0, atol=1e-6)


def test_a_model_is_given_once(ours: Library) -> None:
    with pytest.raises(InputError, match="give either a model or a model_init"):
        ours.build(model_init=no_trial)
    with pytest.raises(InputError, match="give either a model or a model_init"):
        ours.build(model=None)


def double(outputs: Any, labels: Tensor, num_items_in_batch: Any = None) -> Tensor:
    """A loss function as they take it."""
    total = nn.functional.cross_entropy(outputs["logits"], labels, reduction="sum")
    return 2 * total / (len(labels) if num_items_in_batch is None else num_items_in_batch)


def double_mean(outputs: Any, labels: Tensor, **_: Any) -> Tensor:
    """One that does not care how many labels there are."""
    return 2 * nn.functional.cross_entropy(outputs["logits"], labels)


@pytest.mark.parametrize("loss", [double, double_mean])
def test_a_loss_function_of_ones_own_is_learned_from_and_judged_by(
    both: tuple[Library, Library], loss: Callable[..., Tensor]
) -> None:
    trainers = [
        library.build(compute_loss_func=loss, per_device_train_batch_size=8, compute_metrics=Keeping())
        for library in both
    ]
    losses = [(trainer.train().training_loss, trainer.evaluate(vectors())["eval_loss"]) for trainer in trainers]
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
    assert_same_weights(*trainers)
    assert_same_arrays(*(trainer.compute_metrics.given.predictions for trainer in trainers))


class Weighted:
    """A trainer whose loss weighs examples by a column that the model does not read."""

    def compute_loss(
        self, model: nn.Module, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        weights, labels = inputs.pop("weight"), inputs.pop("labels")
        outputs = model(**inputs)
        loss = (weights * nn.functional.cross_entropy(outputs["logits"], labels, reduction="none")).mean()
        return (loss, outputs) if return_outputs else loss


class Scaled:
    """A trainer whose loss is twice that of the library."""

    def compute_loss(self, model: nn.Module, inputs: Any, return_outputs: bool = False, **given: Any) -> Any:
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True, **given)  # type: ignore[misc]
        return (2 * loss, outputs) if return_outputs else 2 * loss


@pytest.mark.parametrize("mixin", [Weighted, Scaled])
def test_a_loss_may_be_a_method_of_ones_own_trainer(both: tuple[Library, Library], mixin: type) -> None:
    examples = vectors()
    if mixin is Weighted:
        examples = [{**example, "weight": float(number)} for number, example in enumerate(examples)]
    settings: dict[str, Any] = {"remove_unused_columns": False, "per_device_train_batch_size": 8}
    trainers = [
        library.build(library.subclass(mixin), dataset=examples, compute_metrics=Keeping(), **settings)
        for library in both
    ]
    losses = [(trainer.train().training_loss, trainer.evaluate(examples)["eval_loss"]) for trainer in trainers]
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
    assert_same_weights(*trainers)
    assert_same_arrays(*(trainer.compute_metrics.given.predictions for trainer in trainers))


class AsOfOld:
    """A trainer whose loss knows nothing of items, as the fourth version's tutorials have it."""

    def compute_loss(self, model: nn.Module, inputs: Any, return_outputs: bool = False) -> Any:
        outputs = model(**inputs)
        return (outputs["loss"], outputs) if return_outputs else outputs["loss"]


class LossAlone:
    """A trainer whose loss never gives the outputs."""

    def compute_loss(self, model: nn.Module, inputs: Any, num_items_in_batch: Any = None) -> Any:
        return model(**inputs)["loss"]


@pytest.mark.parametrize("mixin", [AsOfOld, LossAlone])
def test_a_loss_method_may_leave_out_what_it_does_not_need(ours: Library, mixin: type) -> None:
    own, plain = (ours.build(kind, compute_metrics=Keeping()) for kind in (ours.subclass(mixin), None))
    for trainer in (own, plain):
        trainer.train()
    assert_same_weights(own, plain)
    assert own.evaluate(vectors())["eval_loss"] == plain.evaluate(vectors())["eval_loss"]
    assert_same_arrays(own.compute_metrics.given.predictions, plain.compute_metrics.given.predictions)


@pytest.mark.parametrize("has_schedule", [True, False])
def test_an_optimizer_and_a_schedule_of_ones_own_are_used(both: tuple[Library, Library], has_schedule: bool) -> None:
    trainers = []
    for library in both:
        model = Line()
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.3, weight_decay=0.2)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.3**step) if has_schedule else None
        settings = {"per_device_train_batch_size": 8, "logging_strategy": "steps", "logging_steps": 1}
        trainer = library.build(model=model, optimizers=(optimizer, schedule), **settings)
        trainer.train()
        assert trainer.optimizer is optimizer or not isinstance(trainer, minitransformer.Trainer)
        assert trainer.lr_scheduler is schedule or not has_schedule
        trainers.append(trainer)
    rates = [[entry["learning_rate"] for entry in t.state.log_history if "grad_norm" in entry] for t in trainers]
    assert rates[0] == rates[1] == [0.3, 0.09 if has_schedule else 0.15]
    assert_same_weights(*trainers)


def test_an_optimizer_that_moves_nothing_of_the_model_is_refused(ours: Library) -> None:
    optimizer = torch.optim.SGD(Line().parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)
    with pytest.raises(InputError, match="moves no parameter of the model"):
        ours.build(optimizers=(optimizer, None))
    with pytest.raises(InputError, match="a schedule of another optimizer"):
        ours.build(optimizers=(None, schedule))
    with pytest.raises(InputError, match="model_init makes a new one for each run"):
        ours.build(model=None, model_init=Line, optimizers=(optimizer, None))


# Data of any kind.


class Numbered(Dataset[Any]):
    """A dataset of PyTorch's."""

    def __len__(self) -> int:
        return N_EXAMPLES

    def __getitem__(self, index: int) -> Any:
        return vectors()[index]


def a_table(**further: list[Any]) -> datasets.Dataset:
    """A table of `datasets`, whose labels are called `label`, with a column that the model does not read."""
    columns = {"x": [example["x"].tolist() for example in vectors()]}
    columns |= {"label": [int(example["labels"]) for example in vectors()], "title": ["Moby-Dick"] * N_EXAMPLES}
    return datasets.Dataset.from_dict({**columns, **further})


@pytest.mark.parametrize("data", [vectors, Numbered, a_table])
def test_data_may_come_in_any_of_the_usual_ways(both: tuple[Library, Library], data: Callable[[], Any]) -> None:
    trainers = [library.build(dataset=data(), per_device_train_batch_size=8) for library in both]
    for trainer in trainers:
        trainer.train()
    assert_same_weights(*trainers)
    found, wanted = (trainer.predict(data()) for trainer in trainers)
    assert_same_arrays(found.predictions, wanted.predictions)
    assert_same_arrays(found.label_ids, wanted.label_ids)


class Stream(IterableDataset[Any]):
    """Examples that come one after the other, and what is told of them."""

    def __init__(self) -> None:
        self.begun = 0
        self.passes: list[int] = []

    def set_epoch(self, number: int) -> None:
        self.passes.append(number)

    def __iter__(self) -> Iterator[Any]:
        self.begun += 1
        return iter(vectors())


class StreamWithLength(Stream):
    """The same with a length, which makes it no dataset with numbers."""

    def __len__(self) -> int:
        return N_EXAMPLES


def a_stream_of_theirs() -> Any:
    """A stream of `datasets`."""
    return a_table().to_iterable_dataset()


@pytest.mark.parametrize("data", [Stream, StreamWithLength, a_stream_of_theirs])
def test_a_stream_is_read_in_its_order_and_begins_anew_where_it_ends(
    both: tuple[Library, Library], data: Callable[[], Any]
) -> None:
    trainers = [library.build(dataset=data(), max_steps=10) for library in both]
    for trainer in trainers:
        trainer.train()
        assert trainer.state.global_step == 10
    assert_same_weights(*trainers)
    found, wanted = (trainer.evaluate(data())["eval_loss"] for trainer in trainers)
    assert found == pytest.approx(wanted, abs=1e-6)


def test_a_stream_is_told_which_pass_begins(ours: Library) -> None:
    stream = Stream()
    ours.build(dataset=stream, max_steps=10).train()
    assert sorted(set(stream.passes)) == [0, 1, 2]
    assert stream.begun == 3


@pytest.mark.parametrize("data", [Stream, StreamWithLength, a_stream_of_theirs])
def test_a_stream_needs_a_number_of_updates(ours: Library, data: Callable[[], Any]) -> None:
    with pytest.raises(InputError, match="a stream has no epochs to count; give max_steps"):
        ours.build(dataset=data())


# Checkpoints and seeds.


def test_the_last_checkpoint_is_found_where_people_look_for_it(ours: Library, tmp_path: Path) -> None:
    their_search = transformers.trainer_utils.get_last_checkpoint
    ours.build(**EVERY_STEP, eval_dataset=vectors(2)).train()
    assert len(checkpoints(ours.folder)) == 8
    assert minitransformer.get_last_checkpoint(str(ours.folder)) == their_search(str(ours.folder))
    assert minitransformer.get_last_checkpoint(ours.folder) == str(ours.folder / "checkpoint-8")
    (tmp_path / "empty").mkdir()
    assert minitransformer.get_last_checkpoint(tmp_path / "empty") is their_search(tmp_path / "empty") is None
    assert minitransformer.get_last_checkpoint(tmp_path / "missing") is None, "nothing there, nothing to go on from"


def test_a_seed_gives_the_draws_people_know() -> None:
    def draws() -> tuple[float, float, float]:
        return random.random(), np.random.random(), torch.rand(1).item()

    minitransformer.set_seed(13)
    found = draws()
    transformers.set_seed(13)
    assert draws() == found
