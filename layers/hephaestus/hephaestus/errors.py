"""Every error a caller can meet, as one small tree whose branches are the policy.

* ``CallerError``: the call was wrong. Repeating it unchanged gives the same answer (HTTP 4xx).
* ``RetryLater``: nothing is wrong with the call; the same call may succeed later (HTTP 503).
* ``EngineError``: a defect, or stored data that the engine refuses to guess about (HTTP 500).
* ``DefinitionError``: a workflow class is not a workflow; raised when the class, or a part of it, is defined.

A message says what happened, to which instance and step, and what to do next. It never holds table
names, stack traces or payloads, so every ``CallerError`` may be shown to an API's caller as it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import NoReturn

WRONG_USE: Final = 2
NOT_FOUND: Final = 3
REJECTED: Final = 4
FAILED: Final = 5
FAULT: Final = 500  # from this HTTP status on, it is not the caller's mistake
EXIT_CODES: Final = MappingProxyType({400: WRONG_USE, 404: NOT_FOUND, 401: FAILED, 403: FAILED})
"""The command line's exit status by the HTTP status of a caller's mistake; of every other ``REJECTED``."""

MAX_FIELDS: Final = 20  # that an error names; a list of a megabyte may have half a million wrong ones
_REPEAT: Final = "Repeat that request as it was, or give this one an id (Idempotency-Key) of its own"
MAX_SHOWN: Final = 200  # characters of a field's name, which the caller may have chosen, and of its problem


class EngineSignal(BaseException):
    """Raised by the engine to itself, through whatever code runs in between: never the outcome of a step.

    It is no ``Exception``, so that no user's code swallows it by accident, and the one kind of ``BaseException`` that
    ``hephaestus.definition.containment`` lets through.
    """


class HephaestusError(Exception):
    """The root of the tree."""

    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"

    @classmethod
    def problem_type(cls) -> str:
        """The ``type`` of its problem document: ``AlreadyRunning`` → ``/problems/already-running``."""
        return "/problems/" + re.sub(r"(?<!^)(?=[A-Z])", "-", cls.__name__).lower()

    @classmethod
    def exit_code(cls) -> int:
        """The exit status of a command that it ended."""
        return EXIT_CODES.get(cls.status, REJECTED) if cls.status < FAULT else FAILED

    @property
    def details(self) -> Mapping[str, object]:
        """What a program needs beside the message, as JSON-safe members of a problem document."""
        return {}


class CallerError(HephaestusError):
    """The caller's mistake; nothing was changed."""

    status = 400
    title = "Bad request"


class RetryLater(HephaestusError):
    """A passing condition; nothing was lost and the same call may be made again."""

    status = 503
    title = "Try again later"


class NotCompleted(HephaestusError):
    """The output of an instance was asked for that has failed, was cancelled, or has not ended."""

    title = "Not completed"


class UnfitOutput(HephaestusError, ValueError):
    """The output of an instance does not fit what its workflow says that it is, as of an older version."""

    title = "Output does not fit"


class EngineError(HephaestusError):
    """A defect or unreadable stored data; the instance is left as it was."""


class BadRequest(CallerError):
    """Malformed: wrong JSON, wrong types, illegal characters."""


class InvalidDelay(BadRequest, ValueError):
    """A delay that is not a whole number of milliseconds within its bounds."""

    title = "Bad request"


class InvalidInput(CallerError):
    """The start context does not fit the workflow's ``Input``, or cannot be stored.

    It names the first ``MAX_FIELDS`` fields, ``MAX_SHOWN`` characters of each, and says how many more there are.
    """

    status = 422
    title = "Invalid input"

    def __init__(self, message: str, fields: Sequence[tuple[str, str]] = ()) -> None:
        self.fields = tuple((field[:MAX_SHOWN], problem[:MAX_SHOWN]) for field, problem in fields[:MAX_FIELDS])
        lines = "".join(f"\n  {field}: {problem}" for field, problem in self.fields)
        more = len(fields) - len(self.fields)
        super().__init__(message + lines + (f"\n  and {more} more" if more else ""))

    @property
    def details(self) -> Mapping[str, object]:
        """``errors``: one object a field, with ``field`` and ``problem``."""
        return {"errors": [{"field": field, "problem": problem} for field, problem in self.fields]}


