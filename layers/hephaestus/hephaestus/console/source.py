"""What the console needs of a Hephaestus, whether it is deployed or in memory.

The reads and actions are those of ``hephaestus.operations.Connection``: what they answer is JSON as the API has it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hephaestus.runtime.commands import Command
    from hephaestus.store.filters import ListFilter

Json: TypeAlias = dict[str, Any]


class Instances(Protocol):
    """Reads instances and steers them; every method may be called from several threads.

    Each call raises what the runner raises (``hephaestus.errors``). A command made twice
    under one request id is one.
    """

    def workflows(self) -> Sequence[Json]:
        """The deployed workflows, as ``GET /workflows`` describes them."""

    def get(self, instance_id: str) -> Json:
        """An instance as it is now."""

    def history(
        self, instance_id: str, *, generation: int | None = None, limit: int = 100, cursor: str | None = None
    ) -> Json:
        """A page of an instance's log: ``items``, oldest first, and ``cursor``."""

    def items(
        self, instance_id: str, step: str, *, status: str | None = None, limit: int = 100, cursor: str | None = None
    ) -> Json:
        """A page of the items of a map, in their order: ``items`` and ``cursor``."""

    def list(self, wanted: ListFilter, *, limit: int = 50, cursor: str | None = None) -> Json:
        """A page of instances, newest start first: ``items`` and ``cursor``."""

    def limits(self, name: str | None = None, *, limit: int = 50, cursor: str | None = None) -> Json:
        """A page of limits, by name: ``items`` and ``cursor``."""

    def schedules(self) -> Sequence[Json]:
        """All schedules, by name."""

    def counts(self) -> Mapping[str, Mapping[str, int]]:
        """How many instances each workflow has in each status; ``MOST_COUNTED`` means that many or more."""

    def do(self, command: Command) -> Json:
        """Do what is asked for, in the name of ``by``; answer with the ``id`` of the instance to look at next."""


class Connection(Instances, Protocol):
    """Instances, and what the page says of where they are."""

    @property
    def place(self) -> str:
        """Where it is, in a few words: the stack, region and account."""

    @property
    def by(self) -> str:
        """Who the caller is, as history keeps it: the identity that AWS knows, else the system's user."""
