"""Listings from any cursor on, also one behind the last, or of another name: what memory answers, all tables do."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import product
from typing import TYPE_CHECKING, Any, Final

import pytest

from hephaestus import DONE, Concurrency, Pending, RateLimit, StepContext, Workflow, step
from hephaestus.testing import LocalRuntime

if TYPE_CHECKING:
    from hephaestus.definition.context import StepContext as Context
    from hephaestus.store.store import Store

NAMES: Final = ("I", "I#a", "J", "stripe", "stripe#acme", "stripe#zz", "tenant")
CURSORS: Final = (None, *NAMES, "A", "zz", "stripe#m", "I#zz", "_")
PERIODS: Final = (None, datetime(2000, 1, 1, tzinfo=UTC), datetime(2090, 1, 1, tzinfo=UTC))


def _name(ctx: Context) -> str:
    return str(ctx.initial["of"])


@step(limits=[Concurrency("stripe", 2, per=_name, held="step"), RateLimit("I", 5, 1, per=_name)], events=("ok",))
def charge(_ctx: StepContext) -> Pending:
    return Pending()


class Payment(Workflow, key="payment"):
    """Under a limit and a rate, for each of its customers."""

    start_at = charge
    transitions = {charge: {"ok": DONE}}


@pytest.fixture
def both(store: Store) -> tuple[LocalRuntime, LocalRuntime]:
    """The same on a table of each adapter, and in memory."""
    there, memory = LocalRuntime(Payment, store=store), LocalRuntime(Payment)
    for local in (there, memory):
        for of in ("acme", "zz", "a"):
            local.start("Payment", of, {"of": of})
    return there, memory


def test_every_cursor_of_every_listing_is_answered_as_in_memory(both: tuple[LocalRuntime, LocalRuntime]) -> None:
    """A cursor is what a caller gives: it may be behind the last, before the first, or of another name."""

    def limits(local: LocalRuntime, name: str | None, cursor: str | None) -> Any:
        page = local.runner.limits(name, cursor=cursor, limit=2)
        return [one.limit for one in page], page.cursor

    def instances(local: LocalRuntime, since: datetime | None, until: datetime | None) -> Any:
        page = local.runner.list(since=since, until=until, limit=2)
        return sorted(one.id for one in page), page.cursor is None

    def history(local: LocalRuntime, of: str, cursor: str) -> Any:
        return [entry.sequence for entry in local.runner.history(f"payment::{of}", cursor=cursor)]

    for look, asked in (
        (limits, product((None, *NAMES), CURSORS)),
        (instances, product(PERIODS, PERIODS)),
        (history, product(("a", "zz"), ("0", "1", "2", "99", "99999999"))),
    ):
        for one in asked:
            answers = [look(local, *one) for local in both]
            assert answers[0] == answers[1], (look.__name__, one)
