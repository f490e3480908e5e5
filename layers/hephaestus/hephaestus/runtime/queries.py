"""Looks at instances, and changes nothing."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Final

from hephaestus.definition.business_key import NAME, check_id, key_of
from hephaestus.definition.references import step_key
from hephaestus.definition.views import HistoryEntry, InstanceView, Page, in_utc, view, view_entry
from hephaestus.engine.state import CLOSED, OF_ROOTS, STATUSES
from hephaestus.errors import BadRequest, RetryLater, UnknownVersion, UnknownWorkflow
from hephaestus.runtime.commands.command import check_known
from hephaestus.runtime.cursors import bind, unbind
from hephaestus.runtime.declarations import carry_of, known_schedules
from hephaestus.runtime.descendants import Descendants
from hephaestus.runtime.explaining import reasons, with_reasons
from hephaestus.runtime.intake import MAX_LIMIT, check_filter, check_flag, check_number, read_sequence
from hephaestus.runtime.item_pages import items_page
from hephaestus.runtime.orphans import steered_at
from hephaestus.runtime.quarantine import reason_of
from hephaestus.runtime.workflow_pauses import words
from hephaestus.store.filters import ListFilter
from hephaestus.values.scalars import plain_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hephaestus.definition.item_views import ItemView
    from hephaestus.definition.limit_views import LimitView
    from hephaestus.definition.reasons import Reasons
    from hephaestus.definition.references import StepRef, WorkflowRef
    from hephaestus.definition.schedule_views import ScheduleView
    from hephaestus.engine.state import State
    from hephaestus.runtime.instances import Instances
    from hephaestus.store.listing import Listed
    from hephaestus.store.offspring import Known

MOST_COUNTED: Final = 1_000


class Queries:
    """Shows instances, their history, and lists of them; ``Runner`` describes the methods."""

    def __init__(self, instances: Instances) -> None:
        self._instances = instances
        self._store = instances.store
        self._descendants = Descendants(instances.store)
        self._pauses = instances.executor.pauses

    def get(self, instance_id: str, *, tree: bool = False) -> InstanceView:
        """An instance as it is now, and all below it where the ``tree`` is asked for."""
        state = self._load(instance_id)
        shown = replace(self._view(state), steered_at=self._steered_at(state))
        return replace(shown, children=self._descendants.below(state)) if check_flag("tree", tree) else shown

    def why(self, instance_id: str) -> Reasons:
        """Why an instance does not go on, and why what it waits for does not."""
        return reasons(self._view, self._load(instance_id), self._store, self._instances.clock.now())

    def _view(self, state: State) -> InstanceView:
        """An instance with its reasons."""
        parked: list[str] = []
        lacks = ""
        far = self._descendants.far(state, parked=parked)
        try:
            shown = view(state, self._instances.registry.definition(state).graph, far)
        except (UnknownWorkflow, UnknownVersion) as error:
            shown = view(state, None, far)
            lacks = "" if error.__cause__ is not None else reason_of(error)  # what is deployed is known
        if parked and shown.parked is None and not state.closed:
            shown = replace(shown, parked=parked[0])  # it waits for an instance that no one knows
        if not state.closed and shown.paused is None:
            with suppress(RetryLater):
                paused = self._pauses().of(state.workflow)
                shown = (
                    shown if paused is None else replace(shown, paused=words(paused), paused_by_workflow=True)
                )  # it has nothing to do yet
        return with_reasons(shown, state, self._store, self._instances.clock.now(), lacks)

    def _steered_at(self, state: State) -> str | None:
        """The instance at which a child is steered, as far as those above it can be read."""
        if not state.attached:
            return None
        with suppress(RetryLater):
            found = steered_at(state, self._store)
            return found if found != state.instance_id else None
        return None

    def _load(self, instance_id: str) -> State:
        """An instance that people know."""
        check_known(check_id(instance_id), self._store)
        return self._instances.load(check_id(instance_id))

    def history(
        self,
        instance_id: str,
        *,
        generation: int | None = None,
        limit: int = 100,
        cursor: str | None = None,
        traces: bool = False,
    ) -> Page[HistoryEntry]:
        """A page of an instance's log, oldest first."""
        instance_id, limit = check_id(instance_id), check_number("limit", limit, MAX_LIMIT)
        check_known(instance_id, self._store)
        check_flag("traces", traces)
        if generation is not None:
            generation = check_number("generation", generation)
        _, entries = self._instances.history(instance_id, generation, read_sequence(cursor), limit + 1)
        page = entries[:limit]
        return Page(
            [view_entry(entry, traces=traces) for entry in page],
            str(page[-1].sequence) if len(entries) > limit else None,
        )

    def items(
        self, instance_id: str, step: StepRef, *, status: str | None, limit: int, cursor: str | None
    ) -> Page[ItemView]:
        """A page of the items of a map, in their order."""
        state, limit = self._load(instance_id), check_number("limit", limit, MAX_LIMIT)
        try:
            maps = tuple(self._instances.registry.definition(state).graph.maps)
        except (UnknownWorkflow, UnknownVersion):
            maps = ()
        return items_page(self._store, state, step_key(step), maps, status, limit, cursor)

    def list(self, wanted: ListFilter, *, limit: int, cursor: str | None) -> Page[InstanceView]:
        """A page of instances, newest start first."""
        limit = check_number("limit", limit, MAX_LIMIT)
        for name in wanted.workflows or ():
            self.name_of(name, children=wanted.children)
        # Not since and until: they end and begin a listing, and change nothing of what is between.
        filters = {"workflow": wanted.workflow, "status": wanted.statuses, "version": wanted.version, "tag": wanted.tag}
        filters |= {"children": wanted.children or None, "parent": wanted.parent}
        # To find a status it helps to know the workflows that most instances are of.
        by_head = wanted.workflows is None and (wanted.statuses or wanted.version)
        known = self._instances.registry.names() if by_head else ()
        # Without a workflow: everything, also of workflows that are not deployed any more.
        listing = self._store.list(wanted, limit=limit, cursor=unbind(cursor, filters), known=known)
        below = self._store.known([item.instance_id for item in listing.items if item.in_tree])
        items = [self._listed(item, below.get(item.instance_id)) for item in listing.items]
        return Page(items, bind(listing.cursor, filters))

    def _listed(self, listed: Listed, below: Known | None) -> InstanceView:
        """What the listing index knows, where it is in its tree, and whether its workflow is paused."""
        shown, paused = _listed(listed), None
        if below is not None and below.path:
            shown = replace(shown, root=below.root, path=below.path)
        if listed.status not in CLOSED:
            with suppress(RetryLater):
                paused = self._pauses().of(listed.workflow)
        return shown if paused is None else replace(shown, paused=words(paused), paused_by_workflow=True)

    def schedules(self) -> Sequence[ScheduleView]:
        """All schedules that have not ended, by their names."""
        from hephaestus.definition.schedule_views import view_schedule  # noqa: PLC0415 - only where schedules are

        now = self._instances.clock.now()
        found = [(name, self._store.load(name)) for name in known_schedules(self._store)]
        open_ = [(name, state) for name, state in found if state is not None and not state.closed]
        return [view_schedule(name, carry_of(state), now) for name, state in sorted(open_, key=lambda one: one[0])]

    def limits(self, name: str | None, *, limit: int, cursor: str | None) -> Page[LimitView]:
        """A page of limits, by their names."""
        from hephaestus.runtime.limit_pages import limits_page  # noqa: PLC0415 - only where limits are

        return limits_page(self._store, name, check_number("limit", limit, MAX_LIMIT), cursor)

    def counts(self, *, workflow: WorkflowRef | None = None, most: int = 1_000) -> Mapping[str, Mapping[str, int]]:
        """How many instances each workflow has in each status."""
        most = check_number("most", most, MOST_COUNTED)
        deployed = self._instances.registry.names()
        others = self._store.other_workflows(deployed) if workflow is None else ()
        names = [*deployed, *others]
        if workflow is not None:
            names = [self.name_of(workflow)]
        found = self._store.counts(names, OF_ROOTS, most=most)
        counted: dict[str, dict[str, int]] = {
            name: {status: found[name, status] for status in OF_ROOTS} for name in sorted(names)
        }
        return {name: counts for name, counts in counted.items() if name in deployed or any(counts.values())}

    def name_of(self, workflow: WorkflowRef, *, children: bool = False) -> str:
        """The name of a workflow that is deployed, or that has instances, of which some may be ``children``.

        Raises:
            UnknownWorkflow: neither; it says which are deployed.
        """
        workflow = plain_name(workflow)
        try:
            return self._instances.registry.deployed(workflow).name
        except UnknownWorkflow:
            name = workflow if isinstance(workflow, str) else str(getattr(workflow, "name", ""))
            if not NAME.fullmatch(name) or not self._has_any(name, children=children):
                raise
            return name

    def _has_any(self, name: str, *, children: bool) -> bool:
        """Whether a workflow has instances."""
        if any(self._store.counts([name], STATUSES, most=1).values()):
            return True
        some = ListFilter(workflows=[name], statuses=STATUSES, children=True)
        return children and bool(self._store.list(some, limit=1, cursor=None, known=()).items)


