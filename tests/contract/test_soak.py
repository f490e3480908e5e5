"""The soak: a small one runs on two engines with workers killed; its audit finds what is lost, doubled or broken."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING, Any, Final

import pytest

from benchmarks import soak
from benchmarks.soaking import conductor, engines, families, flows
from benchmarks.soaking.audit import Account, audit, log_of, read
from benchmarks.soaking.conductor import Conductor, Settings
from benchmarks.soaking.exchange import Exchange
from benchmarks.soaking.scripts import OK, Request, Script, write
from hephaestus.engine.events import ChildEnded, Claimed, Entry, EventReceived, ItemCompleted, PartEnded, StepCompleted
from hephaestus.runtime.ports import Timeout
from hephaestus.testing import LocalRuntime

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from benchmarks.soaking.reading import Findings
    from hephaestus.engine.events import Event

SMALL: Final = Settings(instances=30, invocation=3, kill_every=1.5, sweep_every=1, workers=2, threads=6, patience=600)


@pytest.mark.parametrize("engine", ["memory", "dynamodb-local"])
def test_a_small_soak_loses_and_doubles_nothing(engine: engines.Engine) -> None:
    """Real processes, real kills; every instance ends as its script says."""
    report = Conductor(replace(SMALL, engine=engine, seed=11)).run()
    assert report.good, report.text()
    assert report.kills > 0
    assert report.started == SMALL.instances
    assert report.findings.counts["effects"] > SMALL.instances / 2
    assert f"{SMALL.instances} started of {SMALL.instances}" in report.text()


def test_a_small_soak_of_children_and_trees_counts_each_end_once() -> None:
    """Real processes, real kills: parents of 6 children, and maps of 15 items in two instances, in turn."""
    settings = replace(SMALL, instances=4, children=6, kill_every=0.1, seed=12)
    report = Conductor(settings).run()
    assert report.good, report.text()
    assert report.kills > 0
    assert report.met > 0
    assert report.kinds == {"family": 2, "map": 2}
    counts = report.findings.counts
    assert (counts["effects"], counts["ends counted"], counts["items"]) == (2 * (6 + 15), 2 * (6 + 2), 2 * 15)


def test_a_soak_of_children_needs_an_engine_outside_of_its_process(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        soak.main(["--children", "2", "--engine", "memory"])
    assert "--children needs an engine" in capsys.readouterr().err


class Idle:
    """Workers that do nothing."""

    def __init__(self) -> None:
        self.kills = 0

    def kill(self) -> None:
        self.kills += 1

    def replace_dead(self) -> None:
        """None is dead."""


def test_a_soak_goes_on_until_sweeps_find_nothing_and_kills_no_worker_that_got_nowhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What a kill left at the very end is not lost: the next sweep finds it. After 20 messages there may be a kill."""
    store: Any = LocalRuntime(*flows.WORKFLOWS, tables={flows.EFFECTS: ("pk",)}).store
    for finished, kills in ((0, 0), (conductor.BETWEEN, 1)):
        workers: Any = Idle()
        left = [["parcel::1"], ["parcel::1"], []]
        monkeypatch.setattr(conductor, "overdue", lambda _, left=left: left.pop(0))
        soaking = Conductor(Settings(instances=0, kill_every=0.001))
        soaking.exchange.finished = finished
        soaking.conduct(store, workers)
        taken = soaking.exchange.take(1)
        assert taken is not None
        assert (left, taken[1], workers.kills) == ([], ("sweep",), kills)


