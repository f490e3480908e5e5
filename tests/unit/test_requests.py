"""A request that is repeated under its id happens once, and an id is never another request's."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from hephaestus import (
    DONE,
    Pending,
    RequestIdReused,
    Retry,
    StepContext,
    UnexpectedEvent,
    UnknownWorkflow,
    Workflow,
    step,
)
from hephaestus.engine.codec import dump_state, load_state
from hephaestus.engine.events import HeartbeatReceived
from hephaestus.engine.fold import begin, fold
from hephaestus.engine.requests import WINDOW, named, remember, repeats, short
from hephaestus.engine.state import State
from hephaestus.errors import (
    AlreadyRunning,
    BadRequest,
    CallerError,
    InstanceClosed,
    InstanceNotFound,
    InvalidInput,
    LinkUsed,
)
from hephaestus.runtime.caller import Caller
from hephaestus.runtime.intake import request_digest
from hephaestus.runtime.registry import Registry
from hephaestus.runtime.runner import Runner
from hephaestus.steps import Wait, WaitForEvent
from hephaestus.testing import LocalRuntime

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

gate = WaitForEvent("go", "stop", name="gate")
other = WaitForEvent("go", name="other")
pause = Wait(hours=1, name="pause")


@step
def ask(ctx: StepContext) -> dict[str, str]:
    """Hand out a link."""
    return {"link": ctx.callback_url("go", step="gate")}


@step
def end(_ctx: StepContext) -> str:
    """End."""
    return "done"


class Gated(Workflow, key="gated"):
    """Two waits after another, each for the same event."""

    start_at = ask
    transitions = {
        ask: {"done": gate},
        gate: {"go": other, "stop": DONE, "timeout": DONE},
        other: {"go": DONE, "timeout": DONE},
    }


class Free(Workflow, key="free", scope="none"):
    """Its ids follow from its starts' names."""

    start_at = gate
    transitions = {gate: {"go": DONE, "stop": DONE}}


@pytest.fixture
def local() -> LocalRuntime:
    """An instance ``gated::a`` waits."""
    runtime = LocalRuntime(Gated, Free)
    runtime.start(Gated, "a", {"n": 1})
    return runtime


def log_length(local: LocalRuntime, instance_id: str = "gated::a") -> int:
    """How many entries it has."""
    return len(local.runner.history(instance_id, limit=200))


CHANGED: list[tuple[str, Callable[[Any], object], Callable[[Any], object]]] = [
    ("event", lambda r: r.resume("gated::a", "go", event_id="k"), lambda r: r.resume("gated::a", "stop", event_id="k")),
    (
        "an event that does not exist",
        lambda r: r.resume("gated::a", "go", event_id="k"),
        lambda r: r.resume("gated::a", "no such event", event_id="k"),
    ),
    (
        "payload",
        lambda r: r.resume("gated::a", "go", {"n": 1}, event_id="k"),
        lambda r: r.resume("gated::a", "go", {"n": 2}, event_id="k"),
    ),
    (
        "step",
        lambda r: r.resume("gated::a", "go", step="gate", event_id="k"),
        lambda r: r.resume("gated::a", "go", step="other", event_id="k"),
    ),
    (
        "a reason",
        lambda r: r.pause("gated::a", "one", request_id="k"),
        lambda r: r.pause("gated::a", "two", request_id="k"),
    ),
    (
        "compensation",
        lambda r: r.cancel("gated::a", request_id="k"),
        lambda r: r.cancel("gated::a", compensate=True, request_id="k"),
    ),
    (
        "a delay",
        lambda r: r.schedule_resume("gated::a", "gate", 1_000_000, request_id="k"),
        lambda r: r.schedule_resume("gated::a", "gate", 1_000_001, request_id="k"),
    ),
    (
        "a context",
        lambda r: r.start_instance(Gated, {}, id="b", start_id="k"),
        lambda r: r.start_instance(Gated, {"n": 2}, id="b", start_id="k"),
    ),
    (
        "tags",
        lambda r: r.start_instance(Gated, {}, id="b", start_id="k"),
        lambda r: r.start_instance(Gated, {}, id="b", tags=["x"], start_id="k"),
    ),
    (
        "metadata",
        lambda r: r.start_instance(Gated, {}, id="b", start_id="k"),
        lambda r: r.start_instance(Gated, {}, id="b", telemetry_metadata={"x": 1}, start_id="k"),
    ),
    (
        "a start whose id follows from its name",
        lambda r: r.start_instance(Free, {}, id="b", start_id="k"),
        lambda r: r.start_instance(Free, {"n": 2}, id="b", start_id="k"),
    ),
    (
        "where a fork begins",
        lambda r: r.fork("gated::a", 2, new_id="b", start_id="k"),
        lambda r: r.fork("gated::a", 1, new_id="b", start_id="k"),
    ),
    (
        "a fork's results",
        lambda r: r.fork("gated::a", new_id="b", start_id="k"),
        lambda r: r.fork("gated::a", new_id="b", results={"ask": {"link": "x"}}, start_id="k"),
    ),
]


