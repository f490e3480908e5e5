"""Invariant 14: whatever is accepted can be read for ever, and whatever is rejected has changed nothing.

Tens of thousands of odd values (``odd_values``) go in by every way (``lives``): as context, metadata, tags and ids of a
start, in events, early events and links, as results and metadata of steps, in the text and the type of errors, from
compensations, by forks, redrives and other steering. A part's lives are always the same, so that one that fails fails
again.
"""

from __future__ import annotations

import random

import pytest

from tests import engines
from tests.property.lives import Witness, live
from tests.property.odd_values import Odds

PARTS = 8
LIVES = 200 if engines.in_ci() else 100


@pytest.mark.parametrize("part", range(PARTS))
def test_invariant_14_what_is_accepted_is_readable_and_what_is_rejected_is_unchanged(part: int) -> None:
    """In CI more than 50,000 values in all parts together."""
    odds, accepted, rejected = Odds(random.Random(part)), 0, 0
    for number in range(LIVES):
        witness = Witness()
        try:
            live(witness, odds, number)
        except BaseException as error:
            error.add_note(f"in life {number} of part {part}")
            raise
        accepted += witness.accepted
        rejected += witness.rejected
    assert min(accepted, rejected) > LIVES  # neither is the rule
    assert odds.drawn * PARTS > 126 * LIVES  # 25,200 in CI
