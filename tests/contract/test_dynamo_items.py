"""What only the DynamoDB store has: requests, expiry, sizes, S3, and items that somebody has damaged."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus.adapters.dynamodb import DynamoTable
from hephaestus.adapters.s3 import S3Blobs
from hephaestus.adapters.session import LazyClient
from hephaestus.engine.events import Claimed, EventReceived, Redriven, StepWaiting
from hephaestus.engine.fold import begin, fold
from hephaestus.errors import AlreadyRunning, CorruptLog, EngineError, PayloadTooLarge, StoreUnavailable
from hephaestus.store.filters import ListFilter
from hephaestus.store.items import INDEXES
from hephaestus.store.keys import log_key
from hephaestus.store.store import Store
from tests.contract.instances import T0, claim, commit, everything, finish, start, started, step, suspend, write

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.contract.conftest import Dynamo

DAY = 24 * 3600


def noise(size: int, seed: int = 1) -> str:
    """Text of ``size`` characters that hardly compresses."""
    letters = "".join(chr(code) for code in range(33, 127) if chr(code) not in '"\\')
    return "".join(random.Random(seed).choices(letters, k=size))


# --- Requests ---------------------------------------------------------------------------------------------------------


def test_a_suspended_instance_is_loaded_by_one_read(dynamo: Dynamo) -> None:
    """However long its history is, a resume reads one item: the log is history."""
    store = dynamo.store()
    state = claim(store, started(store, "orderid::a"))
    for number in range(12):
        state = write(store, state, step(f"step-{number}"))
    state = suspend(store, state)
    dynamo.requests.clear()
    assert store.load("orderid::a") == state
    assert dict(dynamo.requests) == {"Query": 1}


def test_an_owned_instance_is_loaded_with_the_tail_of_its_log(dynamo: Dynamo) -> None:
    """An owner may have written more than its head shows: one entry comes with the head, more by another query."""
    store = dynamo.store()
    state = claim(store, started(store, "orderid::a"))
    dynamo.requests.clear()
    assert store.load("orderid::a") == state
    assert dict(dynamo.requests) == {"Query": 1}
    state = write(store, state, step("one"))
    dynamo.requests.clear()
    assert store.load("orderid::a") == state
    assert dict(dynamo.requests) == {"Query": 2}


def test_the_log_is_read_page_by_page(dynamo: Dynamo) -> None:
    """A tail of more than the 1 MB that one answer holds is read whole."""
    store = dynamo.store()
    state = claim(store, started(store, "orderid::a"))
    for number in range(24):
        many = (step(f"step-{number}-{part}", text=noise(3_900, 100 * number + part)) for part in range(15))
        state = write(store, state, *many)
    dynamo.requests.clear()
    assert store.load("orderid::a") == state
    assert dynamo.requests["Query"] > 2


def test_other_processes_see_the_same(dynamo: Dynamo) -> None:
    """Two stores with connections of their own, one table: several tables and endpoints work in one process."""
    state = claim(dynamo.store(), started(dynamo.again(), "orderid::a"))
    assert dynamo.again().load("orderid::a") == state
    other = dynamo.another_table()
    other.create()
    assert Store(other).load("orderid::a") is None


# --- Expiry -----------------------------------------------------------------------------------------------------------


def ttl(item: dict[str, Any] | None) -> int | None:
    """When an item expires, in seconds since the epoch."""
    assert item is not None
    return int(item["expires"]["N"]) if "expires" in item else None


def test_only_a_closed_instance_expires(dynamo: Dynamo) -> None:
    """A head has a time to live once its instance has ended, and loses it when the id is started again."""
    store = dynamo.store(retention_days=30)
    state = claim(store, started(store, "orderid::a"))
    state = suspend(store, write(store, state, step("one")))
    assert ttl(dynamo.item("orderid::a")) is None
    state = finish(store, claim(store, state))
    closed = state.updated_at // 1000 + 30 * DAY
    assert ttl(dynamo.item("orderid::a")) == closed
    assert ttl(dynamo.item("orderid::a", log_key(state.life, state.sequence))) == closed + 366 * DAY
    assert ttl(dynamo.item("orderid::a", log_key(state.life, 2))) == T0 // 1000 + (30 + 366) * DAY
    started(store, "orderid::a", at=T0 + 10_000)
    assert ttl(dynamo.item("orderid::a")) is None
    superseded = dynamo.item("orderid::a", log_key(state.life, state.sequence + 1))
    assert ttl(superseded) == (T0 + 10_000) // 1000 + (30 + 366) * DAY


def test_what_is_redriven_expires_no_more(dynamo: Dynamo) -> None:
    """Nor does the entry that had closed it expire before the others: its history stays whole."""
    store = dynamo.store(retention_days=30)
    state = finish(store, claim(store, started(store, "orderid::a")), "failed")
    assert ttl(dynamo.item("orderid::a")) is not None
    state = write(store, state, Redriven("pending"))
    assert ttl(dynamo.item("orderid::a")) is None
    assert store.load("orderid::a") == state
    expiries = [ttl(dynamo.item("orderid::a", log_key(state.life, number))) for number in (2, 3, 4)]
    assert expiries == sorted(expiries, key=lambda expiry: expiry or 0)


def test_without_a_retention_nothing_expires(dynamo: Dynamo) -> None:
    """By default everything is kept."""
    store = dynamo.store()
    state = finish(store, claim(store, started(store, "orderid::a")))
    assert ttl(dynamo.item("orderid::a")) is None
    assert ttl(dynamo.item("orderid::a", log_key(state.life, state.sequence))) is None


def test_what_an_expired_instance_left_behind_is_of_another_life(dynamo: Dynamo) -> None:
    """Invariant 1: entries that outlive their head neither block the id's next life nor show up in it."""
    store = dynamo.store(retention_days=1)
    state = claim(store, started(store, "orderid::a"))
    for number in range(4):
        state = write(store, state, step(f"old-{number}"))
    finish(store, state)
    dynamo.delete("orderid::a", "head")

    later = T0 + 400 * DAY * 1000
    new = write(store, claim(store, started(store, "orderid::a", at=later)), step("new"))
    assert (new.generation, new.sequence) == (1, 3)
    assert store.load("orderid::a") == new
    assert [entry.at >= later for entry in everything(store, new)] == [True] * 3
    assert store.load("orderid::a") == new


