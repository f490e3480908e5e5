"""The command that redrives dead letters, on the deployed stack: three letters, three orders that go on."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.orders import WAIT, context, eventually, fresh, overdue, wait_for
from tools.emulator import ROOT, STACK, aws_environment

if TYPE_CHECKING:
    from tests.e2e.deployment import Deployment


def command(deployment: Deployment, *arguments: str) -> tuple[int, str]:
    """Run the command against the stack: its exit status and what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "hephaestus.dead_letters", "--stack", STACK, *arguments],
        env=aws_environment(deployment.emulator.endpoint) | {"PYTHONPATH": str(ROOT / "layers" / "hephaestus")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout


def put(deployment: Deployment, queue: str, body: str) -> str:
    """Put a letter into a dead-letter queue; its id."""
    sent = deployment.client("sqs").send_message(QueueUrl=deployment.outputs[queue], MessageBody=body)
    return str(sent["MessageId"])


@pytest.mark.usefixtures("without_sweeps", "no_letters")
def test_a_timeout_that_scheduler_gave_up_is_met(deployment: Deployment) -> None:
    """Its letter is what the schedule carries; a letter that nobody can read stays, which is an exit status of 1."""
    order, given = overdue(deployment)
    put(deployment, "ScheduleDeadLettersUrl", given)
    damaged = put(deployment, "WorkDeadLettersUrl", "{")
    status, told = command(deployment, "--dry-run")
    assert (status, "schedules: 1 found, 1 would be sent, 0 left" in told) == (1, True), told
    status, told = command(deployment)
    assert (status, f"  {damaged}: not a message" in told) == (1, True), told
    assert wait_for(deployment, order, "completed")["steps"]["approval"]["event"] == "timeout"
    deployment.client("sqs").purge_queue(QueueUrl=deployment.outputs["WorkDeadLettersUrl"])
    assert command(deployment) == (
        0,
        "work: 0 found, 0 sent, 0 left\nschedules: 0 found, 0 sent, 0 left\nevents: 0 found, 0 sent, 0 left\n",
    )


@pytest.mark.usefixtures("without_sweeps", "no_letters")
def test_an_event_that_came_too_soon_is_delivered_when_its_order_is_there(deployment: Deployment) -> None:
    """Lambda repeats the invocation, gives up and writes the letter; the redrive invokes `resume` again."""
    order = fresh()
    event = {"instance_id": f"orderid::{order}", "event": "approved", "event_id": f"approval-of-{order}"}
    resume = deployment.outputs["ResumeFunctionName"]
    functions = deployment.client("lambda")
    functions.invoke(FunctionName=resume, InvocationType="Event", Payload=json.dumps(event).encode())
    eventually(lambda: letters(deployment, "ScheduleDeadLettersUrl") == 1, "the event that failed left no letter")
    body = {"id": order, "context": context()}
    assert deployment.call("POST", "/workflows/OrderFlow/instances", body, WAIT).json()["status"] == "waiting"
    assert command(deployment) == (
        0,
        "work: 0 found, 0 sent, 0 left\nschedules: 1 found, 1 sent, 0 left\nevents: 0 found, 0 sent, 0 left\n",
    )
    assert wait_for(deployment, order, "completed")["steps"]["ship"]["status"] == "completed"


@pytest.mark.usefixtures("without_sweeps", "no_letters")
def test_work_that_was_given_up_is_done(deployment: Deployment) -> None:
    """The order's own message never came; two letters of it are one look."""
    order, _ = overdue(deployment)
    body: Any = json.dumps({"source": "hephaestus.queue", "instance_id": f"orderid::{order}"})
    for _ in range(2):
        put(deployment, "WorkDeadLettersUrl", body)
    status, told = command(deployment)
    assert (status, told.splitlines()[0]) == (0, "work: 2 found, 1 sent, 1 more of the same instances, 0 left")
    assert wait_for(deployment, order, "completed")["steps"]["refund"]["status"] == "completed"


def letters(deployment: Deployment, queue: str) -> int:
    """How many letters lie in a queue."""
    name = "ApproximateNumberOfMessages"
    found = deployment.client("sqs").get_queue_attributes(QueueUrl=deployment.outputs[queue], AttributeNames=[name])
    return int(found["Attributes"][name])
