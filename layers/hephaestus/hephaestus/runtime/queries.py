"""Looks at instances, and changes nothing."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

from hephaestus.definition.business_key import check_id
from hephaestus.engine.state import STATUSES
from hephaestus.errors import BadRequest, UnknownVersion, UnknownWorkflow
from hephaestus.runtime.instances import Instances
from hephaestus.runtime.intake import check_limit, read_sequence
from hephaestus.runtime.views import HistoryEntry, InstanceView, Page, view, view_entry, view_listed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hephaestus.definition.references import WorkflowRef

MOST_COUNTED: Final = 1_000


class Queries(Instances):
    """Shows instances, their history, and lists of them."""

    def get(self, instance_id: str) -> InstanceView:
        """Show an instance as it is now.

        Raises:
            InstanceNotFound: there is no such instance.
        """
        state = self._load(instance_id)
        try:
            return view(state, self.registry.definition(state).graph)
        except (UnknownWorkflow, UnknownVersion):
            return view(state, None)

    def history(
        self,
        instance_id: str,
        *,
        generation: int | None = None,
        limit: int = 100,
        cursor: str | None = None,
        traces: bool = False,
    ) -> Page[HistoryEntry]:
        """Show a page of an instance's log, oldest first.

        Args:
            instance_id: the instance.
            generation: which of its runs; by default the newest.
            limit: at most this many entries, 1 to 200.
            cursor: where the page before ended.
            traces: whether errors tell where in the code they were raised.

        Raises:
            InstanceNotFound: there is no such instance or generation.
            BadRequest: the limit or the cursor is malformed.
        """
        check_id(instance_id)
        check_limit(limit)
        _, entries = self._history(instance_id, generation, read_sequence(cursor), limit + 1)
        page = entries[:limit]
        return Page(
            [view_entry(entry, traces=traces) for entry in page],
            str(page[-1].sequence) if len(entries) > limit else None,
        )

    def list(  # noqa: PLR0913 - a listing's filters
        self,
        *,
        workflow: WorkflowRef | None = None,
        status: str | None = None,
        tag: str | None = None,
        since: datetime | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[InstanceView]:
        """List instances, newest start first; what was just changed may show a moment later.

        Args:
            workflow: of this workflow only: its name or its class.
            status: in this status only.
            tag: with this tag only.
            since: started at or after this time only (an aware ``datetime``).
            limit: at most this many, 1 to 200.
            cursor: where the page before ended.

        Raises:
            UnknownWorkflow: no such workflow is deployed.
            BadRequest: a filter is malformed.
        """
        check_limit(limit)
        if status is not None and status not in STATUSES:
            message = f"there is no status {status!r}: there are {', '.join(STATUSES)}"
            raise BadRequest(message)
        if since is not None and (not isinstance(since, datetime) or since.tzinfo is None):
            message = "since must be a time with a time zone, as in 2026-01-31T12:00:00Z"
            raise BadRequest(message)
        # Without any filter: everything, also of workflows that are not deployed any more. To find a status it helps to
        # know the workflows; where nobody knows them, their instances are found all the same.
        deployed = self.registry.names() or None if status is not None else None
        listing = self.store.list(
            [self.registry.deployed(workflow).name] if workflow is not None else deployed,
            [status] if status is not None else None,
            tag=tag,
            since=int(since.timestamp() * 1000) if since else None,
            limit=limit,
            cursor=cursor,
        )
        return Page([view_listed(item) for item in listing.items], listing.cursor)

    def counts(self, *, workflow: WorkflowRef | None = None, most: int = 1_000) -> Mapping[str, Mapping[str, int]]:
        """How many instances each workflow has in each status; what was just changed may count a moment later.

        Args:
            workflow: of this workflow only: its name or its class.
            most: where counting ends, 1 to 1,000: that number means that many or more.

        Returns:
            Workflow to status to number; a workflow without instances has zeros.

        Raises:
            UnknownWorkflow: no such workflow is deployed.
            BadRequest: ``most`` is out of range.
        """
        if not 1 <= most <= MOST_COUNTED:
            message = f"most is {most}: it must be 1 to {MOST_COUNTED}"
            raise BadRequest(message)
        names = [self.registry.deployed(workflow).name] if workflow is not None else self.registry.names()
        found = self.store.counts(names, STATUSES, most=most)
        return {name: {status: found[name, status] for status in STATUSES} for name in names}
