"""Deliberate bugs in what instances tell each other, one at a time; see ``deliberate_bugs``."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from hephaestus.engine import advance as engine
from hephaestus.engine import effects as what_follows
from hephaestus.engine import plans
from hephaestus.engine.activation import derived
from hephaestus.engine.effects import StartChild, Steer, Tell
from hephaestus.engine.events import ChildEnded
from hephaestus.engine.records import NOTHING, Child
from hephaestus.engine.state import State, StepState, evolve
from hephaestus.runtime import executor, family, orphans, outcomes, perform
from hephaestus.runtime.commands import Cancel, fork
from hephaestus.store import reader
from hephaestus.store import store as stored
from hephaestus.store.mailbox import Mailboxes
from tests.property.deliberate_bugs import snapshot_loses

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pytest

    from hephaestus.engine.advance import Command
    from hephaestus.engine.effects import Owed
    from hephaestus.engine.events import Entry
    from hephaestus.engine.graph import Graph
    from hephaestus.engine.mail import Mail

    Patch = pytest.MonkeyPatch

Execution: Final = executor._Execution  # noqa: SLF001 - made wrong on purpose
right_owed = what_follows.owed


def owing(keep: Callable[[Owed, State], bool], name: str) -> Callable[[Patch], None]:
    """A bug in what others are told of an entry: some of it is forgotten."""

    def owed(before: State, entry: Entry, after: State) -> tuple[Owed, ...]:
        return tuple(one for one in right_owed(before, entry, after) if keep(one, after))

    def switch_on(patch: Patch) -> None:
        patch.setattr(what_follows, "owed", owed)
        patch.setattr(reader, "owed", owed)

    switch_on.__name__ = name
    return switch_on


def mailbox_not_read_again(patch: Patch) -> None:
    """An owner that has given up does not look whether mail has come meanwhile."""
    patch.setattr(executor.Executor, "_has_mail", lambda self, *_: False)


def mail_deleted_before_its_commit(patch: Patch) -> None:
    """Mail goes as it is read."""
    right = Mailboxes.read

    def read(self: Mailboxes, instance_id: str, life: str) -> Sequence[Mail]:
        found = right(self, instance_id, life)
        for mail in found:
            self.delete(mail)
        return found

    patch.setattr(Mailboxes, "read", read)


def end_counted_twice(patch: Patch) -> None:
    """A child that has ended is still open to its parent, and its mail is not deleted."""
    right = ChildEnded.changes

    def changes(self: ChildEnded, state: State, at: int) -> dict[str, Any]:
        changed = right(self, state, at)
        child = changed["children"][self.activation]
        if at % 2:
            changed["children"] = {**changed["children"], self.activation: replace(child, status="")}
        return changed

    patch.setattr(ChildEnded, "changes", changes)


def derived_id_without_epoch(patch: Patch) -> None:
    """A step that is undone and runs again starts a child of the same id."""
    patch.setattr(outcomes, "derived", lambda life, path: derived(life, path.partition("~")[0]))


def head_hides_what_is_owed(patch: Patch) -> None:
    """The head follows although another instance was not told."""
    right = perform.Performer._tell  # noqa: SLF001 - made wrong on purpose

    def tell(self: Any, effect: Owed, silent: set[str], state: State, blocked: list[str]) -> bool:
        right(self, effect, silent, state, blocked)
        return True

    patch.setattr(perform.Performer, "_tell", tell)


def owed_by_the_dead_forgotten(patch: Patch) -> None:
    """What a dead owner had to tell is not told by the next."""
    patch.setattr(reader, "owed", lambda before, entry, after: ())


def ends_before_its_children(patch: Patch) -> None:
    """An instance that fails or is cancelled leaves its children."""
    right = engine._children  # noqa: SLF001 - made wrong on purpose

    def children(graph: Graph, state: State, now: int, *, ending: bool) -> tuple[Command, ...]:
        return () if ending else right(graph, state, now, ending=False)

    patch.setattr(engine, "_children", children)


def steers_what_is_not_ours(patch: Patch) -> None:
    """A child takes an end for its own that is another's."""
    right = family.origin_of
    patch.setattr(family, "origin_of", lambda parent, started: replace(right(parent, started), activation="other"))


def output_of_a_large_child_lost(patch: Patch) -> None:
    """An output that is too large for mail is taken for none."""
    patch.setattr(orphans, "_output_in", lambda mail, store: mail.output or NOTHING)
    right = Mailboxes.put
    patch.setattr(Mailboxes, "put", lambda self, mail, at: right(self, replace(mail, output=None), at))


