"""``Items``: what a user gives, and what is said of lines that hold no items."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from hephaestus import DONE, DefinitionError, InvalidItems, Items, NonRetryable, StepContext, Workflow, step
from hephaestus.adapters.memory.objects import MemoryObjects
from hephaestus.runtime import sources as scanning
from hephaestus.runtime.item_lines import LONGEST_HEADER
from hephaestus.runtime.objects import UnreadableObject
from hephaestus.runtime.runner import Runner
from hephaestus.runtime.sources import Lines, Scan, Source, Sources
from hephaestus.steps import Map
from hephaestus.testing import LocalRuntime
from hephaestus.values import freeze

URI = "s3://shop/parcels"


class Text(str):
    """A text of a kind of its own."""

    __slots__ = ()


# --- What a user gives ---


@pytest.mark.parametrize(
    ("key", "expected"),
    [("a.jsonl", "jsonl"), ("a.ndjson", "jsonl"), ("a/b.c.JSONL", "jsonl"), ("a.csv", "csv"), ("x/.CSV", "csv")],
)
def test_the_format_follows_from_the_keys_ending(key: str, expected: str) -> None:
    assert Items.s3("shop", key).format == expected


def test_a_format_that_is_given_counts() -> None:
    assert Items.s3("shop", "a.csv", format="jsonl") == Items("shop", "a.csv", "jsonl")
    assert Items.s3("shop", "a", format="csv").uri == "s3://shop/a"


@pytest.mark.parametrize("bucket", ["abc", "my.own-bucket_1", "arn:aws:s3:eu-west-1:123456789012:accesspoint/mine"])
def test_a_bucket_is_a_name_or_an_access_point(bucket: str) -> None:
    assert Items.s3(bucket, "a.csv").bucket == bucket


WRONG: list[tuple[Any, Any, Any, str]] = [
    ("", "a.csv", None, "the bucket must be its name alone"),
    ("ab", "a.csv", None, "the bucket must be its name alone"),
    ("s3://shop", "a.csv", None, "the bucket must be its name alone"),
    ("shop\n", "a.csv", None, "the bucket must be its name alone"),
    (None, "a.csv", None, "the bucket must be its name alone"),
    (b"shop", "a.csv", None, "the bucket must be its name alone"),
    ("arn:aws:sqs:eu-west-1:123456789012:mine", "a.csv", None, "the bucket must be its name alone"),
    ("shop", "", "csv", "the key must be a text of 1 to 1,024 bytes"),
    ("shop", None, None, "the key must be a text"),
    ("shop", "é" * 513 + ".csv", None, "the key must be a text"),
    ("shop", "\ud800.csv", None, "the key must be a text"),
    ("shop", "a", None, "the key ends with none of .jsonl, .ndjson, .csv: give format='jsonl' or format='csv'"),
    ("shop", "a.json", None, "the key ends with none of"),
    ("shop", "csv", None, "the key ends with none of"),
    ("shop", "a.csv.gz", None, "the key ends with none of"),
    ("shop", "a.csv", "parquet", "format is 'parquet': give 'jsonl' or 'csv'"),
    ("shop", "a.csv", 5, "format is 5: give 'jsonl' or 'csv'"),
    ("shop", "a.csv", "", "format is '': give"),
]


@pytest.mark.parametrize(("bucket", "key", "chosen", "problem"), WRONG)
def test_what_can_be_no_object_is_an_error_without_retry(bucket: Any, key: Any, chosen: Any, problem: str) -> None:
    """As soon as it is made: in a class body, or in a map's ``over``. *Rule C.4*."""
    with pytest.raises(InvalidItems) as raised:
        Items.s3(bucket, key, format=chosen)
    assert problem in str(raised.value)
    assert isinstance(raised.value, NonRetryable)


def test_it_is_checked_however_it_is_made() -> None:
    with pytest.raises(InvalidItems, match="the bucket must be its name alone"):
        Items("", "a.csv", "csv")
    with pytest.raises(InvalidItems, match="format is 'xml'"):
        dataclasses.replace(Items.s3("shop", "a.csv"), format="xml")  # type: ignore[arg-type]  # that is the point


def test_it_is_frozen_plain_and_shows_how_it_is_made() -> None:
    items = Items.s3(Text("shop"), Text("a.csv"), format=Text("csv"))  # type: ignore[arg-type]  # that is the point
    assert {type(getattr(items, name)) for name in ("bucket", "key", "format")} == {str}
    assert repr(items) == "Items.s3('shop', 'a.csv', format='csv')"
    assert eval(repr(items), {"Items": Items}) == items  # noqa: S307 - its own text
    with pytest.raises(AttributeError):
        items.key = "b.csv"  # type: ignore[misc]  # that is the point
    assert Items(**freeze(items, "items")) == items


