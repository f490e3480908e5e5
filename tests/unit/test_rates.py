"""Steps under rates: when they start, who stands in line, and what becomes of times that are not used (rule F.7)."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus import DONE, Concurrency, DefinitionError, Pending, RateLimit, Retry, Workflow, step
from hephaestus.costs import play
from hephaestus.handlers.http.describe import describe
from hephaestus.runtime.lines import waits_for
from hephaestus.runtime.registry import Registry
from hephaestus.steps import Map, WaitForEvent
from hephaestus.testing import LocalRuntime

if TYPE_CHECKING:
    from hephaestus import StepContext
    from hephaestus.definition.concurrency import Limit
    from hephaestus.definition.step import Step

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)


class Record:
    """When attempts started, in ms after the beginning, kept apart from the engine."""

    def __init__(self) -> None:
        self.local: LocalRuntime | None = None
        self.began = 0
        self.starts: list[tuple[str, int]] = []

    def runs(self, *limits: Limit, key: str = "work", **options: Any) -> Step:
        """A step that is recorded."""

        @step(key=key, limits=limits, **options)
        def work(ctx: StepContext) -> str:
            assert self.local is not None
            self.starts.append((ctx.instance_id.partition("::")[2], self.local.clock.now() - self.began))
            if ctx.initial.get("fails", 0) >= ctx.attempt:
                raise ValueError
            return "done"

        return work

    def on(self, *flows: type[Workflow]) -> LocalRuntime:
        """A runtime that is recorded."""
        self.local = LocalRuntime(*flows)
        self.began = self.local.clock.now()
        return self.local

    @property
    def times(self) -> list[int]:
        """The times alone."""
        return [at for _, at in self.starts]

    @property
    def names(self) -> list[str]:
        """The instances in the order of their starts."""
        return [name for name, _ in self.starts]


@pytest.fixture
def record() -> Record:
    """An empty record."""
    return Record()


def flow(first: Step, name: str = "Flow", **members: Any) -> type[Workflow]:
    """A workflow of one step."""
    transitions = {first: dict.fromkeys(first.events, DONE)}
    return type(name, (Workflow,), {"start_at": first, "transitions": transitions, **members}, key=name.lower())


def excess(times: list[int], every: int, burst: int) -> int:
    """By how many starts the worst window has too many: of ``t`` ms, ``burst`` and one each ``every`` ms, at most."""
    times = sorted(times)
    worst = -burst
    for first in range(len(times)):
        for last in range(first, len(times)):
            allowed = burst + (times[last] - times[first]) // every
            worst = max(worst, last - first + 1 - allowed)
    return worst


def test_as_many_start_at_once_as_the_burst_has_and_then_at_the_rate(record: Record) -> None:
    """Rule F.7. Those up to a minute ahead have a time of their own."""
    local = record.on(flow(record.runs(RateLimit("calls", 1, SECOND, burst=3))))
    for number in range(8):
        local.start("Flow", str(number))
    local.advance(MINUTE)
    assert record.times == [0, 0, 0, 1000, 2000, 3000, 4000, 5000]
    assert record.names == list("01234567")
    local.advance(MINUTE)
    local.start("Flow", "later")
    assert record.names[-1] == "later", "after a pause, the burst is there again"


def test_who_would_start_more_than_a_minute_later_stands_in_line(record: Record) -> None:
    """Rule F.7. It runs nothing meanwhile, and is called in the order of coming."""
    local = record.on(flow(record.runs(RateLimit("calls", 1, 10 * SECOND))))
    for number in range(20):
        local.start("Flow", f"{number:02d}")
        local.clock.sleep(1)
    line = local.store.rates.queue("calls").line
    assert [who.instance_id for who, _ in line] == [f"flow::{number:02d}" for number in range(7, 20)]
    waiting = local.store.load("flow::19")
    assert waiting is not None
    assert (waiting.owner, waiting.wake_at) == (None, None)
    local.advance(5 * MINUTE)
    assert record.names == [f"{number:02d}" for number in range(20)]
    assert record.times == [10_000 * number for number in range(20)]
    assert local.store.rates.queue("calls").line == ()


def test_no_window_has_too_many_when_instances_come_all_the_time(record: Record) -> None:
    """Rule F.7: burst + rate * t, also where places were not used."""
    local = record.on(flow(record.runs(RateLimit("calls", 4, 10 * SECOND, burst=3))))
    for number in range(60):
        local.start("Flow", str(number))
        local.advance(timedelta(milliseconds=(number * 7919) % 3100))
        if local.runner.get(f"flow::{number}").status == "waiting" and number % 3:
            local.runner.pause(f"flow::{number}")
    local.advance(10 * MINUTE)
    assert 20 < len(record.starts) < 60
    assert excess(record.times, 2500, 3) <= 0


@pytest.mark.parametrize("wait", [1999, 2000, 2001])
def test_waits_up_to_two_seconds_are_made_in_place(record: Record, wait: int) -> None:
    """Rule F.7. Longer ones by the instance's own alarm: nothing holds the Lambda."""
    local = record.on(flow(record.runs(RateLimit("calls", 1, timedelta(milliseconds=wait)))))
    local.start("Flow", "a")
    state = local.start("Flow", "b")
    if wait <= 2000:
        assert record.times == [0, wait]
        assert state.status == "completed"
        return
    known = local.store.load("flow::b")
    assert known is not None
    assert (state.status, known.owner, known.wake_at) == ("waiting", None, local.clock.now() + wait - 1200)
    local.advance(3 * SECOND)
    assert record.times == [0, wait]


