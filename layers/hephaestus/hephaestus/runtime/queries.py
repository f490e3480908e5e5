"""Looks at instances, and changes nothing."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import TYPE_CHECKING, Final

from hephaestus.definition.business_key import NAME, check_id
from hephaestus.engine.state import STATUSES
from hephaestus.errors import BadRequest, UnknownVersion, UnknownWorkflow
from hephaestus.runtime.cursors import bind, unbind
from hephaestus.runtime.instances import Instances
from hephaestus.runtime.intake import MAX_LIMIT, check_filter, check_flag, check_number, read_sequence
from hephaestus.runtime.views import HistoryEntry, InstanceView, Page, view, view_entry, view_listed
from hephaestus.store.filters import ListFilter

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hephaestus.definition.references import WorkflowRef

MOST_COUNTED: Final = 1_000


class Queries(Instances):
    """Shows instances, their history, and lists of them."""

    def get(self, instance_id: str) -> InstanceView:
        """Show an instance as it is now.

        Raises:
            InstanceNotFound: there is no such instance.
        """
        state = self._load(check_id(instance_id))
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
            BadRequest: the generation, the limit, the cursor or ``traces`` is malformed.
        """
        instance_id, limit = check_id(instance_id), check_number("limit", limit, MAX_LIMIT)
        check_flag("traces", traces)
        if generation is not None:
            generation = check_number("generation", generation)
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
        status: str | Collection[str] | None = None,
        version: int | None = None,
        tag: str | None = None,
        since: datetime | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[InstanceView]:
        """List instances, newest start first; what was just changed may show a moment later.

        Args:
            workflow: of this workflow only, by its name or its class; one that is not deployed any more may be named as
                long as it has instances.
            status: in this status, or in one of these, only.
            version: of this version of their workflow only, 1 or more.
            tag: with this tag only.
            since: started at or after this time only (an aware ``datetime``).
            limit: at most this many, 1 to 200.
            cursor: where the page before ended, which had the same filters (``since`` and ``limit`` may change).

        Returns:
            A page. It may be short, or empty, and still have a cursor, where few instances pass the filters.

        Raises:
            UnknownWorkflow: no such workflow is deployed, and it has no instances.
            BadRequest: a filter is malformed, or the cursor is one of a listing with other filters.
        """
        limit = check_number("limit", limit, MAX_LIMIT)
        statuses = _statuses(status)
        if version is not None:
            version = check_number("version", version)
        if since is not None and (not isinstance(since, datetime) or since.tzinfo is None):
            message = "since must be a time with a time zone, as in 2026-01-31T12:00:00Z"
            raise BadRequest(message)
        name = self._named(workflow) if workflow is not None else None
        if tag is not None:
            tag = check_filter("tag", tag)
        from_ms = int(since.timestamp() * 1000) if since else None
        # Not since: it ends a listing, and changes nothing of what comes before that.
        filters = {"workflow": name, "status": statuses, "version": version, "tag": tag}
        # To find a status it helps to know the workflows that most instances are of.
        known = self.registry.names() if name is None and (statuses or version) else ()
        # Without a workflow: everything, also of workflows that are not deployed any more.
        listing = self.store.list(
            ListFilter([name] if name is not None else None, statuses, version, tag, from_ms),
            limit=limit,
            cursor=unbind(cursor, filters),
            known=known,
        )
        return Page([view_listed(item) for item in listing.items], bind(listing.cursor, filters))

    def counts(self, *, workflow: WorkflowRef | None = None, most: int = 1_000) -> Mapping[str, Mapping[str, int]]:
        """How many instances each workflow has in each status; what was just changed may count a moment later.

        Args:
            workflow: of this workflow only: its name or its class.
            most: where counting ends, 1 to 1,000: that number means that many or more.

        Returns:
            Workflow to status to number. A deployed workflow without instances has zeros; one that is not deployed any
            more is there while it has instances (in a large table, it may take several calls to find it).

        Raises:
            UnknownWorkflow: no such workflow is deployed, and it has no instances.
            BadRequest: ``most`` is out of range.
        """
        most = check_number("most", most, MOST_COUNTED)
        deployed = self.registry.names()
        others = self.store.other_workflows(deployed) if workflow is None else ()
        names = [*deployed, *others] if workflow is None else [self._named(workflow)]
        found = self.store.counts(names, STATUSES, most=most)
        counted: dict[str, dict[str, int]] = {
            name: {status: found[name, status] for status in STATUSES} for name in sorted(names)
        }
        return {name: counts for name, counts in counted.items() if name in deployed or any(counts.values())}

    def _named(self, workflow: WorkflowRef) -> str:
        """The name of a workflow that is deployed, or that has instances.

        Raises:
            UnknownWorkflow: neither.
        """
        try:
            return self.registry.deployed(workflow).name
        except UnknownWorkflow:
            name = workflow if isinstance(workflow, str) else str(getattr(workflow, "name", ""))
            if not NAME.fullmatch(name) or not any(self.store.counts([name], STATUSES, most=1).values()):
                raise
            return name


def _statuses(status: str | Collection[str] | None) -> Sequence[str] | None:
    """The statuses that are asked for, in the engine's order and each once.

    Raises:
        BadRequest: one is unknown, or there is none.
    """
    if status is None:
        return None
    asked = [status] if isinstance(status, str) or not isinstance(status, Collection) else list(status)
    unknown = [one for one in asked if one not in STATUSES]
    if unknown or not asked:
        what = f"there is no status {repr(unknown[0])[:80]}" if unknown else "status names no status"
        message = f"{what}: there are {', '.join(STATUSES)}"
        raise BadRequest(message)
    return [one for one in STATUSES if one in asked]
