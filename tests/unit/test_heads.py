"""Heads keep to their size."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from hephaestus.engine.state import State
from hephaestus.store.heads import Shards, Sizes, room
from hephaestus.store.keys import LAST_NUMBER
from hephaestus.store.table import item_bytes

NOW = 1_790_000_000_000


@given(st.text("aé", min_size=1, max_size=40), st.lists(st.text(max_size=9), max_size=3), st.booleans())
def test_a_head_holds_a_snapshot_that_fills_its_room_whatever_becomes_of_the_instance(
    name: str, tags: list[str], owned: bool
) -> None:
    """The longest status, the highest number, an owner and its lease: three bytes are left."""
    shards, most = Shards(4, 4), Sizes().head
    begun = State(f"{name}::1", 1, name, 1, "pending", 1, NOW, NOW, tags=tuple(tags), wake_at=NOW, life="f" * 26)
    if owned:
        begun = replace(begun, status="running", owner="f" * 20, lease_until=NOW)
    head = shards.head(begun, "c" * 20, ())
    later = replace(begun, status="compensating", sequence=LAST_NUMBER, owner="f" * 20, lease_until=NOW)
    largest = {**head, **shards.changes(later, None), "snapshot": b"x" * room(head, most)}
    size = item_bytes({key: value for key, value in largest.items() if value is not None})
    assert size == most - 3
