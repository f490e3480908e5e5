"""What the console needs of a Hephaestus, whether it is deployed or in memory.

The reads and actions are those of ``hephaestus.operations.Connection``: what they answer is JSON as the API has it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

Json: TypeAlias = dict[str, Any]


class Instances(Protocol):
    """Reads instances and steers them; every method may be called from several threads.

    Each call raises what the runner raises (``hephaestus.errors``). An action made twice with the same ``key`` is one.
    """

    def workflows(self) -> Sequence[Json]:
        """The deployed workflows, as ``GET /workflows`` describes them."""

    def get(self, instance_id: str) -> Json:
        """An instance as it is now."""

    def history(
        self, instance_id: str, *, generation: int | None = None, limit: int = 100, cursor: str | None = None
    ) -> Json:
        """A page of an instance's log: ``items``, oldest first, and ``cursor``."""

    def list(  # noqa: PLR0913 - a listing's filters
        self,
        *,
        workflow: str | None = None,
        status: str | Collection[str] | None = None,
        version: int | None = None,
        tag: str | None = None,
        since: datetime | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Json:
        """A page of instances, newest start first: ``items`` and ``cursor``."""

    def counts(self) -> Mapping[str, Mapping[str, int]]:
        """How many instances each workflow has in each status; ``MOST_COUNTED`` means that many or more."""

    def resume(self, instance_id: str, event: str, payload: Any = None, **more: Any) -> Json:
        """Deliver an event; ``more`` is ``step`` and ``key``."""

    def cancel(self, instance_id: str, reason: str = "", *, compensate: bool = False, **more: Any) -> Json:
        """End an instance, after undoing what it did if ``compensate``; ``more`` is ``key``."""

    def pause(self, instance_id: str, reason: str = "", **more: Any) -> Json:
        """Start nothing more of it for now; ``more`` is ``key``."""

    def unpause(self, instance_id: str, **more: Any) -> Json:
        """Continue what was paused; ``more`` is ``key``."""

    def redrive(self, instance_id: str, **more: Any) -> Json:
        """Have a failed, cancelled or parked instance go on; ``more`` is ``key``."""

    def fork(self, instance_id: str, new_id: str, **more: Any) -> Json:
        """Start a new instance from a point of its history, and answer with its ``id``.

        ``more`` is ``at``, ``context`` and ``key``.
        """


class Connection(Instances, Protocol):
    """Instances, and what the page says of where they are."""

    @property
    def place(self) -> str:
        """Where it is, in a few words: the stack, region and account."""

    @property
    def by(self) -> str:
        """Who the caller is, as history keeps it: the identity that AWS knows, else the system's user."""
