"""Operators who set and unset numbers of limits, and pause workflows, while instances contend (F.8, J.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from hephaestus.engine import shards
from hephaestus.simulation import InvariantViolated, numberings
from hephaestus.simulation.run import NUMBERING
from hephaestus.store import numbers, sharded_permits
from tests.property.test_limit_numbers import (
    calls_no_one_when_the_number_is_raised,
    forgets_an_operators_number,
    takes_by_its_own_number,
    takes_from_holders_when_the_number_is_lowered,
    takes_on_no_condition,
)
from tests.property.test_simulation import limited, limited_whole

if TYPE_CHECKING:
    from collections.abc import Callable

    from hephaestus.store.table import Item

    Patch = pytest.MonkeyPatch

EVERY, FIRST = NUMBERING
RUNS, MOST = 30, 60


def copies_keep_their_number(patch: Patch) -> None:
    """A shard has the number that it had first, whatever the limit's own item says since."""
    right = numbers.copied

    def copied(of: Item, to: Item | None) -> Any:
        return {} if to is not None and "n" in to else right(of, to)

    patch.setattr(numbers, "copied", copied)


BUGS: Final[dict[Callable[[Patch], None], set[str]]] = {
    forgets_an_operators_number: {"F.8"},
    takes_by_its_own_number: {"F.8", "invariant 10"},
    takes_on_no_condition: {"F.8", "invariant 10"},
    calls_no_one_when_the_number_is_raised: {"invariant 3", "invariant 10"},
    takes_from_holders_when_the_number_is_lowered: {"invariant 10"},
    copies_keep_their_number: {"F.8", "invariant 10"},
}


def alone(patch: Patch) -> None:
    """Each permit is a shard of its own, so that few instances contend for several."""
    for module in (shards, sharded_permits, numberings):
        patch.setattr(module, "MOST", 1)


def broken(runs: int) -> str | None:
    """The rule that the first of some runs breaks, if any; every other one has whole workflows paused, too."""
    for seed in range(FIRST, FIRST + runs * EVERY, EVERY):
        for run in (limited, limited_whole):
            try:
                run(seed)
            except InvariantViolated as violation:
                return violation.rule
    return None


@pytest.mark.parametrize("sharded", [False, True])
def test_no_more_are_let_in_than_an_operator_says_and_all_of_them_end(
    monkeypatch: pytest.MonkeyPatch, *, sharded: bool
) -> None:
    """Rules F.6 and F.8, every other invariant besides: also across shards, and while workflows are paused."""
    if sharded:
        alone(monkeypatch)
    for seed in range(FIRST, FIRST + RUNS * EVERY, EVERY):
        limited(seed)
        limited_whole(seed)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_a_bug_in_what_operators_say_is_found(bug: Callable[[Patch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """By the rule that it breaks."""
    bug(monkeypatch)
    assert broken(MOST) in BUGS[bug]
