"""Doubts everything a soak did: every log, every effect, every answer, against what its scripts say.

It believes no snapshot and no counter of the engine's own.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from benchmarks.soaking.flows import total_of
from benchmarks.soaking.reading import Findings, Reading, status
from benchmarks.soaking.scripts import OK
from hephaestus.engine.events import EventReceived

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from benchmarks.soaking.scripts import Script
    from hephaestus.engine.events import Entry
    from hephaestus.engine.state import State
    from hephaestus.store.store import Store

PAGE: Final = 200


@dataclass(frozen=True, slots=True)
class Account:
    """What there is of one instance.

    Attributes:
        script: what was asked of it.
        answers: what it was answered, stage by stage; "" where there was no answer.
        state: as the store gives it; ``None`` where it has none.
        logs: the log of every generation, the oldest first.
    """

    script: Script
    answers: Sequence[Sequence[str]]
    state: State | None
    logs: Sequence[Sequence[Entry]] = ()


def read(store: Store, script: Script, answers: Sequence[Sequence[str]]) -> Account:
    """Everything a store has of an instance."""
    state = store.load(script.instance_id)
    if state is None:
        return Account(script, answers, None)
    logs = [log_of(store, script.instance_id, generation) for generation in range(1, state.generation + 1)]
    return Account(script, answers, state, logs)


def log_of(store: Store, instance_id: str, generation: int) -> list[Entry]:
    """A generation's log, from its beginning."""
    entries: list[Entry] = []
    while page := store.history(instance_id, generation, len(entries), PAGE):
        if not page[1]:
            break
        entries += page[1]
    return entries


def audit(accounts: Iterable[Account], effects: Mapping[str, int], runs: Mapping[str, int]) -> Findings:
    """Compare.

    Args:
        accounts: every instance.
        effects: the counters that steps wrote with their results, by key.
        runs: how often each step that runs at most once has run, by its idempotency key.
    """
    findings = Findings()
    owed: Counter[str] = Counter()
    once: set[str] = set()
    for account in accounts:
        if account.state is None:
            findings.lost.append(f"{account.script.instance_id} ({account.script.kind}): there is no such instance")
            continue
        check_end(account, findings)
        _check_events(account, findings)
        for generation, log in enumerate(account.logs, 1):
            newest = generation == len(account.logs)
            life = account.state.life if newest else ""
            reading = Reading(account.script.instance_id, generation, findings, life)
            reading.read(log)
            owed.update(reading.effects)
            once.update(reading.once)
            if newest and reading.state is not None and reading.state != account.state:
                findings.broken.append(f"{account.script.instance_id}: folding its log gives another state")
    _check_effects(owed, effects, findings)
    for key in sorted(once - runs.keys()):
        findings.lost.append(f"{key} completed without having run")
    findings.doubled += [f"{key} ran {times} times, at most once is right" for key, times in runs.items() if times > 1]
    findings.counts["steps at most once"] = len(runs)
    return findings


def check_end(account: Account, findings: Findings) -> None:
    """Whether each generation ended as its script says."""
    script = account.script
    name = f"{script.instance_id} ({script.kind})"
    unanswered = sum(answer == "" for stage in account.answers for answer in stage)
    if unanswered or len(account.answers) < len(script.stages):
        findings.lost.append(f"{name}: {unanswered or 'some'} of its calls were not answered")
        return
    for stage, answers in zip(script.stages, account.answers, strict=True):
        wrong = [
            f"{request.call} was answered {answer}"
            for request, answer in zip(stage, answers, strict=True)
            if answer != OK and answer not in request.refused
        ]
        findings.broken += [f"{name}: {problem}" for problem in wrong]
    if script.kind == "rival" and account.answers[0].count(OK) != 1:
        findings.doubled.append(f"{name}: of two starts {account.answers[0].count(OK)} won")
    expected = script.ends(account.answers)
    ended = tuple(status(log) for log in account.logs)
    findings.ended.update(ended)
    if len(ended) != len(expected):
        kind = findings.lost if len(ended) < len(expected) else findings.doubled
        kind.append(f"{name}: there are {len(ended)} generations, not {len(expected)}")
    elif ended != expected:
        kind = findings.lost if "open" in ended else findings.broken
        kind.append(f"{name}: it ended as {', '.join(ended)}, not as {', '.join(expected)}")


def _check_events(account: Account, findings: Findings) -> None:
    """Whether every event that was acknowledged is there, and none twice."""
    received = Counter(
        event.event_id
        for log in account.logs
        for entry in log
        for event in entry.events
        if isinstance(event, EventReceived)
    )
    acknowledged = {
        str(request.given["event_id"])
        for stage, answers in zip(account.script.stages, account.answers, strict=False)
        for request, answer in zip(stage, answers, strict=True)
        if request.call == "resume" and answer == OK
    }
    name = account.script.instance_id
    findings.lost += [
        f"{name}: the event {one} was acknowledged and is not there" for one in acknowledged - {*received}
    ]
    findings.doubled += [f"{name}: the event {one} is there {n} times" for one, n in received.items() if n > 1]


def _check_effects(owed: Mapping[str, int], effects: Mapping[str, int], findings: Findings) -> None:
    """Whether every effect that logs speak of happened once, and no other did."""
    totals: Counter[str] = Counter()
    for key in owed:
        totals[total_of(key[: key.index(":", key.index("::") + 2)])] += 1
    expected = {**dict.fromkeys(owed, 1), **totals}
    for key, times in expected.items():
        found = effects.get(key, 0)
        if found < times:
            findings.lost.append(f"the effect {key} happened {found} times, not {times}")
        elif found > times:
            findings.doubled.append(f"the effect {key} happened {found} times, not {times}")
    findings.doubled += [f"the effect {key} happened, and no log says so" for key in effects.keys() - expected.keys()]
    findings.counts["effects"] = len(owed)
