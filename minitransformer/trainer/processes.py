"""One run in several processes: who this one is among them, and what they tell each other."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from minitransformer.training_arguments import TrainingArguments


@dataclass(frozen=True)
class Processes:
    """The processes of a run, as torchrun started them; one alone needs nobody."""

    rank: int = 0
    local_rank: int = 0
    n_processes: int = 1

    @classmethod
    def of_this_run(cls, args: TrainingArguments) -> "Processes":
        """Meet the others, if torchrun has started any."""
        n_processes = int(os.environ.get("WORLD_SIZE", "1"))
        if n_processes > 1 and not dist.is_initialized():
            backend = args.ddp_backend or ("nccl" if torch.cuda.is_available() and not args.use_cpu else "gloo")
            dist.init_process_group(backend, timeout=timedelta(seconds=args.ddp_timeout))
        if not dist.is_initialized():
            return cls()
        return cls(dist.get_rank(), int(os.environ.get("LOCAL_RANK", "0")), dist.get_world_size())

    @property
    def is_first(self) -> bool:
        """Whether this one writes for all."""
        return self.rank == 0

    @property
    def is_first_here(self) -> bool:
        """Whether this one is the first on its machine."""
        return self.local_rank == 0

    def device(self, use_cpu: bool) -> torch.device:
        """Where this process computes."""
        if torch.cuda.is_available() and not use_cpu:
            return torch.device("cuda", self.local_rank)
        return torch.device("cpu")

    def wait(self) -> None:
        """Wait until all are here."""
        if self.n_processes > 1:
            dist.barrier()

    def sums(self, numbers: Sequence[int | float]) -> list[float]:
        """The sum of each number over all processes, in double precision."""
        if self.n_processes == 1:
            return [float(number) for number in numbers]
        on_device = torch.tensor(numbers, dtype=torch.float64, device=self.device_of_messages())
        dist.all_reduce(on_device)
        return on_device.tolist()

    def largest(self, number: int | float) -> int | float:
        """The largest of what the processes say."""
        if self.n_processes == 1:
            return number
        on_device = torch.tensor(number, dtype=torch.float64, device=self.device_of_messages())
        dist.all_reduce(on_device, op=dist.ReduceOp.MAX)
        return float(on_device)

    def names_in_any(self, names: Iterable[str]) -> list[str]:
        """The names that any process knows, in one order for all."""
        raise NotImplementedError

    def gather_rows(self, rows: Tensor) -> Tensor:
        """The rows of all processes in the order of the examples: first the first of each, then the second of each."""
        if self.n_processes == 1:
            return rows
        raise NotImplementedError

    def device_of_messages(self) -> torch.device:
        """Where the backend wants what it sends."""
        return torch.device("cuda", self.local_rank) if dist.get_backend() == "nccl" else torch.device("cpu")

    def together(self, losses: nn.Module, args: TrainingArguments) -> nn.Module:
        """The same model in all processes, whose gradients are averaged during the last backward pass of an update."""
        if self.n_processes == 1:
            return losses
        return DistributedDataParallel(
            losses,
            find_unused_parameters=bool(args.ddp_find_unused_parameters),
            bucket_cap_mb=args.ddp_bucket_cap_mb,
            broadcast_buffers=args.ddp_broadcast_buffers is not False,
        )

    @contextmanager
    def averaging_gradients(self, losses: nn.Module, now: bool) -> Iterator[None]:
        """Let gradients be averaged in this backward pass, or only added up in each process."""
        if now or not isinstance(losses, DistributedDataParallel):
            yield
        else:
            with losses.no_sync():
                yield
