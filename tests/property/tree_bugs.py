"""Deliberate bugs in maps whose items are in trees of instances, one at a time; see ``deliberate_bugs``."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from hephaestus.definition.context import Source
from hephaestus.engine import advance as engine
from hephaestus.engine import agenda, map_items
from hephaestus.engine import effects as what_follows
from hephaestus.engine import state as state_of_the_engine
from hephaestus.engine.activation import name_in_life, parse, text_of_item
from hephaestus.engine.effects import Keep, Steer, Tell
from hephaestus.engine.events import (
    InstanceFinished,
    PartEnded,
    PartResumed,
    PartStarted,
    Paused,
    Redriven,
    of_items,
)
from hephaestus.engine.records import COMPLETED, NOT_ENDED, NOT_UNDONE, Counts, Mapped, Origin
from hephaestus.engine.state import is_paused_alone
from hephaestus.runtime import executor, family, journal
from hephaestus.store import descent
from hephaestus.store import store as stored
from hephaestus.store.endings import Endings
from hephaestus.store.heads import FAMILY
from hephaestus.store.mailbox import Mailboxes
from hephaestus.store.table import ALWAYS
from tests.property.children_bugs import owing
from tests.property.deliberate_bugs import snapshot_loses

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    import pytest

    from hephaestus.engine.events import Event
    from hephaestus.engine.graph import Graph
    from hephaestus.engine.mail import Mail
    from hephaestus.engine.records import Child
    from hephaestus.engine.state import State
    from hephaestus.store.reader import Read

    Patch = pytest.MonkeyPatch

right_counted = of_items._counted  # noqa: SLF001 - made wrong on purpose


def end_of_a_part_counted_twice(patch: Patch) -> None:
    """A part that has ended is open still, and so is its mail news."""
    right = PartEnded.changes

    def changes(self: PartEnded, state: State, at: int) -> dict[str, Any]:
        changed = right(self, state, at)
        left = replace(state.children[self.activation], number=0)
        return {**changed, "children": {**changed["children"], self.activation: left}} if at % 2 else changed

    patch.setattr(PartEnded, "changes", changes)
    patch.setattr(Mailboxes, "delete", lambda self, mail: None)


def failures_counted_twice(patch: Patch) -> None:
    """What a part has reported is added to what it says at its end."""

    def counted(item: Any, counts: Counts, emitted: Mapping[str, int] | None = None) -> Mapped:
        before = item.mapped.counts[item.place] if item.mapped.counts else Counts()
        more = replace(counts, failed=counts.failed + before.failed)
        return right_counted(item, more, *([] if emitted is None else [emitted]))

    patch.setattr(of_items, "_counted", counted)


def share_lost_with_its_leaf(patch: Patch) -> None:
    """The share of a part that has ended does not come back."""

    def share_of(state: State, step: str, mapped: Mapped, under_way: Collection[str]) -> int:
        return sum(mapped.shares)

    patch.setattr(map_items, "_share_of", share_of)


def everyone_has_the_whole_share(patch: Patch) -> None:
    """Each part has as many places as the map."""
    right = map_items.due_parts

    def due_parts(graph: Graph, state: State, step: str) -> Iterator[tuple[str, int, bool]]:
        for activation, _, keeps in right(graph, state, step):
            yield activation, map_items.at_once(graph, step, map_items.mapped_of(state, step)), keeps

    patch.setattr(engine, "due_parts", due_parts)


def a_part_tolerates_by_itself(patch: Patch) -> None:
    """A leaf goes on while no more of its own items have failed than the map tolerates of as many."""

    def tolerated(graph: Graph, step: str, mapped: Mapped) -> int:
        return map_items.spread_of(graph, step).tolerated(len(mapped.ends))

    patch.setattr(map_items, "tolerated", tolerated)


def failures_above_the_tolerance_of_a_chunk(patch: Patch) -> None:
    """A node counts the parts that have failed, and not their items."""
    patch.setattr(Mapped, "failed", property(lambda self: self.ends.count("f")))


def id_of_a_part_without_epoch(patch: Patch) -> None:
    """A map that is undone and runs again has parts of the same ids."""
    right = state_of_the_engine.place_of

    def place_of(state: State, activation: str) -> tuple[str, str]:
        found = parse(activation)
        plain = activation if found.item is None else text_of_item(found.step, 0, found.item)
        return right(state, plain)

    patch.setattr(state_of_the_engine, "place_of", place_of)


def resumed_part_repeats_what_has_completed(patch: Patch) -> None:
    """A part that goes on begins all of its items anew."""
    right = PartResumed.changes

    def changes(self: PartResumed, state: State, at: int) -> dict[str, Any]:
        changed = right(self, state, at)
        for key, known in changed["steps"].items():
            if known.mapped is not None and not known.mapped.in_parts:
                anew = replace(known.mapped, ends=NOT_ENDED * len(known.mapped.ends))
                changed["steps"][key] = replace(known, mapped=anew)
        return changed

    patch.setattr(PartResumed, "changes", changes)


def resumed_with_the_share_of_its_first_day(patch: Patch) -> None:
    """A part that goes on has as many places as before."""
    right = family._command  # noqa: SLF001 - made wrong on purpose

    def command(steer: Steer, parent: State) -> Any:
        found, of = right(steer, parent), parse(steer.activation)
        mapped = map_items.mapped_of(parent, of.step) if steer.action == "resume_part" else None
        return right(replace(steer, share=mapped.size), parent) if mapped is not None else found

    patch.setattr(family, "_command", command)


def report_deleted_before_its_commit(patch: Patch) -> None:
    """What a part reports while it goes on goes as it is read."""
    right = Mailboxes.read

    def read(self: Mailboxes, instance_id: str, life: str) -> Sequence[Mail]:
        found = right(self, instance_id, life)
        for mail in found:
            if not mail.status:
                self.delete(mail)
        return found

    patch.setattr(Mailboxes, "read", read)


def failures_are_not_reported(patch: Patch) -> None:
    """A part says only at its end how many of its items have failed."""
    patch.setattr(what_follows, "_reported", lambda before, after, entry: None)


def undo_forgets_the_parts_of_a_stopped_map(patch: Patch) -> None:
    """Parts that were cancelled, as too many items had failed, are not asked to undo."""
    right = map_items.due_part_undos

    def due(graph: Graph, state: State, step: str, *, stuck: bool = False) -> Iterator[str]:
        mapped = map_items.mapped_of(state, step)
        if mapped.in_parts and map_items.is_stopped(graph, state, step):
            return
        yield from right(graph, state, step, stuck=stuck)

    patch.setattr(engine, "due_part_undos", due)


def parts_about_to_go_on_are_not_undone(patch: Patch) -> None:
    """Only parts that have ended are asked to undo, and not those that a redrive was to have go on."""

    def is_to_undo(self: Mapped, place: int) -> bool:
        return self.ends[place] == COMPLETED and (not self.in_parts or self.counts[place].completed > 0)

    patch.setattr(Mapped, "is_to_undo", is_to_undo)


def parts_start_in_a_paused_instance(patch: Patch) -> None:
    """Parts that were to start do so although another writer was faster."""
    right = journal.Journal._is_derived  # noqa: SLF001 - made wrong on purpose

    def is_derived(self: Any, event: Event, decided: Sequence[Event]) -> bool:
        return not isinstance(event, PartStarted) and right(self, event, decided)

    patch.setattr(journal.Journal, "_is_derived", is_derived)


def cancelled_parts_are_over(patch: Patch) -> None:
    """A redrive of a cancelled instance has its maps end without what was cancelled."""
    patch.setattr(Redriven, "_as_it_was", lambda self, state, step: step)


def cancelled_parts_repeat_what_was_tolerated(patch: Patch) -> None:
    """A redrive of a cancelled instance repeats the failed items of its maps, too."""
    right = PartResumed.changes
    patch.setattr(PartResumed, "changes", lambda self, state, at: right(replace(self, keeps=False), state, at))


def indexes_within_a_leaf(patch: Patch) -> None:
    """An item is told its place among those of its leaf."""
    right = Source.own_index

    def own_index(self: Source) -> int:
        part = self.state.origin.part if self.state.origin is not None else None
        return right(self) - (0 if part is None else part.first)

    patch.setattr(Source, "own_index", own_index)


def keys_of_the_leaf(patch: Patch) -> None:
    """An idempotency key names the instance that happens to run the item."""

    def own(self: Source) -> str:
        return name_in_life(self.state.instance_id, self.state.life, self.activation)

    patch.setattr(Source, "own_idempotency_key", own)


def events_of_a_resumed_part_told_twice(patch: Patch) -> None:
    """A part that goes on says at its end again what it has said before."""
    right = PartResumed.changes

    def changes(self: PartResumed, state: State, at: int) -> dict[str, Any]:
        changed = right(self, state, at)
        for key, known in changed["steps"].items():
            before = state.steps[key].mapped
            if known.mapped is not None and before is not None:
                changed["steps"][key] = replace(known, mapped=replace(known.mapped, events=before.events))
        return changed

    patch.setattr(PartResumed, "changes", changes)


def stops_no_part(patch: Patch) -> None:
    """The other parts go on after one failure too many."""
    right = engine._stopping  # noqa: SLF001 - made wrong on purpose

    def stopping(graph: Graph, state: State, open_: list[str], due: Collection[str]) -> Any:
        found = right(graph, state, open_, due)
        return None if found is not None and found.reason == "failures" else found

    patch.setattr(engine, "_stopping", stopping)


def events_of_undone_items_left_behind(patch: Patch) -> None:
    """A map that begins anew has no event that was accepted for its items before."""
    patch.setattr(executor._Execution, "undelivered", lambda self, run: None)  # noqa: SLF001 - made wrong on purpose


def events_end_with_their_part(patch: Patch) -> None:
    """A part that has completed keeps no event of an item that has failed."""
    right = InstanceFinished.changes

    def changes(self: InstanceFinished, state: State, at: int) -> dict[str, Any]:
        changed = right(self, state, at)
        return {**changed, "inbox": {}} if self.status == "completed" else changed

    patch.setattr(InstanceFinished, "changes", changes)


def deletion_forgets_the_tree(patch: Patch) -> None:
    """An instance is deleted, and what is below it stays."""
    patch.setattr(descent, "children_in_log", lambda store, instance_id: iter(()))


def deletion_begins_below(patch: Patch) -> None:
    """What is below a root is deleted first, and a redrive may be faster than the root's own end."""
    right = Endings.delete

    def delete(self: Endings, found: Read, now: int, finish: Callable[[State], object], **of: Any) -> bool:
        descent.delete_children(self.store, found, now, finish)
        return right(self, found, now, finish, **of)

    patch.setattr(Endings, "delete", delete)


