"""Values of a user's items: what DynamoDB keeps, what it refuses, and how large it counts them."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Any
from uuid import UUID

import pytest

from hephaestus.writes.attributes import MAX_LEVELS, NotAnAttribute, frozen, item_size, size, wire, wire_item


class Colour(Enum):
    """An enumeration of texts."""

    RED = "red"


class Loud(str):  # noqa: SLOT000 - a subclass in need of plainness
    """A text that shows itself in another way."""

    def __str__(self) -> str:
        return "LOUD"


class Rate(float):
    """A number that shows itself in another way."""

    def __str__(self) -> str:
        return "fast"


class Count(int):
    """The same of whole numbers."""

    def __str__(self) -> str:
        return "many"


class Percent(Decimal):
    """The same of decimals."""

    def __str__(self) -> str:
        return "5 %"


class Raw(bytes):
    """Bytes that say other bytes."""

    def __bytes__(self) -> bytes:
        return b"other"


class Crate(dict[Any, Any]):
    """A mapping that shows other members."""

    def items(self) -> Any:
        return {"other": 1}.items()

    __iter__ = keys = items


class Row(list[Any]):
    """The same of lists."""

    def __iter__(self) -> Any:
        return iter(["other"])


class Bag(set[Any]):
    """The same of sets."""

    __iter__ = Row.__iter__


class Buffer(bytearray):
    """The same of what holds bytes."""

    def __bytes__(self) -> bytes:
        return b"other"


class Level(IntEnum):
    """One of numbers."""

    HIGH = 3


def nested(depth: int, last: Any = "x") -> Any:
    """``last`` inside of ``depth`` lists and dicts."""
    for level in range(depth):
        last = [last] if level % 2 else {"a": last}
    return last


@pytest.mark.parametrize(
    ("value", "kept", "sent"),
    [
        (None, None, {"NULL": True}),
        (True, True, {"BOOL": True}),
        ("", "", {"S": ""}),
        (7, Decimal(7), {"N": "7"}),
        (0.1, Decimal("0.1"), {"N": "0.1"}),
        (-0.0, Decimal(0), {"N": "0"}),
        (Decimal("1.500"), Decimal("1.5"), {"N": "1.5"}),
        (10**60, Decimal("1E+60"), {"N": "1E+60"}),
        (Decimal("9.9E+125"), Decimal("9.9E+125"), {"N": "9.9E+125"}),
        (Decimal("1E-130"), Decimal("1E-130"), {"N": "1E-130"}),
        (int("9" * 38), Decimal("9" * 38), {"N": "9" * 38}),
        (bytearray(b"x"), b"x", {"B": b"x"}),
        (memoryview(b"x"), b"x", {"B": b"x"}),
        (Loud("loud"), "loud", {"S": "loud"}),
        (Rate(1.5), Decimal("1.5"), {"N": "1.5"}),
        (Count(5), Decimal(5), {"N": "5"}),
        (Percent("5.5"), Decimal("5.5"), {"N": "5.5"}),
        (Raw(b"x"), b"x", {"B": b"x"}),
        (Buffer(b"x"), b"x", {"B": b"x"}),
        (Crate({Loud("a"): Loud("b")}), {"a": "b"}, {"M": {"a": {"S": "b"}}}),
        (Row([Percent(1)]), [Decimal(1)], {"L": [{"N": "1"}]}),
        (Bag({Loud("a")}), frozenset({"a"}), {"SS": ["a"]}),
        (Colour.RED, "red", {"S": "red"}),
        (Level.HIGH, Decimal(3), {"N": "3"}),
        (("a", 1), ["a", Decimal(1)], {"L": [{"S": "a"}, {"N": "1"}]}),
        ({}, {}, {"M": {}}),
        ([], [], {"L": []}),
        ({"b", "a"}, frozenset({"a", "b"}), {"SS": ["a", "b"]}),
        ({2, 1.5}, frozenset({Decimal(2), Decimal("1.5")}), {"NS": ["1.5", "2"]}),
        (frozenset({b"z"}), frozenset({b"z"}), {"BS": [b"z"]}),
        ({Colour.RED}, frozenset({"red"}), {"SS": ["red"]}),
    ],
)
def test_what_dynamodb_keeps(value: Any, kept: Any, sent: dict[str, Any]) -> None:
    """As it is kept, with the type that it comes back with, and as it is sent."""
    found = frozen(value, "item")
    assert (found, type(found) is type(kept) or isinstance(found, type(kept))) == (kept, True)
    assert wire(found) == sent


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (float("nan"), "is not a finite number"),
        (Decimal("-Infinity"), "is not a finite number"),
        (int("1" * 39), "more than 38 digits"),
        (Decimal("1E+126"), "outside of"),
        (Decimal("9E-131"), "outside of"),
        ("\ud83d", "half a surrogate pair"),
        ({"\udc00": 1}, "half a surrogate pair"),
        ({1: "a"}, "has a key of type int"),
        ({"": "a"}, "has a key of 0 bytes"),
        ({"ä" * 32_768: "a"}, "has a key of 65536 bytes"),
        (set(), "is an empty set"),
        ({"a", 1}, "is a set of other things"),
        ({True}, "is a set of other things"),
        ({None}, "is a set of other things"),
        ({("a",)}, "is a set of other things"),
        (datetime(2026, 1, 1, tzinfo=UTC), r"pass value.isoformat\(\), or its timestamp"),
        (date(2026, 1, 1), r"pass value.isoformat\(\)$"),
        (time(1), r"pass value.isoformat\(\)$"),
        (timedelta(1), "pass its seconds"),
        (UUID(int=1), r"pass str\(value\)"),
        (object(), "is a object, a type that DynamoDB does not have: pass str, int"),
        (1j, "is a complex"),
        (iter(()), "a type that DynamoDB does not have"),
    ],
)
@pytest.mark.parametrize("place", ["item.a", "item.a[0]"])
def test_what_dynamodb_does_not_keep_is_refused_by_its_place(value: Any, problem: str, place: str) -> None:
    """The message names where it is and never what it is."""
    item = {"a": value} if place == "item.a" else {"a": [value]}
    with pytest.raises(NotAnAttribute, match=problem) as refused:
        frozen(item, "item", -1)
    assert place in str(refused.value)


def test_documents_may_be_nested_as_deep_as_dynamodb_takes_them() -> None:
    """The item is the first of 32 levels; what contains itself is refused as well."""
    assert frozen({"a": nested(MAX_LEVELS)}, "item", -1) == {"a": frozen(nested(MAX_LEVELS), "item")}
    endless: list[Any] = []
    endless.append(endless)
    for too_deep in (nested(MAX_LEVELS + 1), nested(MAX_LEVELS, []), endless):
        with pytest.raises(NotAnAttribute, match="nested more than 31 deep"):
            frozen({"a": too_deep}, "item", -1)


def test_a_frozen_value_is_a_copy_that_cannot_change() -> None:
    """A step that goes on with its item changes nothing of what is committed."""
    item = {"list": [1], "map": {"a": 1}}
    kept = frozen(item, "item")
    item["list"].append(2)  # type: ignore[attr-defined]  # the values differ in type
    assert kept == {"list": [1], "map": {"a": 1}}
    for change in (lambda: kept.update(a=1), lambda: kept["list"].append(1), kept["map"].clear):
        with pytest.raises((TypeError, AttributeError)):
            change()


@pytest.mark.parametrize(
    ("value", "taken"),
    [
        (None, 1),
        (False, 1),
        ("", 0),
        ("Grüße", 7),
        (b"abc", 3),
        (0, 1),
        (1, 2),
        (-1, 3),
        (12, 2),
        (123, 3),
        (1200, 2),
        (Decimal("-0.0012"), 3),
        ([], 3),
        ([1, "a"], 3 + 2 + 2 + 1),
        ({"ab": None}, 3 + 1 + 2 + 1),
        ({"a", "bc"}, 3),
    ],
)
def test_sizes_as_dynamodb_counts_them(value: Any, taken: int) -> None:
    """The Developer Guide's rules on item sizes."""
    assert size(frozen(value, "item")) == taken


def test_an_item_counts_with_its_names() -> None:
    """In bytes of UTF-8."""
    item = frozen({"pk": "a", "größe": 12}, "item", -1)
    assert item_size(item) == 2 + 1 + 7 + 2
    assert wire_item(item) == {"pk": {"S": "a"}, "größe": {"N": "12"}}
