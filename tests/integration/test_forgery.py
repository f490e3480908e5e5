"""What somebody makes up, and gets past IAM with, moves no instance but the one that it may move."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any, Final

import pytest

from hephaestus import DONE, Workflow, step
from hephaestus.errors import InstanceNotFound, UnexpectedEvent
from hephaestus.steps import WaitForEvent
from tests.integration.deployment import Deployment, batch, deploy, fired, sample

ONE, OTHER = "forged::one", "forged::one-1"
LONG_AGO: Final = 1

hold = WaitForEvent("go", name="hold", timeout=timedelta(days=2))


@step
def after(ctx: Any) -> str:
    """Run when it went on."""
    return "done"


class Forged(Workflow, key="forged"):
    """Waits for an event, or two days."""

    start_at = hold
    transitions = {hold: {"go": after, "timeout": DONE}, after: {"done": DONE}}


@pytest.fixture
def deployment(monkeypatch: pytest.MonkeyPatch) -> Deployment:
    """The functions, and two instances that wait, one's id the beginning of the other's."""
    deployed = deploy(monkeypatch, Forged)
    for value in ("one", "one-1"):
        assert deployed.invoke("start", {"workflow": "Forged", "id": value})["status"] == "waiting"
    return deployed


def told(deployment: Deployment, instance_id: str) -> Any:
    """All that is known of an instance."""
    return deployment.runner.get(instance_id), list(deployment.runner.history(instance_id))


def test_an_event_moves_the_instance_that_it_names_and_no_other(deployment: Deployment) -> None:
    before = told(deployment, OTHER)
    deployment.invoke("resume", {"instance_id": ONE, "event": "go", "event_id": "e"})
    assert deployment.runner.get(ONE).status == "completed"
    assert told(deployment, OTHER) == before
    with pytest.raises(InstanceNotFound):
        deployment.invoke("resume", {"instance_id": "forged::on", "event": "go"})


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"due_at": LONG_AGO},
        {"token": "hold.2"},
        {"life": "e64892557ff76543210"},
        {"step": "after"},
        {"instance_id": OTHER, "due_at": LONG_AGO},
        {"event": "go"},
    ],
)
def test_a_timeout_that_somebody_made_up_times_nothing_out(deployment: Deployment, change: dict[str, Any]) -> None:
    """Whatever it says, it only has the instance looked at; the deadline in the log decides."""
    before = told(deployment, ONE), told(deployment, OTHER)
    payload = {**sample("scheduler-timeout"), "instance_id": ONE, "step": "hold", "token": "hold.1", **change}
    deployment.invoke("resume", payload)
    assert (told(deployment, ONE), told(deployment, OTHER)) == before


def test_whoever_may_deliver_events_may_deliver_each_that_is_declared_and_no_other(deployment: Deployment) -> None:
    """A ``timeout`` is one of them: who is trusted with approving is trusted with not approving."""
    deployment.invoke("resume", {"instance_id": ONE, "event": "timeout"})
    assert deployment.runner.get(ONE).status == "completed"
    with pytest.raises(UnexpectedEvent):
        deployment.invoke("resume", {"instance_id": OTHER, "event": "eaten"})


def test_a_message_that_somebody_made_up_changes_nothing(deployment: Deployment) -> None:
    """An instance with nothing to do does nothing, and one that is not there is none."""
    before = told(deployment, ONE), told(deployment, OTHER)
    assert deployment.invoke("resume", batch(ONE, OTHER, ONE, "forged::none")) == {"batchItemFailures": []}
    assert (told(deployment, ONE), told(deployment, OTHER)) == before


def test_a_removal_that_somebody_made_up_costs_a_sweep_and_no_deadline(deployment: Deployment) -> None:
    """The schedule is gone, and the alarm in the head is not."""
    (timeout,) = [it for it in deployment.timers.pop_due(2**62) if it.instance_id == ONE]
    deployment.runner.timers.schedule(timeout)
    removal = json.dumps({"source": "hephaestus.queue", "remove_schedule": fired(timeout)})
    record = {**sample("sqs-continue")["Records"][0], "body": removal}
    assert deployment.invoke("resume", {"Records": [record]}) == {"batchItemFailures": []}
    assert deployment.timers.names() == []
    assert ONE in {it.instance_id for it in deployment.store.overdue(timeout.due_at, 10).items}
