"""What can happen to an instance: the vocabulary of the log.

A log entry holds the events of one commit. Events carry decisions already made (the branches a ``Choice`` took, the
time of a retry), so folding them needs neither the graph nor a clock. Times are milliseconds since the epoch.

What was asked for from outside says who asked: ``by``, and how that is known in ``by_source`` (see
``hephaestus.caller``). A request with an id has a ``digest`` of what it asked for (see ``hephaestus.engine.requests``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Nothing(Mapping[str, Any]):
    """The empty mapping, shared by all that hold nothing. It is no ``dict``: C code would write to one."""

    __slots__ = ()

    def __getitem__(self, key: str) -> NoReturn:
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def __contains__(self, _key: object) -> bool:
        return False

    def get(self, _key: str, default: Any = None) -> Any:
        return default

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mapping) and not other

    def __hash__(self) -> int:  # so that it may be a field's default
        return hash(_Nothing)

    def __repr__(self) -> str:
        return "{}"

    def __reduce__(self) -> str:
        return "NOTHING"  # copied and pickled as what it is: this one


NOTHING: Final[Mapping[str, Any]] = _Nothing()
LONGEST_MESSAGE_MS: Final = 15 * 60 * 1000  # SQS: DelaySeconds is at most 900; what comes later needs a schedule


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as history keeps it: the type's name, the message, and where it was raised."""

    type: str
    message: str
    trace: str = ""


@dataclass(frozen=True, slots=True)
class Replacement:
    """Data that a fork was given in place of what its source had.

    ``by`` is who asked for that fork, and ``by_source`` how that is known; ``forked_from`` the instance, generation
    and log entry that it began at, as ``orderid::a#1#7``. A fork of the fork keeps the mark: the data still are not
    what a step returned.
    """

    by: str = ""
    forked_from: str = ""
    by_source: str = ""


@dataclass(frozen=True, slots=True)
class InstanceStarted:
    """The first event of a generation."""

    workflow: str
    version: int
    initial: Mapping[str, Any] = NOTHING
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = NOTHING
    start_id: str = ""
    by: str = ""
    by_source: str = ""


@dataclass(frozen=True, slots=True)
class Forked:
    """The generation begins where another instance was after its log entry ``sequence``.

    ``completed`` are the outcomes it takes over, with the results that the fork was given; ``skipped`` the steps that
    were ruled out there. ``initial_replaced`` is set where the start data are not those of a start.
    """

    instance_id: str
    generation: int
    sequence: int
    completed: tuple[StepCompleted, ...] = ()
    skipped: tuple[str, ...] = ()
    by: str = ""
    by_source: str = ""
    initial_replaced: Replacement | None = None


@dataclass(frozen=True, slots=True)
class Claimed:
    """``owner`` alone runs steps until ``lease_until``."""

    owner: str
    lease_until: int


@dataclass(frozen=True, slots=True)
class StepsStarted:
    """The owner starts an attempt of each of these steps right after this commit, or their compensation.

    A step that is named here and has no outcome when another owner comes may have run: its attempt is spent.
    """

    steps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ChoiceStarted:
    """The owner calls the ``Choice`` that routes an event of ``step`` right after this commit.

    It does so for what a step waited for and for a failure that is routed, both outside of any attempt. One that takes
    its Lambda with it is counted by this: an owner that finds too many fails the step instead of calling it again.
    """

    step: str


@dataclass(frozen=True, slots=True)
class EventReceived:
    """An event from outside, accepted for ``step``; kept until that step waits. Without an id it has no repeats."""

    step: str
    event: str
    event_id: str
    payload: Any = None
    by: str = ""
    by_source: str = ""
    digest: str = ""


@dataclass(frozen=True, slots=True)
class TimerSet:
    """A deadline for ``step`` asked for from outside: at ``due_at`` it is given the event ``emits``."""

    token: str
    step: str
    due_at: int
    emits: str = "timeout"
    request_id: str = ""
    by: str = ""
    by_source: str = ""
    digest: str = ""


@dataclass(frozen=True, slots=True)
class HeartbeatReceived:
    """Who works for the waiting ``step`` is alive: its heartbeat is now missed at ``due_at``."""

    step: str
    token: str
    due_at: int
    by: str = ""
    by_source: str = ""


