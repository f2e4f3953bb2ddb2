"""Mutants of accumulation and of whole training runs.

A run is a loop with one part exchanged: how batches are chosen, what an update does, what an evaluation leaves behind,
or what a checkpoint brings back. The part is what one reads; `Loop` is built around it.
"""

# ruff: noqa: ARG001 - an argument that is never used is a classic mistake

import copy
import inspect
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from minitransformer.laws.modules import Parameters
from minitransformer.laws.training_functions import Examples, SmallNetwork, TrainingRun, training_run
from minitransformer.laws.zoo.mutant import mutant
from minitransformer.losses import IGNORED
from minitransformer.schedules import linear_warmup

Part = Callable[..., Any]
MicroBatches = Sequence[tuple[Tensor, Tensor]]


def slope(loss: Tensor, weight: Tensor) -> Tensor:
    """The gradient of a loss for a weight; where the loss does not depend on it, zeros."""
    (gradient,) = torch.autograd.grad(loss, weight)
    return gradient


def total(weight: Tensor, inputs: Tensor, labels: Tensor) -> Tensor:
    """The sum of the surprises at the labels that count."""
    return F.cross_entropy(inputs @ weight.T, labels, reduction="sum")


def count(micro_batches: MicroBatches) -> int:
    """How many labels count."""
    return sum(int((labels != IGNORED).sum()) for _, labels in micro_batches)


# Accumulation


@mutant(
    "accumulation",
    symptom="The loss is a little higher than with large batches, the more so the more unequal the texts' lengths are.",
    source="huggingface/transformers#46731",
    difficulty="hard",
)
def mean_of_micro_batch_means(weight: Tensor, micro_batches: MicroBatches) -> Tensor:
    """Each micro-batch has its own mean, and the means are averaged: labels in small company weigh more."""
    weight = weight.clone().requires_grad_()
    losses = [F.cross_entropy(inputs @ weight.T, labels) for inputs, labels in micro_batches]
    return slope(torch.stack(losses).nan_to_num(0.0).sum() / len(losses), weight)


@mutant(
    "accumulation",
    symptom="NaN in the first epoch, at a batch of short texts in which no word was selected.",
    difficulty="medium",
)
def mean_of_nothing(weight: Tensor, micro_batches: MicroBatches) -> Tensor:
    """Each mean is weighted by its share of the labels, but the mean over no label is 0/0, and its share can't help."""
    gradient, n_labels = torch.zeros_like(weight), count(micro_batches)
    weight = weight.clone().requires_grad_()
    for inputs, labels in micro_batches:
        mean = slope(total(weight, inputs, labels), weight) / count([(inputs, labels)])
        gradient += mean * count([(inputs, labels)]) / n_labels
    return gradient


@mutant(
    "accumulation",
    symptom="Accumulating over twice as many batches needs half the learning rate, or every gradient is clipped.",
    difficulty="easy",
)
def sum_of_means(weight: Tensor, micro_batches: MicroBatches) -> Tensor:
    """The means of the micro-batches are added up, and nothing divides by how many they are."""
    gradient = torch.zeros_like(weight)
    weight = weight.clone().requires_grad_()
    for inputs, labels in micro_batches:
        gradient += slope(total(weight, inputs, labels), weight) / max(1, count([(inputs, labels)]))
    return gradient


@mutant("accumulation", symptom="The gradient norm is in the hundreds, and every update is clipped.", difficulty="easy")
def surprises_never_divided(weight: Tensor, micro_batches: MicroBatches) -> Tensor:
    """The surprises of all labels are added up, and never divided by their count."""
    weight = weight.clone().requires_grad_()
    return slope(torch.stack([total(weight, *batch) for batch in micro_batches]).sum(), weight)


@mutant(
    "accumulation",
    symptom="Batches with much padding, or few selected words, teach less than they should.",
    source="dhlee347/pytorchic-bert#24",
    difficulty="medium",
)
def padding_divides_too(weight: Tensor, micro_batches: MicroBatches) -> Tensor:
    """It divides by all positions, those that do not count among them."""
    weight = weight.clone().requires_grad_()
    n_positions = sum(len(labels) for _, labels in micro_batches)
    return slope(torch.stack([total(weight, *batch) for batch in micro_batches]).sum() / n_positions, weight)


