"""Which instances a listing shows: one object on its whole way, from a caller's query to the table's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hephaestus.values.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class ListFilter:
    """Which instances are listed; ``None`` of a member is any.

    Attributes:
        workflows: the names of their workflows.
        statuses: what they are in.
        version: of their workflow.
        tag: one that they have.
        since: when they were started at the earliest, in ms.
        until: before when they were started, in ms.
        children: whether those are among them that have a parent which waits for them.
        parent: whose children they are, detached ones included.
    """

    workflows: Sequence[str] | None = None
    statuses: Sequence[str] | None = None
    version: int | None = None
    tag: str | None = None
    since: int | None = None
    children: bool = False
    parent: str | None = None
    until: int | None = None

    @property
    def workflow(self) -> str | None:
        """The one workflow that callers may name."""
        return self.workflows[0] if self.workflows else None


EVERY: Final = ListFilter()
