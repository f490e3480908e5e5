"""Where the messages of a conversation are kept: each once, under its number, never in the state of a workflow."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from hephaestus import Put

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from agent.model import Message
    from hephaestus import Write


class Transcript(Protocol):
    """The messages of all conversations."""

    def read(self, conversation: str, first: int, end: int) -> list[Message]:
        """The messages from number ``first`` up to, but not with, ``end``; what stands behind is of no account."""

    def write(self, conversation: str, number: int, message: Message) -> Sequence[Write]:
        """Keep a message, in place of one with its number: what the step hands over with its result."""


class Table:
    """A table of your own, with the keys ``pk`` (a string) and ``sk`` (a number). Messages are written exactly once.

    A message is one item, so that it has at most 400 KB.

    Args:
        name: the table's name.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    @cached_property
    def pages(self) -> Any:
        """What asks the table, made when it is first needed."""
        import boto3  # noqa: PLC0415 - a cold start of what reads no messages should not pay for it

        return boto3.client("dynamodb").get_paginator("query")

    def read(self, conversation: str, first: int, end: int) -> list[Message]:
        """Ask for them, a megabyte a request."""
        if first >= end:
            return []
        pages = self.pages.paginate(
            TableName=self.name,
            KeyConditionExpression="pk = :pk AND sk BETWEEN :first AND :last",
            ExpressionAttributeValues={
                ":pk": {"S": conversation},
                ":first": {"N": str(first)},
                ":last": {"N": str(end - 1)},
            },
            ConsistentRead=True,
        )
        return [json.loads(item["message"]["S"]) for page in pages for item in page["Items"]]

    def write(self, conversation: str, number: int, message: Message) -> Sequence[Write]:
        """One write, for ``Completed(writes=…)``."""
        return [Put(self.name, {"pk": conversation, "sk": number, "message": json.dumps(message)})]


@dataclass(frozen=True, slots=True)
class Folder:
    """Files on this machine, for ``hephaestus dev`` and ``run``, which have no tables. They are written at least once.

    Attributes:
        path: the folder, made when it is first written to.
    """

    path: Path

    def read(self, conversation: str, first: int, end: int) -> list[Message]:
        """Read a file each."""
        return [json.loads(self._file(conversation, number).read_text("utf-8")) for number in range(first, end)]

    def write(self, conversation: str, number: int, message: Message) -> Sequence[Write]:
        """Write it at once."""
        file = self._file(conversation, number)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(message), "utf-8")
        return ()

    def _file(self, conversation: str, number: int) -> Path:
        return self.path / conversation / f"{number}.json"