@mutant(
    "accumulation",
    symptom="Nearly right, and right for texts of one length; with padding it is a mean of means again.",
    difficulty="hard",
)
def means_weighted_by_positions(weight: Tensor, micro_batches: MicroBatches) -> Tensor:
    """Each mean is weighted by the length of its micro-batch in place of the labels that count in it."""
    gradient, n_positions = torch.zeros_like(weight), sum(len(labels) for _, labels in micro_batches)
    weight = weight.clone().requires_grad_()
    for inputs, labels in micro_batches:
        mean = slope(total(weight, inputs, labels), weight) / max(1, count([(inputs, labels)]))
        gradient += mean * len(labels) / n_positions
    return gradient


@mutant(
    "accumulation",
    symptom="Accumulating changes nothing but the time it takes: the run is the one with small batches, only noisier.",
    difficulty="easy",
)
def gradients_emptied_on_the_way(weight: Tensor, micro_batches: MicroBatches) -> Tensor:
    """Gradients are emptied before each micro-batch, so that those of the last one remain."""
    weight = weight.clone().requires_grad_()
    for inputs, labels in micro_batches:
        weight.grad = None
        (total(weight, inputs, labels) / count(micro_batches)).backward()  # type: ignore[no-untyped-call]
    return weight.grad  # type: ignore[return-value] # there is at least one micro-batch


@mutant(
    "accumulation",
    symptom="Long texts hardly count: what they say is shortened before it is added.",
    difficulty="medium",
)
def each_micro_batch_clipped(weight: Tensor, micro_batches: MicroBatches) -> Tensor:
    """The gradient of each micro-batch is clipped to a norm of 0.1 before it is added to the others."""
    gradient = torch.zeros_like(weight)
    weight = weight.clone().requires_grad_()
    for inputs, labels in micro_batches:
        added = slope(total(weight, inputs, labels) / count(micro_batches), weight)
        gradient += added * 0.1 / added.norm().clamp(min=0.1)
    return gradient


@mutant(
    "accumulation",
    symptom="Large batches do not calm the training: each small one has moved the weights already.",
    difficulty="medium",
)
def weights_move_on_the_way(weight: Tensor, micro_batches: MicroBatches) -> Tensor:
    """The optimizer steps after each micro-batch, so that the next one is computed at other weights."""
    gradient = torch.zeros_like(weight)
    for inputs, labels in micro_batches:
        moved = (weight - 0.1 * gradient).requires_grad_()
        gradient = gradient + slope(total(moved, inputs, labels) / count(micro_batches), moved)
    return gradient


@mutant(
    "accumulation",
    symptom="The loss scale jumps with the length of the first text of each update.",
    difficulty="hard",
)
def divided_by_the_first_count(weight: Tensor, micro_batches: MicroBatches) -> Tensor:
    """The count of labels is that of the first micro-batch, times the number of micro-batches."""
    weight = weight.clone().requires_grad_()
    n_labels = max(1, count(micro_batches[:1])) * len(micro_batches)
    return slope(torch.stack([total(weight, *batch) for batch in micro_batches]).sum() / n_labels, weight)


# A run, from its parts


