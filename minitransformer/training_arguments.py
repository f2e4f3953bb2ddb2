"""How to train: the arguments that Hugging Face's users know, and what each of them means here."""

import math
from dataclasses import dataclass

from minitransformer.errors import InputError
from minitransformer.optimizer import cosine_warmup, inverse_square_root_warmup, linear_warmup

SCHEDULES = ("linear", "cosine", "inverse_sqrt")
STRATEGIES = ("no", "steps", "epoch")
SIZES_OF_BATCHES = ("per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps")
EVERY_SO_MANY_STEPS = ("logging_steps", "eval_steps", "save_steps")


@dataclass
class TrainingArguments:
    """How long, how fast and how carefully to train.

    Steps and rates are per update of the parameters. `max_steps`, where positive, overrides `num_train_epochs`. An
    update learns from `gradient_accumulation_steps` batches, one after another in memory. `learning_rate` is the peak
    of the schedule. `bf16` computes in bfloat16 and keeps float32 parameters.

    Raises: InputError naming the argument that cannot be.

    >>> TrainingArguments("runs/first", learning_rate=-1.0)
    Traceback (most recent call last):
        ...
    minitransformer.errors.InputError: learning_rate=-1.0 must not be negative
    """

    output_dir: str
    num_train_epochs: float = 3.0
    max_steps: int = -1
    per_device_train_batch_size: int = 8
    per_device_eval_batch_size: int = 8
    gradient_accumulation_steps: int = 1
    learning_rate: float = 5e-5
    lr_scheduler_type: str = "linear"
    warmup_steps: int = 0
    weight_decay: float = 0.0
    adam_beta1: float = 0.9
    adam_beta2: float = 0.999
    adam_epsilon: float = 1e-8
    max_grad_norm: float = 1.0
    bf16: bool = False
    logging_steps: int = 500
    eval_strategy: str = "no"
    eval_steps: int = 500
    save_strategy: str = "steps"
    save_steps: int = 500
    save_total_limit: int | None = None
    seed: int = 42
    disable_tqdm: bool = False

    def __post_init__(self) -> None:
        for name in ("learning_rate", "warmup_steps", "weight_decay", "adam_epsilon", "max_grad_norm"):
            require_not_negative(name, getattr(self, name))
        for name in ("adam_beta1", "adam_beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name}={getattr(self, name)} must be at least 0 and below 1")
        for name in (*SIZES_OF_BATCHES, *EVERY_SO_MANY_STEPS):
            require_positive(name, getattr(self, name))
        if self.max_steps < 1 and not 0 < self.num_train_epochs < math.inf:
            raise InputError(f"num_train_epochs={self.num_train_epochs} must be positive, or give max_steps")
        if self.save_total_limit is not None:
            require_positive("save_total_limit", self.save_total_limit)
        if self.lr_scheduler_type not in SCHEDULES:
            raise InputError(f"lr_scheduler_type={self.lr_scheduler_type!r} is not one of {SCHEDULES}")
        for name in ("eval_strategy", "save_strategy"):
            if getattr(self, name) not in STRATEGIES:
                raise InputError(f"{name}={getattr(self, name)!r} is not one of {STRATEGIES}")

    @property
    def examples_per_update(self) -> int:
        """How many examples an update learns from.

        >>> TrainingArguments("runs/first", gradient_accumulation_steps=2).examples_per_update
        16
        """
        return self.per_device_train_batch_size * self.gradient_accumulation_steps

    def rate_at(self, step: int, total_steps: int) -> float:
        """The learning rate of the update that follows `step` earlier ones.

        >>> TrainingArguments("runs/first", learning_rate=0.5).rate_at(step=5, total_steps=10)
        0.25
        """
        if self.lr_scheduler_type == "inverse_sqrt":
            return self.learning_rate * inverse_square_root_warmup(step, max(1, self.warmup_steps))
        schedule = {"linear": linear_warmup, "cosine": cosine_warmup}[self.lr_scheduler_type]
        return self.learning_rate * schedule(step, min(self.warmup_steps, total_steps), total_steps)


def require_not_negative(name: str, value: int | float) -> None:
    """Refuse a number below zero, and what is no number at all.

    >>> require_not_negative("learning_rate", float("nan"))
    Traceback (most recent call last):
        ...
    minitransformer.errors.InputError: learning_rate=nan must be a number
    """
    if value < 0:
        raise InputError(f"{name}={value} must not be negative")
    if not math.isfinite(value):
        raise InputError(f"{name}={value} must be a number")


def require_positive(name: str, value: int) -> None:
    """Refuse a count below one.

    >>> require_positive("save_steps", 0)
    Traceback (most recent call last):
        ...
    minitransformer.errors.InputError: save_steps=0 must be at least 1
    """
    if value < 1:
        raise InputError(f"{name}={value} must be at least 1")
