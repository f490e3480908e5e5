"""``Prefer`` is read as RFC 7240 says, and what is not understood is as if it had not been sent."""

from __future__ import annotations

import pytest

from hephaestus.handlers.http.prefer import MAX_WAIT, Preferences, parse, read


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", {}),
        ("respond-async", {"respond-async": ""}),
        ("Respond-Async, WAIT=10", {"respond-async": "", "wait": "10"}),
        ("wait = 10", {"wait": "10"}),
        ('wait="10"', {"wait": "10"}),
        ('foo="a,b;c=\\"d\\"", wait=3', {"foo": 'a,b;c="d"', "wait": "3"}),
        ("return=minimal; foo=bar; baz, wait=1", {"return": "minimal", "wait": "1"}),
        ("wait=5, wait=7", {"wait": "5"}),
        (",, ,wait=2,", {"wait": "2"}),
        ('foo="", wait=2', {"foo": "", "wait": "2"}),
        ("wait=, respond-async", {"respond-async": ""}),
        ("b@d, wait 10, =3, respond-async", {"respond-async": ""}),
        ('foo="never closed, wait=3', {}),
    ],
)
def test_preferences_are_parsed_by_the_grammar_of_the_rfc(header: str, expected: dict[str, str]) -> None:
    """Lists, parameters, quoting, case and repetition follow the RFC; a malformed element is left out alone."""
    assert parse(header) == expected


@pytest.mark.parametrize(
    ("header", "expected", "applied"),
    [
        ("", Preferences(), ""),
        ("respond-async", Preferences(None, respond_async=True), "respond-async"),
        ("wait=10", Preferences(10), "wait=10"),
        ("respond-async, wait=10", Preferences(10, respond_async=True), "respond-async, wait=10"),
        ("wait=0", Preferences(0), "wait=0"),
        ("wait=9999", Preferences(MAX_WAIT), f"wait={MAX_WAIT}"),
        ("wait=99999999999999999999", Preferences(), ""),
        ("wait=-1", Preferences(), ""),
        ("wait=1.5", Preferences(), ""),
        ("wait=ten", Preferences(), ""),
        ("wait=１０", Preferences(), ""),
        ("handling=strict", Preferences(), ""),
        ("wait=1," * 2000, Preferences(), ""),
    ],
)
def test_only_what_is_honoured_is_said_to_be_applied(header: str, expected: Preferences, applied: str) -> None:
    """A wait is whole seconds and capped; ``Preference-Applied`` names what was really done."""
    assert read(header) == expected
    assert read(header).applied == applied


def test_a_hostile_header_costs_no_time() -> None:
    """Nothing in the grammar backtracks without end."""
    assert parse('"' * 4096) == {}
    assert parse("a=" + '"\\' * 2000) == {}
    assert parse("a;" * 2000) == {"a": ""}
