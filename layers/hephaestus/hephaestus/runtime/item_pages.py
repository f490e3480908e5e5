"""Pages of a map's items: from the state, and from the log entries that ended them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from hephaestus.definition.item_views import ITEM_STATUSES, ItemView, item_status, under_way
from hephaestus.definition.views import Page, moment
from hephaestus.engine.events import ItemCompleted, ItemFailed
from hephaestus.errors import BadRequest, UnknownStep
from hephaestus.values.given import own, own_mapping

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hephaestus.engine.events import Entry
    from hephaestus.engine.records import Mapped
    from hephaestus.engine.state import State
    from hephaestus.store.store import Store

MOST_DIGITS: Final = 6


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

    Raises:
        UnknownStep: the instance has no such map.
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
    mapped, running = known.mapped, under_way(state, step)
    places = [
        place
        for place in range(first, len(mapped.ends))
        if status is None or item_status(mapped, place, running) == status
    ]
    shown = places[:limit]
    numbers = {mapped.entries[place] for place in shown} - {0}
    entries = store.reader.entries(state.instance_id, state.life, sorted(numbers)) if mapped.left is None else {}
    items = [_item(state, step, mapped, place, running, entries) for place in shown]
    return Page(items, str(places[limit]) if len(places) > limit else None)


def _item(  # noqa: PLR0913, PLR0917 - what is known of it
    state: State, step: str, mapped: Mapped, place: int, running: frozenset[str], entries: Mapping[int, Entry]
) -> ItemView:
    key, entry = mapped.key(place), entries.get(mapped.entries[place])
    activation, one = state.item(step, key), mapped.open.get(key)
    shown: dict[str, Any] = {"item": own(mapped.items[place])}
    ended = [] if entry is None else [it for it in entry.events if isinstance(it, (ItemCompleted, ItemFailed))]
    event = next((it for it in reversed(ended) if it.activation == activation), None)
    if event is not None and entry is not None:
        shown |= {"attempt": event.attempt, "started_at": moment(event.started_at), "ended_at": moment(entry.at)}
        shown["entry"] = entry.sequence
    if isinstance(event, ItemCompleted):
        shown |= {"event": event.event, "results": own_mapping(event.results)}
    elif isinstance(event, ItemFailed):
        shown["error"] = {"type": event.error.type, "message": event.error.message}
    elif mapped.left is not None and mapped.left[place] is not None:
        shown["results"] = own_mapping(mapped.left[place])
    if one is not None:
        shown |= {"attempt": one.attempt, "started_at": moment(one.started_at), "retry_at": moment(one.retry_at)}
    if key in running:
        shown["attempt"] = state.attempt_of(activation)
    timers = () if state.closed or one is None else state.timers.get(activation, ())
    shown["deadline"] = moment(min((timer.due_at for timer in timers), default=None))
    return ItemView(key, place, item_status(mapped, place, running), **shown)
