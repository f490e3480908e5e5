"""The doctor, and the list of workflows, say what operators have stopped and how many may be under way."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, ClassVar

import pytest
from typer.testing import CliRunner

from hephaestus import DONE, Concurrency, Pending, RateLimit, StepContext, Workflow, step
from hephaestus.cli.app import app
from hephaestus.cli.terminal import Session
from hephaestus.operations.doctor import examine_api
from hephaestus.operations.http_client import Api
from hephaestus.runtime.commands import PauseWorkflow, SetLimit
from hephaestus.testing import LocalRuntime
from tests.property.test_client_as_runner import InProcess

if TYPE_CHECKING:
    from collections.abc import Mapping


@step(limits=[Concurrency("stripe", 2), RateLimit("openai", 5, 1)], events=("ok",))
def charge(_ctx: StepContext) -> Pending:
    return Pending()


class Payment(Workflow, key="payment", limits=[Concurrency("payments", 7)]):
    """Under a limit as a whole, and in its step."""

    start_at = charge
    transitions: ClassVar = {charge: {"ok": DONE}}


@pytest.fixture
def api() -> Api:
    """A deployment of which some is stopped."""
    local = LocalRuntime(Payment)
    local.runner.do(SetLimit(limit="stripe", number=0, reason="it is down", by="ann"))
    local.runner.do(SetLimit(limit="openai", number=0))
    local.runner.do(SetLimit(limit="payments", number=3))
    local.start("Payment", "a")
    local.runner.do(PauseWorkflow(workflow="Payment", reason="a bad release", by="ben"))
    local.advance(timedelta(seconds=20))  # it is looked at each ten seconds
    return Api(InProcess(local))


def test_the_doctor_says_what_is_paused_and_which_limits_are_zero(api: Api) -> None:
    """As notes, each with the command that ends it."""
    found = [(one.what, one.verdict, one.detail, one.fix) for one in examine_api(api)][2:]
    assert found == [
        ("paused", "note", "Payment by ben: a bad release", "hephaestus unpause --workflow Payment"),
        ("limit", "note", "openai is set to 0; 0 in line", "hephaestus limits unset openai"),
        ("limit", "note", "stripe is set to 0 by ann: it is down; 1 in line", "hephaestus limits unset stripe"),
    ]


def test_workflows_are_listed_with_their_limits(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the API and by the command line."""
    (flow,) = api.workflows()
    version: Mapping[str, object] = flow["versions"][0]
    assert version["limits"] == [{"name": "payments", "n": 7}]

    class Connected:
        workflows = staticmethod(api.workflows)

    monkeypatch.setattr(Session, "connection", Connected())
    said = CliRunner().invoke(app, ["workflows"], env={"COLUMNS": "140"})
    assert "Payment has at most 7 of payments under way" in said.output
