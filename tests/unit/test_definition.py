"""What a workflow's author writes, and what becomes of it."""

from __future__ import annotations

import asyncio
import logging
import pickle
import re
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel, Field

import hephaestus
from hephaestus import (
    DONE,
    Choice,
    Completed,
    DefinitionError,
    Done,
    Instance,
    InvalidInput,
    NoInput,
    Pending,
    Retry,
    Step,
    StepContext,
    UnknownVersion,
    Workflow,
    step,
)
from hephaestus.definition.business_key import BusinessKey, check_id
from hephaestus.definition.definition import Route
from hephaestus.definition.step import Configured, read_result, snake_case
from hephaestus.definition.workflow import _id
from hephaestus.errors import BadRequest
from hephaestus.steps import Debug, Wait, WaitForEvent
from hephaestus.testing import LocalRuntime

if TYPE_CHECKING:
    from collections.abc import Mapping


@step
def plain(ctx: StepContext) -> str:
    """Take the defaults."""
    return "done"


@step(events=("paid", "declined"), key="charge", retry=Retry(max_attempts=2), timeout=1.5)
def charge_payment(ctx: StepContext) -> Completed:
    """Name everything."""
    return Completed("paid", {"total": ctx.steps["plain"]["total"], "limit": ctx.config.get("limit")})


@step(events=("sent",), timeout=timedelta(minutes=2))
async def send_receipt(ctx: StepContext) -> Mapping[str, Any]:
    """Be asynchronous."""
    await asyncio.sleep(0)
    return {"to": ctx.initial["mail"]}


class ReserveStock(Step):
    """Be a class."""

    events = ("reserved", "sold_out")
    retry = Retry(max_attempts=7)

    def execute(self, instance: Instance, config: Mapping[str, Any], context: StepContext) -> str:
        """Read the configuration."""
        return "reserved" if config.get("stock") else "sold_out"


class NotifyHTTPServer(Step):
    """Be an asynchronous class with a key of its own."""

    step_key = "notify"

    async def execute(self, instance: Instance, config: Mapping[str, Any], context: StepContext) -> Completed:
        """Read the instance."""
        return Completed("done", {"id": instance.id})


@step
def finish(ctx: StepContext) -> str:
    """Be the last."""
    return "done"


# -- steps -----------------------------------------------------------------------------------------------------------


def test_a_function_is_a_step_and_still_a_function() -> None:
    """A test calls it with a context; no engine, no AWS."""
    assert (plain.key, plain.events, plain.retry, plain.timeout) == ("plain", ("done",), None, None)
    assert plain(StepContext()) == "done"
    assert plain.__doc__ == "Take the defaults."
    context = StepContext(steps={"plain": {"total": 5}}, config={"limit": 9})
    assert charge_payment(context) == Completed("paid", {"total": 5, "limit": 9})
    assert charge_payment.run(context) == charge_payment(context)
    assert repr(charge_payment) == "<step charge>"


def test_a_step_says_how_it_is_tried_again_and_for_how_long() -> None:
    """Seconds and timedeltas alike."""
    assert charge_payment.retry == Retry(max_attempts=2)
    assert charge_payment.timeout == timedelta(seconds=1.5)
    assert send_receipt.timeout == timedelta(minutes=2)


def test_an_asynchronous_step_is_awaited() -> None:
    """Functions and classes."""
    assert send_receipt.is_async
    assert asyncio.run(send_receipt.run(StepContext(initial={"mail": "a@b"}))) == {"to": "a@b"}
    assert NotifyHTTPServer().is_async
    assert asyncio.run(NotifyHTTPServer().run(StepContext())) == Completed("done", {"id": "test::1"})
    assert not plain.is_async
    assert not ReserveStock().is_async


def test_a_class_is_a_step_named_after_itself() -> None:
    """In snake case, unless it names itself."""
    assert ReserveStock().key == "reserve_stock"
    assert NotifyHTTPServer().key == "notify"
    assert ReserveStock().run(StepContext(config={"stock": 1})) == "reserved"


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("ChargePayment", "charge_payment"),
        ("HTTPCall", "http_call"),
        ("Step2Go", "step2_go"),
        ("A", "a"),
        ("already_snake", "already_snake"),
    ],
)
def test_class_names_become_snake_case(name: str, key: str) -> None:
    """Abbreviations and digits stay together."""
    assert snake_case(name) == key