@pytest.mark.parametrize("act", ["pause", "cancel"])
@pytest.mark.parametrize("place", ["reserved", "in line", "called"])
def test_a_place_that_is_not_used_is_lost(record: Record, act: str, place: str) -> None:
    """Rule F.7: pause and cancel give nothing back. Who stood in line leaves it."""
    local = record.on(flow(record.runs(RateLimit("calls", 1, 10 * SECOND))))
    for number in range(12):
        local.start("Flow", f"{number:02d}")
        local.clock.sleep(1)
    name = {"reserved": "03", "in line": "10", "called": "07"}[place]
    if place == "called":
        while not {who.instance_id: at for who, at in local.store.rates.queue("calls").line}.get("flow::07"):
            local.advance(SECOND)
    getattr(local.runner, act)(f"flow::{name}")
    local.settle()
    assert all(who.instance_id != f"flow::{name}" for who, _ in local.store.rates.queue("calls").line)
    local.advance(5 * MINUTE)
    lost = {"reserved": [30_000], "in line": [110_000], "called": [70_000]}[place]
    assert record.times == [at for at in range(0, 120_000, 10_000) if at not in lost]
    if act == "pause":
        local.runner.unpause(f"flow::{name}")
        local.advance(MINUTE)
        assert record.names[-1] == name, "it reserves anew"


def test_each_attempt_and_each_round_reserves_a_time_of_its_own(record: Record) -> None:
    quick = Retry(max_attempts=3, delay=SECOND, backoff="constant", jitter="none")
    local = record.on(flow(record.runs(RateLimit("calls", 1, 10 * SECOND), retry=quick)))
    local.start("Flow", "a", {"fails": 2})
    local.advance(MINUTE)
    assert record.times == [0, 10_000, 20_000]


def test_a_higher_cost_takes_more_places(record: Record) -> None:
    big = RateLimit("calls", 1, SECOND, burst=10, cost=10)
    small = RateLimit("calls", 1, SECOND, burst=10)
    local = record.on(flow(record.runs(big)), flow(record.runs(small), "Small"))
    for name in "abc":
        local.start("Flow", name)
    local.start("Small", "d")
    local.advance(MINUTE)
    assert record.starts == [("a", 0), ("b", 10_000), ("c", 20_000), ("d", 21_000)]


def test_priority_orders_the_line(record: Record) -> None:
    """Rule F.5. A unit is worth a minute; who has reserved already keeps its time."""
    plain, urgent = RateLimit("calls", 1, 30 * SECOND), RateLimit("calls", 1, 30 * SECOND, priority=2)
    local = record.on(flow(record.runs(plain)), flow(record.runs(urgent), "Urgent"))
    for name in "abcde":
        local.start("Flow", name)
        local.clock.sleep(1)
    local.start("Urgent", "now")
    local.advance(5 * MINUTE)
    assert record.names == ["a", "b", "c", "now", "d", "e"]


