"""What a redrive or a cancellation does, decided before anybody asks for it, so that a person can be told.

The plan that is shown is read from the event that a redrive commits: what is told and what is done cannot differ.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hephaestus.engine.activation import step_of
from hephaestus.engine.advance import compensable, last_first, own_limits
from hephaestus.engine.events import Redriven
from hephaestus.engine.graph import reachable
from hephaestus.engine.state import TIMED, not_undone
from hephaestus.errors import NotRedrivable
from hephaestus.values.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from hephaestus.engine.graph import Graph
    from hephaestus.engine.records import Child
    from hephaestus.engine.state import State


RESUMED: Final = ("failed", "cancelled")  # how a child has ended that a redrive has go on


@dataclass(frozen=True, slots=True)
class RedrivePlan:
    """The steps of an instance by what a redrive means for them, in the order of the graph.

    Attributes:
        runs_again: they ran before and run again, as far as the ways taken this time lead there; of steps that wait,
            those whose event is there.
        anew: maps among them that begin anew, so that ``over`` gives their items; of other maps what has not completed
            is repeated.
        waits_again: they wait once more for an event or a time, although they may have had it: approvals included.
        waits_on: they go on waiting, for as long as they had left.
        undoes: what they did is undone, in this order; then ``on_failure`` runs again, if it ran (it is in
            ``runs_again``), and the instance ends as it would have.
        kept: they have completed and keep their results.
    """

    runs_again: tuple[str, ...] = ()
    anew: tuple[str, ...] = ()
    waits_again: tuple[str, ...] = ()
    waits_on: tuple[str, ...] = ()
    undoes: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()


def redrive_plan(graph: Graph, state: State) -> RedrivePlan | None:
    """What ``redriven`` means for each step; ``None`` where there is nothing to redrive."""
    try:
        event = redriven(graph, state)
    except NotRedrivable:
        return None
    statuses = {step: state.step_status(step) for step in graph.order}
    kept = tuple(step for step in graph.order if statuses[step] == "completed" and step not in event.reset)
    if event.status == "compensating":
        return RedrivePlan(runs_again=event.reset, undoes=event.undo, kept=kept)
    if state.compensation is not None and not state.closed:
        return RedrivePlan(undoes=state.compensation.left, kept=kept)
    anew = [step for step in graph.order if step in event.reset and statuses[step] != "skipped"]
    waits = graph.waits.difference(map(step_of, state.inbox))
    running = {step_of(activation) for activation in state.running}
    goes_on = {step for step in graph.order if statuses[step] in (*TIMED, "mapping") or step in running}
    goes_on.update(map(step_of, event.children))
    waiting = [step for step in graph.order if statuses[step] == "waiting"]
    return RedrivePlan(
        runs_again=tuple(step for step in graph.order if step in goes_on or (step in anew and step not in waits)),
        anew=tuple(step for step in graph.order if step in graph.maps and _begins_anew(state, event, step)),
        waits_again=tuple(step for step in anew if step in waits),
        waits_on=tuple(step for step in waiting if step not in goes_on and step not in event.reset),
        kept=kept,
    )


def _begins_anew(state: State, event: Redriven, step: str) -> bool:
    """Whether a map is set back with its items, or had none yet."""
    known = state.steps.get(step)
    if known is None or step not in event.reset or known.status == "skipped":
        return False
    return step in event.again or known.mapped is None


def _ran_for_good(graph: Graph, state: State, step: str) -> bool:
    """Whether a step that runs again is another activation.

    It was undone, has completed by leading to ``FAIL``, or has failed between two rounds, as none was left, or for a
    child that cannot go on.
    """
    known = state.steps.get(step)
    if known is None:
        return False
    had_all = known.status == "failed" and known.loop is not None and not known.attempt
    child = _child(graph, state, step)
    lost = child is not None and child.status not in (*RESUMED, "completed")
    return had_all or lost or known.status == "compensated" or known.fail is not None


def _child(graph: Graph, state: State, step: str) -> Child | None:
    """The child that a step which has not completed waits for, or waited for."""
    if step not in graph.children or state.step_status(step) not in ("failed", "waiting"):
        return None
    child = state.children.get(state.activation(step)) or state.steps[step].child
    return child if child is not None and child.round == state.steps[step].round else None


def cancel_undoes(graph: Graph, state: State) -> tuple[str, ...]:
    """The steps whose effects a cancellation with compensation undoes as things stand, the first of them first.

    Children that are open are cancelled before anything else, and so undo themselves.
    """
    if state.closed or state.compensation is not None:
        return ()
    open_ = {step_of(one) for one, child in state.children.items() if not child.status and not child.detached}
    undone = compensable(graph, state)
    return (*[step for step in graph.order if step in open_ and step not in undone], *undone)


def left_to_undo(graph: Graph, state: State) -> tuple[str, ...] | None:
    """The steps that a closed child undoes when it is asked to, in this order; ``None`` where it cannot undo any."""
    stuck = not_undone(state)
    if state.status == "completed" or (state.status == "cancelled" and state.part is not None):
        return tuple(last_first(graph, state, {*compensable(graph, state), *stuck}))
    return tuple(last_first(graph, state, stuck)) if stuck and state.status == "failed" else None


def _failed_items(state: State) -> str:
    """What can be done about the failed items of maps that have tolerated them, and completed; ``""`` without any."""
    found = {step: one.mapped for step, one in state.steps.items() if one.status == "completed" and one.mapped}
    failed = [f"failed items of {step} ({mapped.failed})" for step, mapped in found.items() if mapped.failed]
    if not failed:
        return ""
    which = f"{' and '.join(failed)} were tolerated, and what followed has used the results"
    return f"{which}: fork it before the map, with these items alone in the data that it is given"


def redriven(graph: Graph, state: State) -> Redriven:
    """What a redrive sets back, so that the instance goes on.

    Raises:
        NotRedrivable: there is nothing to go on with.
    """
    if state.parked is not None and not state.closed:
        return Redriven("")
    if state.status not in ("failed", "cancelled"):
        message = (
            f"instance {state.instance_id} is {state.status}: only a failed, cancelled or parked instance is redriven; "
            f"{_failed_items(state) or 'start it again, or fork it from its history'}"
        )
        raise NotRedrivable(message)
    statuses = {step: state.step_status(step) for step in graph.order}
    handler = (graph.on_failure,) if graph.on_failure in state.steps else ()  # it runs for each failure of the life
    undo = not_undone(state)
    if undo and state.compensation is not None:
        return Redriven("compensating", handler, handler, undo=tuple(last_first(graph, state, undo)))
    kids = {step: child.status for step in graph.order if (child := _child(graph, state, step)) is not None}
    children = [step for step, status in kids.items() if status in RESUMED]
    children += [step for step, status in kids.items() if status == "completed" and statuses[step] == "failed"]
    undone = reachable(graph.edges, [step for step in graph.order if _ran_for_good(graph, state, step)])
    again = tuple(step for step in undone if step in state.steps and statuses[step] != "skipped")
    reset = [step for step in graph.order if step in state.steps and (step in undone or statuses[step] == "failed")]
    go_on = tuple(state.activation(step) for step in children if step not in undone)
    reset = [step for step in reset if step in undone or step not in children]
    later = bool(go_on and own_limits(graph, state))
    return Redriven("pending", (*reset, *handler), (*again, *handler), children=go_on, later=later)
