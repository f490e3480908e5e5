"""The client, and a handle on one instance."""

from __future__ import annotations

import random
import time
import uuid
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Generic

from hephaestus.definition import durations
from hephaestus.definition.item_views import ItemView
from hephaestus.definition.limit_views import LimitView
from hephaestus.definition.outputs import read_output
from hephaestus.definition.reasons import Reasons
from hephaestus.definition.references import ByStep, step_key
from hephaestus.definition.views import HistoryEntry, InstanceView, Page, StepView
from hephaestus.definition.workflow import Workflow
from hephaestus.errors import BadRequest, RetryLater, UnknownWorkflow
from hephaestus.operations import deployed_api
from hephaestus.runtime.commands import ROUTED
from hephaestus.runtime.queries import read_filter

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from typing_extensions import TypeVar  # which every type checker brings

    from hephaestus.definition.durations import Duration
    from hephaestus.definition.outputs import OutputT
    from hephaestus.definition.references import StepRef, WorkflowRef
    from hephaestus.definition.schedules import CatchUp, Overlap
    from hephaestus.operations.http_client import Api
    from hephaestus.values.foreign import Model

    HandleT = TypeVar("HandleT", default=Any)
else:
    from typing import TypeVar

    HandleT = TypeVar("HandleT")

AGAIN: Final = (0.2, 0.5, 1.5)  # seconds before a request that was not answered is sent again
FIRST_PAUSE: Final = 0.1  # seconds between two looks at an instance that is waited for
LONGEST_PAUSE: Final = 5.0
GROWTH: Final = 1.5
ACTIONS: Final = {command.action: command for command in ROUTED}


def connect(
    where: str, *, region: str | None = None, profile: str | None = None, endpoint_url: str | None = None
) -> Client:
    """Connect to a deployment.

    Args:
        where: the name of a CloudFormation stack; an API's address, as ``https://…``, whose requests are signed where
            there are credentials; or ``"dev"``, the ``hephaestus dev`` that runs in this folder or one above.
        region, profile, endpoint_url: where and as whom, by default as the environment says; not for ``"dev"``.

    Returns:
        The client. It may be used by several threads.

    Raises:
        BadRequest: the address is none.
        NoSuchStack: there is no such stack, or it is none of Hephaestus.
        NoCredentials, AwsRefused: AWS does not know or not allow who asks.
        Unreachable: no one answers, or no ``hephaestus dev`` runs.
    """
    return Client(deployed_api(where, region=region, profile=profile, endpoint_url=endpoint_url))


