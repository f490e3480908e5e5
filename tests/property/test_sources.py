"""Items from lines: whatever the lines, chunks, blocks and cuts are, the leaves hold the lines, in order, once."""

from __future__ import annotations

import csv
import io
import json
import math
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from hephaestus import InvalidItems, Items
from hephaestus.adapters.memory.objects import MemoryObjects
from hephaestus.runtime.sources import MARK, Leaf, Scan, Sources

if TYPE_CHECKING:
    from collections.abc import Sequence

LONGEST = 60  # bytes of a line

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
json_lines = values.map(lambda value: json.dumps(value, ensure_ascii=False)).filter(
    lambda line: len(line.encode()) <= LONGEST
)
# What a value of a CSV may hold: quotes, commas and spaces, but no line break.
cells = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=6)
endings = st.sampled_from([b"\n", b"\r\n"])
chunks = st.integers(1, 5)
blocks = st.integers(1, 200)


def joined(lines: Sequence[str], ends: Sequence[bytes], after: bytes, *, mark: bool) -> bytes:
    """An object of lines with an end each, but the last, which ends with ``after``."""
    parts = [line.encode() + end for line, end in zip(lines[:-1], ends, strict=False)] + [
        line.encode() for line in lines[-1:]
    ]
    return (MARK if mark else b"") + b"".join(parts) + after


def cut(data: bytes, items: Items, chunk: int, block: int, goes_on: Sequence[bool]) -> tuple[Scan, list[list[Leaf]]]:
    """Scan an object by calls that go on as said, each by another process; the scan's end, and its groups."""
    objects = MemoryObjects()
    objects.put(items.bucket, items.key, data)
    again = iter([*goes_on, *[True] * (len(data) + 2)])
    sources = Sources(objects, block=block, longest_line=LONGEST)
    scan, groups = sources.begin(items, chunk), list[list[Leaf]]()
    while not scan.done:
        before = scan
        scan, found = sources.scan(scan, lambda _: next(again))
        assert scan.done or scan.at > before.at
        groups += [[*group] for group in found]
        scan = Scan.from_json(json.loads(json.dumps(scan.to_json())))
    return scan, groups


def read_all(data: bytes, scan: Scan, groups: Sequence[Sequence[Leaf]]) -> list[Any]:
    """All items, leaf by leaf."""
    objects = MemoryObjects()
    where = scan.source.items
    objects.put(where.bucket, where.key, data)
    found: list[Any] = []
    for leaf in [leaf for group in groups for leaf in group]:
        found += Sources(objects).read(scan.source, leaf, len(found)).items
    return found


def check(data: bytes, scan: Scan, groups: Sequence[Sequence[Leaf]], expected: Sequence[Any]) -> None:
    """What the scan found is what is there."""
    leaves = [leaf for group in groups for leaf in group]
    assert scan.total == len(expected)
    assert [leaf.items for leaf in leaves[:-1]] == [scan.chunk] * (len(leaves) - 1)
    assert len(leaves) == math.ceil(len(expected) / scan.chunk)
    assert [len(group) for group in groups[:-1]] == [100] * (len(groups) - 1)
    assert all(0 < len(group) <= 100 for group in groups)
    assert read_all(data, scan, groups) == [*expected]


@given(
    lines=st.lists(json_lines, max_size=40),
    ends=st.lists(endings, min_size=40, max_size=40),
    after=st.sampled_from([b"", b"\n", b"\r\n", b"\n\n", b"\r\n \n\t"]),
    mark=st.booleans(),
    chunk=chunks,
    block=blocks,
    goes_on=st.lists(st.booleans()),
)
def test_the_leaves_of_json_lines_hold_the_lines(  # noqa: PLR0913 - all that may differ
    *, lines: list[str], ends: list[bytes], after: bytes, mark: bool, chunk: int, block: int, goes_on: list[bool]
) -> None:
    data = joined(lines, ends, after, mark=mark)
    scan, groups = cut(data, Items.s3("bucket", "x.jsonl"), chunk, block, goes_on)
    check(data, scan, groups, [json.loads(line) for line in lines])


@given(
    header=st.lists(cells.filter(str.strip), min_size=1, max_size=3, unique=True).filter(
        lambda names: not names[0].startswith("\ufeff")  # it is the mark that a text may begin with
    ),
    data=st.data(),
    end=st.sampled_from(["\n", "\r\n"]),
    mark=st.booleans(),
    chunk=chunks,
    block=blocks,
    goes_on=st.lists(st.booleans()),
)
def test_the_leaves_of_a_csv_hold_its_rows(  # noqa: PLR0913 - all that may differ
    *, header: list[str], data: st.DataObject, end: str, mark: bool, chunk: int, block: int, goes_on: list[bool]
) -> None:
    """As Python's own writer writes them; of one column, an empty value would be a blank line."""
    row = st.lists(cells, min_size=len(header), max_size=len(header)).filter(lambda row: "".join(row).strip())
    written = io.StringIO()
    writer = csv.writer(written, lineterminator=end)
    rows = data.draw(st.lists(row, max_size=20))
    writer.writerows([header, *rows])
    encoded = (MARK if mark else b"") + written.getvalue().encode()
    longest = max(map(len, encoded.split(b"\n")))
    if longest > LONGEST:
        return
    scan, groups = cut(encoded, Items.s3("bucket", "x.csv"), chunk, block, goes_on)
    assert scan.source.header == tuple(header)
    check(encoded, scan, groups, [dict(zip(header, row, strict=True)) for row in rows])


@given(st.binary(max_size=200), chunks, blocks, st.sampled_from(["x.jsonl", "x.csv"]), st.lists(st.booleans()))
def test_any_bytes_are_items_or_an_error_that_names_the_object(
    data: bytes, chunk: int, block: int, key: str, goes_on: list[bool]
) -> None:
    said = f"s3://bucket/{key}"
    try:
        scan, groups = cut(data, Items.s3("bucket", key), chunk, block, goes_on)
        read_all(data, scan, groups)
    except InvalidItems as error:
        said = str(error)
    assert said.startswith(f"s3://bucket/{key}")


@given(st.integers(0, 2_500), chunks, blocks, st.lists(st.booleans()))
def test_a_scan_that_was_cut_finds_what_one_in_one_go_finds(
    count: int, chunk: int, block: int, goes_on: list[bool]
) -> None:
    """Many groups; and where it stands stays small."""
    data = b"".join(b"%d\n" % number for number in range(count))
    items = Items.s3("bucket", "x.ndjson")
    scan, groups = cut(data, items, chunk, block, goes_on)
    assert (scan, groups) == cut(data, items, chunk, len(data) + 1, ())
    check(data, scan, groups, range(count))
