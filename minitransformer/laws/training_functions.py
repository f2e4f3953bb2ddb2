"""Training as functions: what a start, an optimizer, a trainer and a folder make of what they are given.

An optimizer remembers and moves, and a trainer writes files; here each is asked from its beginning to its end, so that
laws can say what comes of it. What a run is judged on is small: `SmallNetwork` on `Examples`, as `TrainingRun` says.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from tempfile import TemporaryDirectory
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from minitransformer.attention import MultiHeadAttention
from minitransformer.embeddings import Embeddings
from minitransformer.initialisation import (
    compare_segments,
    give_a_column_to_segments,
    rotation,
    segment_energy,
)
from minitransformer.laws.cases import numbers, whole_numbers
from minitransformer.laws.modules import Parameters
from minitransformer.losses import IGNORED, cross_entropy
from minitransformer.optimizer import AdamW
from minitransformer.pretrained import PretrainedModel
from minitransformer.trainer import Trainer, TrainerCallback
from minitransformer.trainer.reading import MicroBatch
from minitransformer.training_arguments import TrainingArguments

# Before the first step


def neighbour_score(
    length: int, offset: int, frequency: Float[Tensor, " P"], c: float, d_k: int
) -> Float[Tensor, "L L"]:
    """How well the key at each position fits the query at each position, when a head begins by reading at an offset.

    >>> neighbour_score(2, offset=1, frequency=torch.tensor([math.pi]), c=1.0, d_k=1).round().tolist()
    [[-1.0, 1.0], [1.0, -1.0]]
    """
    angles = torch.arange(length)[:, None] * frequency
    key = c * torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1)
    query = key @ rotation(offset * frequency).T
    return query @ key.T / math.sqrt(d_k)


def segment_score(segments: Int[Tensor, " L"], sign: int, c: float, d_k: int) -> Float[Tensor, "L L"]:
    """How well the key at each position fits the query at each position, when a head begins by comparing segments.

    >>> segment_score(torch.tensor([0, 1]), sign=1, c=2.0, d_k=4).round().tolist()
    [[2.0, -2.0], [-2.0, 2.0]]
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        attention = MultiHeadAttention(d_model=2 * d_k, n_heads=2).double()
        embeddings = Embeddings(vocab_size=5, max_positions=2, n_segments=2, d_model=2 * d_k).double()
        give_a_column_to_segments(embeddings, first_column=0)
        for parameter in attention.parameters():
            parameter.zero_()
        sharpness = 2 * c**2 * segment_energy(embeddings) / math.sqrt(d_k)
        compare_segments(attention, embeddings, [(0, 1)], first_column=0, sharpness=sharpness)
        x = torch.zeros(1, len(segments), 2 * d_k, dtype=torch.float64)
        x[0, :, -1] = 1.0 - 2.0 * segments
        query, key = (attention.split_heads(project(x)) for project in (attention.query, attention.key))
        score_HLM = (query @ key.mT / math.sqrt(d_k))[0]
    return score_HLM[0 if sign > 0 else 1]


# Steps


def adamw(
    parameter: Float[Tensor, "..."],
    gradients: Sequence[Float[Tensor, "..."]],
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    *,
    build: Callable[..., torch.optim.Optimizer] = AdamW,
) -> Float[Tensor, "..."]:
    """The parameter after one step of the optimizer for each gradient; built from a list of parameters and settings.

    >>> one, threes = torch.tensor([1.0]), [torch.tensor([3.0]), torch.tensor([3.0])]
    >>> adamw(one, threes, lr=0.25, betas=(0.9, 0.999), eps=0.0, weight_decay=0.0)
    tensor([0.5000])
    """
    moved = nn.Parameter(parameter.detach().clone())
    optimizer = build([moved], lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)
    for gradient in gradients:
        moved.grad = gradient
        optimizer.step()
    return moved.detach()


class LinearClassifier(nn.Module):
    """A score for each class, and the mean surprise at the labels that count."""

    def __init__(self, weight: Float[Tensor, "V D"]) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.detach().clone())

    def forward(self, x: Float[Tensor, "B L D"], labels: Int[Tensor, "B L"]) -> dict[str, Tensor]:
        """The scores, and the loss."""
        logits = x @ self.weight.T
        return {"loss": cross_entropy(logits, labels), "logits": logits}


def accumulation(
    weight: Float[Tensor, "V D"], micro_batches: Sequence[tuple[Float[Tensor, "L D"], Int[Tensor, " L"]]]
) -> Float[Tensor, "V D"]:
    """The gradient of the mean surprise at all labels of all micro-batches, for the weight of a linear classifier.

    Each micro-batch is inputs and their labels; a label of −100 does not count.

    Source: the cross-entropy of all that count has the sum of their gradients, divided by the count of all.
    """
    model = LinearClassifier(weight)
    arguments = TrainingArguments(
        "unused", per_device_train_batch_size=1, gradient_accumulation_steps=len(micro_batches)
    )
    with torch.enable_grad():
        Trainer(model, arguments).learner.accumulate_gradients(
            [MicroBatch({"x": inputs[None], "labels": labels[None]}) for inputs, labels in micro_batches]
        )
    return model.weight.grad  # type: ignore[return-value] # the update has just computed it


# A whole run