def test_a_step_that_is_named_anew_is_another_step() -> None:
    """The original keeps its name; both do the same."""
    again = plain.named("again")
    assert (again.key, plain.key) == ("again", "plain")
    assert again.run(StepContext()) == "done"


def test_a_step_that_does_nothing_says_so() -> None:
    """Not reached in a workflow, whose definition refuses it."""
    with pytest.raises(NotImplementedError):
        Step().run(StepContext())


def test_a_context_needs_nothing_to_be_made() -> None:
    """And can be given everything."""
    context = StepContext()
    assert (context.instance_id, context.attempt, context.input) == ("test::1", 1, None)
    assert context.remaining_time() == timedelta(days=365)
    assert StepContext(read_input=lambda: "order").input == "order"


# -- results ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("result", "events", "read"),
    [
        ("done", ("done",), Completed("done")),
        ("b", ("a", "b"), Completed("b")),
        ({"n": 1}, ("done",), Completed("done", {"n": 1})),
        ({}, ("done",), Completed("done")),
        (Completed("a", {"n": 1}, {"m": 2}), ("a", "b"), Completed("a", {"n": 1}, {"m": 2})),
        (Pending(), ("a",), Pending()),
        (Pending(timedelta(1), "a"), ("a",), Pending(timedelta(1), "a")),
    ],
    ids=repr,
)
def test_every_kind_of_result_is_read(result: Any, events: tuple[str, ...], read: Any) -> None:
    """An event, an outcome, results, or a wait."""
    assert read_result(result, events, "x") == read


@pytest.mark.parametrize(
    ("result", "error", "message"),
    [
        ("c", ValueError, "step x emitted 'c', which it does not declare: it declares 'a', 'b'"),
        (Completed("c"), ValueError, "step x emitted 'c'"),
        ({"n": 1}, ValueError, "step x returned only results but declares 'a', 'b': return Completed"),
        (None, ValueError, "step x returned nothing: return one of 'a', 'b'"),
        (5, TypeError, "step x returned a int: return an event, Completed, a mapping or Pending"),
        (["a"], TypeError, "step x returned a list"),
        (True, TypeError, "step x returned a bool"),
    ],
    ids=repr,
)
def test_what_is_no_result_is_refused_with_what_would_be(result: Any, error: type[Exception], message: str) -> None:
    """The message names the step."""
    with pytest.raises(error, match=re.escape(message)):
        read_result(result, ("a", "b"), "x")


def test_routed_events_may_be_emitted_though_not_declared() -> None:
    """And results alone still mean the one declared event."""
    assert read_result("error", ("done",), "x", routed=("done", "error")) == Completed("error")
    assert read_result({"n": 1}, ("done",), "x", routed=("done", "error")) == Completed("done", {"n": 1})


# -- workflows -------------------------------------------------------------------------------------------------------


class OrderInput(BaseModel):
    """What an order needs."""

    mail: str
    items: list[int] = Field(min_length=1)
    day: date | None = None


def pick(ctx: StepContext) -> Any:
    """Route on data."""
    return finish


class OrderFlow(
    Workflow, key="orderid", version=3, tags=["sales", "eu"], metadata={"team": "a", "since": date(2026, 1, 1)}
):
    """Every kind of target."""

    start_at = plain.configured(first=True)
    retry = Retry(max_attempts=9)
    Input = OrderInput
    transitions = {
        plain: {"done": charge_payment.configured(limit=100), "error": finish},
        charge_payment: {"paid": [send_receipt, ReserveStock.configured(stock=5)], "declined": DONE},
        send_receipt: {"sent": NotifyHTTPServer},
        ReserveStock: {
            "reserved": Choice(pick, targets=[NotifyHTTPServer, finish.configured(why="x"), DONE]),
            "sold_out": Done,
        },
        NotifyHTTPServer: {"done": finish},
        finish: {"done": DONE},
    }


