"""Values of every kind that a caller or a step may give, at every bound and beyond it; quick to make, from one seed."""

from __future__ import annotations

import dataclasses
import importlib
import math
import re
from collections import OrderedDict, UserDict, deque, namedtuple
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, Flag, IntEnum, StrEnum
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from pydantic import BaseModel, RootModel, SecretStr

from hephaestus.values import MAX_DEPTH, MAX_INT_BITS, TAG, freeze

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random


np: Any = importlib.import_module("numpy")  # untyped: its types would take mypy longer than all others


class Percent(Decimal):
    """A decimal that shows itself in another way than it is read."""

    def __str__(self) -> str:
        return "5 %"


class Key(UUID):
    """An id that shows itself in another way."""

    def __str__(self) -> str:
        return "key"


class Day(date):
    """A day with methods of its own."""

    def isoformat(self) -> str:
        return "Monday"


class Moment(datetime):
    """A time with methods of its own."""

    def isoformat(self, *_: Any, **__: Any) -> str:
        return "tomorrow"

    def utcoffset(self) -> timedelta | None:
        return timedelta(hours=99)


class Pause(timedelta):
    """A duration with methods of its own."""

    def __floordiv__(self, other: Any) -> Any:
        return "a while"


class Loud(str):  # noqa: SLOT000 - a subclass in need of plainness
    """A text with methods of its own."""

    def __str__(self) -> str:
        return "LOUD"

    def isascii(self) -> bool:
        return True

    def isprintable(self) -> bool:
        return True

    def __len__(self) -> int:
        return 5

    def encode(self, *_: Any, **__: Any) -> bytes:
        return b"other"


class Count(int):
    """A number with methods of its own."""

    def __repr__(self) -> str:
        return "many"

    def bit_length(self) -> int:
        return 1


class Rate(float):
    """A number with methods of its own."""

    def __repr__(self) -> str:
        return "fast"


class Raw(bytes):
    """Bytes that say other bytes."""

    def __bytes__(self) -> bytes:
        return b"other"


class Odd(dict[str, Any]):
    """A mapping that shows other things than it holds."""

    def items(self) -> Any:
        return [("other", object())]

    def __len__(self) -> int:
        return 7


class Row(list[Any]):
    """A list that shows other things than it holds."""

    def __iter__(self) -> Any:
        return iter([object()])


class Broken(UserDict[str, Any]):
    """A mapping that cannot be read."""

    def __iter__(self) -> Any:
        raise ZeroDivisionError


class Colour(Enum):
    """A plain enum."""

    RED = "red"
    HALF = "\ud83d"
    LIST = (1, 2)


class Size(str, Enum):  # noqa: UP042 - the older way, whose str() is not the value
    """An enum of texts."""

    BIG = "big"


class Kind(StrEnum):
    """The newer way."""

    NEW = "new"


class Level(IntEnum):
    """An enum of numbers."""

    HIGH = 3


class Mode(Flag):
    """Flags."""

    READ = 1
    WRITE = 2


@dataclasses.dataclass
class Item:
    """A record of anything."""

    inner: Any


class Order(BaseModel):
    """A model of anything."""

    inner: Any
    at: time = time(8, 30)


class Login(BaseModel):
    """A model with a secret."""

    password: SecretStr


Pair = namedtuple("Pair", "left right")  # noqa: PYI024 - one without annotations

ZONES: Final[tuple[Any, ...]] = (
    None,
    UTC,
    timezone(timedelta(hours=23, minutes=59)),
    timezone(timedelta(hours=-23, minutes=-59, seconds=-59, microseconds=-999_999)),
    timezone(timedelta(hours=1), "a name"),
    timezone(timedelta(microseconds=1)),
    ZoneInfo("Europe/Berlin"),
    ZoneInfo("America/New_York"),
)
TEXTS: Final = (
    "",
    "a",
    "naïve 😀",
    "\x00",
    "\x1b[31m",
    "\n\t\r\x7f\x85\u2028\ufffe\uffff",
    '"\\/',
    "\ud83d",
    "\ude00x",
    "a\udcff",
    "\ud83d\ude00",
    TAG,
    "$hephaestus.",
    "x" * 127,
    "x" * 128,
    "x" * 129,
    "é" * 300,
    "x" * 999,
    "x" * 1_000,
    "x" * 1_001,
    "id-1",
    "go",
    Loud("loud"),
    Size.BIG,
    Kind.NEW,
    np.str_("numpy"),
)
SCALARS: Final[tuple[Any, ...]] = (
    None,
    True,
    0,
    -1,
    2**53 + 1,
    2**MAX_INT_BITS - 1,
    -(2**MAX_INT_BITS) + 1,
    2**MAX_INT_BITS,
    0.1,
    -0.0,
    5e-324,
    1.7976931348623157e308,
    math.inf,
    -math.inf,
    math.nan,
    Decimal("-0"),
    Decimal("1.10"),
    Decimal("1E+999999999"),
    Decimal("-1E-999999999"),
    Decimal("9" * 5_000),
    Decimal("NaN"),
    Decimal("sNaN123"),
    Decimal("-Infinity"),
    UUID(int=0),
    UUID(int=2**128 - 1),
    date.min,
    date.max,
    time.min,
    time.max,
    time(1, fold=1),
    time(1, tzinfo=timezone(timedelta(hours=1), "a name")),
    time(1, tzinfo=ZoneInfo("Europe/Berlin")),
    timedelta.min,
    timedelta.max,
    timedelta(microseconds=-1),
    b"",
    b"\x00\xff",
    bytearray(b"ab"),
    memoryview(b"abcd")[::2],
    memoryview(np.array([1, 2])),
    Percent("5.5"),
    Percent("NaN"),
    Key(int=5),
    Day(2026, 1, 2),
    Moment(2026, 1, 2, fold=1),
    Moment(2026, 1, 2, tzinfo=ZoneInfo("Europe/Berlin")),
    Pause(hours=1),
    Count(5),
    Count(2**MAX_INT_BITS),
    Rate(1.5),
    Rate("nan"),
    Raw(b"ab"),
    Colour.RED,
    Colour.HALF,
    Colour.LIST,
    Level.HIGH,
    Mode.READ | Mode.WRITE,
    np.int64(5),
    np.uint64(2**64 - 1),
    np.float32(0.1),
    np.float64("nan"),
    np.bool_(True),  # noqa: FBT003 - NumPy's own
    np.longdouble(1) / 3,
    np.complex128(1),
    np.datetime64("2026-01-01T00:00:00", "us"),
    np.datetime64("2026-01-01T00:00:00", "ns"),
    np.datetime64("NaT"),
    np.timedelta64(3, "Y"),
    np.timedelta64(3, "s"),
    np.zeros(1, dtype="i4,f4")[0],
    np.arange(6).reshape(2, 3),
    np.array([1.5, math.inf]),
    np.array(["a", "b"]),
    np.array(5),
    np.array([], dtype="M8[us]"),
    np.array([object()]),
    np.ma.masked_array([1, 2], [True, False]),
    object(),
    1j,
    range(3),
    Path("a"),
    Fraction(1, 3),
    re.compile("a"),
    ValueError("\ud83d"),
    ValueError,
    len,
    deque([1]),
    Login(password=SecretStr("x")),
    SecretStr("x"),
    Broken(a=1),
    freeze({"frozen": [1, {"deep": b"x"}]}),
)


