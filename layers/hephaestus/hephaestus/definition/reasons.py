"""Why an instance does not go on: a plain sentence about it, and one about each step that is open.

All of it is a function of the state and the time; what is read elsewhere for it (lines of limits, children) is given.
"""

from __future__ import annotations

from dataclasses import field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from hephaestus.definition.references import ByStep
from hephaestus.engine.state import is_paused_alone
from hephaestus.values.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hephaestus.definition.views import InstanceView, StepView
    from hephaestus.engine.state import State

SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
ORDINALS: Final = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
LONGEST: Final = 200  # characters of an error's message
MOST_NAMED: Final = 10  # events of a step
SUFFIXES: Final = {1: "st", 2: "nd", 3: "rd"}
TEENS: Final = range(11, 14)


@dataclass(frozen=True, slots=True)
class Reasons:
    """Why an instance is as it is.

    Attributes:
        id: the instance.
        status: its status; empty where it is not known.
        why: sentences about the instance as a whole.
        steps: a sentence about each step that is open, by its key.
        below: the same of what it waits for: open children, and of a schedule the occurrence that is still open.
    """

    id: str
    status: str = ""
    why: Sequence[str] = ()
    steps: Mapping[str, str] = field(default_factory=dict)
    below: Sequence[Mapping[str, Any]] = ()


def explained(shown: InstanceView, state: State, now: int, lines: Mapping[str, str]) -> InstanceView:
    """A view of an open instance with its reasons.

    Args:
        shown: the view of ``state``.
        state: the state.
        now: the time (ms).
        lines: of each step that stands in line for a limit, or waits for a time of its own, the sentence.
    """
    known = shown.steps.items()
    steps = {key: replace(step, why=_why(state, key, step, now, lines.get(key))) for key, step in known}
    waits = [f"waits: {shown.paused}"] if shown.paused is not None and not is_paused_alone(state) else []
    return replace(shown, why=(*waits, *_of_instance(state, now)), steps=ByStep(steps))


def _why(state: State, key: str, step: StepView, now: int, line: str | None) -> str | None:
    """What is to be said of a step, which may stand in line; of a map, how far it has come besides."""
    own = None if line and step.status != "mapping" else _of_step(state, key, step, now)
    return "; ".join(filter(None, (own, line))) or None


def lasting(milliseconds: int) -> str:
    """A duration in one unit, as ``41 s`` or ``3 h``: the same for a while, so that what was shown stays as it was."""
    for unit, name, most in ((SECOND, "s", 2 * MINUTE), (MINUTE, "min", 2 * HOUR), (HOUR, "h", 2 * DAY)):
        if milliseconds < most:
            return f"{max(milliseconds, 0) // unit} {name}"
    return f"{milliseconds // DAY} days"


def at_time(at: int, now: int) -> str:
    """A time to come, as ``2026-01-31 12:00:00 UTC (in 3 h)``."""
    text = f"{EPOCH + timedelta(milliseconds=at):%Y-%m-%d %H:%M:%S} UTC"
    return f"{text} (in {lasting(at - now)})" if at > now else f"{text} (due for {lasting(now - at)})"


def ordinal(number: int) -> str:
    """A place, as ``third`` or ``21st``."""
    if number <= len(ORDINALS):
        return ORDINALS[number - 1]
    return f"{number}{'th' if number % 100 in TEENS else SUFFIXES.get(number % 10, 'th')}"


def listed(names: Sequence[str]) -> str:
    """Names of code, as ``a``, ``b`` or ``c``."""
    shown = [f"`{name}`" for name in names[:MOST_NAMED]]
    if len(names) > MOST_NAMED:
        shown[-1] = f"{len(names) - MOST_NAMED + 1} others"
    return " or ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else "".join(shown)


def _of_instance(state: State, now: int) -> Iterator[str]:
    """What is to be said of an instance as a whole."""
    if state.parked is not None:
        yield f"is parked: {state.parked}"
    if is_paused_alone(state) and state.paused is not None:
        who = f" by {_named(state.paused.by)}" if state.paused.by else ""
        since = f" for {lasting(now - state.paused.paused_at)}" if state.paused.paused_at else ""
        yield f"is paused{who}{since}{_because(state.paused.reason)}; nothing starts until it is unpaused"
    if state.cancel is not None:
        running = f"; waits for {listed(state.running)}, which runs" if state.running else ""
        yield f"is being cancelled{_because(state.cancel.reason)}{running}"
    if (undoing := state.compensation) is not None:
        yield _undoing(undoing.left, undoing.attempt, undoing.retry_at, undoing.then, now)
    held = state.paused is not None or state.parked is not None
    if state.owner is not None and state.lease_until <= now:
        yield f"its owner is gone for {lasting(now - state.lease_until)}: the sweep has another take over"
    elif state.owner is None and not held and state.wake_at is not None and state.wake_at <= now:
        yield f"has something to do for {lasting(now - state.wake_at)}, and waits for a worker"


