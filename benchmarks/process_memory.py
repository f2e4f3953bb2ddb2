"""What each process holds in memory while it trains: a formula beside the measured bytes of the tensors held.

    torchrun --nproc-per-node 2 benchmarks/process_memory.py

Without torchrun one process is measured. The model is a BERT that classifies sequences, in float32 and without dropout.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from tempfile import mkdtemp
from typing import Any

import torch
import tyro
from torch import Tensor, nn

from minitransformer.models.bert import BertForSequenceClassification
from minitransformer.models.bert_config import BertConfig
from minitransformer.optimizer import held_here
from minitransformer.trainer import Processes, Trainer, TrainerCallback
from minitransformer.training_arguments import TrainingArguments

FLOAT = 4
Bytes = dict[str, int]


@dataclass(frozen=True)
class Size:
    """A model, and what each process computes at once."""

    d_model: int
    n_blocks: int
    n_heads: int
    d_ff: int
    vocab_size: int
    batch_size: int
    length: int


SIZES = {
    "mini": Size(256, 4, 4, 1024, 30_522, batch_size=8, length=128),
    "small": Size(512, 4, 8, 2048, 30_522, batch_size=8, length=128),
}


@dataclass(frozen=True)
class Measurement:
    """How to measure."""

    sizes: tuple[str, ...] = tuple(SIZES)
    """Names of sizes."""


def n_parameters(size: Size) -> int:
    """How many numbers the model learns: tables, blocks, pooler and task layer."""
    d, f = size.d_model, size.d_ff
    tables = (size.vocab_size + size.length + 2) * d + 2 * d
    block = 4 * (d * d + d) + (d * f + f) + (f * d + d) + 4 * d
    return tables + size.n_blocks * block + (d * d + d) + 2 * (d + 1)


def by_formula(size: Size, n_processes: int, shared_out: bool) -> Bytes:
    """The bytes that a process holds when a backward pass begins, and after the update.

    With T = B L tokens, a block keeps for its backward pass eight times T D (its input, Q, K, V, what attention reads,
    both sums before the norms, and the input of the feed-forward network), twice T F, and what softmax and norms divide
    by; and the matrices of Q, K and V, side by side. The last block is asked about the first token of each sequence, so
    that only its K and V are of all tokens, and only their matrices stand side by side.
    """
    tokens, share = size.batch_size * size.length, n_processes if shared_out else 1
    d, f, h = size.d_model, size.d_ff, size.n_heads
    asked = size.batch_size
    block = 8 * tokens * d + 2 * tokens * f + tokens * h + 4 * tokens + 3 * d * d
    last = 2 * tokens * d + asked * (6 * d + 2 * f + h + 4) + 2 * d * d
    parameters = FLOAT * n_parameters(size) // share
    return {
        "parameters": parameters,
        "gradients": parameters,
        "moments": 2 * parameters,
        "activations": FLOAT * ((size.n_blocks - 1) * block + last + 2 * tokens * d + 2 * tokens),
    }


def measured(size: Size, shared_out: bool) -> Bytes:
    """The bytes that this process holds in an update of a real run."""
    model = model_of(size)
    found = Watch(model)
    arguments = TrainingArguments(
        mkdtemp(),
        max_steps=2,
        per_device_train_batch_size=size.batch_size,
        save_strategy="no",
        disable_tqdm=True,
        use_cpu=True,
        fsdp=shared_out,
        max_grad_norm=0.0,
    )
    trainer = Trainer(model, arguments, train_dataset=sentences(size), callbacks=[found])
    trainer.train()
    return found.bytes


class Watch(TrainerCallback):
    """Look at the tensors of the second update."""

    def __init__(self, model: nn.Module) -> None:
        self.bytes: Bytes = {}
        self.model = model
        self.activations: list[Tensor] = []
        self.watching = torch.autograd.graph.saved_tensors_hooks(self.note, lambda tensor: tensor)

    def on_step_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Note what is kept for the backward pass."""
        if state.global_step == 1:
            self.watching.__enter__()

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Count the gradients."""
        if state.global_step == 1:
            self.watching.__exit__(None, None, None)
            self.bytes["gradients"] = bytes_of(parameter.grad for parameter in given["model"].parameters())

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Count the others."""
        if state.global_step == 1:
            remembered = given["optimizer"].state.values()
            self.bytes["parameters"] = bytes_of(given["model"].parameters())
            self.bytes["moments"] = bytes_of(value for entry in remembered for value in entry.values())
            self.bytes["activations"] = bytes_of(self.activations)

    def note(self, tensor: Tensor) -> Tensor:
        """Note what autograd keeps, but for parameters, which stand there whole while they compute."""
        places = {held_here(parameter).untyped_storage().data_ptr() for parameter in self.model.parameters()}
        if tensor.untyped_storage().data_ptr() not in places:
            self.activations.append(tensor)
        return tensor


def bytes_of(tensors: Iterable[Any]) -> int:
    """The memory that this process holds of some tensors, each piece once."""
    held = [held_here(tensor).untyped_storage() for tensor in tensors if isinstance(tensor, Tensor)]
    return sum({piece.data_ptr(): piece.nbytes() for piece in held}.values())


def model_of(size: Size) -> BertForSequenceClassification:
    """A BERT of a size."""
    return BertForSequenceClassification(
        BertConfig(
            vocab_size=size.vocab_size,
            hidden_size=size.d_model,
            num_hidden_layers=size.n_blocks,
            num_attention_heads=size.n_heads,
            intermediate_size=size.d_ff,
            max_position_embeddings=size.length,
            num_labels=2,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
    )


def sentences(size: Size) -> list[dict[str, Tensor]]:
    """Enough sentences of full length for two updates of several processes."""
    return [
        {
            "input_ids": torch.randint(5, size.vocab_size, (size.length,)),
            "attention_mask": torch.ones(size.length, dtype=torch.long),
            "labels": torch.tensor(number % 2),
        }
        for number in range(16 * size.batch_size)
    ]


def compare(measurement: Measurement) -> None:
    """Print a row for each size, way of sharing, and kind of memory."""
    processes = Processes.of_this_run(TrainingArguments("none", use_cpu=True))
    if processes.is_first:
        print("| model | processes | held | by formula, MB | measured, MB |\n|---|---|---|---|---|")
    for name in measurement.sizes:
        for shared_out in (False, True) if processes.n_processes > 1 else (False,):
            found = measured(SIZES[name], shared_out)
            if processes.is_first:
                way = (
                    f"{processes.n_processes}, {'FSDP' if shared_out else 'DDP'}" if processes.n_processes > 1 else "1"
                )
                for kind, expected in by_formula(SIZES[name], processes.n_processes, shared_out).items():
                    print(f"| {name} | {way} | {kind} | {expected / 1e6:.1f} | {found[kind] / 1e6:.1f} |")


if __name__ == "__main__":
    compare(tyro.cli(Measurement))