@pytest.mark.parametrize(("first", "second"), [it[1:] for it in CHANGED], ids=[it[0] for it in CHANGED])
def test_an_id_with_another_request_is_rejected_and_nothing_changes(
    local: LocalRuntime, first: Callable[[Any], object], second: Callable[[Any], object]
) -> None:
    """422; the first request made again still answers as it did."""
    answer = first(local.runner)
    local.settle()
    before = [view.updated_at for view in local.runner.list()], log_length(local)
    with pytest.raises(RequestIdReused, match="nothing was changed") as rejected:
        second(local.runner)
    assert (rejected.value.status, isinstance(rejected.value, CallerError)) == (422, True)
    assert first(local.runner) == answer
    assert ([view.updated_at for view in local.runner.list()], log_length(local)) == before


def test_an_id_belongs_to_the_instance_and_the_action(local: LocalRuntime) -> None:
    """One key for a start, an event, a pause and so on, and for two instances: all of them happen."""
    runner = local.runner
    runner.start_instance(Gated, {}, id="b", start_id="k")
    local.settle()
    for instance_id in ("gated::a", "gated::b"):
        runner.pause(instance_id, request_id="k")
        runner.unpause(instance_id, request_id="k")
        runner.schedule_resume(instance_id, "gate", 3_600_000, request_id="k")
        runner.resume(instance_id, "go", event_id="k")
        local.settle()
        assert runner.get(instance_id).steps["gate"].event == "go"
        runner.cancel(instance_id, request_id="k")
        runner.redrive(instance_id, request_id="k")
    local.settle()
    with pytest.raises(AlreadyRunning):
        runner.fork("gated::a", new_id="b", start_id="k")
    assert runner.fork("gated::a", new_id="c", start_id="k") == "gated::c"


class East(Workflow, key="shared", scope="global"):
    """Shares its key."""

    start_at = gate
    transitions = {gate: {"go": DONE, "stop": DONE}}


class West(Workflow, key="shared", scope="global"):
    """With this one."""

    start_at = gate
    transitions = {gate: {"go": DONE, "stop": DONE}}


@pytest.mark.parametrize("ended", [False, True])
def test_a_start_of_another_workflow_under_the_same_key_is_another_request(*, ended: bool) -> None:
    """Workflows that share a business key share the instance's id, and so the names of its starts."""
    local = LocalRuntime(East, West)
    runner = local.runner
    runner.start_instance(East, {}, id="a", start_id="k")
    if ended:
        runner.cancel("shared::a")
    with pytest.raises(RequestIdReused):
        runner.start_instance(West, {}, id="a", start_id="k")
    assert runner.start_instance(East, {}, id="a", start_id="k") == "shared::a"
    assert (runner.get("shared::a").workflow, runner.get("shared::a").generation) == ("East", 1)


