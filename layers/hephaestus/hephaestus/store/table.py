"""The port ``Table``: the few primitives on plain items that the store is written on. No workflow word is in it.

Adapters implement it on DynamoDB, in memory and on SQLite; one contract suite runs over all of them. The semantics are
DynamoDB's:

* An item is a flat mapping with a partition key ``pk`` and a sort key ``sk``, both text that is not empty. Keys of a
  partition sort by their UTF-8 bytes.
* A condition is judged atomically with its write; on an item that is not there, every comparison is false.
* ``get`` and ``query`` are strongly consistent. Indexes and ``get_many`` are eventually so: never decide by them.
* An index is sparse: an item is in it while it has both of the index's key attributes.
* An item whose ``expires`` (seconds since the epoch) has passed is removed some time later, with its index entries.

Every primitive may raise ``StoreUnavailable`` (throttled, or no answer: a write may have happened) and ``EngineError``
(permissions, configuration, or a defect). A primitive that is repeated because its answer was lost may find its own
effect: a write then answers false although it happened. The caller recognises its own writes.
"""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypeAlias

from hephaestus.errors import PayloadTooLarge
from hephaestus.values.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hephaestus.writes import Write

Value: TypeAlias = (
    "str | int | bytes | tuple[str, ...]"  # no bool: it is an int in Python, and another type in DynamoDB
)
Item: TypeAlias = "Mapping[str, Value]"
Key: TypeAlias = "tuple[str, str]"  # ``pk`` and ``sk``

EXPIRES: Final = "expires"
MAX_ITEM_BYTES: Final = 400 * 1024  # DynamoDB Developer Guide, quotas: names and values of one item
MAX_BATCH: Final = 100  # keys of one ``get_many``; DynamoDB API Reference, BatchGetItem
MAX_OPERANDS: Final = 100  # values of ``one_of`` and ``none_of``; DynamoDB Developer Guide, condition expressions
NUMBER_BYTES: Final = 21  # at most, of a number; DynamoDB Developer Guide, item sizes
LIST_BYTES: Final = 3  # of a list, and one more an element
UTF8_BYTES: Final = 4  # at most, of a character
INFINITE: Final = float("inf")
MOST_NAME_BYTES: Final = 256  # of an attribute; the port's own names are short


@dataclass(frozen=True, slots=True)
class Condition:
    """What must be true of the stored item for a write to happen; all of it.

    Attributes:
        absent: there is no such item.
        present: there is one.
        equal: these attributes have these values.
        below: these attributes are numbers below these.
        at_most: these attributes are numbers not above these.
        at_least: these attributes are numbers not below these.
        missing: these attributes are not there; true of an item that is not there.
        any_of: unless empty, at least one of these conditions holds.
    """

    absent: bool = False
    present: bool = False
    equal: Mapping[str, Value] = field(default_factory=dict)
    below: Mapping[str, int] = field(default_factory=dict)
    at_most: Mapping[str, int] = field(default_factory=dict)
    at_least: Mapping[str, int] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    any_of: tuple[Condition, ...] = ()

    def holds(self, item: Item | None) -> bool:
        """Whether it is true of ``item``, ``None`` for none."""
        if item is None:
            alone = not (self.present or self.equal or self.below or self.at_most or self.at_least)
        else:
            alone = (
                not self.absent
                and all(item.get(name) == value for name, value in self.equal.items())
                and all(_number(item, name) < bound for name, bound in self.below.items())
                and all(_number(item, name) <= bound for name, bound in self.at_most.items())
                and all(bound <= _number(item, name) < INFINITE for name, bound in self.at_least.items())
                and not any(name in item for name in self.missing)
            )
        return alone and (not self.any_of or any(condition.holds(item) for condition in self.any_of))


ALWAYS: Final = Condition()
ABSENT: Final = Condition(absent=True)
PRESENT: Final = Condition(present=True)


