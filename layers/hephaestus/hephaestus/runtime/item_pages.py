"""Pages of a map's items: from the state, and from the log entries that ended them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from hephaestus.definition.item_views import ITEM_STATUSES, ItemStatus, ItemView, item_status, under_way
from hephaestus.definition.views import Page, moment
from hephaestus.engine.events import ItemCompleted, ItemFailed, PartEnded
from hephaestus.engine.map_items import mapped_of
from hephaestus.engine.nodes import tree_of
from hephaestus.engine.state import left_by, part_in
from hephaestus.errors import BadRequest, UnknownStep
from hephaestus.runtime.map_trees import Held, gone, held
from hephaestus.runtime.spreading import stored_items
from hephaestus.store.values import ValueMissing
from hephaestus.values.given import own, own_mapping

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hephaestus.engine.events import Entry
    from hephaestus.engine.records import Mapped
    from hephaestus.engine.state import State
    from hephaestus.store.store import Store

MOST_DIGITS: Final = 9
MOST_INSTANCES: Final = 200  # that are read for a page
MOST_ENTRIES: Final = 500  # in which the reasons are looked for that items do not tell


def read_place(cursor: str | None) -> int:
    """The place at which a page begins.

    Raises:
        BadRequest: the cursor is none of this listing.
    """
    if cursor is None:
        return 0
    if not isinstance(cursor, str) or not cursor.isascii() or not cursor.isdecimal() or len(cursor) > MOST_DIGITS:
        message = "the cursor is not one that a page of items ended with"
        raise BadRequest(message)
    return int(cursor)


def check_item_status(status: str | None) -> None:
    """Reject what is no status of an item.

    Raises:
        BadRequest: it names those that there are.
    """
    if status is not None and status not in ITEM_STATUSES:
        message = f"there is no status {str(status)[:64]!r} of an item: there are {', '.join(ITEM_STATUSES)}"
        raise BadRequest(message)


def items_page(  # noqa: PLR0913, PLR0917 - which items of what
    store: Store, state: State, step: str, maps: Sequence[str], status: str | None, limit: int, cursor: str | None
) -> Page[ItemView]:
    """At most ``limit`` items of the map ``step``, in their order.

    Args:
        store: has the log.
        state: the instance.
        step: the map.
        maps: the maps of its workflow, as far as that is known.
        status: of this status only.
        limit: how many at most.
        cursor: where the page before ended.

    Returns:
        A page. Of a map that many instances run it may be short, or empty, and still have a cursor.

    Raises:
        UnknownStep: the instance has no such map.
        InstanceNotFound: it has taken over the map from an instance that is not there any more.
        BadRequest: the status or the cursor is malformed.
        StoreUnavailable: the store did not answer.
    """
    check_item_status(status)
    first, known = read_place(cursor), state.steps.get(step)
    if known is None or known.mapped is None:
        if step in maps:
            return Page([])
        message = (
            f"instance {state.instance_id}: {step[:128]!r} is no map of it; its maps are {', '.join(maps) or 'none'}"
        )
        raise UnknownStep(message)
    if not known.mapped.in_parts:
        held_here = Held(0, len(known.mapped.ends), state)
        found = _Found(store, state, step, status, first)
        found.take(held_here, limit + 1)
        return found.page(limit)
    found = _Found(store, state, step, status, first)
    for number, some in enumerate(held(store, state, step, status, first)):
        if number >= MOST_INSTANCES:
            return Page(found.items[:limit], str(found.items[limit].index if len(found.items) > limit else some.first))
        found.take(some, limit + 1)
        if len(found.items) > limit:
            break
    return found.page(limit)


class _Found:
    """The items of a page, as they are found; see ``items_page``."""

    def __init__(self, store: Store, state: State, step: str, status: str | None, first: int) -> None:
        self.store = store
        self.state = state
        self.step = step
        self.status = status
        self.first = first
        self.items: list[ItemView] = []

    def page(self, limit: int) -> Page[ItemView]:
        """The page; one item more was looked for."""
        return Page(self.items[:limit], str(self.items[limit].index) if len(self.items) > limit else None)

    def take(self, some: Held, most: int) -> None:
        """Take those that are wanted, until there are ``most``."""
        if some.error is not None:
            if self.status in {None, "failed"}:
                told = {"type": some.error.type, "message": some.error.message}
                from_ = max(self.first, some.first)
                until = min(some.first + some.size, from_ + most - len(self.items))
                self.items += [ItemView(str(at), at, "failed", error=told) for at in range(from_, until)]
            return
        if some.state is None:
            if self.status in {None, "pending"}:
                self._take_pending(some, most)
            return
        state, step = some.state, self.step
        open_, mapped = under_way(state, step), mapped_of(state, step)
        mapped = mapped.over() if state.closed else mapped
        places = [
            place
            for place in range(max(self.first - some.first, 0), len(mapped.ends))
            if self.status is None or item_status(mapped, place, open_) == self.status
        ][: most - len(self.items)]
        if mapped.child:
            views = [_workflow(self.store, state, step, mapped, place, open_) for place in places]
            self.items += _with_errors(self.store, state, step, views)
            return
        numbers = {mapped.entries[place] for place in places} - {0}
        entries = (
            self.store.reader.entries(state.instance_id, state.life, sorted(numbers)) if mapped.left is None else {}
        )
        self.items += [_item(state, step, mapped, place, open_, entries) for place in places]

    def _take_pending(self, some: Held, most: int) -> None:
        """Take items that no instance runs yet: they stand in the partition of the map's owner."""
        tree, plan = tree_of(self.state, self.step), mapped_of(self.state, self.step).plan
        assert plan is not None  # noqa: S101 - other instances run them
        place, end = max(self.first, some.first), some.first + some.size
        while place < end and len(self.items) < most:
            leaf = place // plan.chunk
            try:
                items, keys = stored_items(self.store, (tree.owner, tree.life), plan, leaf)
            except ValueMissing as error:
                raise gone(self.state, tree) from error
            until = min(end, (leaf + 1) * plan.chunk, place + most - len(self.items))
            for at in range(place, until):
                own_place = at - leaf * plan.chunk
                key = keys[own_place] if keys else str(at)
                self.items.append(ItemView(key, at, "pending", own(items[own_place])))
            place = until


