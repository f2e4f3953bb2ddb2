"""One run in several processes: who this one is among them, and what they tell each other.

They tell each other tensors and short texts, never pickled objects: what comes over the wire can run no code.
"""

import atexit
import hashlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from inspect import signature
from itertools import count
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from minitransformer.errors import InputError
from minitransformer.losses import IGNORED
from minitransformer.training_arguments import TrainingArguments

Result = TypeVar("Result")

FRACTIONS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
TYPES = (*FRACTIONS, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)
MOST_AXES = 8
"""Axes that rows may have, so that all processes can tell their layout in messages of one length."""
PATIENCE = timedelta(days=7)
"""How long the others wait while the first one prepares files or writes them; a first one that ends is noticed."""
NUMBERS = count()
"""Numbers for what the first one does while the others wait; all processes count alike."""
KNOWN = signature(DistributedDataParallel).parameters
FORWARD_SYNC = "forward_sync_buffers" if "forward_sync_buffers" in KNOWN else "broadcast_buffers"
"""What this version of PyTorch calls the argument."""
SIGNS_OF_LOSS = ("closed by peer", "reset by peer", "timed out", "timeout", "connection", "broken pipe", "nccl", "gloo")


class LostProcessError(SystemExit):
    """Another process of the run has ended, or is silent; a program that this ends exits with 1.

    Nobody has to catch it: what can be said has been said, and the run goes on from its newest checkpoint.
    """

    def __init__(self) -> None:
        super().__init__(1)


