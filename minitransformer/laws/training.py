"""Laws of training: of gradients that are accumulated, and of whole runs with their checkpoints and evaluations."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from minitransformer import reference
from minitransformer.laws.cases import LARGE, Draw, coins, dtypes, numbers, randomise, seeds, whole_numbers
from minitransformer.laws.law import law
from minitransformer.laws.modules import Parameters
from minitransformer.laws.tolerances import LAYER, SUM, as_array, assert_close, assert_same
from minitransformer.laws.training_functions import Examples, SmallNetwork, TrainingRun
from minitransformer.losses import IGNORED

Function = Callable[..., Any]
MicroBatch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class MicroBatchesCase:
    """Micro-batches of unequal lengths, with unequal numbers of labels that count, for a linear classifier."""

    n_batches: int
    longest: int
    width: int
    n_classes: int
    scores: str
    dtype: torch.dtype
    seed: int

    @cached_property
    def weight(self) -> Tensor:
        """The weight of the classifier; in the large kind its softmax is as good as certain."""
        size = {"ordinary": 1.0, "large": LARGE}[self.scores]
        return size * numbers(self.seed, "weight", self.n_classes, self.width, dtype=self.dtype)

    @cached_property
    def micro_batches(self) -> list[MicroBatch]:
        """Inputs and labels, at least one of which counts in each; the first is the longest, the others vary."""
        return [self.micro_batch(index) for index in range(self.n_batches)]

    def micro_batch(self, index: int) -> MicroBatch:
        """One of them."""
        drawn = int(whole_numbers(self.seed, f"length {index}", 1, self.longest + 1))
        length = self.longest if index == 0 else drawn
        inputs = numbers(self.seed, f"inputs {index}", length, self.width, dtype=self.dtype)
        labels = whole_numbers(self.seed, f"labels {index}", 0, self.n_classes, length)
        ignored = coins(self.seed, f"ignored {index}", length)
        ignored[0] = False
        return inputs, labels.masked_fill(ignored, IGNORED)

    @property
    def without_labels(self) -> MicroBatch:
        """A micro-batch in which nothing counts."""
        inputs, labels = self.micro_batch(self.n_batches)
        return inputs, torch.full_like(labels, IGNORED)

    @cached_property
    def scale(self) -> float:
        """The largest number on the way to a gradient: the rounding of a score, times an input."""
        scores = max(float((inputs.abs() @ self.weight.abs().T).max()) for inputs, _ in self.micro_batches)
        return (1 + scores) * (1 + max(float(inputs.abs().max()) for inputs, _ in self.micro_batches))


@st.composite
def micro_batches_cases(
    draw: Draw, fewest: int = 1, scores: tuple[str, ...] = ("ordinary", "large")
) -> MicroBatchesCase:
    """Down to one micro-batch of one position."""
    return MicroBatchesCase(
        n_batches=draw(st.integers(fewest, 4)),
        longest=draw(st.integers(1, 5)),
        width=draw(st.integers(1, 3)),
        n_classes=draw(st.integers(2, 5)),
        scores=draw(st.sampled_from(scores)),
        dtype=draw(dtypes),
        seed=draw(seeds),
    )


# Accumulation


@law("accumulation", given=micro_batches_cases(), equations=())
def micro_batches_are_one_large_batch(accumulation: Function, case: MicroBatchesCase) -> None:
    """However the examples are shared out among micro-batches, the gradient is that of all of them in one.

    Kills: the mean of the micro-batches' means; the last micro-batch alone; weights that move on the way.
    Hint: One micro-batch has one label, another has nine. What does a single label weigh in your sum?
    """
    joined = tuple(torch.cat(parts) for parts in zip(*case.micro_batches, strict=True))
    expected = accumulation(case.weight, [joined])
    accumulated = accumulation(case.weight, case.micro_batches)
    assert_close(accumulated, expected, SUM, case.scale, what="the accumulated gradient")


@law("accumulation", given=micro_batches_cases(), equations=())
def the_gradient_is_the_one_derived_by_hand(accumulation: Function, case: MicroBatchesCase) -> None:
    """The gradient is the sum of (p − one-hot label) xᵀ over the labels that count, divided by how many they are.

    Kills: a sum that nothing divides; a division by all positions; clipping on the way; a mean of means.
    Hint: Take one micro-batch with one label that counts and one that doesn't. By what do you divide?
    """
    total, count = torch.zeros_like(case.weight, dtype=torch.float64), 0
    for inputs, labels in case.micro_batches:
        x, counts = inputs.double(), labels != IGNORED
        surprise = (x @ case.weight.double().T).softmax(-1)
        surprise[counts, labels[counts]] -= 1
        total += surprise[counts].T @ x[counts]
        count += int(counts.sum())
    accumulated = accumulation(case.weight, case.micro_batches)
    assert_close(accumulated, total / count, SUM, case.scale, what="the accumulated gradient")


@law("accumulation", given=micro_batches_cases(), equations=())
def a_micro_batch_without_labels_changes_nothing(accumulation: Function, case: MicroBatchesCase) -> None:
    """A micro-batch in which no label counts changes nothing, wherever it comes.

    Kills: 0/0 for its mean; a division by the number of micro-batches; a division by the last one's count.
    Hint: What is the mean loss of a micro-batch whose labels are all −100, and what does it add?
    """
    expected = accumulation(case.weight, case.micro_batches)
    for micro_batches in ([case.without_labels, *case.micro_batches], [*case.micro_batches, case.without_labels]):
        found = accumulation(case.weight, micro_batches)
        assert_close(found, expected, SUM, case.scale, what="the gradient with a micro-batch that has no labels")


@law("accumulation", given=micro_batches_cases(fewest=2), equations=())
def the_order_of_micro_batches_does_not_matter(accumulation: Function, case: MicroBatchesCase) -> None:
    """The micro-batches in the opposite order have the same gradient.

    Kills: a division by the count of the first or the last; gradients emptied on the way; weights that move on the way.
    Hint: Is there a micro-batch that you treat unlike the others: the first, which sets something, or the last?
    """
    expected = accumulation(case.weight, case.micro_batches)
    found = accumulation(case.weight, case.micro_batches[::-1])
    assert_close(found, expected, SUM, case.scale, what="the gradient in the opposite order")


@law("accumulation", given=micro_batches_cases(), equations=())
def all_of_it_twice_is_the_same_mean(accumulation: Function, case: MicroBatchesCase) -> None:
    """Every micro-batch given twice has the same gradient: it is a mean, and no sum.

    Kills: a sum that nothing divides; a sum of means; a division by one micro-batch's count.
    Hint: With twice as many micro-batches, does your gradient grow? Does the learning rate know?
    """
    expected = accumulation(case.weight, case.micro_batches)
    found = accumulation(case.weight, 2 * case.micro_batches)
    assert_close(found, expected, SUM, case.scale, what="the gradient of everything twice")


@law("accumulation", given=micro_batches_cases(), equations=())
def what_is_ignored_cannot_matter(accumulation: Function, case: MicroBatchesCase) -> None:
    """Inputs whose label is −100 can be left away, and nothing changes.

    Kills: a division by all positions; weights by the length of the micro-batch; −100 taken for a class.
    Hint: Padding has labels of −100. Does a longer padding change the gradient?
    """
    kept = [(inputs[labels != IGNORED], labels[labels != IGNORED]) for inputs, labels in case.micro_batches]
    expected = accumulation(case.weight, kept)
    found = accumulation(case.weight, case.micro_batches)
    assert_close(found, expected, SUM, case.scale, what="the gradient with inputs that are ignored")


# Runs

ADAM_EPS = 1e-8
"""What the optimizer adds to a root: it divides by this where a gradient is nothing but rounding."""


@dataclass(frozen=True)
class RunCase:
    """A short training run, and what it begins with."""

    n_examples: int
    n_steps: int
    batch_size: int
    accumulation: int
    warmup_steps: int
    chance: bool
    stop_after: int
    evaluate_every: int
    dtype: torch.dtype
    seed: int

    @cached_property
    def parameters(self) -> Parameters:
        """The parameters of the network before the run."""
        return dict(randomise(SmallNetwork(), self.seed, self.dtype).state_dict())

    @property
    def examples(self) -> Examples:
        """The examples, of which nothing is read yet; where chance has a part, inputs are hidden."""
        return Examples(self.n_examples, 0.2 if self.chance else 0.0, self.dtype, self.seed)

    @property
    def run(self) -> TrainingRun:
        """A run that nothing stops, and that evaluates nothing."""
        return TrainingRun(
            n_steps=self.n_steps,
            batch_size=self.batch_size,
            accumulation=self.accumulation,
            lr=0.05,
            warmup_steps=min(self.warmup_steps, self.n_steps),
            max_norm=0.5,
            dropout_rate=0.25 if self.chance else 0.0,
            stop_after=None,
            evaluate_every=None,
            seed=self.seed,
        )

    @property
    def steps_of_an_epoch(self) -> int:
        """How many updates read all examples once."""
        return -(-self.n_examples // (self.batch_size * self.accumulation))

    @property
    def scale(self) -> float:
        """How far a rounding of the gradient can move a parameter, in units of the rounding."""
        return 1 + self.n_steps * self.run.lr / ADAM_EPS


RUN = RunCase(
    n_examples=5,
    n_steps=5,
    batch_size=2,
    accumulation=1,
    warmup_steps=1,
    chance=True,
    stop_after=2,
    evaluate_every=2,
    dtype=torch.float32,
    seed=0,
)
"""Three updates to an epoch, the last of which has a single example."""


def run_cases(**choices: tuple[Any, ...]) -> st.SearchStrategy[RunCase]:
    """Runs, drawn from few: a run takes so long that a law has to do with a dozen."""
    drawn = {name: st.sampled_from(values) for name, values in ({"seed": (0, 1, 2)} | choices).items()}
    return st.builds(lambda **changes: replace(RUN, **changes), **drawn)


exact = (torch.float64,)
full_batches = {"n_examples": (4,), "batch_size": (4,), "chance": (False,)}
one_example = {"n_examples": (1,), "batch_size": (1,), "chance": (False,)}


def assert_same_parameters(found: Parameters, wanted: Parameters, what: str) -> None:
    """Fail unless two runs ended with the same numbers."""
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert_same(found[name], tensor, f"{name} of {what}")


def differ(one: Parameters, other: Parameters) -> bool:
    """Whether any number of two sets of parameters differs."""
    return any(not torch.equal(one[name], tensor) for name, tensor in other.items())


@law("training-run", given=run_cases(accumulation=(1, 2)), equations=())
def the_same_seed_gives_the_same_run(training_run: Function, case: RunCase) -> None:
    """Two runs with the same seed end with the same parameters bit for bit, whatever was drawn before them.

    Kills: a seed that nothing uses; an order that is drawn from a generator nobody has seeded.
    Hint: How many generators of random numbers are there in your program, and which of them does the seed reach?
    """
    torch.manual_seed(1)
    first = training_run(case.parameters, case.examples, case.run)
    torch.manual_seed(2)
    again = training_run(case.parameters, case.examples, case.run)
    assert_same_parameters(again, first, "the same run again")


@law("training-run", given=run_cases(), equations=())
def another_seed_gives_another_run(training_run: Function, case: RunCase) -> None:
    """A run with another seed ends with other parameters.

    Kills: a seed that is fixed in the code; no dropout, hiding or shuffling at all.
    Hint: Train twice with different seeds. Which digits of the result differ?
    """
    first = training_run(case.parameters, case.examples, case.run)
    other = training_run(case.parameters, case.examples, replace(case.run, seed=case.seed + 1))
    assert differ(first, other), "another seed should give another run, but all parameters are the same"


def resumes(training_run: Function, case: RunCase, stop_after: int) -> None:
    """Fail unless a run that is stopped after a step ends as the run that never stopped."""
    whole = training_run(case.parameters, case.examples, case.run)
    resumed = training_run(case.parameters, case.examples, replace(case.run, stop_after=stop_after))
    assert_same_parameters(resumed, whole, f"a run resumed after step {stop_after}")


@law("training-run", given=run_cases(stop_after=(1, 2, 4), accumulation=(1,)), equations=())
def a_run_resumed_within_an_epoch_is_the_run_that_never_stopped(training_run: Function, case: RunCase) -> None:
    """A run that is stopped within an epoch and goes on from its checkpoint ends the same, bit for bit.

    Kills: an order that is drawn anew; an epoch that begins again; random numbers that begin again; lost moments.
    Hint: Write down all that changes from one step to the next. What of it does your checkpoint hold?
    """
    resumes(training_run, case, case.stop_after)


@law("training-run", given=run_cases(accumulation=(1, 2)), equations=())
def a_run_resumed_at_the_end_of_an_epoch_is_the_run_that_never_stopped(training_run: Function, case: RunCase) -> None:
    """A run that is stopped right after an epoch and goes on from its checkpoint ends the same, bit for bit.

    Kills: an epoch that is counted twice or left out; random numbers that begin again; lost moments.
    Hint: After the last batch of an epoch, which epoch does your checkpoint name, and which order follows from it?
    """
    resumes(training_run, case, case.steps_of_an_epoch)


@law("training-run", given=run_cases(**one_example, stop_after=(1, 3), warmup_steps=(0, 4)), equations=())
def without_chance_a_resumed_run_is_the_run_that_never_stopped(training_run: Function, case: RunCase) -> None:
    """A run in which nothing is left to chance resumes bit for bit too: the optimizer and the schedule go on.

    Kills: lost moments of the optimizer; a schedule or a bias correction that begins again.
    Hint: There is no dropout here, and but one example. What else has a memory, beside the parameters?
    """
    resumes(training_run, case, case.stop_after)


def evaluating_changes_nothing(training_run: Function, case: RunCase) -> None:
    """Fail unless a run that is evaluated on the way ends as the one that is not."""
    plain = training_run(case.parameters, case.examples, case.run)
    evaluated = training_run(case.parameters, case.examples, replace(case.run, evaluate_every=case.evaluate_every))
    assert_same_parameters(evaluated, plain, "a run that is evaluated on the way")


@law("training-run", given=run_cases(evaluate_every=(1, 2), accumulation=(1,)), equations=())
def evaluating_on_the_way_changes_nothing(training_run: Function, case: RunCase) -> None:
    """A run that is evaluated every few steps ends with the same parameters, bit for bit, as one that is not.

    Kills: a model left in evaluation mode; random numbers that the evaluation uses up; updates by evaluation data.
    Hint: After an evaluation, is dropout on again? And would the next random number have been another one without it?
    """
    evaluating_changes_nothing(training_run, case)


@law("training-run", given=run_cases(**one_example, evaluate_every=(1, 2)), equations=())
def without_chance_evaluating_changes_nothing(training_run: Function, case: RunCase) -> None:
    """A run in which nothing is left to chance is the same with evaluations on the way too.

    Kills: gradients of the evaluation that the next update adds to its own; updates by evaluation data.
    Hint: When are your gradients emptied: before a batch is computed, or after an update? What comes between?
    """
    evaluating_changes_nothing(training_run, case)


@law("training-run", given=run_cases(accumulation=(1, 2), n_examples=(5, 6)), equations=())
def every_epoch_reads_each_example_once(training_run: Function, case: RunCase) -> None:
    """In each epoch every example is read once, those of a last, smaller batch too.

    Kills: a last batch that is dropped; examples drawn with replacement; inputs hidden once and for all.
    Hint: Write down the numbers of the examples as you read them. Is each there, once, before one comes again?
    """
    examples = case.examples
    training_run(case.parameters, examples, replace(case.run, n_steps=2 * case.steps_of_an_epoch))
    n = case.n_examples
    assert len(examples.read) == 2 * n, f"two epochs of {n} examples should read {2 * n}, but {len(examples.read)} were"
    for epoch in (examples.read[:n], examples.read[n:]):
        assert sorted(epoch) == list(range(n)), f"an epoch should read each of {n} examples once, but it read {epoch}"


@law("training-run", given=run_cases(n_examples=(9,), n_steps=(10,), seed=(0, 1, 2, 3)), equations=())
def each_epoch_has_an_order_of_its_own(training_run: Function, case: RunCase) -> None:
    """The second epoch reads the examples in another order than the first, and neither in the order of the data.

    Kills: one order for all epochs; no shuffling.
    Hint: Where do you shuffle: once before the training, or at the beginning of each epoch?
    """
    examples = case.examples
    training_run(case.parameters, examples, case.run)
    first, second = examples.read[: case.n_examples], examples.read[case.n_examples :][: case.n_examples]
    assert first != second, f"each epoch should have an order of its own, but two have {first}"
    assert list(range(case.n_examples)) not in (first, second), "an epoch should not keep the order of the data"


@law("training-run", given=run_cases(chance=(False,), accumulation=(1, 2)), equations=())
def every_parameter_moves(training_run: Function, case: RunCase) -> None:
    """Every entry of every parameter gets a gradient, and is another number after the run.

    Kills: biases or a layer that the optimizer was not given; a part that is frozen or detached.
    Hint: Compare the parameters before and after, one by one. Which of them has not moved at all?
    """
    after = training_run(case.parameters, case.examples, case.run)
    for name, before in case.parameters.items():
        still = int((after[name] == before).sum())
        assert not still, f"every entry of {name} should have moved, but {still} of {before.numel()} have not"


@law("training-run", given=run_cases(**full_batches, warmup_steps=(0, 1)), equations=())
def the_loss_falls(training_run: Function, case: RunCase) -> None:
    """After a short run on all examples at once, their loss is lower than before.

    Kills: steps up the slope in place of down; parameters that are not given back.
    Hint: The gradient points to where the loss rises. In which direction do you step?
    """
    after = training_run(case.parameters, case.examples, replace(case.run, lr=0.01))
    losses = [float(loss_of(parameters, case.examples)) for parameters in (case.parameters, after)]
    assert losses[1] < losses[0], f"the loss should fall, but it went from {losses[0]:.4g} to {losses[1]:.4g}"


@law("training-run", given=run_cases(n_steps=(1,), accumulation=(1, 2)), equations=())
def a_warm_up_begins_with_a_rate_of_zero(training_run: Function, case: RunCase) -> None:
    """The first update of a warm-up has the rate 0, and so it changes nothing; without a warm-up it does.

    Kills: a schedule that is asked after the step before; the full rate at the first step; a rate that is never set.
    Hint: Your first update has which rate: that of step 0, or that of step 1? Who sets it, and when?
    """
    after = training_run(case.parameters, case.examples, replace(case.run, warmup_steps=1))
    assert_same_parameters(after, case.parameters, "a run of one step, at a rate of 0")
    after = training_run(case.parameters, case.examples, replace(case.run, warmup_steps=0))
    assert differ(after, case.parameters), "without a warm-up the first update should change the parameters"


@law(
    "training-run",
    given=run_cases(chance=(False,), dtype=exact, n_examples=(4, 7), warmup_steps=(0, 2), seed=(0, 1, 2, 3)),
    equations=(),
)
def small_batches_accumulated_are_one_large_batch(training_run: Function, case: RunCase) -> None:
    """Two batches accumulated for each update give the run with batches twice as large.

    Kills: a mean for each small batch; clipping before all are added up; a schedule that counts small batches.
    Hint: Compare one update of 2 × 2 examples with one of 1 × 4: the loss, the norm, the rate. Which differs?
    """
    large = training_run(case.parameters, case.examples, replace(case.run, batch_size=4))
    small = training_run(case.parameters, case.examples, replace(case.run, accumulation=2))
    for name, tensor in large.items():
        assert_close(small[name], tensor, LAYER, case.scale, what=f"{name} of the run with two batches for one")


@law("training-run", given=run_cases(**full_batches, dtype=exact, warmup_steps=(0, 1, 3)), equations=())
def the_updates_agree_with_those_written_out(training_run: Function, case: RunCase) -> None:
    """On all examples at once, each update is the clipped gradient, AdamW and the linear schedule of the reference.

    Kills: gradients that are never emptied; no clipping; a wrong step for the schedule; another decay or beta.
    Hint: Do two updates by hand, on one batch. Is the second gradient that of the second loss alone?
    """
    run, expected = case.run, {name: as_array(tensor) for name, tensor in case.parameters.items()}
    means = {name: (0 * array, 0 * array) for name, array in expected.items()}
    for step in range(run.n_steps):
        gradients = dict(zip(expected, clipped_gradients(expected, case.examples, run.max_norm), strict=True))
        lr = run.lr * reference.schedules.linear_warmup(step, run.warmup_steps, run.n_steps)
        for name, gradient in gradients.items():
            expected[name], first, second = reference.optimizer.adamw_update(
                expected[name], gradient, *means[name], step + 1, lr, (0.9, 0.999), ADAM_EPS, 0.0
            )
            means[name] = first, second
    after = training_run(case.parameters, case.examples, run)
    for name, array in expected.items():
        assert_close(after[name], array, LAYER, case.scale, what=f"{name} after all updates")


def loss_of(parameters: Parameters, examples: Examples) -> Tensor:
    """The loss over all examples, nothing hidden and nothing dropped."""
    output = torch.func.functional_call(SmallNetwork(), parameters, (examples.x, examples.labels))
    return output["loss"]  # type: ignore[no-any-return]


def clipped_gradients(parameters: dict[str, Any], examples: Examples, max_norm: float) -> list[Any]:
    """The gradients over all examples, clipped by the reference."""
    tensors = {name: torch.from_numpy(array).requires_grad_() for name, array in parameters.items()}
    gradients = torch.autograd.grad(loss_of(tensors, examples), list(tensors.values()))
    return reference.optimizer.clip_global_norm([as_array(gradient) for gradient in gradients], max_norm)
