"""What can be known of a step's writes before anything is committed.

Sources of the limits: the DynamoDB API Reference on TransactWriteItems, the Developer Guide on quotas and expressions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, TypeAlias, cast

from hephaestus.writes import Check, Delete, Put, Update, Write, WriteRefused, table_name
from hephaestus.writes.attributes import NotAnAttribute, frozen, item_size

MAX_ITEMS: Final = 100  # of a transaction
MAX_WRITES: Final = 99  # one is the log entry
MAX_ITEM_BYTES: Final = 400 * 1024
ENGINE_BYTES: Final = 800 * 1024  # of the log entry and the head, at most
MAX_TOTAL_BYTES: Final = 4 * 1024 * 1024 - ENGINE_BYTES
MAX_EXPRESSION_BYTES: Final = 4096
MAX_KEY_ATTRIBUTES: Final = 2
TABLE_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{3,255}")
TABLE: Final = re.compile(rf"(arn:[a-z-]+:dynamodb:[^:]+:[0-9]+:table/)?{TABLE_NAME.pattern}")
PLACEHOLDER: Final = re.compile(r"[#:][A-Za-z0-9_]+")

Refuse: TypeAlias = Callable[[str], WriteRefused]


def check_writes(writes: Sequence[Write], own_table: str | None) -> tuple[Write, ...]:
    """Check what a step handed over, before anything is committed.

    What only DynamoDB can know is left to it: whether the tables exist, what their keys are, whether an update makes an
    item too large, and, of two puts, whether they are of one item.

    Args:
        writes: as the step returned them.
        own_table: the engine's own table (``Store.own_table``), which no step may write.

    Returns:
        The writes with immutable copies of their values, for ``Store.append``.

    Raises:
        WriteRefused: too many, too large, malformed, two on one item, or one on the engine's own table.
    """
    if isinstance(writes, (str, bytes, Mapping)) or not isinstance(writes, Sequence):
        message = f"writes is a {type(writes).__name__}: pass a list of Put, Update, Delete and Check"
        raise WriteRefused(message)
    if len(writes) > MAX_WRITES:
        message = (
            f"there are {len(writes)} writes, at most {MAX_WRITES} fit: DynamoDB takes {MAX_ITEMS} items a "
            "transaction, and one is the step's result; spread them over several steps"
        )
        raise WriteRefused(message)
    writes = tuple(map(_plain, writes))
    for index, write in enumerate(writes):
        if not isinstance(write, (Put, Update, Delete, Check)):
            message = f"is a {type(write).__name__}: pass Put, Update, Delete or Check"
            raise WriteRefused(message, index, writes)
        _check_table(write.table, own_table, _refusing(index, writes))
    checked = tuple(_checked(write, _refusing(index, writes)) for index, write in enumerate(writes))
    total = sum(write_size(write) for write in checked)
    if total > MAX_TOTAL_BYTES:
        message = (
            f"the writes take {total} bytes together, at most {MAX_TOTAL_BYTES} fit: DynamoDB takes 4 MB a "
            "transaction, and the engine's own items need some; spread them over several steps"
        )
        raise WriteRefused(message)
    _check_items(checked)
    return checked


def _plain(write: Any) -> Any:
    """A write whose texts are plain ones: what a subclass of ``str`` shows is not what it is."""
    if not isinstance(write, (Put, Update, Delete, Check)):
        return write
    changes = {name: _text(getattr(write, name)) for name in ("table", *write.expressions)}
    if isinstance(write.names, Mapping):
        names = dict.items(write.names) if isinstance(write.names, dict) else write.names.items()
        changes["names"] = {_text(key): _text(value) for key, value in names}
    return replace(write, **changes)


def _text(value: Any) -> Any:
    return str.__str__(value) if isinstance(value, str) else value


def write_size(write: Write) -> int:
    """The bytes that a checked write brings: an item or key, and the values of its expressions."""
    return item_size(write.item if isinstance(write, Put) else write.key) + item_size(write.values or {})


def _refusing(index: int, writes: Sequence[Write]) -> Refuse:
    return lambda reason: WriteRefused(reason, index, writes)


def _check_table(table: object, own_table: str | None, refuse: Refuse) -> None:
    if not isinstance(table, str) or TABLE.fullmatch(table) is None:
        message = "the table is neither a name nor an ARN that DynamoDB takes"
        raise refuse(message)
    if own_table is not None and table_name(table) == table_name(own_table):
        message = "this is the engine's own table, which no step may write: use a table of your own"
        raise refuse(message)


def _checked(write: Write, refuse: Refuse) -> Write:
    """A write that is well formed, with immutable copies of its values."""
    try:
        changes: dict[str, Any] = {name: _document(getattr(write, name), name) for name in write.documents}
        if write.values is not None:
            changes["values"] = _document(write.values, "values")
    except NotAnAttribute as error:
        raise refuse(str(error)) from error
    _check_expressions(write, refuse)
    checked = replace(write, **changes)
    if isinstance(checked, Put):
        if (taken := item_size(checked.item)) > MAX_ITEM_BYTES:
            message = (
                f"the item takes {taken} bytes, DynamoDB keeps at most {MAX_ITEM_BYTES}: keep large data in S3, "
                "and its key in the item"
            )
            raise refuse(message)
    else:
        _check_key(checked.key, refuse)
    return checked


def _document(value: object, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        message = f"{name} is a {type(value).__name__}: pass a dict"
        raise NotAnAttribute(message)
    return cast("Mapping[str, Any]", frozen(value, name, -1))


def _check_key(key: Mapping[str, Any], refuse: Refuse) -> None:
    if not 1 <= len(key) <= MAX_KEY_ATTRIBUTES:
        message = f"the key has {len(key)} attributes: a table's key has one or two"
        raise refuse(message)
    for name, value in key.items():
        if isinstance(value, bool) or value is None or isinstance(value, (Mapping, list, frozenset)):
            message = f"key.{name} is no text, number or bytes: a key is made of these only"
            raise refuse(message)
        if value in ("", b""):
            message = f"key.{name} is empty, which DynamoDB does not take in a key"
            raise refuse(message)


def _check_expressions(write: Write, refuse: Refuse) -> None:
    """Expressions are texts, and use all placeholders that are given, and only these."""
    used: set[str] = set()
    for name in write.expressions:
        expression = getattr(write, name)
        if expression is None and name == "condition" and not isinstance(write, Check):
            continue
        if not isinstance(expression, str) or not expression.strip():
            message = f"{name} is no expression: pass a text that is not empty"
            raise refuse(message)
        if len(expression.encode(errors="replace")) > MAX_EXPRESSION_BYTES:
            message = f"{name} is longer than the {MAX_EXPRESSION_BYTES} bytes that DynamoDB takes"
            raise refuse(message)
        used.update(PLACEHOLDER.findall(expression))
    for name, mark in (("names", "#"), ("values", ":")):
        _check_placeholders(name, mark, getattr(write, name), {one for one in used if one[0] == mark}, refuse)


def _check_placeholders(name: str, mark: str, given: object, used: set[str], refuse: Refuse) -> None:
    if given is not None and not isinstance(given, Mapping):
        message = f"{name} is a {type(given).__name__}: pass a dict"
        raise refuse(message)
    known = given or {}
    for key, value in known.items():
        if not isinstance(key, str) or key[:1] != mark or PLACEHOLDER.fullmatch(key) is None:
            message = f"{name} has the key {key!r}: write {mark}, then letters, digits or _"
            raise refuse(message)
        if mark == "#" and (not isinstance(value, str) or not value):
            message = f"{name}[{key!r}] is no attribute's name: pass a text that is not empty"
            raise refuse(message)
    if missing := sorted(used - known.keys()):
        message = f"{name} lacks {', '.join(missing)}, which an expression uses"
        raise refuse(message)
    if unused := sorted(known.keys() - used):
        message = f"{name} has {', '.join(unused)}, which no expression uses: DynamoDB refuses that; leave it out"
        raise refuse(message)


def _check_items(writes: Sequence[Write]) -> None:
    """Refuse two writes on one item, as far as it can be seen: a put's key is known from the keys of other writes."""
    keys = {table_name(write.table): frozenset(write.key) for write in writes if not isinstance(write, Put)}
    seen: dict[Any, int] = {}
    for index, write in enumerate(writes):
        table = table_name(write.table)
        names = keys.get(table, frozenset(write.item) if isinstance(write, Put) else frozenset())
        document = write.item if isinstance(write, Put) else write.key
        if table in keys and not (names <= set(document) if isinstance(write, Put) else names == set(document)):
            message = f"its key is not made of {', '.join(sorted(names))} as that of another write on the table is"
            raise WriteRefused(message, index, writes)
        item = (table, _identity({name: document[name] for name in names}))
        if item in seen:
            message = (
                f"it is on the same item as write {seen[item] + 1}, which DynamoDB refuses: make one write of them, "
                "with both its changes and its condition"
            )
            raise WriteRefused(message, index, writes)
        seen[item] = index


def _identity(value: Any) -> Any:
    """Something hashable that is equal for equal frozen values."""
    if isinstance(value, Mapping):
        return frozenset((key, _identity(part)) for key, part in value.items())
    if isinstance(value, list):
        return tuple(map(_identity, value))
    return type(value), value
