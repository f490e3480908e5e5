"""How limits are shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hephaestus.values.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class LimitView:
    """A limit as it is now; each value of a ``per`` is a limit of its own.

    Attributes:
        limit: its name and, behind a ``#``, the value of its ``per``, as ``stripe`` or ``stripe#acme``.
        number: how many permits it has: an operator's number, else the newest deployment's; ``None`` before its first
            use. Of a rate, how many may start in ``period_seconds``.
        declared: the number that the newest deployment has, which counts once an operator's is taken back.
        set_to: an operator's number, or ``None``.
        changed_by: who has set it last, or taken it back; ``changed_by_source`` is how that is known.
        changed_at: when.
        held: how many of its permits are held.
        in_line: how many stand in line, as far as they are counted.
        more: whether there are more than that.
        waits_since: since when the one waits that joined the line first.
        holders: who holds a permit, the one that has held it longest first, no more than some: the instance's ``id``,
            its ``step``, unless the instance has it as a whole, and ``since`` when; of a child also its ``root`` and
            ``path``.
        line: who stands in line, the first one first, as of ``holders``; no more than some.
        kind: ``rate`` of a rate, which has no permits; else ``None``.
        reserved_until: of a rate, when all its places are free again.
        period_seconds: of a rate, the time in which ``number`` may start.
        burst: how many of them may start at once after a pause.
        declared_period_seconds, declared_burst: the same of ``declared``.
        next_at: when the next may start that does not stand in line: at once, where that has passed; ``None`` where
            none may.
        reason: why it was changed last.
    """

    limit: str
    number: int | None = None
    declared: int | None = None
    set_to: int | None = None
    changed_by: str | None = None
    changed_by_source: str | None = None
    changed_at: datetime | None = None
    held: int = 0
    in_line: int = 0
    more: bool | None = None
    waits_since: datetime | None = None
    holders: Sequence[Mapping[str, Any]] = ()
    line: Sequence[Mapping[str, Any]] = ()
    kind: str | None = None
    reserved_until: datetime | None = None
    period_seconds: float | None = None
    burst: int | None = None
    declared_period_seconds: float | None = None
    declared_burst: int | None = None
    next_at: datetime | None = None
    reason: str | None = None