class Loop:
    """A training run written out, with PyTorch's optimizer and the global generator of random numbers."""

    def __init__(self, parameters: Parameters, examples: Examples, run: TrainingRun) -> None:
        self.examples, self.run, self.step, self.epoch = examples, run, 0, 0
        self.model = SmallNetwork(run.dropout_rate).to(examples.dtype)
        self.model.load_state_dict(parameters)
        self.optimizer = self.build_optimizer()
        self.left: list[int] = []
        self.start_chance()

    def build_optimizer(self) -> torch.optim.Optimizer:
        """The optimizer of all parameters."""
        return torch.optim.AdamW(self.model.parameters(), lr=self.run.lr, weight_decay=0.0)

    def start_chance(self) -> None:
        """Let everything that is drawn follow from the seed."""
        torch.manual_seed(self.run.seed)

    def order(self) -> list[int]:
        """The order of an epoch."""
        return torch.randperm(len(self.examples)).tolist()

    def next_indices(self) -> list[int]:
        """The examples of the next update; an epoch that is over is followed by another one."""
        if not self.left:
            self.left = self.order()
            self.epoch += 1
        size = self.run.batch_size * self.run.accumulation
        chosen, self.left = self.left[:size], self.left[size:]
        return chosen

    def rate(self) -> float:
        """The learning rate of the next update."""
        return self.run.lr * linear_warmup(self.step, self.run.warmup_steps, self.run.n_steps)

    def loss(self, batch: dict[str, Tensor]) -> Tensor:
        """The sum of the surprises in a batch."""
        output = self.model(batch["x"], batch["labels"])
        return output["loss"] * count([(batch["x"], batch["labels"])])  # type: ignore[no-any-return]

    def accumulate(self, batches: list[dict[str, Tensor]]) -> None:
        """Add up the gradients of small batches to that of their common mean."""
        n_labels = count([(batch["x"], batch["labels"]) for batch in batches])
        for batch in batches:
            (self.loss(batch) / n_labels).backward()  # type: ignore[no-untyped-call]

    def clip(self) -> None:
        """Shorten the gradient of the update."""
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.run.max_norm)

    def update(self) -> None:
        """One step of the optimizer."""
        batches = in_batches([self.examples[index] for index in self.next_indices()], self.run.batch_size)
        self.accumulate(batches)
        self.clip()
        self.set_rate()
        self.optimizer.step()
        self.empty_gradients()
        self.step += 1

    def set_rate(self) -> None:
        """Give the optimizer the rate of this update."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate()

    def empty_gradients(self) -> None:
        """Forget the gradient of an update that is over."""
        self.model.zero_grad()

    def evaluate(self) -> None:
        """The loss on all examples, without a trace."""
        self.model.eval()
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            for batch in in_batches(list(self.examples), self.run.batch_size):
                self.loss(batch)
        self.model.train()

    def checkpoint(self) -> dict[str, Any]:
        """Everything that a run goes on from."""
        state = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(), "step": self.step}
        return copy.deepcopy({**state, "epoch": self.epoch, "left": self.left, "chance": torch.get_rng_state()})

    def resume(self, checkpoint: dict[str, Any]) -> None:
        """Go on from there."""
        self.model.load_state_dict(checkpoint["model"])
        self.optimizer.load_state_dict(checkpoint["optimizer"])
        self.step, self.epoch, self.left = checkpoint["step"], checkpoint["epoch"], checkpoint["left"]
        torch.set_rng_state(checkpoint["chance"])


def in_batches(examples: list[dict[str, Tensor]], size: int) -> list[dict[str, Tensor]]:
    """Examples in batches; the last one takes what is left."""
    parts = [examples[first : first + size] for first in range(0, len(examples), size)]
    return [{name: torch.stack([example[name] for example in part]) for name in part[0]} for part in parts]


def trained(loop_class: type[Loop], parameters: Parameters, examples: Examples, run: TrainingRun) -> Parameters:
    """The parameters after a whole run, which may be stopped and resumed on the way."""
    loop, stop_after = loop_class(parameters, examples, run), run.stop_after
    while loop.step < run.n_steps:
        loop.update()
        if run.evaluate_every and loop.step % run.evaluate_every == 0:
            loop.evaluate()
        if loop.step == stop_after:
            checkpoint, stop_after = loop.checkpoint(), None
            loop = loop_class(SmallNetwork().state_dict(), examples, run)
            loop.resume(checkpoint)
    return loop.model.state_dict()


def loop_with(name: str) -> Callable[[Part], Part]:
    """Build a whole run around one part of the loop; it has the name, the docstring and the source of the part."""

    def around(part: Part) -> Part:
        mutated = type("Mutated", (Loop,), {name: part})

        @wraps(part)
        def whole(parameters: Parameters, examples: Examples, run: TrainingRun) -> Parameters:
            return trained(mutated, parameters, examples, run)

        whole.__signature__ = inspect.signature(training_run)  # type: ignore[attr-defined] # else it is the part's
        return whole

    return around


resuming, evaluating, updating = loop_with("resume"), loop_with("evaluate"), loop_with("update")
accumulating, choosing, ordering = loop_with("accumulate"), loop_with("next_indices"), loop_with("order")

# What a checkpoint brings back


@mutant(
    "training-run",
    symptom="After a resume the loss jumps up and takes some hundred steps to come back.",
    difficulty="easy",
)
@resuming
def moments_forgotten(self: Loop, checkpoint: dict[str, Any]) -> None:
    """The optimizer begins anew: its means, and the step that corrects them, are not in the checkpoint."""
    self.model.load_state_dict(checkpoint["model"])
    self.step, self.epoch, self.left = checkpoint["step"], checkpoint["epoch"], checkpoint["left"]
    torch.set_rng_state(checkpoint["chance"])


@mutant(
    "training-run",
    symptom="After a resume the learning rate warms up a second time, and the run ends late.",
    difficulty="easy",
)
@resuming
def schedule_begins_again(self: Loop, checkpoint: dict[str, Any]) -> None:
    """The number of the step is not taken from the checkpoint: schedule and training count from 0 again."""
    self.model.load_state_dict(checkpoint["model"])
    self.optimizer.load_state_dict(checkpoint["optimizer"])
    self.epoch, self.left = checkpoint["epoch"], checkpoint["left"]
    torch.set_rng_state(checkpoint["chance"])


@mutant(
    "training-run",
    symptom="Runs that are stopped often see some examples many times and others never.",
    difficulty="medium",
)
@resuming
def epoch_begins_again(self: Loop, checkpoint: dict[str, Any]) -> None:
    """The place within the epoch is forgotten: the resumed run begins an epoch of its own."""
    self.model.load_state_dict(checkpoint["model"])
    self.optimizer.load_state_dict(checkpoint["optimizer"])
    self.step, self.epoch, self.left = checkpoint["step"], checkpoint["epoch"], []
    torch.set_rng_state(checkpoint["chance"])


@mutant(
    "training-run",
    symptom="Stopped and resumed runs cannot be compared: each is another one, by a hair.",
    difficulty="hard",
)
@resuming
def random_state_forgotten(self: Loop, checkpoint: dict[str, Any]) -> None:
    """The state of the random numbers is not restored: dropout and hiding begin with the seed again."""
    self.model.load_state_dict(checkpoint["model"])
    self.optimizer.load_state_dict(checkpoint["optimizer"])
    self.step, self.epoch, self.left = checkpoint["step"], checkpoint["epoch"], checkpoint["left"]


# What an evaluation leaves behind


@mutant(
    "training-run",
    symptom="From the first evaluation on the training loss is suspiciously low, and overfitting sets in.",
    difficulty="medium",
)
@evaluating
def left_in_evaluation_mode(self: Loop) -> None:
    """The model is set to evaluation and never back: dropout is off from here on."""
    self.model.eval()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        for batch in in_batches(list(self.examples), self.run.batch_size):
            self.loss(batch)


@mutant(
    "training-run",
    symptom="Evaluating twice as often gives another model; a difference that some explain by the data.",
    difficulty="hard",
)
@evaluating
def random_numbers_used_up(self: Loop) -> None:
    """The evaluation draws from the generator that the training draws from."""
    self.model.eval()
    with torch.no_grad():
        for batch in in_batches(list(self.examples), self.run.batch_size):
            self.loss(batch)
    self.model.train()


@mutant(
    "training-run",
    symptom="The update after each evaluation is a large one, and the more so the more data was evaluated.",
    difficulty="medium",
)
@evaluating
def gradients_left_behind(self: Loop) -> None:
    """The evaluation computes gradients, which the next update adds to its own."""
    self.model.eval()
    with torch.random.fork_rng(devices=[]):
        for batch in in_batches(list(self.examples), self.run.batch_size):
            self.loss(batch).backward()  # type: ignore[no-untyped-call]
    self.model.train()


@mutant(
    "training-run",
    symptom="The evaluation loss falls with every evaluation, and no held-out text is held out any more.",
    difficulty="easy",
)
@evaluating
def learns_from_the_evaluation(self: Loop) -> None:
    """The evaluation goes through the same function as the training, optimizer step and all."""
    with torch.random.fork_rng(devices=[]):
        for batch in in_batches(list(self.examples), self.run.batch_size):
            self.accumulate([batch])
            self.optimizer.step()
            self.empty_gradients()


# What an update does


@mutant(
    "training-run",
    symptom="The gradient norm grows with every step, and the training goes on in a direction of long ago.",
    difficulty="easy",
)
@loop_with("empty_gradients")
def gradients_never_emptied(self: Loop) -> None:
    """Nothing empties the gradients, so that those of all earlier updates are added to each."""


@mutant(
    "training-run",
    symptom="Accumulating two batches gives another loss than one batch twice as large, by a little.",
    source="huggingface/transformers#47688",
    difficulty="hard",
)
@accumulating
def mean_of_each_small_batch(self: Loop, batches: list[dict[str, Tensor]]) -> None:
    """Each small batch is divided by its own number of labels, then by the number of batches."""
    for batch in batches:
        mean = self.loss(batch) / count([(batch["x"], batch["labels"])])
        (mean / len(batches)).backward()  # type: ignore[no-untyped-call]


@mutant(
    "training-run",
    symptom="The first small batches of each update weigh less than the last one: they are shortened again and again.",
    difficulty="hard",
)
@accumulating
def clipped_before_all_are_added(self: Loop, batches: list[dict[str, Tensor]]) -> None:
    """The gradient is clipped after each small batch, before the others are added to it."""
    n_labels = count([(batch["x"], batch["labels"]) for batch in batches])
    for batch in batches:
        (self.loss(batch) / n_labels).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.run.max_norm)


@mutant(
    "training-run",
    symptom="The loss rises from the first step on.",
    difficulty="easy",
)
@accumulating
def up_the_slope(self: Loop, batches: list[dict[str, Tensor]]) -> None:
    """What is minimised is the likelihood: the sign of the loss is lost."""
    n_labels = count([(batch["x"], batch["labels"]) for batch in batches])
    for batch in batches:
        (-self.loss(batch) / n_labels).backward()  # type: ignore[no-untyped-call]


@mutant(
    "training-run",
    symptom="With accumulation the rate is at 0 after a part of the training, and the rest of it changes nothing.",
    difficulty="medium",
)
@loop_with("rate")
def schedule_counts_small_batches(self: Loop) -> float:
    """The schedule is asked for the number of small batches in place of that of updates."""
    return self.run.lr * linear_warmup(self.step * self.run.accumulation, self.run.warmup_steps, self.run.n_steps)


@mutant(
    "training-run",
    symptom="The first update has a rate already; nobody sees it in a long training.",
    difficulty="hard",
)
@loop_with("rate")
def schedule_ahead_by_one(self: Loop) -> float:
    """The schedule is stepped before the optimizer, so that each update has the rate of the next one."""
    return self.run.lr * linear_warmup(self.step + 1, self.run.warmup_steps, self.run.n_steps)


@mutant(
    "training-run",
    symptom="A warm-up that was asked for makes no difference, and the loss ends higher than it should.",
    difficulty="easy",
)
@loop_with("set_rate")
def rate_never_set(self: Loop) -> None:
    """The schedule is computed by nobody: the optimizer keeps the rate that it was built with."""


@mutant(
    "training-run",
    symptom="One bad batch throws the weights far away, and the loss never comes back.",
    difficulty="easy",
)
@loop_with("clip")
def not_clipped(self: Loop) -> None:
    """The gradient is never clipped, whatever bound was asked for."""


@mutant(
    "training-run",
    symptom="The model learns less than it could, and some of its parameters are those of the beginning.",
    difficulty="easy",
)
@loop_with("build_optimizer")
def biases_left_out(self: Loop) -> torch.optim.Optimizer:
    """The optimizer is given the matrices alone, in an attempt to keep the biases from decaying."""
    matrices = [parameter for parameter in self.model.parameters() if parameter.ndim > 1]
    return torch.optim.AdamW(matrices, lr=self.run.lr, weight_decay=0.0)


# Which examples come when


@mutant(
    "training-run",
    symptom="The training loss has waves of one epoch's length.",
    difficulty="medium",
)
@ordering
def one_order_for_all_epochs(self: Loop) -> list[int]:
    """The order is drawn from the seed alone, and so it is the same in every epoch."""
    generator = torch.Generator().manual_seed(self.run.seed)
    return torch.randperm(len(self.examples), generator=generator).tolist()


@mutant(
    "training-run",
    symptom="Texts of one kind come together: the loss has waves, and the end of the data is remembered best.",
    difficulty="easy",
)
@ordering
def not_shuffled(self: Loop) -> list[int]:
    """The examples come in the order of the data."""
    return list(range(len(self.examples)))


@mutant(
    "training-run",
    symptom="In an epoch a third of the examples is not seen, and as many come twice or more.",
    difficulty="medium",
)
@ordering
def examples_drawn_with_replacement(self: Loop) -> list[int]:
    """Each example is drawn from all of them, those that were drawn already among them."""
    return torch.randint(len(self.examples), (len(self.examples),)).tolist()


@mutant(
    "training-run",
    symptom="A few examples of each epoch are never learned from; of a small data set it can be many.",
    difficulty="medium",
)
@choosing
def last_batch_dropped(self: Loop) -> list[int]:
    """A last batch that is not full is left away."""
    size = self.run.batch_size * self.run.accumulation
    if len(self.left) < size:
        self.left = self.order()
    chosen, self.left = self.left[:size], self.left[size:]
    return chosen


@mutant(
    "training-run",
    symptom="No two runs are alike, though the seed is the same.",
    difficulty="easy",
)
@loop_with("start_chance")
def seed_never_used(self: Loop) -> None:
    """Nothing is seeded: every run draws what comes."""


@mutant(
    "training-run",
    symptom="Five runs with five seeds agree to the last digit, and the deviation in the table is 0.",
    difficulty="medium",
)
@loop_with("start_chance")
def seed_fixed_in_the_code(self: Loop) -> None:
    """The seed is 42, whatever was asked for."""
    torch.manual_seed(42)
