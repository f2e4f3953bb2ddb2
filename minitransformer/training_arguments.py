"""How to train: the arguments that Hugging Face's users know, in both of their spellings, and what each means here."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from difflib import get_close_matches
from numbers import Real
from pathlib import Path
from typing import Any, Literal

import torch

from minitransformer.errors import InputError
from minitransformer.schedules import rate_share

STRATEGIES = ("no", "steps", "epoch")
SAVE_STRATEGIES = (*STRATEGIES, "best")
REPORTERS = ("none", "tensorboard")
SAMPLING = ("random", "group_by_length")
COUNTS = (
    "per_device_train_batch_size",
    "per_device_eval_batch_size",
    "gradient_accumulation_steps",
    "ddp_timeout",
)
NOT_NEGATIVE = (
    "learning_rate",
    "warmup_steps",
    "warmup_ratio",
    "weight_decay",
    "adam_epsilon",
    "max_grad_norm",
    "neftune_noise_alpha",
    "dataloader_num_workers",
)
INTERVALS = ("logging_steps", "eval_steps", "save_steps")
SHARES = ("adam_beta1", "adam_beta2", "label_smoothing_factor", "warmup_ratio")
OTHER_NUMBERS = (
    "num_train_epochs",
    "max_steps",
    "max_tokens",
    "save_total_limit",
    "seed",
    "data_seed",
    "ddp_bucket_cap_mb",
)
USUAL_BATCH_SIZE = 8
Number = int | float
OLD_NAMES = {"evaluation_strategy": "eval_strategy", "no_cuda": "use_cpu"}
"""What Hugging Face's fourth version called some arguments."""