@step
def ship(ctx: StepContext) -> str:
    """Ship one."""
    return "done"


def test_a_map_takes_it_as_it_is_or_from_a_function() -> None:
    items = Items.s3("shop", "parcels.jsonl")
    assert Map(ship, over=items).over is items
    assert Map(ship, over=lambda _: items).over is not items


@pytest.mark.parametrize("how", ["the map first", "the step first"])
def test_a_map_of_a_step_of_the_graph_is_reported_once(how: str) -> None:
    """It is met as the start, as a target and as a source."""
    made = Map(ship, over=Items.s3("shop", "parcels.jsonl"))
    order = (made, ship) if how == "the map first" else (ship, made)
    members = {"start_at": order[0], "transitions": {order[0]: {"done": order[1]}, order[1]: {"done": DONE}}}
    with pytest.raises(DefinitionError) as caught:
        type("Flow", (Workflow,), members, key="flow")
    assert [str(one) for one in caught.value.problems] == [
        "ship: is a step of the graph and that of a map under the same key. Give the map a name=...."
    ]


@pytest.mark.parametrize("bucket", ["up", "s3://uploads", "uploads/today.csv"])
def test_what_is_no_bucket_is_said_with_what_a_name_is(bucket: str) -> None:
    with pytest.raises(InvalidItems, match="the bucket must be its name alone, 3 to 255 letters, digits, dots"):
        Items.s3(bucket, "today.csv")


def test_a_runtime_in_memory_has_objects_and_one_without_sources_says_so() -> None:
    local = LocalRuntime(
        type("Flow", (Workflow,), {"start_at": ship, "transitions": {ship: {"done": DONE}}}, key="flow")
    )
    local.objects.put("shop", "parcels.jsonl", "1\n2\n")
    assert local.runner.sources().begin(Items.s3("shop", "parcels.jsonl"), 100).source.pin.size == 4
    bare = Runner(local.store, local.timers, local.queue, local.runner.registry)
    with pytest.raises(UnreadableObject, match="reads no objects in S3"):
        bare.sources()


# --- What is said of lines ---


def sources(data: bytes | str, **bounds: int) -> tuple[Sources, Scan]:
    """What reads one object, and the scan's beginning; its suffix is of no matter."""
    objects = MemoryObjects()
    objects.put("shop", "parcels", data)
    reading = Sources(objects, **bounds)
    chosen: Any = "csv" if isinstance(data, str) else "jsonl"
    return reading, reading.begin(Items.s3("shop", "parcels", format=chosen), 100)


def scanned(data: bytes | str, **bounds: int) -> Scan:
    """Scan all of it; a text is a CSV."""
    reading, scan = sources(data, **bounds)
    return reading.scan(scan, lambda _: True)[0]


def rejected(data: bytes | str, **bounds: int) -> str:
    """Why the scan ends."""
    with pytest.raises(InvalidItems) as raised:
        scanned(data, **bounds)
    return str(raised.value)


def read(data: bytes | str, number: int) -> Any:
    """The items of the leaf that has the line."""
    return whole_leaf(data, number).items


def whole_leaf(data: bytes | str, number: int) -> Lines:
    """What the leaf that has the line holds."""
    reading, scan = sources(data)
    whole, groups = reading.scan(scan, lambda _: True)
    leaves = [leaf for group in groups for leaf in group]
    index = number - (2 if isinstance(data, str) else 1)
    return reading.read(whole.source, leaves[index // 100], index // 100 * 100)


def unread(data: bytes | str, number: int) -> str:
    """Why the line is no item; it is the only one."""
    found = whole_leaf(data, number)
    ((key, problem),) = found.malformed.items()
    assert found.items[int(key) % 100] is None
    assert int(key) == number - (2 if isinstance(data, str) else 1)
    return problem


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"{'a': 1}", "is not JSON: Expecting property name enclosed in double quotes at column 2"),
        (b'{"a": 1', "is not JSON: Expecting ',' delimiter at column 8"),
        (b'{"a": 1} {"a": 2}', "is not JSON: Extra data at column 10"),
        (b'{"a": 1, "a": 2}', "is not JSON that all readers read alike: an object has the member 'a' twice"),
        (b"NaN", "is not JSON: a number is not finite, or too long"),
        (b"\xff", "is not text in UTF-8"),
        (b'"\\ud800"', "is not JSON: a string holds half of a surrogate pair"),
        (b"[" * 5000, "is nested too deeply: at most 64 levels are stored"),
    ],
)
def test_a_malformed_line_is_named_with_its_number_in_the_whole_object(line: bytes, problem: str) -> None:
    """Line 7,001 of 8,000: the others are read."""
    lines = [b"%d" % number for number in range(1, 8001)]
    lines[7000] = line
    data = b"\n".join(lines)
    assert unread(data, 7001) == f"{URI}, line 7001 {problem}"
    assert read(data, 7000) == list(range(6901, 7001))
    assert read(data, 7101) == list(range(7101, 7201))


