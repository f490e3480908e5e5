"""What the routes answer, in JSON's own types.

A value that is larger than ``LARGE`` is left out and named under ``large`` with its size; ``full`` asks for it. So a
list of entries stays quick, whatever the instances carry.
"""

from __future__ import annotations

import json
import re
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from hephaestus.console.counts import Counts
from hephaestus.definition import views
from hephaestus.errors import BadRequest, InstanceNotFound
from hephaestus.runtime.commands import ROUTED
from hephaestus.runtime.queries import read_filter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hephaestus.console.source import Connection, Json

LARGE: Final = 16_384  # characters of JSON
CARRIED: Final = (*sorted(views.CARRIED), "completed")
LISTED: Final = ("id", "key", "workflow", "version", "generation", "status", "created_at", "updated_at", "tags")
DEPLOYED: Final = 30.0  # seconds; what is deployed changes rarely
MAX_ENTRIES: Final = 200
MAX_LIMITS: Final = 100
MAX_FOUND: Final = 20
ACTIONS: Final = {command.action: command for command in ROUTED if "instance_id" in command.members}
OTHERS: Final = {
    (kind, command.action.removesuffix(f"_{kind}")): command
    for kind in ("limit", "schedule")
    for command in ROUTED
    if kind in command.members
}
"""What can be done to what is no instance, by what that is."""
ID: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}::.+")


