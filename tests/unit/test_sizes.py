"""How much an instance may hold: bounded by the room that values take, whatever they compress to."""

from __future__ import annotations

import random
import zlib
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus import DONE, Completed, Put, StepContext, Workflow, step
from hephaestus.adapters.memory import MemoryStore
from hephaestus.engine import events as ev
from hephaestus.engine.codec import _DICTIONARY, MAX_INFLATED, dump_events, dump_state, load_events, load_state
from hephaestus.errors import CorruptLog, InstanceNotFound, PayloadTooLarge
from hephaestus.runtime.sizes import held
from hephaestus.steps import WaitForEvent
from hephaestus.testing import LocalRuntime
from hephaestus.values import freeze, to_json
from hephaestus.values.weight import MAX_HELD, MAX_PARTS, MAX_VALUE, PART, weigh

if TYPE_CHECKING:
    from collections.abc import Callable

BLOCK = "x" * (4 * 1024 * 1024)  # a few kilobytes once compressed; five fit in an instance, and some more
SMALL = "x" * (2 * 1024 * 1024)
TOO_MANY: list[object] = [{}] * (MAX_PARTS + 1)


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        "",
        "a",
        "é" * 5,
        '"\\/\x00\x1f\u2028',
        0,
        -1,
        10**100,
        -(2**4096) + 1,
        0.1,
        -1.7976931348623157e308,
        5e-324,
        b"abc",
        b"",
        Decimal("1.10"),
        Decimal("-9.99E+999999"),
        {},
        [],
        {"a": 1, "é": [1, 2, {"b": None}], '"': "\\"},
        [[[]]],
        __import__("datetime").timedelta.max,
        __import__("datetime").datetime.max,
        __import__("datetime").time.max,
        __import__("uuid").UUID(int=5),
    ],
    ids=repr,
)
def test_a_value_takes_at_least_the_bytes_of_its_json(value: Any) -> None:
    """So the bound on the room bounds what is inflated, too."""
    frozen = freeze(value)
    room, written = weigh(frozen), len(to_json(frozen).encode())
    assert PART + written <= room + 5  # of true, false and null
    assert room <= PART * (1 + _parts(frozen)) + 2 * written + 80


