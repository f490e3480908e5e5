"""Heads: the one item of an instance that is changed in place, so it is kept small.

The first entry stands in it while it stays under 1 KB, which a change then costs one unit for; the snapshot while it
stays under 4 KB, as writing, reading and removing it as an item of its own costs more. Otherwise each is a value that
the head names. Tags always stand in it, as listings filter by them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from hephaestus.engine.records import NOTHING
from hephaestus.engine.state import RESERVED, evolve
from hephaestus.store.items import FORMAT, KEPT_BY, list_key, list_time, of_children, recent_key, shard_of, wake_key
from hephaestus.store.keys import HEAD
from hephaestus.store.paused import HELD
from hephaestus.store.table import EXPIRES, item_bytes
from hephaestus.values.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hephaestus.engine.events import InstanceStarted
    from hephaestus.engine.state import State
    from hephaestus.store.table import Item, Value

# What a later head may have and an earlier one not: a longer status, an owner and a lease, an expiry.
RESERVE: Final = 16
OWNED: Final = len("owner") + 20 + len("lease_until") + 8
KEPT: Final = len(KEPT_BY) + 8
FAMILY: Final = "family"  # an attribute of who has children or a parent; it stays
NO_ALARM: Final[Mapping[str, Value | None]] = {"wake_shard": None, "wake_at": None}


@dataclass(frozen=True, slots=True)
class Sizes:
    """Up to how many bytes a thing stands where it belongs; above, it is a value.

    Attributes:
        first: a head with its first entry; DynamoDB: a write unit.
        head: a head with its snapshot; DynamoDB: a read unit.
        apart: a result, compressed.
    """

    first: int = 1024
    head: int = 4096
    apart: int = 4096


class Shards:
    """How many partitions the indexes are spread over.

    Args:
        wake, listing: how many; may grow, must not shrink.
    """

    def __init__(self, wake: int, listing: int) -> None:
        self.wake = wake
        self.listing = listing

    def alarm(self, instance_id: str, at: int) -> Mapping[str, Value]:
        """The attributes of an alarm."""
        return {"wake_shard": wake_key(shard_of(instance_id, self.wake)), "wake_at": at}

    def changes(self, state: State, expires: int | None) -> dict[str, Value | None]:
        """The attributes of a head that a boundary changes, but for the snapshot; ``None`` for those that go."""
        return {
            "status": state.status,
            "sequence": state.sequence,
            "owner": state.owner,
            "lease_until": state.lease_until or None,
            **(NO_ALARM if state.wake_at is None else self.alarm(state.instance_id, state.wake_at)),
            **({} if is_hidden(state) else self.listed(state)),
            "updated_at": state.updated_at,
            "quarantine": None,
            HELD: 1 if state.paused is not None and state.paused.look_at else None,
            EXPIRES: expires,
            **({FAMILY: 1} if state.attached or state.has_kin else {}),
        }

    def listed(self, state: State) -> Mapping[str, Value]:
        """The keys by which an instance is listed."""
        number = shard_of(state.instance_id, self.listing)
        shard = of_children(number) if state.attached or state.workflow.startswith(RESERVED) else number
        return {
            "list_key": list_key(state.workflow, state.status, shard),
            "recent_key": recent_key(state.status, shard),
        }

    def head(self, state: State, first_commit: str, earlier: tuple[str, ...]) -> dict[str, Value]:
        """The head of a life that begins, without its first entry."""
        item: dict[str, Value | None] = {
            "pk": state.instance_id,
            "sk": HEAD,
            "format": FORMAT,
            "life": state.life,
            "generation": state.generation,
            "workflow": state.workflow,
            "version": state.version,
            "created_at": state.created_at,
            "list_at": None if is_hidden(state) else f"{list_time(state.created_at)}#{state.instance_id}",
            "tags": state.tags or None,
            "first_commit": first_commit,
            "earlier": earlier or None,
            **self.changes(state, None),
        }
        return {name: value for name, value in item.items() if value is not None}


def is_hidden(state: State) -> bool:
    """Whether an instance is in no list: it runs a part of another's map (C.9)."""
    return state.part is not None


def room(head: Item, most: int) -> int:
    """How many bytes of one more attribute a head of at most ``most`` bytes has room for."""
    size = item_bytes(head)
    for name in ("snapshot", "snapshot_at"):
        if name in head:
            size -= item_bytes({name: head[name]})
    kept = KEPT if FAMILY in head and KEPT_BY not in head else 0
    return most - RESERVE - size - (0 if "owner" in head else OWNED) - kept - len("snapshot")


def lean(state: State) -> State:
    """A state without what its head and its first entry say."""
    return evolve(
        state,
        initial=NOTHING,
        tags=(),
        start_id="",
        life="",
        graph="",
        origin=None,
        owner=None,
        lease_until=0,
        wake_at=None,
    )


def fattened(snapshot: State, started: InstanceStarted, life: str, head: Mapping[str, Any]) -> State:
    """The state that a snapshot was made of."""
    return evolve(
        snapshot,
        initial=started.initial,
        tags=started.tags,
        start_id=started.start_id,
        life=life,
        graph=started.graph,
        origin=started.origin,
        owner=head.get("owner"),
        lease_until=head.get("lease_until", 0),
        wake_at=head.get("wake_at"),
    )
