"""Log entries and snapshots as bytes."""

from __future__ import annotations

import json
import zlib
from typing import Any

import pytest

from hephaestus.engine import events as ev
from hephaestus.engine.codec import COMPRESS_ABOVE, dump_events, dump_state, load_events, load_state
from hephaestus.engine.fold import apply
from hephaestus.errors import CorruptLog
from hephaestus.values import freeze
from tests.unit.play import Play, one_of_each

NEWER = "written by a newer release"


def test_fields_that_hold_their_default_take_no_room() -> None:
    """So a field that a later release adds, with a default, reads old logs."""
    assert (
        dump_events((ev.StepCompleted("a", "done", ()),))
        == b'J[["StepCompleted",{"activation":"a","event":"done","taken":[]}]]'
    )


def test_every_type_of_event_comes_back() -> None:
    """With its defaults."""
    assert load_events(dump_events(one_of_each())) == one_of_each()


def test_large_entries_are_compressed_and_small_ones_readable() -> None:
    """The first byte says which."""
    small = dump_events((ev.Parked("x", 1),))
    large = dump_events((ev.Parked("x" * COMPRESS_ABOVE, 1),))
    assert (small[:1], large[:1]) == (b"J", b"Z")
    assert len(large) < COMPRESS_ABOVE
    assert load_events(large) == (ev.Parked("x" * COMPRESS_ABOVE, 1),)


@pytest.mark.parametrize(
    "data",
    [
        b'J[["StepRenamed",{"activation":"a"}]]',
        b'J[["Claimed",{"owner":"a","lease_until":1,"colour":"red"}]]',
        b'J[["Claimed",{"owner":"a"}]]',
        b'J[["Claimed",[]]]',
        b'J[["Claimed"]]',
        b'J["Claimed"]',
        b'J{"Claimed":{}}',
        b'J[[["Claimed"],{}]]',
        b"J[1]",
        b"J1",
        b"J",
        b"",
        b"X[]",
        b"Znot compressed",
        b"Z" + zlib.compress(b"\xff\xfe"),
        b"J\xff",
    ],
    ids=repr,
)
def test_an_entry_that_cannot_be_read_is_corrupt(data: bytes) -> None:
    """An unknown event, an unknown or missing field, and damage of every kind."""
    with pytest.raises(CorruptLog, match=NEWER):
        load_events(data)


def test_a_snapshot_of_a_newer_release_is_refused() -> None:
    """By its schema number, or by a field that this release does not know."""
    state = Play({"a": {"done": []}}).state
    packed = json.loads(dump_state(state)[1:])
    with pytest.raises(CorruptLog, match="newer release: deploy that release again"):
        load_state(b"J" + json.dumps({**packed, "schema": 2}).encode())
    unnumbered = {key: value for key, value in packed.items() if key != "schema"}
    newer: list[Any] = [{**packed, "colour": "red"}, unnumbered, [], None]
    for changed in newer:
        with pytest.raises(CorruptLog, match=NEWER):
            load_state(b"J" + json.dumps(changed).encode())


def test_invariant_9_a_request_to_cancel_survives_a_snapshot() -> None:
    """Also one that gives no reason and no id."""
    state = apply(Play({"a": {"done": []}}).state, [ev.CancelRequested()], 5)
    assert load_state(dump_state(state)) == state
    assert load_state(dump_state(state)).cancel == ev.CancelRequested()


def test_an_error_with_an_undecodable_file_name_can_be_recorded() -> None:
    """Python spells such bytes as half a surrogate pair; the failure must not fail for that."""
    failed = ev.StepFailed("a", 1, ev.Failure("FileNotFoundError", "No such file: 'caf\udce9'"))
    assert load_events(dump_events((failed,))) == (failed,)
    state = apply(Play({"a": {"done": []}}).state, [failed], 5)
    assert load_state(dump_state(state)) == state
    large = ev.StepFailed("a", 1, ev.Failure("Error", "\udce9" * COMPRESS_ABOVE))
    assert load_events(dump_events((large,))) == (large,)


def test_what_is_read_is_frozen() -> None:
    """A step that changes what it is given changes nobody else's."""
    event = load_events(dump_events((ev.StepCompleted("a", "done", (), freeze({"n": [1]})),)))[0]
    assert isinstance(event, ev.StepCompleted)
    with pytest.raises(TypeError, match="immutable"):
        event.results["n"].append(2)
