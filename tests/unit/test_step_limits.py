"""Steps under limits: who runs, who stands in line, and what becomes of permits (rules F.1 to F.5, F.9)."""

from __future__ import annotations

from datetime import timedelta
from threading import Event
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus import DONE, Again, Concurrency, DefinitionError, Pending, Retry, Rounds, Workflow, step
from hephaestus.adapters.memory import MemoryStore
from hephaestus.errors import EngineSignal
from hephaestus.runtime.dispatch import Budget, InPlace
from hephaestus.runtime.registry import Registry
from hephaestus.steps import Poll, WaitForEvent
from hephaestus.testing import LocalRuntime

ONCE = Retry(max_attempts=1)

if TYPE_CHECKING:
    from collections.abc import Callable

    from hephaestus import StepContext
    from hephaestus.definition.step import Step

NOW = timedelta(0)


def waiting(*limits: Concurrency, key: str = "work", **options: Any) -> Step:
    """A step that runs, waits for ``ok`` or ``again``, and holds its permits all the time."""

    @step(key=key, limits=limits, events=("ok",), **options)
    def work(_ctx: StepContext) -> Pending:
        return Pending()

    return work


def flow(first: Step, name: str = "Flow", **members: Any) -> type[Workflow]:
    """A workflow of one step."""
    transitions = {first: dict.fromkeys(first.events, DONE)}
    return type(name, (Workflow,), {"start_at": first, "transitions": transitions, **members}, key=name.lower())


def whole(name: str = "one", n: int = 1, **options: Any) -> Concurrency:
    """A limit that is held until the step's outcome."""
    return Concurrency(name, n, held="step", **options)


def statuses(local: LocalRuntime, *ids: str) -> list[str]:
    """Of each instance: its step ``holds`` a permit, stands in ``line``, or how the instance is."""
    found: list[str] = []
    for name in ids:
        state = local.store.load(f"flow::{name}")
        assert state is not None
        found.append("line" if state.queued else "holds" if state.permits else state.status)
    return found


def held(local: LocalRuntime, limit: str = "one") -> list[str]:
    """Who has the permits."""
    return [permit.holder.instance_id.removeprefix("flow::") for permit in local.store.permits.usage(limit).permits]


def line(local: LocalRuntime, limit: str = "one") -> list[str]:
    """Who stands in line."""
    return [one.instance_id.removeprefix("flow::") for one in local.store.permits.usage(limit).line]


def test_who_comes_when_all_permits_are_held_stands_in_line() -> None:
    """Rule F.4. And is granted the permit, in the order of coming, by who gives it back; without any sweep."""
    local = LocalRuntime(flow(waiting(whole(n=2))))
    for name in "abcde":
        local.start("Flow", name)
        local.advance(timedelta(seconds=1))
    assert statuses(local, *"abcde") == ["holds", "holds", "line", "line", "line"]
    assert line(local) == ["c", "d", "e"]
    for name, holders in (("b", "ac"), ("a", "cd"), ("c", "de"), ("d", "e"), ("e", "")):
        local.resume(f"flow::{name}", "ok")
        assert sorted(held(local)) == list(holders)
        assert local.store.load(f"flow::{name}").status == "completed"  # type: ignore[union-attr]  # it is there
    assert line(local) == []


def test_what_stands_in_line_runs_nothing_and_wakes_for_nothing() -> None:
    """Rule D.12 of the engine's: no thread, no Lambda, no alarm; the log says that it stands in line."""
    local = LocalRuntime(flow(waiting(whole())))
    local.start("Flow", "a")
    shown = local.start("Flow", "b")
    state = local.store.load("flow::b")
    assert state is not None
    assert (shown.status, state.owner, state.wake_at) == ("waiting", None, None)
    local.advance(timedelta(days=3))
    again = local.store.load("flow::b")
    assert again is not None
    assert again.sequence == state.sequence


def test_a_permit_is_held_while_an_attempt_runs() -> None:
    """Rule F.2. By default: neither while it waits nor between two attempts."""
    seen: list[list[str]] = []
    limit = Concurrency("one", 1)
    local: LocalRuntime

    @step(key="work", limits=[limit], events=("ok",), retry=Retry(max_attempts=2, delay=timedelta(minutes=1)))
    def work(ctx: StepContext) -> Pending:
        seen.append(held(local))
        if ctx.attempt == 1:
            raise ValueError
        return Pending()

    local = LocalRuntime(flow(work))
    local.start("Flow", "a")
    assert (seen, held(local)) == ([["a"]], [])
    local.advance(timedelta(hours=1))
    assert (seen, held(local), statuses(local, "a")) == ([["a"], ["a"]], [], ["waiting"])


