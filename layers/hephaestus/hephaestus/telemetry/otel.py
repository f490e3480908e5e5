"""OpenTelemetry: one trace for an instance and all below it, whatever number of invocations run them.

Every invocation derives the same trace id and root from the instance's id, generation and time of creation, so that
nothing is stored or passed on. Below the root are a span for each execution (an invocation's work on the instance) and,
below that, one for each attempt of a step; a wait is a span from the step's start to the event, and the whole workflow
one from its creation to its end. An execution links to the span that was current when it began, which is the
invocation's own where Lambda is instrumented. While a step runs, its span is the current one.

    from hephaestus.telemetry import otel
    otel.attach()

It needs the extra ``otel`` and uses the tracer provider that is configured. The root itself belongs to no invocation,
so no span of that id is exported, unless the provider is made with ``InstanceIds``: then the workflow's span is it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, cast

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, Status, StatusCode

from hephaestus.runtime import telemetry
from hephaestus.runtime.telemetry import EVENTS, EXECUTION_START, EXECUTION_STOP, FIELDS
from hephaestus.telemetry.otel_ids import InstanceIds, as_root, root

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from contextvars import Token

    from opentelemetry.context import Context
    from opentelemetry.trace import Tracer, TracerProvider
    from opentelemetry.util.types import AttributeValue

__all__ = ["InstanceIds", "OtelHandler", "attach", "detach", "root"]

NAME: Final = "otel"
SCOPE: Final = "hephaestus"
HEARD: Final = (*(event for event in EVENTS if event != "hephaestus.runner.init"), EXECUTION_START, EXECUTION_STOP)
ATTRIBUTES: Final = (
    *("instance_id", "workflow", "version", "generation", "step", "item", "attempt", "compensation", "event", "kind"),
    *("status", "failed_step", "resume_event", "source", "outcome", "will_retry", "initial_step", "forked_from"),
    *("parent", "root", "path"),
)


def attach(
    provider: TracerProvider | None = None,
    *,
    ratio: float = 1.0,
    metadata: Collection[str] = (),
    messages: bool = False,
) -> None:
    """Make spans of what instances do.

    Args:
        provider: where they go; by default what ``opentelemetry.trace`` has been given.
        ratio: which share of instances is traced, 0 to 1; an instance is traced as a whole or not at all.
        metadata: the names of the members of a caller's ``telemetry_metadata`` that become attributes.
        messages: whether the messages and tracebacks of errors are told, which may hold what an instance carries.

    Raises:
        ValueError: the ratio is not from 0 to 1.
    """
    if not 0 <= ratio <= 1:
        message = f"ratio is {ratio!r}: it must be a number from 0 to 1"
        raise ValueError(message)
    telemetry.attach(NAME, OtelHandler(provider, ratio, metadata, messages=messages), HEARD)


def detach() -> None:
    """Make no more spans."""
    telemetry.detach(NAME)


NOT_COMMITTED: Final = frozenset({"failed", "fenced", "outrun"})  # how an execution has ended


@dataclass(slots=True)
class _Execution:
    """What is open of one execution."""

    span: Span
    steps: dict[tuple[object, ...], Span] = field(default_factory=dict)
    token: Token[Context] | None = None


class OtelHandler:
    """Turns events into spans; see ``attach``."""

    def __init__(
        self,
        provider: TracerProvider | None = None,
        ratio: float = 1.0,
        metadata: Collection[str] = (),
        *,
        messages: bool = False,
    ) -> None:
        self._provider = provider
        self._ratio = ratio
        self._metadata = tuple(name for name in metadata if name not in FIELDS)
        self._messages = messages
        self._executions: dict[object, list[_Execution]] = {}
        self._made: tuple[TracerProvider, Tracer] | None = None

    def __call__(self, event: str, measurements: Mapping[str, float], metadata: Mapping[str, object]) -> None:
        """Turn one event into a span, or a part of one."""
        self._leave(metadata)
        match event:
            case "hephaestus.execution.start":
                self._begin(measurements, metadata)
            case "hephaestus.execution.stop":
                self._finish(measurements, metadata)
            case "hephaestus.step.start":
                self._step(measurements, metadata)
            case "hephaestus.step.stop" | "hephaestus.step.exception" | "hephaestus.step.async":
                self._step_ended(event, measurements, metadata)
            case "hephaestus.step.resume":
                self._waited(measurements, metadata)
            case "hephaestus.workflow.transition":
                self._noted(event, metadata)
            case "hephaestus.workflow.start":
                self._started(measurements, metadata)
            case "hephaestus.workflow.stop" | "hephaestus.workflow.exception":
                self._ended(measurements, metadata)
            case _:
                pass  # a look of the engine: only the step that ended is left, so that its span is current no longer

    # --- Executions ---

    def _begin(self, measurements: Mapping[str, float], metadata: Mapping[str, object]) -> None:
        current = trace.get_current_span().get_span_context()
        span = self._tracer().start_span(
            f"run {metadata['workflow']}",
            self._root_context(metadata),
            links=[Link(current)] if current.is_valid else [],
            attributes=self._attributes(metadata),
            start_time=_nanoseconds(measurements["system_time"]),
        )
        self._executions.setdefault(_whose(metadata), []).append(_Execution(span))

    def _finish(self, measurements: Mapping[str, float], metadata: Mapping[str, object]) -> None:
        open_ones = self._executions.get(_whose(metadata))
        if not open_ones:
            return
        execution = open_ones.pop()
        if not open_ones:
            del self._executions[_whose(metadata)]
        at = _nanoseconds(measurements["system_time"])
        # What is open was not committed, as another owner took over; or it is a map whose items go on.
        left = "lost" if metadata["outcome"] in NOT_COMMITTED else "mapping"
        for span in execution.steps.values():
            span.set_attribute("hephaestus.outcome", left)
            span.end(at)
        execution.span.set_attributes(self._attributes(metadata))
        execution.span.end(at)

    def _current(self, metadata: Mapping[str, object]) -> _Execution | None:
        found = self._executions.get(_whose(metadata))
        return found[-1] if found else None

    def _leave(self, metadata: Mapping[str, object]) -> None:
        """The step that was started last in this thread is current no longer."""
        execution = self._current(metadata)
        if execution and execution.token:
            contexts.detach(execution.token)
            execution.token = None

    # --- Steps ---

    def _step(self, measurements: Mapping[str, float], metadata: Mapping[str, object]) -> None:
        span = self._below(
            metadata, f"{'undo' if metadata['compensation'] else 'step'} {metadata['step']}", measurements
        )
        execution = self._current(metadata)
        if execution:
            execution.steps[_running(metadata)] = span
            execution.token = contexts.attach(trace.set_span_in_context(span))

    def _step_ended(self, event: str, measurements: Mapping[str, float], metadata: Mapping[str, object]) -> None:
        execution = self._current(metadata)
        span = execution.steps.pop(_running(metadata), None) if execution else None
        if span is None:  # a dead owner's attempt, or a wait's
            began = {"system_time": measurements["system_time"] - measurements.get("duration", 0)}
            span = self._below(metadata, f"step {metadata['step']}", began)
        span.set_attributes(self._attributes(metadata))
        if event == "hephaestus.step.exception":
            self._failed(span, metadata)
        elif event == "hephaestus.step.async":
            span.add_event("waiting", timestamp=_nanoseconds(measurements["system_time"]))
        span.end(_nanoseconds(measurements["system_time"]))

    def _waited(self, measurements: Mapping[str, float], metadata: Mapping[str, object]) -> None:
        began = {"system_time": measurements["system_time"] - measurements["wait_duration"]}
        span = self._below(metadata, f"wait {metadata['step']}", began, at_root=True)
        execution = self._current(metadata)
        if execution:
            span.add_link(execution.span.get_span_context())  # who went on with it
        span.end(_nanoseconds(measurements["system_time"]))

    def _noted(self, event: str, metadata: Mapping[str, object]) -> None:
        execution = self._current(metadata)
        if execution:
            known = {"from_step": str(metadata["from_step"]), "event": str(metadata["event"])}
            targets = metadata["targets"]
            listed = [str(target) for target in targets] if isinstance(targets, tuple) else []
            execution.span.add_event(event.removeprefix("hephaestus."), {**known, "targets": listed})

    # --- Workflows ---

    def _started(self, measurements: Mapping[str, float], metadata: Mapping[str, object]) -> None:
        """A point in time, so that an instance is seen before it ends; it links to the span that asked for it."""
        current = trace.get_current_span().get_span_context()
        span = self._below(metadata, f"start {metadata['workflow']}", measurements, at_root=True)
        if current.is_valid:
            span.add_link(current)
        span.end(_nanoseconds(measurements["system_time"]))

    def _ended(self, measurements: Mapping[str, float], metadata: Mapping[str, object]) -> None:
        """The whole workflow: the root itself where the provider takes its ids from here, else right below it."""
        own, tracer = self._root(metadata), self._tracer()
        parent = self._root_context(metadata)
        if isinstance(getattr(tracer, "id_generator", None), InstanceIds):
            if not own.trace_flags.sampled:
                return
            parent = self._tree_context(metadata)
        with as_root(own):
            span = tracer.start_span(
                str(metadata["workflow"]),
                parent,
                attributes=self._attributes(metadata),
                start_time=_nanoseconds(measurements["system_time"] - measurements["duration"]),
            )
        if metadata["status"] == "failed":
            self._failed(span, metadata)
        span.end(_nanoseconds(measurements["system_time"]))

    # --- What spans are made of ---

    def _tracer(self) -> Tracer:
        """The tracer of the provider that is configured now: it may be set up after this is attached."""
        provider = self._provider or trace.get_tracer_provider()
        if self._made is None or self._made[0] is not provider:
            self._made = (provider, provider.get_tracer(SCOPE))
        return self._made[1]

    def _root(self, metadata: Mapping[str, object]) -> SpanContext:
        generation, created_at = metadata["generation"], metadata["created_at"]
        own = root(str(metadata["instance_id"]), cast("int", generation), cast("int", created_at), self._ratio)
        top = self._tree_root(metadata)
        return (
            own if top is None else SpanContext(top.trace_id, own.span_id, is_remote=True, trace_flags=top.trace_flags)
        )

    def _tree_root(self, metadata: Mapping[str, object]) -> SpanContext | None:
        """The root of the tree that a child is in."""
        if "root" not in metadata:
            return None
        began = cast("int", metadata["root_generation"]), cast("int", metadata["root_created_at"])
        return root(str(metadata["root"]), *began, self._ratio)

    def _tree_context(self, metadata: Mapping[str, object]) -> Context:
        """What the span of a workflow is below: nothing, or the span of the workflow at the root of its tree."""
        top = self._tree_root(metadata)
        return (
            contexts.Context() if top is None else trace.set_span_in_context(NonRecordingSpan(top), contexts.Context())
        )

    def _root_context(self, metadata: Mapping[str, object]) -> Context:
        return trace.set_span_in_context(NonRecordingSpan(self._root(metadata)), contexts.Context())

    def _below(
        self, metadata: Mapping[str, object], name: str, began: Mapping[str, float], *, at_root: bool = False
    ) -> Span:
        """A span that began at ``system_time``, below the execution or the root."""
        execution = None if at_root else self._current(metadata)
        parent = trace.set_span_in_context(execution.span) if execution else self._root_context(metadata)
        at = _nanoseconds(began["system_time"])
        return self._tracer().start_span(name, parent, attributes=self._attributes(metadata), start_time=at)

    def _attributes(self, metadata: Mapping[str, object]) -> dict[str, AttributeValue]:
        """What is known, under names of our own; of a caller's metadata, what was asked for and is plain."""
        engine = {f"hephaestus.{name}": metadata.get(name) for name in ATTRIBUTES}
        caller = {f"hephaestus.metadata.{name}": metadata.get(name) for name in self._metadata}
        return {name: value for name, value in (engine | caller).items() if isinstance(value, (str, bool, int, float))}

    def _failed(self, span: Span, metadata: Mapping[str, object]) -> None:
        kind = str(metadata["kind"])
        story: dict[str, AttributeValue] = {"exception.type": kind}
        if self._messages:
            story["exception.message"] = str(metadata["reason"])
            story["exception.stacktrace"] = str(metadata["stacktrace"] or "")
        span.add_event("exception", story)
        span.set_status(Status(StatusCode.ERROR, f"{kind}: {metadata['reason']}" if self._messages else kind))


def _whose(metadata: Mapping[str, object]) -> tuple[object, object]:
    """Whose execution it is: items of one map are run by several side by side."""
    return metadata.get("instance_id"), metadata.get("items_from")


def _nanoseconds(milliseconds: float) -> int:
    return round(milliseconds * 1_000_000)


def _running(metadata: Mapping[str, object]) -> tuple[object, ...]:
    """Which attempt it is, of a step or of an item."""
    return metadata["step"], metadata.get("item"), metadata["attempt"]
