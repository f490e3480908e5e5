"""Events of the instance as a whole: its start, who runs it, its end, and how it goes on after that."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from hephaestus.engine.activation import parse, step_of
from hephaestus.engine.events.children import deadline
from hephaestus.engine.events.event import Entry, Event, event, stays
from hephaestus.engine.records import NOTHING, Undelivered
from hephaestus.engine.requests import NAME, number_of, remember
from hephaestus.engine.state import CAREFUL, Compensation, State, StepState, above_of, asked_for, child_of
from hephaestus.errors import CorruptLog

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hephaestus.engine.events.steps import StepCompleted
    from hephaestus.engine.records import Child, Failure, Origin, Replacement
    from hephaestus.engine.state import StepStatus, Timer

OPEN: Final = ("pending", "running", "waiting", "compensating")
ENDS: Final = "completed|failed|cancelled"


@event()
class InstanceStarted(Event):
    """The first event of a generation, which has ``timeout_ms`` to end, if that is not 0; ``origin``: of a child.

    An occurrence of a schedule is ``scheduled_for`` a time (ms).
    """

    workflow: str
    version: int
    initial: Mapping[str, Any] = NOTHING
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = NOTHING
    start_id: str = ""
    by: str = ""
    by_source: str = ""
    graph: str = ""
    timeout_ms: int = 0
    origin: Origin | None = None
    scheduled_for: int = 0

    @staticmethod
    def of(instance_id: str, generation: int, entry: Entry) -> InstanceStarted:
        """The first event of a life's first entry.

        Raises:
            CorruptLog: the entry does not start an instance, or is not numbered 1.
        """
        first = entry.events[0] if entry.events else None
        if not isinstance(first, InstanceStarted) or entry.sequence != 1:
            message = f"instance {instance_id}: generation {generation} does not begin with a start"
            raise CorruptLog(message)
        return first

    @staticmethod
    def begins(instance_id: str, generation: int, entry: Entry, life: str) -> State:
        """The state after that event.

        Raises:
            CorruptLog: as ``of`` does.
        """
        first = InstanceStarted.of(instance_id, generation, entry)
        part = None if first.origin is None else first.origin.part
        return State(
            instance_id=instance_id,
            generation=generation,
            workflow=first.workflow,
            version=first.version,
            sequence=1,
            created_at=entry.at,
            updated_at=entry.at,
            start_id=first.start_id,
            initial=first.initial,
            tags=first.tags,
            metadata=first.metadata,
            wake_at=entry.at,
            life=life,
            graph=first.graph,
            timeout_ms=first.timeout_ms,
            origin=first.origin,
            epochs={part.step: part.epoch} if part is not None and part.epoch else NOTHING,
            scheduled_for=first.scheduled_for,
            deadline=entry.at + first.timeout_ms if first.timeout_ms else None,
        )


@event(stays("pending"))
class Forked(Event):
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

    def changes(self, _state: State, at: int) -> dict[str, Any]:
        """Nothing ended after the fork, by whatever clock the source was: what the fork completes comes later."""
        steps: dict[str, StepState] = {step: StepState("skipped", ended_at=at) for step in self.skipped}
        epochs: dict[str, int] = {}
        for done in self.completed:
            steps[done.step] = done.outcome("completed", min(done.ended_at or at, at))
            if epoch := parse(done.activation).epoch:
                epochs[done.step] = epoch
        return {
            "steps": steps,
            "epochs": epochs,
            "forked_from": f"{self.instance_id}#{self.generation}#{self.sequence}",
            "forked_by": self.by,
            "forked_by_source": self.by_source,
            "initial_replaced": self.initial_replaced,
        }


@event({"pending": "running", "running": "running", "waiting": "running", "compensating": "="})
class Claimed(Event):
    """``owner`` alone runs steps until ``lease_until``."""

    owner: str
    lease_until: int

    def changes(self, state: State, _at: int) -> dict[str, Any]:
        """It has an owner; where another had not left, that one has died, and every step is checkpointed."""
        careful = CAREFUL if state.careful or state.owner is not None else 0
        return {"owner": self.owner, "lease_until": self.lease_until, "parked": None, "parks": 0, "careful": careful}


@event({"running": "waiting", "compensating": "="})
class Suspended(Event):
    """The owner leaves: nothing can run before an event arrives or ``wake_at`` comes."""

    wake_at: int | None = None

    def changes(self, _state: State, _at: int) -> dict[str, Any]:
        """The instance has no owner."""
        return {"owner": None, "lease_until": 0, "running": (), "careful": 0}


@event(stays("running", "compensating"))
class HandedOver(Event):
    """The owner leaves because its time is up; another invocation goes on at once."""

    def changes(self, _state: State, _at: int) -> dict[str, Any]:
        """The instance has no owner."""
        return {"owner": None, "lease_until": 0, "running": ()}


@event(stays(*OPEN))
class Parked(Event):
    """The instance cannot go on for a reason outside of it; it is looked at again at ``wake_at``."""

    reason: str
    wake_at: int

    def changes(self, state: State, _at: int) -> dict[str, Any]:
        """Steps that a dead owner was running stay named: the next owner finds their attempts spent."""
        careful = state.careful or int(state.owner is not None)
        parked = {"parked": self.reason, "parks": state.parks + 1}
        return {"owner": None, "lease_until": 0, "careful": careful, **parked}


@event({**stays(*OPEN), "failed": "pending|compensating", "cancelled": "pending|compensating"})
class Redriven(Event):
    """A closed instance goes on, in ``status``; one that was parked goes on as it was.

    ``reset`` are the steps of which nothing is known any more; those of them in ``again`` have been undone, led to
    ``FAIL``, have had all their rounds, or follow from one that did, so that running them is a new activation. The
    others go on with the round in which they failed. ``undo`` are the steps whose compensation failed and is tried
    again. ``children`` are the activations whose children have failed or were cancelled, and go on themselves; one that
    had completed before its step failed says so again. ``later``: once the instance has the permits of its workflow.
    """

    status: str
    reset: tuple[str, ...] = ()
    again: tuple[str, ...] = ()
    undo: tuple[str, ...] = ()
    request_id: str = ""
    by: str = ""
    by_source: str = ""
    digest: str = ""
    children: tuple[str, ...] = ()
    later: bool = False

    def changes(self, state: State, at: int) -> dict[str, Any]:
        """Time stood still while the generation was closed: its waits last as long as they would have.

        What was accepted for a step and not consumed is still there, for the step's next activation. What the
        completion of a step consumed that is set back is forgotten, so that the same request asks for its new one.
        """
        epochs = {**state.epochs, **{step: state.epochs.get(step, 0) + 1 for step in self.again}}
        pause = at - state.updated_at if state.closed else 0
        steps: dict[str, StepState] = {}
        for key, step in state.steps.items():
            loop = step.loop and replace(step.loop, began_at=step.loop.began_at + pause)
            if key not in self.reset:
                steps[key] = self._as_it_was(state, step if loop is None else replace(step, loop=loop))
            elif loop is not None and key not in self.again:
                steps[key] = StepState("looping", retry_at=at, loop=loop, child=step.child)
            elif step.mapped is not None and key not in self.again:
                begun, again = step.started_at, step.mapped.again()
                steps[key] = StepState("mapping", step.attempt, started_at=begun, requests=step.requests, mapped=again)
        anew = [key for key in self.reset if key in state.steps and (key not in steps or steps[key].mapped is None)]
        consumed = {name for key in anew for name in state.steps[key].requests}
        loops = [step.loop for key, step in state.steps.items() if step.loop is not None and key in self.again]
        consumed.update(name for loop in loops for name in loop.requests)
        requests = tuple(one for one in state.requests if one[:NAME] not in consumed)
        steps |= {key: _to_undo(steps[key]) for key in self.undo}
        children = self._children_again(state, steps)
        resumed = () if self.later else self.children
        undoing = None
        if state.compensation is not None and (self.status == "compensating" or not state.closed):
            undoing = replace(state.compensation, left=self.undo or state.compensation.left, attempt=0, retry_at=None)
        return {
            "steps": steps,
            "epochs": epochs,
            "inbox": {_moved(one, epochs): received for one, received in state.inbox.items()},
            "lines": {_moved(one, epochs): line for one, line in state.lines.items()},
            "running": tuple(one for one in state.running if step_of(one) not in self.reset),
            "children": children,
            "resuming": self.children if self.later else () if state.closed else state.resuming,
            "choosing": {},  # the request asks for another try
            "isolated": () if state.closed else state.isolated,
            "timers": {
                **self._timers_again(state, epochs, pause),
                **{one: timers for one in resumed if (timers := deadline(one, children[one], at))},
            },
            "compensation": undoing,
            "cancel": None if state.closed and undoing is None else state.cancel,
            **dict.fromkeys(("paused", "error", "parked")),
            **({"verdict": None, "output_tries": 0} if self.status == "pending" else {}),
            **({"deadline": at + state.timeout_ms} if state.timeout_ms and state.closed else {}),
            "undelivered": self._undelivered(state),
            "went_on": number_of(self.request_id) if self.by_source == "parent" else state.went_on,
            "alone": self.by_source != "parent" and bool(above_of(state)) if self.status else state.alone,
            "orphan": False,
            "requests": remember(state, "redrive", self.request_id, self.digest, requests),
        }

    def _children_again(self, state: State, steps: dict[str, StepState]) -> dict[str, Child]:
        """The children that are still there; in ``steps``, those of children that go on wait for these."""
        children = {one: known for one, known in state.children.items() if step_of(one) not in self.reset}
        for one in self.children:
            known = steps[step_of(one)]
            steps[step_of(one)] = StepState("waiting", known.attempt, started_at=known.started_at, loop=known.loop)
            children[one] = child_of(state, one) if self.later else child_of(state, one).resumed
        return children

    def _undelivered(self, state: State) -> Mapping[str, Undelivered]:
        """Of maps that begin anew and had not completed, where the events are that were accepted for their items."""
        found = dict(state.undelivered)
        for key in self.again:
            known = state.steps.get(key)
            mapped = None if known is None or known.event is not None else known.mapped
            if mapped is None or mapped.plan is None or not mapped.in_parts:
                continue
            parts = tuple(place for place, counts in enumerate(mapped.counts) if counts.kept)
            if parts or mapped.plan.carried:
                found[key] = Undelivered(state.epochs.get(key, 0), mapped.plan, parts)
        return found or NOTHING

    def _as_it_was(self, state: State, step: StepState) -> StepState:
        """A step that goes on where it was; of a map, the instances go on that were cancelled with this one."""
        open_ = step.mapped is not None and step.status == "mapping" and step.mapped.by_others
        if not (open_ and state.closed and self.status == "pending") or step.mapped is None:
            return step
        return replace(step, mapped=step.mapped.goes_on())

    def _timers_again(self, state: State, epochs: Mapping[str, int], pause: int) -> dict[str, tuple[Timer, ...]]:
        """The timers that are still there, ``pause`` (ms) later."""
        return {
            (moved := _moved(one, epochs)): tuple(
                replace(timer, activation=moved, due_at=timer.due_at + pause) for timer in timers
            )
            for one, timers in asked_for(state.timers, self.reset).items()
            if one not in self.children
        }


@event(dict.fromkeys(("completed", "failed", "cancelled"), "compensating"))
class UndoRequested(Event):
    """The parent of a child has it undo what it did, these ``steps`` in this order; then it is ``undone``.

    The child had completed, or has failed and could not undo these steps before, or it is a part of a map that was
    stopped.
    """

    steps: tuple[str, ...]
    request_id: str = ""
    by: str = ""
    by_source: str = ""

    def changes(self, state: State, _at: int) -> dict[str, Any]:
        """All of it is still to be done; what an owner that died had under way when it was stopped is not."""
        return {
            "steps": {**state.steps, **{key: _to_undo(state.steps[key]) for key in self.steps}},
            "compensation": Compensation("undone", self.steps),
            "went_on": number_of(self.request_id),
            "running": (),
            "isolated": (),
            "error": None,
            "requests": remember(state, "undo", self.request_id, ""),
        }


@event({"pending": ENDS, "running": ENDS, "waiting": ENDS, "compensating": "failed|cancelled|undone"})
class InstanceFinished(Event):
    """The last event of a generation; ``status`` is ``completed``, ``failed``, ``cancelled`` or ``undone``.

    The output of a completed one is ``output``, or the results of the step ``output_of``. An ``orphan`` is a child that
    was started when its parent had ended, or was gone, and has run nothing.
    """

    status: str
    error: Failure | None = None
    output_of: str = ""
    output: Mapping[str, Any] = NOTHING
    orphan: bool = False

    def changes(self, state: State, _at: int) -> dict[str, Any]:
        """An end but ``completed`` may be followed by a redrive, which needs what was still open."""
        ended = {"owner": None, "lease_until": 0, "careful": 0, "paused": None, "parked": None, "error": self.error}
        if self.status != "completed":
            return {**ended, "orphan": True} if self.orphan else ended
        left = {"output_of": self.output_of, "output": self.output, "output_tries": 0, "undelivered": NOTHING}
        inbox = NOTHING if state.part is None else state.inbox  # a part may go on with what has failed
        return {**ended, **left, "running": (), "isolated": (), "timers": NOTHING, "inbox": inbox, "lines": NOTHING}


@event(stays("running"))
class TimedOut(Event):
    """The workflow's timeout has passed, and something is left to do: nothing new starts, the instance will fail."""

    error: Failure

    def changes(self, _state: State, _at: int) -> dict[str, Any]:
        """It will end as failed."""
        return {"verdict": self.error}


