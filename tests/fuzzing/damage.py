"""Events as nobody should send them: the samples of ``events/`` with damage, and JSON that was never an event.

Everything is drawn from a ``random.Random``, which may be Hypothesis's or one with a seed.
"""

from __future__ import annotations

import copy
import json
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from tests.engines import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from random import Random

INSTANCES: Final = ("orderid::sample-1", "orderid::sample-2", "customerid::sample-3", "large::failed")
MOST_CHANGES: Final = 4
HALF: Final = 0.5


def nested(depth: int) -> Any:
    """A value that is ``depth`` levels deep."""
    value: Any = 1
    for level in range(depth):
        value = [value] if level % 2 else {"a": value}
    return value


# What stands where something else belongs: each of these has broken a program.
ODD: Final[tuple[Any, ...]] = (
    *(None, True, False, 0, -1, 1, 0.1, -0.0, 1e308, 2**31, 2**53 + 1, 2**63, 10**400),
    *("", " ", "0", "1", "a", "\x00", "\n", "\u202e", "\ud83d", "x\udc00y", "é訂😀", "ﬁ", "٣", "1e999", "NaN"),
    *("null", "[]", "{}", "x" * 65, "x" * 257, "x" * 5_000, "::", "orderid::", "::a", "orderid::a::b", "../..", "a/b"),
    *("%", "%2", "%zz", "%00", "timeout", "error", "approved", "approval", "validate_order", "OrderFlow", "Large"),
    *(
        "Onboarding",
        "Nothing",
        "2026-01-31T12:00:00Z",
        "9999-12-31T23:59:59+14:00",
        "-1",
        "wait=5",
        "wait=9" + "9" * 20,
    ),
    *INSTANCES,
    *([], {}, [[]], [None], {"": None}, {"a": "\udc00"}, {"\ud83d": 1}, ["a"] * 200, {str(n): n for n in range(200)}),
    *(nested(63), nested(64), nested(65), nested(300)),
    *({"size": 10}, {"size": "much"}, {"size": 500_000}, {"email": "ada@example.com"}),
)


@cache
def samples() -> Mapping[str, Any]:
    """The files of ``events/``, by name."""
    return {
        path.stem: json.loads(path.read_text("utf-8"))
        for path in sorted((ROOT / "events").glob("*.json"))
        if path.stem != "env"
    }


@cache
def members() -> tuple[str, ...]:
    """Every name of a member in the samples."""
    found: set[str] = set()

    def look(value: Any) -> None:
        if isinstance(value, dict):
            found.update(value)
        for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            look(inner)

    for sample in samples().values():
        look(sample)
        if isinstance(body := sample.get("body"), str) and body.startswith("{"):
            look(json.loads(body))
    return tuple(sorted(found))


def made_up(random: Random, depth: int = 3) -> Any:
    """JSON that was never an event, whose members have names that events have."""
    match random.randrange(4 if depth else 2):
        case 2:
            return [made_up(random, depth - 1) for _ in range(random.randrange(3))]
        case 3:
            return {random.choice(members()): made_up(random, depth - 1) for _ in range(random.randrange(5))}
        case _:
            return odd(random)


def odd(random: Random) -> Any:
    """A value that does not belong where it stands."""
    return copy.deepcopy(random.choice(ODD))


def damaged(random: Random, event: Any) -> Any:
    """A copy of ``event`` with one to four changes, anywhere in it, and within JSON that it holds as text."""
    event = copy.deepcopy(event)
    for _ in range(random.randint(1, MOST_CHANGES)):
        event = _changed(random, event)
    return event


def _changed(random: Random, value: Any) -> Any:
    """``value`` with one change in it, or of it."""
    if isinstance(value, dict) and value and random.random() < HALF + HALF / 2:
        key = random.choice(list(value))
        if random.random() < HALF:
            value[key] = _changed(random, value[key])
            return value
        return _of_object(random, value, key)
    if isinstance(value, list) and value and random.random() < HALF + HALF / 2:
        index = random.randrange(len(value))
        if random.random() < HALF:
            value[index] = _changed(random, value[index])
            return value
        return _of_list(random, value, index)
    if isinstance(value, str) and random.random() < HALF + HALF / 2:
        return _of_text(random, value)
    return random.choice((lambda: odd(random), lambda: [value], lambda: {"a": value}, lambda: made_up(random)))()


def _of_object(random: Random, value: dict[str, Any], key: str) -> dict[str, Any]:
    def remove() -> None:
        del value[key]

    def rename() -> None:
        value[random.choice([key.upper(), f"{key} ", f"{key}s", "", random.choice(members())])] = value.pop(key)

    def replace() -> None:
        value[key] = odd(random)

    def add() -> None:
        value[random.choice(members())] = made_up(random)

    def borrow() -> None:
        other = random.choice(list(samples().values()))
        value.update({name: copy.deepcopy(other[name]) for name in other if random.random() < HALF})

    random.choice((remove, rename, replace, replace, add, borrow))()
    return value


def _of_list(random: Random, value: list[Any], index: int) -> list[Any]:
    change: Callable[[], Any] = random.choice(
        (
            lambda: value.pop(index),
            lambda: value.insert(index, copy.deepcopy(value[index])),
            lambda: value.insert(index, odd(random)),
            lambda: value.extend(copy.deepcopy(value)),
        )
    )
    change()
    return value


def _of_text(random: Random, value: str) -> Any:
    """Text that is JSON is damaged as JSON, or as text: cut, with a member twice, or with something in it."""
    if value[:1] in ("{", "[") and random.random() < HALF + HALF / 2:
        try:
            return json.dumps(_changed(random, json.loads(value)))
        except ValueError:
            pass
    at = random.randrange(len(value) + 1)
    return random.choice(
        (
            value[:at],
            value[at:],
            value[:at]
            + random.choice(["\x00", "\ud83d", "\\ud83d", "%", '"', "{", "1e999", "::", "\u202e"])
            + value[at:],
            value.replace("{", '{"id": 1, "id": 2, ', 1),
            value * 2,
            value.upper(),
        )
    )