def test_a_soak_that_finds_something_ends_with_status_1(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """And says what, to a reader and to a program."""
    effects = engines.Place.effects

    def doubled(place: engines.Place) -> dict[str, int]:
        return {key: times + key.endswith(("pack", "flight")) for key, times in effects(place).items()}

    arguments = ["--engine", "memory", "--instances", "3", "--kill-every", "0", "--workers", "1"]
    monkeypatch.setattr(engines.Place, "effects", doubled)
    file = tmp_path / "report.json"
    assert soak.main([*arguments, "--json", str(file)]) == 1
    found = json.loads(file.read_text())
    assert found["lost"] == 0
    assert found["duplicated_effects"] == len(found["findings"]["doubled"]) == 3


def test_without_java_it_says_so_and_soaks_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    assert soak.main(["--instances", "1"]) == 2
    assert "DynamoDB Local needs Java" in capsys.readouterr().err


class Counting:
    """A witness that counts."""

    def __init__(self) -> None:
        self.runs: Counter[str] = Counter()

    def ran(self, key: str) -> None:
        self.runs[key] += 1

    def fixed(self, instance_id: str) -> bool:
        return False


class Soaked:
    """One parcel and one journey that failed, as a soak that went well leaves them."""

    def __init__(self) -> None:
        local = LocalRuntime(*flows.WORKFLOWS, tables={flows.EFFECTS: ("pk",)})
        start = {"pack_seconds": 0, "label_fails": 1, "weigh_seconds": 0, "handover_seconds": 0}
        local.start(flows.Parcel, "1", {**start, "deadline_seconds": 60})
        local.resume("parcel::1", "collected", event_id="e-1")
        local.start(flows.Journey, "2", {"doomed": True})
        local.resume("journey::2", "confirmed", event_id="e-2")
        local.advance(timedelta(minutes=1))
        started = Request("start")
        scripts = (
            Script("collected", "Parcel", "1", ((started,), (_event("collected", "e-1"),))),
            Script("doomed", "Journey", "2", ((started,), (_event("confirmed", "e-2"),)), ("failed",)),
        )
        self.accounts = [read(local.store, script, [[OK], [OK]]) for script in scripts]
        self.effects = {item["pk"]: int(item["times"]) for item in local.tables[flows.EFFECTS].items()}

    def audit(self, runs: Counter[str]) -> Findings:
        """What is found."""
        return audit(self.accounts, self.effects, runs)

    def change(self, account: int, change: Callable[[list[Entry]], Sequence[Entry]]) -> None:
        """Put another log in the place of an instance's."""
        old = self.accounts[account]
        self.accounts[account] = replace(old, logs=[change(list(old.logs[0]))])


def _event(event: str, event_id: str) -> Request:
    return Request("resume", {"event": event, "event_id": event_id})


@pytest.fixture
def witness(monkeypatch: pytest.MonkeyPatch) -> Counting:
    counting = Counting()
    monkeypatch.setattr(flows, "witness", counting)
    return counting


@pytest.fixture
def soaked(witness: Counting) -> Soaked:
    return Soaked()


def test_what_went_well_is_found_good(soaked: Soaked, witness: Counting) -> None:
    """Two effects of the parcel; two of the journey, and their undoing."""
    findings = soaked.audit(witness.runs)
    assert findings.good, findings
    assert findings.ended == {"completed": 1, "failed": 1}
    assert findings.counts["effects"] == 6
    assert findings.counts["retries"] == 2


class Trees:
    """A parent of 6 children and a map of 15 items, as a soak that went well leaves them."""

    def __init__(self) -> None:
        local = LocalRuntime(*families.workflows(6), tables={flows.EFFECTS: ("pk",)})
        scripts = [families.write(number, 6) for number in range(2)]
        for script in scripts:
            local.start(script.workflow, script.value, script.stages[0][0].given["context"])
        local.advance(timedelta(minutes=1))
        self.store = local.store
        self.accounts = [read(local.store, script, [[OK]]) for script in scripts]
        self.effects = _effects(local)

    def audit(self) -> Findings:
        """What is found."""
        return families.audit(self.accounts, self.store, self.effects)

    def change(self, monkeypatch: pytest.MonkeyPatch, kind: type[Event], times: int) -> None:
        """Have every log say so many times what it says of such events."""

        def many(events: Sequence[Event]) -> tuple[Event, ...]:
            return tuple(one for one in events for _ in range(times if type(one) is kind else 1))

        def changed(*about: Any) -> list[Entry]:
            return [replace(entry, events=many(entry.events)) for entry in log_of(*about)]

        monkeypatch.setattr(families, "log_of", changed)


@pytest.fixture
def trees() -> Trees:
    return Trees()


def test_trees_that_went_well_are_found_good(trees: Trees) -> None:
    """The end of 6 children and of 2 parts, and 15 items."""
    findings = trees.audit()
    assert findings.good, findings
    assert (findings.counts["ends counted"], findings.counts["items"], findings.counts["effects"]) == (8, 15, 21)


@pytest.mark.parametrize("kind", [ChildEnded, PartEnded, ItemCompleted])
def test_an_end_that_is_counted_twice_is_doubled(
    monkeypatch: pytest.MonkeyPatch, trees: Trees, kind: type[Event]
) -> None:
    """The first; a log is read up to what cannot follow."""
    trees.change(monkeypatch, kind, 2)
    assert any("was counted 2 times" in one for one in trees.audit().doubled)


@pytest.mark.parametrize(("kind", "number"), [(ChildEnded, 6), (PartEnded, 2)])
def test_an_end_that_is_not_counted_is_lost(
    monkeypatch: pytest.MonkeyPatch, trees: Trees, kind: type[Event], number: int
) -> None:
    trees.change(monkeypatch, kind, 0)
    assert sum("was not counted" in one for one in trees.audit().lost) == number


def test_the_effect_of_a_child_or_an_item_is_lost_or_doubled(trees: Trees) -> None:
    child, item = (next(one for one in trees.effects if one.startswith(name)) for name in ("leaf::", "batch::"))
    del trees.effects[child]
    trees.effects[item] += 1
    findings = trees.audit()
    assert findings.lost == [f"the effect {child} happened 0 times, and is owed 1 times"]
    assert findings.doubled == [f"the effect {item} happened 2 times, and is owed 1 times"]


def test_a_child_that_is_gone_or_open_is_lost(monkeypatch: pytest.MonkeyPatch, trees: Trees) -> None:
    monkeypatch.setattr(families, "status", lambda _: "open")
    assert sum("it is open below family::0" in one for one in trees.audit().lost) == 6
    load = trees.store.load
    monkeypatch.setattr(trees.store, "load", lambda name: None if name.startswith("leaf::") else load(name))
    assert sum("there is no instance leaf::" in one for one in trees.audit().lost) == 6


def test_a_parent_with_another_result_or_fewer_children_is_lost(trees: Trees) -> None:
    trees.accounts[0] = replace(trees.accounts[0], script=families.write(0, 7))
    found = [
        f"family::0 (family): its {what}, not {right}"
        for what, right in (
            ("instances are 6", "7"),
            ("effects are 6", "7"),
            ("results are {'sum': 15}", "{'sum': 21}"),
        )
    ]
    assert trees.audit().lost == found


def test_an_instance_that_is_gone_is_lost(soaked: Soaked, witness: Counting) -> None:
    soaked.accounts[0] = Account(soaked.accounts[0].script, soaked.accounts[0].answers, None)
    assert soaked.audit(witness.runs).lost == ["parcel::1 (collected): there is no such instance"]


def test_an_instance_that_never_ended_is_lost(soaked: Soaked, witness: Counting) -> None:
    soaked.change(0, lambda log: log[:-1])
    assert any("ended as open, not as completed" in one for one in soaked.audit(witness.runs).lost)


def test_a_call_that_was_never_answered_is_lost(soaked: Soaked, witness: Counting) -> None:
    soaked.accounts[0] = replace(soaked.accounts[0], answers=[[OK], [""]])
    assert any("1 of its calls were not answered" in one for one in soaked.audit(witness.runs).lost)


def test_an_instance_that_ended_otherwise_than_its_script_says_is_broken(soaked: Soaked, witness: Counting) -> None:
    old = soaked.accounts[0]
    soaked.accounts[0] = replace(old, script=replace(old.script, statuses=("cancelled",)))
    assert soaked.audit(witness.runs).broken == ["parcel::1 (collected): it ended as completed, not as cancelled"]


def test_a_refusal_that_the_script_does_not_allow_is_broken(soaked: Soaked, witness: Counting) -> None:
    soaked.accounts[0] = replace(soaked.accounts[0], answers=[["UnknownWorkflow"], [OK]])
    assert any("start was answered UnknownWorkflow" in one for one in soaked.audit(witness.runs).broken)


def test_an_acknowledged_event_that_is_not_there_is_lost(soaked: Soaked, witness: Counting) -> None:
    script = replace(soaked.accounts[0].script, stages=((Request("start"),), (_event("collected", "other"),)))
    soaked.accounts[0] = replace(soaked.accounts[0], script=script)
    assert soaked.audit(witness.runs).lost == ["parcel::1: the event other was acknowledged and is not there"]


def test_an_event_that_is_there_twice_is_doubled(soaked: Soaked, witness: Counting) -> None:
    def again(log: list[Entry]) -> list[Entry]:
        index = next(i for i, entry in enumerate(log) if any(isinstance(e, EventReceived) for e in entry.events))
        received = next(event for event in log[index].events if isinstance(event, EventReceived))
        log[index] = replace(log[index], events=(received, *log[index].events))
        return log

    soaked.change(0, again)
    assert "parcel::1: the event e-1 is there 2 times" in soaked.audit(witness.runs).doubled


def test_an_effect_that_happened_twice_is_doubled(soaked: Soaked, witness: Counting) -> None:
    """Its own counter and the total both say so."""
    soaked.effects["parcel::1:1:pack"] += 1
    soaked.effects[flows.total_of("parcel::1")] += 1
    assert len(soaked.audit(witness.runs).doubled) == 2


def test_an_effect_that_did_not_happen_is_lost(soaked: Soaked, witness: Counting) -> None:
    del soaked.effects["journey::2:1:hotel!undo"]
    assert soaked.audit(witness.runs).lost == ["the effect journey::2:1:hotel!undo happened 0 times, not 1"]


def test_an_effect_that_no_log_knows_of_is_doubled(soaked: Soaked, witness: Counting) -> None:
    soaked.effects["journey::2:1:car"] = 1
    assert soaked.audit(witness.runs).doubled == ["the effect journey::2:1:car happened, and no log says so"]


def test_a_step_that_runs_once_at_most_and_ran_twice_is_doubled(soaked: Soaked, witness: Counting) -> None:
    witness.runs["parcel::1:1:handover"] += 1
    assert soaked.audit(witness.runs).doubled == ["parcel::1:1:handover ran 2 times, at most once is right"]


def test_a_step_that_completed_without_running_is_lost(soaked: Soaked, witness: Counting) -> None:
    assert soaked.audit(Counter()).lost == ["parcel::1:1:handover completed without having run"]


def test_a_step_that_completed_twice_is_doubled(soaked: Soaked, witness: Counting) -> None:
    def again(log: list[Entry]) -> list[Entry]:
        index = next(i for i, entry in enumerate(log) if any(isinstance(e, StepCompleted) for e in entry.events))
        completed = next(event for event in log[index].events if isinstance(event, StepCompleted))
        log[index] = replace(log[index], events=(*log[index].events, completed))
        return log

    soaked.change(0, again)
    assert any("was decided twice" in one for one in soaked.audit(witness.runs).doubled)


def test_a_log_with_a_gap_is_broken(soaked: Soaked, witness: Counting) -> None:
    """Invariant 1."""
    soaked.change(0, lambda log: [*log[:2], *log[3:]])
    assert any("entry 3 is numbered 4" in one for one in soaked.audit(witness.runs).broken)


def test_a_commit_that_is_there_twice_is_doubled(soaked: Soaked, witness: Counting) -> None:
    """Invariant 1."""
    soaked.change(0, lambda log: [log[0], replace(log[1], commit_id=log[0].commit_id), *log[2:]])
    assert any("is there twice" in one for one in soaked.audit(witness.runs).doubled)


def test_two_owners_at_once_are_broken(soaked: Soaked, witness: Counting) -> None:
    """Invariant 2."""

    def claim(log: list[Entry]) -> list[Entry]:
        index = next(i for i, entry in enumerate(log) if any(isinstance(e, Claimed) for e in entry.events))
        other = Claimed("other", log[index].at + 1_000)
        log[index] = replace(log[index], events=(*log[index].events, other))
        return log

    soaked.change(0, claim)
    assert any("claims what another owner still has" in one for one in soaked.audit(witness.runs).broken)


def test_a_snapshot_that_is_not_what_the_log_says_is_broken(soaked: Soaked, witness: Counting) -> None:
    """Invariant 9."""
    state = soaked.accounts[0].state
    assert state is not None
    soaked.accounts[0] = replace(soaked.accounts[0], state=replace(state, wake_at=7))
    assert soaked.audit(witness.runs).broken == ["parcel::1: folding its log gives another state"]


def test_a_deadline_before_its_time_is_broken(witness: Counting) -> None:
    """Invariant 6."""
    local = LocalRuntime(*flows.WORKFLOWS, tables={flows.EFFECTS: ("pk",)})
    start = {"pack_seconds": 0, "label_fails": 0, "weigh_seconds": 0, "handover_seconds": 0, "deadline_seconds": 60}
    local.start(flows.Parcel, "1", start)
    local.advance(timedelta(minutes=2))
    script = Script("deadline", "Parcel", "1", ((Request("start"),),))
    account = read(local.store, script, [[OK]])
    assert audit([account], _effects(local), witness.runs).good
    early = [replace(entry, at=min(entry.at, account.logs[0][0].at + 30_000)) for entry in account.logs[0]]
    findings = audit([replace(account, logs=[early])], _effects(local), witness.runs)
    assert any("the deadline of step pickup came 30000 ms before its time" in one for one in findings.broken)


def _effects(local: LocalRuntime) -> dict[str, int]:
    return {item["pk"]: int(item["times"]) for item in local.tables[flows.EFFECTS].items()}


def test_a_seed_is_the_same_scripts_and_every_kind_comes() -> None:
    scripts = [write(number, Random(3)) for number in range(5)]
    assert scripts == [write(number, Random(3)) for number in range(5)]
    random = Random(5)
    kinds = {write(number, random).kind for number in range(400)}
    from benchmarks.soaking.scripts import KINDS

    assert kinds == set(KINDS)


class Never(Random):
    """Nothing comes twice, late or never."""

    def random(self) -> float:
        return 0.5


def test_a_message_that_was_taken_and_not_finished_comes_back() -> None:
    """As a worker that is killed leaves it; who finishes it late answers nobody twice."""
    answers: list[tuple[int, str]] = []
    exchange = Exchange(Never(), 0.05, lambda ticket, answer: answers.append((ticket, answer)))
    exchange.send(("call", 7))
    first = exchange.take(1)
    second = exchange.take(10)
    assert first is not None
    assert second is not None
    assert first[1] == second[1] == ("call", 7)
    exchange.finish(first[0], {}, "late")
    exchange.finish(second[0], {}, OK)
    assert answers == [(7, OK)]
    assert exchange.take(0.1) is None


def test_the_depth_of_a_queue_counts_messages_of_every_kind() -> None:
    """A sweep that waits is one of them; what wakes a part of a map waits in the other lane."""
    exchange = Exchange(Never(), 60, lambda *_: None)
    for message in (("sweep",), ("wake", "parcel::1"), ("wake", "hephaestus-map::1"), ("call", 7, "Parcel")):
        exchange.send(message)
    assert [exchange.depth(bulk) for bulk in (False, True)] == [3, 1]


def test_a_schedule_fires_once_and_one_that_is_removed_does_not() -> None:
    exchange = Exchange(Never(), 60, lambda *_: None)
    timeout = Timeout("parcel::1", "e64892557ff01234567", "pickup", "pickup.1", 0)
    other = replace(timeout, token="pickup.2")
    for _ in range(2):
        exchange.schedule(timeout)
    exchange.schedule(other)
    exchange.unschedule(other)
    taken = exchange.take(5)
    assert taken is not None
    assert taken[1] == ("timeout", timeout)
    assert exchange.take(0.1) is None
    assert exchange.schedules() == 0