def deployed(number: int, *, draws: bool = False) -> type[Workflow]:
    """A workflow as its ``number``-th deployment has it; everything that a start may be merged with is another's."""

    class Model(BaseModel):
        """What the newest version needs."""

        n: int
        more: int = Field(default=number, ge=number)

    class Strict(Workflow, key="changing", version=number, tags=[f"v{number}"], metadata={"v": number}):
        start_at = gate
        transitions = {gate: {"go": DONE, "stop": DONE}}
        Input = Model

    class Loose(Workflow, key="changing", version=100 + number):
        start_at = gate
        transitions = {gate: {"go": DONE, "stop": DONE}}

    asked = [100 + number, number]

    class Changing(
        Workflow, key="changing", versions={number: Strict, 100 + number: Loose}, tags=[f"n{number}", "both"]
    ):
        @classmethod
        def version_for(cls, versions: Mapping[int, type[Workflow]], opts: Mapping[str, Any]) -> int | None:
            return asked.pop() if draws and asked else number

    return Changing


@pytest.mark.parametrize(
    "request_",
    [
        {"context": {"n": 1}},
        {"context": {"n": 1, "more": 1}},
        {"context": {"n": 1}, "tags": ["x", "both"], "telemetry_metadata": {"v": 7}},
    ],
)
def test_a_start_repeated_after_a_deployment_is_the_same_start(request_: dict[str, Any]) -> None:
    """Another version, other tags and metadata of the workflow's own, start data that it would not take any more."""
    local = LocalRuntime(deployed(1))
    local.runner.start_instance("Changing", id="a", start_id="k", **request_)
    forked = local.runner.fork("changing::a", new_id="f", context={"n": 1, "more": 1}, start_id="k")
    later = Runner(local.store, local.timers, local.queue, Registry((deployed(2),)), clock=local.clock)
    assert later.start_instance("Changing", id="a", start_id="k", **request_) == "changing::a"
    assert later.fork("changing::a", new_id="f", context={"n": 1, "more": 1}, start_id="k") == forked
    assert (later.get("changing::a").generation, later.get("changing::a").version) == (1, 1)
    for other in ({"version": 2}, {"tags": ["y"]}, {"telemetry_metadata": {"v": 8}}, {"context": {"n": 2, "more": 2}}):
        with pytest.raises(RequestIdReused):
            later.start_instance(
                "Changing", id="a", start_id="k", **{**request_, "context": {"n": 1, "more": 5}, **other}
            )
    with pytest.raises(InvalidInput):
        later.start_instance("Changing", id="b", start_id="k", **{**request_, "context": {"n": "x"}})


def test_a_start_repeated_where_the_version_is_drawn_is_the_same_start() -> None:
    """Whatever ``version_for`` says the second time."""
    local = LocalRuntime(deployed(1, draws=True))
    for _ in range(3):
        assert local.runner.start_instance("Changing", {"n": 1}, id="a", start_id="k") == "changing::a"
    assert local.runner.get("changing::a").version == 1
    with pytest.raises(RequestIdReused):
        local.runner.start_instance("Changing", {"n": 1}, id="a", version=1, start_id="k")


def test_a_start_that_is_repeated_after_later_generations_is_known(local: LocalRuntime) -> None:
    """Also with another body: neither starts a further generation."""
    runner = local.runner
    for number in range(3):
        runner.start_instance(Gated, {"n": number}, id="b", start_id=f"s{number}")
        runner.cancel("gated::b")
    for number in range(3):
        assert runner.start_instance(Gated, {"n": number}, id="b", start_id=f"s{number}") == "gated::b"
        with pytest.raises(RequestIdReused):
            runner.start_instance(Gated, {"n": 7}, id="b", start_id=f"s{number}")
    assert runner.get("gated::b").generation == 3


def test_a_repeat_answers_as_the_first_did_after_the_instance_has_closed(local: LocalRuntime) -> None:
    """An event, a pause and a deadline; what was not asked before is told that the instance has closed."""
    runner = local.runner
    runner.pause("gated::a", "why", request_id="p")
    runner.unpause("gated::a", request_id="c")
    name = runner.schedule_resume("gated::a", "gate", 3_600_000, request_id="d")
    local.resume("gated::a", "stop", {"n": 1}, event_id="e")
    closed = runner.get("gated::a")
    assert closed.status == "completed"
    runner.resume("gated::a", "stop", {"n": 1}, event_id="e")
    runner.pause("gated::a", "why", request_id="p")
    runner.unpause("gated::a", request_id="c")
    assert runner.schedule_resume("gated::a", "gate", 3_600_000, request_id="d") == name
    assert not local.timers.names(), "a deadline that is over gets no schedule again"
    assert runner.get("gated::a") == closed
    with pytest.raises(InstanceClosed):
        runner.resume("gated::a", "stop", {"n": 1}, event_id="another")