@dataclass(frozen=True, slots=True)
class StepCompleted:
    """``step`` emitted ``event``; the steps in ``taken`` are its live targets, every other edge is dead.

    ``writes`` tells the writes to the user's own tables that were committed with this entry, as ``Put orders``.
    ``failed`` is the error of its last attempt where the transitions route that failure; without it the step succeeded,
    whatever the event is called. ``replaced`` is set where the results were given to a fork.
    ``configs`` are the configurations that a ``Choice`` returned, by target. ``ended_at`` is set where a fork takes the
    step over: when it ended there.
    """

    step: str
    event: str
    taken: tuple[str, ...]
    updates: Mapping[str, Any] = NOTHING
    metadata: Mapping[str, Any] = NOTHING
    started_at: int = 0
    attempt: int = 1
    writes: tuple[str, ...] = ()
    failed: Failure | None = None
    replaced: Replacement | None = None
    configs: Mapping[str, Mapping[str, Any]] = NOTHING
    ended_at: int = 0


@dataclass(frozen=True, slots=True)
class StepWaiting:
    """``step`` ran and waits; at ``due_at`` (if any) it is given the event ``emits``.

    ``scheduled`` says that a one-shot schedule is made for the deadline, to be removed when the wait ends early. With
    ``heartbeat_ms`` it is given ``timeout`` as soon as no heartbeat has come for that long, first at ``heartbeat_at``.
    """

    step: str
    started_at: int = 0
    attempt: int = 1
    token: str = ""
    due_at: int | None = None
    emits: str = "timeout"
    scheduled: bool = False
    heartbeat_ms: int = 0
    heartbeat_at: int = 0


@dataclass(frozen=True, slots=True)
class StepFailed:
    """An attempt of ``step`` failed; it is tried again at ``retry_at``, or never if there is none."""

    step: str
    attempt: int
    error: Failure
    started_at: int = 0
    retry_at: int | None = None


@dataclass(frozen=True, slots=True)
class StepsSkipped:
    """Every incoming edge of these steps is dead: they will not run."""

    steps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CompensationStarted:
    """The instance will end as ``status``; before that, what these ``steps`` did is undone, in this order."""

    status: str
    steps: tuple[str, ...]
    error: Failure | None = None


@dataclass(frozen=True, slots=True)
class StepCompensated:
    """What ``step`` did is undone."""

    step: str
    attempt: int = 1
    updates: Mapping[str, Any] = NOTHING
    started_at: int = 0
    writes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CompensationFailed:
    """An attempt to undo ``step`` failed; it is tried again at ``retry_at``, or never if there is none."""

    step: str
    attempt: int
    error: Failure
    started_at: int = 0
    retry_at: int | None = None


@dataclass(frozen=True, slots=True)
class Suspended:
    """The owner leaves: nothing can run before an event arrives or ``wake_at`` comes."""

    wake_at: int | None = None


@dataclass(frozen=True, slots=True)
class HandedOver:
    """The owner leaves because its time is up; another invocation goes on at once."""


@dataclass(frozen=True, slots=True)
class Parked:
    """The instance cannot go on for a reason outside of it; it is looked at again at ``wake_at``."""

    reason: str
    wake_at: int


@dataclass(frozen=True, slots=True)
class CancelRequested:
    """No further step starts; the instance ends when nothing runs, having undone what it did if ``compensate``."""

    reason: str = ""
    request_id: str = ""
    compensate: bool = False
    by: str = ""
    by_source: str = ""
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Paused:
    """No further step starts and no event is delivered before the instance is continued."""

    reason: str = ""
    request_id: str = ""
    by: str = ""
    by_source: str = ""
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Continued:
    """The instance is no longer paused."""

    request_id: str = ""
    by: str = ""
    by_source: str = ""
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Redriven:
    """A closed instance goes on, in ``status``; one that was parked goes on as it was.

    ``reset`` are the steps of which nothing is known any more; those of them in ``again`` have been undone, or follow
    from one that was, so that running them is a new activation. ``undo`` are the steps whose compensation failed and is
    tried again.
    """

    status: str
    reset: tuple[str, ...] = ()
    again: tuple[str, ...] = ()
    undo: tuple[str, ...] = ()
    request_id: str = ""
    by: str = ""
    by_source: str = ""
    digest: str = ""


@dataclass(frozen=True, slots=True)
class InstanceFinished:
    """The last event of a generation; ``status`` is ``completed``, ``failed`` or ``cancelled``."""

    status: str
    error: Failure | None = None


Event = (
    InstanceStarted
    | Forked
    | Claimed
    | StepsStarted
    | ChoiceStarted
    | EventReceived
    | TimerSet
    | HeartbeatReceived
    | StepCompleted
    | StepWaiting
    | StepFailed
    | StepsSkipped
    | CompensationStarted
    | StepCompensated
    | CompensationFailed
    | Suspended
    | HandedOver
    | Parked
    | CancelRequested
    | Paused
    | Continued
    | Redriven
    | InstanceFinished
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One commit: the events that became true together, at ``at`` (ms), written by ``commit_id``."""

    sequence: int
    commit_id: str
    at: int
    events: tuple[Event, ...]