class Odds:
    """Draws odd values from one source of chance."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.drawn = 0

    def text(self) -> str:
        """A text, for a name, a reason, an id."""
        self.drawn += 1
        return self._text()

    def _text(self) -> str:
        if self.random.random() < 0.2:
            return "".join(chr(self._code()) for _ in range(self.random.randrange(6)))
        return self.random.choice(TEXTS)

    def value(self) -> Any:
        """A value."""
        self.drawn += 1
        if self.random.random() < 0.15:
            return self._deep()
        return self._value(self.random.randrange(4))

    def mapping(self) -> Any:
        """A value that is mostly a mapping."""
        self.drawn += 1
        if self.random.random() < 0.1:
            return self._value(1)
        found = self._mapping(self.random.randrange(1, 4))
        return self.random.choice((dict, dict, dict, OrderedDict, Odd, MappingProxyType, UserDict))(found)

    def _code(self) -> int:
        low, high = self.random.choice(((0, 32), (32, 127), (127, 256), (0xD7F0, 0xE010), (0xFFF0, 0x10010)))
        return self.random.randrange(low, high)

    def _scalar(self) -> Any:
        kind = self.random.random()
        if kind < 0.2:
            return self._text()
        if kind < 0.3:
            return self._moment()
        if kind < 0.35:
            return self.random.randrange(-(2**70), 2**70)
        if kind < 0.4:
            return self.random.uniform(-1e9, 1e9)
        return self.random.choice(SCALARS)

    def _moment(self) -> datetime:
        zone, fold = self.random.choice(ZONES), self.random.randrange(2)
        naive = self.random.choice(
            (datetime.min, datetime.max, datetime(2026, 10, 25, 2, 30), datetime(2026, 3, 29, 2, 30))  # noqa: DTZ001, DTZ901 - a zone comes next
        )
        return naive.replace(tzinfo=zone, fold=fold)

    def _value(self, depth: int) -> Any:
        if depth <= 0 or self.random.random() < 0.3:
            return self._scalar()
        inner: list[Any] = [self._value(depth - 1) for _ in range(self.random.randrange(4))]
        wraps: tuple[Callable[[], Any], ...] = (
            lambda: inner,
            lambda: tuple(inner),
            lambda: Row(inner),
            lambda: Pair(inner, None),
            lambda: Item(inner),
            lambda: Order(inner=inner),
            lambda: RootModel[Any](inner),
            lambda: _set(inner),
            lambda: iter(inner),
            lambda: self._mapping(depth - 1),
            lambda: self._mapping(depth - 1),
            lambda: self._mapping(depth - 1),
        )
        return self.random.choice(wraps)()

    def _mapping(self, depth: int) -> dict[Any, Any]:
        return {self._key(): self._value(depth - 1) for _ in range(self.random.randrange(4))}

    def _key(self) -> Any:
        if self.random.random() < 0.9:
            return f"k{self.random.randrange(5)}"
        return self.random.choice((*TEXTS, 1, None, (1,), b"k"))

    def _deep(self) -> Any:
        """Something nested as deep as is stored, a little less, or a little more."""
        value: Any = self.random.choice(({}, [], 1, "a", Decimal(1), b"", (), Item({})))
        for _ in range(self.random.randrange(MAX_DEPTH - 4, MAX_DEPTH + 3)):
            wrap = self.random.choice((lambda v: {"a": v}, lambda v: [v], lambda v: (v,), Item, freeze_if_possible))
            value = wrap(value)
        return value


def freeze_if_possible(value: Any) -> Any:
    """A list with ``value`` in it, frozen if that is possible."""
    try:
        return freeze([value])
    except TypeError:
        return [value]


def _set(items: list[Any]) -> Any:
    try:
        return set(items)
    except (TypeError, ValueError):
        return frozenset()