def test_a_repeat_across_a_redrive_is_known_and_a_new_generation_remembers_nothing(local: LocalRuntime) -> None:
    """A redrive goes on with the same generation; an id of the one before it may name something else."""
    runner = local.runner
    runner.cancel("gated::a", request_id="k")
    local.settle()
    runner.redrive("gated::a", request_id="k")
    local.settle()
    runner.cancel("gated::a", request_id="k")
    runner.redrive("gated::a", request_id="k")
    assert runner.get("gated::a").status == "waiting"
    runner.cancel("gated::a", request_id="k2")
    local.start(Gated, "a")
    runner.cancel("gated::a", "another reason", request_id="k")
    assert (runner.get("gated::a").generation, runner.get("gated::a").status) == (2, "cancelled")


def test_the_order_of_a_payloads_members_is_no_other_request(local: LocalRuntime) -> None:
    """What JSON calls the same object is the same request."""
    local.resume("gated::a", "go", {"a": 1, "b": {"c": [1], "d": None}}, event_id="k")
    local.resume("gated::a", "go", {"b": {"d": None, "c": [1]}, "a": 1}, event_id="k")
    assert local.runner.get("gated::a").steps["other"].status == "waiting", "it was not taken for the next event"


def test_what_has_no_id_is_never_a_repeat(local: LocalRuntime) -> None:
    """Two events without an id are two."""
    local.resume("gated::a", "go")
    assert local.resume("gated::a", "go").status == "completed"


# --- The window ---


def test_the_newest_256_ids_are_remembered_and_an_older_one_is_a_new_request(local: LocalRuntime) -> None:
    """One window for events and acts of steering; the snapshot stays small."""
    assert WINDOW == 256, "as docs/reference/http.md says"
    runner = local.runner
    runner.pause("gated::a", request_id="first")
    for number in range(WINDOW - 1):
        runner.unpause("gated::a", request_id=f"k{number}")
    length = local.store.load("gated::a")
    runner.pause("gated::a", request_id="first")
    assert local.store.load("gated::a") == length, "still known"
    runner.unpause("gated::a", request_id="one more")
    runner.pause("gated::a", "forgotten", request_id="first")
    assert runner.get("gated::a").paused == "forgotten"
    for number in range(20):
        runner.unpause("gated::a", request_id=f"m{number}")
    state = local.store.load("gated::a")
    assert state is not None
    assert len(state.requests) == WINDOW
    assert len(dump_state(state)) < 6_000


def test_a_digest_has_six_bits_a_character_and_is_of_any_text() -> None:
    """What is stored is compared with what a later release makes: base64url of the first bytes of SHA-256."""
    assert (short("a", 12), short("a", 8)) == ("ypeBEsobvcr6", "ypeBEsob")
    assert len({short(half, 12) for half in ("\ud83d", "\ud83e", "?")}) == 3


def test_invariant_9_the_log_and_the_snapshot_remember_the_same(local: LocalRuntime) -> None:
    """Folding the log gives the window that the snapshot has."""
    for number in range(40):
        local.runner.unpause("gated::a", request_id=f"k{number}")
    local.resume("gated::a", "go", event_id="e")
    found = local.store.history("gated::a", None, 0, 1_000)
    assert found is not None
    entries = found[1]
    folded = fold(begin("gated::a", 1, entries[0]), entries[1:])
    state = local.store.load("gated::a")
    assert state is not None
    assert (
        (folded.requests, folded.links) == (state.requests, state.links) == (load_state(dump_state(state)).requests, ())
    )


