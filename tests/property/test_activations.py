"""The text of an activation: total, injective, and parsed back."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hephaestus.definition.step import STEP_KEY
from hephaestus.engine.activation import Activation, name_in_life, parse, step_of, token_of

KEYS = st.text(st.characters(exclude_categories=()) | st.sampled_from("~[]@!%.-_09A")) | st.sampled_from(
    ("", "a", "a~1", "a[b]", "a@1", "a!undo", "%7E", "~", "\ud800", "é")
)
NUMBERS = st.integers(0, 3) | st.integers(0, 10**12)
ACTIVATIONS = st.builds(Activation, KEYS, epoch=NUMBERS, item=st.none() | KEYS, round=NUMBERS, undo=st.booleans())


@given(ACTIVATIONS)
@example(Activation("a~1"))
@example(Activation("", item=""))
@example(Activation("a", round=0))
def test_every_activation_has_a_text_that_is_parsed_back(activation: Activation) -> None:
    """Rule A.1: total and invertible, so injective, whatever the keys are; printable ASCII without white space."""
    text = activation.text
    assert parse(text) == activation
    assert step_of(text) == activation.step
    assert re.fullmatch(r"[!-~]*", text)


@given(ACTIVATIONS, ACTIVATIONS)
def test_two_activations_never_have_the_same_text(one: Activation, other: Activation) -> None:
    """Injective, by pairs."""
    assert (one.text == other.text) is (one == other)


@given(KEYS.filter(STEP_KEY.fullmatch) | st.from_regex(STEP_KEY, fullmatch=True))
def test_the_text_of_a_plain_step_is_its_key(key: str) -> None:
    """For every key that a definition may give a step."""
    assert Activation(key).text == key
    assert parse(key) == Activation(key)


@given(st.text(st.sampled_from("a~[]@!%undo017EF")))
@example("a~0")
@example("a~01")
@example("%41")
@example("a%7e")
@example("a%FF")
@example("a!undo!undo")
@example("a@1~1")
@example("a\n")
def test_what_is_no_text_of_an_activation_is_rejected(text: str) -> None:
    """Each text is that of one activation or of none."""
    try:
        parsed = parse(text)
    except ValueError:
        return
    assert parsed.text == text


@pytest.mark.parametrize(
    ("activation", "text"),
    [
        (Activation("charge"), "charge"),
        (Activation("charge", 2), "charge~2"),
        (Activation("thumbs", item="a b/ü"), "thumbs[a%20b%2F%C3%BC]"),
        (Activation("poll", 1, "x", 3, undo=True), "poll~1[x]@3!undo"),
    ],
)
def test_the_parts_stand_in_this_order(activation: Activation, text: str) -> None:
    """As the design has it."""
    assert activation.text == text


NAMED = st.tuples(ACTIVATIONS.map(lambda it: it.text), st.sampled_from(("1", "2", "1.h17", "h17", "retry17")))


@given(st.lists(NAMED, min_size=2))
@example([("a", "1.h17"), ("a.1", "h17")])
def test_names_outside_of_the_instance_differ_where_activations_do(named: list[tuple[str, str]]) -> None:
    """Of one life: no two activations share an idempotency key, no two timers a token."""
    keys = {name_in_life("a::1", "e64892557ff01234567", activation) for activation, _ in named}
    assert len(keys) == len({activation for activation, _ in named})
    assert len({token_of(activation, what) for activation, what in named}) == len(set(named))