def test_each_value_of_per_has_a_rate_of_its_own(record: Record) -> None:
    """Rule F.9."""
    limit = RateLimit("calls", 1, 10 * SECOND, per=lambda ctx: str(ctx.initial["account"]))
    local = record.on(flow(record.runs(limit)))
    for name, account in (("a", "x"), ("b", "y"), ("c", "x")):
        local.start("Flow", name, {"account": account})
    local.advance(MINUTE)
    assert record.starts == [("a", 0), ("b", 0), ("c", 10_000)]


def test_an_attempt_that_needs_two_rates_has_one_time_for_both(record: Record) -> None:
    """And waits in the line of the one that is far ahead; who needs the other alone goes on."""
    calls, tokens = RateLimit("calls", 1, SECOND, burst=5), RateLimit("tokens", 1, 20 * SECOND)
    local = record.on(
        flow(record.runs(calls, tokens)), flow(record.runs(calls), "Calls"), flow(record.runs(tokens), "Tokens")
    )
    for number in range(6):
        local.start("Flow", f"both{number}")
        local.clock.sleep(1)
        local.start("Tokens", f"tokens{number}")
        local.clock.sleep(1)
    local.start("Calls", "alone")
    assert record.names[-1] == "alone"
    local.advance(10 * MINUTE)
    assert len(record.starts) == 13
    of_tokens = [at for name, at in record.starts if name != "alone"]
    assert of_tokens == [20_000 * number for number in range(12)]
    order = [f"{kind}{number}" for number in range(6) for kind in ("both", "tokens")]
    assert [name for name in record.names if name != "alone"] == order


def test_permits_are_taken_first_and_not_held_in_the_line_of_a_rate(record: Record) -> None:
    """Rules F.3 and F.7: held for a minute at most before the start, and by no one who stands in line."""
    slots, calls = Concurrency("slots", 2), RateLimit("calls", 1, 20 * SECOND)
    local = record.on(flow(record.runs(slots, calls)), flow(record.runs(calls), "Calls"))
    for number in range(8):
        local.start("Calls", f"c{number}")
        local.start("Flow", f"f{number}")
        local.clock.sleep(1)
    for _ in range(600):
        local.advance(SECOND)
        for permit in local.store.permits.usage("slots").permits:
            assert local.clock.now() - permit.grant.at <= 61_000, "no one holds a permit in a line"
    assert len(record.starts) == 16
    assert excess(record.times, 20_000, 1) <= 0
    assert record.times[-1] <= 25 * 20_000, "few places are lost"
    assert local.store.permits.usage("slots").permits == ()


def test_held_by_a_step_permits_are_kept_while_a_retry_waits_for_its_time(record: Record) -> None:
    """Rule F.2: until the step's outcome, waits included."""
    slots, calls = Concurrency("slots", 1, held="step"), RateLimit("calls", 1, 40 * SECOND)
    quick = Retry(max_attempts=2, delay=SECOND, backoff="constant", jitter="none")
    local = record.on(flow(record.runs(slots, calls, retry=quick)), flow(record.runs(calls), "Calls"))
    local.start("Flow", "a", {"fails": 1})
    for name in "bcd":
        local.start("Calls", name)
    holders = set()
    for _ in range(300):
        local.advance(SECOND)
        if [name for name, _ in record.starts].count("a") == 1:
            holders |= {permit.holder.instance_id for permit in local.store.permits.usage("slots").permits}
            assert local.store.permits.usage("slots").permits
    assert holders == {"flow::a"}
    assert record.names.count("a") == 2
    assert excess(record.times, 40_000, 1) <= 0


def test_who_is_woken_late_does_not_start_late(record: Record) -> None:
    """Rule F.7: its place is lost, and it goes before all that stand in line."""
    local = record.on(flow(record.runs(RateLimit("calls", 1, 10 * SECOND))))
    for number in range(10):
        local.start("Flow", f"{number:02d}")
        local.clock.sleep(1)
    local.clock.move_to(local.clock.now() + 34_000)  # no message comes in time
    local.advance(5 * MINUTE)
    assert excess(record.times, 10_000, 1) <= 0
    assert sorted(record.names) == [f"{number:02d}" for number in range(10)]


