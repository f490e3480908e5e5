"""The processes of a soak: its workers, and what this process lets them use."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.managers import BaseManager
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

    from benchmarks.soaking.engines import Place
    from benchmarks.soaking.exchange import Exchange

ROOT: Final = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Orders:
    """What a worker is told.

    Attributes:
        address, authkey: where the exchange is, and the key to it.
        endpoint: where DynamoDB listens; ``None`` where the store is reached as the exchange is.
        threads: how many invocations it runs at once.
        seconds: how long an invocation may take.
        seed: of its own choices.
        children: of the parents that it runs; 0 where there are none.
    """

    address: str
    authkey: str
    endpoint: str | None
    threads: int
    seconds: float
    seed: float = 0.0
    children: int = 0


class Workers:
    """The processes that run instances."""

    arguments: ClassVar[tuple[str, ...]] = ("-m", "benchmarks.soaking.worker")

    def __init__(self, orders: Orders, number: int, random: Random) -> None:
        self.orders = orders
        self.random = random
        self.started = 0
        self.kills = 0
        self.deaths: list[str] = []
        self.processes = [self.start() for _ in range(number)]

    def start(self) -> subprocess.Popen[str]:
        """One more."""
        self.started += 1
        process = subprocess.Popen(
            [sys.executable, *self.arguments],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},  # the same code as this process has
            stdin=subprocess.PIPE,
            text=True,
        )
        assert process.stdin is not None  # noqa: S101 - it is a pipe
        process.stdin.write(json.dumps(replace(self.orders, seed=self.random.random()).__dict__) + "\n")
        process.stdin.flush()
        return process

    def kill(self) -> None:
        """SIGKILL one of them, and start another in its place."""
        victim = self.random.randrange(len(self.processes))
        process = self.processes[victim]
        process.kill()
        process.communicate()
        self.kills += 1
        self.processes[victim] = self.start()

    def replace_dead(self) -> None:
        """Start another for each that has died by itself, which none should."""
        for index, process in enumerate(self.processes):
            if process.poll() is not None:
                self.deaths.append(f"worker {process.pid} ended by itself with status {process.returncode}")
                self.processes[index] = self.start()

    def end(self) -> None:
        """Have them end, and wait for it."""
        for process in self.processes:
            process.communicate()


@contextmanager
def serving(exchange: Exchange, where: Place) -> Iterator[tuple[str, str]]:
    """Let other processes use the exchange, and the store if it is in memory; gives the address and the key to it."""

    class Served(BaseManager):
        """What this process offers."""

    Served.register("exchange", callable=lambda: exchange)
    Served.register("store", callable=lambda: where.memory)
    authkey = secrets.token_bytes(16)
    server = Served(authkey=authkey).get_server()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield str(server.address), authkey.hex()
