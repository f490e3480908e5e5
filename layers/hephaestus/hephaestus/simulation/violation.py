"""What a check finds."""

from __future__ import annotations


class Violation(Exception):
    """An invariant does not hold."""

    def __init__(self, rule: str, what: str) -> None:
        super().__init__(f"{rule}: {what}")
        self.rule = rule
        self.what = what


def require(holds: bool, rule: str, what: str) -> None:  # noqa: FBT001 - as an assertion has it
    """Go on if something holds.

    Raises:
        Violation: it does not.
    """
    if not holds:
        raise Violation(rule, what)