def deletion_trusts_a_head_that_lags(patch: Patch) -> None:
    """Whether a deletion goes down is read from a head that may not show yet that there are children."""
    right = Endings.delete

    def delete(self: Endings, found: Read, now: int, finish: Callable[[State], object], **_: Any) -> bool:
        return right(self, found, now, finish, related=FAMILY in found.head)

    patch.setattr(Endings, "delete", delete)


def slow_ends_are_heard(patch: Patch) -> None:
    """A worker that was slow over the end of a root has its tree expire, whatever was decided since."""
    patch.setattr(stored, "said_by", lambda _: ALWAYS)


def asked_again_of_what_goes_on(patch: Patch) -> None:
    """What a part was asked for while it was closed is done to it late, once it has gone on."""
    patch.setattr(family, "Steered", lambda instances, _: instances)


def unpaused_for_a_pause(patch: Patch) -> None:
    """A root that is unpaused and waits for its workflow, in one entry, has those below it pause once more."""
    right = what_follows._asked  # noqa: SLF001 - made wrong on purpose

    def asked(event: Event, before: State) -> Any:
        held = isinstance(event, Paused) and event.look_at and is_paused_alone(before)
        return ("pause", before.children) if held else right(event, before)

    patch.setattr(what_follows, "_asked", asked)


