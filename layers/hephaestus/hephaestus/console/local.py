"""A connection to a runner in this process: the demo's, and that of most tests."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Any

from hephaestus.http.describe import describe
from hephaestus.runtime.views import to_json_object

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

    from hephaestus.console.connection import Json
    from hephaestus.runtime.runner import Runner
    from hephaestus.runtime.views import Page


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
        return [describe(workflow) for workflow in self._runner.registry]

    def get(self, instance_id: str) -> Json:
        """An instance as it is now."""
        return to_json_object(self._runner.get(instance_id))

    def history(
        self, instance_id: str, *, generation: int | None = None, limit: int = 100, cursor: str | None = None
    ) -> Json:
        """A page of an instance's log, oldest first."""
        return _page(self._runner.history(instance_id, generation=generation, limit=limit, cursor=cursor, traces=True))

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
        """A page of instances, newest start first."""
        asked: Any = {"workflow": workflow, "status": status, "version": version, "tag": tag, "since": since}
        return _page(self._runner.list(**asked, limit=limit, cursor=cursor))

    def counts(self) -> Mapping[str, Mapping[str, int]]:
        """How many instances there are, by workflow and status."""
        return self._runner.counts()

    def resume(self, instance_id: str, event: str, payload: Any = None, **more: Any) -> Json:
        """Deliver an event."""
        step, key = more.get("step"), more.get("key")
        self._runner.resume(instance_id, event, payload, step=step, event_id=key, by=self.by)
        return {"id": instance_id}

    def cancel(self, instance_id: str, reason: str = "", *, compensate: bool = False, **more: Any) -> Json:
        """End an instance."""
        self._runner.cancel(instance_id, reason, compensate=compensate, request_id=more.get("key"), by=self.by)
        return {"id": instance_id}

    def pause(self, instance_id: str, reason: str = "", **more: Any) -> Json:
        """Start nothing more for now."""
        self._runner.pause(instance_id, reason, request_id=more.get("key"), by=self.by)
        return {"id": instance_id}

    def unpause(self, instance_id: str, **more: Any) -> Json:
        """Continue what was paused."""
        self._runner.unpause(instance_id, request_id=more.get("key"), by=self.by)
        return {"id": instance_id}

    def redrive(self, instance_id: str, **more: Any) -> Json:
        """Have an instance go on."""
        self._runner.redrive(instance_id, request_id=more.get("key"), by=self.by)
        return {"id": instance_id}

    def fork(self, instance_id: str, new_id: str, **more: Any) -> Json:
        """Start a new instance from a point in another one's history."""
        at, context, key = more.get("at"), more.get("context"), more.get("key")
        forked = self._runner.fork(instance_id, at, new_id=new_id, context=context, start_id=key, by=self.by)
        return {"id": forked}


def _page(page: Page[Any]) -> Json:
    return {"items": [to_json_object(item) for item in page.items], "cursor": page.cursor}
