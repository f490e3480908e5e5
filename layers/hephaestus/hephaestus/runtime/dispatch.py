"""Where work goes after its commit: into this invocation, or to the queue."""

from __future__ import annotations

from typing import TypeAlias

from hephaestus.values.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Budget:
    """The time an execution has.

    Attributes:
        deadline: when the invocation ends, in milliseconds since the epoch; a lease lasts a little longer.
        start_until: no step starts after this time (a batch of messages); by default, as long as one still fits.

    Raises:
        TypeError: one of them is no whole number.
    """

    deadline: int
    start_until: int | None = None

    def __post_init__(self) -> None:
        """Reject a time that is none: compared with, it would let no step start, or every one."""
        until = self.deadline if self.start_until is None else self.start_until
        if type(self.deadline) is not int or type(until) is not int:
            message = f"{self!r}: its times are whole milliseconds since the epoch"
            raise TypeError(message)


@dataclass(frozen=True, slots=True)
class Enqueue:
    """Commit, then leave the work to whoever takes the message from the queue."""


@dataclass(frozen=True, slots=True)
class InPlace:
    """Commit, then run in this invocation."""

    budget: Budget


Dispatch: TypeAlias = Enqueue | InPlace