def end_of_an_items_workflow_counted_twice(patch: Patch) -> None:
    """An item whose workflow has ended is open still, and so is its mail news."""
    end_of_a_part_counted_twice(patch)


def stuck_workflow_taken_for_undone(patch: Patch) -> None:
    """An item whose workflow could not undo what it did has failed like any other."""
    right = PartEnded.changes
    patch.setattr(PartEnded, "changes", lambda self, state, at: right(replace(self, stuck=False), state, at))


def open_workflows_of_leaves_only_cancelled(patch: Patch) -> None:
    """A part is cancelled without compensation, and what its workflows have done so far is left."""
    right = family._command  # noqa: SLF001 - made wrong on purpose

    def command(steer: Steer, parent: State) -> Any:
        is_part = steer.action == "cancel" and state_of_the_engine.is_part(parent, steer.activation)
        return right(steer, parent) if not is_part else only(right(steer, parent))

    def only(asked: Any) -> Any:
        own = {"instance_id": asked.instance_id, "request_id": asked.request_id, "by": asked.by}
        return type(asked)(**own, reason=asked.reason, compensate=False)

    patch.setattr(family, "_command", command)


def redriven_item_has_another_id(patch: Patch) -> None:
    """An item that goes on is another instance."""
    right = state_of_the_engine.part_in

    def part_in(state: State, activation: str) -> Child:
        found = right(state, activation)
        return replace(found, instance_id=f"{found.instance_id}x") if found.number else found

    patch.setattr(executor, "part_in", part_in)