@event(stays("running"))
class OutputStarted(Event):
    """The owner calls the function that makes the output, right after this commit.

    An owner that died may have died of it: the one that comes after it counts the calls, so that they end.
    """

    def changes(self, state: State, _at: int) -> dict[str, Any]:
        """One more was begun."""
        return {"output_tries": state.output_tries + 1}


@event(stays("running"))
class OutputFailed(Event):
    """The function that makes the output has failed, and with it the instance."""

    error: Failure

    def changes(self, _state: State, _at: int) -> dict[str, Any]:
        """It will end as failed, and its error says that no step was what failed."""
        message = f"the workflow's output could not be made: {self.error.message}"
        return {"verdict": replace(self.error, message=message), "output_tries": 0}


def _to_undo(step: StepState) -> StepState:
    """A step whose compensation failed, as it was before that; one whose child failed at undoing itself stays."""
    if step.status != "compensation_failed":
        return step
    if step.mapped is not None:
        step = replace(step, mapped=step.mapped.to_undo_again())
    begun: StepStatus = "looping" if step.mapped is None else "mapping"
    return replace(step, status="completed" if step.event is not None else begun, error=None)


def _moved(activation: str, epochs: Mapping[str, int]) -> str:
    """An activation in the newest epoch of its step, which begins with the first round."""
    found = parse(activation)
    epoch = epochs.get(found.step, 0)
    return activation if epoch == found.epoch else replace(found, epoch=epoch, round=1).text
