"""Cuts an object of lines into the leaves of a map's tree, and reads a leaf.

A scan goes through the object once, block by block, and finds where every ``chunk`` lines begin and end. What it has
found is given in groups of 100 leaves, each to be stored as one value; where it stands is a ``Scan``, small and
JSON-able, from which the next call goes on, in another process too. It holds one block, whatever the object's size.

The object is pinned when the scan begins: all that is read later is of that one, or fails.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from hephaestus.definition.item_sources import InvalidItems, Items
from hephaestus.engine.records import NOTHING
from hephaestus.runtime.item_lines import lines_of, read_header, read_item
from hephaestus.runtime.objects import ObjectPin
from hephaestus.values import FrozenList
from hephaestus.values.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import NoReturn

    from hephaestus.runtime.objects import Objects

MOST_ITEMS: Final = 10_000_000
LONGEST_LINE: Final = 1024 * 1024  # bytes
LARGEST_LEAF: Final = 16 * 1024 * 1024  # bytes; an invocation reads a whole leaf into memory
BLOCK: Final = 8 * 1024 * 1024  # bytes that a scan reads at a time
GROUP: Final = 100  # leaves
LONGEST_PROBLEM: Final = 512  # characters
MARK: Final = b"\xef\xbb\xbf"  # what some programs begin a text in UTF-8 with
ENDING: Final = b"\r\n"  # of a line, at the longest


class Leaf(NamedTuple):
    """Lines of an object that one leaf of a tree runs.

    Attributes:
        offset: of the first one's first byte.
        length: in bytes, without what ends the last one.
        items: how many there are.
    """

    offset: int
    length: int
    items: int


class Lines(NamedTuple):
    """What the lines of a leaf hold.

    Attributes:
        items: of each line; ``None`` for one that is malformed.
        malformed: by the keys of the items, what is wrong with those lines.
    """

    items: FrozenList
    malformed: Mapping[str, str] = NOTHING


@dataclass(frozen=True, slots=True)
class Source:
    """The object that items come from: all that reading a leaf needs beside the leaf.

    Attributes:
        items: where it is, and what it holds.
        pin: which object it is.
        header: the names in the header of a CSV; ``None`` before it was read, and of JSON Lines.
    """

    items: Items
    pin: ObjectPin
    header: tuple[str, ...] | None = None

    def place(self, index: int) -> str:
        """The line that holds an item, for messages; lines count from 1, and a header is one."""
        return f"{self.items.uri}, line {index + (2 if self.items.format == 'csv' else 1)}"

    def to_json(self) -> dict[str, Any]:
        """It as JSON has it."""
        header = None if self.header is None else [*self.header]
        return {"items": asdict(self.items), "pin": asdict(self.pin), "header": header}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Source:
        """What ``to_json`` gave."""
        header = data["header"]
        return cls(Items(**data["items"]), ObjectPin(**data["pin"]), None if header is None else tuple(header))


@dataclass(frozen=True, slots=True)
class Scan:
    """How far a scan has come.

    Attributes:
        source: the object.
        chunk: how many items a leaf has; the last one may have fewer.
        at: where the next line begins.
        total: items found so far.
        begun, ended: where the leaf under way begins, and where its newest line ends.
        within: how many items it has.
        blank: the number of the first of the blank lines that were read last; 0 for none.
        leaves: of the group under way.
        done: whether the object's end was reached, and every group was given.
    """

    source: Source
    chunk: int
    at: int = 0
    total: int = 0
    begun: int = 0
    ended: int = 0
    within: int = 0
    blank: int = 0
    leaves: tuple[Leaf, ...] = ()
    done: bool = False

    def to_json(self) -> dict[str, Any]:
        """It as JSON has it: a few hundred bytes, up to 3 KB for leaves, and the header of a CSV."""
        numbers = {name: getattr(self, name) for name in NUMBERS}
        return {**numbers, "source": self.source.to_json(), "leaves": [[*leaf] for leaf in self.leaves]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Scan:
        """What ``to_json`` gave."""
        numbers = {name: data[name] for name in NUMBERS}
        return cls(Source.from_json(data["source"]), leaves=tuple(Leaf(*leaf) for leaf in data["leaves"]), **numbers)


NUMBERS: Final = ("chunk", "at", "total", "begun", "ended", "within", "blank", "done")


@dataclass(frozen=True, slots=True)
class Sources:
    """Reads the items of maps from users' objects.

    Attributes:
        objects: the adapter.
        block: how many bytes a scan reads at a time.
        longest_line: in bytes.
        largest_leaf: in bytes.
    """

    objects: Objects
    block: int = BLOCK
    longest_line: int = LONGEST_LINE
    largest_leaf: int = LARGEST_LEAF

    def begin(self, items: Items, chunk: int) -> Scan:
        """Find the object and pin it; nothing of it is read yet.

        Raises:
            UnreadableObject: there is none, or it may not be read.
            StoreUnavailable: S3 throttled or did not answer.
        """
        return Scan(Source(items, self.objects.look(items.bucket, items.key)), chunk)

    def scan(self, scan: Scan, goes_on: Callable[[int], bool]) -> tuple[Scan, tuple[tuple[Leaf, ...], ...]]:
        """Go on with a scan, at least by a block.

        Args:
            scan: where it stands, not done.
            goes_on: whether to read another block; it is given the bytes that this call has read.

        Returns:
            Where it stands then, and the groups of leaves that were completed: each has 100, the object's last group
            perhaps fewer. A call that is repeated with the same ``scan`` finds the same leaves.

        Raises:
            InvalidItems: a line is too long or blank, a leaf is too large, the items are too many, the header of a CSV
                is missing or malformed, or a quoted value has a line break.
            UnreadableObject: the object is another one now, is gone, or may not be read.
            StoreUnavailable: S3 throttled or did not answer.
        """
        under_way = _Scanning(self, scan)
        begun_at = scan.at
        while not under_way.done:
            under_way.read_block()
            if not under_way.done and not goes_on(under_way.at - begun_at):
                break
        return under_way.scan(), tuple(under_way.groups)

    def read(self, source: Source, leaf: Leaf, first: int) -> Lines:
        """The items of a leaf, frozen. A line that is malformed, or holds what cannot be stored, spoils its item alone.

        Args:
            source: the object, as the finished scan has it.
            leaf: one of the leaves that the scan found.
            first: the index of its first item among all; the line's number in messages follows from it.

        Raises:
            InvalidItems: the object has no such leaf.
            UnreadableObject: the object is another one now, is gone, or may not be read.
            StoreUnavailable: S3 throttled or did not answer.
        """
        where = source.items
        lines = lines_of(self.objects.read(where.bucket, where.key, source.pin, leaf.offset, leaf.length))
        if len(lines) != leaf.items:
            message = f"{source.place(first)}: {len(lines)} lines were read instead of {leaf.items}"
            raise InvalidItems(message)
        items: list[Any] = []
        malformed: dict[str, str] = {}
        for index, line in enumerate(lines, first):
            try:
                items.append(read_item(line, source.header, source.place(index)))
            except InvalidItems as error:
                items.append(None)
                malformed[str(index)] = str(error)[:LONGEST_PROBLEM]
        return Lines(FrozenList(items), malformed or NOTHING)


class _Scanning:
    """One call's part of a scan."""

    def __init__(self, sources: Sources, scan: Scan) -> None:
        self.sources = sources
        self.before = scan
        self.source = scan.source
        self.is_csv = scan.source.items.format == "csv"
        self.at, self.total, self.begun, self.ended = scan.at, scan.total, scan.begun, scan.ended
        self.within, self.blank, self.done = scan.within, scan.blank, scan.done
        self.leaves = [*scan.leaves]
        self.groups: list[tuple[Leaf, ...]] = []

    def scan(self) -> Scan:
        """Where it stands."""
        numbers = {name: getattr(self, name) for name in NUMBERS if name != "chunk"}
        return replace(self.before, source=self.source, leaves=tuple(self.leaves), **numbers)

    def read_block(self) -> None:
        """Read a block, and take the lines that end in it; the beginning of another is read again with its end."""
        size, base, where = self.source.pin.size, self.at, self.source.items
        least = self.sources.longest_line + len(ENDING)  # else a line might never end in its block
        length = min(max(self.sources.block, least), size - base)
        data = self.sources.objects.read(where.bucket, where.key, self.source.pin, base, length) if length else b""
        position = len(MARK) if not base and data.startswith(MARK) else 0
        while (end := data.find(b"\n", position)) >= 0:
            self._take(base, data, position, end)
            position = end + 1
        if base + length < size:
            if length - position > self.sources.longest_line + 1:  # perhaps an ``\r`` that belongs to its end
                self._too_long()
        elif position < length:
            self._take(base, data, position, length)
            position = length
        self.at = base + position
        if self.at == size:
            self._finish()

    def _take(self, base: int, data: bytes, start: int, end: int) -> None:
        """Take a line: ``data[start:end]``, which the object has at ``base + start``."""
        line = data[start:end]
        if len(line) > self.sources.longest_line and len(line.removesuffix(b"\r")) > self.sources.longest_line:
            self._too_long()
        if not line or line.isspace():
            self.blank = self.blank or self._number()
            return
        self._check_blank()
        if self.is_csv and line.count(b'"') % 2:
            what = "has a quotation mark that is not closed there: a value may have no line break in it"
            self._wrong(self._number(), what)
        if self.is_csv and self.source.header is None:
            names = read_header(line.removesuffix(b"\r"), f"{self.source.items.uri}, line 1")
            self.source = replace(self.source, header=names)
            return
        if not self.within:
            self.begun = base + start
        self.ended = base + end
        self.within += 1
        self.total += 1
        if self.total > MOST_ITEMS:
            message = f"{self.source.items.uri} has more than {MOST_ITEMS:,} lines: a map runs at most as many items"
            raise InvalidItems(message)
        if self.within == self.before.chunk or self.ended - self.begun > self.sources.largest_leaf:
            self._close_leaf()

    def _close_leaf(self) -> None:
        leaf = Leaf(self.begun, self.ended - self.begun, self.within)
        if leaf.length > self.sources.largest_leaf:
            message = (
                f"{self.source.place(self.total - self.within)} and those after it: {self.within} items have "
                f"{leaf.length:,} bytes, and those of one instance may have {self.sources.largest_leaf:,}: "
                "give the map a smaller chunk"
            )
            raise InvalidItems(message)
        self.leaves.append(leaf)
        self.within = 0
        if len(self.leaves) == GROUP:
            self._close_group()

    def _close_group(self) -> None:
        self.groups.append(tuple(self.leaves))
        self.leaves = []

    def _finish(self) -> None:
        if self.is_csv and self.source.header is None:
            message = f"{self.source.items.uri} is empty: a CSV has a header in its first line"
            raise InvalidItems(message)
        if self.within:
            self._close_leaf()
        if self.leaves:
            self._close_group()
        self.done = True

    def _number(self) -> int:
        """The number of the line that is being read."""
        return self.total + 1 + (self.source.header is not None)

    def _check_blank(self) -> None:
        """Make sure that no line was blank before one that is not."""
        if self.blank:
            self._wrong(self.blank, "is blank: only the last lines may be")

    def _too_long(self) -> None:
        self._check_blank()
        self._wrong(self._number(), f"has more than {self.sources.longest_line:,} bytes")

    def _wrong(self, number: int, what: str) -> NoReturn:
        message = f"{self.source.items.uri}, line {number} {what}"
        raise InvalidItems(message)
