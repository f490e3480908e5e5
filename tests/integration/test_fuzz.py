"""Whatever reaches a function is answered or rejected by an error of ours; afterwards every instance can be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engines import in_ci
from tests.fuzzing.damage import damaged, made_up, samples
from tests.fuzzing.functions import Functions, usual
from tests.integration.deployment import FUNCTIONS

if TYPE_CHECKING:
    from random import Random

RANDOM = st.randoms(use_true_random=False)


def play(random: Random, events: list[tuple[str, object]]) -> None:
    """Send events to functions that have some instances, then look at all of these."""
    with pytest.MonkeyPatch.context() as patch:
        functions = Functions(patch)
        for function, event in events:
            functions.send(function, event)
        functions.settle()
        functions.check(events)


@settings(max_examples=120 if in_ci() else 40)
@given(RANDOM, st.lists(st.sampled_from(sorted(samples())), min_size=1, max_size=4), st.sampled_from(FUNCTIONS))
def test_damaged_events_are_answered_or_rejected_and_break_nothing(
    random: Random, kinds: list[str], other: str
) -> None:
    """The samples of every trigger with one to four changes, for the function they are meant for, or another."""
    sent = [(usual(kind) if random.randrange(8) else other, damaged(random, samples()[kind])) for kind in kinds]
    play(random, sent)


@settings(max_examples=70 if in_ci() else 30)
@given(RANDOM, st.lists(st.sampled_from(FUNCTIONS), min_size=1, max_size=6))
def test_what_was_never_an_event_is_rejected_and_breaks_nothing(random: Random, functions: list[str]) -> None:
    """Any JSON, with members that events have."""
    play(random, [(function, made_up(random)) for function in functions])


def test_the_samples_themselves_are_taken() -> None:
    """In the order of their names, which is no sensible one: most of them are rejected, none breaks anything."""
    with pytest.MonkeyPatch.context() as patch:
        functions = Functions(patch)
        for kind, event in samples().items():
            functions.send(usual(kind), event)
        functions.settle()
        functions.check("the samples")