class UnknownWorkflow(CallerError):
    """No deployed workflow has that name."""

    status = 404
    title = "Unknown workflow"


class UnknownLimit(CallerError):
    """No deployed workflow names that limit, and none has used it."""

    status = 404
    title = "Unknown limit"


class WorkflowUnavailable(UnknownWorkflow):
    """No workflow of that name could be loaded, and a module of workflows is broken: it may be in there."""

    status = 503
    title = "Workflow not available"


class UnknownVersion(CallerError):
    """The workflow is deployed, but not in that version."""

    status = 404
    title = "Unknown version"


class UnknownStep(CallerError):
    """The instance's workflow has no such step."""

    status = 404
    title = "Unknown step"


class InstanceNotFound(CallerError):
    """No instance has that id."""

    status = 404
    title = "Instance not found"


class AlreadyRunning(CallerError):
    """An instance with this business key is active."""

    status = 409
    title = "Already running"


class InstanceClosed(CallerError):
    """The instance has ended: it takes no more events."""

    status = 409
    title = "Instance closed"


class NotRedrivable(CallerError):
    """The instance is neither failed nor cancelled nor parked: there is nothing to go on with."""

    status = 409
    title = "Not redrivable"


class NotRoot(CallerError):
    """The instance is a child that its parent waits for: only the root of its tree is cancelled, redriven or forked.

    Or it runs items of another's map: that one is asked.
    """

    status = 409
    title = "Not the root"


class RequestIdReused(CallerError):
    """The request's id was that of another request to the same instance: only the same request may be repeated.

    Reusing a key with another payload is 422 by the IETF draft "The Idempotency-Key HTTP Header Field", section 2.7.
    """

    status = 422
    title = "Request id reused"

    @classmethod
    def of(cls, instance_id: str, action: str, request_id: str) -> RequestIdReused:
        """The error for an event, or a request to ``action``."""
        return cls(
            f"instance {instance_id}: the id {request_id!r} belongs to another {action} request, "
            f"which asked for something else; nothing was changed. {_REPEAT}"
        )

    @classmethod
    def start(cls, instance_id: str) -> RequestIdReused:
        """The error for a start or a fork."""
        return cls(
            f"instance {instance_id} was started under this start id with something else in the request; "
            f"nothing was changed. {_REPEAT}"
        )


class UnexpectedEvent(CallerError):
    """No step that waits, or can still be reached, declares the event."""

    status = 422
    title = "Unexpected event"

    def __init__(self, message: str, accepted: Mapping[str, Sequence[str]]) -> None:
        super().__init__(message)
        self.accepted = {step: tuple(events) for step, events in accepted.items()}

    @property
    def details(self) -> Mapping[str, object]:
        """``accepted``: the events that would be taken now, by step."""
        return {"accepted": {step: list(events) for step, events in self.accepted.items()}}


class AmbiguousEvent(CallerError):
    """Several steps could take the event: name the one that is meant."""

    status = 422
    title = "Ambiguous event"

    def __init__(self, message: str, steps: Sequence[str]) -> None:
        super().__init__(message)
        self.steps = tuple(steps)

    @property
    def details(self) -> Mapping[str, object]:
        """``steps``: the steps that could take the event."""
        return {"steps": list(self.steps)}


class ForkNotAllowed(CallerError):
    """The workflow's ``forks=`` does not allow this fork."""

    status = 409
    title = "Fork not allowed"


class PayloadTooLarge(CallerError):
    """A value is larger than the store takes, even compressed."""

    status = 413
    title = "Payload too large"


class StoreUnavailable(RetryLater):
    """The store throttled, timed out or could not be reached."""


class TooBusy(RetryLater):
    """So many writers changed the instance at once that this call gave up; nothing was changed by it."""