def test_held_by_a_step_it_is_held_over_retries_and_waits() -> None:
    """Rule F.2. Until its outcome."""
    limit = whole()

    @step(key="work", limits=[limit], events=("ok",), retry=Retry(max_attempts=2, delay=timedelta(minutes=1)))
    def work(ctx: StepContext) -> Pending:
        if ctx.attempt == 1:
            raise ValueError
        return Pending()

    local = LocalRuntime(flow(work))
    local.start("Flow", "a")
    assert held(local) == ["a"]
    local.advance(timedelta(hours=1))
    assert held(local) == ["a"]
    local.resume("flow::a", "ok")
    assert held(local) == []


def nested(local: Callable[[], LocalRuntime], limit: Concurrency, seen: dict[str, list[str]], **options: Any) -> Step:
    """A step of which ``a`` has another instance started, and woken, while it runs."""

    @step(key="work", limits=[limit], **options)
    def work(ctx: StepContext) -> str:
        seen[ctx.instance_id.removeprefix("flow::")] = held(local())
        if ctx.instance_id == "flow::a" and ctx.attempt == 1:
            local().start("Flow", "b")
            seen["line"] = line(local())
        if ctx.initial.get("fails"):
            raise ValueError
        return "done"

    return work


@pytest.mark.parametrize("context", [{}, {"fails": True}])
def test_an_attempt_gives_its_permit_to_the_first_in_line(context: dict[str, bool]) -> None:
    """However it ends."""
    seen: dict[str, list[str]] = {}
    local: LocalRuntime
    work = nested(lambda: local, Concurrency("one", 1), seen, retry=Retry(max_attempts=1))
    local = LocalRuntime(flow(work))
    local.start("Flow", "a", context)
    assert seen == {"a": ["a"], "line": ["b"], "b": ["b"]}
    assert statuses(local, "a", "b") == ["failed" if context else "completed", "completed"]
    assert held(local) == []


def test_a_step_takes_all_of_its_permits_or_none() -> None:
    """Rule F.3. It stands in the line of the one that is full, then of the other, and holds none meanwhile."""
    one, two = whole("one"), whole("two")
    local = LocalRuntime(
        flow(waiting(one)),
        flow(waiting(two), "Other"),
        flow(waiting(one, two), "Both"),
    )
    local.start("Flow", "a")
    local.start("Other", "b")
    local.start("Both", "c")
    assert (held(local), held(local, "two")) == (["a"], ["other::b"])
    assert (line(local), line(local, "two")) == (["both::c"], [])
    local.resume("flow::a", "ok")
    assert (held(local), held(local, "two")) == ([], ["other::b"])
    assert (line(local), line(local, "two")) == ([], ["both::c"])
    local.resume("other::b", "ok")
    assert (held(local), held(local, "two")) == (["both::c"], ["both::c"])
    local.resume("both::c", "ok")
    assert (held(local), held(local, "two"), line(local, "two")) == ([], [], [])


@pytest.mark.parametrize("act", ["pause", "cancel"])
@pytest.mark.parametrize("granted", [False, True])
def test_pause_and_cancel_leave_the_line(act: str, granted: bool) -> None:
    """Rule F.4. And give back what was granted and not taken up."""
    local = LocalRuntime(flow(waiting(whole())))
    for name in "abc":
        local.start("Flow", name)
        local.advance(timedelta(seconds=1))
    if granted:
        here = InPlace(Budget(local.clock.now() + 600_000))
        local.runner.resume("flow::a", "ok", dispatch=here)
        assert held(local) == ["b"]
    getattr(local.runner, act)("flow::b")
    assert (held(local), line(local)) == ((["c"], []) if granted else (["a"], ["c"]))
    local.advance(timedelta(minutes=5))
    assert statuses(local, "b") == ["cancelled" if act == "cancel" else "waiting"]
    if not granted:
        local.resume("flow::a", "ok")
    local.resume("flow::c", "ok")
    assert (held(local), line(local)) == ([], [])
    if act == "pause":
        local.runner.unpause("flow::b")
        local.settle()
        assert held(local) == ["b"]