def _workflow(  # noqa: PLR0913, PLR0917 - what is known of it
    store: Store, state: State, step: str, mapped: Mapped, place: int, open_: Mapping[str, ItemStatus]
) -> ItemView:
    """An item that is a workflow: what became of it is read of its instance."""
    key = mapped.key(place)
    activation, status = state.item(step, key), item_status(mapped, place, open_)
    shown: dict[str, Any] = {"item": own(mapped.items[place])}
    if mapped.entries[place] or activation in state.children:
        shown["child"] = part_in(state, activation).instance_id
        child = store.load(shown["child"])
        if child is not None:
            ended = moment(child.updated_at) if child.closed else None
            shown |= {
                "child_status": child.status,
                "attempt": 1,
                "started_at": moment(child.created_at),
                "ended_at": ended,
            }
            shown |= {"event": "done", "results": own_mapping(left_by(child))} if status == "completed" else {}
        if child is not None and child.error is not None and status == "failed":
            shown["error"] = {"type": child.error.type, "message": child.error.message}
    return ItemView(key, mapped.first + place, status, **shown)


def _with_errors(store: Store, state: State, step: str, views: list[ItemView]) -> list[ItemView]:
    """Items that are workflows, with the errors that no instance of theirs tells: it took too long, or never began.

    They stand in the newest entries of the log, which are read only where there is such an item.
    """
    if not any(one.status == "failed" and one.error is None for one in views):
        return views
    numbers = range(max(2, state.sequence + 1 - MOST_ENTRIES), state.sequence + 1)
    entries = store.reader.entries(state.instance_id, state.life, numbers)
    events = (event for _, entry in sorted(entries.items()) for event in entry.events)
    ended = (event for event in events if isinstance(event, (ItemFailed, PartEnded)))
    why = {event.activation: event.error for event in ended if event.error is not None}
    found = []
    for one in views:
        error = why.get(state.item(step, one.key)) if one.status == "failed" and one.error is None else None
        found.append(one if error is None else replace(one, error={"type": error.type, "message": error.message}))
    return found


def _item(  # noqa: PLR0913, PLR0917 - what is known of it
    state: State, step: str, mapped: Mapped, place: int, open_: Mapping[str, ItemStatus], entries: Mapping[int, Entry]
) -> ItemView:
    key, entry = mapped.key(place), entries.get(mapped.entries[place])
    activation, one = state.item(step, key), mapped.open.get(key)
    shown: dict[str, Any] = {"item": own(mapped.items[place])}
    ended = [] if entry is None else [it for it in entry.events if isinstance(it, (ItemCompleted, ItemFailed))]
    event = next((it for it in reversed(ended) if it.activation == activation), None)
    if event is not None and entry is not None:
        shown |= {"attempt": event.attempt, "started_at": moment(event.started_at), "ended_at": moment(entry.at)}
        shown |= {} if mapped.plan else {"entry": entry.sequence}
    if isinstance(event, ItemCompleted):
        shown |= {"event": event.event, "results": own_mapping(event.results)}
    elif isinstance(event, ItemFailed):
        shown["error"] = {"type": event.error.type, "message": event.error.message}
    elif mapped.left is not None and mapped.left[place] is not None:
        shown["results"] = own_mapping(mapped.left[place])
    if one is not None:
        shown |= {"attempt": one.attempt, "started_at": moment(one.started_at), "retry_at": moment(one.retry_at)}
    if open_.get(key) == "running":
        shown["attempt"] = state.attempt_of(activation)
    timers = () if state.closed or one is None else state.timers.get(activation, ())
    shown["deadline"] = moment(min((timer.due_at for timer in timers), default=None))
    return ItemView(key, mapped.first + place, item_status(mapped, place, open_), **shown)