class LineFull(TooBusy):
    """So many events are in line for a step with rounds that it takes no more until one of them was its turn."""

    title = "Line full"


class ItemNotBegun(RetryLater):
    """The item of a map that a request names has not begun, and the instance that will run it cannot keep it yet."""

    title = "Item not begun"


class CorruptLog(EngineError):
    """A stored head or log entry cannot be read or does not follow from the one before."""


class InvariantBroken(EngineError):
    """The engine met a state that its own rules exclude."""


class NonRetryable(Exception):
    """Raised by a step to fail at once, whatever its retry policy."""


class NoInput(NonRetryable):
    """A step reads ``ctx.input``, and its workflow has no ``Input``."""


class NoResults(NonRetryable):
    """A step reads what the items of a map left, and there is none that it may read: see ``ctx.results``."""


class LinkAltered(CallerError):
    """The token is damaged, cut off, or was signed by nobody that this deployment knows."""

    status = 403
    title = "Link not valid"


class LinkForeign(CallerError):
    """The token belongs to another deployment."""

    status = 403
    title = "Link of another deployment"


class LinkExpired(CallerError):
    """Its time is over."""

    status = 410
    title = "Link expired"


class LinkOutdated(CallerError):
    """The instance has been started again since: the link is for an earlier generation."""

    status = 410
    title = "Link of an earlier run"


class LinkUsed(CallerError):
    """It has been used: its event is in the instance's history."""

    status = 409
    title = "Link already used"


class StepMovedOn(CallerError):
    """The step does not wait any more: somebody else, or the deadline, has decided."""

    status = 409
    title = "Already decided"


class NotConfirmed(CallerError):
    """A form without the confirmation that the link's own page gives."""

    status = 403
    title = "Not confirmed"


class NotTaken(HephaestusError):
    """An event from outside can never be taken; the message says why, for everything that its triggers asked for."""

    title = "Event not taken"


class BadCallback(NonRetryable, ValueError):
    """A step asks for a link that cannot be: an unknown step or event, a payload or an expiry out of bounds."""


class NoCallbackKey(EngineError, NonRetryable):
    """This deployment has no key to sign links with, or one that cannot be used."""

    title = "No key for links"


class LinksAreOff(NoCallbackKey):
    """This deployment was given no key: it makes no links and takes none."""


def no_signer() -> NoReturn:
    """Say that nothing can be signed, and what to do about it.

    Raises:
        LinksAreOff: always.
    """
    message = (
        "this deployment signs no links: it has no key for them. Deploy with CallbackKey=generate (or secret or "
        "parameter, with CallbackKeyName), which sets HEPHAESTUS_CALLBACK_KEY. In tests, LocalRuntime has a key, and a "
        "StepContext made by hand takes links=hephaestus.testing.links(MyWorkflow, 'my_step')"
    )
    raise LinksAreOff(message)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a definition: where, what, and how to fix it."""

    step: str
    problem: str
    fix: str

    def __str__(self) -> str:
        return f"{self.step}: {self.problem}. {self.fix}."


class DefinitionError(HephaestusError, ValueError):
    """A workflow, a step or a retry policy that cannot be, with everything that is wrong with it at once.

    Attributes:
        workflow: the name of the workflow or step, or ``Retry``.
        problems: where, what, and what to do, one object a mistake.
    """

    def __init__(self, workflow: str, problems: Sequence[Problem], what: str = "workflow") -> None:
        lines = "".join(f"\n  - {problem}" for problem in problems)
        super().__init__(f"{what} {workflow} has {len(problems)} definition error(s):{lines}")
        self.workflow = workflow
        self.problems = tuple(problems)

    @classmethod
    def exit_code(cls) -> int:
        """As of a check that found errors."""
        return 1


def errors_by_type() -> Mapping[str, type[CallerError | RetryLater]]:
    """The errors of this module that callers of the API meet, by the type of their problem documents."""
    kinds = [
        kind for kind in globals().values() if isinstance(kind, type) and issubclass(kind, CallerError | RetryLater)
    ]
    return {kind.problem_type(): kind for kind in kinds}
