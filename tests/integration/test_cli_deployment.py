"""``doctor`` and ``dlq redrive`` on moto: what is there, what is missing, and that nothing is lost."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from typer.testing import CliRunner

from hephaestus.cli.app import app
from hephaestus.operations import Stack, doctor
from hephaestus.operations.transport import Answer, DirectInvocation
from tests.integration.stack import REGION

if TYPE_CHECKING:
    from typer.testing import Result


@pytest.fixture(autouse=True)
def _here(shop: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stack ``shop`` is the one that is meant."""
    monkeypatch.setenv("AWS_REGION", REGION)
    monkeypatch.setenv("HEPHAESTUS_STACK", "shop")
    monkeypatch.setenv("COLUMNS", "80")


def call(*arguments: str, code: int = 0) -> Result:
    """Run the command."""
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == code, done.output
    assert all(len(line) <= 80 for line in done.stdout.splitlines() if "--json" not in arguments)
    return done


def findings(*arguments: str, code: int = 1) -> dict[str, Any]:
    """What the doctor finds, by what it looked at."""
    told = json.loads(call("doctor", "--json", *arguments, code=code).stdout)
    assert told["ok"] == (code == 0)
    return {each["what"]: each for each in told["findings"]}


def letters(*bodies: str) -> str:
    """Put letters into the dead work; returns the queue's URL."""
    sqs = boto3.client("sqs", region_name=REGION)
    url = sqs.get_queue_url(QueueName="dead-work")["QueueUrl"]
    for body in bodies:
        sqs.send_message(QueueUrl=url, MessageBody=body)
    return str(url)


WAKE = json.dumps({"source": "hephaestus.queue", "instance_id": "orderid::a"})


def test_the_doctor_says_what_is_there_and_what_is_missing() -> None:
    """The table can be read; a stack without its functions is not whole."""
    found = findings()
    assert found["stack"]["verdict"] == found["table"]["verdict"] == found["reading"]["verdict"] == "ok"
    assert found["expiry"]["verdict"] == "ok"
    assert found["function start"]["detail"] == "the stack has none"
    assert found["function resume"]["verdict"] == "wrong", "it is named, and not there"
    assert [found[queue]["verdict"] for queue in ("work queue", "bulk queue", "dead work")] == ["ok"] * 3
    said = call("doctor", code=1).stdout
    assert "things to fix" in said
    assert "✓ table" in said


@pytest.mark.parametrize(("broken", "verdict"), [([], "ok"), (["shop.orders"], "wrong")])
def test_the_doctor_names_modules_that_cannot_be_loaded(
    broken: list[str], verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Functions(DirectInvocation):
        def call(self, method: str, path: str, **_: Any) -> Answer:
            return Answer(200, {"items": [], "unavailable": broken})

    functions = property(lambda _: {"read": "shop-read"})
    monkeypatch.setattr(doctor, "DirectInvocation", Functions)
    monkeypatch.setattr(Stack, "functions", functions)
    found = findings()["workflows"]
    assert found["verdict"] == verdict
    assert all(module in found["detail"] for module in broken)
    assert ("shop-read" in found["fix"]) == bool(broken)


def test_a_stack_without_a_queue_for_maps_is_worth_knowing() -> None:
    """It is of an older release, and works."""
    outputs: dict[str, Any] = {"TableName": {"Value": "hephaestus"}, "ResumeFunctionName": {"Value": "older-resume"}}
    outputs |= {f"Work{name}Url": {"Value": {"Ref": name}} for name in ("Queue", "DeadLetters")}
    older = {"Resources": {name: {"Type": "AWS::SQS::Queue"} for name in ("Queue", "DeadLetters")}, "Outputs": outputs}
    boto3.client("cloudformation", region_name=REGION).create_stack(StackName="older", TemplateBody=json.dumps(older))
    found = findings("--stack", "older")["bulk queue"]
    assert (found["verdict"], found["fix"]) == ("note", "deploy this release")
    assert call("dlq", "redrive", "--stack", "older").stdout.startswith("work: 0 found")


def test_the_doctor_counts_dead_letters() -> None:
    letters(WAKE, WAKE)
    found = findings()["dead work"]
    assert (found["verdict"], found["detail"]) == ("wrong", "about 2 letters")
    assert "hephaestus dlq redrive" in found["fix"]


def test_without_a_stack_or_credentials_the_doctor_says_that_first(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "deploy it" in findings("--stack", "nothing")["stack"]["fix"]
    assert "no output TableName" in findings("--stack", "other")["stack"]["detail"]
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    assert list(findings()) == ["credentials"]


def test_dead_letters_go_where_they_belong() -> None:
    """A dry run changes nothing; what nobody can read stays, and is status 1."""
    letters(WAKE)
    assert "work: 1 found, 1 would be sent, 0 left" in call("dlq", "redrive", "--dry-run").stdout
    told = json.loads(call("dlq", "redrive", "--json").stdout)
    assert told["work"] == {"found": 1, "sent": 1, "merged": 0, "left": [], "failure": None}
    url = letters("nobody's")
    said = call("dlq", "redrive", code=1).stdout
    assert "work: 1 found, 0 sent, 1 left" in said
    sqs = boto3.client("sqs", region_name=REGION)
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])["Attributes"]
    assert attributes["ApproximateNumberOfMessages"] == "1"


def test_dead_letters_about_maps_go_to_the_bulk_queue() -> None:
    letters(json.dumps({"source": "hephaestus.queue", "instance_id": "hephaestus-map::0a1b"}), WAKE)
    assert "work: 2 found, 2 sent, 0 left" in call("dlq", "redrive").stdout
    sqs = boto3.client("sqs", region_name=REGION)
    url = sqs.get_queue_url(QueueName="bulk")["QueueUrl"]
    (moved,) = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
    assert json.loads(moved["Body"])["instance_id"] == "hephaestus-map::0a1b"


def test_dead_letters_need_a_stack() -> None:
    assert "name it with --stack" in call("dlq", "redrive", "--table", "hephaestus", code=2).stderr.replace("\n", " ")


def test_graphs_may_come_from_a_module_of_one_s_own() -> None:
    """One that is not there, or broken, is said to be so."""
    assert "no instances" in call("list", "--module", "workflows").stdout
    assert "no module nothing_like_that" in call("list", "-m", "nothing_like_that", code=3).stderr