@given(st.lists(st.tuples(st.sampled_from(["event", "cancel"]), st.integers(0, 300), st.integers(0, 2)), max_size=40))
def test_a_window_is_the_newest_requests_each_with_its_digest(asked: list[tuple[str, int, int]]) -> None:
    """Against a model: a list of the newest."""
    requests: tuple[str, ...] = tuple(named("pause", f"o{n}") + short(str(n), 8) for n in range(WINDOW - 20))
    model: list[tuple[str, str, str]] = [("pause", f"o{n}", short(str(n), 8)) for n in range(WINDOW - 20)]
    for action, number, body in asked:
        entry = (action, f"{number}", short(str(body), 8))
        state = State("x::1", 1, "X", 1, requests=requests)
        known = next((one[2] for one in reversed(model) if one[:2] == entry[:2]), None)
        if known is not None and known != entry[2]:
            with pytest.raises(RequestIdReused):
                repeats(state, *entry)
            continue
        assert repeats(state, *entry) is (known is not None)
        if known is None:
            requests = remember(state, *entry)
            model = [*model, entry][-WINDOW:]


@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda it: st.lists(it, max_size=3))
)
def test_a_digest_is_short_text_whatever_is_asked_for(asked: Any) -> None:
    """And the same for the same."""
    assert request_digest(asked) == request_digest(asked)
    assert len(request_digest(asked)) == 8


def test_a_link_is_used_once_however_many_events_come_after_it(local: LocalRuntime) -> None:
    """Also after a redrive has its step wait again: the window forgets requests, never links."""
    link = local.runner.get("gated::a").steps["ask"].results["link"]
    local.follow(link)
    for number in range(WINDOW + 50):
        local.runner.unpause("gated::a", request_id=f"k{number}")
    with pytest.raises(LinkUsed):
        local.follow(link)
    state = local.store.load("gated::a")
    assert state is not None
    assert len(state.links) == 1


def test_a_link_used_before_its_step_was_set_back_stays_used() -> None:
    """The step failed after its answer; redriven, it waits again, for another answer."""
    broken = [True]

    @step
    def fails(_ctx: StepContext) -> str:
        """Fail once."""
        if broken:
            broken.clear()
            message = "broken"
            raise ValueError(message)
        return "done"

    def undo(_ctx: StepContext) -> None:
        """Nothing to undo."""

    @step(compensate=undo)
    def work(_ctx: StepContext) -> Pending:
        """Wait, and be undone."""
        return Pending()

    @step
    def hand_out(ctx: StepContext) -> dict[str, str]:
        """Hand out a link."""
        return {"link": ctx.callback_url("done", step="work")}

    class Undone(Workflow, key="undone"):
        start_at = hand_out
        transitions = {hand_out: {"done": work}, work: {"done": fails}, fails: {"done": DONE}}
        retry = Retry(max_attempts=1)

    local = LocalRuntime(Undone)
    local.start(Undone, "u")
    link = local.runner.get("undone::u").steps["hand_out"].results["link"]
    assert local.follow(link).status == "failed"
    local.runner.redrive("undone::u")
    local.settle()
    assert local.runner.get("undone::u").steps["work"].status == "waiting"
    for number in range(WINDOW + 5):
        local.runner.unpause("undone::u", request_id=f"k{number}")
    with pytest.raises(LinkUsed):
        local.follow(link)


def test_an_event_that_has_a_links_name_uses_no_link_up(local: LocalRuntime) -> None:
    """A caller's ids and links' are apart."""
    link = local.runner.get("gated::a").steps["ask"].results["link"]
    known = local.runner.signer().read(link.rsplit("/", 1)[-1], local.clock.now())
    local.runner.pause("gated::a", request_id=known.event_id)
    local.runner.unpause("gated::a")
    with pytest.raises(UnexpectedEvent):
        local.runner.resume("gated::a", "nothing", event_id=known.event_id)
    local.follow(link)
    assert local.runner.get("gated::a").steps["gate"].event == "go"


# --- What is not deployed ---


class Elsewhere(Workflow, key="elsewhere"):
    """Not deployed."""

    start_at = gate
    transitions = {gate: {"go": DONE, "stop": DONE}}


