"""Models too large for one device: each process keeps a share of every parameter, gradient and moment (FSDP2).

Checkpoints are those of one process all the same: the first process makes the model whole on its CPU, parameter by
parameter, and writes it; and what it reads, it shares out. So a run goes on with and without sharing. PyTorch's own
distributed checkpoints are not used: their processes agree on who writes what in pickled objects, and for each number
of processes there would be other files.

Source: Rajbhandari et al. 2020 (ZeRO), §5; Zhao et al. 2023 (PyTorch FSDP), §3.
"""

import copy
import json
from collections import defaultdict
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from minitransformer.trainer.loss_parts import LossInParts
from minitransformer.trainer.processes import Processes

Result = TypeVar("Result")
Moments = dict[str, Any]

METHODS_OF_BLOCKS = ("answers_at", "attention_weights")
"""What blocks of this library are asked besides `forward`."""
METHODS_OF_LOSSES = ("outputs", "with_output")
"""What the losses are asked besides it."""


def share_out(losses: nn.Module, device: torch.device, n_processes: int) -> None:
    """Leave each process an n-th of all parameters: block by block, and the rest together.

    A block is whole only while it computes. The losses are asked for more than `forward`.
    """
    mesh = init_device_mesh(device.type, (n_processes,))
    for block in blocks_of(losses):
        fully_shard(block, mesh=mesh)
        for method in METHODS_OF_BLOCKS:
            if hasattr(block, method):
                register_fsdp_forward_method(block, method)
    fully_shard(losses, mesh=mesh)
    for method in METHODS_OF_LOSSES:
        register_fsdp_forward_method(losses, method)


def blocks_of(model: nn.Module) -> list[nn.Module]:
    """The parts that a model repeats: what stands in its lists of modules, the outermost ones.

    >>> [type(block).__name__ for block in blocks_of(nn.Sequential(nn.ModuleList([nn.Linear(1, 1)]), nn.Tanh()))]
    ['Linear']
    """
    found: dict[nn.Module, None] = {}
    for part in model.children():
        found |= dict.fromkeys(part if isinstance(part, nn.ModuleList) else blocks_of(part))
    return [block for block in found if any(True for _ in block.parameters())]


def let_go(losses: nn.Module) -> None:
    """Keep only the shares; a model that was evaluated has parts that are still whole, ready for a backward pass."""
    for part in losses.modules():
        if isinstance(part, FSDPModule):
            part.reshard()


class WholeModel:
    """What is written of a model that is shared out, and read for it: made before the model is."""

    def __init__(self, losses: LossInParts, processes: Processes) -> None:
        self.processes = processes
        self.losses = losses
        self.model = losses.model
        self.shape = without_numbers(self.model)

    def keep(
        self, optimizer: torch.optim.Optimizer, action: Callable[[nn.Module, torch.optim.Optimizer], Result]
    ) -> Result | None:
        """Let the first process do something with the whole model and what the optimizer remembers of it."""
        let_go(self.losses)
        parameters = {name: self.gathered(parameter) for name, parameter in self.model.named_parameters()}
        moments = {
            name: {kind: self.gathered(value) for kind, value in optimizer.state[parameter].items()}
            for name, parameter in self.model.named_parameters()
            if parameter in optimizer.state
        }
        return self.processes.by_first(lambda: action(*self.doubles(optimizer, parameters, moments)))

    def restore(
        self, optimizer: torch.optim.Optimizer, action: Callable[[nn.Module, torch.optim.Optimizer], Any]
    ) -> Any:
        """Let the first process read into a whole model and optimizer, and share out what it has read.

        All are given what came of it, which has to be ready for JSON.
        """
        let_go(self.losses)
        doubles, answer = None, ""

        def read() -> None:
            nonlocal doubles, answer
            doubles = self.doubles(optimizer, {}, {})
            answer = json.dumps(action(*doubles))

        self.processes.by_first(read)
        self.take_parameters(None if doubles is None else doubles[0])
        self.take_moments(optimizer, None if doubles is None else doubles)
        return json.loads(self.processes.text_of_first(answer))

    def gathered(self, value: Any) -> Any:
        """A whole tensor on the CPU of the first process; whatever else stays as it is."""
        if not isinstance(value, DTensor):
            return value
        whole = value.full_tensor()
        return whole.detach().cpu() if self.processes.is_first else None

    def doubles(
        self, optimizer: torch.optim.Optimizer, parameters: dict[str, Tensor], moments: dict[str, Moments]
    ) -> tuple[nn.Module, torch.optim.Optimizer]:
        """The model and the optimizer once more, with whole tensors; those that are not given wait to be filled."""
        tensors = {
            id(empty): nn.Parameter(parameters.get(name, torch.empty(empty.shape, dtype=empty.dtype)))
            for name, empty in self.shape.named_parameters()
        }
        model = copy.deepcopy(self.shape, dict(tensors))
        for name, buffer in self.model.named_buffers():
            model.get_buffer(name).copy_(buffer)
        whole = dict(model.named_parameters())
        name_of = {parameter: name for name, parameter in self.model.named_parameters()}
        twin = copy.copy(optimizer)
        twin.param_groups = [
            {**group, "params": [whole[name_of[parameter]] for parameter in group["params"]]}
            for group in optimizer.param_groups
        ]
        twin.state = defaultdict(dict, {whole[name]: values for name, values in moments.items()})
        return model, twin

    def take_parameters(self, double: nn.Module | None) -> None:
        """Give each process its share of what the first one has read."""
        whole = {} if double is None else dict(double.named_parameters())
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                parameter.copy_(self.shared_out(whole.get(name), parameter))
            buffers = {} if double is None else dict(double.named_buffers())
            for name, buffer in self.model.named_buffers():
                buffer.copy_(buffers.get(name, buffer))
        self.processes.begin_alike_in(self.model.buffers())

    def take_moments(
        self, optimizer: torch.optim.Optimizer, doubles: tuple[nn.Module, torch.optim.Optimizer] | None
    ) -> None:
        """Give each process its share of what the first one's optimizer remembers, if it remembers anything."""
        read: dict[str, Moments] = {}
        if doubles is not None:
            model, twin = doubles
            read = {name: twin.state[whole] for name, whole in model.named_parameters() if whole in twin.state}
        numbers = {
            name: {kind: None if isinstance(value, Tensor) else value for kind, value in values.items()}
            for name, values in read.items()
        }
        parameters = dict(self.model.named_parameters())
        for name, values in json.loads(self.processes.text_of_first(json.dumps(numbers))).items():
            optimizer.state[parameters[name]] = {
                kind: self.shared_out(read.get(name, {}).get(kind), parameters[name]) if value is None else value
                for kind, value in values.items()
            }

    def shared_out(self, whole: Tensor | None, like: Tensor) -> Tensor:
        """The share of this process in a tensor that the first one has."""
        if whole is None:
            whole = torch.empty(like.shape, dtype=like.dtype)
        if not isinstance(like, DTensor):
            raise TypeError("a parameter that is not shared out stands among those that are")
        return distribute_tensor(whole.detach().to(like.device), like.device_mesh, like.placements)


def without_numbers(model: nn.Module) -> nn.Module:
    """A copy of a model whose parameters have shapes, and no memory; ties stay ties."""
    empty = {
        id(parameter): nn.Parameter(torch.empty_like(parameter, device="meta"), parameter.requires_grad)
        for parameter in model.parameters()
    }
    return copy.deepcopy(model, dict(empty))
