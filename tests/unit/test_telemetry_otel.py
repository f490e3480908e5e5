"""OpenTelemetry: one trace for an instance across all invocations, whoever configured the provider."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from hephaestus import DONE, Retry, StepContext, Workflow, step
from hephaestus.steps import ChildWorkflow, Map, WaitForEvent
from hephaestus.telemetry import otel
from hephaestus.testing import LocalRuntime

if TYPE_CHECKING:
    from collections.abc import Iterator

current: dict[str, int] = {}


@step
def begin(ctx: StepContext) -> str:
    """Note which span is current."""
    current["begin"] = trace.get_current_span().get_span_context().span_id
    return "done"


@step
def left(ctx: StepContext) -> str:
    """Note which span is current, in a thread."""
    current["left"] = trace.get_current_span().get_span_context().span_id
    return "done"


@step(retry=Retry(max_attempts=2, delay=timedelta(minutes=1)))
def right(ctx: StepContext) -> str:
    """Fail once, and note which span is current."""
    current[f"right {ctx.attempt}"] = trace.get_current_span().get_span_context().span_id
    if ctx.attempt == 1:
        message = "a secret"
        raise ValueError(message)
    return "done"


ask = WaitForEvent("yes", name="ask")


class Traced(Workflow, key="traced"):
    """A fan-out, a retry and a wait: at least three invocations."""

    start_at = begin
    transitions = {begin: {"done": [left, right]}, left: {"done": ask}, right: {"done": ask}, ask: {"yes": DONE}}


class Spans:
    """A provider of its own, and what it exported."""

    def __init__(self, **known: Any) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False, **known)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    @property
    def ended(self) -> list[ReadableSpan]:
        """Every span that was exported."""
        return list(self.exporter.get_finished_spans())

    def named(self, name: str) -> list[ReadableSpan]:
        """The spans of a name, oldest first."""
        return sorted((span for span in self.ended if span.name == name), key=lambda span: span.start_time or 0)


@contextmanager
def attached(spans: Spans, **known: Any) -> Iterator[None]:
    """As a process that was just started: nothing is remembered from the one before."""
    otel.attach(spans.provider, **known)
    try:
        yield
    finally:
        otel.detach()


def run(spans: Spans, **known: Any) -> LocalRuntime:
    """Run an instance to its end, each invocation in a process of its own."""
    current.clear()
    local = LocalRuntime(Traced)
    with attached(spans, **known):
        local.start(Traced, "1")
    with attached(spans, **known):
        local.advance(timedelta(minutes=2))
    with attached(spans, **known):
        local.resume("traced::1", "yes")
    assert local.runner.get("traced::1").status == "completed"
    return local


def test_all_invocations_of_an_instance_are_one_trace_below_one_root() -> None:
    spans = Spans()
    local = run(spans)
    created = int(local.runner.get("traced::1").created_at.timestamp() * 1000)
    own = otel.root("traced::1", 1, created)
    assert {span.context.trace_id for span in spans.ended if span.context} == {own.trace_id}
    runs = spans.named("run Traced")
    assert len(runs) == 3
    assert {span.parent.span_id for span in runs if span.parent} == {own.span_id}
    known = {own.span_id, *(span.context.span_id for span in spans.ended if span.context)}
    assert all(span.parent and span.parent.span_id in known for span in spans.ended)
    (whole,) = spans.named("Traced")
    assert ((whole.end_time or 0) - (whole.start_time or 0)) / 1e9 == timedelta(minutes=2).total_seconds()


def test_every_attempt_is_a_span_below_its_execution() -> None:
    spans = Spans()
    run(spans)
    runs = [span.context.span_id for span in spans.named("run Traced") if span.context]
    steps = [span for name in ("step begin", "step left", "step right", "step ask") for span in spans.named(name)]
    assert [span.name for span in steps] == [
        *("step begin", "step left", "step right", "step right", "step ask"),
    ]
    assert [span.parent.span_id for span in steps if span.parent] == [runs[0], runs[0], runs[0], runs[1], runs[1]]
    failed, tried = spans.named("step right")
    assert (failed.status.status_code, failed.status.description) == (StatusCode.ERROR, "ValueError")
    assert tried.status.status_code is StatusCode.UNSET
    assert tried.attributes
    assert tried.attributes["hephaestus.attempt"] == 2
    (wait,) = spans.named("wait ask")
    assert [link.context.span_id for link in wait.links] == [runs[2]]


def test_while_a_step_runs_its_span_is_current_in_whatever_thread() -> None:
    spans = Spans()
    run(spans)
    found = {span.name: span.context.span_id for span in spans.ended if span.context}
    assert current["begin"] == found["step begin"]
    assert current["left"] == found["step left"]
    ids = [span.context.span_id for span in spans.named("step right") if span.context]
    assert [current["right 1"], current["right 2"]] == ids
    assert not trace.get_current_span().get_span_context().is_valid


def test_an_execution_links_to_the_span_that_was_current_and_leaves_it_current() -> None:
    """As in a Lambda function that is instrumented itself."""
    spans = Spans()
    local = LocalRuntime(Traced)
    with attached(spans), spans.provider.get_tracer("lambda").start_as_current_span("invocation") as invocation:
        local.start(Traced, "1")
        assert trace.get_current_span() is invocation
    links = [link.context.span_id for span in spans.named("run Traced") for link in span.links]
    assert links == [invocation.get_span_context().span_id]
    assert [link.context.span_id for link in spans.named("start Traced")[0].links] == links


def test_with_ids_of_its_own_the_workflows_span_is_the_root() -> None:
    spans = Spans(id_generator=otel.InstanceIds())
    local = run(spans)
    created = int(local.runner.get("traced::1").created_at.timestamp() * 1000)
    own = otel.root("traced::1", 1, created)
    (whole,) = spans.named("Traced")
    assert whole.parent is None
    assert whole.context
    assert (whole.context.trace_id, whole.context.span_id) == (own.trace_id, own.span_id)
    ids = [span.context.span_id for span in spans.ended if span.context]
    assert len(set(ids)) == len(ids)


def test_another_generation_is_another_trace() -> None:
    assert otel.root("a::1", 1, 5).trace_id != otel.root("a::1", 2, 5).trace_id
    assert otel.root("a::1", 1, 5) == otel.root("a::1", 1, 5)


@pytest.mark.parametrize("ids", [None, otel.InstanceIds()], ids=["random ids", "own ids"])
def test_an_instance_is_traced_as_a_whole_or_not_at_all(ids: Any) -> None:
    spans = Spans(id_generator=ids)
    run(spans, ratio=0.0)
    assert spans.ended == []
    share = sum(otel.root(f"a::{number}", 1, 5, 0.25).trace_flags.sampled for number in range(2_000)) / 2_000
    assert 0.2 < share < 0.3


def test_what_an_instance_carries_is_told_where_it_is_asked_for_alone() -> None:
    spans = Spans()
    with attached(spans):
        quiet = LocalRuntime(Traced)
        quiet.runner.start_instance(Traced, {}, id="1", telemetry_metadata={"order": "42"})
        quiet.settle()
    assert spans.named("step right")
    assert "a secret" not in str([span.to_json() for span in spans.ended])
    assert "42" not in str([span.attributes for span in spans.named("start Traced")])
    told = Spans()
    local = LocalRuntime(Traced)
    with attached(told, metadata=["order", "step", "nothing"], messages=True):
        local.runner.start_instance(Traced, {}, id="1", telemetry_metadata={"order": "42", "step": "forged"})
        local.settle()
    (start,) = told.named("start Traced")
    assert start.attributes
    assert start.attributes["hephaestus.metadata.order"] == "42"
    assert "hephaestus.metadata.step" not in start.attributes
    (failed,) = told.named("step right")
    assert failed.status.description == "ValueError: a secret"
    assert failed.events[0].attributes
    assert "raise ValueError(message)" in str(failed.events[0].attributes["exception.stacktrace"])


def test_a_ratio_out_of_bounds_is_refused() -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        otel.attach(ratio=2)


class Leaf(Workflow, key="leaf"):
    """A child."""

    start_at = step(key="one")(lambda ctx: "done")
    transitions = {start_at: {"done": DONE}}


class Tree(Workflow, key="tree"):
    """A parent."""

    start_at = ChildWorkflow(Leaf, name="leaf")
    transitions = {start_at: {"done": DONE}}


def test_a_tree_is_one_trace() -> None:
    """The spans of a child are in the trace of its root, and its workflow's is below the root's."""
    spans = Spans(id_generator=otel.InstanceIds())
    local = LocalRuntime(Tree, Leaf)
    with attached(spans):
        local.start(Tree, "1")
    created = int(local.runner.get("tree::1").created_at.timestamp() * 1000)
    own = otel.root("tree::1", 1, created)
    assert {span.context.trace_id for span in spans.ended if span.context} == {own.trace_id}
    (top,), (child,) = spans.named("Tree"), spans.named("Leaf")
    assert top.context is not None
    assert top.context.span_id == own.span_id
    assert child.parent is not None
    assert child.parent.span_id == own.span_id
    assert (child.attributes or {})["hephaestus.path"] == "leaf"


def test_items_side_by_side_have_spans_of_their_own() -> None:
    """Each is current while its item runs, and names it."""
    seen: dict[str, int] = {}

    @step(key="each")
    def each(ctx: StepContext) -> str:
        seen[ctx.item_key] = trace.get_current_span().get_span_context().span_id
        return "done"

    made = Map(each, over=lambda _: [1, 2, 3])
    flow = type("Mapped", (Workflow,), {"start_at": made, "transitions": {made: {"done": DONE}}}, key="mapped")
    spans = Spans()
    with attached(spans):
        LocalRuntime(flow).start(flow, "1", {})
    found = {}
    for span in spans.named("step each"):
        assert span.attributes
        if (item := span.attributes.get("hephaestus.item")) is not None and span.context:
            found[str(item)] = span.context.span_id
    assert found == seen


def test_the_items_of_a_map_in_many_instances_are_in_the_trace_of_its_own() -> None:
    """Rule C.1: each item is a span below an execution; nothing names an instance of the tree."""
    seen: dict[str, int] = {}

    @step
    def item(ctx: StepContext) -> str:
        seen[ctx.item_key] = trace.get_current_span().get_span_context().span_id
        return "done"

    made = Map(item, over=lambda _: range(9), chunk=2, name="work")
    flow = type("Large", (Workflow,), {"start_at": made, "transitions": {made: {"done": DONE}}}, key="large")
    spans = Spans()
    with attached(spans):
        assert LocalRuntime(flow).start(flow, "1", {}).status == "completed"
    assert len({span.context.trace_id for span in spans.ended if span.context is not None}) == 1
    items = {
        str((span.attributes or {})["hephaestus.item"]): span for span in spans.named("step work") if of_item(span)
    }
    assert sorted(items) == [str(place) for place in range(9)]
    assert {key: span.context.span_id for key, span in items.items() if span.context is not None} == seen
    runs = {span.context.span_id for span in spans.named("run Large") if span.context is not None}
    assert {span.parent.span_id for span in items.values() if span.parent is not None} <= runs
    told = [(span.name, dict(span.attributes or {})) for span in spans.ended]
    assert "hephaestus-map" not in str(told)
    assert "lost" not in {attributes.get("hephaestus.outcome") for _, attributes in told}
    assert len(spans.named("start Large")) == len(spans.named("Large")) == 1


def of_item(span: ReadableSpan) -> bool:
    """Whether a span is of an item of a map."""
    return "hephaestus.item" in (span.attributes or {})