def test_priority_is_worth_a_minute_in_line() -> None:
    """Rule F.5. A unit of it; among equals who came first is first."""
    low, high = waiting(whole(priority=0)), waiting(whole(priority=2), key="high")
    local = LocalRuntime(flow(low), flow(high, "High"))
    local.start("Flow", "a")
    local.start("Flow", "early")
    local.advance(timedelta(seconds=119))
    local.start("High", "x")
    assert line(local) == ["high::x", "early"]
    local.advance(timedelta(seconds=2))
    local.start("High", "y")
    assert line(local) == ["high::x", "early", "high::y"]


def test_per_has_permits_of_its_own_for_each_value() -> None:
    """Rule F.9."""
    limit = whole(per=lambda ctx: ctx.initial["tenant"])
    local = LocalRuntime(flow(waiting(limit)))
    for name, tenant in (("a", "x"), ("b", "y"), ("c", "x")):
        local.start("Flow", name, {"tenant": tenant})
    assert statuses(local, "a", "b", "c") == ["holds", "holds", "line"]
    assert (held(local, "one#x"), held(local, "one#y"), line(local, "one#x")) == (["a"], ["b"], ["c"])


@pytest.mark.parametrize("value", [None, {"a": 1}, "", "x" * 129, "x" * 10_240, "a\nb", 7])
def test_a_per_that_gives_no_name_is_the_steps_error(value: Any) -> None:
    """Rule F.9."""
    local = LocalRuntime(flow(waiting(whole(per=lambda _: value))))
    shown = local.start("Flow", "a")
    assert shown.status == "failed"
    assert shown.error is not None
    assert "the per of limit one gave" in shown.error["message"]


def test_a_per_that_raises_is_the_steps_error() -> None:
    """Rule F.9. And is asked again as often as the step is tried."""
    asked = []

    def per(ctx: StepContext) -> str:
        asked.append(ctx.attempt)
        return str(ctx.initial["tenant"])

    local = LocalRuntime(flow(waiting(whole(per=per), retry=Retry(max_attempts=2))))
    local.start("Flow", "a")
    local.advance(timedelta(minutes=5))
    assert statuses(local, "a") == ["failed"]
    assert asked == [1, 2]


class Killed(EngineSignal):
    """The process is gone."""


def test_invariant_14_a_per_that_kills_its_process_ends_as_the_steps_outcome() -> None:
    asked = []

    def per(ctx: StepContext) -> str:
        asked.append(ctx.attempt)
        raise Killed

    local = LocalRuntime(flow(waiting(whole(per=per), retry=Retry(max_attempts=3))))
    local.runner.start_instance("Flow", {}, id="a")
    for _ in range(20):
        try:
            local.advance(timedelta(minutes=20))
            local.sweep()
        except Killed:
            continue
    assert statuses(local, "a") == ["failed"]
    assert len(asked) <= 4


def asked_until_the_end(workflow: type[Workflow]) -> LocalRuntime:
    """A workflow whose ``per`` kills its process, until it has ended."""
    local = LocalRuntime(workflow)
    local.runner.start_instance("Flow", {}, id="a")
    for _ in range(20):
        try:
            local.advance(timedelta(minutes=20))
            local.sweep()
        except Killed:
            continue
    return local


def killing(_ctx: StepContext) -> str:
    """A ``per`` that takes its process with it."""
    raise Killed


@pytest.mark.parametrize(
    "options", [{}, {"semantics": "at_most_once"}, {"checkpoint": False}, {"limits": [Concurrency("other", 1)]}]
)
def test_what_ended_before_a_per_that_kills_is_not_to_blame(options: dict[str, Any]) -> None:
    """Rule A.2: it has ended, which is committed before ``per`` is asked."""
    ran: list[int] = []

    @step(key="before", **options)
    def before(ctx: StepContext) -> str:
        ran.append(ctx.attempt)
        return "done"

    per = waiting(whole(per=killing), retry=Retry(max_attempts=3))
    local = asked_until_the_end(flow(before, transitions={before: {"done": per}, per: {"ok": DONE}}))
    shown = local.runner.get("flow::a")
    assert (shown.status, shown.steps["work"].status) == ("failed", "failed")
    assert "asked for the per of its limits" in str(shown.error)
    assert ran == [1]


