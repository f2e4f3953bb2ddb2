"""Training arguments: what each of them refuses, and the rate that follows from them."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minitransformer.errors import InputError
from minitransformer.schedules import SCHEDULES
from minitransformer.training_arguments import STRATEGIES, TrainingArguments

WRONG: list[tuple[str, Any]] = [
    ("learning_rate", -1e-3),
    ("learning_rate", math.nan),
    ("learning_rate", math.inf),
    ("warmup_steps", -1),
    ("weight_decay", -0.1),
    ("adam_beta1", 1.0),
    ("adam_beta2", -0.1),
    ("adam_epsilon", -1e-8),
    ("max_grad_norm", -1.0),
    ("max_grad_norm", math.nan),
    ("per_device_train_batch_size", 0),
    ("per_device_eval_batch_size", -2),
    ("gradient_accumulation_steps", 0),
    ("logging_steps", 0),
    ("eval_steps", 0),
    ("save_steps", 0),
    ("save_total_limit", 0),
    ("num_train_epochs", 0.0),
    ("num_train_epochs", math.inf),
    ("lr_scheduler_type", "exponential"),
    ("eval_strategy", "daily"),
    ("save_strategy", "never"),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_an_argument_that_cannot_be_is_refused_by_name_and_value(name: str, value: Any) -> None:
    with pytest.raises(InputError) as refusal:
        TrainingArguments("runs/none", **{name: value})
    assert str(refusal.value).startswith(f"{name}={value!r} ")
    assert "\n" not in str(refusal.value)


def test_the_number_of_epochs_does_not_matter_beside_a_number_of_steps() -> None:
    assert TrainingArguments("runs/none", num_train_epochs=0.0, max_steps=1).max_steps == 1


@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize(
    "name", ["learning_rate", "max_steps", "per_device_train_batch_size", "adam_beta1", "save_steps"]
)
def test_a_number_that_was_given_as_text_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"^{name}='1' must be a number$"):
        TrainingArguments("runs/none", **{name: "1"})


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_is_accepted(strategy: str) -> None:
    arguments = TrainingArguments("runs/none", eval_strategy=strategy, save_strategy=strategy)
    assert (arguments.eval_strategy, arguments.save_strategy) == (strategy, strategy)


schedules = st.sampled_from(sorted(SCHEDULES))
counts = st.integers(0, 50)


@given(schedule=schedules, warmup_steps=counts, total_steps=st.integers(1, 50), step=counts)
def test_the_rate_lies_between_zero_and_its_peak_at_any_step(
    schedule: str, warmup_steps: int, total_steps: int, step: int
) -> None:
    arguments = TrainingArguments("runs/none", learning_rate=0.5, lr_scheduler_type=schedule, warmup_steps=warmup_steps)
    assert 0 <= arguments.rate_at(step, total_steps) <= 0.5


@given(schedule=schedules.filter("constant".__ne__), warmup_steps=st.integers(1, 20), more=st.integers(1, 20))
def test_the_rate_rises_to_its_peak_and_falls_from_there(schedule: str, warmup_steps: int, more: int) -> None:
    arguments = TrainingArguments("runs/none", learning_rate=0.5, lr_scheduler_type=schedule, warmup_steps=warmup_steps)
    rates = [arguments.rate_at(step, warmup_steps + more) for step in range(warmup_steps + more)]
    assert rates[0] == 0
    assert rates[warmup_steps] == 0.5
    assert rates[: warmup_steps + 1] == sorted(rates[: warmup_steps + 1])
    assert rates[warmup_steps:] == sorted(rates[warmup_steps:], reverse=True)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_without_a_warm_up_the_first_update_has_the_full_rate(schedule: str) -> None:
    arguments = TrainingArguments("runs/none", learning_rate=0.5, lr_scheduler_type=schedule)
    assert arguments.rate_at(0, 10) == 0.5
    assert arguments.rate_at(10, 10) == 0


def test_a_warm_up_longer_than_the_run_only_rises() -> None:
    arguments = TrainingArguments("runs/none", learning_rate=1.0, warmup_steps=100)
    assert [arguments.rate_at(step, 4) for step in range(4)] == [0.0, 0.01, 0.02, 0.03]
