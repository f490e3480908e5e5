"""Writes on a user's own tables, committed exactly once: in the same transaction as the result of the step.

>>> from hephaestus import Completed, Put, Update, step
>>> @step(events=("paid",))
... def charge(ctx):
...     paid = {"pk": ctx.instance_id, "amount": 1250}
...     return Completed(
...         "paid",
...         writes=[
...             Put("payments", paid, condition="attribute_not_exists(pk)"),
...             Update("totals", {"pk": "today"}, "ADD amount :a", values={":a": 1250}),
...         ],
...     )

All of them happen, and the step is completed, or none of them does. A condition that fails is the failure of the
step (``ConditionFailed``): its retry policy decides whether it runs again, reads again and decides again. A write that
cannot succeed as it is (``WriteRefused``) is never tried again.

A transaction needs the permissions of what is in it: the functions that run steps need ``dynamodb:PutItem``,
``dynamodb:UpdateItem``, ``dynamodb:DeleteItem`` and ``dynamodb:ConditionCheckItem`` on these tables. The template's
parameter ``StepPolicyArn`` gives them. The tables must be in the account and region of the engine's own.
"""

from __future__ import annotations

import re
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeAlias

from hephaestus.errors import NonRetryable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAX_SHOWN: Final = 300  # characters of what DynamoDB says
HIDDEN: Final = (
    (re.compile(r"Value '.*' at '", re.DOTALL), "The value at '"),
    (re.compile(r"arn:[a-z-]+:dynamodb:[^:\s]*:[^:\s]*:table/([A-Za-z0-9_.-]+)[^\s,;]*"), r"table \1"),
    (re.compile(r"arn:[^\s,;]+"), "(an ARN)"),
    (re.compile(r"(?<![0-9])[0-9]{12}(?![0-9])"), "(an account)"),
)


@dataclass(frozen=True, slots=True)
class Put:
    """Put an item, in place of one that has its key.

    Attributes:
        table: the table's name or ARN.
        item: the whole item, its key included.
        condition: what must hold of the item that is there now, as a DynamoDB condition expression.
        names: what ``#name`` stands for in the expression.
        values: what ``:value`` stands for in the expression.
    """

    expressions: ClassVar[tuple[str, ...]] = ("condition",)
    documents: ClassVar[tuple[str, ...]] = ("item",)

    table: str
    item: Mapping[str, Any]
    _: KW_ONLY
    condition: str | None = None
    names: Mapping[str, str] | None = None
    values: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Update:
    """Update an item; one that is not there is made, unless ``condition`` forbids it.

    Attributes:
        table: the table's name or ARN.
        key: the item's key.
        update: a DynamoDB update expression.
        condition: what must hold of the item before, as a DynamoDB condition expression.
        names: what ``#name`` stands for in the expressions.
        values: what ``:value`` stands for in the expressions.
    """

    expressions: ClassVar[tuple[str, ...]] = ("update", "condition")
    documents: ClassVar[tuple[str, ...]] = ("key",)

    table: str
    key: Mapping[str, Any]
    update: str
    _: KW_ONLY
    condition: str | None = None
    names: Mapping[str, str] | None = None
    values: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete an item; one that is not there is no error, unless ``condition`` asks for it.

    Attributes:
        table: the table's name or ARN.
        key: the item's key.
        condition: what must hold of the item before, as a DynamoDB condition expression.
        names: what ``#name`` stands for in the expression.
        values: what ``:value`` stands for in the expression.
    """

    expressions: ClassVar[tuple[str, ...]] = ("condition",)
    documents: ClassVar[tuple[str, ...]] = ("key",)

    table: str
    key: Mapping[str, Any]
    _: KW_ONLY
    condition: str | None = None
    names: Mapping[str, str] | None = None
    values: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """Change nothing, but let the other writes and the step's result happen only where ``condition`` holds.

    Attributes:
        table: the table's name or ARN.
        key: the key of the item that the condition is about.
        condition: a DynamoDB condition expression.
        names: what ``#name`` stands for in the expression.
        values: what ``:value`` stands for in the expression.
    """

    expressions: ClassVar[tuple[str, ...]] = ("condition",)
    documents: ClassVar[tuple[str, ...]] = ("key",)

    table: str
    key: Mapping[str, Any]
    condition: str
    _: KW_ONLY
    names: Mapping[str, str] | None = None
    values: Mapping[str, Any] | None = None


Write: TypeAlias = Put | Update | Delete | Check


class WriteFailed(Exception):
    """A write that a step handed over did not happen, and so nothing of its commit did.

    Attributes:
        index: which of the writes, from 0; ``None`` where DynamoDB does not say.
        write: the write itself; ``None`` where DynamoDB does not say which.
        reason: what was wrong and how to fix it, without anything of the item.
    """

    def __init__(self, reason: str, index: int | None = None, writes: Sequence[Write] = ()) -> None:
        self.index = index
        self.write = None if index is None or not writes else writes[index]
        self.reason = reason
        super().__init__(f"{_which(index, writes)}: {reason}")


class ConditionFailed(WriteFailed):
    """A write's condition did not hold. The step's retry policy decides whether it runs again."""


class WriteRefused(WriteFailed, NonRetryable):
    """A write that cannot succeed as it is: the step fails at once, whatever its retry policy."""


def label(write: Write) -> str:
    """Kind and table, as history shows a write."""
    return f"{type(write).__name__} {table_name(write.table)}"


def table_name(table: str) -> str:
    """The name of a table that is given by its name or its ARN."""
    return table.rpartition("/")[2]


def told(message: str) -> str:
    """What DynamoDB said, shortened, and without what it repeats in some of its messages: values, ARNs and accounts.

    Of a table's ARN its name is left.
    """
    for found, instead in HIDDEN:
        message = found.sub(instead, message)
    return message[:MAX_SHOWN]


def _which(index: int | None, writes: Sequence[Write]) -> str:
    """Position, kind and table of a write, or the tables of all."""
    tables = ", ".join(dict.fromkeys(map(_named, writes)))
    if index is None or not writes:
        return f"the writes on {tables}" if tables else "the writes"
    write = writes[index]
    return f"write {index + 1} of {len(writes)} ({type(write).__name__} on {_named(write)})"


def _named(write: object) -> str:
    """The table of what may be no write."""
    return table_name(str(getattr(write, "table", "?")))