class FirstV(Workflow, key="umbrella", version=1):
    """A version."""

    start_at = gate
    transitions = {gate: {"go": DONE, "stop": DONE}}


class SecondV(Workflow, key="umbrella", version=2):
    """Another."""

    start_at = gate
    transitions = {gate: {"go": DONE, "stop": DONE}}


class Roof(Workflow, key="umbrella", versions={1: FirstV, 2: SecondV}):
    """An umbrella."""


def namesake() -> type[Workflow]:
    """Another class of a deployed one's name."""

    class Gated(Workflow, key="gated"):
        start_at = gate
        transitions = {gate: {"go": DONE, "stop": DONE}}

    return Gated


@pytest.mark.parametrize(
    "workflow", [Elsewhere, FirstV, SecondV, namesake(), Workflow, dict, object, int, "Elsewhere", "", None, 5, []]
)
def test_what_is_not_deployed_is_not_started_and_holds_no_key(workflow: Any) -> None:
    """Neither by the runner nor by a local runtime; the error says what is deployed."""
    local = LocalRuntime(Gated, Roof)
    for start in (lambda: local.runner.start_instance(workflow, {}, id="x"), lambda: local.start(workflow, "x")):
        with pytest.raises(UnknownWorkflow, match=r"Gated|Roof|no workflow ''"):
            start()
    with pytest.raises(UnknownWorkflow):
        local.runner.list(workflow=workflow if workflow is not None else "None")
    assert not local.runner.list().items
    assert not local.queue.pop_due(local.clock.now())
    for instance_id in ("elsewhere::x", "umbrella::x", "gated::x"):
        with pytest.raises(InstanceNotFound):
            local.runner.get(instance_id)


def test_an_umbrella_is_started_by_its_class_and_its_versions_by_number() -> None:
    """The error for a version's class says so."""
    local = LocalRuntime(Roof)
    with pytest.raises(UnknownWorkflow, match="FirstV is version 1 of Roof: start Roof with version=1"):
        local.start(FirstV, "x")
    local.runner.start_instance(Roof, {}, id="x", version=1)
    assert [view.version for view in local.runner.list(workflow=Roof)] == [1]


# --- Deadlines from outside ---


class Timeless(Workflow, key="timeless"):
    """One wait routes a timeout, the others do not."""

    start_at = pause
    transitions = {
        pause: {"done": gate},
        gate: {"go": other, "stop": DONE},
        other: {"go": end, "timeout": end},
        end: {"done": DONE},
    }


def test_a_deadline_is_rejected_where_its_step_routes_no_timeout() -> None:
    """A wait for events without it, a plain wait, a step that never waits: the instance is left as it is."""
    local = LocalRuntime(Timeless)
    local.start(Timeless, "t")
    before = log_length(local, "timeless::t"), local.timers.names()
    for name in ("pause", "gate", "end", gate, pause):
        with pytest.raises(UnexpectedEvent, match="routes no 'timeout'"):
            local.runner.schedule_resume("timeless::t", name, 1_000)
    assert (log_length(local, "timeless::t"), local.timers.names()) == before
    local.advance(timedelta(hours=2))
    assert local.runner.get("timeless::t").status == "waiting"


def test_a_deadline_for_a_step_that_waits_later_is_given_as_soon_as_it_does() -> None:
    """It passes before the wait begins."""
    local = LocalRuntime(Timeless)
    local.start(Timeless, "t")
    local.runner.schedule_resume("timeless::t", other, 1_000)
    local.advance(timedelta(hours=2))
    assert local.runner.get("timeless::t").steps["gate"].status == "waiting"
    ended = local.resume("timeless::t", "go", step="gate")
    assert (ended.status, ended.steps["other"].event) == ("completed", "timeout")


def test_a_deadline_is_set_once_under_its_request_id(local: LocalRuntime) -> None:
    """Both calls return one name, also where others came in between; without an id there are two."""
    asked: Any = ("gated::a", "gate", 60_000)
    name = local.runner.schedule_resume(*asked, request_id="k")
    unnamed = [local.runner.schedule_resume("gated::a", "gate", 90_000) for _ in range(2)]
    assert local.runner.schedule_resume(*asked, request_id="k") == name
    assert sorted(local.timers.names()) == sorted([name, *unnamed])
    assert len(set(unnamed)) == 2