class SmallNetwork(nn.Module):
    """Two layers with dropout between them: a class for each position, and the mean surprise at those that count."""

    D_MODEL, D_HIDDEN, N_CLASSES = 4, 5, 3

    def __init__(self, dropout_rate: float = 0.0) -> None:
        super().__init__()
        self.inner = nn.Linear(self.D_MODEL, self.D_HIDDEN)
        self.outer = nn.Linear(self.D_HIDDEN, self.N_CLASSES)
        self.dropout = nn.Dropout(dropout_rate)

    def forward(self, x: Float[Tensor, "B L D"], labels: Int[Tensor, "B L"]) -> dict[str, Tensor]:
        """The scores, and the loss."""
        logits = self.outer(self.dropout(torch.tanh(self.inner(x))))
        return {"loss": cross_entropy(logits, labels), "logits": logits}


@dataclass
class Examples:
    """Examples of two positions each, some of whose labels are −100; what was read is remembered.

    Inputs are hidden anew whenever an example is read, with random numbers that PyTorch draws.
    """

    n_examples: int
    hidden_share: float
    dtype: torch.dtype
    seed: int
    read: list[int] = field(default_factory=list, repr=False, compare=False)

    @cached_property
    def x(self) -> Tensor:
        """The inputs, nothing hidden."""
        return numbers(self.seed, "x", self.n_examples, 2, SmallNetwork.D_MODEL, dtype=self.dtype)

    @cached_property
    def labels(self) -> Tensor:
        """The class of each position: the input that is largest, or −100; the first position always counts."""
        classes = self.x[..., : SmallNetwork.N_CLASSES].argmax(-1)
        ignored = whole_numbers(self.seed, "ignored", 0, 2, self.n_examples, 2).bool()
        ignored[:, 0] = False
        return classes.masked_fill(ignored, IGNORED)

    def __len__(self) -> int:
        return self.n_examples

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        x, labels = self.x[index], self.labels[index]
        self.read.append(index)
        return {"x": x.masked_fill(torch.rand(x.shape) < self.hidden_share, 0.0), "labels": labels}

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        return (self[index] for index in range(len(self)))


@dataclass(frozen=True)
class TrainingRun:
    """How long and how to train: AdamW without decay, a linear warm-up and a linear way down, shuffled epochs."""

    n_steps: int
    """Updates in all; the rate is on its way to 0 after the last of them."""
    batch_size: int
    """Examples that are computed at once."""
    accumulation: int
    """Batches of an update; the last update of an epoch takes what is left."""
    lr: float
    warmup_steps: int
    max_norm: float
    """What the gradient of an update is clipped to."""
    dropout_rate: float
    stop_after: int | None
    """The update after which the run ends, to be resumed from what it kept by one that knows nothing else."""
    evaluate_every: int | None
    """The number of updates between two evaluations, on the same examples."""
    seed: int


class StoppedError(Exception):
    """The run ends here, and another one goes on from its checkpoint."""


class Stop(TrainerCallback):
    """End a run as soon as a checkpoint stands."""

    def on_save(self, *_: Any, **__: Any) -> None:
        """The checkpoint stands."""
        raise StoppedError


def training_run(parameters: Parameters, examples: Examples, run: TrainingRun) -> Parameters:
    """The parameters of a `SmallNetwork` after a training run that begins with those given.

    Source: the loop of Goodfellow et al. 2016, §8.1.3 and Algorithm 8.1, with steps of AdamW; that a run can be
    repeated, stopped and watched is what ours promises.
    """
    with torch.enable_grad(), torch.random.fork_rng(devices=[]), TemporaryDirectory() as folder:
        if run.stop_after is None:
            trainer = trainer_of(parameters, examples, run, folder)
            trainer.train()
        else:
            trainer = trained_in_two_parts(parameters, examples, run, folder)
    return {name: tensor.detach() for name, tensor in trainer.model.state_dict().items()}


def trainer_of(parameters: Parameters, examples: Examples, run: TrainingRun, folder: str) -> Trainer:
    """Our trainer, with the model, the data and the settings of a run."""
    model = SmallNetwork(run.dropout_rate).to(examples.dtype)
    model.load_state_dict(parameters)
    arguments = TrainingArguments(
        folder,
        max_steps=run.n_steps,
        per_device_train_batch_size=run.batch_size,
        gradient_accumulation_steps=run.accumulation,
        learning_rate=run.lr,
        warmup_steps=run.warmup_steps,
        max_grad_norm=run.max_norm,
        eval_strategy="steps" if run.evaluate_every else "no",
        eval_steps=run.evaluate_every or 1,
        save_strategy="no",
        seed=run.seed,
        disable_tqdm=True,
    )
    return Trainer(model, arguments, train_dataset=examples, eval_dataset=examples)


def trained_in_two_parts(parameters: Parameters, examples: Examples, run: TrainingRun, folder: str) -> Trainer:
    """Train until the checkpoint of a step, and go on with a trainer that has nothing but the folder."""
    first = trainer_of(parameters, examples, run, folder)
    first.args.save_strategy, first.args.save_steps = "steps", run.stop_after or 1
    first.callbacks.append(Stop())
    with suppress(StoppedError):
        first.train()
    torch.seed()
    anew = trainer_of(SmallNetwork().state_dict(), examples, run, folder)
    anew.train(resume_from_checkpoint=True)
    return anew


# What is kept


def saving(model: PretrainedModel) -> PretrainedModel:
    """The model that comes back from the folder into which one was put.

    Source: the folders of `transformers`, config.json beside model.safetensors; ties as in Press and Wolf 2017, §2.
    """
    with TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return type(model).from_pretrained(folder)
