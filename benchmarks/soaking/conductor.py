"""Runs a soak: starts engine and workers, asks what the scripts say, kills now and then, and audits at the end."""

from __future__ import annotations

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import TYPE_CHECKING, Final

from benchmarks.soaking import families
from benchmarks.soaking.audit import audit, read
from benchmarks.soaking.engines import place
from benchmarks.soaking.exchange import Exchange
from benchmarks.soaking.processes import Orders, Workers, serving
from benchmarks.soaking.report import Report
from benchmarks.soaking.scripts import write

if TYPE_CHECKING:
    from benchmarks.soaking.engines import Engine, Place
    from benchmarks.soaking.scripts import Script
    from hephaestus.store.store import Store

TICK: Final = 0.05  # seconds
BETWEEN: Final = 20  # messages that are finished between two kills at least, so that slow workers get somewhere
LOOK: Final = 5.0  # seconds after which an instance is looked at of which nothing is heard


@dataclass(frozen=True, slots=True)
class Settings:
    """How a soak is run; times in seconds.

    Attributes:
        engine: where instances are kept.
        instances: how many.
        seed: what all choices are drawn from. What the machine does between them is its own.
        workers: processes that run instances.
        threads: invocations at once in each of them.
        side_by_side: instances that are open at once at most.
        invocation: how long an invocation may take.
        sweep_every: between two sweeps.
        kill_every: between two kills at least; 0 for none.
        patience: for so long nothing at all may happen before the soak is given up.
        children: if not 0, the instances are in turn parents of so many children, which end at once, and maps of 2.5
            times as many items in a tree of instances. Children count as open instances.
    """

    engine: Engine = "dynamodb-local"
    instances: int = 2_000
    seed: int = 1
    workers: int = 4
    threads: int = 4
    side_by_side: int = 400
    invocation: float = 8.0
    sweep_every: float = 2.0
    kill_every: float = 3.0
    patience: float = 60.0
    children: int = 0


@dataclass(slots=True)
class Progress:
    """How far a script has come."""

    script: Script
    answers: list[list[str]] = field(default_factory=list)
    unanswered: int = 0
    over: bool = False
    ended: bool = False
    look_at: float = 0.0


