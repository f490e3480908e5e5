"""The values that a workflow carries."""

from __future__ import annotations

import copy
import dataclasses
import math
from array import array
from collections import OrderedDict, UserDict, deque, namedtuple
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, Flag, IntEnum, StrEnum
from functools import reduce
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from unittest.mock import MagicMock, Mock
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from pydantic import BaseModel

from hephaestus.values import (
    MAX_DEPTH,
    FrozenDict,
    FrozenList,
    NotSerializable,
    TooManyParts,
    adopt,
    for_display,
    freeze,
    from_json,
    to_json,
)
from hephaestus.values.scalars import clean_text

if TYPE_CHECKING:
    from collections.abc import Callable


class Colour(Enum):
    """A plain one."""

    RED = "red"


class Size(str, Enum):  # noqa: UP042 - the older way, whose str() is not the value
    """One that is a string, too."""

    BIG = "big"


class Level(IntEnum):
    """One that is a number, too."""

    HIGH = 3


class Kind(StrEnum):
    """The newer way."""

    NEW = "new"


@dataclasses.dataclass
class Item:
    """A record."""

    sku: str
    prices: list[Decimal]


class Order(BaseModel):
    """A model."""

    number: int
    items: list[str]
    at: date


class Percent(Decimal):
    """One that shows itself in another way than it is read."""

    def __str__(self) -> str:
        return f"{int(self)} %"

    def is_finite(self) -> bool:
        raise NotImplementedError


class Day(date):
    """One with methods of its own."""

    def isoformat(self) -> str:
        return "Monday"

    def toordinal(self) -> int:
        return 1


class Pause(timedelta):
    """One whose arithmetic is its own."""

    def __floordiv__(self, other: Any) -> Any:
        raise NotImplementedError

    def __str__(self) -> str:
        return "a while"


class Key(UUID):
    """One that shows itself in another way."""

    def __str__(self) -> str:
        return "key"

    @property
    def hex(self) -> str:
        raise NotImplementedError


class Moment(datetime):
    """One that is shown for people."""

    def isoformat(self, *_: Any, **__: Any) -> str:
        return "tomorrow"


class Hour(time):
    """One that is shown for people."""

    def isoformat(self, *_: Any, **__: Any) -> str:
        return "noon"


class Count(int):
    """A number with other texts."""

    def __int__(self) -> int:
        return 0

    def __index__(self) -> int:
        return 0

    def __repr__(self) -> str:
        return "many"


class Rate(float):
    """A number with other texts."""

    def __float__(self) -> float:
        return 0.0

    def __repr__(self) -> str:
        return "fast"


class Raw(bytes):
    """Bytes that say other bytes."""

    def __bytes__(self) -> bytes:
        return b"other"

    def __iter__(self) -> Any:
        raise NotImplementedError


class Odd(dict[str, Any]):
    """A mapping that shows other things than it holds."""

    def items(self) -> Any:
        raise NotImplementedError

    def __iter__(self) -> Any:
        return iter(["other"])

    def __len__(self) -> int:
        return 7


class Row(list[Any]):
    """A list that shows other things than it holds."""

    def __iter__(self) -> Any:
        raise NotImplementedError

    def __len__(self) -> int:
        return 7


class Bag(set[Any]):
    """A set that shows other things than it holds."""

    def __iter__(self) -> Any:
        raise NotImplementedError


class Mode(Flag):
    """Flags."""

    READ = 1
    WRITE = 2


class Named(Enum):
    """An enum that calls something else its value."""

    ONE = 1

    @property
    def value(self) -> Any:
        return "one"


class Loud(str):  # noqa: SLOT000 - a subclass in need of plainness
    """A string of its own kind."""


class Twin(str):  # noqa: SLOT000 - see above
    """A string that is equal to no other."""

    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other


class Fine(datetime):
    """One with nanoseconds, as pandas has."""

    nanosecond = 7


class FineDelta(timedelta):
    """One with nanoseconds, as pandas has."""

    nanoseconds = 7


@dataclasses.dataclass
class Half:
    """A record without its field."""

    missing: int = dataclasses.field(init=False)


