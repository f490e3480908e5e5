"""Steps and workflows are named alike everywhere: by key or name, by the step itself, by its class."""

from __future__ import annotations

import copy
import pickle
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus import (
    DONE,
    BadRequest,
    Instance,
    InstanceNotFound,
    Step,
    UnknownStep,
    UnknownWorkflow,
    Workflow,
    step,
    use,
)
from hephaestus.definition.references import ByStep, step_key
from hephaestus.errors import BadCallback
from hephaestus.steps import Wait, WaitForEvent
from hephaestus.testing import LocalRuntime, links

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hephaestus.definition.business_key import Scope


class Prepare(Step):
    """A class."""

    def execute(self, instance: Instance, config: Mapping[str, Any], context: Any) -> dict[str, int]:
        """Leave something."""
        return {"n": 1}


class Gate(WaitForEvent):
    """A class of a wait that needs no arguments."""

    def __init__(self) -> None:
        super().__init__("go", timeout=3_600, heartbeat=600, name="gate")


@step
def last(ctx: Any) -> dict[str, Any]:
    """End."""
    return {"n": ctx.steps["prepare"]["n"]}


gate = Gate()


class Gated(Workflow, key="id", tags=["own"]):
    """A class, a wait and a function."""

    start_at = Prepare
    transitions = {Prepare: {"done": gate}, gate: {"go": last, "timeout": DONE}, last: {"done": DONE}}


GATES = [pytest.param("gate", id="key"), pytest.param(gate, id="step"), pytest.param(Gate, id="class")]
WORKFLOWS = [pytest.param("Gated", id="name"), pytest.param(Gated, id="class")]
NO_STEPS = [5, None, Workflow, int, b"gate", ["gate"], WaitForEvent]


@pytest.mark.parametrize("workflow", WORKFLOWS)
@pytest.mark.parametrize("named", GATES)
def test_every_call_takes_a_step_by_key_by_itself_and_by_its_class(named: Any, workflow: Any) -> None:
    """Heartbeat, schedule, resume, fork, listing, counts, the view."""
    local = LocalRuntime(Gated)
    runner = local.runner
    shown = local.start(workflow, "1")
    assert shown.steps[named].status == "waiting"
    assert named in shown.steps
    assert shown.steps.get(named) is shown.steps["gate"]
    runner.heartbeat(shown.id, named)
    runner.schedule_resume(shown.id, named, 60_000)
    local.resume(shown.id, "go", {"by": "ann"}, step=named)
    assert runner.get(shown.id).steps[last].results == {"n": 1}
    fork = runner.fork(shown.id, new_id="2", results={named: {"by": "bo"}, Prepare: {"n": 2}})
    local.settle()
    assert runner.get(fork).steps["gate"].results == {"by": "bo"}
    assert runner.get(fork).steps[Prepare].results == {"n": 2}
    assert {found.id for found in runner.list(workflow=workflow)} == {"id::1", "id::2"}
    assert runner.counts(workflow=workflow)["Gated"]["completed"] == 2


@pytest.mark.parametrize("named", GATES)
def test_the_facade_and_links_take_them_alike(named: Any) -> None:
    """``Gated.resume(…, step=gate)``, and ``links`` for a step that is tested."""
    local = LocalRuntime(Gated)
    use(local.runner)
    try:
        Gated.start("1", start_id="s", tags=["vip"])
        Gated.start("1", start_id="s", tags=["vip"])
        local.settle()
        Gated.heartbeat("1", named)
        Gated.resume("1", "go", step=named)
        local.settle()
        assert Gated.fork("1", new_value="2", results={named: {"by": "bo"}}) == "id::2"
        assert Gated.get("1").status == "completed"
    finally:
        use(None)
    issuer = links(Gated, named)()
    assert issuer.token("go", named, 60, None) == issuer.token("go", "gate", 60.0, None)
    assert issuer.step == "gate"


@pytest.mark.parametrize("wrong", NO_STEPS, ids=repr)
def test_what_is_no_step_is_a_bad_request_that_says_what_to_give(wrong: Any) -> None:
    """Never a raw error from inside, and nothing has changed."""
    local = LocalRuntime(Gated)
    shown = local.start(Gated, "1")
    calls: list[Any] = [
        lambda: step_key(wrong),
        lambda: local.runner.schedule_resume(shown.id, wrong, 1),
        lambda: local.runner.fork(shown.id, new_id="2", results={_hashable(wrong): {}}),
    ]
    if wrong is not None:  # which names no step at all
        calls += [
            lambda: local.runner.resume(shown.id, "go", step=wrong),
            lambda: local.runner.heartbeat(shown.id, wrong),
        ]
    for call in calls:
        with pytest.raises(BadRequest, match=r"is not a step: give its key|cannot be made without arguments: give"):
            call()
    assert local.runner.get(shown.id) == shown
    if wrong is not None:
        with pytest.raises(BadCallback, match=r"is not a step|without arguments"):
            links(Gated, "gate")().token("go", wrong, 60, None)


def _hashable(wrong: Any) -> Any:
    return tuple(wrong) if isinstance(wrong, list) else wrong


def test_a_step_of_another_workflow_is_unknown() -> None:
    """With those that there are."""
    local = LocalRuntime(Gated)
    shown = local.start(Gated, "1")
    with pytest.raises(UnknownStep, match="has no step 'wait'; it has prepare, gate, last"):
        local.runner.heartbeat(shown.id, Wait(5))
    with pytest.raises(UnknownWorkflow):
        local.runner.list(workflow=int)  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(UnknownWorkflow):
        local.start(5, "1")  # type: ignore[arg-type]  # wrong on purpose