# --- Sizes ------------------------------------------------------------------------------------------------------------


def test_values_up_to_the_limit_are_kept_in_the_table(dynamo: Dynamo) -> None:
    """Start data, a payload and a step's results of 64 KiB each."""
    store = dynamo.store()
    assert store.max_value_bytes == 64 * 1024
    big = noise(64 * 1024)
    state = claim(store, started(store, "orderid::a", initial={"n": big}))
    state = write(store, state, step("one", text=big), EventReceived("two", "go", "e1", big))
    state = suspend(store, state)
    assert store.load("orderid::a") == state


def test_a_commit_that_no_item_holds_is_refused(dynamo: Dynamo) -> None:
    """An item has at most 400 KB: nothing is written, the message names the instance, and it goes on with less."""
    store = dynamo.store()
    state = claim(store, started(store, "orderid::a"))
    after, entry = commit(state, *(step(f"s{n}", text=noise(3_900, n)) for n in range(140)))
    with pytest.raises(PayloadTooLarge, match="orderid::a"):
        store.commit(after, entry)
    assert write(store, state, step("small")).sequence == 3


def test_a_snapshot_is_always_stored_whatever_its_size(dynamo: Dynamo) -> None:
    """Above 250 KB it used to be left out, so that an open instance that outlived its log could not be read."""
    store = dynamo.store(retention_days=1)
    state = claim(store, started(store, "orderid::a", initial={"n": noise(60_000)}))
    for number in range(12):
        many = (step(f"step-{number}-{part}", text=noise(3_900, 100 * number + part)) for part in range(15))
        state = write(store, state, *many)
    state = suspend(store, write(store, state, StepWaiting("approval", T0)))
    for number in range(2, state.sequence + 1):
        dynamo.delete("orderid::a", log_key(state.life, number))  # all of it has expired
    assert store.load("orderid::a") == state
    state = write(store, state, EventReceived("approval", "ok", "e1"), Claimed("two", T0 + 10**6))
    assert store.load("orderid::a") == state
    state = finish(store, state)
    assert store.load("orderid::a") == state