def open_workflows_have_no_place(patch: Patch) -> None:
    """An item whose workflow is open leaves its place to another."""
    right, right_at_once, more = map_items.due_items, map_items.at_once, [0]

    def due_items(graph: Graph, state: State, step: str, now: int, in_flight: Collection[str]) -> Any:
        more[0] = len(map_items.open_parts(state, step))
        found = list(right(graph, state, step, now, in_flight))
        more[0] = 0
        return found

    patch.setattr(map_items, "at_once", lambda graph, step, mapped: right_at_once(graph, step, mapped) + more[0])
    patch.setattr(engine, "due_items", due_items)


def deadlines_of_workflows_are_no_alarms(patch: Patch) -> None:
    """Nothing but their schedules wakes an instance whose items are workflows with a deadline."""
    right = agenda._times_of_items  # noqa: SLF001 - made wrong on purpose
    patch.setattr(
        agenda,
        "_times_of_items",
        lambda graph, state, step, mapped: right(graph, state, step, replace(mapped, child="")),
    )


def stuck_workflows_left_to_a_compensation_of_its_own(patch: Patch) -> None:
    """A workflow that could not undo itself is not asked again where its step has a compensation."""
    right = map_items.due_part_undos

    def due(graph: Graph, state: State, step: str, *, stuck: bool = False) -> Iterator[str]:
        return iter(()) if stuck else right(graph, state, step)

    patch.setattr(engine, "due_part_undos", due)


def stuck_once_more_taken_for_completed(patch: Patch) -> None:
    """A workflow that could not undo itself twice has completed, and its step's compensation is for it."""
    patch.setattr(Mapped, "to_undo_again", lambda self: replace(self, ends=self.ends.replace(NOT_UNDONE, COMPLETED)))


def _is_of_a_part(state: State) -> bool:
    return state.origin is not None and state.origin.part is not None


