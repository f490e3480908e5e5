"""Invariant 14 on every store: what is accepted can be read, and what is rejected has changed nothing.

With odd values, as in ``tests/property``, and with values around the sizes that DynamoDB's items have: 64 KiB a value,
130 KiB a start, 390 KiB a commit, and 250 KiB a snapshot.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus import Completed
from hephaestus.engine.codec import size
from hephaestus.store.values import MAX_VALUE_BYTES
from tests.property.lives import Life, Witness, live, plans
from tests.property.odd_values import Odds

if TYPE_CHECKING:
    from hephaestus.store.store import Store
    from tests.contract.conftest import Dynamo

LIVES = 4
SIZES = (MAX_VALUE_BYTES // 2, MAX_VALUE_BYTES - 600, MAX_VALUE_BYTES, MAX_VALUE_BYTES + 600, 2 * MAX_VALUE_BYTES)


class Blobs:
    """A bucket in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def put(self, key: str, data: bytes) -> None:
        self.kept[key] = data

    def get(self, key: str) -> bytes | None:
        return self.kept.get(key)

    def delete(self, key: str) -> None:
        self.kept.pop(key, None)


def sized(random: random.Random) -> dict[str, Any]:
    """A value of nearly one of the sizes, once compressed."""
    wanted = random.choice(SIZES)
    return {"raw": random.randbytes(wanted * 3 // 4 - 60)}


def test_the_sizes_are_around_the_bound() -> None:
    """As the codec has them: base64 of noise compresses back to nearly what it was."""
    taken = [size({"raw": random.Random(1).randbytes(wanted * 3 // 4 - 60)}) for wanted in SIZES]
    assert taken[1] < MAX_VALUE_BYTES < taken[-1]


def test_invariant_14_odd_values_are_readable_or_rejected(store: Store) -> None:
    """By every way in, on every store."""
    witness, odds = Witness(store), Odds(random.Random(7))
    for number in range(LIVES):
        live(witness, odds, number)
    assert witness.accepted > LIVES
    assert witness.rejected > LIVES


@pytest.mark.parametrize("bucket", [False, True], ids=["table", "bucket"])
def test_invariant_14_large_values_are_readable_or_rejected(local: Dynamo, *, bucket: bool) -> None:
    """What fits an item alone may not fit one with others; no commit may fail half-way, and no instance get stuck.

    On the reference only: moto counts the base64 of bytes where DynamoDB counts the bytes.
    """
    witness, chance = Witness(local.store(blobs=Blobs()) if bucket else local.store()), random.Random(7)
    try:
        for number in range(LIVES):
            large(witness, chance, number)
    finally:
        plans.clear()
    assert witness.accepted > LIVES
    assert bool(witness.rejected) is not bucket


def large(witness: Witness, chance: random.Random, number: int) -> None:
    """One life in which everything is large."""
    runner, ident, fork = witness.runner, f"life::{number}", f"life::{number}-fork"
    plan = plans[ident] = {
        "work": Completed("done", sized(chance), sized(chance)),
        "risky": Completed("done", sized(chance), sized(chance)),
        "last": ValueError("é" * 5_000),
        "undo": sized(chance),
    }
    context, metadata, results = sized(chance), sized(chance), {"gate": sized(chance)}

    def start() -> None:
        runner.start_instance(Life, context, id=str(number), telemetry_metadata=metadata)

    if not witness.call(ident, "start", start):
        assert witness.call(ident, "plain start", lambda: witness.local.start(Life, str(number)))
    deliver(witness, ident, "more", sized(chance))
    deliver(witness, ident, "go", sized(chance))
    state = witness.load(ident)
    assert state is not None
    assert state.closed, "every commit was written"
    witness.call(fork, "fork", lambda: runner.fork(ident, new_id=f"{number}-fork", results=results))
    plan.clear()
    witness.call(ident, "redrive", lambda: runner.redrive(ident))


def deliver(witness: Witness, ident: str, event: str, payload: object) -> None:
    """Deliver an event, without its payload where that is too large."""
    if not witness.call(ident, event, lambda: witness.runner.resume(ident, event, payload)):
        assert witness.call(ident, f"plain {event}", lambda: witness.runner.resume(ident, event))