@dataclass(frozen=True)
class Processes:
    """The processes of a run, as torchrun started them; one alone needs nobody."""

    rank: int = 0
    local_rank: int = 0
    n_processes: int = 1

    @classmethod
    def of_this_run(cls, args: TrainingArguments) -> "Processes":
        """Meet the others, if torchrun has started any.

        Raises: InputError if they cannot be met.
        """
        if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
            meet(args)
        if not dist.is_initialized():
            return cls()
        return cls(dist.get_rank(), rank_on_machine(), dist.get_world_size())

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

    def how_to_read(self, args: TrainingArguments) -> dict[str, Any]:
        """By whom batches are read, and whether ahead and into pinned memory, which is for GPUs."""
        on_gpu = self.device(args.use_cpu).type == "cuda"
        pin = on_gpu and args.dataloader_pin_memory
        return {"n_workers": args.dataloader_num_workers, "ahead": on_gpu, "pin": pin}

    # What they tell each other

    def sums(self, numbers: Sequence[int | float]) -> list[float]:
        """The sum of each number over all processes, in double precision."""
        return self.reduced(numbers, dist.ReduceOp.SUM)

    def largest(self, numbers: Sequence[int | float]) -> list[float]:
        """The largest of what the processes say, for each number."""
        return self.reduced(numbers, dist.ReduceOp.MAX)

    def reduced(self, numbers: Sequence[int | float], operation: "dist.ReduceOp.RedOpType") -> list[float]:
        """One number for what all processes say, for each number."""
        if self.n_processes == 1:
            return [float(number) for number in numbers]
        message = torch.tensor(numbers, dtype=torch.float64, device=device_of_messages())
        dist.all_reduce(message, op=operation)
        return message.tolist()

    def of_first(self, number: int | float) -> float:
        """What the first process says, for all."""
        return float(self.gather(torch.tensor(number, dtype=torch.float64))[0])

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """What each process has, in their order; the tensors are of one shape and type."""
        if self.n_processes == 1:
            return [tensor]
        here = tensor.contiguous().view(-1).view(torch.uint8).to(device_of_messages())  # bytes suit every backend
        found = [torch.empty_like(here) for _ in range(self.n_processes)]
        dist.all_gather(found, here)
        return [message.cpu().view(tensor.dtype).view(tensor.shape) for message in found]

    def names_in_any(self, names: Iterable[str]) -> list[str]:
        """The names that any process knows, in one order for all."""
        here = torch.tensor(list("\n".join(names).encode()), dtype=torch.uint8)
        lengths = [int(length) for length in self.gather(torch.tensor(len(here)))]
        padded = torch.cat([here, here.new_zeros(max(lengths) - len(here))])
        texts = [bytes(text[:length].tolist()) for text, length in zip(self.gather(padded), lengths, strict=True)]
        known = [name for text in texts for name in text.decode().split("\n") if name]
        return list(dict.fromkeys(known))

    def gather_rows(self, rows: Tensor | None) -> Tensor:
        """The rows of all processes in the order of the examples: first the first of each, then the second of each.

        Rows are filled up to the widest with what counts for nothing. A process may have none.
        """
        if self.n_processes == 1:
            return torch.empty(0) if rows is None else rows
        layouts = [layout.tolist() for layout in self.gather(layout_of(rows))]
        kind, n_axes, *_ = max(layout[1:] for layout in layouts)
        counts = [layout[0] for layout in layouts]
        widths = [max(layout[3 + axis] for layout in layouts) for axis in range(n_axes)]
        filled = torch.full((max(counts), *widths), IGNORED, dtype=torch.float32).to(TYPES[kind])
        if rows is not None:
            filled[tuple(slice(size) for size in rows.shape)] = rows
        pieces = [piece[:n_rows] for piece, n_rows in zip(self.gather(filled), counts, strict=True)]
        numbers = [torch.arange(len(piece)) * self.n_processes + rank for rank, piece in enumerate(pieces)]
        return torch.cat(pieces)[torch.cat(numbers).argsort()]

    def by_first(self, action: Callable[[], Result]) -> Result | None:
        """Let the first process do something that is done once, while the others wait; if it fails, all fail.

        Only the first is given what came of it.

        Raises: InputError in all processes if the first one met it.
        """
        if self.n_processes == 1:
            return action()
        name = f"minitransformer/{next(NUMBERS)}"
        if not self.is_first:
            wait_for_word(name)
            return None
        word = "error: the first process has failed"
        try:
            result = action()
            word = "done"
        except InputError as error:
            word = f"error: {error}"
            raise
        finally:
            message_board().set(name, word)
        return result

    def text_of_first(self, text: str) -> str:
        """What the first process says, for all."""
        if self.n_processes == 1:
            return text
        name = f"minitransformer/{next(NUMBERS)}"
        if self.is_first:
            message_board().set(name, text)
        message_board().wait([name], PATIENCE)
        return str(message_board().get(name).decode())

    @contextmanager
    def noticing_loss(self) -> Iterator[None]:
        """End in one line, and not in the words of the network, when another process has ended.

        Raises: LostProcessError.
        """
        try:
            yield
        except RuntimeError as error:
            if self.n_processes == 1 or not any(sign in str(error).lower() for sign in SIGNS_OF_LOSS):
                raise
            print(
                f"minitransformer: process {self.rank} of {self.n_processes} has lost the others: one of them has "
                "ended, or been silent for too long. Run the same command again to go on from the newest checkpoint",
                file=sys.stderr,
            )
            raise LostProcessError from error

    # What they compute together

    def begin_alike(self, model: nn.Module) -> None:
        """Give all processes the parameters and buffers of the first."""
        self.begin_alike_in([*model.parameters(), *model.buffers()])

    def begin_alike_in(self, tensors: Iterable[Tensor]) -> None:
        """Give all processes the numbers of the first."""
        if self.n_processes > 1:
            for tensor in tensors:
                dist.broadcast(tensor.detach(), src=0)

    def together(self, losses: nn.Module, args: TrainingArguments, find_unused: bool) -> nn.Module:
        """The same model in all processes, whose gradients are averaged during the last backward pass of an update."""
        chosen: dict[str, Any] = (
            {FORWARD_SYNC: args.ddp_broadcast_buffers} if args.ddp_broadcast_buffers is not None else {}
        )
        return DistributedDataParallel(
            losses,
            find_unused_parameters=find_unused,
            bucket_cap_mb=args.ddp_bucket_cap_mb,
            gradient_as_bucket_view=True,
            **chosen,
        )

    @contextmanager
    def averaging_gradients(self, losses: Any, now: bool) -> Iterator[None]:
        """Let gradients be averaged in this backward pass, or only added up in each process."""
        if hasattr(losses, "set_requires_gradient_sync"):  # it is shared out
            losses.set_requires_gradient_sync(now)
            losses.set_is_last_backward(now)
        if now or not isinstance(losses, DistributedDataParallel):
            yield
        else:
            with losses.no_sync():
                yield


