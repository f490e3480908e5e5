"""What an execution keeps to, checked when it is made: what cannot work would show as an instance without an end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from hephaestus.values.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping

CLOCK_ERROR_MS: Final = 2_000  # how far a function's clock may be off; the simulator's clocks are, by as much
LONGEST_MS: Final = 15 * 60 * 1000  # Lambda's longest timeout


class Bounds(NamedTuple):
    """The least and the most that a number may be, and why."""

    least: int
    most: int
    why: str


def check_numbers(what: str, values: Mapping[str, Any], bounds: Mapping[str, Bounds]) -> None:
    """Reject numbers that are none or out of bounds, all of them at once.

    Args:
        what: whose they are, for the message.
        values: the numbers by name; only those named in ``bounds`` are looked at.
        bounds: what each may be.

    Raises:
        ValueError: naming each, what it is, what it may be, and why.
    """
    wrong = [
        f"{name}={values[name]!r}: a whole number from {allowed.least:,} to {allowed.most:,}, as {allowed.why}"
        for name, allowed in bounds.items()
        if type(values[name]) is not int or not allowed.least <= values[name] <= allowed.most
    ]
    if wrong:
        message = f"{what} cannot be: {'; '.join(wrong)}"
        raise ValueError(message)


BOUNDS: Final = {
    "concurrency": Bounds(1, 256, "nothing runs with less, and each step that runs takes a thread"),
    "reserve_ms": Bounds(1, LONGEST_MS, "no invocation lasts longer than 15 minutes"),
    "margin_ms": Bounds(100, 60_000, "the last commit of an invocation takes its time"),
    "lease_margin_ms": Bounds(
        CLOCK_ERROR_MS, LONGEST_MS, "clocks may differ: with less, another would take over from an owner that lives"
    ),
    "peek_ms": Bounds(100, 60_000, "each look reads the log, and an event waits that long for it"),
}


@dataclass(frozen=True, slots=True)
class Limits:
    """What an execution keeps to.

    Attributes:
        concurrency: steps that run side by side at most, 1 to 256.
        reserve_ms: the time, in milliseconds, that a step without a timeout is expected to need at most, 1 to 900,000;
            it is not started with less left.
        margin_ms: kept back at the end of an invocation for the last commit, in milliseconds, 100 to 60,000.
        lease_margin_ms: how long after the invocation's deadline a lease still lasts, in milliseconds, 2,000 to
            900,000.
        peek_ms: how often, in milliseconds, an execution whose steps run on looks for events from outside, 100 to
            60,000.

    Raises:
        ValueError: one is no whole number within its bounds; the message names all that are not.
    """

    concurrency: int = 16
    reserve_ms: int = 10_000
    margin_ms: int = 1_000
    lease_margin_ms: int = 5_000
    peek_ms: int = 2_000

    def __post_init__(self) -> None:
        """Reject what cannot work."""
        check_numbers("these Limits", {name: getattr(self, name) for name in BOUNDS}, BOUNDS)