@dataclass
class TrainingArguments:
    """How long, how fast and how carefully to train.

    Steps and rates are per update of the parameters. Raises: InputError naming the argument that cannot be, and the
    nearest name for one that there isn't.

    >>> TrainingArguments("runs/first", learning_rate=-1.0)
    Traceback (most recent call last):
        ...
    minitransformer.errors.InputError: learning_rate=-1.0 must not be negative
    >>> TrainingArguments("runs/first", learning_rat=1e-3)
    Traceback (most recent call last):
        ...
    minitransformer.errors.InputError: there is no argument learning_rat; did you mean learning_rate?
    """

    output_dir: str | Path = "trainer_output"
    """Where checkpoints and `log.jsonl` go."""

    # How long.
    num_train_epochs: Number = 3.0
    """Passes over the data."""
    max_steps: int = -1
    """Updates; where positive, it overrides `num_train_epochs`."""

    # How much at once.
    per_device_train_batch_size: int = None  # type: ignore[assignment] # it is a number once all arguments are known
    """Examples that a process computes at once, at most; 8 unless given, or as many as `max_tokens` allows."""
    per_device_eval_batch_size: int = None  # type: ignore[assignment]
    """The same, without gradients."""
    max_tokens: int | None = None
    """Tokens that a process computes at once, padding among them: examples × the longest of them. Examples of similar
    length come together, as many as fit. In an evaluation a longer one makes a batch by itself."""
    gradient_accumulation_steps: int = 1
    """Batches of an update, one after another in memory; the update is that of one large batch."""
    auto_find_batch_size: bool = False
    """Halve what is computed at once whenever memory runs out; the update stays the same."""
    group_by_length: bool = False
    """Let examples of similar length meet, so that less padding is computed."""
    train_sampling_strategy: str = "random"
    """The fifth version's name for it: `random` or `group_by_length`."""

    # How fast.
    learning_rate: Number = 5e-5
    """The peak of the schedule."""
    lr_scheduler_type: str = "linear"
    """How the rate rises and falls."""
    lr_scheduler_kwargs: dict[str, Any] = field(default_factory=dict)
    """What the schedule can be told besides, such as `num_cycles`."""
    warmup_steps: Number = 0
    """Updates until the peak; below 1 it is a share of them all."""
    warmup_ratio: Number = 0.0
    """The fourth version's name for that share; `warmup_steps` overrides it."""

    # How carefully.
    weight_decay: Number = 0.0
    """The decay of matrices; biases and norms do not decay."""
    adam_beta1: Number = 0.9
    """How slowly the mean of the gradients forgets."""
    adam_beta2: Number = 0.999
    """How slowly the mean of their squares forgets."""
    adam_epsilon: Number = 1e-8
    """What keeps the step from dividing by zero."""
    max_grad_norm: Number = 1.0
    """The longest gradient, all parameters together; 0 clips nothing."""
    label_smoothing_factor: Number = 0.0
    """The share of a target that is spread over all classes."""
    neftune_noise_alpha: Number | None = None
    """How loud the noise on word vectors is while training."""
    skip_nonfinite_updates: bool = False
    """Leave out an update whose loss or gradient is no number, and log that, where the run would stop with an error."""

    # In which numbers, and where.
    bf16: bool | Literal["auto"] = False
    """Compute in bfloat16, and keep float32 parameters; "auto" does so where the device has instructions for it."""
    fp16: bool = False
    """Compute in float16 on a GPU, with a scaled loss, and keep float32 parameters."""
    torch_compile: bool = False
    """Compile the model with `torch.compile`, once for all lengths; a model of ours block by block."""
    gradient_checkpointing: bool = False
    """Compute each block again in the backward pass, and keep nothing of it until then."""
    gradient_checkpointing_kwargs: dict[str, Any] | None = None
    """What the model is told about it."""
    use_cpu: bool = False
    """Leave a GPU alone."""
    no_cuda: bool | None = None
    """The fourth version's name for it."""

    # What is logged, judged and kept, and when.
    logging_dir: str | None = None
    """Where TensorBoard's files go; given alone, they are written wherever TensorBoard is installed."""
    logging_strategy: str = "steps"
    """Log at steps, epochs, or not at all."""
    logging_steps: Number = 500
    """Updates between two logs; below 1 it is a share of them all."""
    logging_first_step: bool = False
    """Log the first update too."""
    report_to: str | Sequence[str] | None = None
    """`tensorboard`, or `none`."""
    eval_strategy: str = "no"
    """Evaluate at steps, epochs, or not at all."""
    evaluation_strategy: str | None = None
    """The fourth version's name for it."""
    eval_steps: Number | None = None
    """Updates between two evaluations, or a share of them all; as `logging_steps` unless given."""
    eval_on_start: bool = False
    """Evaluate before the first update too."""
    save_strategy: str = "steps"
    """Keep checkpoints at steps, at epochs, whenever an evaluation is the best so far, or not at all."""
    save_steps: Number = 500
    """Updates between two checkpoints, or a share of them all."""
    save_total_limit: int | None = None
    """The number of checkpoints to keep: the newest, and the best."""
    load_best_model_at_end: bool = False
    """End with the parameters of the best evaluation."""
    metric_for_best_model: str | None = None
    """What the best is judged by; the loss unless given."""
    greater_is_better: bool | None = None
    """Whether more of it is better; of anything but a loss, it is."""
    label_names: list[str] | None = None
    """What labels are called in the data; as the model calls them unless given."""
    resume_from_checkpoint: str | Path | bool | None = None
    """What `train()` resumes from unless it is told: a checkpoint, or True for the newest."""
    disable_tqdm: bool = False
    """Show no bars."""

    # What chance and others decide.
    seed: int = 42
    """Decides everything that is left to chance."""
    data_seed: int | None = None
    """Decides the order of the data, and what is drawn when it is read; as `seed` unless given."""
    dataloader_num_workers: int = 0
    """Processes that read while this one computes; what is read is the same. With none of them a thread reads the next
    update while a GPU computes, if nothing about it is drawn from the generators that the model draws from."""
    dataloader_pin_memory: bool = True
    """Copy batches to a GPU from memory that stays in its place, so that nobody waits for the copy."""
    dataloader_drop_last: bool = False
    """Leave out what does not fill a batch at the end of a pass."""
    remove_unused_columns: bool = True
    """Give the collator only what the model reads."""

    # Several processes.
    ddp_backend: str | None = None
    """How processes talk: `nccl` on GPUs and `gloo` on CPUs unless given."""
    ddp_timeout: int = 1800
    """Seconds that a process waits for the others."""
    ddp_find_unused_parameters: bool | None = None
    """Look in each update for parameters that take no part in it."""
    ddp_bucket_cap_mb: int | None = None
    """Megabytes of gradients that travel together."""
    ddp_broadcast_buffers: bool | None = None
    """Give all processes the buffers of the first."""
    fsdp: str | bool = False
    """`full_shard`, or True: each process keeps only its share of parameters, gradients and moments."""

    def __new__(cls, *_: Any, **named: Any) -> "TrainingArguments":
        """Refuse a name that there isn't."""
        known = [entry.name for entry in fields(cls)]
        for name in named:
            if name not in known:
                nearest = get_close_matches(name, known, n=1)
                remedy = f"did you mean {nearest[0]}?" if nearest else "leave it out"
                raise InputError(f"there is no argument {name}; {remedy}")
        return super().__new__(cls)

    def __post_init__(self) -> None:
        self.translate_other_spellings()
        self.require_numbers()
        self.require_choices()
        self.require_what_goes_together()

    def translate_other_spellings(self) -> None:
        """Understand the names of the fourth version, and settle what follows from other arguments."""
        self.output_dir = str(self.output_dir)
        if isinstance(self.resume_from_checkpoint, Path):
            self.resume_from_checkpoint = str(self.resume_from_checkpoint)
        for old, new in OLD_NAMES.items():
            if getattr(self, old) is not None:
                setattr(self, new, getattr(self, old))
                setattr(self, old, None)
        for name in ("per_device_train_batch_size", "per_device_eval_batch_size"):
            if getattr(self, name) is None:
                setattr(self, name, self.max_tokens or USUAL_BATCH_SIZE)  # an example has a token at least
        if self.group_by_length:
            self.train_sampling_strategy = "group_by_length"
        if self.eval_steps is None:
            self.eval_steps = self.logging_steps
        if self.metric_for_best_model is None and (self.load_best_model_at_end or self.save_strategy == "best"):
            self.metric_for_best_model = "loss"
        self.lr_scheduler_type = getattr(self.lr_scheduler_type, "value", self.lr_scheduler_type)
        self.lr_scheduler_kwargs = dict(self.lr_scheduler_kwargs or {})

    def require_numbers(self) -> None:
        """Refuse numbers out of their range."""
        for name in (*COUNTS, *NOT_NEGATIVE, *INTERVALS, *SHARES, *OTHER_NUMBERS):
            require_number(name, getattr(self, name))
        for name in NOT_NEGATIVE:
            require_not_negative(name, getattr(self, name) or 0)
        for name in SHARES:
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name}={getattr(self, name)} must be at least 0 and below 1")
        for name in COUNTS:
            require_positive(name, getattr(self, name))
        for name in INTERVALS:
            require_interval(name, getattr(self, name))
        for name in ("max_tokens", "save_total_limit", "ddp_bucket_cap_mb"):
            if getattr(self, name) is not None:
                require_positive(name, getattr(self, name))
        if self.max_steps < 1 and not 0 < self.num_train_epochs < math.inf:
            raise InputError(f"num_train_epochs={self.num_train_epochs} must be positive, or give max_steps")

    def require_choices(self) -> None:
        """Refuse words that are none of those there are."""
        rate_share(self.lr_scheduler_type, 0, 0, 1, self.learning_rate, **self.lr_scheduler_kwargs)  # refuses others
        require_one_of("save_strategy", self.save_strategy, SAVE_STRATEGIES)
        require_one_of("train_sampling_strategy", self.train_sampling_strategy, SAMPLING)
        for name in ("eval_strategy", "logging_strategy"):
            require_one_of(name, getattr(self, name), STRATEGIES)
        for reporter in self.reporters:
            require_one_of("report_to", reporter, REPORTERS)
        if self.bf16 not in (False, True, "auto"):
            raise InputError(f"bf16={self.bf16!r} is not one of (False, True, 'auto')")
        if self.fsdp not in (False, True, "", "full_shard"):
            raise InputError(f"fsdp={self.fsdp!r} is not one of (False, True, 'full_shard')")

    def require_what_goes_together(self) -> None:
        """Refuse combinations that cannot work, with the reason."""
        if self.max_tokens is not None and self.dataloader_drop_last:
            raise InputError(
                f"dataloader_drop_last=True and max_tokens={self.max_tokens} exclude each other: no batch has a size "
                "that it could fall short of; leave dataloader_drop_last out"
            )
        if self.fp16 and self.bf16:
            raise InputError("fp16=True and bf16=True exclude each other; choose bf16, which needs no scaling")
        if self.fp16 and (self.use_cpu or not torch.cuda.is_available()):
            raise InputError("fp16=True needs a GPU, and there is none to use; choose bf16=True, which works on CPUs")
        if self.fp16 and self.fsdp:
            raise InputError("fp16=True and fsdp exclude each other here; choose bf16, which needs no scaling")
        needs_evaluation = "load_best_model_at_end=True" if self.load_best_model_at_end else "save_strategy='best'"
        if (self.load_best_model_at_end or self.save_strategy == "best") and self.eval_strategy == "no":
            raise InputError(
                f"{needs_evaluation} needs evaluations to choose by; give eval_strategy='steps' or 'epoch'"
            )
        if not self.load_best_model_at_end or self.save_strategy == "best":
            return
        if self.save_strategy != self.eval_strategy:
            raise InputError(
                f"load_best_model_at_end=True needs a checkpoint of what was evaluated, but save_strategy="
                f"{self.save_strategy!r} and eval_strategy={self.eval_strategy!r} differ; make them equal, or give "
                "save_strategy='best'"
            )
        if self.save_strategy == "steps" and not is_multiple(self.save_steps, self.eval_steps or 1):
            raise InputError(
                f"load_best_model_at_end=True needs a checkpoint of what was evaluated, but save_steps="
                f"{self.save_steps} is no multiple of eval_steps={self.eval_steps}"
            )

    @property
    def examples_per_update(self) -> int:
        """How many examples an update of one process learns from, at most.

        >>> TrainingArguments("runs/first", gradient_accumulation_steps=2).examples_per_update
        16
        """
        return self.per_device_train_batch_size * self.gradient_accumulation_steps

    @property
    def reporters(self) -> tuple[str, ...]:
        """Who is reported to, one by one."""
        if self.report_to is None:
            return ()
        return (self.report_to,) if isinstance(self.report_to, str) else tuple(self.report_to)

    @property
    def seed_of_data(self) -> int:
        """The seed of all that has to do with data."""
        return self.seed if self.data_seed is None else self.data_seed

    def warmup(self, total_steps: int) -> int:
        """How many updates the rate rises.

        >>> TrainingArguments("runs/first", warmup_ratio=0.1).warmup(total_steps=25)
        3
        """
        if self.warmup_steps >= 1:
            return int(self.warmup_steps)
        return math.ceil(total_steps * (self.warmup_steps or self.warmup_ratio))

    def share_of_rate(self, step: int, total_steps: int) -> float:
        """The share of the peak rate at the update that follows `step` earlier ones."""
        warmup, peak = self.warmup(total_steps), self.learning_rate
        return rate_share(self.lr_scheduler_type, step, warmup, total_steps, peak, **self.lr_scheduler_kwargs)

    def rate_at(self, step: int, total_steps: int) -> float:
        """The learning rate of the update that follows `step` earlier ones.

        >>> TrainingArguments("runs/first", learning_rate=0.5).rate_at(step=5, total_steps=10)
        0.25
        """
        return self.learning_rate * self.share_of_rate(step, total_steps)

    def is_better(self, value: Number, best: Number) -> bool:
        """Whether a metric beats the best so far.

        >>> TrainingArguments("runs/first", metric_for_best_model="loss").is_better(0.5, 0.7)
        True
        """
        greater_is_better = self.greater_is_better
        if greater_is_better is None:
            greater_is_better = not str(self.metric_for_best_model).endswith("loss")
        return value > best if greater_is_better else value < best

    def to_dict(self) -> dict[str, Any]:
        """All arguments by name."""
        return asdict(self)


