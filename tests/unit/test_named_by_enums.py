"""Names and numbers that are members of ``class Name(str, Enum)`` mean their values, wherever they are given.

Such a member equals its text, yet an f-string shows ``Name.MEMBER`` in some versions of Python: an id, a key or a
token that is made of it would be another one, and could not be found.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus import DONE, Choice, Completed, Instance, Pending, Put, Step, Workflow, step, use
from hephaestus.adapters.memory.table import InMemoryTable
from hephaestus.steps import Wait, WaitForEvent
from hephaestus.store.items import INDEXES
from hephaestus.store.store import Store
from hephaestus.testing import LocalRuntime
from hephaestus.writes.memory_tables import MemoryTables

if TYPE_CHECKING:
    from collections.abc import Callable

    from hephaestus.runtime.runner import Runner


class Text(str, Enum):  # noqa: UP042 - StrEnum shows its members' values
    """As most people write it."""

    MEMBER = "x"

    @classmethod
    def of(cls, text: str) -> str:
        """A member with this value."""
        return Enum("Text", {"MEMBER": text}, type=str).MEMBER  # type: ignore[attr-defined,no-any-return]  # made here


def number(value: int) -> int:
    """A member with this value."""
    return Enum("Number", {"MEMBER": value}, type=int).MEMBER  # type: ignore[attr-defined,no-any-return]  # made here


Namer = Any


def flows(t: Namer, n: Namer) -> type[Workflow]:
    """An umbrella of one version whose every name is made by ``t``, and every number by ``n``."""

    @step(events=(t("made"),), key=t("make"))
    def make(ctx: Any) -> Completed:
        link = ctx.callback_token(t("yes"), step=t("wait_for_yes"))
        return Completed(t("made"), {"link": link}, {t("m"): t("v")}, [Put(t("books"), {t("pk"): t("1")})])

    class Asks(Step):
        step_key = t("ask")
        events = (t("told"), t("timeout"))

        def execute(self, instance: Instance, config: Mapping[str, Any], context: Any) -> Pending:
            return Pending(timeout=600, emits=t("timeout"))

    ask, gate, pause = Asks(), WaitForEvent(t("yes"), t("no"), timeout=900), Wait(1, name=t("pause"))

    @step
    def left(ctx: Any) -> dict[str, Any]:
        return dict(ctx.config)

    right = left.named(t("right"))
    picked = Choice(lambda _ctx: [t("left"), right.configured(a=t("b"))], [left, right])

    class First(Workflow, key=t("key"), scope=t("version"), version=n(1), tags=[t("tag")], name=t("First")):
        start_at = make
        transitions = {
            make: {t("made"): [ask, pause]},
            ask: {t("told"): gate, t("timeout"): gate},
            pause: {t("done"): gate},
            gate: {t("yes"): picked, t("no"): DONE, t("timeout"): DONE},
            left: {t("done"): DONE},
            right: {t("done"): DONE},
        }

    class Both(Workflow, key=t("key"), versions={n(1): First}, current=n(1), name=t("Both"), forks=t("any")):
        @classmethod
        def version_for(cls, versions: Mapping[int, type[Workflow]], opts: Mapping[str, Any]) -> int:
            return n(1)  # type: ignore[no-any-return]  # a number

    return Both


def calls(runner: Runner, flow: type[Workflow], t: Namer, n: Namer) -> list[Callable[[], object]]:
    """What is done with an instance, and looked at."""
    whole, since = t("key::1::v1"), datetime(2026, 1, 1, tzinfo=UTC)
    return [
        lambda: runner.start_instance(t("Both"), {}, id=t("1"), tags=[t("vip")], start_id=t("s"), by=t("ann")),
        lambda: runner.start_instance(t("Both"), {}, id=t("1"), tags=[t("vip")], start_id=t("s"), by=t("ann")),
        lambda: runner.schedule_resume(whole, t("ask"), n(90_000), request_id=t("r")),
        lambda: runner.pause(whole, t("why"), request_id=t("p"), by=t("ann")),
        lambda: runner.unpause(whole, request_id=t("u")),
        lambda: runner.resume(whole, t("told"), {t("k"): n(1)}, step=t("ask"), event_id=t("e")),
        lambda: list(runner.list(workflow=t("Both"), status=t("waiting"), tag=t("vip"), version=n(1), limit=n(5))),
        lambda: list(runner.list(workflow=t("Both"), status=[t("waiting")], since=since)),
        lambda: runner.counts(workflow=t("Both"), most=n(9)),
        lambda: flow.get(t("1")),
        lambda: flow.get(whole),
        lambda: runner.fork(whole, n(3), new_id=t("2"), generation=n(1), results={t("make"): {}}, version=n(1)),
        lambda: flow.resume(t("1"), t("yes"), t("payload")),
        lambda: list(runner.history(whole, generation=n(1), limit=n(99))),
        lambda: runner.get(t("key::2::v1")),
        lambda: runner.get(whole),
    ]


def lived(t: Namer, n: Namer) -> tuple[list[object], Any]:
    """What every call comes to, and everything that is stored in the end."""
    tables = MemoryTables({"books": ("pk",)})
    table = InMemoryTable(INDEXES, tables=tables)
    flow = flows(t, n)
    local = LocalRuntime(flow, store=Store(table))
    seen: list[object] = []
    use(local.runner)
    try:
        for call in calls(local.runner, flow, t, n):
            seen.append(call())
            local.settle()
            local.advance(timedelta(seconds=2))
    finally:
        use(None)
    stored = [dict(item) for key in ("key::1::v1", "key::2::v1") for item in table.query(key, low="a", high="z")]
    return seen, [stored, len(tables["books"])]


def strange(value: Any) -> list[str]:
    """What in a value is of a type of its own."""
    if isinstance(value, Mapping):
        return [found for item in value.items() for found in strange(list(item))]
    if isinstance(value, (list, tuple)):
        return [found for item in value for found in strange(item)]
    return [repr(value)] if isinstance(value, Enum) else []


def test_an_instance_that_is_named_by_members_is_the_same_instance() -> None:
    """Defined, started, steered, looked for: each answer and all that is stored is as for plain names."""
    seen, stored = lived(Text.of, number)
    assert (seen, stored) == lived(str, int)
    assert strange(stored) == []
    assert strange([vars(one) if hasattr(one, "__dict__") else one for one in seen]) == []


@pytest.mark.parametrize("made", [WaitForEvent(Text.of("go")), Wait(1, name=Text.of("wait_for_go"))])
def test_a_wait_has_a_key_of_its_event(made: Step) -> None:
    assert f"{LocalRuntime(of(made)).start('One', '1').steps}".startswith("{'wait_for_go'")


def of(only: Step) -> type[Workflow]:
    """A workflow of one step."""

    class One(Workflow, key="one"):
        start_at = only
        transitions = {only: dict.fromkeys(only.events, DONE)}

    return One
