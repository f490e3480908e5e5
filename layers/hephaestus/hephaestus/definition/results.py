"""What a step gives back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from hephaestus.definition.durations import Duration
    from hephaestus.values.foreign import Model
    from hephaestus.writes import Write


@dataclass(frozen=True, slots=True)
class Completed:
    """The step is done and emits ``event``.

    Attributes:
        event: one of the step's declared events.
        results: the step's results, which later steps read as ``ctx.steps[key]``.
        metadata: merged into the instance's metadata, for people and for searching; later values win.
        writes: on tables of your own, at most 99: they happen exactly once, together with this result, or the step
            has failed (see ``hephaestus.writes``).
    """

    event: str
    results: Mapping[str, Any] | Model = field(default_factory=dict)
    metadata: Mapping[str, Any] | Model = field(default_factory=dict)
    writes: Sequence[Write] = ()


@dataclass(frozen=True, slots=True)
class Pending:
    """The step waits for ``resume``, with one of its declared events.

    Attributes:
        timeout: how long it waits (in seconds or as a ``timedelta``, at most 3,660 days) or until when (an aware
            ``datetime``, which may have passed: then the time is up at once); ``None`` for ever.
        emits: the event that the step is given when the time is up.
        heartbeat: the step is given ``"timeout"`` as soon as no heartbeat has come for that long, in seconds or as a
            ``timedelta``.
    """

    timeout: Duration | datetime | None = None
    emits: str = "timeout"
    heartbeat: Duration | None = None


@dataclass(frozen=True, slots=True)
class Again:
    """The round is over, and another begins: the step must say how many it may have (``rounds=``).

    Attributes:
        carry: what the next round reads as ``ctx.carry``.
        after: how long until it begins, in seconds or as a ``timedelta``, at most 366 days; ``None`` for at once.
        writes: on tables of your own, at most 99: they happen exactly once, together with the round's end.
    """

    carry: Mapping[str, Any] | Model = field(default_factory=dict)
    after: Duration | None = None
    writes: Sequence[Write] = ()


@dataclass(frozen=True, slots=True)
class Spawn:
    """A child workflow is to start with ``context``: what ``ChildWorkflow`` returns."""

    context: Any


@dataclass(frozen=True, slots=True)
class Look:
    """A schedule looks at the time: what its only step returns."""


Checked: TypeAlias = "bool | Mapping[str, Any] | Model"  # what a poll is answered
Result: TypeAlias = "str | Completed | Pending | Again | Mapping[str, Any] | Model"