class Client:
    """The instances of one deployment; see ``connect``.

    Each change has a request id, made here unless one is given, so that a request whose answer was lost is sent again
    (up to three times, within about two seconds) and still happens once. Who asks is known by the credentials.

    Raises (any method):
        CallerError: as the runner's method of the same name raises it, as ``UnexpectedEvent`` or ``InstanceNotFound``.
        StoreUnavailable, TooBusy: the deployment could not answer now; nothing is lost, try again.
        EngineError: the deployed engine failed.
        BadRequest: an argument is malformed.
        NoCredentials, AwsRefused, Unreachable: of ``hephaestus.client``: AWS does not know or not allow the caller, or
            no one answers.
    """

    def __init__(self, api: Api) -> None:
        self._api = api

    def start(  # noqa: PLR0913 - as `start_instance` has them
        self,
        workflow: str | type[Workflow[OutputT]],
        value: str,
        context: Mapping[str, Any] | Model | None = None,
        *,
        version: int | None = None,
        tags: Sequence[str] = (),
        metadata: Mapping[str, Any] | Model | None = None,
        start_id: str | None = None,
    ) -> Handle[OutputT]:
        """Start an instance and return a handle on it; see ``Runner.start_instance``.

        Args:
            workflow: the workflow's name, or its class where this program has it: ``output`` is then of its type.
            value: the business key's value.
            context: the start data.
            version: which version; by default as the workflow says.
            tags: added to the workflow's own.
            metadata: added to the workflow's own.
            start_id: the start's request id.
        """
        given = {"workflow": _name(workflow), "id": value, "context": context, "version": version, "tags": tags}
        done = self._done("start", start_id, **given, metadata=metadata)
        return replace(self.handle(str(done["id"]), workflow), used=bool(done.get("used")))

    def handle(self, instance_id: str, workflow: str | type[Workflow[OutputT]] = "") -> Handle[OutputT]:
        """A handle on an instance by its id; nothing is asked. ``output`` is of the type that ``workflow`` has."""
        return Handle(self, instance_id, None if isinstance(workflow, str) else workflow)

    def resume(  # noqa: PLR0913 - as the runner has it
        self,
        instance_id: str,
        event: str,
        payload: Any = None,
        *,
        step: StepRef | None = None,
        item: str | None = None,
        event_id: str | None = None,
    ) -> None:
        """Deliver an event; see ``Runner.resume``."""
        self._do("resume", event_id, instance_id=instance_id, event=event, payload=payload, step=step, item=item)

    def heartbeat(self, instance_id: str, step: StepRef | None = None, *, item: str | None = None) -> None:
        """Say that the one who works for a waiting step is alive; see ``Runner.heartbeat``."""
        self._do("heartbeat", None, instance_id=instance_id, step=step, item=item)

    def cancel(
        self, instance_id: str, reason: str = "", *, compensate: bool = False, request_id: str | None = None
    ) -> None:
        """Cancel an instance, with ``compensate=True`` after undoing what it did; see ``Runner.cancel``."""
        self._do("cancel", request_id, instance_id=instance_id, reason=reason, compensate=compensate)

    def pause(self, instance_id: str, reason: str = "", *, request_id: str | None = None) -> None:
        """Start nothing more of an instance for now; see ``Runner.pause``."""
        self._do("pause", request_id, instance_id=instance_id, reason=reason)

    def unpause(self, instance_id: str, *, request_id: str | None = None) -> None:
        """Have a paused instance go on; see ``Runner.unpause``."""
        self._do("unpause", request_id, instance_id=instance_id)

    def pause_workflow(self, workflow: str | type[Workflow], reason: str = "") -> None:
        """Start nothing more of a workflow for now; see ``Runner.pause_workflow``."""
        self._do("pause_workflow", None, workflow=_name(workflow), reason=reason)

    def unpause_workflow(self, workflow: str | type[Workflow]) -> None:
        """Have a paused workflow go on; see ``Runner.unpause_workflow``."""
        self._do("unpause_workflow", None, workflow=_name(workflow))

    def redrive(self, instance_id: str, *, request_id: str | None = None) -> None:
        """Have a failed, cancelled or parked instance go on; see ``Runner.redrive``."""
        self._do("redrive", request_id, instance_id=instance_id)

    def recheck(self, instance_id: str) -> None:
        """Have an instance make sure of its children, after its table was restored."""
        self._do("recheck", None, instance_id=instance_id)

    def fork(  # noqa: PLR0913 - a start, and where it begins
        self,
        instance_id: str,
        at: int | None = None,
        *,
        new_id: str,
        generation: int | None = None,
        context: Mapping[str, Any] | Model | None = None,
        results: Mapping[Any, Mapping[str, Any] | Model] | None = None,
        version: int | None = None,
        start_id: str | None = None,
    ) -> Handle[Any]:
        """Start a new instance from a point in another one's history; see ``Runner.fork``."""
        given = {"new_id": new_id, "at": at, "generation": generation, "context": context, "results": results}
        return Handle(self, self._do("fork", start_id, instance_id=instance_id, **given, version=version))

    def delete(self, instance_id: str) -> None:
        """Remove everything of an instance that has ended; see ``Runner.delete``."""
        self._do("delete", None, instance_id=instance_id)

    def get(self, instance_id: str) -> InstanceView:
        """An instance as it is now.

        Raises:
            InstanceNotFound: there is no such instance.
        """
        return _instance(self._api.get(instance_id))

    def why(self, instance_id: str) -> Reasons:
        """Why an instance does not go on, and why the children that it waits for do not; see ``Runner.why``.

        Raises:
            InstanceNotFound: there is no such instance.
        """
        return Reasons(**_members(Reasons, self._api.why(instance_id)))

    def history(
        self, instance_id: str, *, generation: int | None = None, limit: int = 100, cursor: str | None = None
    ) -> Page[HistoryEntry]:
        """A page of an instance's log, oldest first; times in its events are texts.

        Raises:
            InstanceNotFound: there is no such instance or generation.
        """
        return _history(self._api.history(instance_id, generation=generation, limit=limit, cursor=cursor))

    def items(
        self,
        instance_id: str,
        step: StepRef,
        *,
        status: str | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page[ItemView]:
        """A page of the items of a map, in their order; see ``Runner.items``.

        Raises:
            InstanceNotFound: there is no such instance.
            UnknownStep: it has no such map.
        """
        page = self._api.items(instance_id, step_key(step), status=status, limit=limit, cursor=cursor)
        items = [ItemView(**_members(ItemView, each)) for each in page["items"]]
        return Page(items, page.get("cursor"), page.get("left_out"))

    def list(  # noqa: PLR0913 - a listing's filters
        self,
        *,
        workflow: str | type[Workflow] | None = None,
        status: str | Collection[str] | None = None,
        version: int | None = None,
        tag: str | None = None,
        since: datetime | None = None,
        children: bool = False,
        parent: str | None = None,
        until: datetime | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[InstanceView]:
        """A page of instances, newest start first; see ``Runner.list``."""
        name = None if workflow is None else _name(workflow)
        wanted = read_filter(
            workflow=name,
            status=status,
            version=version,
            tag=tag,
            since=since,
            children=children,
            parent=parent,
            until=until,
        )
        return _instances(self._api.list(wanted, limit=limit, cursor=cursor))

    def workflows(self) -> Sequence[Mapping[str, Any]]:
        """What is deployed, as ``GET /workflows`` describes it."""
        return self._api.workflows()

    def schedules(self) -> Sequence[Mapping[str, Any]]:
        """All schedules, with their next times; see the API's document."""
        return self._api.schedules()

    def limits(self, name: str | None = None, *, limit: int = 50, cursor: str | None = None) -> Page[LimitView]:
        """A page of limits, by name: usage, holders and lines; see ``Runner.limits``."""
        page = self._api.limits(name, limit=limit, cursor=cursor)
        items = [LimitView(**_members(LimitView, each)) for each in page["items"]]
        return Page(items, page.get("cursor"), page.get("left_out"))

    def set_limit(
        self,
        limit: str,
        number: int,
        *,
        period_seconds: Duration | None = None,
        burst: int | None = None,
        reason: str = "",
    ) -> None:
        """Set how many permits a limit has, whatever the code says, until it is unset; 0 stops what names it.

        Of a rate, ``number`` may start in ``period_seconds``, ``burst`` of them at once; else as in the code.

        Raises:
            UnknownLimit: no deployed workflow names it.
            BadRequest: the number is none, or too large; or the limit is no rate.
        """
        seconds = None if period_seconds is None else _seconds(period_seconds)
        own = {"period_seconds": seconds, "burst": burst, "reason": reason or None}
        given = {name: value for name, value in own.items() if value is not None}
        self._done("set_limit", None, limit=limit, number=number, **given)

    def unset_limit(self, limit: str) -> None:
        """Have a limit the number of the newest deployment again."""
        self._done("unset_limit", None, limit=limit)

    def create_schedule(  # noqa: PLR0913 - as ``hephaestus.Schedule``
        self,
        schedule: str,
        cron: str,
        *,
        timezone: str = "UTC",
        context: Mapping[str, Any] | Model | None = None,
        overlap: Overlap = "skip",
        catch_up: CatchUp = "last",
        jitter: int = 0,
        request_id: str | None = None,
    ) -> str:
        """Create a schedule that no code declares, as ``Report.nightly``; see ``hephaestus.Schedule``.

        Returns:
            The id of the instance that it is.
        """
        given = {"timezone": timezone, "context": context, "overlap": overlap, "catch_up": catch_up, "jitter": jitter}
        return self._do("create_schedule", request_id, schedule=schedule, cron=cron, **given)

    def pause_schedule(self, schedule: str, reason: str = "", *, request_id: str | None = None) -> None:
        """Pause a schedule, as ``Report.nightly``: occurrences that fall into the pause never start."""
        self._do("pause_schedule", request_id, schedule=schedule, reason=reason)

    def unpause_schedule(self, schedule: str, *, request_id: str | None = None) -> None:
        """Have a paused schedule go on, from now."""
        self._do("unpause_schedule", request_id, schedule=schedule)

    def trigger_schedule(self, schedule: str, *, request_id: str | None = None) -> Handle[Any]:
        """Start an occurrence of a schedule now, and return a handle on it."""
        return self.handle(self._do("trigger_schedule", request_id, schedule=schedule))

    def delete_schedule(self, schedule: str, *, request_id: str | None = None) -> None:
        """Delete a schedule that the code does not declare."""
        self._do("delete_schedule", request_id, schedule=schedule)

    def wait(self, instance_id: str, timeout: Duration | None = None) -> InstanceView:
        """Wait until an instance has ended, however it ended: look at its ``status``.

        It is looked at more and more seldom, at last every five seconds.

        Args:
            instance_id: the instance.
            timeout: how long to wait at most, in seconds or as a ``timedelta``; ``None``: as long as it takes.

        Raises:
            InstanceNotFound: there is no such instance.
            TimeoutError: it has not ended in time; the message says what it does. It goes on.
        """
        for pause in pauses(timeout):
            shown = self.get(instance_id)
            if shown.closed:
                return shown
            time.sleep(pause)
        return in_time(self.get(instance_id), timeout)

    def _do(self, action: str, request: str | None, **members: Any) -> str:
        """Have a command done; return the id of the instance that it is about, or made."""
        return str(self._done(action, request, **members)["id"])

    def _done(self, action: str, request: str | None, **members: Any) -> Mapping[str, Any]:
        """Have a command done; return what is answered."""
        kind = ACTIONS[action]
        if kind.named_by:
            members[kind.named_by] = uuid.uuid4().hex if request is None else request
        command = kind(**members)
        for pause in AGAIN:
            try:
                return self._api.do(command)
            except RetryLater:
                time.sleep(pause * (0.5 + random.random()))  # noqa: S311 - so that callers do not come back together
        return self._api.do(command)


@dataclass(frozen=True, slots=True)
class Handle(Generic[HandleT]):
    """One instance of a client's; its methods are the client's.

    Attributes:
        client: the client.
        id: the instance's id.
        workflow: its class, if this program has it: the output is of the type that the class says.
        used: whether the start that gave the handle has started nothing, and uses this one, which was open.
    """

    client: Client
    id: str
    workflow: type[Workflow[HandleT]] | None = None
    used: bool = False

    def get(self) -> InstanceView:
        """The instance as it is now."""
        return self.client.get(self.id)

    def why(self) -> Reasons:
        """Why it does not go on; see ``Client.why``."""
        return self.client.why(self.id)

    def wait(self, timeout: Duration | None = None) -> InstanceView:
        """Wait until it has ended; see ``Client.wait``."""
        return self.client.wait(self.id, timeout)

    def output(self, timeout: Duration | None = None) -> HandleT:
        """Wait until it has ended, and return its output.

        Args:
            timeout: how long to wait at most, in seconds or as a ``timedelta``; ``None``: as long as it takes.

        Raises:
            NotCompleted: it has failed or was cancelled; the message says why.
            PayloadTooLarge: the output is larger than an answer of the API may be.
            TimeoutError: it has not ended in time. It goes on.
            UnfitOutput: its output does not fit the type that the workflow's class says.
        """
        return output_of(self.wait(timeout), self.workflow)

    def resume(
        self,
        event: str,
        payload: Any = None,
        *,
        step: StepRef | None = None,
        item: str | None = None,
        event_id: str | None = None,
    ) -> None:
        """Deliver an event to it; see ``Client.resume``."""
        self.client.resume(self.id, event, payload, step=step, item=item, event_id=event_id)

    def cancel(self, reason: str = "", *, compensate: bool = False, request_id: str | None = None) -> None:
        """Cancel it; see ``Client.cancel``."""
        self.client.cancel(self.id, reason, compensate=compensate, request_id=request_id)


def output_of(shown: InstanceView, workflow: type[Workflow[OutputT]] | None) -> OutputT:
    """The output of an instance, as its class says, if there is one; see ``Handle.output``."""
    found: OutputT = read_output(shown, None if workflow is None else workflow.output_type)
    return found


def pauses(timeout: Duration | None) -> Iterator[float]:
    """How long to wait between two looks, in seconds; it ends when the time is up.

    Raises:
        BadRequest: the time is no duration.
    """
    ends_at = None if timeout is None else time.monotonic() + _seconds(timeout)
    pause = FIRST_PAUSE
    while ends_at is None or time.monotonic() < ends_at:
        yield pause if ends_at is None else min(pause, max(ends_at - time.monotonic(), 0))
        pause = min(pause * GROWTH, LONGEST_PAUSE)


def in_time(shown: InstanceView, timeout: Duration | None) -> InstanceView:
    """The instance, if it has ended.

    Raises:
        TimeoutError: it has not.
    """
    if shown.closed or timeout is None:
        return shown
    waits = f" for {', '.join(shown.accepts)}" if shown.status == "waiting" and shown.accepts else ""
    message = (
        f"instance {shown.id} has not ended within {_seconds(timeout):g} s: it is {shown.status}{waits}; it goes on"
    )
    raise TimeoutError(message)


def _seconds(timeout: Duration) -> float:
    try:
        return durations.read_duration(timeout, "timeout", zero=True).total_seconds()
    except durations.Unfit as unfit:
        raise BadRequest(str(unfit)) from unfit


def _name(workflow: WorkflowRef) -> str:
    """The name of a workflow, given as it or as the class.

    Raises:
        UnknownWorkflow: it is neither.
    """
    if isinstance(workflow, str):
        return str.__str__(workflow)
    if isinstance(workflow, type) and issubclass(workflow, Workflow) and workflow is not Workflow:
        return workflow.name
    message = f"{durations.shown(workflow)} is no workflow: give its name or its class"
    raise UnknownWorkflow(message)


def _instance(shown: Mapping[str, Any]) -> InstanceView:
    """An instance; members that a newer deployment has beside those of this release are left out."""
    members = _members(InstanceView, shown)
    steps = {key: StepView(**_members(StepView, step)) for key, step in shown.get("steps", {}).items()}
    texts = {name: tuple(shown.get(name, ())) for name in ("tags", "why")}
    return InstanceView(**{**members, "steps": ByStep(steps), **texts})


def _instances(page: Mapping[str, Any]) -> Page[InstanceView]:
    """A page of instances."""
    return Page([_instance(each) for each in page["items"]], page.get("cursor"))


def _history(page: Mapping[str, Any]) -> Page[HistoryEntry]:
    """A page of a log; times in its events stay texts."""
    items = [HistoryEntry(each["sequence"], _time(each["at"]), each.get("events", ())) for each in page["items"]]
    return Page(items, page.get("cursor"), page.get("left_out"))


def _members(kind: type, shown: Mapping[str, Any]) -> dict[str, Any]:
    return {
        each.name: _time(shown[each.name]) if "datetime" in str(each.type) else shown[each.name]
        for each in fields(kind)
        if each.name in shown
    }


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