def test_what_runs_beside_a_per_that_kills_has_spent_no_attempt() -> None:
    """Rule A.2: two were under way, and each then runs with nothing beside it."""
    asked, ran = Event(), []

    def per(ctx: StepContext) -> str:
        asked.set()
        return killing(ctx)

    @step(key="beside", retry=ONCE)
    def beside(ctx: StepContext) -> str:
        ran.append(ctx.attempt)
        asked.wait(20)
        return "done"

    first, fast, end = [step(key=key)(lambda _: "done") for key in ("first", "fast", "end")]
    last = waiting(whole(per=per), retry=Retry(max_attempts=3))
    routes = {first: {"done": [beside, fast]}, fast: {"done": last}, beside: {"done": end}, last: {"ok": end}}
    routes[end] = {"done": DONE}
    local = asked_until_the_end(flow(first, transitions=routes))
    shown = local.runner.get("flow::a")
    assert (shown.status, shown.steps["work"].status) == ("failed", "failed")
    assert shown.steps["beside"].status == "completed"
    assert set(ran) == {1}


def test_each_round_has_a_permit_of_its_own() -> None:
    seen: dict[str, list[str]] = {}
    limit = Concurrency("one", 1)
    local: LocalRuntime

    @step(key="work", limits=[limit], rounds=Rounds(5))
    def work(ctx: StepContext) -> Any:
        seen[f"{ctx.instance_id} {ctx.round}"] = held(local)
        if ctx.instance_id == "flow::a" and ctx.round == 1:
            local.start("Flow", "b")
        return Again() if ctx.round < 3 else "done"

    local = LocalRuntime(flow(work))
    local.start("Flow", "a")
    assert statuses(local, "a", "b") == ["completed", "completed"]
    assert seen == {f"flow::{name} {number}": [name] for name in "ab" for number in (1, 2, 3)}


@pytest.mark.parametrize("hold", ["attempt", "step"])
def test_each_question_of_a_poll_has_a_permit_of_its_own(hold: Any) -> None:
    """Rule F.2. It is given back before the next: a round is held for by itself."""
    seen: list[list[str]] = []
    local: LocalRuntime

    def check(ctx: StepContext) -> bool:
        seen.append(held(local))
        return ctx.round == 3

    ask = Poll(check, every=60, rounds=Rounds(9), limits=[Concurrency("one", 1, held=hold)])
    local = LocalRuntime(flow(ask))
    local.start("Flow", "a")
    assert (seen, held(local)) == ([["a"]], [])
    local.start("Flow", "b")
    local.advance(timedelta(minutes=5))
    assert statuses(local, "a", "b") == ["completed", "completed"]
    assert (sorted(seen), held(local)) == ([["a"]] * 3 + [["b"]] * 3, [])


def test_an_event_that_ends_a_poll_finds_it_in_line() -> None:
    """It leaves the line."""
    ask = Poll(
        lambda _: False, every=60, rounds=Rounds(9), ends_on=("stop",), name="ask", limits=[Concurrency("one", 1)]
    )
    local = LocalRuntime(flow(waiting(whole())), flow(ask, "Asks"))
    local.start("Asks", "p")
    local.start("Flow", "a")
    local.advance(timedelta(minutes=2))
    assert line(local) == ["asks::p"]
    local.resume("asks::p", "stop")
    assert (line(local), held(local)) == ([], ["a"])
    assert local.runner.get("asks::p").status == "completed"


def test_what_is_beside_goes_on_while_a_step_stands_in_line() -> None:
    """And a deadline that comes meanwhile is kept."""

    @step(key="begin")
    def begin(_ctx: StepContext) -> str:
        return "done"

    @step(key="beside")
    def beside(_ctx: StepContext) -> str:
        return "done"

    limited, end = waiting(whole(), key="limited"), step(key="end")(lambda _: "done")
    late = WaitForEvent("never", timeout=timedelta(minutes=5), name="late")

    class Wide(Workflow, key="wide"):
        start_at = begin
        transitions = {
            begin: {"done": [limited, beside]},
            limited: {"ok": end},
            beside: {"done": late},
            late: {"never": end, "timeout": end},
            end: {"done": DONE},
        }

    local = LocalRuntime(flow(waiting(whole())), Wide)
    local.start("Flow", "a")
    local.start(Wide, "w")
    local.advance(timedelta(minutes=6))
    shown = local.runner.get("wide::w")
    assert (shown.steps["late"].event, line(local)) == ("timeout", ["wide::w"])
    local.resume("flow::a", "ok")
    local.resume("wide::w", "ok")
    assert local.runner.get("wide::w").status == "completed"