def test_a_workflow_becomes_a_graph() -> None:
    """Keys and edges; DONE leads nowhere."""
    definition = OrderFlow.definition(3)
    assert definition.graph.start == "plain"
    assert definition.graph.order == ("plain", "charge", "send_receipt", "reserve_stock", "notify", "finish")
    assert definition.graph.edges == {
        "plain": {"done": ("charge",), "error": ("finish",)},
        "charge": {"paid": ("send_receipt", "reserve_stock"), "declined": ()},
        "send_receipt": {"sent": ("notify",)},
        "reserve_stock": {"reserved": ("notify", "finish"), "sold_out": ()},
        "notify": {"done": ("finish",)},
        "finish": {"done": ()},
    }
    assert definition.steps["charge"] is charge_payment
    assert definition.routes["plain"]["done"] == Route(("charge",))
    choice = definition.routes["reserve_stock"]["reserved"].choice
    assert choice is not None
    assert choice.function is pick


def test_a_workflow_carries_its_header() -> None:
    """Name, version, key, tags, frozen metadata, policy, and itself as its only version."""
    assert (OrderFlow.name, OrderFlow.version, OrderFlow.current) == ("OrderFlow", 3, 3)
    assert OrderFlow.tags == ("sales", "eu")
    assert OrderFlow.metadata == {"team": "a", "since": date(2026, 1, 1)}
    with pytest.raises(TypeError, match="immutable"):
        OrderFlow.metadata["team"] = "b"  # type: ignore[index]  # wrong on purpose
    assert OrderFlow.definition(3).retry == Retry(max_attempts=9)
    assert OrderFlow.business_key == BusinessKey("orderid", "workflow")
    assert OrderFlow.versions == {3: OrderFlow}
    assert OrderFlow.version_for(OrderFlow.versions, {}) == 3


def test_a_step_gets_the_configuration_of_the_target_that_led_to_it() -> None:
    """Of every edge taken, later steps' values winning; the first step that of start_at."""
    definition = OrderFlow.definition(3)
    assert definition.config("plain", {}) == {"first": True}
    assert definition.config("charge", {"plain": ("done", ("charge",))}) == {"limit": 100}
    assert definition.config("finish", {"plain": ("error", ("finish",))}) == {}
    both = {"reserve_stock": ("reserved", ("notify", "finish")), "notify": ("done", ("finish",))}
    assert definition.config("finish", both) == {"why": "x"}
    assert (
        definition.config("finish", {"reserve_stock": ("reserved", ("notify",)), "notify": ("done", ("finish",))}) == {}
    )


def test_of_two_configurations_the_later_step_s_wins() -> None:
    """Value by value."""

    class Flow(Workflow, key="orderid"):
        start_at = plain
        transitions = {
            plain: {"done": [charge_payment, finish.configured(a=1, b=1)]},
            charge_payment: {"paid": finish.configured(b=2), "declined": DONE},
            finish: {"done": DONE},
        }

    taken = {"plain": ("done", ("charge", "finish")), "charge": ("paid", ("finish",))}
    assert Flow.definition(1).config("finish", taken) == {"a": 1, "b": 2}
    assert Flow.definition(1).config("plain", {}) == {}


def test_a_workflow_without_configuration_gives_none() -> None:
    """An empty mapping, never nothing."""

    class Flow(Workflow, key="orderid"):
        start_at = plain
        transitions = {plain: {"done": finish}, finish: {"done": DONE}}

    assert Flow.definition(1).config("plain", {}) == {}
    assert Flow.definition(1).config("finish", {"plain": ("done", ("finish",))}) == {}


def test_a_class_and_its_instance_are_configured_alike() -> None:
    """Both name the step as a target."""
    by_class, by_instance = ReserveStock.configured(stock=1), ReserveStock().configured(stock=1)
    assert isinstance(by_class, Configured)
    assert by_class.config == by_instance.config == {"stock": 1}
    assert by_class.step is ReserveStock


def test_the_same_step_twice_needs_another_name() -> None:
    """``named`` gives it, to functions, classes' instances and built-ins."""
    cool_off = Wait(60).named("cool_off")

    class Flow(Workflow, key="orderid"):
        start_at = plain
        transitions = {
            plain: {"done": cool_off},
            cool_off: {"done": plain.named("again")},
            plain.named("again"): {"done": Wait(60)},
            Wait(60): {"done": DONE},
        }

    assert Flow.definition(1).graph.order == ("plain", "cool_off", "again", "wait")


def test_a_version_that_is_not_deployed_is_refused_with_those_that_are() -> None:
    """Whatever is given for a version."""
    for version in (1, "3", None, [3]):
        with pytest.raises(UnknownVersion, match=re.escape(f"OrderFlow has no version {version!r}: deployed are 3")):
            OrderFlow.definition(version)  # type: ignore[arg-type]  # wrong on purpose