def test_an_open_instance_is_never_read_from_what_may_expire(dynamo: Dynamo) -> None:
    """Older than its retention and a year, it has lost its oldest entries: its history goes back to the first left."""
    store = dynamo.store(retention_days=1)
    state = claim(store, started(store, "orderid::a", initial={"n": noise(10_000)}))
    state = write(store, state, step("one", text=noise(10_000)))
    state = suspend(store, write(store, state, StepWaiting("approval", T0)))
    assert [ttl(item) for item in dynamo.items("orderid::a") if item["sk"]["S"].startswith("value#")] == [None, None]
    for number in (2, 3):
        dynamo.delete("orderid::a", log_key(state.life, number))
    assert store.load("orderid::a") == state
    found = store.history("orderid::a", None, 0, 100)
    assert found is not None
    assert [entry.sequence for entry in found[1]] == [1, *range(4, state.sequence + 1)]
    closed = finish(store, claim(store, state))
    expiries = {ttl(item) for item in dynamo.items("orderid::a") if item["sk"]["S"].startswith("value#")}
    assert expiries == {closed.updated_at // 1000 + 367 * DAY}


def test_a_deleted_instance_leaves_nothing_behind(dynamo: Dynamo) -> None:
    """Neither its head nor its logs and values, of all its lives; what stays for a day says nothing of it."""
    store = dynamo.store()
    finish(store, claim(store, started(store, "orderid::a", initial={"n": noise(10_000)})))
    state = write(store, claim(store, started(store, "orderid::a", at=T0 + 9)), step("one", text=noise(10_000)))
    with pytest.raises(AlreadyRunning):
        store.delete("orderid::a", T0)
    state = finish(store, state, "failed")
    assert store.delete("orderid::a", T0)
    left = dynamo.items("orderid::a")
    assert left[0]["sk"]["S"] == log_key(state.life, state.sequence + 1)
    for item in left:
        assert item["sk"]["S"].startswith("log#")
        assert item.keys() - {"next_life"} == {"pk", "sk", "format", "commit_id", "at", "ends", "expires"}
        assert ttl(item) == T0 // 1000 + DAY
    assert store.load("orderid::a") is None
    assert store.history("orderid::a", None, 0, 9) is None
    assert not store.delete("orderid::a", T0)
    late, entry = commit(state, Redriven("pending"))
    assert store.commit(late, entry) is None, "what was decided before comes too late"
    assert started(store, "orderid::a", at=T0 + 99).generation == 1


# --- S3 ---------------------------------------------------------------------------------------------------------------


def bucket_at(endpoint: str | None) -> S3Blobs:
    """An empty bucket."""
    name = f"large-values-{random.randrange(10**12)}"
    client = LazyClient("s3", "eu-west-1", endpoint)
    client.get().create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    return S3Blobs(name, client)


@pytest.fixture
def bucket(moto_server: str) -> S3Blobs:
    """An empty bucket of moto's server."""
    return bucket_at(moto_server)


def test_large_values_go_to_s3(dynamo: Dynamo, moto_server: str) -> None:
    """With a bucket a value may be of any size; the table holds where it is."""
    store = dynamo.store(blobs=bucket_at(None if dynamo.engine == "moto" else moto_server))
    assert store.max_value_bytes is None
    state = claim(store, started(store, "orderid::a", initial={"n": noise(600_000)}))
    state = write(store, state, step("one", text=noise(900_000, 2)))
    assert store.load("orderid::a") == state
    state = finish(store, state)
    assert store.load("orderid::a") == state
    log = everything(store, state)
    assert fold(begin("orderid::a", 1, log[0], state.life), log[1:]) == state
    head = dynamo.item("orderid::a")
    assert head is not None
    assert "s3" in {name for item in dynamo.items("orderid::a") for name in item}
    assert max(len(item["data"]["B"]) for item in dynamo.items("orderid::a") if "data" in item) < 1_000
    again = started(store, "orderid::a", at=T0 + 10_000)
    assert store.history("orderid::a", 1, 0, 100) == (1, log)
    assert again.generation == 2


def test_a_value_that_is_missing_in_s3_is_named(local: Dynamo, bucket: S3Blobs) -> None:
    """Nothing is half-read: the instance is named, the others are as they were."""
    store = local.store(blobs=bucket)
    state = started(store, "orderid::a", initial={"n": noise(600_000)})
    with pytest.raises(CorruptLog, match=r"orderid::a.*no bucket"):
        local.store().load("orderid::a")
    listed = bucket.client.get().list_objects_v2(Bucket=bucket.bucket)["Contents"]
    for found in listed:
        bucket.client.get().delete_object(Bucket=bucket.bucket, Key=found["Key"])
    with pytest.raises(CorruptLog, match=r"orderid::a.*missing in S3"):
        store.load(state.instance_id)


def test_a_bucket_that_refuses_loses_nothing(local: Dynamo, bucket: S3Blobs) -> None:
    """If S3 refuses a value, its commit is not written: the log never points to nothing."""
    state = claim(local.store(), started(local.store(), "orderid::a"))
    for blobs, expected in (
        (S3Blobs("no-such-bucket", bucket.client), EngineError),
        (S3Blobs("b", LazyClient("s3", "eu-west-1", "http://127.0.0.1:9")), StoreUnavailable),
    ):
        after, entry = commit(state, step("one", text=noise(300_000)))
        with pytest.raises(expected) as caught:
            local.store(blobs=blobs).commit(after, entry)
        assert "no-such-bucket" not in str(caught.value)
    assert local.store().load("orderid::a") == state


# --- Damage -----------------------------------------------------------------------------------------------------------

DAMAGE: list[tuple[str, dict[str, Any] | None]] = [
    ("first", {"B": b"Zgarbage"}),
    ("first", {"B": b""}),
    ("first", {"B": b"J[]"}),
    ("first", {"B": b'J[["Suspended",{}]]'}),
    ("first", {"S": "text"}),
    ("first", None),
    ("snapshot", {"B": b"Z"}),
    ("snapshot", {"B": b"J{}"}),
    ("snapshot", {"B": b"?"}),
    ("generation", {"S": "1"}),
    ("generation", {"N": "2"}),
    ("generation", None),
    ("sequence", {"N": "99"}),
    ("created_at", None),
    ("life", {"N": "2"}),
    ("format", {"N": "3"}),
    ("format", None),
]


@pytest.mark.parametrize(("name", "value"), DAMAGE)
def test_a_damaged_head_is_refused_by_name(local: Dynamo, name: str, value: dict[str, Any] | None) -> None:
    """Stored data that cannot be read is never guessed about: the error names the instance, others are untouched."""
    store = local.store()
    suspend(store, claim(store, started(store, "orderid::a")))
    healthy = started(store, "orderid::b")
    local.overwrite("orderid::a", "head", name, value)
    with pytest.raises(CorruptLog, match="orderid::a"):
        store.load("orderid::a")
    assert store.load("orderid::b") == healthy


def test_a_snapshot_cut_short_is_refused(local: Dynamo) -> None:
    """A snapshot that lost its end is not read as a shorter one."""
    store = local.store()
    suspend(store, claim(store, started(store, "orderid::a", metadata={"text": "long enough to be deflated " * 40})))
    head = local.item("orderid::a")
    assert head is not None
    whole = bytes(head["snapshot"]["B"])
    for length in range(0, len(whole), 7):
        local.overwrite("orderid::a", "head", "snapshot", {"B": whole[:length]})
        with pytest.raises(CorruptLog, match="orderid::a"):
            store.load("orderid::a")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("data", {"B": b"Jnothing"}),
        ("data", {"B": b'J[["NewEvent",{}]]'}),
        ("data", {"N": "1"}),
        ("data", None),
        ("at", None),
        ("commit_id", None),
        ("format", {"N": "7"}),
    ],
)
def test_a_damaged_entry_is_refused_by_name(local: Dynamo, name: str, value: dict[str, Any] | None) -> None:
    """The same for log entries, whoever reads them."""
    store = local.store()
    state = claim(store, started(store, "orderid::a"))
    write(store, state, step("one"))
    local.overwrite("orderid::a", log_key(state.life, 3), name, value)
    for read in (
        lambda: store.load("orderid::a"),
        lambda: store.tail(state),
        lambda: store.history("orderid::a", None, 0, 9),
    ):
        with pytest.raises(CorruptLog, match="orderid::a"):
            read()


