"""Looks at limits: a page of them, with who holds their permits and who stands in line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from hephaestus.definition.limit_views import LimitView
from hephaestus.definition.views import Page, in_utc, label_of, moment
from hephaestus.engine.activation import INSTANCE
from hephaestus.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hephaestus.store.permits import Holder, Usage
    from hephaestus.store.store import Store

MOST_COUNTED: Final = 100  # of a line, in a page of many limits
MOST_COUNTED_OF_ONE: Final = 1_000
MOST_SHOWN: Final = 20  # of a line
LONGEST_CURSOR: Final = 256  # characters: that of a name, and that of the value of a per


def limits_page(store: Store, name: str | None, limit: int, cursor: str | None) -> Page[LimitView]:
    """A page of limits, by their names: of all, or of ``name`` and of each value of its ``per``.

    Raises:
        BadRequest: the cursor is none that a page gave.
    """
    if cursor is not None and not 0 < len(cursor) <= LONGEST_CURSOR:
        message = "the cursor is not one that a page of limits gave"
        raise BadRequest(message)
    first = cursor or name or ""
    names = store.permits.known(first, limit + 1, of=name)
    most = MOST_COUNTED if name is None else MOST_COUNTED_OF_ONE
    usages = [store.permits.usage(one, most) for one in names[:limit]]
    shown = [_shown(usage, most) for usage in usages if usage.is_known]
    return Page(shown, names[limit] if len(names) > limit else None)


def _shown(usage: Usage, most: int) -> LimitView:
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
        tuple(_who(permit.holder, permit.grant.at) for permit in usage.permits),
        tuple(_who(*place) for place in tuple(zip(usage.line, usage.since, strict=True))[:MOST_SHOWN]),
    )


def _who(holder: Holder, since: int) -> Mapping[str, Any]:
    step = {} if holder.activation == INSTANCE else {"step": label_of(holder.activation)}
    return {"id": holder.instance_id, **step, "since": in_utc(since)}
