"""What is asked of each instance of a soak, in which order, and how it must end: drawn from a seed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from random import Random

Name: TypeAlias = Literal["start", "resume", "cancel", "pause", "unpause", "redrive", "timer", "fix"]

OK: Final = "ok"
LONG: Final = 900.0  # seconds: a deadline that never comes while a soak lasts
NOT_YET: Final = 200  # milliseconds after which what came too early is asked for again


@dataclass(frozen=True, slots=True)
class Request:
    """One call of the runner.

    Attributes:
        call: which.
        given: its arguments but the instance's id.
        delay_ms: how long after its stage begins it is made.
        too_early: the errors that only mean it is too early; it is then made again.
        refused: the errors that are an answer; any other is a defect.
    """

    call: Name
    given: Mapping[str, Any] = field(default_factory=dict)
    delay_ms: int = 0
    too_early: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Script:
    """One instance.

    Attributes:
        kind: what happens to it.
        workflow: the workflow's name.
        value: the business key's value.
        instance_id: its id.
        stages: the requests of a stage are made side by side; a stage begins when the one before has been answered.
        statuses: how its generations must end.
        otherwise: how they must end where the first request of the last stage was refused; empty where it cannot be.
    """

    kind: str
    workflow: str
    value: str
    stages: tuple[tuple[Request, ...], ...]
    statuses: tuple[str, ...] = ("completed",)
    otherwise: tuple[str, ...] = ()

    @property
    def instance_id(self) -> str:
        """The instance's id."""
        return f"{self.workflow.lower()}::{self.value}"

    def ends(self, answers: Sequence[Sequence[str]]) -> tuple[str, ...]:
        """How its generations must end, given the answers to its requests, stage by stage."""
        return self.statuses if not self.otherwise or answers[-1][0] == OK else self.otherwise


def write(number: int, random: Random) -> Script:
    """The script of one instance."""
    kind = random.choices(list(KINDS), [weight for weight, _ in KINDS.values()])[0]
    return KINDS[kind][1](kind, f"{number}", random)


def _start(value: str, initial: Mapping[str, Any], **more: Any) -> Request:
    return Request("start", {"context": initial, "start_id": f"start-{value}"}, **more)


def _event(event: str, name: str, random: Random, **more: Any) -> Request:
    return Request("resume", {"event": event, "event_id": name, "payload": {"n": random.random()}}, **more)


def _twice(request: Request) -> tuple[Request, Request]:
    return request, request


def _parcel(random: Random, deadline: float = LONG) -> dict[str, Any]:
    """Start data; a step that takes a while is one that a kill may meet."""
    return {
        "pack_seconds": random.choice([0, 0, 0, 0.4]),
        "label_fails": random.choice([0, 0, 0, 1, 2]),
        "weigh_seconds": random.choice([*[0] * 9, 1.2]),
        "handover_seconds": random.choice([0, 0, 0, 0.4]),
        "deadline_seconds": deadline,
    }


def _collected(kind: str, value: str, random: Random) -> Script:
    """Started twice, the event sent twice and early."""
    start = _twice(_start(value, _parcel(random)))
    return Script(kind, "Parcel", value, (start, _twice(_event("collected", f"e-{value}", random))))


def _late(kind: str, value: str, random: Random) -> Script:
    """The event comes when the step has waited for a while."""
    event = _event("collected", f"e-{value}", random, delay_ms=random.randint(300, 3_000))
    return Script(kind, "Parcel", value, ((_start(value, _parcel(random)),), (event, event)))


def _deadline(kind: str, value: str, random: Random) -> Script:
    """No event comes."""
    return Script(kind, "Parcel", value, ((_start(value, _parcel(random, random.uniform(0.5, 3))),),))


def _scheduled(kind: str, value: str, random: Random) -> Script:
    """A deadline that is set from outside."""
    refused = ("InstanceClosed", "UnexpectedEvent")  # asked for again after a worker's death, when it has come already
    given = {"step_ref": "pickup", "delay_ms": random.randint(200, 2_000)}
    timer = Request("timer", given, refused=refused)
    return Script(kind, "Parcel", value, ((_start(value, _parcel(random)),), (timer,)))