def test_a_missing_entry_is_noticed(local: Dynamo) -> None:
    """Invariant 1: a log with a gap is corrupt, not shorter."""
    store = local.store()
    state = claim(store, started(store, "orderid::a"))
    for number in range(3):
        state = write(store, state, step(f"step-{number}"))
    local.delete("orderid::a", log_key(state.life, 4))
    with pytest.raises(CorruptLog, match=r"orderid::a.*entry 4"):
        store.load("orderid::a")
    with pytest.raises(CorruptLog, match=r"orderid::a.*entry 4"):
        store.history("orderid::a", 1, 0, 100)


def test_a_head_ahead_of_its_log_is_noticed(local: Dynamo) -> None:
    """A head that says more than its log is corrupt."""
    store = local.store()
    suspend(store, claim(store, started(store, "orderid::a")))
    local.overwrite("orderid::a", "head", "snapshot", None)
    with pytest.raises(CorruptLog, match="orderid::a"):
        store.load("orderid::a")


# --- Errors -----------------------------------------------------------------------------------------------------------


def test_a_table_that_is_not_there_is_not_named(local: Dynamo) -> None:
    """What is wrong with the installation is said without its names."""
    store = Store(local.another_table())
    calls: list[Callable[[], object]] = [lambda: store.load("orderid::a"), lambda: started(store, "orderid::a")]
    for call in calls:
        with pytest.raises(EngineError, match="ResourceNotFoundException") as caught:
            call()
        assert str(store.table.name) not in str(caught.value)


def test_no_answer_is_a_passing_condition() -> None:
    """Whoever called may call again."""
    store = Store(DynamoTable("t", INDEXES, "eu-west-1", "http://127.0.0.1:9", connect_timeout=0.2, max_attempts=1))
    state = start("orderid::a").state
    after, entry = commit(state, Claimed("me", T0))
    calls: list[Callable[[], object]] = [
        lambda: store.load("orderid::a"),
        lambda: start("orderid::a").write(store),
        lambda: store.commit(after, entry),
        lambda: store.settle(after),
        lambda: store.tail(state),
        lambda: store.history("orderid::a", None, 0, 1),
        lambda: store.overdue(T0, 1),
        lambda: store.list(ListFilter(["w"], ["running"]), limit=1),
    ]
    for call in calls:
        with pytest.raises(StoreUnavailable):
            call()
