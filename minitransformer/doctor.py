"""A ladder of checks on a model whose training doesn't work: the lowest rung that breaks is where to look first."""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from functools import wraps
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from minitransformer.batches import Batch, Example, MaskedLanguageCollator, PaddingCollator, assemble_pair
from minitransformer.errors import InputError
from minitransformer.laws.tolerances import LAYER, eps_of
from minitransformer.losses import IGNORED
from minitransformer.models.bert import BertForPreTraining, BertForSequenceClassification, BertPreTrainedModel
from minitransformer.optimizer import AdamW
from minitransformer.pretrained import PretrainedModel
from minitransformer.tokenizer import Tokenizer

Logits = tuple[Tensor, ...]
Adapter = Callable[[nn.Module, Batch], tuple[Tensor | None, Tensor | Logits]]

MARKS = {True: "✓", False: "✗", None: "–"}
LABELS = ("labels", "next_sentence_label")
NEAR = 0.5
"""How many nats a first loss may lie from that of a guess: the scores of an untrained head are not quite equal."""
RATES = (1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
SWEEP_STEPS = 8
HIDDEN = 2
"""How many columns are turned into padding, to see whether they can still be seen."""

SENTENCES = (
    "The old man went down to the sea and looked for his boat.",
    "It was gone.",
    "She put the bread on the table, and the children ate it.",
    "In winter the days are short and the nights are long.",
    "Nobody knew who had opened the door.",
    "They walked through the town until the rain stopped.",
)
MOST_SENTENCES = 8
MOST_TOKENS = 32


# What is found


@dataclass(frozen=True)
class Check:
    """One rung: whether it holds (None where that can't be told), what was found, what a failure usually means."""

    name: str
    passed: bool | None
    found: str
    means: str

    def __str__(self) -> str:
        line = f"{MARKS[self.passed]} {self.name}: {self.found}"
        return f"{line}\n    Usually: {self.means}" if self.passed is False else line


@dataclass(frozen=True)
class Diagnosis:
    """What came of all checks; printed it is plain text, and `to_json()` is for programs.

    `sweep` has the losses of a few steps at each learning rate, for a picture.
    """

    checks: Sequence[Check]
    sweep: Mapping[float, Sequence[float]]

    @property
    def failures(self) -> list[Check]:
        """The checks that failed, the one to look at first in front."""
        return [check for check in self.checks if check.passed is False]

    @property
    def passed(self) -> bool:
        """Whether no check failed, and at least one could be judged."""
        return not self.failures and any(check.passed for check in self.checks)

    def __str__(self) -> str:
        lines = [str(check) for check in self.checks]
        if self.failures:
            lines += ["", f"Begin with the first ✗, {self.failures[0].name}: those below it often follow from it."]
        return "\n".join(lines)

    def to_json(self) -> str:
        """Everything; a loss that is no number becomes null."""
        sweep = [
            {"rate": rate, "losses": [loss if math.isfinite(loss) else None for loss in losses]}
            for rate, losses in self.sweep.items()
        ]
        entries = {"passed": self.passed, "checks": [asdict(check) for check in self.checks], "sweep": sweep}
        return json.dumps(entries, ensure_ascii=False, indent=2)


class NotJudgedError(Exception):
    """A check cannot tell anything here, and the reason."""


# Who is examined


@dataclass
class Patient:
    """A model, and what to ask it; every check works on a copy of its own."""

    model: nn.Module
    batch: Batch
    adapter: Adapter
    vocab_size: int | None
    causal: bool
    trained: bool
    steps: int
    sweep: dict[float, list[float]] = field(default_factory=dict)

    @property
    def n_examples(self) -> int:
        """The rows of the batch."""
        return len(self.batch["input_ids"])

    @property
    def length(self) -> int:
        """The columns of the batch."""
        return self.batch["input_ids"].shape[1]

    def copy(self) -> nn.Module:
        """The model once more, evaluating: dropout has no say in what is checked."""
        return deepcopy(self.model).eval()

    def loss(self, model: nn.Module) -> Tensor:
        """The loss of the batch."""
        loss, _ = self.adapter(model, self.batch)
        if loss is None:
            raise NotJudgedError("the model gives no loss; give it labels")
        return loss

    def finite_loss(self, model: nn.Module) -> Tensor:
        """The loss, for a check that makes no sense without a number."""
        loss = self.loss(model)
        if not loss.isfinite():
            raise NotJudgedError("the loss is not finite")
        return loss

    @torch.no_grad()
    def logits(self, model: nn.Module, batch: Batch) -> Logits:
        """What the model answers to a batch, without being told the right answers."""
        _, logits = self.adapter(model, {name: value for name, value in batch.items() if name not in LABELS})
        if not len(logits):
            raise NotJudgedError("the model gives no logits")
        return (logits,) if isinstance(logits, Tensor) else tuple(logits)

    def steady_logits(self, model: nn.Module, batch: Batch) -> Logits:
        """The logits, for a check that compares them with others: they must be comparable with themselves."""
        first, second = self.logits(model, batch), self.logits(model, batch)
        if not all(logits.isfinite().all() for logits in first):
            raise NotJudgedError("the logits are not finite")
        if all((logits == logits.flatten()[0]).all() for logits in first):
            raise NotJudgedError("all logits are equal, so nothing can be seen in them; is the last layer zero?")
        if largest_change(first, second) > 0:
            raise NotJudgedError("two calls on the same batch differ, so nothing can be compared")
        return first


def read_output(model: nn.Module, batch: Batch) -> tuple[Tensor | None, Logits]:
    """The loss and the logits of a model that takes the batch as keyword arguments and names its results."""
    output = model(**batch)
    if not hasattr(output, "items") and not hasattr(output, "__dict__"):
        raise InputError(f"the model returns a {type(output).__name__}, not results by name; give examine an adapter")
    named = dict(output.items() if hasattr(output, "items") else vars(output))
    logits = tuple(value for name, value in named.items() if name.endswith("logits") and value is not None)
    return named.get("loss"), logits


def examine(
    model: nn.Module,
    batch: Batch,
    vocab_size: int | None = None,
    causal: bool = False,
    seed: int = 0,
    *,
    adapter: Adapter = read_output,
    trained: bool = False,
    steps: int = 60,
) -> Diagnosis:
    """Check a model from the simplest up; nothing stops the examination, and the model stays as it is.

    The batch goes to the model as keyword arguments, with labels where the loss is wanted and without them where only
    logits are, and the model gives its results by name: `loss`, and what ends in `logits`. An `adapter` from (model,
    batch) to (loss, logits) fits any other. `vocab_size` is the number of classes of the loss, else the last axis of
    the first logits tells it. With `causal` later tokens must not change earlier logits. Of a model that is `trained`,
    the first loss is told and not judged. `steps` is how long it may take to learn one batch by heart.

    Raises: InputError for a batch without input_ids of two axes, and fewer than one step.
    """
    if "input_ids" not in batch or batch["input_ids"].dim() != 2 or not batch["input_ids"].numel():
        raise InputError(f"the batch holds {sorted(batch)}, and needs input_ids with the axes (examples, positions)")
    if steps < 1:
        raise InputError(f"steps={steps} must be at least 1; a healthy small model needs about 60")
    patient = Patient(model, batch, adapter, vocab_size, causal, trained, steps)
    checks = []
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        for check in LADDER:
            torch.manual_seed(seed)
            checks.append(check(patient))
    return Diagnosis(checks, patient.sweep)


Look = Callable[[Patient], tuple[bool | None, str]]


def rung(name: str, means: str) -> Callable[[Look], Callable[[Patient], Check]]:
    """Name what a function looks at, and what a failure means; whatever the model raises is a failure too."""

    def decorate(look: Look) -> Callable[[Patient], Check]:
        @wraps(look)
        def check(patient: Patient) -> Check:
            try:
                return Check(name, *look(patient), means)
            except NotJudgedError as reason:
                return Check(name, None, f"not judged: {reason}", means)
            except Exception as error:
                message = (str(error).strip() or "without a word").split("\n")[0]
                return Check(name, False, f"it raised {type(error).__name__}: {message}", means)

        return check

    return decorate


# The loss


@rung(
    "finite loss",
    "a division by zero, the logarithm of zero, a row in which nothing may be attended to, or no label that counts.",
)
def finite_loss(patient: Patient) -> tuple[bool, str]:
    """The loss is a number."""
    loss = patient.loss(patient.copy())
    if loss.dim():
        return False, f"the loss has shape {tuple(loss.shape)}, and must be one number"
    return bool(loss.isfinite()), f"{loss:.4g}"


@rung(
    "first loss",
    "the initialisation is too wide (an embedding drawn from N(0, 1) is, where it is tied to the output), the loss is "
    "a sum and not a mean, its sign is wrong, or the labels belong to another vocabulary.",
)
def first_loss(patient: Patient) -> tuple[bool | None, str]:
    """Before training no class is likelier than another, which costs ln V."""
    model = patient.copy()
    loss = patient.finite_loss(model).item()
    guess, formula = loss_of_a_guess(patient, model)
    told = f"{loss:.3f}, where a guess has {formula} = {guess:.3f}"
    if loss < 0:
        return False, f"{told}; no cross-entropy is negative"
    if patient.trained:
        return None, f"{told}; not judged: a trained model is below it on texts of its kind, and may be above on others"
    if loss < guess - NEAR:
        return None, f"{told}; a trained model may be below it, but an untrained one sees the answer"
    return loss <= guess + NEAR, told


def loss_of_a_guess(patient: Patient, model: nn.Module) -> tuple[float, str]:
    """What the loss of equally likely classes is, and its formula."""
    labels = patient.batch.get("labels")
    if labels is not None and labels.is_floating_point():
        raise NotJudgedError("the labels are not classes, so there is no ln V to compare with")
    n_classes = patient.vocab_size or patient.logits(model, patient.batch)[0].shape[-1]
    if n_classes < 2:
        raise NotJudgedError("there is one class, so there is no ln V to compare with")
    if "next_sentence_label" in patient.batch and labels is not None:
        return math.log(n_classes) + math.log(2), f"ln {n_classes} + ln 2"
    return math.log(n_classes), f"ln {n_classes}"


@rung(
    "gradient",
    "a layer that was built and never called, a detach() or .item() on the way, a list where nn.ModuleList was meant, "
    "or a part that is multiplied by zero.",
)
def gradient(patient: Patient) -> tuple[bool, str]:
    """Every parameter takes part in the loss.

    The gradient is taken twice, with a step in between: what begins behind a zero may wait for one step.
    """
    model = patient.copy()
    learned = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    if not learned:
        return False, "no parameter asks for a gradient"
    optimizer = AdamW(learned.values())
    reached: set[str] = set()
    for _ in range(2):
        optimizer.zero_grad()
        loss = patient.finite_loss(model)
        if not loss.requires_grad:
            return False, f"it reaches none of {len(learned)} parameters: the loss is cut off from them"
        loss.backward()  # type: ignore[no-untyped-call]
        gradients = {name: parameter.grad for name, parameter in learned.items() if parameter.grad is not None}
        broken = [name for name, value in gradients.items() if not value.isfinite().all()]
        if broken:
            return False, f"it is not finite at {listed(broken)}"
        reached |= {name for name, value in gradients.items() if value.any()}
        optimizer.step()
    missed = [name for name in learned if name not in reached]
    if missed:
        return False, f"it does not reach {listed(missed)}"
    return True, f"it reaches all {len(learned)} parameters"


def listed(names: Sequence[str], most: int = 5) -> str:
    """Some names in one line.

    >>> listed(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


# The logits


@rung(
    "evaluation",
    "dropout that stays on: F.dropout without training=self.training, or a module kept where eval() does not reach it.",
)
def evaluation(patient: Patient) -> tuple[bool, str]:
    """While evaluating, nothing is left to chance."""
    model = patient.copy()
    first, second = patient.logits(model, patient.batch), patient.logits(model, patient.batch)
    if not all(logits.isfinite().all() for logits in first):
        raise NotJudgedError("the logits are not finite")
    change = largest_change(first, second)
    return change == 0, "two calls agree" if change == 0 else f"two calls differ by {change:.2g}"


@rung(
    "padding",
    "the attention mask is not passed on to every block, means the opposite there, masks queries where it should mask "
    "keys, or a mean over positions counts padding.",
)
def padding_is_invisible(patient: Patient) -> tuple[bool, str]:
    """What stands at padding, and whether there is any, changes nothing at real positions.

    The last columns are turned into padding and not added, so that no position beyond the model's is needed.
    """
    if "attention_mask" not in patient.batch:
        raise NotJudgedError("the batch holds no attention_mask")
    kept = patient.length - HIDDEN
    if kept < 1:
        raise NotJudgedError(f"the batch has {patient.length} positions, and {HIDDEN + 1} are needed")
    is_real = patient.batch["attention_mask"][:, :kept] > 0
    if not is_real.any(dim=1).all():
        raise NotJudgedError("a row of the batch has no token before its last positions")
    model = patient.copy()
    padded = {name: value.clone() for name, value in patient.batch.items()}
    padded["attention_mask"][:, kept:] = 0
    refilled = {**padded, "input_ids": padded["input_ids"].clone()}
    refilled["input_ids"][:, kept:] = other_ids(padded["input_ids"])[:, kept:]
    wanted = patient.steady_logits(model, padded)
    real = at_positions(wanted, is_real, patient.length)
    by_ids = largest_change(real, at_positions(patient.logits(model, refilled), is_real, patient.length))
    shortened = patient.logits(model, columns(padded, slice(kept)))
    by_length = largest_change(real, at_positions(shortened, is_real, kept))
    if not by_ids <= tolerance(wanted):
        return False, f"other ids at padding move the logits of real positions by {by_ids:.2g}"
    if not by_length <= tolerance(wanted):
        return False, f"more padding moves the logits of real positions by {by_length:.2g}"
    return True, f"no real position sees it (changes below {tolerance(wanted):.1g})"


@rung(
    "later tokens",
    "no causal mask, one that is shifted by a position or transposed, or labels that were shifted once too often.",
)
def later_tokens(patient: Patient) -> tuple[bool, str]:
    """In a causal model, the tokens of the second half do not change the logits of the first."""
    if not patient.causal:
        raise NotJudgedError("the model is not said to be causal")
    middle = patient.length // 2
    if middle < 1:
        raise NotJudgedError("the batch has one position")
    model = patient.copy()
    batch = dict(patient.batch)
    if "attention_mask" in batch:
        batch["attention_mask"] = torch.ones_like(batch["attention_mask"])  # what is hidden could not be seen anyway
    changed = {**batch, "input_ids": batch["input_ids"].clone()}
    changed["input_ids"][:, middle:] = other_ids(batch["input_ids"])[:, middle:]
    wanted, found = patient.steady_logits(model, batch), patient.logits(model, changed)
    if not all(has_positions(logits, patient.length) for logits in wanted):
        raise NotJudgedError("the model has no logits of single positions")
    is_earlier = torch.ones_like(batch["input_ids"][:, :middle], dtype=torch.bool)
    change = largest_change(*(at_positions(logits, is_earlier, patient.length) for logits in (wanted, found)))
    if not change <= tolerance(wanted):
        return False, f"tokens from position {middle} on move earlier logits by {change:.2g}"
    return True, "they do not change earlier logits"


@rung(
    "order of the batch",
    "a view or reshape that mixes the axes where a transpose was meant, something that is added along the batch, or a "
    "state that is carried from row to row.",
)
def order_of_the_batch(patient: Patient) -> tuple[bool, str]:
    """The rows turned around, the logits come turned around."""
    if patient.n_examples < 2:
        raise NotJudgedError("the batch has one example")
    model = patient.copy()
    wanted = patient.steady_logits(model, patient.batch)
    found = patient.logits(model, rows(patient.batch, torch.arange(patient.n_examples).flip(0)))
    change = largest_change(wanted, tuple(logits.flip(0) for logits in found))
    if not change <= tolerance(wanted):
        return False, f"the rows turned around, their logits change by {change:.2g}"
    return True, "the logits move with their rows"


@rung(
    "size of the batch",
    "a mean, norm or softmax over the axis of the examples, BatchNorm that uses the batch's own statistics, or a "
    "squeeze() that loses an axis of size 1.",
)
def size_of_the_batch(patient: Patient) -> tuple[bool, str]:
    """An example alone gets the logits that it gets in company."""
    if patient.n_examples < 2:
        raise NotJudgedError("the batch has one example")
    model = patient.copy()
    wanted = patient.steady_logits(model, patient.batch)
    alone = patient.logits(model, rows(patient.batch, torch.tensor([0])))
    change = largest_change(tuple(logits[:1] for logits in wanted), alone)
    if not change <= tolerance(wanted):
        return False, f"the first example alone gets logits that differ by {change:.2g}"
    return True, "an example alone gets its row"


def largest_change(first: Logits, second: Logits) -> float:
    """How far two answers are apart; not at all alike if their shapes differ."""
    if [logits.shape for logits in first] != [logits.shape for logits in second]:
        return math.inf
    pairs = zip(first, second, strict=True)
    return max((float((one - other).abs().max()) for one, other in pairs if one.numel()), default=0.0)


def tolerance(wanted: Logits) -> float:
    """How far rounding alone may move the logits."""
    return max(LAYER * eps_of(logits) * float(logits.abs().max()) for logits in wanted)


def has_positions(logits: Tensor, length: int) -> bool:
    """Whether there are logits for each position, and not for a whole sequence only."""
    return logits.dim() >= 2 and logits.shape[1] == length


def at_positions(answer: Logits, chosen: Tensor, length: int) -> Logits:
    """The logits of some of the first positions of a batch of that length; those of whole sequences as they are."""
    n_first = chosen.shape[1]
    return tuple(logits[:, :n_first][chosen] if has_positions(logits, length) else logits for logits in answer)


def other_ids(ids: Tensor) -> Tensor:
    """Each id replaced by another one of the batch, which the model therefore knows.

    >>> other_ids(torch.tensor([[5, 6, 9]])).tolist()
    [[9, 5, 5]]
    """
    lowest, highest = ids.min(), ids.max()
    if lowest == highest:
        raise NotJudgedError("all ids of the batch are the same")
    return torch.where(ids == lowest, highest, lowest)


def rows(batch: Batch, numbers: Tensor) -> Batch:
    """Some examples of a batch; what is the same for all of them stays."""
    n_examples = len(batch["input_ids"])
    return {
        name: value[numbers.to(value.device)] if value.dim() and len(value) == n_examples else value
        for name, value in batch.items()
    }


def columns(batch: Batch, kept: slice) -> Batch:
    """Some positions of a batch; what has no positions stays."""
    length = batch["input_ids"].shape[1]
    return {
        name: value[:, kept] if value.dim() > 1 and value.shape[1] == length else value for name, value in batch.items()
    }


# Saving


@rung(
    "saving",
    "parameters are tied by sharing .data or by a copy, where one nn.Parameter should have two names, or are tied in "
    "the constructor alone and loaded by replacing them.",
)
def saving(patient: Patient) -> tuple[bool, str]:
    """What is saved comes back as it was, and tied parameters stay tied."""
    model = patient.model
    loaded = saved_and_loaded(model)
    before, after = tensors_of(model), tensors_of(loaded)
    changed = [name for name, value in before.items() if name not in after or not torch.equal(value, after[name])]
    if changed:
        return False, f"{listed(changed)} did not come back"
    tied = groups_of_tied(model)
    untied = [group for group in tied if group not in groups_of_tied(loaded)]
    if untied:
        return False, f"{' and '.join(untied[0])} are tied before, and no longer after"
    stay = f"{', '.join(' = '.join(group) for group in tied)} stay tied" if tied else "no parameter is tied"
    return True, f"all parameters come back; {stay}"


def saved_and_loaded(model: nn.Module) -> nn.Module:
    """The model after a round trip: through a folder if it knows how, else through a copy of its state."""
    if isinstance(model, PretrainedModel):
        with TemporaryDirectory() as folder:
            model.save_pretrained(folder)
            return type(model).from_pretrained(folder)
    loaded = deepcopy(model)
    loaded.load_state_dict({name: value.clone() for name, value in model.state_dict().items()})
    return loaded


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """The tensors of a model's state, on the CPU."""
    return {name: value.cpu() for name, value in model.state_dict().items() if isinstance(value, Tensor)}


def groups_of_tied(model: nn.Module) -> list[tuple[str, ...]]:
    """The names of parameters that lie at the same place in memory."""
    names_at: dict[tuple[int, torch.Size], list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if parameter.numel():
            names_at.setdefault((parameter.data_ptr(), parameter.shape), []).append(name)
    return [tuple(names) for names in names_at.values() if len(names) > 1]


# Training


@rung(
    "learning rates",
    "the gradient has the wrong sign, the targets change from call to call, or the loss does not depend on what the "
    "model answers.",
)
def learning_rates(patient: Patient) -> tuple[bool, str]:
    """At some rate the loss falls within a few steps."""
    for rate in RATES:
        patient.sweep[rate] = train(patient, rate, SWEEP_STEPS)
    falling = falling_rates(patient)
    if not falling:
        return False, f"at no rate from {RATES[0]:g} to {RATES[-1]:g} does the loss fall in {SWEEP_STEPS} steps"
    best = falling[0]
    first, last = patient.sweep[best][0], patient.sweep[best][-1]
    return True, (
        f"the loss falls up to a rate of {max(falling):g}, and fastest at {best:g}: "
        f"from {first:.3f} to {last:.3f} in {SWEEP_STEPS} steps"
    )


@rung(
    "one batch by heart",
    "softmax before a cross-entropy that has its own, labels that do not belong to their positions, examples that "
    "contradict each other, a model too small, or too few steps.",
)
def one_batch_by_heart(patient: Patient) -> tuple[bool, str]:
    """The model learns one batch by heart: its loss falls below a tenth, or below 0.1."""
    falling = falling_rates(patient)
    if not falling:
        raise NotJudgedError("no learning rate makes the loss fall")
    enough = max(0.1, patient.sweep[falling[0]][0] / 10)
    # The rate that is fastest for a few steps can be too fast for many.
    for rate in (falling[0], falling[0] / 3):
        losses = train(patient, rate, patient.steps, enough)
        if losses[-1] < enough:
            return True, f"from {losses[0]:.3f} to {losses[-1]:.3f} in {len(losses) - 1} steps at a rate of {rate:.2g}"
    return False, f"from {losses[0]:.3f} to {losses[-1]:.3f} in {len(losses) - 1} steps, and not below {enough:.3f}"


def falling_rates(patient: Patient) -> list[float]:
    """The rates of the sweep at which the loss ended lower than it began, the lowest end first."""
    falling = [rate for rate, losses in patient.sweep.items() if losses[-1] < losses[0]]
    return sorted(falling, key=lambda rate: patient.sweep[rate][-1])


def train(patient: Patient, rate: float, steps: int, enough: float = -math.inf) -> list[float]:
    """The loss of the one batch before each step and after the last; it ends early below `enough` and at no number."""
    model = patient.copy()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not parameters or not patient.finite_loss(model).requires_grad:
        raise NotJudgedError("there is no gradient to follow")
    optimizer = AdamW(parameters, lr=rate, weight_decay=0.0)
    losses = []
    for step in range(steps + 1):
        loss = patient.loss(model)
        losses.append(loss.item())
        if step == steps or losses[-1] < enough or not math.isfinite(losses[-1]):
            break
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return losses


LADDER: tuple[Callable[[Patient], Check], ...] = (
    finite_loss,
    first_loss,
    gradient,
    evaluation,
    padding_is_invisible,
    later_tokens,
    order_of_the_batch,
    size_of_the_batch,
    saving,
    learning_rates,
    one_batch_by_heart,
)


# A batch for a kept model


def sentences_of(text: str) -> list[str]:
    """The sentences of a text, or of the file of that name.

    Raises: InputError if there is none.

    >>> sentences_of("It rains. Who is there? Nobody")
    ['It rains.', 'Who is there?', 'Nobody']
    """
    content = read_if_file(text)
    sentences = [part.strip() for part in re.split(r"(?<=[.!?])\s+|\n", content) if part.strip()]
    if not sentences:
        raise InputError(f"text={text!r} holds no sentence; give a text, or a file of one")
    return sentences


def read_if_file(text: str) -> str:
    """What the file of that name holds; the text itself if there is none."""
    try:
        return Path(text).read_text(encoding="utf-8") if Path(text).is_file() else text
    except UnicodeDecodeError as error:
        raise InputError(f"{text} is not UTF-8 text ({error.reason}); save it as UTF-8") from error
    except OSError:  # a text too long to be a name
        return text


def batch_for(
    model: BertPreTrainedModel, tokenizer: Tokenizer, sentences: Sequence[str] = SENTENCES, seed: int = 0
) -> Batch:
    """A small batch with labels, as the model's own training has them.

    Raises: InputError if no word of the sentences can be asked for.
    """
    ids = [row for row in tokenizer.encode_sentences(list(sentences[:MOST_SENTENCES])) if row]
    length = min(MOST_TOKENS, model.config.max_position_embeddings)
    examples = [example_for(model, tokenizer, ids, number, length) for number in range(len(ids))]
    if isinstance(model, BertForSequenceClassification):
        labels = torch.stack([some_label(model, number) for number in range(len(ids))])
        return {**PaddingCollator(tokenizer)(examples), "labels": labels}
    batch = MaskedLanguageCollator(tokenizer, generator=torch.Generator().manual_seed(seed))(examples)
    if (batch["labels"] == IGNORED).all():
        raise InputError("the model's vocabulary knows no word of the text; give --text with words that it knows")
    return batch


def example_for(
    model: BertPreTrainedModel, tokenizer: Tokenizer, ids: Sequence[Sequence[int]], number: int, length: int
) -> Example:
    """A sentence, or for a model of pairs two of them, which follow each other in every other example."""
    edges = (tokenizer.cls_token_id, tokenizer.sep_token_id)
    if isinstance(model, BertForPreTraining):
        room, is_random = (length - 3) // 2, number % 2
        second = ids[(number + 1 + is_random) % len(ids)]
        pair, segments = assemble_pair(ids[number][:room], second[:room], *edges)
        example = {"input_ids": torch.from_numpy(pair), "token_type_ids": torch.from_numpy(segments)}
        return {**example, "next_sentence_label": torch.tensor(is_random)}
    row = torch.tensor([edges[0], *ids[number][: length - 2], edges[1]])
    return {"input_ids": row, "token_type_ids": torch.zeros_like(row)}


def some_label(model: BertForSequenceClassification, number: int) -> Tensor:
    """A label of the kind that the task has; which one means nothing, for the batch is only learned by heart."""
    n_labels: int = model.config.num_labels
    if model.config.problem_type == "multi_label_classification":
        return (torch.arange(n_labels) == number % n_labels).float()
    if n_labels == 1 or model.config.problem_type == "regression":
        return torch.full((n_labels,), float(number % 2))
    return torch.tensor(number % n_labels)


def examine_kept(
    model: BertPreTrainedModel, tokenizer: Tokenizer, sentences: Sequence[str] = SENTENCES, steps: int = 60
) -> Diagnosis:
    """Examine one of our models on sentences; its first loss is only told, for it may have learned from others."""
    return examine(model, batch_for(model, tokenizer, sentences), trained=True, steps=steps)