def read_filter(  # noqa: PLR0913 - a listing's filters
    *,
    workflow: str | None = None,
    status: str | Collection[str] | None = None,
    version: int | None = None,
    tag: str | None = None,
    since: datetime | None = None,
    children: bool = False,
    parent: str | None = None,
    until: datetime | None = None,
) -> ListFilter:
    """What a caller narrows a listing down by; see ``Runner.list``.

    Raises:
        BadRequest: a filter is malformed.
    """
    return ListFilter(
        None if workflow is None else [plain_name(workflow)],
        _statuses(status),
        None if version is None else check_number("version", version),
        None if tag is None else check_filter("tag", tag),
        _milliseconds("since", since),
        check_flag("children", children),
        None if parent is None else check_id(parent),
        _milliseconds("until", until),
    )


def _milliseconds(name: str, at: datetime | None) -> int | None:
    """A time that is asked for, in ms.

    Raises:
        BadRequest: it is none, or has no zone.
    """
    if at is None:
        return None
    if not isinstance(at, datetime) or at.tzinfo is None:
        message = f"{name} must be a time with a time zone, as in 2026-01-31T12:00:00Z"
        raise BadRequest(message)
    return int(at.timestamp() * 1000)


def _statuses(status: str | Collection[str] | None) -> Sequence[str] | None:
    """The statuses that are asked for, in the engine's order and each once.

    Raises:
        BadRequest: one is unknown, or there is none.
    """
    if status is None:
        return None
    given = [status] if isinstance(status, str) or not isinstance(status, Collection) else list(status)
    asked = [plain_name(one) for one in given]
    unknown = [one for one in asked if one not in STATUSES]
    if unknown or not asked:
        what = f"there is no status {repr(unknown[0])[:80]}" if unknown else "status names no status"
        message = f"{what}: there are {', '.join(STATUSES)}"
        raise BadRequest(message)
    return [one for one in STATUSES if one in asked]


def _listed(listed: Listed) -> InstanceView:
    """Show what the listing index knows; steps and data are left out."""
    return InstanceView(
        id=listed.instance_id,
        key=key_of(listed.instance_id),
        workflow=listed.workflow,
        version=listed.version,
        generation=listed.generation,
        status=listed.status,
        created_at=in_utc(listed.created_at),
        updated_at=in_utc(listed.updated_at),
        tags=listed.tags,
    )
