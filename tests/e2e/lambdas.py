"""The processes in which the emulator runs functions: found below its own process, and killed.

The emulator runs each execution environment of a Python function as a child of its own, whose program is in the
emulator's directory. Nothing else is ever a victim.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from random import Random

    from tests.e2e.deployment import Deployment


GROWN_UP: Final = 4  # seconds; one that is killed while it starts proves nothing, and the emulator starts no other then
MOST_WAVES: Final = 3
PS: Final = ("ps", "-A", "-ww", "-o", "pid=,ppid=,args=")
FUNCTION: Final = re.compile(r"ministack-lambda-(.+)-[^-/]+/")
READY: Final = re.compile(r"Lambda worker spawned for (\S+) ")  # the emulator's log, once a process has started


@dataclass(frozen=True, slots=True)
class Process:
    """A process of this machine."""

    pid: int
    parent: int
    command: str


def processes() -> list[Process]:
    """Every process, as ``ps`` tells."""
    told = subprocess.run(PS, capture_output=True, text=True, check=True).stdout
    found = (line.split(None, 2) for line in told.splitlines())
    return [Process(int(pid), int(parent), *rest or [""]) for pid, parent, *rest in found]


def environments(deployment: Deployment) -> dict[int, str]:
    """The processes of functions, each with its function's name: the emulator's children, run from its directory."""
    home = str(deployment.emulator.home)
    found = processes()
    emulators = {one.pid for one in found if one.parent == os.getpid() and "ministack" in one.command}
    named = ((one, FUNCTION.search(one.command)) for one in found if one.parent in emulators and home in one.command)
    return {one.pid: name[1] for one, name in named if name}


class Killer:
    """Kills a function's process after every few calls that were answered, so that a slow machine gets on as well.

    Args:
        deployment: whose.
        random: chooses the victim, and when.
        functions: the names of the functions whose processes may be victims; all of them if there are none.
        by: the signal. One that is stopped (``SIGSTOP``) hangs in whatever it does until the emulator ends it, as
            Lambda does: when the function's timeout is over. That takes long, so all are stopped at once, and seldom.
    """

    def __init__(self, deployment: Deployment, random: Random, functions: Collection[str], by: signal.Signals) -> None:
        self.deployment = deployment
        self.random = random
        self.functions = functions
        self.by = by
        self.kills = 0
        self.waves = 0
        self.over = False
        self.answered = threading.Semaphore(0)
        self.seen = dict.fromkeys(environments(deployment), 0.0)
        self.log = deployment.emulator.log.open(errors="replace")
        self.log.seek(0, os.SEEK_END)
        self.begun: Counter[str] = Counter()
        self.ready: Counter[str] = Counter()

    def run(self) -> None:
        """Until it is over."""
        while True:
            for _ in range(self.random.randint(1, 4)):
                self.answered.acquire()
            time.sleep(self.random.uniform(0, 0.5))
            if self.over:
                return
            functions = self.victims()
            if functions and self.by is signal.SIGKILL:
                self.hit(self.random.choice(functions[self.random.choice(sorted(functions))]))
            elif functions and self.waves < MOST_WAVES:
                self.waves += 1
                for pid in (pid for pids in functions.values() for pid in pids):
                    self.hit(pid)

    def hit(self, pid: int) -> None:
        """Send the signal."""
        with suppress(ProcessLookupError):
            os.kill(pid, self.by)
            self.kills += 1

    def victims(self) -> dict[str, list[int]]:
        """The processes of each function, where all have started, that have been there for a while."""
        now = time.monotonic()
        self.ready.update(READY.findall(self.log.read()))
        functions: dict[str, list[int]] = {}
        for pid, name in sorted(environments(self.deployment).items()):
            if pid not in self.seen:
                self.seen[pid] = now
                self.begun[name] += 1
            if self.seen[pid] <= now - GROWN_UP and (not self.functions or name in self.functions):
                functions.setdefault(name, []).append(pid)
        return {name: pids for name, pids in functions.items() if self.ready[name] >= self.begun[name]}


@contextmanager
def killing(deployment: Deployment, random: Random, functions: Collection[str], by: signal.Signals) -> Iterator[Killer]:
    """Kill functions' processes meanwhile."""
    killer = Killer(deployment, random, functions, by)
    thread = threading.Thread(target=killer.run)
    thread.start()
    try:
        yield killer
    finally:
        killer.over = True
        killer.answered.release(10)
        thread.join()
        killer.log.close()


@contextmanager
def timeouts(deployment: Deployment, seconds: int) -> Iterator[None]:
    """Give the functions that run steps less time meanwhile, so that the leases of dead owners end soon."""
    functions: Any = deployment.client("lambda")
    names = [deployment.outputs["StartFunctionName"], deployment.outputs["ResumeFunctionName"]]
    before = {name: functions.get_function_configuration(FunctionName=name)["Timeout"] for name in names}
    for name in names:
        functions.update_function_configuration(FunctionName=name, Timeout=seconds)
    yield
    for name in names:
        functions.update_function_configuration(FunctionName=name, Timeout=before[name])