@dataclass(frozen=True, slots=True)
class Change:
    """One write of several that happen together.

    Attributes:
        pk, sk: the item.
        changes: attributes of it, ``None`` for those that go, at least one; the item is made if there is none.
            ``None`` in their place removes the item.
        condition: what must be true of it.
    """

    pk: str
    sk: str
    changes: Mapping[str, Value | None] | None
    condition: Condition

    def applied(self, item: Item | None) -> Item | None:
        """What ``item``, ``None`` for none, becomes."""
        if self.changes is None:
            return None
        changed = {"pk": self.pk, "sk": self.sk, **(item or {}), **self.changes}
        return {name: value for name, value in changed.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Index:
    """An index over all items, sparse and eventually consistent.

    Attributes:
        name: its name.
        partition: the attribute (text) that says in which of its partitions an item is.
        sort: the attribute that it is sorted by.
        numeric: whether that is a number; otherwise it is text.
        projected: the further attributes that its entries have.
    """

    name: str
    partition: str
    sort: str
    numeric: bool = False
    projected: tuple[str, ...] = ()

    @property
    def attributes(self) -> tuple[str, ...]:
        """All attributes that an entry may have."""
        return ("pk", "sk", self.partition, self.sort, *self.projected)

    def place(self, item: Item) -> str | None:
        """The partition that ``item`` is in, ``None`` if it is not in the index."""
        partition = item.get(self.partition)
        return partition if isinstance(partition, str) and self.sort in item else None

    def entry(self, item: Item) -> Item:
        """What the index has of ``item``."""
        return {name: item[name] for name in self.attributes if name in item}

    def position(self, item: Item) -> Position:
        """Where ``item`` is in its partition."""
        return Position(item[self.sort], str(item["pk"]), str(item["sk"]))  # type: ignore[arg-type]  # a key: int or str


class Position(NamedTuple):
    """A place in a partition of an index, of plain values: a cursor may hold it as JSON.

    Attributes:
        sort: the value of the attribute that the index is sorted by.
        pk, sk: the item.
    """

    sort: int | str
    pk: str
    sk: str


@dataclass(frozen=True, slots=True)
class Filter:
    """Which entries of an index a page shows; all of it must be true. The others are read, and count for the limit.

    Attributes:
        equal: these attributes have these values.
        contains: these attributes, which are lists, have these elements.
        one_of: these attributes have one of these values, 1 to ``MAX_OPERANDS``.
        none_of: these attributes have none of these values, 1 to ``MAX_OPERANDS``; true where they are missing.
    """

    equal: Mapping[str, Value] = field(default_factory=dict)
    contains: Mapping[str, str] = field(default_factory=dict)
    one_of: Mapping[str, Sequence[Value]] = field(default_factory=dict)
    none_of: Mapping[str, Sequence[Value]] = field(default_factory=dict)

    def shows(self, item: Item) -> bool:
        """Whether ``item`` is among them."""
        return (
            all(item.get(name) == value for name, value in self.equal.items())
            and all(_lists(item.get(name), element) for name, element in self.contains.items())
            and all(item.get(name) in values for name, values in self.one_of.items())
            and not any(item.get(name) in values for name, values in self.none_of.items())
        )


@dataclass(frozen=True, slots=True)
class Page:
    """A part of an index's partition.

    Attributes:
        items: what was found, in order, each with the index's attributes only. One that is damaged is left out of it.
        end: where the page ended, if there may be more.
    """

    items: tuple[Item, ...]
    end: Position | None


class Table(Protocol):
    """A table; safe to use from many threads."""

    @property
    def name(self) -> str | None:
        """Its name where users' tables have names, too: writes of a step must not touch it."""

    @property
    def distant(self) -> bool:
        """Whether a call travels, so that several at once take less time than one after the other."""

    @property
    def max_item_bytes(self) -> int:
        """The largest item it takes, as ``item_bytes`` counts."""

    def get(self, pk: str, sk: str) -> Item | None:
        """The item, strongly consistent.

        Raises:
            CorruptLog: an attribute is none that this port stores.
        """

    def get_many(self, keys: Sequence[Key], attributes: Sequence[str]) -> list[Item]:
        """These attributes of at most ``MAX_BATCH`` different items, in any order; eventually consistent.

        What is not there is left out, and so is a damaged attribute. ``pk`` and ``sk`` are among the attributes always.
        """

    def query(
        self, pk: str, *, low: str, high: str, limit: int | None = None, descending: bool = False
    ) -> Sequence[Item]:
        """The items of a partition with ``low <= sk <= high``, in the order of ``sk``, strongly consistent.

        Args:
            pk: the partition.
            low, high: the first and the last key that may be among them.
            limit: the first so many; all by default.
            descending: the last ones first.

        Raises:
            CorruptLog: an attribute is none that this port stores.
        """

    def put(self, item: Item, condition: Condition) -> bool:
        """Write an item, in place of one that has its key; whether the condition held, and so it was written.

        Raises:
            PayloadTooLarge: it is larger than ``max_item_bytes``.
        """

    def update(self, pk: str, sk: str, changes: Mapping[str, Value | None], condition: Condition) -> bool:
        """Set attributes of an item that is there; ``None`` removes one. Whether it is there and the condition held.

        Raises:
            PayloadTooLarge: it would be larger than ``max_item_bytes``.
        """

    def add(  # noqa: PLR0913, PLR0917 - what is added to, and when
        self, pk: str, sk: str, name: str, by: int, changes: Mapping[str, Value | None], condition: Condition
    ) -> tuple[bool, Item | None]:
        """Add ``by`` to a number of an item that is there, and set other attributes, as ``update`` does.

        Where the answer was lost, it may be done twice: for what may count too much and never too little.

        Args:
            pk, sk: the item.
            name: the number, which it has wherever ``condition`` holds.
            by: what is added.
            changes: the other attributes.
            condition: what must be true of it.

        Returns:
            Whether the condition held, and the item: after it, or as it was; ``None`` where there is none.
        """

    def delete(self, pk: str, sk: str, condition: Condition) -> bool:
        """Remove an item, if it is there; whether the condition held."""

    def change_all(self, changes: Sequence[Change]) -> bool:
        """Do all of these writes or none; whether all conditions held, and so they were done.

        Args:
            changes: of different items, 1 to 100.

        Raises:
            PayloadTooLarge: an item would be larger than ``max_item_bytes``.
        """

    def transact(self, item: Item, condition: Condition, writes: Sequence[Write], token: str) -> bool:
        """Put an item and do a step's writes on the user's own tables: all, or nothing; whether it was done.

        Args:
            item: the item.
            condition: what must be true of the item with its key; not of the user's.
            writes: as ``check_writes`` gave them, at least one.
            token: names this transaction (at most 36 characters): repeated with the same token, it happens once.

        Raises:
            ConditionFailed, WriteRefused: ``condition`` holds as far as is known, and one of the writes was rejected.
            PayloadTooLarge: the item is larger than ``max_item_bytes``.
        """

    def query_index(  # noqa: PLR0913 - a query's parameters, named
        self,
        index: str,
        partition: str,
        *,
        low: int | str,
        high: int | str,
        limit: int,
        after: Position | None = None,
        descending: bool = False,
        where: Filter | None = None,
    ) -> Page:
        """One page of an index's partition, in order of its sort attribute; eventually consistent.

        Args:
            index: its name.
            partition: which of its partitions.
            low, high: the first and the last value of the sort attribute that may be in it.
            limit: how many entries are read, those included that ``where`` leaves out.
            after: the end of the page before.
            descending: the last ones first.
            where: which entries are shown.
        """

    def count_index(self, index: str, partition: str, most: int) -> int:
        """How many items a partition of an index has, counted up to ``most`` (at most some thousands)."""


def changed(item: Item, changes: Mapping[str, Value | None]) -> Item:
    """What ``item`` becomes where attributes are set, or removed by ``None``."""
    return {name: value for name, value in {**item, **changes}.items() if value is not None}


def added(item: Item, name: str, by: int, changes: Mapping[str, Value | None]) -> Item:
    """What ``item`` becomes where ``by`` is added to its number ``name``, and other attributes are set."""
    number = item[name]
    assert isinstance(number, int)  # noqa: S101 - as its condition says
    assert name not in changes  # noqa: S101 - DynamoDB rejects it
    return changed(item, {**changes, name: number + by})


def check_size(item: Item, most: int) -> None:
    """Make sure that an item has at most ``most`` bytes, by a rough bound where that tells.

    Raises:
        PayloadTooLarge: it has more.
    """
    bound = MOST_NAME_BYTES * len(item)
    for value in item.values():
        bound += NUMBER_BYTES if isinstance(value, int) else UTF8_BYTES * len(value)
        if isinstance(value, tuple):
            bound += UTF8_BYTES * sum(map(len, value))
    if bound > most and (size := item_bytes(item)) > most:
        message = f"instance {item['pk']!s}: an item takes {size} bytes, at most {most} are stored"
        raise PayloadTooLarge(message)


def item_bytes(item: Item) -> int:
    """The size of an item by DynamoDB's rule: the bytes of names and values, numbers rounded up to their largest."""
    size = 0
    for name, value in item.items():
        size += len(name)  # an attribute's name is ASCII
        if isinstance(value, str):
            size += len(value) if value.isascii() else len(value.encode())
        elif isinstance(value, bytes):
            size += len(value)
        elif isinstance(value, int):
            size += min(len(str(abs(value))) // 2 + 2, NUMBER_BYTES)
        else:
            size += LIST_BYTES + sum(len(element.encode()) + 1 for element in value)
    return size


def _number(item: Item, name: str) -> float:
    """A number to compare with; one that is not there is above every bound."""
    value = item.get(name)
    return value if isinstance(value, int) else INFINITE


def _lists(value: Value | None, element: str) -> bool:
    return isinstance(value, tuple) and element in value
