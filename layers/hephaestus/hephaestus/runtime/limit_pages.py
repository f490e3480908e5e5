"""Looks at limits: a page of them, with who holds their permits and who stands in line."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from hephaestus.definition.concurrency import LONGEST_PER, NAME
from hephaestus.definition.durations import shown
from hephaestus.definition.limit_views import LimitView
from hephaestus.definition.views import Page, in_utc, label_of, moment
from hephaestus.engine.activation import INSTANCE
from hephaestus.errors import BadRequest
from hephaestus.runtime.lines import known_as
from hephaestus.runtime.names import said_id
from hephaestus.store.numbers import RATES_LISTED_AS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hephaestus.store.permits import Holder, Usage
    from hephaestus.store.reservations import Queue
    from hephaestus.store.store import Store

NAMED: Final = re.compile(rf"{NAME.pattern}(#.{{1,{LONGEST_PER}}})?")
MOST_COUNTED: Final = 100  # of a line, in a page of many limits
MOST_COUNTED_OF_ONE: Final = 1_000
MOST_READ: Final = 100  # instances, for their names
MOST_SHOWN: Final = 20  # of a line
MOST_HOLDERS: Final = 100  # of a limit


def read_limit(name: str, given: object) -> str:
    """The name of a limit, with the value of its ``per`` if it has one.

    Raises:
        BadRequest: it is none.
    """
    if isinstance(given, str) and NAMED.fullmatch(given) and given.isprintable():
        return str.__str__(given)
    message = f"{name} is {shown(given)}: give a limit's name, as stripe, with the value of its per, as stripe#acme"
    raise BadRequest(message)


def limits_page(store: Store, name: str | None, limit: int, cursor: str | None) -> Page[LimitView]:
    """A page of limits, by their names: of all, or of ``name`` and of each value of its ``per``.

    Raises:
        BadRequest: the name is none, or the cursor, which is the name of the first limit of the next page.
    """
    name = None if name is None else read_limit("'name'", name)
    first = name or "" if cursor is None else read_limit("the cursor", cursor)
    most, known = MOST_COUNTED if name is None else MOST_COUNTED_OF_ONE, _Known(store)
    named = [(one, False) for one in store.permits.known(first, limit + 1, of=name)]
    named += [(one, True) for one in store.permits.known(first, limit + 1, name, RATES_LISTED_AS)]
    named.sort()
    shown: list[LimitView] = []
    for one, is_rate in named[:limit]:
        if is_rate:
            shown.append(_rate(store.rates.queue(one, most), most, known))
        elif (usage := store.permits.usage(one, most)).is_known:
            shown.append(_shown(usage, most, known))
    return Page(shown, named[limit][0] if len(named) > limit else None)


class _Known:
    """The ids that people know holders by: of one that runs some of a map's items, that of the map's owner (C.1).

    Each of those is read once, and at most ``MOST_READ`` of them.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._ids: dict[str, str] = {}

    def id_of(self, holder: Holder) -> str:
        """The id of a holder."""
        if holder.instance_id not in self._ids:
            read = len(self._ids) < MOST_READ
            self._ids[holder.instance_id] = known_as(holder, self._store) if read else said_id(holder.instance_id)
        return self._ids[holder.instance_id]


def _shown(usage: Usage, most: int, known: _Known) -> LimitView:
    held = sorted(usage.permits, key=lambda permit: permit.grant.at)
    return LimitView(
        usage.limit,
        usage.number,
        usage.declared,
        usage.given,
        usage.by or None,
        usage.by_source or None,
        moment(usage.at),
        len(usage.permits),
        len(usage.line),
        True if len(usage.line) == most else None,
        moment(min(usage.since, default=None)),
        tuple(_who(permit.holder, permit.grant.at, known) for permit in held[:MOST_HOLDERS]),
        tuple(_who(*place, known) for place in tuple(zip(usage.line, usage.since, strict=True))[:MOST_SHOWN]),
    )


def _rate(queue: Queue, most: int, known: _Known) -> LimitView:
    """A rate: no one holds any of it; who stands in line, and until when it is reserved."""
    return LimitView(
        queue.limit,
        in_line=len(queue.line),
        more=True if len(queue.line) == most else None,
        waits_since=moment(min((holder.order for holder, _ in queue.line), default=None)),
        line=tuple(_who(holder, holder.order, known) for holder, _ in queue.line[:MOST_SHOWN]),
        kind="rate",
        reserved_until=moment(queue.free_at),
    )


def _who(holder: Holder, since: int, known: _Known) -> Mapping[str, Any]:
    step = {} if holder.activation == INSTANCE else {"step": label_of(holder.activation)}
    return {"id": known.id_of(holder), **step, "since": in_utc(since)}
