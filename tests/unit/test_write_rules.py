"""A step's writes before anything is committed: what is refused, which write it was, and what to do about it."""

from __future__ import annotations

from typing import Any

import pytest

from hephaestus import Check, Delete, Put, Update, Write, WriteRefused
from hephaestus.errors import NonRetryable
from hephaestus.writes import told
from hephaestus.writes.rules import (
    MAX_EXPRESSION_BYTES,
    MAX_ITEM_BYTES,
    MAX_TOTAL_BYTES,
    check_writes,
    write_size,
)

OWN = "hephaestus"
KEY = {"pk": "a"}
ARN = "arn:aws:dynamodb:eu-west-1:123456789012:table/{}"


def refused(*writes: Any, own: str | None = OWN) -> str:
    """What is said of writes that must be refused."""
    with pytest.raises(WriteRefused) as caught:
        check_writes(list(writes), own)
    return str(caught.value)


@pytest.mark.parametrize("writes", ["books", b"x", {"a": 1}, None, 7, iter(()), {1, 2}])
def test_writes_are_a_list(writes: Any) -> None:
    with pytest.raises(WriteRefused, match="pass a list of Put, Update, Delete and Check"):
        check_writes(writes, OWN)


def test_of_other_things_in_the_list_the_first_is_named() -> None:
    assert "write 2 of 2 (str on ?): is a str: pass Put, Update, Delete or Check" in refused(Put("books", KEY), "x")


@pytest.mark.parametrize(
    "table", ["", "ab", "a b c", "x" * 256, "books/", None, 7, "arn:aws:s3:::books", ARN.format("a")]
)
def test_a_table_is_a_name_or_an_arn(table: Any) -> None:
    assert "neither a name nor an ARN" in refused(Put(table, KEY))


@pytest.mark.parametrize("own", [OWN, ARN.format(OWN)])
@pytest.mark.parametrize("table", [OWN, ARN.format(OWN)])
def test_no_step_writes_the_engines_own_table(own: str, table: str) -> None:
    assert "the engine's own table" in refused(Delete(table, KEY), own=own)
    assert "123456789012" not in refused(Delete(table, KEY), own=own)
    assert check_writes([Delete(table, KEY)], None)


@pytest.mark.parametrize(
    ("write", "problem"),
    [
        (Put("books", "pk"), "item is a str: pass a dict"),  # type: ignore[arg-type]  # wrong on purpose
        (Put("books", {"pk": "a", "x": object()}), "item.x is a object"),
        (Delete("books", {}), "the key has 0 attributes"),
        (Delete("books", {"a": 1, "b": 2, "c": 3}), "the key has 3 attributes"),
        (Delete("books", {"pk": ""}), "key.pk is empty"),
        (Delete("books", {"pk": b""}), "key.pk is empty"),
        (Delete("books", {"pk": True}), "key.pk is no text, number or bytes"),
        (Delete("books", {"pk": None}), "key.pk is no text, number or bytes"),
        (Delete("books", {"pk": ["a"]}), "key.pk is no text, number or bytes"),
        (Delete("books", {"pk": {"a"}}), "key.pk is no text, number or bytes"),
        (Update("books", KEY, " "), "update is no expression"),
        (Update("books", KEY, None), "update is no expression"),  # type: ignore[arg-type]  # wrong on purpose
        (Check("books", KEY, None), "condition is no expression"),  # type: ignore[arg-type]  # wrong on purpose
        (Check("books", KEY, "a" * (MAX_EXPRESSION_BYTES + 1)), "condition is longer than the 4096 bytes"),
        (Check("books", KEY, "#n = :v", names={"#n": "n"}), "values lacks :v, which an expression uses"),
        (Check("books", KEY, "#n = :v", values={":v": 1}), "names lacks #n, which an expression uses"),
        (Delete("books", KEY, values={":v": 1}), "values has :v, which no expression uses"),
        (Delete("books", KEY, names={"#n": "n"}), "names has #n, which no expression uses"),
        (Check("books", KEY, "a = :v", values={"v": 1}), "values has the key 'v': write :"),
        (Check("books", KEY, "#n = a", names={"#n-a": "n"}), "names has the key '#n-a': write #"),
        (Check("books", KEY, "#n = a", names={"#n": ""}), "is no attribute's name"),
        (Check("books", KEY, "#n = a", names=["#n"]), "names is a list: pass a dict"),  # type: ignore[arg-type]  # wrong on purpose
        (Check("books", KEY, "a = :v", values=[1]), "values is a list: pass a dict"),  # type: ignore[arg-type]  # wrong on purpose
        (Check("books", KEY, "a = :v", values={":v": {1, "a"}}), "values.:v is a set of other things"),
    ],
)
def test_a_write_that_is_malformed_is_refused_by_its_position(write: Write, problem: str) -> None:
    """And is never tried again: it would be as malformed then."""
    said = refused(Put("other", {"pk": "b"}), write)
    assert said.startswith(f"write 2 of 2 ({type(write).__name__} on books): ")
    assert problem in said
    assert issubclass(WriteRefused, NonRetryable)


