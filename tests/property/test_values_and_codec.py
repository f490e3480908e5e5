"""What is stored comes back as it was, and damage is never read as anything else."""

from __future__ import annotations

import copy
import zlib
from collections.abc import Mapping
from dataclasses import fields
from datetime import timedelta, timezone
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hephaestus.engine import events as ev
from hephaestus.engine.codec import dump_events, dump_state, load_events, load_state, size
from hephaestus.engine.fold import begin
from hephaestus.engine.records import (
    Child,
    Counts,
    Grant,
    Held,
    Loop,
    Mapped,
    Need,
    Occurrence,
    OpenItem,
    Origin,
    Pace,
    Part,
    Plan,
    Queued,
    Received,
    Tree,
    Turn,
    Undelivered,
)
from hephaestus.engine.state import Compensation, State, StepState, Timer
from hephaestus.errors import CorruptLog
from hephaestus.values import FrozenDict, FrozenList, for_display, freeze, from_json, to_json

TEXT = st.text(max_size=8)
MILLISECONDS = st.integers(0, 2**43)
ZONES = st.one_of(
    st.none(),
    st.builds(lambda minutes: timezone(timedelta(minutes=minutes)), st.integers(-1439, 1439)),
    st.sampled_from([ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York")]),
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    TEXT,
    st.binary(max_size=8),
    st.decimals(allow_nan=False, allow_infinity=False),
    st.uuids(),
    st.dates(),
    st.timedeltas(),
    st.datetimes(timezones=ZONES),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(TEXT, inner, max_size=3), st.tuples(inner), st.sets(st.integers())
    ),
    max_leaves=8,
)
MAPPINGS = st.dictionaries(TEXT, VALUES, max_size=3).map(freeze)
NAMES = st.tuples(TEXT, TEXT)
MAYBE_TIME = st.none() | MILLISECONDS
FAILURES = st.builds(ev.Failure, TEXT, st.text(st.characters(), max_size=5), TEXT)  # messages may hold half a surrogate


def by_step(timers: list[Timer]) -> dict[str, tuple[Timer, ...]]:
    """As a state keeps them."""
    return {
        one: tuple(timer for timer in timers if timer.activation == one)
        for one in {timer.activation for timer in timers}
    }


# By annotation, so that a new field is generated, or missed here with a KeyError.
BY_TYPE: dict[str, st.SearchStrategy[Any]] = {
    "str": TEXT,
    "str | None": st.none() | TEXT,
    "int": MILLISECONDS,
    "int | None": MAYBE_TIME,
    "bool": st.booleans(),
    "Any": VALUES.map(freeze),
    "Mapping[str, Any]": MAPPINGS,
    "tuple[int, ...]": st.lists(st.integers(0, 9), max_size=3).map(tuple),
    "tuple[str, ...]": NAMES | st.just(()),
    "Failure": FAILURES,
    "Failure | None": st.none() | FAILURES,
    "Status": st.sampled_from(["pending", "running", "waiting", "failed"]),
    "StepStatus": st.sampled_from(["waiting", "completed", "skipped"]),
    "Mapping[str, Mapping[str, Any]]": st.dictionaries(TEXT, MAPPINGS, max_size=2).map(freeze),
    "Mapping[str, int]": st.dictionaries(TEXT, st.integers(1, 9), max_size=2),
}


def records(kind: type[Any]) -> st.SearchStrategy[Any]:
    """Any value of a record, by the types of its fields."""
    return st.builds(kind, **{field.name: BY_TYPE[str(field.type)] for field in fields(kind) if field.init})


BY_TYPE["Received | None"] = st.none() | records(Received)
BY_TYPE["Loop | None"] = st.none() | records(Loop)
BY_TYPE["Mapping[str, OpenItem]"] = st.dictionaries(TEXT, records(OpenItem), max_size=2)
BY_TYPE["tuple[Grant, ...]"] = st.tuples(records(Grant))
BY_TYPE["tuple[Need, ...]"] = st.tuples(records(Need))
BY_TYPE["Mapping[str, Held]"] = st.dictionaries(TEXT, records(Held), max_size=2)
BY_TYPE["tuple[Pace, ...]"] = st.tuples(records(Pace))
BY_TYPE["Mapping[str, Turn]"] = st.dictionaries(TEXT, records(Turn), max_size=2)
BY_TYPE["Mapping[str, Queued]"] = st.dictionaries(TEXT, records(Queued), max_size=2)
BY_TYPE["Plan"] = records(Plan)
BY_TYPE["tuple[Occurrence, ...]"] = st.tuples(records(Occurrence))
BY_TYPE["Plan | None"] = st.none() | BY_TYPE["Plan"]
BY_TYPE["Part | None"] = st.none() | records(Part)
BY_TYPE["Counts"] = records(Counts)
BY_TYPE["tuple[Counts, ...]"] = st.tuples(BY_TYPE["Counts"])
BY_TYPE["Mapping[str, str]"] = st.dictionaries(TEXT, TEXT, max_size=2)
BY_TYPE["Mapping[str, Undelivered]"] = st.dictionaries(TEXT, records(Undelivered), max_size=2)
BY_TYPE["Tree | None"] = st.none() | records(Tree)
BY_TYPE["Mapped | None"] = st.none() | records(Mapped)
BY_TYPE["Replacement | None"] = st.none() | records(ev.Replacement)
BY_TYPE["Child | None"] = st.none() | records(Child)
BY_TYPE["Origin | None"] = st.none() | records(Origin)
BY_TYPE["Mapping[str, Child]"] = st.dictionaries(TEXT, records(Child), max_size=2)
BY_TYPE["tuple[StepCompleted, ...]"] = st.tuples(records(ev.StepCompleted))
for record in (ev.CancelRequested, ev.Paused, Compensation):
    BY_TYPE[f"{record.__name__} | None"] = st.none() | records(record)
BY_TYPE["Mapping[str, StepState]"] = st.dictionaries(TEXT, records(StepState), max_size=2)
BY_TYPE["Mapping[str, Received]"] = st.dictionaries(TEXT, records(Received), max_size=2)
BY_TYPE["Mapping[str, tuple[Received, ...]]"] = st.dictionaries(TEXT, st.tuples(records(Received)), max_size=2)
BY_TYPE["Mapping[str, tuple[Timer, ...]]"] = st.lists(records(Timer), max_size=3).map(by_step)
EVENTS = st.one_of([records(kind) for kind in ev.EVENTS.values()])
STATES = records(State)


def kinds(value: Any) -> Any:
    """The types of everything inside, since 1, 1.0 and True are equal."""
    if isinstance(value, Mapping):  # the engine's empty default stands for any empty mapping
        return {key: kinds(item) for key, item in value.items()}
    return [kinds(item) for item in value] if isinstance(value, list) else type(value)


@given(VALUES)
def test_invariant_9_a_frozen_value_comes_back_as_it_was(value: Any) -> None:
    """Through JSON and back: equal, of the same types, and as frozen as before."""
    frozen = freeze(value)
    back = freeze(from_json(to_json(frozen)))
    assert back == frozen
    assert kinds(back) == kinds(frozen)
    assert freeze(frozen) == frozen


@given(VALUES)
def test_what_is_frozen_is_a_copy_that_nobody_can_change(value: Any) -> None:
    """Changing what was given changes nothing; a deep copy of the frozen is the caller's to change."""
    frozen = freeze(value)
    before = to_json(frozen)
    if isinstance(value, dict):
        value["new"] = 1
    if isinstance(value, list):
        value.append(1)
    assert to_json(frozen) == before
    thawed = copy.deepcopy(frozen)
    assert thawed == frozen
    assert not _holds_frozen(thawed)


@given(VALUES)
def test_a_value_is_displayed_in_json_types(value: Any) -> None:
    """Whatever it holds, an API can answer with it."""
    import json

    json.dumps(for_display(freeze(value)), allow_nan=False)


@given(st.lists(EVENTS, max_size=4).map(tuple))
def test_invariant_9_events_come_back_as_they_were(events: tuple[ev.Event, ...]) -> None:
    """Every type, every field, and as immutable as before."""
    back = load_events(dump_events(events))
    assert back == events
    for event, again in zip(events, back, strict=True):
        assert [kinds(getattr(event, field.name)) for field in fields(event)] == [
            kinds(getattr(again, field.name)) for field in fields(again)
        ]


@given(STATES)
def test_invariant_9_a_state_comes_back_as_it_was(state: State) -> None:
    """Every field of a snapshot, those that hold nothing included."""
    back = load_state(dump_state(state))
    assert back == state
    assert back.metadata == state.metadata
    assert isinstance(back.initial, (FrozenDict, type(ev.NOTHING)))


@given(
    st.binary(max_size=200)
    | st.binary(max_size=200).map(b"J".__add__)
    | st.binary().map(lambda raw: b"Z" + zlib.compress(raw))
)
@example(b"")
@example(b"J" + b"[" * 200_000)
@example(b"J" + b'{"a":' * 200_000)
@example(b'J[["Claimed",{"owner":"a","lease_until":NaN}]]')
@example(b'J[["EventReceived",{"activation":"a","event":"b","event_id":"c","payload":{"$hephaestus":[]}}]]')
@example(
    b'J[["EventReceived",{"activation":"a","event":"b","event_id":"c","payload":{"$hephaestus":["decimal","x"]}}]]'
)
@example(
    b'J[["EventReceived",{"activation":"a","event":"b","event_id":"c","payload":{"$hephaestus":["decimal","NaN"]}}]]'
)
@example(
    b'J[["EventReceived",{"activation":"a","event":"b","event_id":"c","payload":{"$hephaestus":["timedelta","%s"]}}]]'
    % (b"9" * 30)
)
@example(b'J[["EventReceived",{"activation":"a","event":"b","event_id":"c","payload":{"$hephaestus":["pickle","x"]}}]]')
@example(b'J[["EventReceived",{"activation":"a","event":"b","event_id":"c","payload":{"$hephaestus":null}}]]')
@example(b'J[["EventReceived",{"activation":"a","event":"b","event_id":"c","payload":%s}]]' % (b"9" * 5_000))
@example(b'J{"ab":1}')
@example(b"J[1]")
@example(b"Jnull")
def test_random_bytes_are_a_corrupt_log_or_nothing(data: bytes) -> None:
    """Reading damaged bytes never raises anything else, and what can be read can be written again."""
    for load, dump in ((load_events, dump_events), (load_state, dump_state)):
        try:
            read = load(data)
        except CorruptLog:
            continue
        assert load(dump(read)) == read  # type: ignore[arg-type]  # what one of them has read


@given(st.lists(EVENTS, min_size=1, max_size=3).map(tuple), st.data())
def test_a_truncated_entry_is_a_corrupt_log(events: tuple[ev.Event, ...], data: st.DataObject) -> None:
    """Wherever it is cut, compressed or not."""
    dumped = dump_events(events)
    cut = data.draw(st.integers(0, len(dumped) - 1))
    with pytest.raises(CorruptLog, match="damaged, or written by a newer release"):
        load_events(dumped[:cut])


@given(STATES, st.data())
def test_a_garbled_snapshot_is_a_corrupt_log_or_a_state(state: State, data: st.DataObject) -> None:
    """One byte changed: either it shows, or what is read is a state all the same."""
    dumped = bytearray(dump_state(state))
    dumped[data.draw(st.integers(0, len(dumped) - 1))] = data.draw(st.integers(0, 255))
    try:
        read = load_state(bytes(dumped))
    except CorruptLog:
        return
    assert isinstance(read, State)


@given(VALUES)
def test_the_size_of_a_value_is_bounded_by_its_json(value: Any) -> None:
    """Compression only ever helps, but for its marker."""
    frozen = freeze(value)
    assert 0 < size(frozen) <= len(to_json(frozen).encode()) + 16


def test_a_first_entry_from_bytes_begins_an_instance() -> None:
    """The parts fit."""
    events = (ev.InstanceStarted("Flow", 1, freeze({"price": Decimal("1.10")})),)
    state = begin("order::1", 1, ev.Entry(1, "c", 5, load_events(dump_events(events))))
    assert state.initial == {"price": Decimal("1.10")}


def _holds_frozen(value: Any) -> bool:
    if isinstance(value, (FrozenDict, FrozenList)):
        return True
    if isinstance(value, dict):
        return any(_holds_frozen(item) for item in value.values())
    return isinstance(value, list) and any(_holds_frozen(item) for item in value)