# -- Input -----------------------------------------------------------------------------------------------------------


def test_start_data_is_read_as_the_input_model() -> None:
    """And stays what it was where the workflow has none."""
    order = OrderFlow.definition(3).read_input({"mail": "a@b", "items": [1]})
    assert order == OrderInput(mail="a@b", items=[1])


def test_start_data_that_does_not_fit_is_refused_with_one_line_a_field() -> None:
    """In the message, and for a program."""
    with pytest.raises(InvalidInput) as caught:
        OrderFlow.definition(3).read_input({"items": ["x"], "day": "yesterday"})
    assert [field for field, _ in caught.value.fields] == ["mail", "items.0", "day"]
    lines = str(caught.value).splitlines()
    assert lines[0] == "the context does not fit OrderFlow version 3:"
    assert [line.split(":")[0] for line in lines[1:]] == ["  mail", "  items.0", "  day"]
    assert caught.value.details == {
        "errors": [{"field": field, "problem": said} for field, said in caught.value.fields]
    }


def test_a_problem_of_the_whole_input_is_a_problem_of_the_context() -> None:
    """A validator of the whole model names no field."""
    from pydantic import model_validator

    class Pair(BaseModel):
        a: int
        b: int

        @model_validator(mode="after")
        def ordered(self) -> Pair:
            if self.a > self.b:
                message = "a comes first"
                raise ValueError(message)
            return self

    class Flow(Workflow, key="orderid"):
        Input = Pair
        start_at = plain
        transitions = {plain: {"done": DONE}}

    with pytest.raises(InvalidInput, match=r"\n  context: Value error, a comes first$"):
        Flow.definition(1).read_input({"a": 2, "b": 1})


def test_any_model_will_do_that_validates_like_pydantic() -> None:
    """An error without a list of fields is invalid input, too; it names whose code raised it."""

    class Strict:
        @classmethod
        def model_validate(cls, data: dict[str, Any]) -> str:
            if data:
                message = "no"
                raise ValueError(message)
            return "fine"

    class Flow(Workflow, key="orderid"):
        Input = Strict
        start_at = plain
        transitions = {plain: {"done": DONE}}

    assert Flow.definition(1).read_input({}) == "fine"
    with pytest.raises(InvalidInput, match="Flow version 1: its Input raised ValueError"):
        Flow.definition(1).read_input({"a": 1})


# -- versions --------------------------------------------------------------------------------------------------------


class V1(Workflow, key="orderid", version=1):
    """The old way."""

    start_at = plain
    transitions = {plain: {"done": DONE}}


class V2(Workflow, key="orderid", version=2):
    """The new way."""

    start_at = plain
    transitions = {plain: {"done": finish}, finish: {"done": DONE}}


def test_an_umbrella_is_one_workflow_of_several_versions() -> None:
    """Its name on every version's definition, its key theirs, the newest current unless it says otherwise."""

    class Orders(Workflow, versions={1: V1, 2: V2}):
        pass

    class Cautious(Workflow, versions={1: V1, 2: V2}, current=1, key="orderid", name="Orders"):
        pass

    assert (Orders.current, Cautious.current) == (2, 1)
    assert Cautious.name == "Orders"
    assert Orders.business_key == V1.business_key
    assert [Orders.definition(number).name for number in (1, 2)] == ["Orders", "Orders"]
    assert Orders.definition(2).graph == V2.definition(2).graph
    assert V2.definition(2).name == "V2"
    assert Orders.versions == {1: V1, 2: V2}
    with pytest.raises(UnknownVersion, match="deployed are 1, 2"):
        Orders.definition(3)


def test_an_umbrella_may_route_new_instances() -> None:
    """``version_for`` sees the versions, and the start's context, id and tags."""

    class Orders(Workflow, versions={1: V1, 2: V2}):
        @classmethod
        def version_for(cls, versions: Mapping[int, type[Workflow]], opts: Mapping[str, Any]) -> int:
            return max(versions) if "beta" in opts["tags"] else min(versions)

    assert Orders.version_for(Orders.versions, {"tags": ("beta",)}) == 2
    assert Orders.version_for(Orders.versions, {"tags": ()}) == 1


