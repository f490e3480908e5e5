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
from hephaestus.runtime.names import said_id
from hephaestus.store.numbers import RATES_LISTED_AS
from hephaestus.store.offspring import Known
from hephaestus.store.reservations import Queue

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from hephaestus.store.permits import Holder, Permit, Usage
    from hephaestus.store.store import Store

NAMED: Final = re.compile(rf"{NAME.pattern}(#.{{1,{LONGEST_PER}}})?")
SECOND: Final = 1_000_000  # microseconds
LATEST_MS: Final = 253_402_300_799_000  # in the last second of the year 9999
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
    found = [store.rates.queue(one, most) if rate else store.permits.usage(one, most) for one, rate in named[:limit]]
    known.read(found)
    shown: list[LimitView] = []
    for one in found:
        if isinstance(one, Queue):
            shown.append(_rate(one, most, known))
        elif one.is_known:
            shown.append(_shown(one, most, known))
    return Page(shown, named[limit][0] if len(named) > limit else None)


class _Known:
    """As what people know holders: of one that runs some of a map's items, as the map's owner (C.1).

    At most ``MOST_READ`` of them are read for it, at once.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: Mapping[str, Known] = {}

    def read(self, found: Sequence[Usage | Queue]) -> None:
        """Read those that are shown of these."""
        names: list[str] = []
        for one in found:
            held = () if isinstance(one, Queue) else _held(one)
            line = [holder for holder, _ in one.line] if isinstance(one, Queue) else one.line
            names += [permit.holder.instance_id for permit in held]
            names += [holder.instance_id for holder in line[:MOST_SHOWN]]
        self._known = self._store.known(list(dict.fromkeys(names))[:MOST_READ])

    def of(self, holder: Holder) -> Known:
        """As what a holder is known."""
        return self._known.get(holder.instance_id) or Known(said_id(holder.instance_id))


def _held(usage: Usage) -> Sequence[Permit]:
    """The permits that are shown, the one that was held longest first."""
    return sorted(usage.permits, key=lambda permit: permit.grant.at)[:MOST_HOLDERS]


def _shown(usage: Usage, most: int, known: _Known) -> LimitView:
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
        tuple(_who(permit.holder, permit.grant.at, known) for permit in _held(usage)),
        tuple(_who(*place, known) for place in tuple(zip(usage.line, usage.since, strict=True))[:MOST_SHOWN]),
        reason=usage.why or None,
    )


def _rate(queue: Queue, most: int, known: _Known) -> LimitView:
    """A rate: no one holds any of it; how fast it is, who stands in line, and until when it is reserved."""
    stands = queue.stands
    speed, own = stands.speed, stands.own
    return LimitView(
        queue.limit,
        number=None if speed is None else speed.n,
        declared=None if own is None else own.n,
        set_to=None if stands.given is None else stands.given.n,
        changed_by=queue.by or None,
        changed_by_source=queue.by_source or None,
        changed_at=moment(queue.at),
        period_seconds=None if speed is None else speed.period / SECOND,
        burst=None if speed is None else speed.burst,
        declared_period_seconds=None if own is None else own.period / SECOND,
        declared_burst=None if own is None else own.burst,
        next_at=_shown_at(stands.next_at),
        reason=queue.why or None,
        in_line=len(queue.line),
        more=True if len(queue.line) == most else None,
        waits_since=moment(min((holder.order for holder, _ in queue.line), default=None)),
        line=tuple(_who(holder, holder.order, known) for holder, _ in queue.line[:MOST_SHOWN]),
        kind="rate",
        reserved_until=_shown_at(queue.free_at),
    )


def _shown_at(milliseconds: int | None) -> datetime | None:
    """A time of a rate, as far as dates go: a burst may take thousands of years to be free again."""
    return moment(None if milliseconds is None else milliseconds and min(max(milliseconds, 1), LATEST_MS))


def _who(holder: Holder, since: int, known: _Known) -> Mapping[str, Any]:
    step = {} if holder.activation == INSTANCE else {"step": label_of(holder.activation)}
    found = known.of(holder)
    place = {"root": found.root, "path": found.path} if found.path else {}
    return {"id": found.id, **step, **place, "since": in_utc(since)}
