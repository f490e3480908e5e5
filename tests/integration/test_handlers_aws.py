"""The functions on moto, put together from the environment: real messages, real schedules, their real payloads.

Only Lambda is played: what SQS and Scheduler hold is taken from them and given to the resume function.
"""

from __future__ import annotations

import importlib.util
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from moto import mock_aws

os.environ["POWERTOOLS_LOG_DEDUPLICATION_DISABLED"] = "1"  # else Powertools silences pytest's own log handler

from hephaestus import aws
from hephaestus.adapters import session
from hephaestus.adapters.dynamodb import Table
from hephaestus.aws import BadSettings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

ROOT = Path(__file__).parents[2]
REGION = "eu-central-1"
ACCOUNT = "123456789012"
RESUME_ARN = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:resume"


@dataclass
class Context:
    """Lambda's context object, as far as anybody here reads it."""

    function_name: str = "hephaestus-test"
    memory_limit_in_mb: int = 512
    invoked_function_arn: str = RESUME_ARN
    aws_request_id: str = "4f2c9a1e-0000-4000-8000-000000000001"

    def get_remaining_time_in_millis(self) -> int:
        """Half a minute."""
        return 30_000


@dataclass
class Stack:
    """The functions, and the clients of what stands between them."""

    sqs: Any
    scheduler: Any
    queue_url: str
    functions: dict[str, ModuleType] = field(default_factory=dict)

    def invoke(self, function: str, event: Any) -> Any:
        """Invoke a function as Lambda does, importing it when it is first needed."""
        if function not in self.functions:
            spec = importlib.util.spec_from_file_location(
                f"hephaestus_aws_{function}", ROOT / "functions" / function / "app.py"
            )
            assert spec is not None
            assert spec.loader is not None
            self.functions[function] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(self.functions[function])
        return json.loads(json.dumps(self.functions[function].handler(json.loads(json.dumps(event)), Context())))

    def call(self, function: str, name: str, path: str | None = None) -> tuple[int, dict[str, Any]]:
        """Send a sample API event."""
        event = sample(name)
        answer = self.invoke(function, {**event, "path": path or event["path"]})
        return answer["statusCode"], json.loads(answer["body"])

    def deliver(self) -> int:
        """Give the queue's messages to the resume function as its event source does; how many there were."""
        delivered = 0
        while found := self.sqs.receive_message(QueueUrl=self.queue_url, MaxNumberOfMessages=10).get("Messages"):
            records = [
                {"messageId": each["MessageId"], "body": each["Body"], "eventSource": "aws:sqs", "attributes": {}}
                for each in found
            ]
            assert self.invoke("resume", {"Records": records}) == {"batchItemFailures": []}
            for each in found:
                self.sqs.delete_message(QueueUrl=self.queue_url, ReceiptHandle=each["ReceiptHandle"])
            delivered += len(found)
        return delivered

    def schedules(self) -> list[dict[str, Any]]:
        """Every schedule there is."""
        found = self.scheduler.list_schedules(GroupName="hephaestus")["Schedules"]
        return [self.scheduler.get_schedule(GroupName="hephaestus", Name=each["Name"]) for each in found]

    def status(self, instance_id: str) -> str:
        """What the API says of an instance."""
        status, body = self.call("read", "api-get", f"/instances/{instance_id}")
        assert status == 200
        return str(body["status"])


def sample(name: str) -> dict[str, Any]:
    """A file of ``events/``."""
    loaded: dict[str, Any] = json.loads((ROOT / "events" / f"{name}.json").read_text())
    return loaded


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    """A table, a queue and a schedule group on moto, and an environment that names them."""
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    with mock_aws():
        forget()
        Table("hephaestus").create()
        sqs, scheduler = boto3.client("sqs", region_name=REGION), boto3.client("scheduler", region_name=REGION)
        url = sqs.create_queue(QueueName="work")["QueueUrl"]
        scheduler.create_schedule_group(Name="hephaestus")
        monkeypatch.setenv("HEPHAESTUS_TABLE", "hephaestus")
        monkeypatch.setenv("HEPHAESTUS_QUEUE_URL", url)
        monkeypatch.setenv("HEPHAESTUS_SCHEDULE_GROUP", "hephaestus")
        monkeypatch.setenv("HEPHAESTUS_SCHEDULE_ROLE_ARN", f"arn:aws:iam::{ACCOUNT}:role/schedules")
        monkeypatch.setenv("HEPHAESTUS_RESUME_ARN", RESUME_ARN)
        yield Stack(sqs, scheduler, url)
        forget()


def forget() -> None:
    """Begin as a fresh process does."""
    for cached in (aws.settings_from_environment, aws.runner_from_environment, session.shared_session):
        cached.cache_clear()


def test_an_order_is_started_approved_and_shipped(stack: Stack) -> None:
    """By API and queue alone; the deadline's schedule is gone when the order is."""
    status, body = stack.call("start", "api-start")
    assert (status, stack.status(body["id"])) == (202, "pending")
    assert stack.deliver() == 1
    assert stack.status(body["id"]) == "waiting"
    (schedule,) = stack.schedules()
    assert schedule["Target"]["Arn"] == RESUME_ARN
    status, shown = stack.call("resume", "api-resume")
    assert (status, shown["status"], shown["steps"]["ship"]["status"]) == (200, "completed", "completed")
    assert stack.schedules() == []


def test_an_order_that_nobody_approves_times_out_by_its_schedule(stack: Stack) -> None:
    """The schedule's own input goes to its own target."""
    event = sample("direct-start")
    event["context"]["approval_timeout_seconds"] = 1
    started = stack.invoke("start", event)
    (schedule,) = stack.schedules()
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
    timeout = json.loads(sample("sqs-remove-schedule")["Records"][0]["body"])["remove_schedule"]
    assert {**json.loads(schedule["Target"]["Input"]), "due_at": 0} == {**timeout, "due_at": 0}
    for _ in range(2):
        assert stack.invoke("resume", sample("sqs-remove-schedule")) == {"batchItemFailures": []}
        assert stack.schedules() == []
    assert stack.status("orderid::sample-1") == "waiting"


def test_a_message_that_was_lost_is_made_up_for_by_the_sweep(stack: Stack) -> None:
    """Every sample of the API, the queue and the sweep, in one life."""
    stack.call("start", "api-start")
    stack.sqs.purge_queue(QueueUrl=stack.queue_url)
    assert stack.invoke("sweep", sample("sweep"))["sent"] == 1
    assert stack.deliver() == 1
    assert [item["id"] for item in stack.call("read", "api-list")[1]["items"]] == ["orderid::sample-1"]
    assert stack.call("read", "api-history")[1]["items"][0]["sequence"] == 1
    assert stack.call("control", "api-cancel")[0] == 202
    assert stack.status("orderid::sample-1") == "cancelled"
    assert {item["name"] for item in stack.call("read", "api-workflows")[1]["items"]} == {"OrderFlow", "Onboarding"}


def test_a_function_without_its_environment_does_not_start(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lambda reports what is missing when it initialises the function."""
    monkeypatch.delenv("HEPHAESTUS_QUEUE_URL")
    with pytest.raises(BadSettings, match="HEPHAESTUS_QUEUE_URL is not set"):
        stack.invoke("resume", {})
