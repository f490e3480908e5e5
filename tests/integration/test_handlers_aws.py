"""The functions on moto, from a start to an end, by the messages and schedules that they make themselves."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from hephaestus import Items, aws
from hephaestus.aws import BadSettings
from hephaestus.runtime.clock import SystemClock
from tests.integration.deployment import of_life, pass_time, sample
from tests.integration.stack import REGION, RESUME_ARN

if TYPE_CHECKING:
    from tests.integration.stack import Stack


def test_an_order_is_started_approved_and_shipped(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """By API and queue alone, also what a request waits for; the deadline's schedule is gone when the order is."""
    status, body = stack.call("start", "api-start")
    assert (status, stack.status(body["id"])) == (202, "pending")
    assert stack.deliver() == 1
    assert stack.status(body["id"]) == "waiting"
    (schedule,) = stack.schedules()
    assert schedule["Target"]["Arn"] == RESUME_ARN
    monkeypatch.setattr(SystemClock, "sleep", lambda _self, _ms: stack.deliver())
    status, shown = stack.call("resume", "api-resume")
    assert (status, shown["status"], shown["steps"]["ship"]["status"]) == (200, "completed", "completed")
    assert stack.schedules() == []


def test_an_order_that_nobody_approves_times_out_by_its_schedule(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """The schedule's own input goes to its own target."""
    event = sample("direct-start")
    event["context"]["approval_timeout_seconds"] = 3_600
    started = stack.invoke("start", event)
    (schedule,) = stack.schedules()
    pass_time(monkeypatch, 3_600)
    fired = json.loads(schedule["Target"]["Input"])
    assert fired.keys() == sample("scheduler-timeout").keys()
    assert stack.invoke("resume", fired) == {"id": started["id"]}
    assert stack.status(started["id"]) == "completed"
    assert stack.invoke("resume", fired) == {"id": started["id"]}


def test_a_deadline_from_outside_is_a_schedule_of_that_name(stack: Stack) -> None:
    """``schedule_resume`` answers with the name that Scheduler knows."""
    stack.call("start", "api-start")
    stack.deliver()
    name = stack.invoke("control", sample("direct-schedule-resume"))["schedule_name"]
    assert name in [schedule["Name"] for schedule in stack.schedules()]


def test_a_message_removes_a_schedule_that_was_left_behind(stack: Stack) -> None:
    """The sample names the wait of the sample order; the schedule goes, the order waits on; once more does nothing."""
    stack.call("start", "api-start")
    stack.deliver()
    (schedule,) = stack.schedules()
    removal = of_life(sample("sqs-remove-schedule"), json.loads(schedule["Target"]["Input"])["life"])
    timeout = json.loads(removal["Records"][0]["body"])["remove_schedule"]
    assert {**json.loads(schedule["Target"]["Input"]), "due_at": 0} == {**timeout, "due_at": 0}
    for _ in range(2):
        assert stack.invoke("resume", removal) == {"batchItemFailures": []}
        assert stack.schedules() == []
    assert stack.status("orderid::sample-1") == "waiting"


def test_a_message_that_was_lost_is_made_up_for_by_the_sweep(stack: Stack) -> None:
    """Every sample of the API, the queue and the sweep, in one life."""
    stack.call("start", "api-start")
    stack.sqs.purge_queue(QueueUrl=stack.queue_url)
    assert stack.invoke("sweep", sample("sweep"))["sent"] == 1
    assert stack.deliver() == 2  # and what has schedules made known
    assert [item["id"] for item in stack.call("read", "api-list")[1]["items"]] == ["orderid::sample-1"]
    assert stack.call("read", "api-history")[1]["items"][0]["sequence"] == 1
    assert stack.call("control", "api-cancel")[0] == 202
    assert stack.status("orderid::sample-1") == "cancelled"
    assert {item["name"] for item in stack.call("read", "api-workflows")[1]["items"]} == {"OrderFlow", "Onboarding"}


LEAF = "hephaestus-map::0a1b"


def test_what_maps_do_is_sent_and_taken_apart(stack: Stack) -> None:
    """By what runs steps, what takes links, and the sweep; a message of the bulk queue is done as any other."""
    for made in (aws.runner_from_environment(), aws.answerer_from_environment(), aws.sweeper_from_environment()):
        made.queue.wake(LEAF)
        assert made.queue.depth(bulk=True) == 1
        assert made.queue.depth() == 0
        assert stack.deliver() == 0
        assert stack.deliver_bulk() == 1


def test_what_runs_steps_reads_users_objects(stack: Stack) -> None:
    """With the credentials of its function, from whichever bucket; its client is made once, when a map asks for it."""
    s3: Any = boto3.client("s3", region_name=REGION)
    s3.create_bucket(Bucket="uploads", CreateBucketConfiguration={"LocationConstraint": REGION})
    s3.put_object(Bucket="uploads", Key="parcels.csv", Body=b"id\n1\n2\n")
    sources = aws.runner_from_environment().sources()
    scan, ((leaf,),) = sources.scan(sources.begin(Items.s3("uploads", "parcels.csv"), 100), lambda _: True)
    assert sources.read(scan.source, leaf, 0).items == [{"id": "1"}, {"id": "2"}]
    assert aws.runner_from_environment().sources() is sources


def test_a_stack_without_a_bulk_queue_has_one_for_everything(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it was deployed before there were such maps."""
    monkeypatch.delenv("HEPHAESTUS_BULK_QUEUE_URL")
    aws.runner_from_environment().queue.wake(LEAF)
    assert (stack.deliver_bulk(), stack.deliver()) == (0, 1)


def test_a_function_without_its_environment_does_not_start(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lambda reports what is missing when it initialises the function."""
    monkeypatch.delenv("HEPHAESTUS_QUEUE_URL")
    with pytest.raises(BadSettings, match="HEPHAESTUS_QUEUE_URL is not set"):
        stack.invoke("resume", {})