def meet(args: TrainingArguments) -> None:
    """Meet the other processes, and part from them when the program ends.

    Small messages are kept away from accelerators, which would have to wait for them.

    Raises: InputError if torchrun did not say where to meet, or the backend is none.
    """
    on_gpu = torch.cuda.is_available() and not args.use_cpu
    backend = args.ddp_backend or ("nccl" if on_gpu else "gloo")
    if on_gpu:
        torch.cuda.set_device(rank_on_machine())
    try:
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if backend == "nccl" else backend, timeout=timedelta(seconds=args.ddp_timeout)
        )
    except (ValueError, RuntimeError) as error:
        raise InputError(
            f"the {os.environ['WORLD_SIZE']} processes of this run cannot meet with ddp_backend={backend!r} "
            f"({str(error).splitlines()[0]}); start them with torchrun"
        ) from error
    atexit.register(part)


def part() -> None:
    """Part from the others, if that has not been done."""
    if dist.is_initialized():
        dist.destroy_process_group()


def rank_on_machine() -> int:
    """The number of this process on its machine."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def device_of_messages() -> torch.device:
    """Where the backend wants what it sends: on the CPU if it can."""
    if "nccl" in dist.get_backend_config() and "gloo" not in dist.get_backend_config():
        return torch.device("cuda", rank_on_machine())
    return torch.device("cpu")


def message_board() -> dist.Store:
    """Where processes leave short texts for each other; torchrun itself keeps it."""
    return dist.distributed_c10d._get_default_store()


def wait_for_word(name: str) -> None:
    """Wait until the first process says that it has done something.

    Raises: InputError if it failed.
    """
    board = message_board()
    board.wait([name], PATIENCE)
    word = board.get(name).decode()
    if word != "done":
        raise InputError(word.removeprefix("error: "))


def is_first_process() -> bool:
    """Whether this process is alone, or the first of those that have met.

    >>> is_first_process()
    True
    """
    return not dist.is_initialized() or dist.get_rank() == 0


def is_told_here(error: InputError) -> bool:
    """Whether this process is the one to tell of an error: the first of those that have met the same one.

    Before they have met each other, it is the first of each machine.

    >>> is_told_here(InputError("learning_rate=-1.0 must not be negative"))
    True
    """
    if not dist.is_initialized():
        return rank_on_machine() == 0
    name = hashlib.sha256(str(error).encode()).hexdigest()
    try:
        return bool(message_board().add(f"minitransformer/{name}", 1) == 1)
    except RuntimeError:  # The board has gone with the process that kept it.
        return True


def layout_of(rows: Tensor | None) -> Tensor:
    """How many rows there are, of which type, and how wide: a message of one length.

    >>> layout_of(torch.zeros(2, 7)).tolist()
    [2, 0, 1, 7, 0, 0, 0, 0, 0, 0, 0]
    """
    if rows is None:
        return torch.tensor([0, -1, 0, *[0] * MOST_AXES])
    widths = list(rows.shape[1:])
    return torch.tensor([len(rows), TYPES.index(rows.dtype), len(widths), *widths, *[0] * (MOST_AXES - len(widths))])