Point = namedtuple("Point", "x y")  # noqa: PYI024 - one without annotations


def nested(depth: int) -> Any:
    """``depth`` mappings in one another."""
    value: Any = {}
    for _ in range(depth - 1):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (Colour.RED, "red"),
        (Size.BIG, "big"),
        (Level.HIGH, 3),
        (Kind.NEW, "new"),
        (Loud("hey"), "hey"),
        ((1, "a"), [1, "a"]),
        (Point(1, 2), [1, 2]),
        ({3, 1, 2}, [1, 2, 3]),
        (frozenset("ba"), ["a", "b"]),
        ({1, "a"}, ["a", 1]),
        (Item("x", [Decimal("1.10")]), {"sku": "x", "prices": [Decimal("1.10")]}),
        (Order(number=1, items=["x"], at=date(2026, 1, 2)), {"number": 1, "items": ["x"], "at": "2026-01-02"}),
        (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        ({Size.BIG: 1, Loud("k"): 2}, {"big": 1, "k": 2}),
        (Percent("5.5"), Decimal("5.5")),
        (Day(2026, 1, 2), date(2026, 1, 2)),
        (Pause(hours=1), timedelta(hours=1)),
        (Key(int=5), UUID(int=5)),
        (Moment(2026, 1, 2, 3), datetime(2026, 1, 2, 3)),  # noqa: DTZ001 - without a zone on purpose
        (Hour(12), time(12)),
        (Count(5), 5),
        (Rate(1.5), 1.5),
        (Raw(b"ab"), b"ab"),
        (Odd(a=1), {"a": 1}),
        (Row([1, 2]), [1, 2]),
        (Bag({1}), [1]),
        (Mode.READ | Mode.WRITE, 3),
        (Named.ONE, 1),
        (MappingProxyType({"a": [1]}), {"a": [1]}),
        (UserDict(a=1), {"a": 1}),
        ({frozenset({2, 1})}, [[1, 2]]),
        ({Colour.RED, "a"}, ["a", "red"]),
        (time(1, 2, 3, 4, tzinfo=timezone(timedelta(hours=2))), time(1, 2, 3, 4, tzinfo=timezone(timedelta(hours=2)))),
        (timedelta.max, timedelta.max),
        (Decimal("1E+999999999"), Decimal("1E+999999999")),
        (bytearray(b"ab"), b"ab"),
        (memoryview(b"ab"), b"ab"),
        (timedelta(days=-1, microseconds=1), timedelta(days=-1, microseconds=1)),
        (UUID(int=5), UUID(int=5)),
        ("naïve 😀", "naïve 😀"),
        (2**4096 - 1, 2**4096 - 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_is_kept_as_the_plain_thing_it_is(given: Any, kept: Any) -> None:
    """Frozen, and again after its way through the store."""
    frozen = freeze({"v": given})["v"]
    assert frozen == kept
    plain: dict[type, type] = {dict: FrozenDict, list: FrozenList}
    assert type(frozen) is plain.get(type(kept), type(kept))
    back = adopt(from_json(to_json({"v": frozen})))["v"]
    assert back == frozen
    assert type(back) is type(frozen)


def test_a_key_that_is_an_enum_is_kept_as_its_value() -> None:
    """Not as its name."""
    assert [type(key) for key in freeze({Size.BIG: 1})] == [str]
    assert list(freeze({Size.BIG: 1})) == ["big"]


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (math.nan, r"total\.v is nan: JSON has no such number"),
        (-math.inf, r"total\.v is -inf"),
        (Decimal("NaN"), r"total\.v is NaN: only finite decimals"),
        (Decimal("sNaN"), r"only finite decimals"),
        (Decimal("Infinity"), r"only finite decimals"),
        (2**4096, r"total\.v is a whole number of more than 4096 bits"),
        ("\ud800", r"total\.v is a text with half a surrogate pair"),
        ({"\udcff": 1}, r"a key of total\.v is a text with half a surrogate pair"),
        ({1: "a"}, r"total\.v has the key 1: keys must be strings"),
        ({None: "a"}, r"total\.v has the key None"),
        ({"$hephaestus": "a"}, r"total\.v has the key '\$hephaestus', which is reserved"),
        ([1, {"a": object()}], r"total\.v\[1\]\.a is a object, which cannot be stored as JSON"),
        (lambda: 1, r"total\.v is a function"),
        (Order, r"total\.v is a ModelMetaclass"),
        (Item, r"total\.v is a type"),
        (1j, r"total\.v is a complex"),
        (range(3), r"total\.v is a range"),
        (ValueError("x"), r"total\.v is a ValueError"),
        ({Item}, r"total\.v\[0\] is a type"),
        (Path("a"), r"total\.v is a \w*Path, which cannot be stored as JSON: pass str\(value\)"),
        (iter([1]), r"total\.v is a list_iterator.*: pass list\(value\)"),
        (deque([1]), r"total\.v is a deque.*: pass list\(value\)"),
        (2 + 1j, r"total\.v is a complex.*: pass \[value\.real, value\.imag\]"),
        (memoryview(array("i", [1])), r"total\.v is a memoryview of 'i': pass value\.tobytes\(\)"),
        (time(1, tzinfo=ZoneInfo("Europe/Berlin")), r"total\.v is a time in a zone whose offset depends on the day"),
        (Fine(2026, 1, 1), r"total\.v has 7 nanoseconds, which would be lost: round it to microseconds"),
        (FineDelta(1), r"total\.v has 7 nanoseconds, which would be lost"),
        ({Twin("a"): 1, Twin("a"): 2}, r"total\.v has two keys that are the same text"),
        (Half(), r"total\.v is a Half, which could not be read: AttributeError"),
        (Mock(spec=dict), r"total\.v is a Mock, which c"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_cannot_be_stored_is_refused_with_its_place(given: Any, problem: str) -> None:
    """Before anything is committed."""
    with pytest.raises(NotSerializable, match=problem):
        freeze({"v": given}, "total")


def test_a_value_that_contains_itself_is_refused() -> None:
    """Mappings and lists alike, without recursing to the interpreter's end."""
    mapping: dict[str, Any] = {}
    mapping["me"] = [mapping]
    listed: list[Any] = []
    listed.append(listed)
    for value in (mapping, listed):
        with pytest.raises(NotSerializable, match="contains itself"):
            freeze(value)


def test_a_model_that_stands_for_itself_is_refused() -> None:
    """As a mock does, which has every method."""
    with pytest.raises(NotSerializable, match="contains itself"):
        freeze({"client": MagicMock()})


def test_nesting_has_a_limit() -> None:
    """64 deep is stored and read; one more is refused."""
    frozen = freeze(nested(MAX_DEPTH))
    assert freeze(from_json(to_json(frozen))) == frozen
    with pytest.raises(NotSerializable, match="more than 64 deep"):
        freeze(nested(MAX_DEPTH + 1))


def test_results_that_carry_results_on_meet_the_limit_too() -> None:
    """What was frozen before counts: else a log could be written that can never be read again."""
    carried = freeze({})
    for _ in range(MAX_DEPTH - 1):
        carried = freeze({"previous": carried})
    assert freeze(from_json(to_json(carried))) == carried
    for grown in ({"previous": carried}, {"all": [carried]}, [carried]):
        with pytest.raises(NotSerializable, match="more than 64 deep"):
            freeze(grown)


def test_what_shares_its_parts_is_rejected_before_it_is_copied() -> None:
    """Four lists of which each holds the next a hundred times would be a hundred million values."""
    for make in (lambda inner: [inner] * 100, lambda inner: freeze([inner] * 100)):
        with pytest.raises(TooManyParts, match="more than the 262144 parts that a value may have"):
            freeze(reduce(lambda inner, _: make(inner), range(4), [1]))


def test_what_was_stored_is_read_whatever_the_bounds_are_now() -> None:
    """A bound that is lowered later makes nothing unreadable."""
    deep = "[" * 200 + "]" * 200
    assert to_json(adopt(from_json(deep))) == deep
    with pytest.raises(ValueError, match="not JSON"):
        adopt(from_json("[1e999]"))


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("plain", "plain"),
        ("caf\udce9", "caf\ufffd"),
        ("\ud83d\ude00 \ud83d", "\ufffd\ufffd \ufffd"),
        ("a\tb\nc", "a\tb\nc"),
        ("\x1b[31mred\x00\x9b", "\\x1b[31mred\\x00\\x9b"),
        ("é" * 30, "é" * 20),
        ("\x00" * 30, "\\x00" * 5),
        (Loud("loud"), "loud"),
    ],
)
def test_a_message_is_cleaned_for_every_reader(given: str, shown: str) -> None:
    """UTF-8 can hold it, and no terminal obeys it."""
    cleaned = clean_text(given, 20)
    assert cleaned == shown
    assert type(cleaned) is str


@pytest.mark.parametrize(
    "moment",
    [
        datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin")),
        datetime(2026, 3, 29, 2, 30, tzinfo=ZoneInfo("Europe/Berlin")),
        datetime(2026, 1, 1, tzinfo=UTC),
        datetime(2026, 1, 1, 12, 0, 0, 5, tzinfo=timezone(timedelta(hours=-3, seconds=7))),
        datetime(2026, 1, 1),  # noqa: DTZ001 - without a zone on purpose
        datetime(2026, 1, 1, fold=1),  # noqa: DTZ001 - as above
        datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=1), "a name")),
        datetime.min.replace(tzinfo=timezone(timedelta(hours=23, minutes=59))),
        datetime.max.replace(tzinfo=timezone(timedelta(hours=-23, microseconds=-7))),
        datetime.max.replace(tzinfo=ZoneInfo("Europe/Berlin")),
    ],
    ids=str,
)
def test_a_time_comes_back_as_the_time_it_was(moment: datetime) -> None:
    """Also in the hour that a zone has twice, or not at all: the offset is kept, the zone's rules are not."""
    frozen = freeze(moment)
    back = from_json(to_json(frozen))
    assert back == frozen
    assert back.isoformat() == moment.isoformat()
    assert back.utcoffset() == moment.utcoffset()
    assert (back.fold, back.tzname()) == (frozen.fold, frozen.tzname())