def test_an_item_that_cannot_be_stored_is_named() -> None:
    said = unread(b"1\n" + b"[" * 70 + b"]" * 70, 2)
    assert said.startswith(f"{URI}, line 2")
    assert "64" in said


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("a", "has 1 values, and the header 2 names"),
        ("a,b,c", "has 3 values, and the header 2 names"),
        ('"a"b,""', "is not a row of a CSV: ',' expected after '\"'"),
        ("a\rb,c", "is not a row of a CSV: new-line character seen in unquoted field"),
    ],
)
def test_a_malformed_row_is_named_with_its_number_and_the_header_is_line_1(line: str, problem: str) -> None:
    rows = ["id,name", *("1,x" for _ in range(8000))]
    rows[7000] = line
    said = unread("\n".join(rows), 7001)
    assert said.startswith(f"{URI}, line 7001 {problem}")


def test_a_row_that_is_no_text_is_named() -> None:
    objects = MemoryObjects()
    objects.put("shop", "a.csv", b"id\n1\n\xff\n")
    reading = Sources(objects)
    scan, ((leaf,),) = reading.scan(reading.begin(Items.s3("shop", "a.csv"), 100), lambda _: True)
    found = reading.read(scan.source, leaf, 0)
    assert found == ([{"id": "1"}, None], {"1": "s3://shop/a.csv, line 3 is not text in UTF-8"})


def test_rows_are_mappings_of_texts() -> None:
    data = 'id,"the ""name"""\r\n1,"a, b"\r\n,""""\r\n'
    assert read(data, 2) == [{"id": "1", 'the "name"': "a, b"}, {"id": "", 'the "name"': '"'}]


@pytest.mark.parametrize("row", ['1,"a\nb"', '1,"a\r\nb"', '"\n",x', '1,"a""\n"'])
def test_a_value_with_a_line_break_is_rejected_before_anything_runs(row: str) -> None:
    what = "has a quotation mark that is not closed there: a value may have no line break in it"
    assert rejected(f"id,name\n1,x\n{row}\n2,y\n") == f"{URI}, line 3 {what}"


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ("", " is empty: a CSV has a header in its first line"),
        ("\n\n", " is empty: a CSV has a header in its first line"),
        ("\nid\n1\n", ", line 1 is blank: only the last lines may be"),
        ("id,id\n1,2\n", ", line 1: columns 1 and 2 of the header have the same name"),
        ("id,,name\n", ", line 1: column 2 of the header has no name"),
        ("id, \n", ", line 1: column 2 of the header has no name"),
        ('"id"x\n', ", line 1 is not a row of a CSV: ',' expected after '\"'"),
        ("x" * (LONGEST_HEADER + 1) + "\n", ", line 1: the header has 16,385 bytes; at most 16,384 are taken"),
    ],
)
def test_a_header_that_is_none_is_rejected(data: str, problem: str) -> None:
    assert rejected(data) == URI + problem


def test_a_header_alone_has_no_items() -> None:
    scan = scanned("id,name\r\n")
    assert (scan.done, scan.total, scan.source.header) == (True, 0, ("id", "name"))


@pytest.mark.parametrize("blank", [b"", b"\r", b" ", b"\t \r"])
def test_only_the_last_lines_may_be_blank(blank: bytes) -> None:
    assert (
        rejected(b"1\n2\n" + blank + b"\n" + blank + b"\n3\n") == f"{URI}, line 3 is blank: only the last lines may be"
    )
    assert scanned(b"1\n2\n" + blank + b"\n" + blank).total == 2


def test_a_blank_line_is_remembered_from_call_to_call() -> None:
    """A block of twelve bytes after the other, each by a call of its own; the last one begins with the ``3``."""
    data = b"1\n2\n" + b"\n" * 104
    for after, problem in ((b"", None), (b"3", f"{URI}, line 3 is blank: only the last lines may be")):
        reading, scan = sources(data + after, block=1, longest_line=10)
        said = None
        try:
            while not scan.done:
                scan, _ = reading.scan(scan, lambda _: False)
        except InvalidItems as error:
            said = str(error)
        assert (said, scan.total) == (problem, 2)


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b"\r\n2\n"])
def test_a_line_that_is_too_long_is_rejected_with_its_number(end: bytes) -> None:
    """Also where its end is in no block that is read."""
    line = b'"' + b"x" * 18 + b'"'
    assert scanned(b"1\n" + line + end, longest_line=20, block=1).done
    said = f"{URI}, line 2 has more than 20 bytes"
    assert rejected(b"1\n" + line + b"1" + end, longest_line=20, block=1) == said
    assert rejected(b"1\n" + line * 10 + end, longest_line=20, block=1) == said
    assert rejected(b"1\n\n" + line * 10, longest_line=20) == f"{URI}, line 2 is blank: only the last lines may be"


