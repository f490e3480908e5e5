"""What operators do to rates, and how they are shown (rules F.7, F.8 and F.10)."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from typer.testing import CliRunner

from hephaestus import DONE, Concurrency, RateLimit, StepContext, Workflow, step, telemetry
from hephaestus.cli.app import app
from hephaestus.cli.flow_limits import read_number
from hephaestus.cli.terminal import Session
from hephaestus.client.synchronous import Client
from hephaestus.errors import BadRequest, CallerError, UnknownLimit
from hephaestus.operations.http_client import Api as Caller
from hephaestus.runtime.commands import SetLimit, UnsetLimit
from hephaestus.runtime.telemetry import RATE_CALLED
from hephaestus.store.store import Store
from hephaestus.telemetry.metrics import MetricsHandler
from hephaestus.testing import LocalRuntime
from tests.property.test_client_as_runner import InProcess
from tests.unit.test_limit_commands import Connected, done

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hephaestus.definition.limit_views import LimitView

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)


class Asked:
    """A runtime whose workflow has one step under a rate, and when that started, in seconds."""

    def __init__(self, limit: RateLimit, store: Store | None = None) -> None:
        self.times: list[int] = []
        self.names: list[str] = []

        @step(key="ask", limits=[limit, Concurrency("slots", 100)])
        def ask(ctx: StepContext) -> str:
            self.times.append(round((self.local.clock.now() - self.began) / 1000))
            self.names.append(ctx.instance_id.partition("::")[2])
            return "done"

        class Ask(Workflow, key="ask"):
            start_at = ask
            transitions: ClassVar = {ask: {"done": DONE}}

        self.local = LocalRuntime(Ask, store=store)
        self.began = self.local.clock.now()

    def start(self, many: int) -> None:
        """Start so many more."""
        for number in range(many):
            self.local.start("Ask", f"{self.local.clock.now() - self.began:07d}-{number:03d}")
            self.local.clock.sleep(1)

    @property
    def shown(self) -> LimitView:
        """The rate as it is shown."""
        (found,) = [one for one in self.local.runner.limits().items if one.kind == "rate"]
        return found


@pytest.fixture
def asked() -> Asked:
    """Ten a minute, two at once."""
    return Asked(RateLimit("openai", 10, MINUTE, burst=2))


def test_a_rate_is_shown_with_its_number_and_its_next_place(asked: Asked) -> None:
    """Rule F.8. How many in which time and at once, by code and operator; when the next may start; the line."""
    asked.start(20)
    shown = asked.shown
    assert (shown.number, shown.period_seconds, shown.burst) == (10, 60.0, 2)
    assert (shown.declared, shown.declared_period_seconds, shown.declared_burst, shown.set_to) == (10, 60.0, 2, None)
    assert shown.next_at is not None
    assert shown.reserved_until is not None
    # Ten more than two are reserved a minute ahead, and the next place is six seconds later.
    assert (round(shown.next_at.timestamp() - asked.began / 1000), shown.in_line) == (66, 8)
    assert round(shown.reserved_until.timestamp() - asked.began / 1000) == 72
    done(asked.local, SetLimit(limit="openai", number=1, period_seconds=2, burst=4, reason="it is slow", by="ann"))
    shown = asked.shown
    assert (shown.number, shown.period_seconds, shown.burst, shown.set_to) == (1, 2.0, 4, 1)
    assert (shown.declared, shown.declared_period_seconds, shown.declared_burst) == (10, 60.0, 2)
    assert (shown.changed_by, shown.changed_by_source, shown.reason) == ("ann", "claim", "it is slow")
    assert shown.changed_at is not None


def test_what_waits_for_a_rate_says_so_wherever_it_is_looked_at(asked: Asked) -> None:
    """Also before its first attempt: as a step that is pending, in ``get`` and ``why``."""
    asked.start(20)
    ids = sorted(one.id for one in asked.local.runner.list(limit=20))
    says = [asked.local.runner.get(instance_id).steps["ask"].why for instance_id in ids]
    assert (says[0], says[3], says[12]) == (
        None,
        "starts in 11 s, as `openai` allows",
        "waits for `openai`, first in line",
    )
    assert [asked.local.runner.why(ids[number]).steps for number in (3, 12)] == [{"ask": says[3]}, {"ask": says[12]}]
    assert asked.local.runner.get(ids[3]).steps["ask"].status == "pending"


def test_what_an_operator_sets_counts_for_the_line_until_it_is_unset(asked: Asked) -> None:
    """Rule F.8. What is reserved stays; what comes after it starts at the new speed."""
    asked.start(20)
    done(asked.local, SetLimit(limit="openai", number=1, period_seconds=1))
    asked.local.advance(3 * MINUTE)
    reserved = [0, 0, *range(6, 66, 6)]
    assert asked.times == [*reserved, *range(61, 69)]
    assert asked.names == sorted(asked.names)
    done(asked.local, UnsetLimit(limit="openai", by="ben"))
    asked.start(4)
    asked.local.advance(MINUTE)
    assert [after - before for before, after in zip(asked.times[-4:], asked.times[-3:], strict=False)] == [0, 6, 6]
    assert (asked.shown.set_to, asked.shown.changed_by) == (None, "ben")


def test_a_number_alone_is_in_the_time_of_the_code(asked: Asked) -> None:
    done(asked.local, SetLimit(limit="openai", number=30))  # before its first use
    assert (asked.shown.number, asked.shown.period_seconds, asked.shown.burst) == (30, 60.0, 2)
    asked.start(5)
    asked.local.advance(MINUTE)
    assert asked.times == [0, 0, 2, 4, 6]


def test_zero_stops_what_names_a_rate(asked: Asked) -> None:
    """Rule F.10. It stands in line, and goes on in its order, at the rate, when it is unset."""
    asked.start(4)
    done(asked.local, SetLimit(limit="openai", number=0, by="ann"))
    asked.local.advance(MINUTE)
    assert asked.times == [0, 0, 6, 12], "what has its time goes on"
    asked.start(3)
    asked.local.advance(timedelta(hours=5))
    asked.local.sweep()
    shown = asked.shown
    assert (len(asked.times), shown.in_line, shown.number, shown.next_at) == (4, 3, 0, None)
    assert (
        asked.local.runner.get(shown.line[2]["id"]).steps["ask"].why
        == "waits for `openai` (set to 0 by ann), third in line"
    )
    done(asked.local, UnsetLimit(limit="openai"))
    asked.local.advance(MINUTE)
    assert [after - asked.times[4] for after in asked.times[4:]] == [0, 6, 12]
    assert asked.names == sorted(asked.names)
    assert asked.shown.in_line == 0


def test_a_newer_deployments_rate_counts_for_the_line_and_for_older_code() -> None:
    """Rule F.8."""
    slow = Asked(RateLimit("openai", 1, MINUTE))
    slow.local.store.permits.deployment = 1
    slow.start(6)
    assert slow.shown.in_line == 4
    quick = Asked(RateLimit("openai", 1, SECOND), Store(slow.local.store.table))
    quick.local.store.permits.deployment = 2
    quick.local.clock.move_to(slow.local.clock.now())
    quick.began = slow.began
    quick.local.advance(2 * MINUTE)
    quick.local.sweep()  # its messages are the other's
    quick.local.advance(MINUTE)
    assert [at - quick.times[-4] for at in quick.times[-4:]] == [0, 1, 2, 3]
    slow.local.clock.move_to(quick.local.clock.now())
    slow.start(3)
    slow.local.advance(MINUTE)
    assert [at - slow.times[1] for at in slow.times[1:]] == [0, 1, 2]
    assert (slow.shown.number, slow.shown.period_seconds) == (1, 1.0)


@pytest.mark.parametrize(
    ("command", "error", "says"),
    [
        (lambda: SetLimit(limit="openai", number=-1), BadRequest, "from 0 to"),
        (lambda: SetLimit(limit="openai", number=1, period_seconds=0.5), BadRequest, "a second or more"),
        (lambda: SetLimit(limit="openai", number=1, period_seconds=3_000_000), BadRequest, "31 days"),
        (lambda: SetLimit(limit="openai", number=1001, period_seconds=1), BadRequest, "more than 1000 a second"),
        (lambda: SetLimit(limit="openai", number=1, burst=0), BadRequest, "from 1 to"),
        (lambda: SetLimit(limit="openai#acme", number=1), UnknownLimit, "has no per"),
        (lambda: SetLimit(limit="slots", number=1, burst=1), BadRequest, "is no rate"),
        (lambda: SetLimit(limit="slots", number=4001), BadRequest, "from 0 to 4000"),
        (lambda: SetLimit(limit="opena", number=1), UnknownLimit, "name: openai, slots"),
    ],
)
def test_what_cannot_be_set_changes_nothing(asked: Asked, command: Any, error: type[CallerError], says: str) -> None:
    asked.start(3)
    before = asked.local.runner.limits()
    with pytest.raises(error, match=says):
        asked.local.runner.do(command())
    assert asked.local.runner.limits() == before


def test_an_attempt_that_costs_more_than_an_operators_burst_starts_when_all_is_free() -> None:
    """Rule F.7. It does not stand in line for ever."""
    asked = Asked(RateLimit("openai", 1, SECOND, burst=10, cost=5))
    done(asked.local, SetLimit(limit="openai", number=1, burst=2))
    asked.start(3)
    asked.local.advance(MINUTE)
    assert asked.times == [0, 5, 10]


def test_the_command_line_and_the_client_set_rates(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Session, "connection", Connected(asked.local))
    asked.start(20)

    def run(*args: str, code: int = 0) -> str:
        said = CliRunner().invoke(app, ["limits", *args], env={"COLUMNS": "160"})
        assert said.exit_code == code, said.output
        return " ".join(said.output.split())

    assert "openai 10 in 60 s 8" in run()
    assert "of the code" in run("show", "openai")
    assert run("set", "openai", "50/s", "--burst", "50", "--reason", "they allow more") == "✓ set openai"
    shown = run("show", "openai")
    assert "openai 50 in 1 s, 50 at once" in shown
    assert "set by ann (claimed)" in shown
    assert "10 in 60 s in the code" in shown
    assert "reason: they allow more" in shown
    for text, number, period in (("500/min", 500, 60), ("20/10s", 20, 10), ("7", 7, 60), ("1,000/h", 1000, 3600)):
        run("set", "openai", text)
        assert (asked.shown.number, asked.shown.period_seconds) == (number, period)
    run("set", "openai", "0", "--yes")
    assert "nothing starts" in run("show", "openai")
    assert "is no number of a limit" in run("set", "openai", "5/week", code=2)
    client = Client(Caller(InProcess(asked.local)))
    client.set_limit("openai", 3, period_seconds=timedelta(minutes=5), burst=3, reason="less")
    (known,) = client.limits("openai")
    assert (known.number, known.period_seconds, known.burst, known.reason) == (3, 300, 3, "less")


def test_a_rate_tells_how_long_its_oldest_waits_and_how_far_it_is_reserved(
    asked: Asked, capsys: pytest.CaptureFixture[str]
) -> None:
    """As metrics by the rate's name, at each call of its line."""
    heard: list[dict[str, float]] = []
    handler = MetricsHandler("test", "test")

    def hear(event: str, measurements: Mapping[str, float], metadata: Mapping[str, object]) -> None:
        assert metadata == {"limit": "openai"}
        heard.append(dict(measurements))
        handler(event, measurements, metadata)

    telemetry.attach("test", hear, [RATE_CALLED])
    try:
        asked.start(20)
        asked.local.advance(30 * SECOND)
    finally:
        telemetry.detach("test")
    assert heard
    assert 0 < max(one["oldest_in_line"] for one in heard) <= 30_000
    assert max(one["reserved_ahead"] for one in heard) > 60_000
    handler.flush()
    written = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(one["limit"], len(one["OldestInLine"]), "LongestHeld" in one) for one in written] == [
        ("openai", len(heard), False)
    ]