# -- business keys ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scope", "instance_id"),
    [
        ("workflow", "orderid::abc-1.x_Y"),
        ("global", "orderid::abc-1.x_Y"),
        ("version", "orderid::abc-1.x_Y::v2"),
        ("none", "orderid::abc-1.x_Y::r4nd0m"),
    ],
)
def test_a_value_becomes_an_id_by_the_key_s_scope(scope: Any, instance_id: str) -> None:
    """Where a value is unique shows in the id; a whole id is taken as it is, but for a scope that adds chance."""
    key = BusinessKey("orderid", scope)
    assert key.instance_id("abc-1.x_Y", 2, "r4nd0m") == instance_id
    assert check_id(instance_id) == instance_id
    assert key.instance_id("orderid::abc-1.x_Y", 2, "r4nd0m") == instance_id
    if scope != "none":
        assert key.instance_id(instance_id, 2, "r4nd0m") == instance_id


@pytest.mark.parametrize("value", ["a", "A" * 128, "0", "-", ".", "_", "a.b-c_d"])
def test_a_value_is_1_to_128_letters_digits_dots_dashes_and_underscores(value: str) -> None:
    """The bounds included."""
    assert BusinessKey("k").instance_id(value, 1, "") == f"k::{value}"


@pytest.mark.parametrize(
    "value",
    [
        "",
        "a" * 129,
        "a b",
        "a/b",
        "a:b",
        "a::b",
        "é",
        "a\n",
        "other::a",
        "k::",
        "k::a::b",
        None,
        5,
        b"a",
        ["a"],
        "x" * 10_000,
    ],
)
def test_another_value_is_refused_without_being_repeated_at_length(value: Any) -> None:
    """The message names the key and the rule."""
    with pytest.raises(BadRequest, match=r"key 'k' has the value .* it must be 1 to 128 letters") as caught:
        BusinessKey("k").instance_id(value, 1, "")
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize(
    "found", ["", "abc", "::a", "k::", "k::a::", "k::a::b::c", "k::a b", "k::a\n", "1::a", None, 5, "x" * 10_000]
)
def test_what_could_be_no_id_is_refused(found: Any) -> None:
    """Before anything is read from the store."""
    with pytest.raises(BadRequest, match="is not an instance id: ids look like 'orderid::abc123'") as caught:
        check_id(found)
    assert len(str(caught.value)) < 250


def test_the_facade_takes_a_value_or_a_whole_id() -> None:
    """But for a key without a scope, where only the whole id says which instance is meant."""

    class Versioned(Workflow, key="orderid", scope="version", version=2):
        start_at = plain
        transitions = {plain: {"done": DONE}}

    class Unscoped(Workflow, key="jobid", scope="none"):
        start_at = plain
        transitions = {plain: {"done": DONE}}

    assert _id(OrderFlow, "abc") == "orderid::abc"
    assert _id(OrderFlow, "orderid::abc") == "orderid::abc"
    assert _id(Versioned, "abc") == "orderid::abc::v2"
    assert _id(Unscoped, "jobid::abc::r4nd0m") == "jobid::abc::r4nd0m"
    with pytest.raises(BadRequest, match="ids of Unscoped end in a random suffix: give the whole id"):
        _id(Unscoped, "abc")


# -- built-in steps --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wait", "until"),
    [
        (Wait(30), timedelta(seconds=30)),
        (Wait(0.5), timedelta(milliseconds=500)),
        (Wait(1, minutes=2, hours=3, days=4), timedelta(seconds=1, minutes=2, hours=3, days=4)),
        (Wait(until=datetime(2026, 1, 1, tzinfo=UTC)), datetime(2026, 1, 1, tzinfo=UTC)),
    ],
)
def test_wait_waits_for_a_time_and_emits_done(wait: Wait, until: timedelta | datetime) -> None:
    """A duration, or until a time."""
    assert wait.run(StepContext()) == Pending(until, emits="done")
    assert (wait.key, wait.events, wait.waits) == ("wait", ("done",), True)
    assert Wait(1, name="cool_off").key == "cool_off"


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"seconds": 0},
        {"seconds": -1},
        {"minutes": -5, "seconds": 1},
        {"until": datetime(2026, 1, 1)},  # noqa: DTZ001 - that is the mistake
        {"seconds": 1, "until": datetime(2026, 1, 1, tzinfo=UTC)},
    ],
    ids=repr,
)
def test_a_wait_for_no_time_is_refused(arguments: dict[str, Any]) -> None:
    """Where it is written."""
    with pytest.raises(DefinitionError, match=r"^step wait has 1 definition error\(s\):\n  - wait: "):
        Wait(**arguments)