class Service:
    """The console's reads and actions over one connection."""

    def __init__(self, connection: Connection, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.connection = connection
        self.counts = Counts(connection, monotonic)
        self._monotonic = monotonic
        self._deployed: tuple[float, Sequence[Json]] | None = None

    @property
    def actions(self) -> frozenset[str]:
        """The names of what can be done to an instance."""
        return frozenset(ACTIONS)

    def about(self) -> Json:
        """Where this is, who the caller is, and what is deployed."""
        return {"place": self.connection.place, "by": self.connection.by, "workflows": self.workflows()}

    def workflows(self) -> Sequence[Json]:
        """What is deployed, asked for at most once in ``DEPLOYED`` seconds."""
        now = self._monotonic()
        if self._deployed is None or now >= self._deployed[0]:
            self._deployed = (now + DEPLOYED, self.connection.workflows())
        return self._deployed[1]

    def list(self, query: Mapping[str, str]) -> Json:
        """A page: ``workflow``, ``version``, ``tag``, ``since``, ``until``, ``limit``, ``cursor``, and ``status``.

        Several statuses stand with commas, as in ``failed,cancelled``. With ``children`` those that have a parent are
        among them; of a ``parent`` its children are shown.
        """
        status = query.get("status")
        wanted = read_filter(
            workflow=query.get("workflow"),
            status=status.split(",") if status else None,
            version=_number(query, "version", 0) or None,
            tag=query.get("tag"),
            since=_time(query.get("since"), "since"),
            until=_time(query.get("until"), "until"),
            children="children" in query,
            parent=query.get("parent"),
        )
        return self.connection.list(wanted, limit=_number(query, "limit", 50), cursor=query.get("cursor"))

    def find(self, query: Mapping[str, str]) -> Json:
        """The instances that ``id`` may mean: a whole id, or the value of any workflow's business key."""
        text = query.get("id", "").strip()
        if not text:
            message = "id is empty: enter an instance's id, as orderid::abc123, or the part after the colons"
            raise BadRequest(message)
        found = [shown for shown in map(self._get, self._candidates(text)) if shown is not None]
        return {"items": [{name: shown[name] for name in LISTED if name in shown} for shown in found]}

    def get(self, instance_id: str, query: Mapping[str, str]) -> Json:
        """An instance; ``full`` leaves nothing out."""
        shown = self.connection.get(instance_id)
        if "full" not in query:
            shown = _shorten(shown)
            if "steps" in shown:
                shown["steps"] = {key: _shorten(step) for key, step in shown["steps"].items()}
        return shown

    def history(self, instance_id: str, query: Mapping[str, str]) -> Json:
        """A page of an instance's history: ``generation``, ``limit``, ``cursor``; ``full`` leaves nothing out."""
        page = self.connection.history(
            instance_id,
            generation=_number(query, "generation", 0) or None,
            limit=_number(query, "limit", MAX_ENTRIES),
            cursor=query.get("cursor"),
        )
        if "full" not in query:
            page["items"] = [
                {**entry, "events": [_shorten(event) for event in entry["events"]]} for entry in page["items"]
            ]
        return page

    def items(self, instance_id: str, query: Mapping[str, str]) -> Json:
        """A page of the items of a map: ``step``, ``status``, ``limit``, ``cursor``."""
        limit, status = _number(query, "limit", 100), query.get("status") or None
        page = self.connection.items(
            instance_id, query.get("step", ""), status=status, limit=limit, cursor=query.get("cursor")
        )
        return {**page, "items": [_shorten(item) for item in page["items"]]}

    def limits(self, query: Mapping[str, str]) -> Json:
        """A page of limits: ``name``, ``limit``, ``cursor``."""
        limit = _number(query, "limit", MAX_LIMITS)
        return self.connection.limits(query.get("name"), limit=limit, cursor=query.get("cursor"))

    def schedules(self) -> Json:
        """All schedules."""
        return {"items": list(self.connection.schedules())}

    def change(self, kind: str, action: str, name: str, body: Mapping[str, Any]) -> Json:
        """Do something to a limit or a schedule.

        Args:
            kind, action: which of ``OTHERS``.
            name: of the limit, or the schedule.
            body: the command's members.

        Returns:
            The id of the instance to look at next, if there is one: that which a trigger starts.

        Raises:
            BadRequest: the body has members that the action does not know, or that are malformed.
        """
        command = OTHERS[kind, action]
        done = self.connection.do(command.read(body, **{kind: name}, by=None))
        return {"id": done["id"]} if "id" in done else {}

    def act(self, action: str, instance_id: str, body: Mapping[str, Any]) -> Json:
        """Do something to an instance.

        Args:
            action: what, as a command is called.
            instance_id: to which.
            body: the command's members; ``request_id`` is its request id, however the command calls it.

        Returns:
            The id of the instance to look at next: the new one of a fork.

        Raises:
            BadRequest: the body has members that the action does not know, or that are malformed.
        """
        command = ACTIONS[action]
        members = dict(body)
        if command.named_by and "request_id" in members:
            members[command.named_by] = members.pop("request_id")
        call = command.read(members, instance_id=instance_id, by=None)
        return {"id": self.connection.do(call).get("id", instance_id)}

    def _get(self, instance_id: str) -> Json | None:
        try:
            return self.connection.get(instance_id)
        except (InstanceNotFound, BadRequest):
            return None

    def _candidates(self, text: str) -> Sequence[str]:
        if ID.fullmatch(text):
            return [text]
        found: dict[str, None] = {}
        for workflow in self.workflows():
            endings = [""]
            if workflow["scope"] == "version":
                endings = [f"::v{version['version']}" for version in workflow["versions"]]
            found.update(dict.fromkeys(f"{workflow['key']}::{text}{ending}" for ending in endings))
        return tuple(found)[:MAX_FOUND]


def _shorten(members: Mapping[str, Any]) -> Json:
    """``members`` without the large ones."""
    large = {}
    for name in CARRIED:
        if name in members:
            size = len(json.dumps(members[name], ensure_ascii=False, separators=(",", ":")))
            if size > LARGE:
                large[name] = size
    if not large:
        return dict(members)
    return {name: value for name, value in members.items() if name not in large} | {"large": large}


def _number(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 9):  # noqa: PLR2004 - more digits than any of them has
        message = f"{name} must be a whole number"
        raise BadRequest(message)
    return int(text)


def _time(text: str | None, name: str) -> datetime | None:
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        message = f"{name} is {text[:40]!r}: it must be a time, as in 2026-01-31T12:00:00Z"
        raise BadRequest(message) from error
