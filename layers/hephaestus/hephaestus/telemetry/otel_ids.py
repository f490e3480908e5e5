"""Which OpenTelemetry trace an instance is: ids that are derived, so that every invocation knows them."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from opentelemetry.trace import SpanContext, TraceFlags

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.sdk.trace.id_generator import IdGenerator


def root(instance_id: str, generation: int, created_at: int, ratio: float = 1.0) -> SpanContext:
    """The root of an instance's trace: the same for anyone who asks, wherever.

    Args:
        instance_id, generation: the instance.
        created_at: when the generation began, in milliseconds since the epoch.
        ratio: which share of instances is sampled.
    """
    digest = hashlib.sha256(f"hephaestus {instance_id} {generation} {created_at}".encode()).digest()
    trace_id, span_id = int.from_bytes(digest[:16], "big") or 1, int.from_bytes(digest[16:24], "big") or 1
    # As TraceIdRatioBased decides: by the lower 64 bits.
    sampled = (trace_id & (2**64 - 1)) < round(ratio * 2**64)
    flags = TraceFlags(TraceFlags.SAMPLED if sampled else TraceFlags.DEFAULT)
    return SpanContext(trace_id, span_id, is_remote=True, trace_flags=flags)


_own: ContextVar[SpanContext | None] = ContextVar("hephaestus_root", default=None)


class InstanceIds:
    """Ids for ``opentelemetry.sdk.trace.TracerProvider(id_generator=InstanceIds())``.

    They are another generator's, but for the span of a workflow, which gets the ids of its instance's root.

    Args:
        others: makes all other ids; by default they are random.
    """

    def __init__(self, others: IdGenerator | None = None) -> None:
        from opentelemetry.sdk.trace.id_generator import RandomIdGenerator  # noqa: PLC0415 - the API alone has no ids

        self._others = others or RandomIdGenerator()

    def generate_span_id(self) -> int:
        """The id of a span that begins."""
        own = _own.get()
        return own.span_id if own else self._others.generate_span_id()

    def generate_trace_id(self) -> int:
        """The id of a trace that begins."""
        own = _own.get()
        return own.trace_id if own else self._others.generate_trace_id()

    def is_trace_id_random(self) -> bool:
        """An instance's are derived."""
        return False


@contextmanager
def as_root(own: SpanContext) -> Iterator[None]:
    """The span that begins here is the root, if its ids are made by ``InstanceIds``."""
    token = _own.set(own)
    try:
        yield
    finally:
        _own.reset(token)
