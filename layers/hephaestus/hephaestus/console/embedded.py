"""A connection to a runner in this process: the demo's, and that of most tests."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Any

from hephaestus.definition.views import to_json_object, to_json_page
from hephaestus.handlers.http.describe import deployed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hephaestus.console.source import Json
    from hephaestus.runtime.commands import Command
    from hephaestus.runtime.runner import Runner
    from hephaestus.store.filters import ListFilter


class LocalConnection:
    """The instances of one runner; see ``Connection``.

    Args:
        runner: whose instances are shown and steered.
        place: where that is, in a few words.
        by: who the caller is; by default the user of the operating system.
    """

    def __init__(self, runner: Runner, place: str = "in memory", by: str | None = None) -> None:
        self._runner = runner
        self.place = place
        self.by = by or getpass.getuser()

    def workflows(self) -> Sequence[Json]:
        """What the runner's registry holds."""
        return deployed(self._runner)

    def get(self, instance_id: str, *, tree: bool = False) -> Json:
        """An instance as it is now, with its tree where that is asked for."""
        return to_json_object(self._runner.get(instance_id, tree=tree))

    def history(
        self, instance_id: str, *, generation: int | None = None, limit: int = 100, cursor: str | None = None
    ) -> Json:
        """A page of an instance's log, oldest first."""
        asked: Any = {"generation": generation, "limit": limit, "cursor": cursor}
        return to_json_page(self._runner.history(instance_id, **asked, traces=True))

    def items(
        self, instance_id: str, step: str, *, status: str | None = None, limit: int = 100, cursor: str | None = None
    ) -> Json:
        """A page of the items of a map, in their order: ``items`` and ``cursor``."""
        return to_json_page(self._runner.items(instance_id, step, status=status, limit=limit, cursor=cursor))

    def list(self, wanted: ListFilter, *, limit: int = 50, cursor: str | None = None) -> Json:
        """A page of instances, newest start first."""
        return to_json_page(self._runner.find(wanted, limit=limit, cursor=cursor))

    def limits(self, name: str | None = None, *, limit: int = 50, cursor: str | None = None) -> Json:
        """A page of limits, by name."""
        return to_json_page(self._runner.limits(name, limit=limit, cursor=cursor))

    def schedules(self) -> Sequence[Json]:
        """All schedules, by name."""
        return [to_json_object(one) for one in self._runner.schedules()]

    def counts(self) -> Mapping[str, Mapping[str, int]]:
        """How many instances there are, by workflow and status."""
        return self._runner.counts()

    def do(self, command: Command) -> Json:
        """Do what is asked for, in the name of ``by``."""
        return {"id": self._runner.do(command.asked_by(self.by))}