def test_what_is_kept_by_step_is_a_dict_like_any_other() -> None:
    """It is equal to plain ones, copied and pickled; what is not there is not found."""
    kept: Any = ByStep({"gate": 1})
    assert kept == {"gate": 1}
    assert pickle.loads(pickle.dumps(kept)) == kept == copy.deepcopy(kept)  # noqa: S301 - made here
    assert (kept[gate], kept[Gate], kept.get(last), kept.get(Wait, 2), 5 in kept) == (1, 1, None, 2, False)
    for missing in (last, "last", 5, Wait):
        with pytest.raises(KeyError):
            kept[missing]


def test_a_local_start_takes_what_a_start_takes() -> None:
    """Version, tags, metadata and the start's name."""

    class One(Workflow, key="v", version=1):
        start_at = last.named("one")
        transitions = {last.named("one"): {"done": DONE}}

    class Two(Workflow, key="v", version=2):
        start_at = Prepare
        transitions = {Prepare: {"done": DONE}}

    class Both(Workflow, versions={1: One, 2: Two}):
        pass

    local = LocalRuntime(Gated, Both)
    shown = local.start("Gated", "1", {"a": 1}, tags=["vip"], metadata={"m": 1}, start_id="once")
    assert (shown.tags, shown.metadata, shown.context) == (("own", "vip"), {"m": 1}, {"a": 1})
    assert local.start("Gated", "1", {"a": 1}, tags=["vip"], metadata={"m": 1}, start_id="once") == shown
    assert local.start(Both, "a").version == 2
    assert local.start(Both, "b", version=1).version == 1


@pytest.mark.parametrize("tags", ["x", "vip", 5, None, {"x"}, b"x", ["", "x"], [1], ["x" * 65]], ids=repr)
def test_one_tag_is_a_list_everywhere(tags: Any) -> None:
    """A text is no list of its letters, and no list of one tag: in a header and in every start, with what to write."""
    local = LocalRuntime(Gated)
    with pytest.raises(BadRequest, match="give a list of at most 20 printable strings"):
        local.start(Gated, "1", tags=tags)
    with pytest.raises(BadRequest, match="give a list of at most 20 printable strings"):
        local.runner.start_instance(Gated, {}, id="1", tags=tags)
    with pytest.raises(ValueError, match="Give a list of at most 20 printable strings"):
        type("Tagged", (Workflow,), {"start_at": last, "transitions": {last: {"done": DONE}}}, key="id", tags=tags)
    assert not local.runner.list().items


FACADE: list[Callable[[type[Workflow], Any], object]] = [
    lambda flow, value: flow.get(value),
    lambda flow, value: flow.history(value),
    lambda flow, value: flow.resume(value, "go"),
    lambda flow, value: flow.heartbeat(value, "gate"),
    lambda flow, value: flow.pause(value),
    lambda flow, value: flow.unpause(value),
    lambda flow, value: flow.fork(value, new_value="2"),
    lambda flow, value: flow.cancel(value),
    lambda flow, value: flow.redrive(value),
]


def shop(name: str, key: str, scope: Scope) -> type[Workflow]:
    """A workflow that waits."""
    members = {"start_at": gate, "transitions": {gate: {"go": DONE, "timeout": DONE}}}
    made: type[Workflow] = type(name, (Workflow,), members, key=key, scope=scope)
    return made


@pytest.mark.parametrize("call", FACADE)
@pytest.mark.parametrize(
    ("scope", "value", "error", "says"),
    [
        ("workflow", "other::1", BadRequest, "other::1 is no instance of Mine, whose ids begin with mine::"),
        ("version", "other::1::v1", BadRequest, "other::1::v1 is no instance of Mine, whose ids begin with mine::"),
        ("none", "other::1::x", BadRequest, "other::1::x is no instance of Mine, whose ids begin with mine::"),
        (
            "global",
            "mine::1",
            InstanceNotFound,
            "there is no instance mine::1 of Mine: the one with this id is of Other",
        ),
        ("global", "1", InstanceNotFound, "there is no instance mine::1 of Mine: the one with this id is of Other"),
        ("workflow", 5, BadRequest, "the business key 'mine' has the value 5"),
        ("workflow", "mine::1::2::3", BadRequest, "'mine::1::2::3' is not an instance id"),
    ],
)
def test_a_class_acts_on_no_instance_of_another_workflow(
    call: Callable[[type[Workflow], Any], object], scope: Scope, value: Any, error: type[Exception], says: str
) -> None:
    mine = shop("Mine", "mine", scope)
    other = shop("Other", "mine" if scope == "global" else "other", scope)
    local = LocalRuntime(mine, other)
    before = local.start(other, "1")
    use(local.runner)
    try:
        with pytest.raises(error, match=says):
            call(mine, value)
        assert other.get(before.id) == before
    finally:
        use(None)


def test_a_class_acts_on_its_own_instances_and_a_version_on_those_of_its_umbrella() -> None:
    first = shop("First", "mine", "global")

    class Both(Workflow, key="mine", scope="global", versions={1: first}):
        """An umbrella of one version."""

    local = LocalRuntime(Both)
    use(local.runner)
    try:
        assert Both.start("1") == "mine::1"
        local.settle()
        assert first.get("1") == Both.get("mine::1")
    finally:
        use(None)