@pytest.mark.parametrize("offset", [timedelta(microseconds=999_999), timedelta(microseconds=-1)])
@pytest.mark.parametrize("time_of", [lambda zone: datetime(2026, 1, 1, tzinfo=zone), lambda zone: time(1, tzinfo=zone)])
def test_an_offset_that_python_does_not_read_back_is_rejected(offset: timedelta, time_of: Any) -> None:
    """Of less than a second: it would come back as another time."""
    with pytest.raises(NotSerializable, match=r"value\[0\] is .* whose offset from UTC would be read as .*: pass"):
        freeze([time_of(timezone(offset))])
    kept = time_of(timezone(offset + timedelta(seconds=2)))
    assert freeze(kept) == kept


@pytest.mark.parametrize("base", [dict, list, tuple, set, frozenset, str, int, float, bytes, datetime, Decimal])
def test_a_dataclass_that_is_a_plain_type_too_is_rejected(base: type[Any]) -> None:
    """Its fields would be lost, or what else it holds."""
    made: Any = dataclasses.dataclass(type("Total", (base,), {"__annotations__": {"total": int}, "total": 5}))
    value: Any = made.__new__(made, 2026, 1, 1) if base is datetime else made.__new__(made)
    with pytest.raises(NotSerializable, match=r"value.a is a Total, which .* its fields total would be lost"):
        freeze({"a": value})