def _paused(kind: str, value: str, random: Random) -> Script:
    """Paused in the middle, given its event while paused, and continued."""
    pause = Request("pause", {"request_id": f"p-{value}"}, delay_ms=random.randint(0, 400))
    event = _event("collected", f"e-{value}", random)
    unpause = Request("unpause", {"request_id": f"c-{value}"}, delay_ms=random.randint(0, 800))
    return Script(kind, "Parcel", value, ((_start(value, _parcel(random)),), _twice(pause), (event,), _twice(unpause)))


def _cancelled(kind: str, value: str, random: Random) -> Script:
    """Cancelled while its event comes: whichever is faster."""
    refused = ("InstanceClosed",)
    cancel = Request("cancel", {"request_id": f"x-{value}"}, delay_ms=random.randint(0, 1_500), refused=refused)
    event = _event("collected", f"e-{value}", random, delay_ms=random.randint(0, 1_500), refused=refused)
    stages = ((_start(value, _parcel(random)),), (cancel, event))
    return Script(kind, "Parcel", value, stages, ("cancelled",), ("completed",))


def _rival(kind: str, value: str, random: Random) -> Script:
    """Two starts that know nothing of each other: one wins."""
    refused = ("AlreadyRunning",)
    one = _start(value, _parcel(random), refused=refused)
    other = Request("start", {**one.given, "start_id": f"rival-{value}"}, refused=refused)
    return Script(kind, "Parcel", value, ((one, other), (_event("collected", f"e-{value}", random),)))


def _again(kind: str, value: str, random: Random) -> Script:
    """Started anew as soon as it has ended."""
    second = Request("start", {"context": _parcel(random), "start_id": f"again-{value}"}, too_early=("AlreadyRunning",))
    stages = (
        (_start(value, _parcel(random)),),
        (_event("collected", f"e-{value}", random),),
        (second,),
        (_event("collected", f"f-{value}", random),),
    )
    return Script(kind, "Parcel", value, stages, ("completed", "completed"))


def _trip(kind: str, value: str, random: Random) -> Script:
    """A saga that succeeds."""
    start = _start(value, {"doomed": False})
    return Script(kind, "Journey", value, (_twice(start), _twice(_event("confirmed", f"e-{value}", random))))


def _doomed(kind: str, value: str, random: Random) -> Script:
    """A saga that fails and is undone."""
    stages = ((_start(value, {"doomed": True}),), (_event("confirmed", f"e-{value}", random),))
    return Script(kind, "Journey", value, stages, ("failed",))


def _redriven(kind: str, value: str, random: Random) -> Script:
    """A saga that fails, is undone, and goes on once fixed: what was undone, and what followed, is done again."""
    redrive = Request("redrive", {"request_id": f"r-{value}"}, too_early=("NotRedrivable",))
    stages = _doomed(kind, value, random).stages
    fix = Request("fix", too_early=("NotRedrivable",))
    event = _event("confirmed", f"f-{value}", random)
    return Script(kind, "Journey", value, (*stages, (fix,), _twice(redrive), (event,)))


def _undone(kind: str, value: str, random: Random) -> Script:
    """Cancelled while it waits, and undone."""
    cancel = Request("cancel", {"request_id": f"x-{value}", "compensate": True}, delay_ms=random.randint(0, 600))
    return Script(kind, "Journey", value, ((_start(value, {"doomed": False}),), _twice(cancel)), ("cancelled",))


KINDS: Final = {
    "collected": (24, _collected),
    "late": (10, _late),
    "deadline": (10, _deadline),
    "scheduled": (6, _scheduled),
    "paused": (8, _paused),
    "cancelled": (10, _cancelled),
    "rival": (6, _rival),
    "again": (4, _again),
    "trip": (8, _trip),
    "doomed": (6, _doomed),
    "redriven": (4, _redriven),
    "undone": (4, _undone),
}