class Conductor:
    """One soak."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.random = Random(settings.seed)
        self.room = max(settings.side_by_side // max(settings.children, 1), 1)
        scripts = [self.script(number) for number in range(settings.instances)]
        self.waiting = iter([Progress(script) for script in scripts])
        self.begun: dict[str, Progress] = {}
        self.open: dict[str, Progress] = {}
        self.tickets: dict[int, tuple[Progress, int, int]] = {}
        self.numbers = count()
        self.turn = threading.RLock()
        self.moved_at = time.monotonic()
        self.calls = 0
        self.met: set[str] = set()
        self.exchange = Exchange(Random(self.random.random()), settings.invocation + 2, self.answered)

    def script(self, number: int) -> Script:
        """What is asked of an instance."""
        children = self.settings.children
        return families.write(number, children) if children else write(number, self.random)

    def run(self) -> Report:
        """From the engine's start to the report."""
        settings = self.settings
        with place(settings.engine) as where, serving(self.exchange, where) as (address, authkey):
            orders = Orders(
                address, authkey, where.endpoint, settings.threads, settings.invocation, children=settings.children
            )
            workers = Workers(orders, settings.workers, Random(self.random.random()))
            begun = time.monotonic()
            try:
                self.conduct(where.store(), workers)
            finally:
                workers.end()
            return self.report(where, workers, time.monotonic() - begun)

    def conduct(self, store: Store, workers: Workers) -> None:
        """Until every instance has ended and sweeps find nothing, or nothing happens any more."""
        sweep_at = kill_at = 0.0
        kill_from = BETWEEN
        if self.settings.kill_every:
            kill_at = time.monotonic() + self.settings.kill_every
        while self.admit() or self.open or overdue(store):
            now = time.monotonic()
            if now - self.moved_at > self.settings.patience:
                return
            if now >= sweep_at:
                self.exchange.send(("sweep",))
                sweep_at = now + self.settings.sweep_every
            if kill_at and now >= kill_at and self.exchange.finished >= kill_from:
                workers.kill()
                self.met.update(self.open)
                kill_at, kill_from = now + self.settings.kill_every, self.exchange.finished + BETWEEN
            workers.replace_dead()
            self.look(store, now)
            time.sleep(TICK)

    def admit(self) -> bool:
        """Begin scripts for as long as there is room; whether more are left."""
        while len(self.open) < self.room:
            progress = next(self.waiting, None)
            if progress is None:
                return False
            self.begun[progress.script.instance_id] = self.open[progress.script.instance_id] = progress
            with self.turn:
                self.next_stage(progress)
        return True

    def next_stage(self, progress: Progress) -> None:
        """Make the calls of the next stage, side by side."""
        script, stage = progress.script, len(progress.answers)
        if stage == len(script.stages):
            progress.over = True
            progress.look_at = time.monotonic() + LOOK
            return
        requests = script.stages[stage]
        progress.answers.append([""] * len(requests))
        progress.unanswered = len(requests)
        for index, request in enumerate(requests):
            ticket = next(self.numbers)
            self.tickets[ticket] = (progress, stage, index)
            self.calls += 1
            call = ("call", ticket, script.workflow, script.value, script.instance_id, request)
            self.exchange.send(call, request.delay_ms)

    def answered(self, ticket: int, answer: str) -> None:
        """A call was answered; the first answer counts, as it does for a caller."""
        with self.turn:
            found = self.tickets.pop(ticket, None)
            if found is None:
                return
            self.moved_at = time.monotonic()
            progress, stage, index = found
            progress.answers[stage][index] = answer
            progress.unanswered -= 1
            if not progress.unanswered:
                self.next_stage(progress)

    def look(self, store: Store, now: float) -> None:
        """Look at the instances that say they have ended, and at those of which nothing is heard."""
        news = self.exchange.news()
        for instance_id, progress in list(self.open.items()):
            if not progress.over or (instance_id not in news and progress.look_at > now):
                continue
            progress.look_at = now + LOOK
            state = store.load(instance_id)
            if state is not None and state.closed:
                progress.ended = True
                self.moved_at = now
                del self.open[instance_id]

    def report(self, where: Place, workers: Workers, seconds: float) -> Report:
        """Read everything, and doubt it."""
        store = where.store()
        with ThreadPoolExecutor(4) as pool:
            accounts = list(pool.map(lambda one: read(store, one.script, one.answers), self.begun.values()))
        counts, runs, oldest_ms = self.exchange.tally()
        if self.settings.children:
            findings = families.audit(accounts, store, where.effects())
        else:
            findings = audit(accounts, where.effects(), runs)
        findings.broken += workers.deaths
        findings.lost += [f"{one} is still overdue at the end" for one in overdue(store)]
        left = sum(1 for _ in self.waiting)
        if left:
            findings.lost.append(f"{left} instances were never begun: nothing happened for {self.settings.patience} s")
        return Report(
            engine=self.settings.engine,
            seed=self.settings.seed,
            instances=self.settings.instances,
            started=sum(account.state is not None for account in accounts),
            kinds=Counter(progress.script.kind for progress in self.begun.values()),
            calls=self.calls,
            kills=workers.kills,
            met=len(self.met),
            oldest_ms=oldest_ms,
            schedules_left=self.exchange.schedules(),
            seconds=seconds,
            counts=dict(counts),
            findings=findings,
        )


def overdue(store: Store) -> list[str]:
    """The instances that a sweep would find now; one that a kill has left is found by the next."""
    return [one.instance_id for one in store.overdue(int(time.time() * 1000), 1_000).items]