def test_a_time_that_is_none_is_refused() -> None:
    """Some libraries' subclasses hold a not-a-time."""

    class NotATime(datetime):
        def isoformat(self, *_: Any, **__: Any) -> str:
            return "NaT"

    with pytest.raises(NotSerializable, match="no point in time"):
        freeze(NotATime(2026, 1, 1))


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.__setitem__("a", 1),
        lambda d: d.__delitem__("a"),
        lambda d: d.__ior__({"b": 1}),
        lambda d: d.clear(),
        lambda d: d.pop("a"),
        lambda d: d.popitem(),
        lambda d: d.setdefault("b", 1),
        lambda d: d.update(b=1),
    ],
)
def test_a_frozen_mapping_refuses_every_change(change: Callable[[Any], object]) -> None:
    """And says what to do instead."""
    frozen = freeze({"a": {"b": 1}})
    for place in (frozen, frozen["a"]):
        with pytest.raises(TypeError, match="immutable: return results from the step"):
            change(place)
    assert frozen == {"a": {"b": 1}}


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v.__setitem__(0, 1),
        lambda v: v.__delitem__(0),
        lambda v: v.__iadd__([1]),
        lambda v: v.__imul__(2),
        lambda v: v.append(1),
        lambda v: v.clear(),
        lambda v: v.extend([1]),
        lambda v: v.insert(0, 1),
        lambda v: v.pop(),
        lambda v: v.remove(1),
        lambda v: v.reverse(),
        lambda v: v.sort(),
    ],
)
def test_a_frozen_list_refuses_every_change(change: Callable[[Any], object]) -> None:
    """And says what to do instead."""
    frozen = freeze([1, [2]])
    with pytest.raises(TypeError, match="immutable"):
        change(frozen)
    with pytest.raises(TypeError, match="immutable"):
        change(frozen[1])
    assert frozen == [1, [2]]