def ended(state: State, now: int) -> str:
    """How an instance has ended."""
    text = f"{'was cancelled' if state.status == 'cancelled' else state.status} {lasting(now - state.updated_at)} ago"
    if state.status == "cancelled" and state.cancel is not None:
        return f"{text}{_because(state.cancel.reason)}"
    return f"{text}: {_failure(state.error.type, state.error.message)}" if state.error is not None else text


def _undoing(left: Sequence[str], attempt: int, retry_at: int | None, then: str, now: int) -> str:
    if not left:
        return f"has undone what it did, and runs {listed([then])}" if then else "has undone what it did"
    text = f"undoes what it did: {listed(left[:1])} is next, of {len(left)}"
    return f"{text}; attempt {attempt + 1} begins at {at_time(retry_at, now)}" if retry_at is not None else text


def _of_step(state: State, key: str, step: StepView, now: int) -> str | None:
    """What is to be said of a step that is open; nothing of others."""
    match step.status:
        case "running":
            attempt = f", attempt {step.attempt}" if step.attempt > 1 else ""
            return f"runs{attempt}{', alone, as its process died beside others' if step.alone else ''}"
        case "waiting":
            return _waiting(state, key, step, now)
        case "mapping" if step.progress is not None:
            return _mapping(step.progress, [event for event in step.accepts if event != "timeout"])
        case "retrying" | "looping" if (at := state.steps[key].retry_at) is not None:
            which = f"attempt {state.attempt(key)}" if step.status == "retrying" else f"round {step.round}"
            error = step.error if step.status == "retrying" else None
            after = f", after {_failure(error['type'], error['message'])}" if error else ""
            return f"waits: {which} begins at {at_time(at, now)}{after}"
    return None


def _waiting(state: State, key: str, step: StepView, now: int) -> str:
    timers = state.timers.get(state.activation(key), ())
    ends = sorted([timer for timer in timers if timer.emits != "timeout"], key=lambda timer: timer.due_at)
    events = [event for event in step.accepts if event not in ("timeout", *(timer.emits for timer in ends))]
    since = f" (for {lasting(now - state.steps[key].started_at)})" if state.steps[key].started_at else ""
    if step.child:
        text = f"waits for the child {step.child}{since}"
    elif ends:
        text = f"waits until {at_time(ends[0].due_at, now)}{f', or for {listed(events)}' if events else ''}"
    else:
        text = f"waits for {listed(events) or 'an event'}{since}"
    for timer in sorted(timers, key=lambda timer: timer.due_at):
        if timer.emits == "timeout":
            what = "a heartbeat is due at" if timer.heartbeat_ms else "until its timeout at"
            text += f", {what} {at_time(timer.due_at, now)}"
    return text


def _mapping(counts: Mapping[str, int], events: Sequence[str]) -> str:
    total, failed = counts.get("total", 0), counts.get("failed", 0)
    ended = counts.get("completed", 0) + failed + counts.get("cancelled", 0)
    text = f"{ended} of {total} items have ended{f', {failed} of them failed' if failed else ''}"
    waiting = f"waiting for {listed(events)}" if events else "waiting"
    names = {"running": "running", "waiting": waiting, "retrying": "between two attempts", "pending": "not begun"}
    rest = ", ".join(f"{counts[name]} {said}" for name, said in names.items() if counts.get(name))
    return f"{text}; {rest}" if rest else text


def _failure(kind: str, message: str) -> str:
    return f"{kind}: {message if len(message) <= LONGEST else message[:LONGEST] + '…'}"


def _named(caller: str) -> str:
    """A caller; of an ARN what is not the same for everybody: ``user/anna``."""
    parts = caller.split(":", 5)
    return parts[-1] if parts[0] == "arn" and len(parts) > 5 else caller  # noqa: PLR2004 - the parts of an ARN


def _because(reason: str) -> str:
    return f": {reason}" if reason else ""