@pytest.mark.parametrize("block", range(1, 50))
def test_a_line_may_be_as_long_as_it_may_wherever_a_block_ends(block: int) -> None:
    """Also between the two characters of its end."""
    line = b'"' + b"x" * 18 + b'"\r\n'
    assert scanned(b"1\n" + line + b"2\n" + line * 2, longest_line=20, block=block).total == 5


def test_a_mark_within_an_object_is_part_of_its_line() -> None:
    """Also where a block begins with it."""
    objects = MemoryObjects()
    objects.put("shop", "a.csv", "id,b\n" + "\ufeff1,2\n" * 20)
    reading = Sources(objects, block=9, longest_line=7)
    scan, ((leaf,),) = reading.scan(reading.begin(Items.s3("shop", "a.csv"), 100), lambda _: True)
    assert list(reading.read(scan.source, leaf, 0).items) == [{"id": "\ufeff1", "b": "2"}] * 20


def test_a_leaf_that_is_too_large_is_rejected_with_what_helps() -> None:
    line = b'"' + b"x" * 97 + b'"'
    assert scanned(b"\n".join([line] * 100), largest_leaf=9_999).done
    said = rejected(b"\n".join([line] * 101), largest_leaf=9_998)
    assert said == (
        f"{URI}, line 1 and those after it: 100 items have 9,999 bytes, and those of one instance may have 9,998: "
        "give the map a smaller chunk"
    )


def test_more_items_than_a_map_runs_are_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten million, of which this test has ten."""
    assert scanning.MOST_ITEMS == 10_000_000
    monkeypatch.setattr(scanning, "MOST_ITEMS", 10)
    assert scanned(b"1\n" * 10).total == 10
    assert rejected(b"1\n" * 11) == f"{URI} has more than 10 lines: a map runs at most as many items"


def test_a_mark_at_the_beginning_is_no_part_of_the_first_line() -> None:
    assert read(scanning.MARK + b"1\n2", 1) == [1, 2]
    assert scanned("\ufeffid\n1\n").source.header == ("id",)
    assert scanned(scanning.MARK).total == 0


def test_a_call_reads_until_its_budget_is_used_up() -> None:
    """It is asked between two blocks, with what this call has read; each call reads one block at least."""
    reading, scan = sources(b"1234\n" * 100, block=10, longest_line=5)
    asked: list[int] = []

    def goes_on(count: int) -> bool:
        asked.append(count)
        return count < 30

    calls = 0
    while not scan.done:
        scan, _ = reading.scan(scan, goes_on)
        calls += 1
    assert calls == 17
    assert asked == [10, 20, 30] * 16 + [10]


def test_where_a_scan_stands_is_small() -> None:
    """At its largest: 99 leaves of an object of ten terabytes. A carry of up to 8 KB stands in its log entry."""
    reading, scan = sources(b"1\n" * 99)
    far = dataclasses.replace(scan, chunk=1, at=10**13, begun=10**13, ended=10**13, total=9_999_999)
    leaf = scanning.Leaf(10**13, 16 * 1024 * 1024, 100)
    far = dataclasses.replace(far, leaves=(leaf,) * 99)
    assert len(json.dumps(far.to_json())) < 4_500
    assert Scan.from_json(json.loads(json.dumps(far.to_json()))) == far
    assert Source.from_json(freeze(far.source.to_json(), "source")) == far.source
    one = dataclasses.replace(scan, chunk=1)
    cut, groups = reading.scan(one, lambda _: True)
    assert (cut.done, [len(group) for group in groups]) == (True, [99])


def test_a_leaf_that_is_none_of_the_object_is_rejected() -> None:
    reading, scan = sources(b"1\n2\n3\n")
    with pytest.raises(InvalidItems, match=r"line 1: 2 lines were read instead of 3"):
        reading.read(scan.source, scanning.Leaf(0, 3, 3), 0)


class Counting(MemoryObjects):
    """Objects of which no part is read that is larger than a block."""

    largest = 0

    def read(self, *asked: Any) -> bytes:
        """A part."""
        self.largest = max(self.largest, asked[-1])
        return super().read(*asked)


def test_a_scan_holds_one_block_at_a_time() -> None:
    """Whatever the object's size."""
    objects = Counting()
    objects.put("shop", "a.jsonl", b"12345\n" * 20_000)
    reading = Sources(objects, block=1_000, longest_line=100)
    scan, groups = reading.scan(reading.begin(Items.s3("shop", "a.jsonl"), 100), lambda _: True)
    assert (scan.total, [len(group) for group in groups], objects.largest) == (20_000, [100, 100], 1_000)