def _parts(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + sum(_parts(item) for item in value.values())
    return 1 + sum(map(_parts, value)) if isinstance(value, list) else 1


wait = WaitForEvent("go", name="wait")
more = WaitForEvent("more", name="more")


@step
def work(ctx: StepContext) -> Any:
    """Give as much as the start data ask for."""
    return {"text": "x" * ctx.initial.get("results", 0)}


@step
def after(ctx: StepContext) -> Any:
    """The same, as metadata."""
    return Completed("done", {}, {"text": "x" * ctx.initial.get("metadata", 0)})


class Large(Workflow, key="large"):
    """Two waits, a step with results and one with metadata."""

    start_at = wait
    transitions = {wait: {"go": work}, work: {"done": after}, after: {"done": more}, more: {"more": DONE}}


WAYS: list[Callable[[LocalRuntime, Any], object]] = [
    lambda local, value: local.start(Large, "two", {"a": value}),
    lambda local, value: local.runner.start_instance(Large, {}, id="two", telemetry_metadata={"a": value}),
    lambda local, value: local.resume("large::one", "go", value),
    lambda local, value: local.resume("large::one", "more", {"a": value}),
    lambda local, value: local.runner.fork("large::one", new_id="two", context={"a": value}),
]


@pytest.mark.parametrize("give", WAYS)
@pytest.mark.parametrize("limit", [64 * 1024, 10**9], ids=["table", "bucket"])
@pytest.mark.parametrize("value", [TOO_MANY, "x" * MAX_VALUE], ids=["parts", "text"])
def test_a_value_that_takes_too_much_room_is_rejected(
    give: Callable[[LocalRuntime, Any], object], limit: int, value: Any
) -> None:
    """However little it is once compressed, with a bucket and without; nothing is stored."""
    local = LocalRuntime(Large, store=MemoryStore(limit))
    before = local.start(Large, "one", {})
    with pytest.raises(PayloadTooLarge, match="store large data in S3 and pass its key"):
        give(local, value)
    assert local.runner.get("large::one") == before
    with pytest.raises(InstanceNotFound):
        local.runner.get("large::two")


def full(local: LocalRuntime, **context: Any) -> None:
    """Start an instance that holds four blocks."""
    given = {"a": BLOCK, "b": BLOCK}
    local.runner.start_instance(Large, {**given, **context}, id="one", telemetry_metadata=given)
    local.settle()


def test_an_instance_holds_so_much_and_no_more() -> None:
    """Values that fit one by one: what does not fit any more is rejected, and the instance goes on without it."""
    local = LocalRuntime(Large)
    full(local)
    before = local.runner.get("large::one")
    for event in ("go", "more"):
        with pytest.raises(PayloadTooLarge, match="instance large::one would hold more values than it may"):
            local.resume("large::one", event, {"a": BLOCK, "b": BLOCK})
    assert local.runner.get("large::one") == before
    assert local.resume("large::one", "more", BLOCK).status == "waiting"
    with pytest.raises(PayloadTooLarge, match="would hold more"):
        local.resume("large::one", "go", BLOCK)
    assert local.resume("large::one", "go", {"a": SMALL}).status == "completed"


@pytest.mark.parametrize("member", ["results", "metadata"])
def test_a_step_whose_results_do_not_fit_fails_and_says_so(member: str) -> None:
    """At once, as running it again would not help; what the instance had is kept, and can be read."""
    local = LocalRuntime(Large)
    full(local, **{member: len(BLOCK)})
    shown = local.resume("large::one", "go", SMALL + SMALL)
    assert shown.status == "failed"
    assert shown.error is not None
    assert "would hold more values than it may" in shown.error["message"]
    assert "store large data in S3" in shown.error["message"]
    state = local.store.load("large::one")
    assert state is not None
    assert held(state) <= MAX_HELD
    assert len(dump_state(state)) < 100_000


def test_metadata_that_replace_others_count_once() -> None:
    """What is no longer held leaves its room to others."""
    steps = [step(key=f"step{number}")(lambda ctx: Completed("done", {}, {"text": BLOCK})) for number in range(8)]

    class Progress(Workflow, key="progress"):
        start_at = steps[0]
        transitions = {one: {"done": then} for one, then in zip(steps, [*steps[1:], DONE], strict=True)}

    assert LocalRuntime(Progress).start(Progress, "one", {}).status == "completed"


def test_a_step_that_does_not_fit_writes_nothing_either() -> None:
    """Its writes go with its results or not at all."""

    @step
    def put(ctx: StepContext) -> Completed:
        return Completed("done", {"text": BLOCK + SMALL}, writes=[Put("orders", {"pk": "a"})])

    class Writing(Workflow, key="writing"):
        start_at = put
        transitions = {put: {"done": DONE}}

    local = LocalRuntime(Writing, tables={"orders": ("pk",)})
    given = {"a": BLOCK, "b": BLOCK}
    local.runner.start_instance(Writing, given, id="one", telemetry_metadata={**given, "c": SMALL})
    local.settle()
    assert local.runner.get("writing::one").status == "failed"
    assert not local.tables["orders"]


def test_results_of_many_parts_that_compress_to_nothing_are_bounded() -> None:
    """Twenty results of a megabyte of ``[{},{},…]`` were a snapshot of 21 KB that took 561 MB to load."""
    steps = [step(key=f"step{number}")(lambda ctx: {"rows": [{}] * 150_000}) for number in range(20)]

    class Rows(Workflow, key="rows"):
        start_at = steps[0]
        transitions = {one: {"done": then} for one, then in zip(steps, [*steps[1:], DONE], strict=True)}

    shown = LocalRuntime(Rows).start(Rows, "one", {})
    assert shown.status == "failed"
    assert [name for name, one in shown.steps.items() if one.status == "completed"] == ["step0", "step1"]


@pytest.mark.parametrize("load", [load_events, load_state])
def test_no_more_is_inflated_than_can_have_been_stored(load: Callable[[bytes], object]) -> None:
    """Sixty-four megabytes of zeros in as many kilobytes are damage, and are not made."""
    deflater = zlib.compressobj(9, zdict=_DICTIONARY)
    chunk = b" " * (1024 * 1024)
    bomb = b"Z" + b"".join(deflater.compress(chunk) for _ in range(MAX_INFLATED // len(chunk) + 1)) + deflater.flush()
    assert len(bomb) < 100_000
    with pytest.raises(CorruptLog, match="cannot be read"):
        load(bomb)


def test_what_cannot_be_read_again_is_not_written() -> None:
    """The codec's bound is one: nothing passes it in one way and not in the other."""
    text = random.Random(1).randbytes(1024).hex() * (MAX_INFLATED // 2048 + 1)
    with pytest.raises(PayloadTooLarge, match="bytes of JSON"):
        dump_events((ev.Parked(text, 1),))


def test_two_who_use_the_room_that_is_left_at_once_can_be_read() -> None:
    """The bounds fit: twice what an instance holds, and all else, is still inflated."""
    assert 2 * MAX_HELD + 8 * 1024 * 1024 < MAX_INFLATED
    assert MAX_VALUE < MAX_HELD
    assert MAX_PARTS * PART == MAX_VALUE
