"""Deliberate bugs in what becomes of children that are started one after the other; see ``deliberate_bugs``."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from hephaestus.definition.context import Source
from hephaestus.definition.repeat import Repeat
from hephaestus.definition.results import Again, Spawn
from hephaestus.engine import advance as engine
from hephaestus.engine import plans
from hephaestus.engine.activation import step_of, text_of
from hephaestus.engine.advance import Settle, UndoChild
from hephaestus.engine.events import ChildEnded, StepFailed
from hephaestus.engine.records import Child
from tests.property.deliberate_bugs import snapshot_loses

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pytest

    from hephaestus.engine.advance import Command
    from hephaestus.engine.graph import Graph
    from hephaestus.engine.state import State

    Patch = pytest.MonkeyPatch


def only_the_newest_is_undone(patch: Patch) -> None:
    """A step counts as undone when the child of its newest round is."""
    right = engine._undo_child  # noqa: SLF001 - made wrong on purpose

    def undo(graph: Graph, state: State, step: str) -> Command | None:
        asked = [one for one, child in state.children.items() if child.status and child.stopping == "undo"]
        return Settle(asked[0]) if asked else right(graph, state, step)

    patch.setattr(engine, "_undo_child", undo)


def oldest_is_undone_first(patch: Patch) -> None:
    """The children are undone in the order in which they ran."""
    right = engine._undo_child  # noqa: SLF001 - made wrong on purpose

    def undo(graph: Graph, state: State, step: str) -> Command | None:
        command = right(graph, state, step)
        first = isinstance(command, UndoChild) and not any(one.stopping == "undo" for one in state.children.values())
        return UndoChild(text_of(step, state.epochs.get(step, 0), 1)) if first else command

    patch.setattr(engine, "_undo_child", undo)


def first_round_not_undone(patch: Patch) -> None:
    """What ended before its first round did is not undone, although its child had completed."""
    patch.setattr(engine, "_has_completed_child", lambda state, step: False)


def each_round_starts_anew(patch: Patch) -> None:
    """A child starts with what the first one started with."""
    right = Repeat.execute

    def execute(self: Repeat, instance: Any, config: Any, context: Any) -> Any:
        made = right(self, instance, config, context)
        return Spawn(dict(context.initial)) if isinstance(made, Spawn) else made

    patch.setattr(Repeat, "execute", execute)


def asked_with_the_carry_before(patch: Patch) -> None:
    """``until`` is given what the round before has left."""
    right = Source.own_carry

    def carry(self: Source) -> Mapping[str, Any]:
        known = self.state.steps.get(self.step)
        return right(self) if known is None or known.loop is None else dict(known.loop.carry)

    patch.setattr(Source, "own_carry", carry)


def carries_the_start_data_on(patch: Patch) -> None:
    """A round leaves what its child has started with."""
    right = Repeat.execute

    def execute(self: Repeat, instance: Any, config: Any, context: Any) -> Any:
        made = right(self, instance, config, context)
        return Again({"n": 0}) if isinstance(made, Again) else made

    patch.setattr(Repeat, "execute", execute)


def child_forgotten_by_a_failed_attempt(patch: Patch) -> None:
    """When ``until`` fails, another child is started for the round."""
    right = StepFailed.changes

    def changes(self: StepFailed, state: State, at: int) -> dict[str, Any]:
        changed = right(self, state, at)
        left = {one: child for one, child in state.children.items() if one != self.activation}
        return {**changed, "children": left}

    patch.setattr(StepFailed, "changes", changes)


def failed_until_begins_anew(patch: Patch) -> None:
    """A redrive of a step whose ``until`` failed starts its first child again, under another key."""
    right = plans._ran_for_good  # noqa: SLF001 - made wrong on purpose

    def ran(graph: Graph, state: State, step: str) -> bool:
        known = state.steps.get(step)
        asked = known is not None and known.status == "failed" and known.child is not None and known.child.asked
        return asked or right(graph, state, step)

    patch.setattr(plans, "_ran_for_good", ran)


def attempts_go_on(patch: Patch) -> None:
    """What a child's start has spent of attempts, ``until`` has not."""
    right = ChildEnded.changes

    def changes(self: ChildEnded, state: State, at: int) -> dict[str, Any]:
        changed = right(self, state, at)
        if "steps" in changed:
            step = step_of(self.activation)
            kept = replace(changed["steps"][step], attempt=state.steps[step].attempt + 1)
            changed["steps"] = {**changed["steps"], step: kept}
        return changed

    patch.setattr(ChildEnded, "changes", changes)


BUGS: Final[dict[Callable[[Any], None], tuple[str, ...]]] = {
    only_the_newest_is_undone: ("undo",),
    oldest_is_undone_first: ("undo",),
    first_round_not_undone: ("compensation",),
    each_round_starts_anew: ("rounds",),
    asked_with_the_carry_before: ("rounds",),
    carries_the_start_data_on: ("rounds",),
    child_forgotten_by_a_failed_attempt: ("invariant 12",),
    failed_until_begins_anew: ("redrive", "idempotency keys"),
    attempts_go_on: ("invariant 2", "rounds"),
    snapshot_loses(Child, "round"): ("invariant 9",),
    snapshot_loses(Child, "asks"): ("invariant 9",),
}
