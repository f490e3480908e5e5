"""Heads keep to their size."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from hephaestus.engine.events import InstanceStarted
from hephaestus.engine.state import State
from hephaestus.store.heads import Shards, Sizes, fattened, lean, room
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
    for named in ({"snapshot": b"x" * 9}, {"snapshot_at": "snapshot7"}):
        assert room({**head, **named}, most) == room(head, most), "it takes the place of what is there"


FULL = State(
    *("w::1", 2, "w", 3, "waiting", 7, NOW, NOW + 1, "start", {"a": 1}, ("t",), {"m": 2}, "owner", NOW + 2, NOW + 3),
    life="life",
)


def test_a_boundary_changes_every_attribute_that_the_indexes_and_an_owner_have() -> None:
    changes = Shards(1, 1).changes(FULL, 9)
    assert changes == {
        "status": "waiting",
        "sequence": 7,
        "owner": "owner",
        "lease_until": NOW + 2,
        "updated_at": NOW + 1,
        "wake_shard": "wake#0",
        "wake_at": NOW + 3,
        "list_key": "w#waiting#0",
        "recent_key": "recent#0",
        "quarantine": None,
        "held": None,
        "expires": 9,
    }
    gone = Shards(1, 1).changes(replace(FULL, owner=None, lease_until=0, wake_at=None, status="failed"), None)
    none = ("owner", "lease_until", "wake_shard", "wake_at", "quarantine", "expires")
    assert {key: gone[key] for key in none} == dict.fromkeys(none)
    assert (gone["list_key"], gone["recent_key"]) == ("w#failed#0", "apart#0")


def test_a_snapshot_leaves_out_what_its_head_and_first_entry_say_and_gets_it_back() -> None:
    bare = lean(FULL)
    assert bare == State("w::1", 2, "w", 3, "waiting", 7, NOW, NOW + 1, metadata={"m": 2})
    started = InstanceStarted("w", 3, start_id="start", initial={"a": 1}, tags=("t",))
    assert fattened(bare, started, "life", Shards(1, 1).changes(FULL, None)) == FULL
    assert fattened(bare, started, "life", {}) == replace(FULL, owner=None, lease_until=0, wake_at=None)


def test_a_head_is_kept_to_dynamodbs_units() -> None:
    assert Sizes() == Sizes(first=1024, head=4096, apart=4096), "a write unit; a read unit"