def interval(value: Number, total_steps: int) -> int:
    """A number of updates; below 1 it is a share of them all.

    >>> interval(50, total_steps=1000), interval(0.1, total_steps=25)
    (50, 3)
    """
    return int(value) if value >= 1 else math.ceil(value * total_steps)


def is_multiple(value: Number, of: Number) -> bool:
    """Whether one interval is a multiple of another.

    >>> is_multiple(100, 50), is_multiple(0.4, 0.2), is_multiple(100, 0.5)
    (True, True, False)
    """
    if (value < 1) != (of < 1):
        return False
    return math.isclose(value / of, round(value / of)) and round(value / of) >= 1


def require_number(name: str, value: Any) -> None:
    """Refuse what is no number; None stands for one that is not given.

    >>> require_number("learning_rate", "1e-4")
    Traceback (most recent call last):
        ...
    minitransformer.errors.InputError: learning_rate='1e-4' must be a number
    """
    if value is not None and not isinstance(value, Real):
        raise InputError(f"{name}={value!r} must be a number")


def require_not_negative(name: str, value: Number) -> None:
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


def require_interval(name: str, value: Number) -> None:
    """Refuse what is neither a number of updates nor a share of them.

    >>> require_interval("eval_steps", 2.5)
    Traceback (most recent call last):
        ...
    minitransformer.errors.InputError: eval_steps=2.5 must be a whole number of updates, or a share of them below 1
    """
    if not value > 0 or (value >= 1 and value != int(value)):
        raise InputError(f"{name}={value} must be a whole number of updates, or a share of them below 1")


def require_one_of(name: str, value: Any, choices: Sequence[str]) -> None:
    """Refuse a word that is none of the choices.

    >>> require_one_of("save_strategy", "never", ("no", "steps"))
    Traceback (most recent call last):
        ...
    minitransformer.errors.InputError: save_strategy='never' is not one of ('no', 'steps')
    """
    if value not in choices:
        raise InputError(f"{name}={value!r} is not one of {tuple(choices)}")