def test_wait_for_event_takes_its_events_and_maybe_a_timeout() -> None:
    """The timeout is one more event, which the transitions then must route."""
    approval = WaitForEvent("approved", "rejected", name="approval", timeout=timedelta(hours=48))
    assert (approval.key, approval.events, approval.waits) == ("approval", ("approved", "rejected", "timeout"), True)
    assert approval.run(StepContext()) == Pending(timedelta(hours=48))
    assert WaitForEvent("paid").key == "wait_for_paid"
    assert WaitForEvent("paid").events == ("paid",)
    assert WaitForEvent("paid").run(StepContext()) == Pending()
    assert WaitForEvent("timeout", timeout=timedelta(1)).events == ("timeout",)
    for arguments, options in (((), {}), (("a",), {"timeout": timedelta(0)}), (("a",), {"timeout": timedelta(-1)})):
        with pytest.raises(DefinitionError, match=r"^step wait_for_\w+ has 1 definition error"):
            WaitForEvent(*arguments, **options)  # type: ignore[arg-type]  # wrong on purpose


def test_the_graph_knows_which_steps_are_sure_to_wait() -> None:
    """An early event is kept for them before any other."""
    approval = WaitForEvent("approved")

    class Flow(Workflow, key="orderid"):
        start_at = plain
        transitions = {plain: {"done": approval}, approval: {"approved": Wait(1)}, Wait(1): {"done": DONE}}

    assert Flow.definition(1).graph.waits == {"wait_for_approved", "wait"}


def test_debug_logs_what_is_known_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    """At level DEBUG, under the engine's name."""
    context = StepContext(initial={"n": 1}, steps={"plain": {"m": 2}}, config={"c": 3})
    with caplog.at_level(logging.DEBUG, "hephaestus.debug"):
        assert Debug("here").run(context) == Completed("done")
        assert Debug(name="look").run(context) == Completed("done")
    assert caplog.messages == [
        "test::1 here: initial={'n': 1} steps={'plain': {'m': 2}} config={'c': 3}",
        "test::1 look: initial={'n': 1} steps={'plain': {'m': 2}} config={'c': 3}",
    ]


# -- imports ---------------------------------------------------------------------------------------------------------

SCRIPT = """
import sys
import hephaestus, hephaestus.steps, hephaestus.engine.codec
from hephaestus import Workflow, step, DONE
@step
def only(ctx): return "done"
class Flow(Workflow, key="orderid"):
    start_at = only
    transitions = {only: {"done": DONE}}
heavy = {"boto3", "botocore", "pynamodb", "aws_lambda_powertools", "pydantic", "aws_xray_sdk", "requests", "asyncio"}
print(sorted(heavy & set(sys.modules)))
"""


def test_defining_a_workflow_imports_nothing_of_aws() -> None:
    """Neither boto3 nor PynamoDB, Powertools or pydantic: a workflow is importable and testable by itself."""
    shown = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True).stdout
    assert shown == "[]\n"


def test_everything_that_the_package_offers_exists() -> None:
    """``__all__`` is the truth, and sorted."""
    for name in hephaestus.__all__:
        assert getattr(hephaestus, name) is not None
    assert len(set(hephaestus.__all__)) == len(hephaestus.__all__)


def test_an_input_that_the_workflow_has_not_fails_the_step_at_once() -> None:
    """And says what is missing; also in another process."""

    @step
    def reads(ctx: Any) -> str:
        again: StepContext = pickle.loads(pickle.dumps(ctx))  # noqa: S301 - its own
        with pytest.raises(NoInput):
            again.input.user  # noqa: B018 - what it raises is the claim
        return str(ctx.input.user)

    class Flow(Workflow, key="orderid"):
        start_at = reads
        transitions = {reads: {"done": DONE}}

    failed = LocalRuntime(Flow).start(Flow, "1").steps["reads"]
    assert failed.attempt == 1
    assert failed.error is not None
    assert failed.error["message"].startswith("workflow Flow has no Input, so ctx.input is nothing: set Input = ")
