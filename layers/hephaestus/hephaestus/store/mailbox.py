"""Mailboxes: what other instances put into an instance's partition, one item each, with an alarm of its own.

Mail is put before its wake is sent. The owner takes it: first the commit that says the same, then it is deleted.
Reading is strongly consistent. The rules are D.1 and D.3 in ``docs/rules.md``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from hephaestus.engine.codec import dump_value, load_value
from hephaestus.engine.mail import Mail
from hephaestus.engine.records import Failure
from hephaestus.store.items import FORMAT, attribute, check_format
from hephaestus.store.keys import end_of, mail_key, mail_prefix, read_mail_key
from hephaestus.store.table import ABSENT, ALWAYS, EXPIRES, PRESENT, item_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hephaestus.store.heads import Shards
    from hephaestus.store.table import Item, Table, Value

LARGEST: Final = 1024  # bytes of an item; DynamoDB: a write unit
DAY: Final = 24 * 3600


class Mailboxes:
    """The mailboxes of all instances of a table.

    Args:
        table: the table.
        shards: of its index of alarms.
    """

    def __init__(self, table: Table, shards: Shards) -> None:
        self.table = table
        self.shards = shards

    def put(self, mail: Mail, at: int) -> bool:
        """Put mail, to be looked at from ``at`` (ms) on; ``False`` if it is there already, read or not (D.1)."""
        item = self._item(mail, at)
        if item_bytes(item) > LARGEST and mail.output is not None:
            item = self._item(replace(mail, output=None), at)
        if (over := item_bytes(item) - LARGEST) > 0 and mail.error is not None:
            message = mail.error.message
            short = replace(mail.error, message=message[: max(len(message) - over, 0)], trace="")
            item = self._item(replace(mail, output=None, error=short), at)
        return self.table.put(item, ABSENT)

    def read(self, instance_id: str, life: str) -> Sequence[Mail]:
        """All mail of a life in order of name, whether it has an alarm or not.

        Raises:
            CorruptLog: one cannot be read.
        """
        prefix = mail_prefix(life)
        return [_mail(item) for item in self.table.query(instance_id, low=prefix, high=end_of(prefix))]

    def delete(self, mail: Mail) -> None:
        """Remove mail that was read; after the commit that took it, or where its activation is settled."""
        self.table.delete(mail.to, mail_key(mail.life, mail.activation, mail.number), ALWAYS)

    def quiet(self, instance_id: str, key: str, expires: int | None = None) -> None:
        """Remove the alarm of mail, if it is there; it may be read until it ``expires`` (s), if ever."""
        changes: dict[str, Value | None] = {"wake_shard": None, "wake_at": None}
        if expires is not None:
            changes[EXPIRES] = expires
        self.table.update(instance_id, key, changes, PRESENT)

    def expire(self, instance_id: str, key: str, now: int) -> None:
        """Have mail go in a day: at ``now`` (ms) there is no instance, or no longer the life, that it is for (D.3)."""
        self.quiet(instance_id, key, now // 1000 + DAY)

    def _item(self, mail: Mail, at: int) -> Item:
        told: dict[str, Any] = {"child": mail.child, "life": mail.child_life, "status": mail.status}
        if mail.output is not None:
            told["output"] = dict(mail.output)
        if mail.error is not None:
            told["error"] = [mail.error.type, mail.error.message]
        if mail.stuck:
            told["stuck"] = True
        if mail.ended_at:
            told["at"] = mail.ended_at
        key = mail_key(mail.life, mail.activation, mail.number)
        item: Item = {"pk": mail.to, "sk": key, "format": FORMAT, "at": at, "data": dump_value(told)}
        return {**item, **self.shards.alarm(mail.to, at)}


def _mail(item: Item) -> Mail:
    told: Mapping[str, Any] = load_value(attribute(check_format(item), "data", bytes))
    life, activation, number = read_mail_key(str(item["sk"]))
    error = Failure(*told["error"]) if "error" in told else None
    own = (
        told["child"],
        told["life"],
        told["status"],
        told.get("output"),
        error,
        told.get("stuck", False),
        told.get("at", 0),
    )
    return Mail(str(item["pk"]), life, activation, number, *own)