def test_no_way_to_change_the_frozen_was_forgotten() -> None:
    """Every method of ``dict`` and ``list`` either leaves it as it is or refuses."""
    harmless = {"copy", "count", "fromkeys", "get", "index", "items", "keys", "values"}
    for frozen, plain in ((FrozenDict, dict), (FrozenList, list)):
        for name in dir(plain):
            if not name.startswith("_") and name not in harmless:
                assert getattr(frozen, name) is not getattr(plain, name), name
    for frozen_one in (freeze({}), freeze([])):
        with pytest.raises(AttributeError):
            frozen_one.note = 1
        with pytest.raises(TypeError, match="unhashable"):
            hash(frozen_one)


def test_a_copy_of_the_frozen_is_plain_and_may_be_changed() -> None:
    """Shallow and deep."""
    frozen = freeze({"a": [1, {"b": 2}]})
    shallow, deep, listed = copy.copy(frozen), copy.deepcopy(frozen), copy.copy(frozen["a"])
    shallow["c"] = 3
    deep["a"][1]["b"] = 4
    listed.append(5)
    assert copy.deepcopy(frozen["a"]) == [1, {"b": 2}]
    assert frozen == {"a": [1, {"b": 2}]}
    assert frozen | {"c": 1} == {"a": [1, {"b": 2}], "c": 1}


def test_what_json_lacks_is_refused_where_freezing_was_forgotten() -> None:
    """The encoder guesses at nothing."""
    with pytest.raises(NotSerializable, match="a set cannot be stored"):
        to_json({"a": {1}})
    with pytest.raises(ValueError, match="NaN is not JSON"):
        from_json('{"a": NaN}')


def test_values_are_displayed_as_people_and_programs_expect() -> None:
    """ISO 8601, seconds, base64, and numbers without loss."""
    shown = for_display(
        freeze(
            {
                "at": datetime(2026, 1, 1, tzinfo=UTC),
                "day": date(2026, 1, 1),
                "for": timedelta(minutes=1.5),
                "price": Decimal("1.10"),
                "raw": b"ab",
                "id": UUID(int=1),
                "list": [1, 2.5, True, None],
            }
        )
    )
    assert shown == {
        "at": "2026-01-01T00:00:00+00:00",
        "day": "2026-01-01",
        "for": 90.0,
        "price": "1.10",
        "raw": "YWI=",
        "id": "00000000-0000-0000-0000-000000000001",
        "list": [1, 2.5, True, None],
    }


def test_a_frozen_mapping_is_made_from_keys() -> None:
    """As ``dict`` is, by its class or by one that a step was given."""
    made = type(freeze({"a": 1})).fromkeys("ab", 1)
    assert (type(made), made) == (FrozenDict, {"a": 1, "b": 1})
    assert FrozenDict.fromkeys([]) == {}