@pytest.mark.parametrize("lost", ["call", "wake"])
def test_what_a_lost_message_was_for_the_sweep_does(record: Record, lost: str) -> None:
    """Rule F.7: the alarm of the line has it called; who was called and does not come is called again."""
    local = record.on(flow(record.runs(RateLimit("calls", 1, 10 * SECOND))))
    for number in range(10):
        local.start("Flow", f"{number:02d}")
        local.clock.sleep(1)
    sent = local.queue.wake
    gone: list[str] = []

    def wake(instance_id: str, delay_ms: int = 0) -> None:
        of_line = instance_id.startswith("rate#")
        if len(gone) < 2 and of_line == (lost == "call") and delay_ms:
            gone.append(instance_id)
        else:
            sent(instance_id, delay_ms)

    if lost == "call":
        local.queue.pop_due(local.clock.now() + 900_000)  # what was sent before is lost, too
        for number in range(1, 7):
            sent(f"flow::{number:02d}", 10_000 * number)
    else:
        local.queue.wake = wake  # type: ignore[method-assign]  # messages are lost
    local.advance(2 * MINUTE)
    assert len(record.starts) < 10
    for _ in range(10):
        local.sweep()
        local.advance(MINUTE)
    assert sorted(record.names) == [f"{number:02d}" for number in range(10)]
    assert excess(record.times, 10_000, 1) <= 0
    assert local.store.rates.queue("calls").line == ()
    assert local.store.overdue(local.clock.now() + 10**9, 10).items == (), "no alarm is left"


def test_a_line_whose_next_call_is_far_ahead_costs_no_more_than_a_message_in_a_quarter_of_an_hour(
    record: Record,
) -> None:
    local = record.on(flow(record.runs(RateLimit("calls", 1, timedelta(hours=1)))))
    for name in "abc":
        local.start("Flow", name)
        local.clock.sleep(1)
    local.advance(timedelta(hours=3))
    assert record.times == [0, 3_600_000, 7_200_000]


def test_an_instance_that_waits_for_its_time_does_other_work(record: Record) -> None:
    limited, plain = record.runs(RateLimit("calls", 1, MINUTE)), record.runs(key="plain")
    begin, end = (step(key=name)(lambda ctx: "done") for name in ("begin", "end"))
    asked = WaitForEvent("ok", name="asked")

    class Wide(Workflow, key="wide"):
        start_at = begin
        transitions = {
            begin: {"done": [limited, plain, asked]},
            limited: {"done": end},
            plain: {"done": end},
            asked: {"ok": end},
            end: {"done": DONE},
        }

    local = record.on(Wide)
    local.start("Wide", "a")
    local.start("Wide", "b")
    assert record.names == ["a", "a", "b"]
    local.resume("wide::b", "ok")
    local.resume("wide::a", "ok")
    local.advance(2 * MINUTE)
    assert record.starts[-1] == ("b", 60_000)
    assert {local.runner.get(f"wide::{name}").status for name in "ab"} == {"completed"}


def test_what_waits_says_for_what(record: Record) -> None:
    local = record.on(flow(record.runs(RateLimit("calls", 1, 40 * SECOND))))
    for name in "abcd":
        local.start("Flow", name)
        local.clock.sleep(1)

    def said(name: str) -> dict[str, str]:
        state = local.store.load(f"flow::{name}")
        assert state is not None
        return waits_for(state, local.store, local.clock.now())

    assert said("b") == {"work": "starts in 39 s, as `calls` allows"}
    assert said("c") == {"work": "waits for `calls`, first in line"}
    assert said("d") == {"work": "waits for `calls`, second in line"}


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"name": "a b"}, "the name 'a b' is invalid"),
        ({"n": 0}, "n is 0"),
        ({"n": -1}, "n is -1"),
        ({"n": 2.5}, "n is 2.5"),
        ({"n": True}, "n is True"),
        ({"n": 1001}, "1001 starts in 1 s are more than 1000 a second"),
        ({"period": 0}, "period is 0"),
        ({"period": -1}, "period is -1"),
        ({"period": 0.5}, "period is 0.5"),
        ({"period": timedelta(days=32)}, "period is"),
        ({"period": "minute"}, "period is 'minute'"),
        ({"burst": 0}, "burst is 0"),
        ({"burst": 1_000_001}, "burst is 1000001"),
        ({"cost": 0}, "cost is 0"),
        ({"cost": -3}, "cost is -3"),
        ({"cost": 2}, "cost is 2. Give a whole number from 1 to its burst, 1"),
        ({"burst": 5, "cost": 6}, "cost is 6. Give a whole number from 1 to its burst, 5"),
        ({"per": 5}, "its per"),
        ({"priority": 1e9}, "priority is"),
        ({"priority": 11}, "priority is 11"),
    ],
)
def test_a_rate_that_makes_no_sense_is_rejected(given: dict[str, Any], problem: str) -> None:
    """Rule F.7: a cost above the burst, too."""
    arguments = {"name": "calls", "n": 1, "period": SECOND, **given}
    with pytest.raises(DefinitionError) as raised:
        RateLimit(**arguments)
    assert problem.lower() in str(raised.value).lower()


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (RateLimit("calls", 2, SECOND), "2 starts in 1 s with a burst of 1"),
        (RateLimit("calls", 1, 2 * SECOND), "1 starts in 2 s with a burst of 1"),
        (RateLimit("calls", 1, SECOND, burst=2), "1 starts in 1 s with a burst of 2"),
        (Concurrency("calls", 3), "3 permits"),
    ],
)
def test_one_name_has_one_rate(other: Limit, words: str, record: Record) -> None:
    """Rule F.8. In one workflow, and in one deployment; it may be used at several costs and priorities."""
    same = RateLimit("calls", 1, SECOND)
    mine, others = flow(record.runs(same)), flow(record.runs(other), "Other")
    with pytest.raises(DefinitionError, match=f"its limit 'calls' has {words}, and 1 starts in 1 s"):
        Registry([mine, others]).names()
    with pytest.raises(DefinitionError, match="names the limit 'calls' twice"):
        flow(record.runs(same, other))