def test_a_workflow_that_times_out_leaves_the_line() -> None:
    local = LocalRuntime(flow(waiting(whole())), flow(waiting(whole()), "Short", timeout=timedelta(minutes=1)))
    local.start("Flow", "a")
    local.start("Short", "s")
    assert line(local) == ["short::s"]
    local.advance(timedelta(minutes=3))
    assert (local.runner.get("short::s").status, line(local)) == ("failed", [])


def test_a_limit_of_zero_stops_what_names_it() -> None:
    """Until it is deployed with another number."""
    store = MemoryStore()
    stopped = LocalRuntime(flow(waiting(whole(n=0))), store=store)
    stopped.start("Flow", "a")
    stopped.advance(timedelta(days=1))
    assert statuses(stopped, "a") == ["line"]


def test_the_sweep_frees_a_permit_that_its_holders_log_does_not_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule F.1: its owner died between taking it and the commit; who stands in line has it a minute later."""
    local = LocalRuntime(flow(waiting(whole())))
    taking = local.store.permits.take

    def dies(*arguments: Any) -> Any:
        taking(*arguments)
        raise Killed

    monkeypatch.setattr(local.store.permits, "take", dies)
    local.runner.start_instance("Flow", {}, id="a")
    with pytest.raises(Killed):
        local.settle()
    monkeypatch.undo()
    assert held(local) == ["a"]
    local.runner.cancel("flow::a")
    local.start("Flow", "b")
    assert (held(local), line(local)) == (["a"], ["b"])
    local.advance(timedelta(seconds=59))
    local.sweep()
    assert (held(local), line(local)) == (["a"], ["b"])
    local.advance(timedelta(seconds=1))
    local.sweep()
    assert (held(local), line(local)) == (["b"], [])
    assert statuses(local, "b") == ["holds"]


def test_a_retry_in_place_takes_its_permit_anew() -> None:
    """A pause below a second names the attempt that comes: not one that needs a permit first."""
    seen: list[list[str]] = []
    quick = Retry(max_attempts=3, delay=timedelta(milliseconds=200), jitter="none", backoff="constant")
    local: LocalRuntime

    @step(key="work", limits=[Concurrency("one", 1)], retry=quick)
    def work(ctx: StepContext) -> str:
        seen.append(held(local))
        if ctx.attempt < 3:
            raise ValueError
        return "done"

    local = LocalRuntime(flow(work))
    assert local.start("Flow", "a").status == "completed"
    assert seen == [["a"]] * 3


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"n": -1}, "n is -1"),
        ({"n": 4001}, "from 0 to 4000"),
        ({"n": True}, "n is True"),
        ({"name": "a#b"}, "the name 'a#b' is invalid"),
        ({"name": 7}, "the name 7 is invalid"),
        ({"per": 3}, "its per"),
        ({"held": "always"}, "held is 'always'"),
        ({"priority": 1e9}, "priority is 1000000000.0"),
        ({"priority": 11}, "from -10 to 10"),
    ],
)
def test_a_limit_that_is_none_is_rejected(given: dict[str, Any], words: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        Concurrency(**{"name": "one", "n": 1, **given})
    assert words in str(caught.value)


ONE = Concurrency("one", 1)
NO_LIST: Any = "one"
LIMITED: Any = waiting(ONE)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda: waiting(ONE, ONE), "names the limit 'one' twice"),
        (lambda: waiting(ONE, checkpoint=False), "checkpoint=False and limits"),
        (lambda: step(key="work", limits=NO_LIST)(lambda _: "done"), "limits is"),
        (lambda: step(key="work", limits=[NO_LIST])(lambda _: "done"), "limits is"),
        (lambda: Poll(LIMITED, every=1, rounds=Rounds(2)), "the limits to the poll"),
    ],
)
def test_limits_that_cannot_be_kept_are_rejected(made: Callable[[], Step], words: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        flow(made())
    assert words in str(caught.value)


def test_two_numbers_of_one_limit_are_rejected() -> None:
    """Rule F.8. In one workflow, and in one deployment."""
    one, two = waiting(Concurrency("one", 1)), waiting(Concurrency("one", 2), key="other")
    with pytest.raises(DefinitionError, match="its limit 'one' has 2 permits, and 1 permit in work"):

        class Both(Workflow, key="both"):
            start_at = one
            transitions = {one: {"ok": two}, two: {"ok": DONE}}

    with pytest.raises(DefinitionError, match="its limit 'one' has 2 permits, and 1 permit in Flow"):
        Registry([flow(one), flow(two, "Other")]).names()
