"""What only the DynamoDB store has: requests, expiry, sizes, S3, and items that somebody has damaged."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus.adapters.dynamodb import DynamoStore, Table
from hephaestus.adapters.s3 import S3Blobs
from hephaestus.adapters.session import LazyClient
from hephaestus.engine.events import Claimed, EventReceived, Redriven, StepWaiting, Suspended
from hephaestus.engine.fold import begin, fold
from hephaestus.errors import CorruptLog, EngineError, PayloadTooLarge, StoreUnavailable
from hephaestus.store.filters import ListFilter
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
    assert dict(dynamo.requests) == {"GetItem": 1}


def test_an_owned_instance_is_loaded_with_the_tail_of_its_log(dynamo: Dynamo) -> None:
    """An owner may have written more than its head shows."""
    store = dynamo.store()
    state = write(store, claim(store, started(store, "orderid::a")), step("one"))
    dynamo.requests.clear()
    assert store.load("orderid::a") == state
    assert dict(dynamo.requests) == {"GetItem": 1, "Query": 1}


def test_the_log_is_read_page_by_page(dynamo: Dynamo) -> None:
    """A tail of more than the 1 MB that one answer holds is read whole."""
    store = dynamo.store()
    state = claim(store, started(store, "orderid::a"))
    for number in range(24):
        state = write(store, state, step(f"step-{number}", text=noise(70_000, number)))
    dynamo.requests.clear()
    assert store.load("orderid::a") == state
    assert dynamo.requests["Query"] > 1


def test_other_processes_see_the_same(dynamo: Dynamo) -> None:
    """Two stores with connections of their own, one table: several tables and endpoints work in one process."""
    state = claim(dynamo.store(), started(dynamo.again(), "orderid::a"))
    assert dynamo.again().load("orderid::a") == state
    other = dynamo.another_table()
    other.create()
    assert DynamoStore(other).load("orderid::a") is None


# --- Expiry -----------------------------------------------------------------------------------------------------------


def ttl(item: dict[str, Any] | None) -> int | None:
    """When an item expires, in seconds since the epoch."""
    assert item is not None
    return int(item["ttl"]["N"]) if "ttl" in item else None


def test_only_a_closed_instance_expires(dynamo: Dynamo) -> None:
    """A head has a time to live once its instance has ended, and loses it when the id is started again."""
    store = dynamo.store(retention_days=30)
    state = claim(store, started(store, "orderid::a"))
    state = suspend(store, write(store, state, step("one")))
    assert ttl(dynamo.item("orderid::a")) is None
    state = finish(store, claim(store, state))
    closed = state.updated_at // 1000 + 30 * DAY
    assert ttl(dynamo.item("orderid::a")) == closed
    assert ttl(dynamo.item("orderid::a", f"log#000001#{state.sequence:08d}")) == closed + 366 * DAY
    assert ttl(dynamo.item("orderid::a", "log#000001#00000002")) == T0 // 1000 + (30 + 366) * DAY
    started(store, "orderid::a", at=T0 + 10_000)
    assert ttl(dynamo.item("orderid::a")) is None
    assert ttl(dynamo.item("orderid::a", "log#000001#00000001")) == closed


def test_what_is_redriven_expires_no_more(dynamo: Dynamo) -> None:
    """Nor does the entry that had closed it expire before the others: its history stays whole."""
    store = dynamo.store(retention_days=30)
    state = finish(store, claim(store, started(store, "orderid::a")), "failed")
    assert ttl(dynamo.item("orderid::a")) is not None
    state = write(store, state, Redriven("pending"))
    assert ttl(dynamo.item("orderid::a")) is None
    assert store.load("orderid::a") == state
    expiries = [ttl(dynamo.item("orderid::a", f"log#000001#{number:08d}")) for number in (2, 3, 4)]
    assert expiries == sorted(expiries, key=lambda expiry: expiry or 0)


def test_without_a_retention_nothing_expires(dynamo: Dynamo) -> None:
    """By default everything is kept."""
    store = dynamo.store()
    state = finish(store, claim(store, started(store, "orderid::a")))
    assert ttl(dynamo.item("orderid::a")) is None
    assert ttl(dynamo.item("orderid::a", f"log#000001#{state.sequence:08d}")) is None


def test_what_an_expired_instance_left_behind_is_written_over(dynamo: Dynamo) -> None:
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
    late, entry = commit(state, Suspended(None))
    assert not store.append(late, entry, boundary=True)
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
    for boundary in (False, True):
        after, entry = commit(state, *(step(f"s{n}", text=noise(64_000, n)) for n in range(8)))
        with pytest.raises(PayloadTooLarge, match="orderid::a"):
            store.append(after, entry, boundary=boundary)
    with pytest.raises(PayloadTooLarge, match="orderid::b"):
        start("orderid::b", initial={"n": noise(200_000)}).write(store)
    assert store.load("orderid::b") is None
    assert write(store, state, step("small")).sequence == 3


def test_a_snapshot_that_does_not_fit_is_left_out(dynamo: Dynamo) -> None:
    """An instance whose state outgrows its head is correct, only slower: its log is read."""
    store = dynamo.store()
    state = claim(store, started(store, "orderid::a", initial={"n": noise(60_000)}))
    for number in range(8):
        state = write(store, state, step(f"step-{number}", text=noise(60_000, number)))
    state = suspend(store, write(store, state, StepWaiting("approval", T0)))
    dynamo.requests.clear()
    assert store.load("orderid::a") == state
    assert dynamo.requests["Query"] >= 1
    state = write(store, state, EventReceived("approval", "ok", "e1"), Claimed("two", T0 + 10**6))
    assert store.load("orderid::a") == state
    state = finish(store, state)
    assert store.load("orderid::a") == state


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
    assert fold(begin("orderid::a", 1, log[0]), log[1:]) == state
    head = dynamo.item("orderid::a")
    assert head is not None
    assert len(head["first"]["B"]) < 200
    assert len(head["snapshot"]["B"]) < 200
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
            local.store(blobs=blobs).append(after, entry, boundary=False)
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
    ("schema", {"N": "2"}),
    ("schema", None),
    ("status", None),
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
        ("commit_id", {"N": "1"}),
        ("schema", {"N": "7"}),
    ],
)
def test_a_damaged_entry_is_refused_by_name(local: Dynamo, name: str, value: dict[str, Any] | None) -> None:
    """The same for log entries, whoever reads them."""
    store = local.store()
    state = claim(store, started(store, "orderid::a"))
    write(store, state, step("one"))
    local.overwrite("orderid::a", "log#000001#00000003", name, value)
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
    local.delete("orderid::a", "log#000001#00000004")
    with pytest.raises(CorruptLog, match=r"orderid::a.*entry 4"):
        store.load("orderid::a")
    with pytest.raises(CorruptLog, match=r"orderid::a.*entry 4"):
        store.history("orderid::a", 1, 0, 100)


def test_a_head_ahead_of_its_log_is_noticed(local: Dynamo) -> None:
    """A head that says more than its log is corrupt."""
    store = local.store()
    state = suspend(store, claim(store, started(store, "orderid::a")))
    local.overwrite("orderid::a", "head", "snapshot", None)
    local.delete("orderid::a", f"log#000001#{state.sequence:08d}")
    with pytest.raises(CorruptLog, match="orderid::a"):
        store.load("orderid::a")


def test_a_head_without_its_snapshot_is_read_from_the_log(local: Dynamo) -> None:
    """Invariant 9: the log alone is enough."""
    store = local.store()
    state = finish(store, write(store, claim(store, started(store, "orderid::a")), step("one")))
    local.overwrite("orderid::a", "head", "snapshot", None)
    assert store.load("orderid::a") == state


# --- Errors -----------------------------------------------------------------------------------------------------------


def test_a_table_that_is_not_there_is_not_named(local: Dynamo) -> None:
    """What is wrong with the installation is said without its names."""
    store = DynamoStore(local.another_table())
    calls: list[Callable[[], object]] = [lambda: store.load("orderid::a"), lambda: started(store, "orderid::a")]
    for call in calls:
        with pytest.raises(EngineError, match="ResourceNotFoundException") as caught:
            call()
        assert store.table.name not in str(caught.value)


def test_no_answer_is_a_passing_condition() -> None:
    """Whoever called may call again."""
    store = DynamoStore(Table("t", "eu-west-1", "http://127.0.0.1:9", connect_timeout=0.2, max_attempts=1))
    state = start("orderid::a").state
    after, entry = commit(state, Claimed("me", T0))
    calls: list[Callable[[], object]] = [
        lambda: store.load("orderid::a"),
        lambda: start("orderid::a").write(store),
        lambda: store.append(after, entry, boundary=True),
        lambda: store.append(after, entry, boundary=False),
        lambda: store.tail(state),
        lambda: store.history("orderid::a", None, 0, 1),
        lambda: store.overdue(T0, 1),
        lambda: store.list(ListFilter(["w"], ["running"]), limit=1),
    ]
    for call in calls:
        with pytest.raises(StoreUnavailable):
            call()


def test_one_client_serves_both_models(local: Dynamo) -> None:
    """A cold start makes one client, on the process's one session."""
    assert local.table.head._get_connection().connection is local.table.connection  # noqa: SLF001 - there is no public way to see it
    assert local.table.log._get_connection().connection is local.table.connection  # noqa: SLF001 - there is no public way to see it
    assert local.table.client is local.table.client
