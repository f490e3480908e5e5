"""What a step is given."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def _unlimited() -> timedelta:
    return timedelta(days=365)


def _no_input() -> None:
    return None


@dataclass(frozen=True, slots=True)
class Instance:
    """Whose step it is."""

    id: str
    workflow: str
    version: int
    generation: int = 1
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StepContext:
    """Everything a step may know; build one yourself to test a step without an engine.

    Attributes:
        initial: the immutable start data.
        steps: the results so far, by step: what each step returned as updates, an event's payload for a wait.
        config: the configuration given with the target that led here.
        instance: id, workflow, version, generation, tags and metadata.
        attempt: which attempt this is, from 1.
        idempotency_key: the same for every attempt of this step in this generation, across retries and crashes; give it
            to services that take one.
        events: the event each completed step emitted.
        remaining_time: how long this invocation still lasts.
        read_input: what ``input`` calls; a test may pass ``lambda: MyInput(...)``.
    """

    initial: Mapping[str, Any] = field(default_factory=dict)
    steps: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    instance: Instance = field(default_factory=lambda: Instance("test::1", "Test", 1))
    attempt: int = 1
    idempotency_key: str = "test"
    events: Mapping[str, str] = field(default_factory=dict)
    remaining_time: Callable[[], timedelta] = _unlimited
    read_input: Callable[[], Any] = _no_input

    @property
    def input(self) -> Any:
        """The start data as the workflow's ``Input`` model, or ``None`` where it has none.

        Raises:
            InvalidInput: the data does not fit the model any more.
        """
        return self.read_input()

    @property
    def instance_id(self) -> str:
        """The instance's id."""
        return self.instance.id