@pytest.mark.parametrize("stopped", [False, True])
def test_a_rate_whose_burst_takes_longer_than_dates_go_is_shown(asked: Asked, *, stopped: bool) -> None:
    """Rule F.8. So are all others on its page: the next may start since long ago, or does in the year 9999."""
    asked.start(1)
    if stopped:
        done(asked.local, SetLimit(limit="openai", number=0))
    done(asked.local, SetLimit(limit="openai", number=1, period_seconds=31 * 24 * 3600, burst=1_000_000))
    assert asked.shown.next_at is not None
    assert asked.shown.next_at.year == (2026 if stopped else 1970)
    assert asked.shown.reserved_until is not None
    asked.local.settle()
    assert (asked.shown.reserved_until.year, asked.shown.number) == (9999 if stopped else 2026, 1)


@pytest.mark.parametrize(
    "text", ["1,5/s", "5,5", "1_0", "50/1,5s", "5/ms", "5/ss", "5/1.5s", "٥/s", "1,0000/s", ",5", "5/0x1s"]
)
def test_what_may_mean_another_number_is_rejected(text: str) -> None:
    """A comma as the decimal point would set ten times as much, and milliseconds would be minutes."""
    with pytest.raises(BadRequest, match="is no number of a limit"):
        read_number(text)


@pytest.mark.parametrize(
    ("text", "number"),
    [("1,000/s", (1000, SECOND)), ("20/10 secs", (20, 10 * SECOND)), ("1_000", (1000, None)), ("5/mins", (5, MINUTE))],
)
def test_a_number_is_written_as_people_do(text: str, number: tuple[int, timedelta | None]) -> None:
    assert read_number(text) == number