def test_one_rate_may_be_used_at_several_costs(record: Record) -> None:
    """Rule F.8."""
    kinds = [RateLimit("calls", 1, SECOND, burst=5, cost=cost, priority=cost) for cost in (1, 5)]
    assert len(Registry([flow(record.runs(limit), f"Flow{limit.cost}") for limit in kinds]).names()) == 2


def test_what_per_raises_is_an_error_of_the_step(record: Record) -> None:
    """Rule F.9."""
    limit = RateLimit("calls", 1, SECOND, per=lambda ctx: str(ctx.initial["account"]))
    local = record.on(flow(record.runs(limit, retry=Retry(max_attempts=1))))
    assert local.start("Flow", "a").status == "failed"
    assert record.starts == []


def test_a_step_that_waits_gives_its_place_back_to_no_one(record: Record) -> None:
    """A place is used by a start, however long the attempt lasts."""

    @step(limits=[RateLimit("calls", 1, 10 * SECOND)], events=("ok",))
    def asks(_ctx: StepContext) -> Pending:
        return Pending()

    local = record.on(flow(asks))
    local.start("Flow", "a")
    local.start("Flow", "b")
    local.advance(10 * SECOND)
    assert [local.runner.get(f"flow::{name}").steps["asks"].status for name in "ab"] == ["waiting", "waiting"]


def test_what_rates_cost_is_counted_and_shown(record: Record) -> None:
    """By ``hephaestus cost``, from what ``GET /workflows`` says of a step: its limits."""
    limits = [RateLimit("calls", 500, MINUTE, burst=50, cost=2), Concurrency("slots", 3)]
    limited, plain = (describe(flow(record.runs(*named)))["versions"][0] for named in (limits, ()))
    rate = {"name": "calls", "n": 500, "period_seconds": 60.0, "burst": 50, "cost": 2}
    assert limited["steps"][0]["limits"] == [rate, {"name": "slots", "n": 3}]
    assert "limits" not in plain["steps"][0]
    more = play(limited).write_units - play(plain).write_units
    assert more == 3 + 2 + 1 + 1, "it reserves and takes for the first time, and gives back, is named"


def test_a_workflow_has_no_rate_of_its_own(record: Record) -> None:
    work = record.runs()
    members = {"start_at": work, "transitions": {work: {"done": DONE}}}
    with pytest.raises(DefinitionError, match="names the rate 'calls'"):
        type("Whole", (Workflow,), members, key="whole", limits=[RateLimit("calls", 1, SECOND)])


def test_a_workflow_for_each_item_of_a_map_may_have_a_rate(record: Record) -> None:
    rated = record.runs(RateLimit("calls", 1, SECOND))
    item = flow(rated, "Item")
    every = Map(item, over=lambda _: [{"n": number} for number in range(3)], name="every")
    local = record.on(flow(every, "Whole"), item)
    local.start("Whole", "a")
    local.advance(MINUTE)
    assert record.times == [0, 1000, 2000]
