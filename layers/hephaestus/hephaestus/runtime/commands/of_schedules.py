"""What operators do to schedules: pause, unpause, trigger, create and delete them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from hephaestus import errors
from hephaestus.definition.schedules import CATCH_UPS, MOST_CAUGHT_UP, OVERLAPS, Schedule
from hephaestus.runtime import commands
from hephaestus.runtime.commands import members
from hephaestus.runtime.commands.command import Command
from hephaestus.runtime.declarations import begin, carry_of, tell
from hephaestus.runtime.intake import check_text, digest
from hephaestus.runtime.names import SCHEDULE_KEY
from hephaestus.values import FrozenDict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hephaestus.runtime.dispatch import Dispatch
    from hephaestus.runtime.instances import Instances

NAMED: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}\.[A-Za-z][A-Za-z0-9_-]{0,39}")
PLAIN: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
HOUR_S: Final = 3_600


def _read_name(name: str, given: Any) -> str:
    text = check_text(name, given)
    if NAMED.fullmatch(text):
        return text
    message = f"{name} is {text!r}: give the workflow and the schedule's name, as Report.nightly"
    raise errors.BadRequest(message)


def _read_catch_up(name: str, given: Any) -> str | int:
    if type(given) is float and given.is_integer():  # to JSON Schema, 31.0 is an integer
        given = int(given)
    if type(given) is int and 1 <= given <= MOST_CAUGHT_UP:
        return given
    if type(given) is str and given in CATCH_UPS:
        return given
    if type(given) is str and given.isascii() and given.isdigit() and 1 <= int(given[:9]) <= MOST_CAUGHT_UP:
        return int(given)
    message = f"{name} must be 'last', 'none' or a number from 1 to {MOST_CAUGHT_UP}"
    raise errors.BadRequest(message)


def _read_jitter(name: str, given: Any) -> int:
    if type(given) is int and 0 <= given <= HOUR_S:
        return given
    message = f"{name} must be a whole number of seconds from 0 to {HOUR_S}"
    raise errors.BadRequest(message)


def _read_overlap(name: str, given: Any) -> str:
    if type(given) is str and given in OVERLAPS:
        return given
    message = f"{name} must be one of {', '.join(OVERLAPS)}"
    raise errors.BadRequest(message)


SCHEDULE: Final = members.Rule(
    str, _read_name, {"type": "string", "pattern": f"^{NAMED.pattern}$", "examples": ["Report.nightly"]}
)
CRON: Final = members.Rule(
    str,
    check_text,
    {"type": "string", "format": "printable", "minLength": 1, "maxLength": 100, "examples": ["30 2 * * 1-5"]},
)
ZONE: Final = members.Rule(
    str,
    check_text,
    {"type": "string", "format": "printable", "minLength": 1, "maxLength": 64, "examples": ["Europe/Rome"]},
)
OVERLAP: Final = members.Rule(str, _read_overlap, {"type": "string", "enum": list(OVERLAPS)})
CATCH_UP: Final = members.Rule(
    object,
    _read_catch_up,
    {
        "anyOf": [
            {"type": "string", "enum": list(CATCH_UPS)},
            {"type": "integer", "minimum": 1, "maximum": MOST_CAUGHT_UP},
        ]
    },
)
JITTER: Final = members.Rule(int, _read_jitter, {"type": "integer", "minimum": 0, "maximum": HOUR_S})


def _schedule() -> Any:
    return members.required(SCHEDULE, "The workflow and the schedule's name, as Report.nightly.")


def _id(schedule: str) -> str:
    return f"{SCHEDULE_KEY}::{schedule}"


def _known(instances: Instances, schedule: str) -> Mapping[str, Any]:
    """What an open schedule knows.

    Raises:
        InstanceNotFound: there is none.
    """
    state = instances.store.load(_id(schedule))
    if state is None or state.closed:
        message = f"there is no schedule {schedule}; see hephaestus schedules list"
        raise errors.InstanceNotFound(message)
    return carry_of(state)


class PauseSchedule(Command):
    """Pause a schedule: none of its occurrences starts, and those that fall into the pause never do."""

    action = "pause_schedule"
    operation = "pauseSchedule"
    route = "/schedules/<schedule>/pause"
    raises = (errors.InstanceNotFound, errors.InstanceClosed, errors.RequestIdReused)
    logged = ("schedule",)
    said = "paused"

    schedule: members.Text = _schedule()
    reason: members.Text = members.member(members.REASON, "Shown with it.", default="")
    request_id: members.MaybeText = members.request_id(default=None)
    by: members.By = members.caller(default=None)

    def perform(self, instances: Instances, going: Dispatch) -> str:
        """Have it stop."""
        _known(instances, self.schedule)
        payload = {"reason": self.reason, "by": self.by.name}
        tell(instances, going, _id(self.schedule), "pause", payload, self.request_id, self.by)
        return _id(self.schedule)


class UnpauseSchedule(Command):
    """Have a paused schedule go on, from now."""

    action = "unpause_schedule"
    operation = "unpauseSchedule"
    route = "/schedules/<schedule>/unpause"
    raises = (errors.InstanceNotFound, errors.InstanceClosed, errors.RequestIdReused)
    logged = ("schedule",)
    said = "unpaused"

    schedule: members.Text = _schedule()
    request_id: members.MaybeText = members.request_id(default=None)
    by: members.By = members.caller(default=None)

    def perform(self, instances: Instances, going: Dispatch) -> str:
        """Have it go on, unless it was removed from the code."""
        if _known(instances, self.schedule).get("removed"):
            message = f"schedule {self.schedule} was removed from the code: declare it again, or delete it"
            raise errors.BadRequest(message)
        tell(instances, going, _id(self.schedule), "unpause", {}, self.request_id, self.by)
        return _id(self.schedule)


class TriggerSchedule(Command):
    """Start an occurrence of a schedule now, whatever else is open, and also while it is paused."""

    action = "trigger_schedule"
    operation = "triggerSchedule"
    route = "/schedules/<schedule>/trigger"
    raises = (
        errors.InstanceNotFound,
        errors.InstanceClosed,
        errors.UnknownWorkflow,
        errors.RequestIdReused,
    )
    answers = "id"
    logged = ("schedule",)
    said = "started"

    schedule: members.Text = _schedule()
    request_id: members.MaybeText = members.request_id(default=None)
    by: members.By = members.caller(default=None)

    def perform(self, instances: Instances, going: Dispatch) -> str:
        """Start it; return the id of the occurrence."""
        declared = _known(instances, self.schedule)["declared"]
        flow = instances.registry.deployed(declared["workflow"])
        request = self.request_id or instances.clock.unique()
        part = request if PLAIN.fullmatch(request) else digest(request)[:20]
        name = f"{declared['name']}.manual-{part}"
        payload = {"name": name, "by": self.by.name, "by_source": self.by.source}
        tell(instances, going, _id(self.schedule), "trigger", payload, request, self.by)
        return f"{flow.business_key.name}::{name}"


class CreateSchedule(Command):
    """Create a schedule that no code declares."""

    action = "create_schedule"
    operation = "createSchedule"
    route = "/schedules/<schedule>"
    raises = (
        errors.AlreadyRunning,
        errors.InvalidInput,
        errors.UnknownWorkflow,
        errors.PayloadTooLarge,
        errors.RequestIdReused,
    )
    answers = "id"
    logged = ("schedule",)
    said = "created"

    schedule: members.Text = _schedule()
    cron: members.Text = members.required(CRON, "Five fields: minutes, hours, days, months, days of the week.")
    timezone: members.Text = members.member(ZONE, "The zone whose clocks count.", default="UTC")
    context: members.Data = members.member(
        members.DATA, "What each occurrence starts with; it must fit `Input`.", default=None, kept=FrozenDict()
    )
    overlap: members.Text = members.member(
        OVERLAP, "What becomes of an occurrence while one before it is open.", default="skip"
    )
    catch_up: members.Payload = members.member(CATCH_UP, "Which missed occurrences start.", default="last")
    jitter: members.Number = members.member(JITTER, "Start each up to so many seconds later.", default=0)
    request_id: members.MaybeText = members.request_id(default=None)
    by: members.By = members.caller(default=None)

    def perform(self, instances: Instances, going: Dispatch) -> str:
        """Begin it; return the id of the instance that it is."""
        workflow, _, name = self.schedule.partition(".")
        flow = instances.registry.deployed(workflow)
        flow.definition(flow.current).read_input(self.context)
        given: dict[str, Any] = {"timezone": self.timezone, "overlap": self.overlap, "catch_up": self.catch_up}
        try:
            made = Schedule(name, self.cron, context=self.context, jitter=self.jitter, **given)
        except errors.DefinitionError as error:
            message = " ".join(f"{problem.problem}. {problem.fix}." for problem in error.problems)
            raise errors.BadRequest(message) from error
        if any(one.name == name for one in flow.schedules):
            message = f"the code of {workflow} declares a schedule {name}: give this one another name"
            raise errors.AlreadyRunning(message)
        initial = FrozenDict({"declared": FrozenDict({"workflow": workflow, **made.declaration})})
        request = self.request_id or instances.clock.unique()
        try:
            begin(instances, going, _id(self.schedule), initial, request, self.by)
        except errors.AlreadyRunning as error:
            message = f"there is a schedule {self.schedule} already: delete it first, or give this one another name"
            raise errors.AlreadyRunning(message) from error
        return _id(self.schedule)


class DeleteSchedule(Command):
    """Delete a schedule that the code does not declare; what it has started goes on."""

    action = "delete_schedule"
    operation = "deleteSchedule"
    route = "/schedules/<schedule>/delete"
    raises = (errors.InstanceNotFound, errors.InstanceClosed, errors.RequestIdReused)
    logged = ("schedule",)
    asks = True
    said = "deleted"

    schedule: members.Text = _schedule()
    request_id: members.MaybeText = members.request_id(default=None)
    by: members.By = members.caller(default=None)

    def perform(self, instances: Instances, going: Dispatch) -> str:
        """End it."""
        known = _known(instances, self.schedule)
        if "stamp" in known and not known.get("removed"):
            message = f"schedule {self.schedule} is declared by the code: pause it, or remove it there"
            raise errors.BadRequest(message)
        ended = commands.Cancel(
            instance_id=_id(self.schedule), reason="deleted", request_id=self.request_id, by=self.by
        )
        return ended.perform(instances, going)