BUGS: Final[dict[Callable[[Any], None], tuple[str, ...]]] = {
    end_of_a_part_counted_twice: ("invariant 12", "invariant 9"),
    failures_counted_twice: ("maps",),
    share_lost_with_its_leaf: ("maps", "invariant 3"),
    everyone_has_the_whole_share: ("maps",),
    a_part_tolerates_by_itself: ("maps",),
    failures_above_the_tolerance_of_a_chunk: ("maps",),
    id_of_a_part_without_epoch: ("derived ids",),
    resumed_part_repeats_what_has_completed: ("invariant 2",),
    resumed_with_the_share_of_its_first_day: ("maps",),
    report_deleted_before_its_commit: ("mail",),
    failures_are_not_reported: ("maps",),
    undo_forgets_the_parts_of_a_stopped_map: ("compensation",),
    parts_about_to_go_on_are_not_undone: ("compensation", "saga", "maps"),
    parts_start_in_a_paused_instance: ("pause", "cancel"),
    cancelled_parts_are_over: ("maps",),
    cancelled_parts_repeat_what_was_tolerated: ("redrive",),
    indexes_within_a_leaf: ("maps",),
    keys_of_the_leaf: ("idempotency keys",),
    events_of_a_resumed_part_told_twice: ("maps",),
    stops_no_part: ("maps",),
    events_of_undone_items_left_behind: ("invariant 5",),
    events_end_with_their_part: ("invariant 5",),
    deletion_forgets_the_tree: ("invariant 5", "D.11"),
    deletion_begins_below: ("invariant 3",),
    deletion_trusts_a_head_that_lags: ("invariant 5", "D.11"),
    slow_ends_are_heard: ("D.11",),
    owing(lambda one, _: not isinstance(one, Keep) or one.at is not None, "redriven_trees_expire"): ("D.11",),
    unpaused_for_a_pause: ("invariant 3",),
    asked_again_of_what_goes_on: ("maps", "invariant 12", "cancel"),
    owing(
        lambda one, state: not (isinstance(one, Steer) and one.action == "cancel" and _is_of_a_part(state)),
        "cancel_misses_a_leaf_below_a_node",
    ): ("invariant 12", "invariant 3"),
    owing(
        lambda one, state: not (isinstance(one, Steer) and one.action == "undo" and _is_of_a_part(state)),
        "undo_misses_a_leaf_below_a_node",
    ): ("invariant 3",),
    owing(lambda one, state: not (isinstance(one, Steer) and one.action == "resume_part"), "resumption_forgotten"): (
        "invariant 3",
    ),
    owing(
        lambda one, state: not (isinstance(one, Tell) and _is_of_a_part(state) and state.status == "cancelled"),
        "cancelled_parts_tell_nothing",
    ): ("invariant 3", "invariant 12"),
    snapshot_loses(Mapped, "counts"): ("invariant 9",),
    snapshot_loses(Mapped, "shares"): ("invariant 9",),
    snapshot_loses(Mapped, "plan"): ("invariant 9",),
    snapshot_loses(Mapped, "first"): ("invariant 9",),
    snapshot_loses(Origin, "part"): ("invariant 9",),
}

OF_WORKFLOWS: Final[dict[Callable[[Any], None], tuple[str, ...]]] = {
    end_of_an_items_workflow_counted_twice: ("invariant 12", "invariant 9"),
    stuck_workflow_taken_for_undone: ("maps",),
    open_workflows_of_leaves_only_cancelled: ("saga",),
    redriven_item_has_another_id: ("derived ids",),
    open_workflows_have_no_place: ("maps",),
    deadlines_of_workflows_are_no_alarms: ("invariant 3", "alarm"),
    stuck_workflows_left_to_a_compensation_of_its_own: ("invariant 3", "compensation"),
    stuck_once_more_taken_for_completed: ("maps",),
}
"""The same, in maps whose items are workflows."""