def stale_mail_counts(patch: Patch) -> None:
    """The mail of an earlier end is taken for that of a child which goes on."""
    right = Child.reopened.fget  # type: ignore[attr-defined]  # a property
    for name in ("reopened", "resumed"):
        patch.setattr(Child, name, property(lambda self: replace(right(self), number=0)))


def stuck_children_forgotten(patch: Patch) -> None:
    """A parent is not told that a child could not undo what it did."""
    right = what_follows.mail_of
    patch.setattr(what_follows, "mail_of", lambda *told: replace(right(*told), stuck=False))


def stuck_children_begin_anew(patch: Patch) -> None:
    """A redrive has a child that could not undo what it did replaced as if it had."""
    patch.setattr(plans, "not_undone", lambda state: [])


def children_end_when_it_is_read(patch: Patch) -> None:
    """Of several ends that are read at once, no one knows which was the last."""
    right = what_follows.mail_of
    patch.setattr(what_follows, "mail_of", lambda *told: replace(right(*told), ended_at=0))


def children_are_cancelled_plainly(patch: Patch) -> None:
    """A child is cancelled and undoes nothing, whatever its parent was asked for."""
    right = family._command  # noqa: SLF001 - made wrong on purpose

    def command(steer: Steer, parent: State) -> Any:
        made = right(steer, parent)
        return Cancel(**{**made.__dict__["_given"], "compensate": False}) if isinstance(made, Cancel) else made

    patch.setattr(family, "_command", command)


def children_are_started_over(patch: Patch) -> None:
    """An instance is started by hand under the id of a child that has ended."""
    patch.setattr(stored, "may_begin_over", lambda old: old.closed)


def fork_takes_what_is_being_undone(patch: Patch) -> None:
    """A fork takes over the step of a child that is being undone."""
    right = fork._is_whole  # noqa: SLF001 - made wrong on purpose
    patch.setattr(fork, "_is_whole", lambda source, *of: right(evolve(source, children=NOTHING), *of))


def failed_children_are_compensated(patch: Patch) -> None:
    """A compensation of the step is called although the child has failed, and undone itself."""
    right = engine._undid_itself  # noqa: SLF001 - made wrong on purpose
    patch.setattr(engine, "_undid_itself", lambda graph, *of: of[-1] in graph.undoes and right(graph, *of))


BUGS: Final[dict[Callable[[Any], None], tuple[str, ...]]] = {
    mailbox_not_read_again: ("mail",),
    mail_deleted_before_its_commit: ("invariant 3",),
    end_counted_twice: ("invariant 12", "invariant 9", "invariant 2", "the engine's own rules", "invariant 3"),
    derived_id_without_epoch: ("derived ids",),
    head_hides_what_is_owed: ("invariant 3",),
    owed_by_the_dead_forgotten: ("invariant 3",),
    ends_before_its_children: ("invariant 12",),
    steers_what_is_not_ours: ("invariant 12", "invariant 3", "cancel"),
    output_of_a_large_child_lost: ("invariant 12",),
    owing(
        lambda one, state: not (isinstance(one, Steer) and one.action == "cancel" and state.origin is not None),
        "cancel_misses_a_grandchild",
    ): ("invariant 12",),
    owing(lambda one, _: not isinstance(one, StartChild) or one.started.attempt == 1, "start_forgotten"): (
        "invariant 3",
    ),
    owing(lambda one, state: not isinstance(one, Tell) or state.status != "cancelled", "cancelled_tell_nothing"): (
        "invariant 3",
        "invariant 12",
    ),
    owing(lambda one, _: not isinstance(one, Steer) or one.action != "undo", "undo_forgotten"): ("invariant 3",),
    owing(lambda one, _: not isinstance(one, Steer) or one.action != "redrive", "redrive_forgotten"): ("invariant 3",),
    stale_mail_counts: ("invariant 12",),
    stuck_children_forgotten: ("compensation", "undo", "redrive"),
    stuck_children_begin_anew: ("redrive", "undo", "compensation"),
    failed_children_are_compensated: ("compensation",),
    children_end_when_it_is_read: ("invariant 12",),
    children_are_cancelled_plainly: ("saga",),
    children_are_started_over: ("derived ids",),
    fork_takes_what_is_being_undone: ("fork",),
    snapshot_loses(StepState, "child"): ("invariant 9",),
    snapshot_loses(State, "children"): ("invariant 9",),
    snapshot_loses(Child, "stopping"): ("invariant 9",),
    snapshot_loses(Child, "stuck"): ("invariant 9",),
}