def test_one_placeholder_may_be_used_by_both_expressions() -> None:
    """They share their names and values."""
    update = Update("books", KEY, "SET #n = :v", condition="#n <> :v", names={"#n": "n"}, values={":v": 1})
    assert check_writes([update], OWN)[0].values == {":v": 1}


@pytest.mark.parametrize(
    "twice",
    [
        [Put("books", {"pk": "a"}), Delete("books", {"pk": "a"})],
        [Put(ARN.format("books"), {"pk": "a", "n": 1}), Update("books", {"pk": "a"}, "REMOVE n")],
        [Check("books", {"pk": 1}, "attribute_exists(pk)"), Delete("books", {"pk": 1.0})],
        [Delete("books", {"pk": "a", "sk": 1}), Put("books", {"pk": "a", "sk": 1, "n": [1, {"a": 2}]})],
        [Put("books", {"pk": "a", "n": [1]}), Put("books", {"pk": "a", "n": [1]})],
    ],
)
def test_two_writes_on_one_item_are_refused(twice: list[Write]) -> None:
    assert "on the same item as write 1, which DynamoDB refuses" in refused(*twice)


def test_writes_that_only_look_alike_are_taken() -> None:
    """Other tables, other keys, and keys of another type."""
    alike: list[Write] = [Delete("books", {"pk": "1"}), Delete("books", {"pk": 1}), Delete("other", {"pk": 1})]
    assert len(check_writes([*alike, Put("books", {"pk": "2"})], OWN)) == 4


@pytest.mark.parametrize("odd", [Delete("books", {"id": "b"}), Put("books", {"id": "b"})])
def test_a_table_has_one_kind_of_key(odd: Write) -> None:
    """Seen where another write on it has the key that its table has."""
    assert "its key is not made of" in refused(Delete("books", {"pk": "a"}), odd)


def test_items_are_measured_before_dynamodb_does() -> None:
    """400 KB an item, names included; 4 MB a transaction, less what the engine's own items need."""
    room = MAX_ITEM_BYTES - len("pk") - len("a") - len("x")
    assert check_writes([Put("books", {"pk": "a", "x": b"y" * room})], OWN)
    assert f"the item takes {MAX_ITEM_BYTES + 1} bytes" in refused(Put("books", {"pk": "a", "x": b"y" * (room + 1)}))
    many = [Put("books", {"pk": str(number), "x": b"y" * 390_000}) for number in range(9)]
    assert f"at most {MAX_TOTAL_BYTES} fit" in refused(*many)
    assert check_writes(many[:8], OWN)
    values = {":v": b"y" * 1000}
    assert write_size(check_writes([Update("books", KEY, "SET x = :v", values=values)], OWN)[0]) == 2 + 1 + 2 + 1000


def test_what_is_committed_is_what_was_returned() -> None:
    """Copies: a step that goes on with its dictionaries changes nothing."""
    item: dict[str, Any] = {"pk": "a", "n": [1]}
    names = {"#n": "n"}
    (write,) = check_writes([Put("books", item, condition="attribute_not_exists(#n)", names=names)], OWN)
    item["n"], names["#n"] = 7, "other"
    assert isinstance(write, Put)
    assert (write.item, write.names) == ({"pk": "a", "n": [1]}, {"#n": "n"})
    assert check_writes((), OWN) == ()


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("Value 'secret' at 'key.pk' failed", "The value at 'key.pk' failed"),
        (
            f"not authorized on resource: {ARN.format('books')} because",
            "not authorized on resource: table books because",
        ),
        (f"on {ARN.format('books')}/index/by-name, say", "on table books, say"),
        ("User: arn:aws:sts::123456789012:assumed-role/r/f is not", "User: (an ARN) is not"),
        ("key arn:aws-cn:kms:cn-north-1:123456789012:key/1-2", "key (an ARN)"),
        ("of account 123456789012.", "of account (an account)."),
        ("took 1234567890123 units", "took 1234567890123 units"),
        ("x" * 400, "x" * 300),
    ],
)
def test_what_dynamodb_says_is_shown_without_values_arns_and_accounts(message: str, shown: str) -> None:
    assert told(message) == shown


class Shown(str):  # noqa: SLOT000 - a subclass whose methods show another text
    """A text that shows itself as another."""

    def __str__(self) -> str:
        return "engine"

    def rpartition(self, _separator: str) -> tuple[str, str, str]:
        return "", "", "elsewhere"


def test_the_texts_of_a_write_are_plain() -> None:
    """Table, expressions and names: what they are counts, not what a subclass shows."""
    given = Put(
        Shown("orders"),
        {"pk": Shown("1")},
        condition=Shown("#a = :b"),
        names={Shown("#a"): Shown("pk")},
        values={Shown(":b"): Shown("c")},
    )
    (checked,) = check_writes([given], "engine")
    assert isinstance(checked, Put)
    assert checked == Put("orders", {"pk": "1"}, condition="#a = :b", names={"#a": "pk"}, values={":b": "c"})
    kept = (checked.table, checked.item["pk"], checked.condition, *(checked.names or {}).items().__iter__().__next__())
    assert {type(text) for text in kept} == {str}
    with pytest.raises(WriteRefused, match="own table"):
        check_writes([Put(Shown("engine"), {"pk": "1"})], "engine")
