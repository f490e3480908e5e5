"""The example of a nightly report: all tenants, five at once, fifty calls a minute, each night once."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from hephaestus.testing import LocalRuntime
from nightly import Nightly, TenantReport
from nightly.accounting import Demo, TooManyCalls
from nightly.workflow import at_once, calls, services

if TYPE_CHECKING:
    from collections.abc import Sequence

A_NIGHT = timedelta(days=1)


class NoBooks(Exception):
    """A tenant of whom the service knows nothing."""


class Recorded(Demo):
    """Notes when it was asked what, and how many reports held a permit then."""

    def __init__(self) -> None:
        self.broken: frozenset[str] = frozenset()
        self.local: LocalRuntime | None = None
        self.times: list[int] = []
        self.asked: list[tuple[str, str, str]] = []
        self.permits: set[int] = set()

    def _note(self, what: str, tenant: str, night: str) -> None:
        assert self.local is not None
        self.times.append(self.local.clock.now())
        self.asked.append((what, tenant, night))
        if tenant:
            self.permits.add(len(self.local.runner.store.permits.usage(at_once.name).permits))
        if tenant in self.broken:
            raise NoBooks(tenant)

    def tenants(self) -> Sequence[str]:
        self._note("tenants", "", "")
        return super().tenants()

    def usage(self, tenant: str, night: str) -> int:
        self._note("usage", tenant, night)
        return super().usage(tenant, night)

    def invoices(self, tenant: str, night: str) -> int:
        self._note("invoices", tenant, night)
        return 3 * super().usage(tenant, night)


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    found = Recorded()
    monkeypatch.setattr(services, "accounting", found)
    return found


def begin(recorded: Recorded) -> LocalRuntime:
    recorded.local = LocalRuntime(Nightly, TenantReport)
    return recorded.local


def test_each_tenant_has_its_report_each_night(recorded: Recorded) -> None:
    local = begin(recorded)
    local.advance(2 * A_NIGHT)
    for night, time in (("2026-01-01", "20260101T013000Z"), ("2026-01-02", "20260102T013000Z")):
        done = local.runner.get(f"nightly::every-night.{time}")
        assert done.output == {"reports": 200, "failed": 0, "unbilled": []}
        assert sorted(tenant for what, tenant, when in recorded.asked if (what, when) == ("usage", night)) == list(
            Demo().tenants()
        )


def test_the_service_is_asked_no_more_than_it_bears(recorded: Recorded) -> None:
    begin(recorded).advance(A_NIGHT)
    times, period = sorted(recorded.times), calls.period / timedelta(milliseconds=1)
    assert len(times) == 401
    for first, begun in enumerate(times):
        for last in range(first, len(times)):
            most = calls.burst + calls.n * (times[last] - begun) / period
            assert last - first + 1 <= most + 1e-9
    minutes = (times[-1] - times[0]) / 60_000
    assert minutes <= (401 - calls.burst) / calls.n + 1  # and no place is left out


def test_five_reports_are_made_at_once(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each waits once to ask again, so that as many begin as may."""
    real, busy = Recorded.usage, set(Demo().tenants())

    def usage(self: Recorded, tenant: str, night: str) -> int:
        found = real(self, tenant, night)
        if tenant in busy:
            busy.remove(tenant)
            raise TooManyCalls
        return found

    monkeypatch.setattr(Recorded, "usage", usage)
    local = begin(recorded)
    local.advance(A_NIGHT)
    assert max(recorded.permits) == at_once.n == 5
    assert local.runner.get("nightly::every-night.20260101T013000Z").status == "completed"


@pytest.mark.parametrize(("broken", "status"), [(10, "completed"), (11, "failed")])
def test_a_report_that_fails_stops_the_others_where_one_in_twenty_has(
    recorded: Recorded, broken: int, status: str
) -> None:
    recorded.broken = frozenset(Demo().tenants()[:broken])
    local = begin(recorded)
    local.advance(A_NIGHT)
    done = local.runner.get("nightly::every-night.20260101T013000Z")
    assert done.status == status
    if status == "completed":
        assert done.output == {"reports": 200 - broken, "failed": broken, "unbilled": []}


def test_a_busy_service_is_asked_again_under_the_same_rate(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([TooManyCalls("429")] * 3)
    real = Recorded.usage

    def usage(self: Recorded, tenant: str, night: str) -> int:
        found = real(self, tenant, night)
        for error in answers:
            raise error
        return found

    monkeypatch.setattr(Recorded, "usage", usage)
    begin(recorded).advance(A_NIGHT)
    assert len(recorded.times) == 401 + 3
