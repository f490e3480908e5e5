"""The workflow of schedules: an instance of it is a schedule (G.1). It waits, starts what is due, and goes on."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Final, NoReturn

from hephaestus.definition.containment import contain
from hephaestus.definition.cron import cron_of
from hephaestus.definition.occurrences import LeftOut, NotThere, moment, turn
from hephaestus.definition.results import Look, Pending
from hephaestus.definition.retries import Retry
from hephaestus.definition.rounds import Rounds
from hephaestus.definition.step import DONE, Step
from hephaestus.definition.workflow import Workflow
from hephaestus.engine.records import Occurrence
from hephaestus.errors import CallerError, CorruptLog, UnknownVersion, UnknownWorkflow
from hephaestus.runtime.attempt import Ended
from hephaestus.runtime.error_text import failure
from hephaestus.runtime.intake import check_input, read_context, read_tags, read_value
from hephaestus.runtime.names import SCHEDULE_KEY
from hephaestus.runtime.sizes import check_size
from hephaestus.runtime.starts import version_for
from hephaestus.values import FrozenDict
from hephaestus.values.given import own

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hephaestus.definition.context import Instance, StepContext
    from hephaestus.store.store import Store

MOST_CALLS: Final = 3  # of a context's function whose Lambda ends before it does

_logger = logging.getLogger("hephaestus.schedules")


class Recurring(Step):
    """Looks at the time, and at what has come from outside."""

    step_key = "recurring"
    events = ("done",)
    rounds = Rounds.endless(again_on=("due", "declare", "pause", "unpause", "trigger"))
    retry = Retry(max_attempts=1_000_000, max_delay=timedelta(minutes=5))

    def execute(self, instance: Instance, config: Mapping[str, Any], context: StepContext) -> Look:  # noqa: ARG002 - the engine's own, as every step's
        """Look; see ``looked``."""
        return Look()


class ScheduleWorkflow(Workflow, key=SCHEDULE_KEY, name=SCHEDULE_KEY, version=1, forks="none"):
    """A schedule. Its start data are what was declared first, and how; see ``hephaestus.definition.occurrences``."""

    start_at = Recurring
    transitions: ClassVar = {Recurring: {"done": DONE}}


def looked(
    context: StepContext, now: int, store: Store, deployed: Callable[[str | type[Workflow]], type[Workflow]]
) -> Ended | Pending:
    """What a schedule does at the time ``now`` (ms): its round ends, or it waits until it looks again.

    Args:
        context: what its step is given.
        now: the time.
        store: where occurrences are.
        deployed: gives a workflow by its name; raises where it is not deployed.
    """
    assert context.source is not None  # noqa: S101 - the engine made it
    state = context.source.state
    loop = state.loop(context.source.step)
    carry = loop.carry if loop is not None and loop.carry else FrozenDict({**state.initial, "after": state.created_at})
    owed = frozenset(one for effect in state.kept.owed for one in effect.others)
    found = turn(own(carry), now, context.event, context.payload, _Asked(store, deployed, owed, context.attempt))
    if found.starts or found.carry != own(carry):
        return Ended(FrozenDict(found.carry), timedelta(0), starts=found.starts)
    return Pending() if found.look_at is None else Pending(moment(max(found.look_at, now + 1)), "due")


class _Asked:
    """What a schedule asks of the runtime; the occurrences ``owed`` are still to be started."""

    def __init__(
        self, store: Store, deployed: Callable[[str | type[Workflow]], type[Workflow]], owed: frozenset[str], calls: int
    ) -> None:
        self.store = store
        self.deployed = deployed
        self.owed = owed
        self.calls = calls

    def still_open(self, ids: Sequence[str]) -> list[str]:
        """Those of these occurrences that have not ended, or are about to start."""
        return [one for one in ids if self._is_open(one)]

    def _is_open(self, instance_id: str) -> bool:
        if instance_id in self.owed:
            return True
        try:
            state = self.store.load(instance_id)
        except CorruptLog:
            _logger.exception("occurrence %s cannot be read: it is taken for open", instance_id)
            return True
        return state is not None and not state.closed

    def occurrence(self, declared: Mapping[str, Any], name: str, time: int) -> Occurrence:
        """An occurrence and what it starts with.

        Raises:
            NotThere, LeftOut: it cannot start, now or ever.
        """
        try:
            flow = self.deployed(str(declared["workflow"]))
            given = self._context(flow, declared, time)
            return self._made(flow, given, name, time)
        except (UnknownWorkflow, UnknownVersion) as error:
            _logger.warning("occurrence %s waits, as its workflow is not deployed: %s", name, error)
            raise NotThere from error
        except CallerError as error:
            message = f"it cannot start: {error}"
            raise LeftOut(message) from error

    def _made(self, flow: type[Workflow], given: Any, name: str, time: int) -> Occurrence:
        initial = read_context(given)
        chosen = version_for(flow, {"context": own(initial), "id": name, "tags": list(flow.tags)})
        definition, member = flow.definition(chosen), flow.versions[chosen]
        check_input(given, definition, initial)
        check_size(initial, self.store.max_value_bytes, "the context")
        tags = read_tags(member.tags, flow.tags, ())
        metadata = read_value({**member.metadata, **flow.metadata}, "metadata")
        known = (name, flow.name, definition.version, initial, tags, metadata)
        child = f"{flow.business_key.name}::{name}"
        return Occurrence(child, time, *known, definition.graph.fingerprint, definition.timeout_ms)

    def _context(self, flow: type[Workflow], declared: Mapping[str, Any], time: int) -> Any:
        """The start data: those that were declared, or what the function gives that is deployed now.

        Raises:
            NotThere: there is no such function.
            LeftOut: it raised, or ended its Lambda each time.
        """
        if not declared.get("function"):
            return declared["context"]
        function = next((one.context for one in flow.schedules if one.name == declared["name"]), None)
        if function is None or not callable(function):
            raise NotThere
        if self.calls > MOST_CALLS:
            message = "the function of its context ended its Lambda each time, or took too long; see the log"
            raise LeftOut(message)
        local = moment(time).astimezone(cron_of(declared["cron"], declared["timezone"]).zone)

        def failed(error: BaseException) -> NoReturn:
            story = failure(error)
            _logger.error("the context of schedule %s raised %s: %s", declared["name"], story.type, story.message)
            message = f"the function of its context raised {story.type}: {story.message}"
            raise LeftOut(message) from error

        return contain(lambda: function(local), failed)