def test_a_deadline_whose_schedule_was_never_made_gets_it_by_the_repeat(
    local: LocalRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash between the commit and the schedule."""
    right = local.timers.schedule

    def crash(_timeout: object) -> str:
        raise RuntimeError

    monkeypatch.setattr(local.timers, "schedule", crash)
    with pytest.raises(RuntimeError):
        local.runner.schedule_resume("gated::a", "gate", 60_000, request_id="k")
    monkeypatch.setattr(local.timers, "schedule", right)
    local.clock.sleep(5_000)
    name = local.runner.schedule_resume("gated::a", "gate", 60_000, request_id="k")
    assert local.timers.names() == [name]
    local.advance(timedelta(seconds=54))
    assert local.runner.get("gated::a").status == "waiting"
    local.advance(timedelta(seconds=1))
    assert local.runner.get("gated::a").steps["gate"].event == "timeout", "the first call set the time"


@pytest.mark.parametrize("delay", [0, -1, 1.5, True, "5", None, 10**20])
def test_a_wrong_delay_is_a_callers_mistake(local: LocalRuntime, delay: Any) -> None:
    """A ``ValueError`` by Python's custom, and a ``BadRequest``."""
    with pytest.raises(BadRequest, match="delay_ms") as raised:
        local.runner.schedule_resume("gated::a", "gate", delay)
    assert isinstance(raised.value, ValueError)


# --- Heartbeats ---


def beating(interval: timedelta) -> LocalRuntime:
    """An instance whose step waits for heartbeats."""

    @step
    def work(_ctx: StepContext) -> Pending:
        return Pending(heartbeat=interval)

    class Beats(Workflow, key="beats"):
        start_at = work
        transitions = {work: {"done": DONE, "timeout": DONE}}

    local = LocalRuntime(Beats)
    local.start(Beats, "b")
    return local


@pytest.mark.parametrize(
    "interval",
    [timedelta(seconds=2), timedelta(seconds=5), timedelta(minutes=10), timedelta(days=3)],
)
def test_heartbeats_close_together_are_acknowledged_and_write_nothing(interval: timedelta) -> None:
    """However many come within an interval, at most ten are recorded, the first of the wait among them."""
    local = beating(interval)
    whole = interval // timedelta(milliseconds=1)
    before = log_length(local, "beats::b")
    for number in range(300):
        local.runner.heartbeat("beats::b")
        local.clock.move_to(local.clock.now() + (whole * (number + 1)) // 300 - (whole * number) // 300)
    recorded = [
        e
        for entry in local.runner.history("beats::b", limit=200)
        for e in entry.events
        if e["type"] == "HeartbeatReceived"
    ]
    assert log_length(local, "beats::b") == before + len(recorded)
    assert len(recorded) <= 10


@pytest.mark.parametrize("interval", [timedelta(seconds=2), timedelta(seconds=3), timedelta(minutes=10)])
def test_a_step_that_beats_in_time_is_never_missed(interval: timedelta) -> None:
    """At every half of its interval; and it is missed when nothing comes any more."""
    local = beating(interval)
    for _ in range(40):
        local.advance(interval / 2)
        local.runner.heartbeat("beats::b")
    assert local.runner.get("beats::b").status == "waiting"
    local.advance(interval + timedelta(seconds=1))
    assert local.runner.get("beats::b").steps["work"].results == {"missed": "heartbeat"}


def test_a_recorded_heartbeat_says_who_sent_it() -> None:
    """As every request does."""
    local = beating(timedelta(minutes=10))
    local.clock.sleep(60_000)
    local.runner.heartbeat("beats::b", by=Caller("callback 1", "link"))
    beat = local.runner.history("beats::b").items[-1].events[0]
    assert (beat["type"], beat["by"], beat["by_source"]) == (HeartbeatReceived.__name__, "callback 1", "link")
