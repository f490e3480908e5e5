"""The runner that ``OrderFlow.start(...)`` and its siblings use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from datetime import datetime

    from hephaestus.definition.references import StepRef
    from hephaestus.definition.views import HistoryEntry, InstanceView, Page
    from hephaestus.definition.workflow import Workflow
    from hephaestus.values.foreign import Model


class Runs(Protocol):
    """What a workflow class needs of a ``Runner``, whose methods these are."""

    @property
    def registry(self) -> Iterable[type[Workflow]]: ...  # noqa: D102 - as the runner has it
    def start_instance(  # noqa: D102, PLR0913 - as the runner has it
        self,
        workflow: type[Workflow],
        context: Mapping[str, Any] | Model,
        *,
        id: str,  # noqa: A002 - the family's contract
        version: int | None,
        tags: Sequence[str],
        telemetry_metadata: Mapping[str, Any] | Model | None,
        start_id: str | None,
    ) -> str: ...
    def resume(  # noqa: D102, PLR0913 - as the runner has it
        self,
        instance_id: str,
        event: str,
        payload: Any,
        *,
        step: StepRef | None,
        item: str | None,
        event_id: str | None,
    ) -> None: ...
    def get(self, instance_id: str) -> InstanceView: ...  # noqa: D102 - as the runner has it
    def history(self, instance_id: str) -> Page[HistoryEntry]: ...  # noqa: D102 - as the runner has it
    def list(  # noqa: D102, PLR0913 - as the runner has it
        self,
        *,
        workflow: str,
        status: str | Collection[str] | None,
        version: int | None,
        tag: str | None,
        since: datetime | None,
        until: datetime | None,
        limit: int,
        cursor: str | None,
    ) -> Page[InstanceView]: ...
    def cancel(self, instance_id: str, reason: str, *, compensate: bool) -> None: ...  # noqa: D102 - as the runner has it
    def pause(self, instance_id: str, reason: str) -> None: ...  # noqa: D102 - as the runner has it
    def unpause(self, instance_id: str) -> None: ...  # noqa: D102 - as the runner has it
    def redrive(self, instance_id: str) -> None: ...  # noqa: D102 - as the runner has it
    def fork(  # noqa: D102 - as the runner has it
        self,
        instance_id: str,
        at: int | None,
        *,
        new_id: str,
        context: Mapping[str, Any] | Model | None,
        results: Mapping[Any, Mapping[str, Any] | Model] | None,
    ) -> str: ...
    def heartbeat(self, instance_id: str, step_ref: StepRef | None, *, item: str | None) -> None: ...  # noqa: D102 - as the runner has it


class _Default:
    """The runner, and what makes one where none was named."""

    runner: Runs | None = None
    make: Callable[[], Runs] | None = None


def use(runner: Runs | None) -> None:
    """Make ``runner`` the one that workflow classes use; ``None`` forgets it."""
    _Default.runner = runner


def otherwise(make: Callable[[], Runs]) -> None:
    """Have ``make`` called for a runner when the first is needed and none was named."""
    _Default.make = staticmethod(make)


def default_runner() -> Runs:
    """The runner given to ``use``, else one made from the environment (``HEPHAESTUS_TABLE`` and the like).

    Raises:
        HephaestusError: neither is there.
    """
    if _Default.runner is None:
        assert _Default.make is not None  # noqa: S101 - the package says how when it is imported
        _Default.runner = _Default.make()
    return _Default.runner
