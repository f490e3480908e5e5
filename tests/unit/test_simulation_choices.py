"""The source of choices, and how a list of them is made shorter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hephaestus.simulation.choices import Choices, shrink

if TYPE_CHECKING:
    from collections.abc import Sequence


def draw(choices: Choices) -> list[int]:
    """Some choices of every kind."""
    return [int(choices.chance(0.5)) if number % 2 else choices.below(number + 2) for number in range(40)]


def test_a_seed_repeats_and_another_differs() -> None:
    assert draw(Choices(1)) == draw(Choices(1))
    assert draw(Choices(1)) != draw(Choices(2))


def test_what_was_taken_is_a_script_for_the_same_choices() -> None:
    first = Choices(3)
    drawn = draw(first)
    again = Choices(99, first.taken)
    assert draw(again) == drawn
    assert again.taken == first.taken


def test_where_there_is_no_choice_nothing_is_drawn() -> None:
    choices = Choices(1)
    assert (choices.below(1), choices.below(0), choices.chance(0)) == (0, 0, False)
    assert choices.taken == []


def test_a_script_that_ends_goes_on_with_zeros_and_one_too_large_is_cut() -> None:
    choices = Choices(1, [7, 5])
    assert (choices.below(3), choices.chance(0.1), choices.below(9), choices.chance(0.9)) == (2, True, 0, False)


@pytest.mark.parametrize("needed", [(), (0,), (3, 17), (1, 2, 3, 50), (59,)])
def test_shrinking_leaves_only_the_choices_that_matter(needed: Sequence[int]) -> None:
    """Wherever they are, and nothing after the last of them."""
    script = shrink([5] * 60, lambda candidate: all(dict(enumerate(candidate)).get(place) for place in needed), 2_000)
    assert [place for place, choice in enumerate(script) if choice] == list(needed)
    assert len(script) == max(needed, default=-1) + 1


def test_shrinking_takes_no_more_runs_than_it_may() -> None:
    tried: list[Sequence[int]] = []

    def fails(candidate: Sequence[int]) -> bool:
        tried.append(candidate)
        return False

    assert shrink([1] * 100, fails, 7) == [1] * 100
    assert len(tried) == 7
