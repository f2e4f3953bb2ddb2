"""Work in several processes that have met each other: started once, given one job after another."""

import os
import socket
import sys
import traceback
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

import torch

PATIENCE = 90
"""Seconds that a job may take; processes that wait for each other in vain are ended then."""
FORKS = get_context("forkserver")
FORKS.set_forkserver_preload(["torch._dynamo", "torch.distributed.fsdp", "minitransformer.trainer"])


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def serve(rank: int, n_processes: int, port: int, channel: Connection) -> None:
    """Do the jobs that come, as torchrun would have started this process."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(n_processes)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    while (job := channel.recv()) is not None:
        function, arguments = job
        try:
            channel.send((True, function(*arguments)))
        except BaseException:  # what went wrong is told to who asked
            channel.send((False, traceback.format_exc()))
    from minitransformer.trainer.processes import part

    part()
    sys.stderr.flush()


class Crew:
    """So many processes, which do the same job together."""

    def __init__(self, n_processes: int) -> None:
        self.n_processes = n_processes
        port = free_port()
        self.channels, self.processes = [], []
        for rank in range(n_processes):
            here, there = FORKS.Pipe()
            process = FORKS.Process(target=serve, args=(rank, n_processes, port, there), daemon=True)
            process.start()
            self.channels.append(here)
            self.processes.append(process)

    def do(self, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        """What each process says of the job, in their order."""
        for channel in self.channels:
            channel.send((function, arguments))
        answers = []
        for channel in self.channels:
            if not channel.poll(PATIENCE):
                self.end(by_force=True)
                raise TimeoutError(f"{function} takes longer than {PATIENCE} seconds")
            answers.append(channel.recv())
        complaints = [answer for is_right, answer in answers if not is_right]
        assert not complaints, "\n".join(complaints)
        return [answer for _, answer in answers]

    def end(self, by_force: bool = False) -> list[int | None]:
        """Let the processes go, and tell how they ended."""
        for channel, process in zip(self.channels, self.processes, strict=True):
            if by_force:
                process.kill()
            elif process.is_alive():
                channel.send(None)
        for process in self.processes:
            process.join(PATIENCE)
        return [process.exitcode for process in self.processes]
