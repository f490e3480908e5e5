"""Goes down from an instance that is deleted: what it has started in all its lives is deleted, too (D.11).

The instance has been marked by then: its life is over, and nothing can have its tree go on. It is removed itself only
when all below it is, so whoever finds the mark goes on with what is left.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from hephaestus.engine.events import ChildEnded, ChildStarted, PartEnded, PartStarted
from hephaestus.engine.events.children import LOST
from hephaestus.errors import AlreadyRunning, CorruptLog
from hephaestus.store.items import attribute

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hephaestus.engine.events import Event
    from hephaestus.engine.state import State
    from hephaestus.store.reader import Read
    from hephaestus.store.store import Store

PAGE: Final = 1_000  # log entries


def delete_children(store: Store, found: Read, now: int, finish: Callable[[State], object]) -> None:
    """Delete what an instance that is being deleted has started, but for what is open: that is on its own.

    What is open has been left, or ends as soon as it finds that its parent is gone, and then goes by itself. Who is
    slow here may meet a whole new life of the parent, whose children are none of these.

    Args:
        store: where they are.
        found: the instance.
        now: the time, in ms.
        finish: as ``Store.create`` has it.
    """
    parent = str(found.head["pk"])
    for name, life in dict.fromkeys(children_in_log(store, found)):
        child = _readable(store, name)
        if child is None:
            with suppress(CorruptLog):
                store.finish_deletion(name, now, finish)  # another request may have been cut off in it
        elif child.origin is not None and (child.origin.instance_id, child.origin.life) == (parent, life):
            with suppress(AlreadyRunning):
                store.delete(name, now, finish)


def children_in_log(store: Store, found: Read) -> Iterator[tuple[str, str]]:
    """The children but detached ones that are named in what is left of the logs of all lives, and whose they are."""
    state = _readable(store, str(found.head["pk"]))
    if state is None or state.life != found.life:
        return  # it is gone, or cannot be read: then it can be deleted, and its children are not known
    yield from ((name, state.life) for name in state.kin)
    for life, event in _logged(store, found):
        if isinstance(event, PartStarted) or (isinstance(event, ChildStarted) and not event.detached):
            yield event.child, life


def left_open(store: Store, found: Read) -> str:
    """A child that an instance has left, in any life, and that has not ended; ``""`` without one."""
    names: dict[tuple[str, str], str] = {}
    for life, event in _logged(store, found):
        if isinstance(event, (ChildStarted, PartStarted)):
            names[life, event.activation] = event.child
        elif isinstance(event, (ChildEnded, PartEnded)) and event.status == LOST:
            name = names.get((life, event.activation))
            child = None if name is None else _readable(store, name)
            if child is not None and not child.closed and not child.kept.ended:
                return child.instance_id
    return ""


def _logged(store: Store, found: Read) -> Iterator[tuple[str, Event]]:
    """The events of all lives, the newest life first, with their life, as far as they can be read.

    First entries are left out: they start nothing.
    """
    life, instance_id = found.life, str(found.head["pk"])
    with suppress(CorruptLog):
        newest = attribute(found.head, "generation", int)
        for generation in range(newest, 0, -1):
            if generation < newest:
                if (known := store.endings.earlier(found, generation)) is None:
                    return
                life, _ = known
            after = 1
            while entries := store.reader.page(instance_id, life, after, PAGE):
                yield from ((life, event) for entry in entries for event in entry.events)
                after = entries[-1].sequence


def _readable(store: Store, instance_id: str) -> State | None:
    """The newest state, also of what is being deleted; ``None`` where it cannot be read."""
    try:
        return store.reader.load(instance_id, ended=True)
    except CorruptLog:
        return None
