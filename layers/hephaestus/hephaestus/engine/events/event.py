"""How an event is declared: its fields, where it may happen, where it leads, and what it changes, in one class.

``@event(of_instance, of_step)`` gives the transitions. Of an instance: by status, the status that follows; ``"="``
stays, and of ``"one|other"`` it is the one that the event's ``status`` names. Of the step that the event is about: by
status, the status that follows; of ``"one or other"`` it is the first where the event has a ``retry_at``.

The log's bytes (``hephaestus.engine.codec``), the tables (``hephaestus.engine.transitions``) and the documentation's
diagrams are all derived from these declarations.
"""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar, dataclass_transform

from hephaestus.engine.activation import parse, step_of
from hephaestus.engine.records import NOTHING
from hephaestus.errors import CorruptLog
from hephaestus.values.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hephaestus.engine.state import State, StepStatus

LONGEST_MESSAGE_MS: Final = 15 * 60 * 1000  # SQS: DelaySeconds is at most 900; what comes later needs a schedule

E = TypeVar("E", bound="Event")


@dataclass(frozen=True, slots=True)
class Event:
    """What happened to an instance; part of a log entry.

    Attributes:
        of_instance: by the instance's status, where the event leads; a status that is missing does not allow it.
        of_step: the same for the step that it is about.
    """

    of_instance: ClassVar[Mapping[str, str]] = NOTHING
    of_step: ClassVar[Mapping[str, str]] = NOTHING

    def changes(self, _state: State, _at: int) -> dict[str, Any]:
        """The fields of ``State`` that the event changes, with their new values; ``at`` (ms) is when it happened.

        Raises:
            CorruptLog: the event does not follow from the state.
        """
        return {}


@dataclass(frozen=True, slots=True)
class OfActivation(Event):
    """What happened to something that runs or waits."""

    activation: str

    @property
    def step(self) -> str:
        """The key of its step."""
        return step_of(self.activation)


EVENTS: Final[dict[str, type[Event]]] = {}


@dataclass_transform(frozen_default=True)
def event(
    of_instance: Mapping[str, str] = NOTHING, of_step: Mapping[str, str] = NOTHING
) -> Callable[[type[E]], type[E]]:
    """Declare an event; see the module."""

    def declare(kind: type[E]) -> type[E]:
        declared = dataclass(frozen=True, slots=True)(kind)
        declared.of_instance, declared.of_step = of_instance, of_step
        EVENTS[declared.__name__] = declared
        return declared

    return declare


def stays(*statuses: str) -> dict[str, str]:
    """Transitions that change no status."""
    return dict.fromkeys(statuses, "=")


@dataclass(frozen=True, slots=True)
class Entry:
    """One commit: the events that became true together, at ``at`` (ms), written by ``commit_id``.

    ``alarm`` is when (ms) the instance is looked at again for this entry's sake, as long as no head covers it.
    """

    sequence: int
    commit_id: str
    at: int
    events: tuple[Event, ...]
    alarm: int | None = field(default=None, compare=False)


def status_after(state: State, event: Event) -> str:
    """The instance's status after ``event``.

    Raises:
        CorruptLog: the event cannot happen in the state.
    """
    following = event.of_instance.get(state.status)
    if following == "=":
        return state.status
    if following is None:
        message = f"instance {state.instance_id} is {state.status}: {type(event).__name__} cannot happen to it"
        raise CorruptLog(message)
    if "|" not in following:
        return following
    named: str = event.status  # type: ignore[attr-defined]  # such an event has one
    if named not in following.split("|"):
        message = f"instance {state.instance_id} is {state.status}: {type(event).__name__} cannot lead to {named!r}"
        raise CorruptLog(message)
    return named


def step_after(state: State, step: str, event: Event) -> StepStatus:
    """The status of ``step`` after ``event``.

    Raises:
        CorruptLog: the event cannot happen to it.
    """
    current = state.step_status(step)
    following = event.of_step.get(current)
    if following is None:
        message = f"instance {state.instance_id}: step {step} is {current}: {type(event).__name__} cannot happen to it"
        raise CorruptLog(message)
    again, _, for_good = following.partition(" or ")
    return for_good if for_good and event.retry_at is None else again  # type: ignore[attr-defined, return-value]  # see the module


def step_now(state: State, activation: str, *, any_round: bool = False) -> str:
    """The step of an activation that is its step's newest.

    Raises:
        CorruptLog: it is none, or one of an epoch or of a round that is over; of ``any_round`` is what is for the step
            whichever round it is at.
    """
    try:
        found = parse(activation)
    except ValueError as error:
        message = f"instance {state.instance_id}: {error}"
        raise CorruptLog(message) from error
    known = None if any_round or found.undo else state.steps.get(found.step)
    at = found.round == (1 if known is None else known.round)
    if found.epoch != state.epochs.get(found.step, 0) or not at:
        message = f"instance {state.instance_id}: {activation} is not the newest activation of step {found.step}"
        raise CorruptLog(message)
    return found.step
