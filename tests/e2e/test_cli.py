"""The command, as a person types it, against the deployed stack: by its name, by the API's address, without leave."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.orders import context, eventually, fresh
from tools.emulator import REGION

if TYPE_CHECKING:
    from collections.abc import Callable

    from botocore.credentials import Credentials

    from tests.e2e.deployment import Deployment

    Call = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def call(deployment: Deployment) -> Call:
    """Runs the command in a process of its own, as the deployer or with other credentials."""

    def run(
        *arguments: str, code: int = 0, by: Credentials | None = None, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "HEPHAESTUS_"))
        }
        environment |= {
            "AWS_ACCESS_KEY_ID": by.access_key if by else "test",
            "AWS_SECRET_ACCESS_KEY": by.secret_key if by else "test",
            "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL": deployment.emulator.endpoint,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": "127.0.0.1",
            "COLUMNS": "80",
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        command = [sys.executable, "-m", "hephaestus.cli", *arguments]
        done = subprocess.run(command, env=environment, input=stdin, capture_output=True, text=True, check=False)
        assert done.returncode == code, f"{arguments}: {done.stdout}{done.stderr}"
        return done

    return run


def answer(done: subprocess.CompletedProcess[str]) -> Any:
    """What a program gets."""
    return json.loads(done.stdout)


def test_an_order_by_the_stack_s_name(deployment: Deployment, call: Call) -> None:
    """Started, found, paused, continued, approved, forked; what was done is in its history, with who did it."""
    number, tag = fresh(), fresh()
    order = f"orderid::{number}"
    start = ["start", "OrderFlow", number, "--input", "-", "--tag", tag]
    assert answer(call(*start, "--json", stdin=json.dumps(context())))["id"] == order
    eventually(lambda: answer(call("get", order, "--json"))["status"] == "waiting", f"{order} does not wait")
    said = call("get", order).stdout
    assert said.startswith(f"{order}  ◷ waiting  OrderFlow v1")
    assert f"→ hephaestus resume {order} approved" in said
    assert [each["id"] for each in answer(call("list", "--tag", tag, "--since", "1h", "--json"))["items"]] == [order]
    call("pause", order, "--reason", "night ☾")
    assert ": night ☾; nothing starts until it is unpaused" in " ".join(call("get", order).stdout.split())
    call("unpause", order)
    assert "✓ completed" in call("resume", order, "approved", "--data", '{"by": "Ann"}', "--wait", "20").stdout
    call("fork", order, f"{number}-2", "--at", "3")
    eventually(lambda: answer(call("get", f"{order}-2", "--json"))["status"] == "waiting", "the fork does not wait")
    assert "⊘ cancelled" in call("cancel", f"{order}-2", "--compensate", "--wait", "20").stdout
    said = call("history", order).stdout
    assert "● started OrderFlow v1" in said
    happened = answer(call("history", order, "--json"))["items"]
    paused = [event for entry in happened for event in entry["events"] if event["type"] == "Paused"]
    who = deployment.client("sts").get_caller_identity()["Arn"]
    assert [(event["reason"], event["by"]) for event in paused] == [("night ☾", who)]


def test_a_payload_of_300_kb_is_refused_and_nothing_is_lost(call: Call) -> None:
    number = fresh()
    call("start", "OrderFlow", number, "--input", "-", "--wait", "20", stdin=json.dumps(context()))
    noise = json.dumps({"blob": os.urandom(150_000).hex()})
    refused = call("resume", f"orderid::{number}", "approved", "--input", "-", code=4, stdin=noise)
    assert "payload" in refused.stderr
    call("resume", f"orderid::{number}", "approved", "--wait", "20")


def test_pictures_workflows_and_the_doctor(call: Call) -> None:
    number = fresh()
    call("start", "OrderFlow", number, "--input", "-", "--wait", "20", stdin=json.dumps(context()))
    assert 's5(["approval<br>waiting' in call("graph", f"orderid::{number}").stdout
    assert call("graph", "OrderFlow", "--format", "svg").stdout.startswith("<svg")
    assert "OrderFlow" in call("workflows").stdout
    found = answer(call("doctor", "--json"))
    assert found["ok"], found
    assert "execute-api" not in json.dumps(found), "an address that leads nowhere from here"
    assert {"stack", "table", "reading", "function start", "invoking control", "work queue"} <= {
        each["what"] for each in found["findings"]
    }


def test_the_api_s_address_is_enough_for_who_may_call_it(deployment: Deployment, call: Call) -> None:
    """Signed with the caller's own keys, who may do nothing else."""
    number, here = fresh(), ["--api", deployment.url]
    start = ["start", "OrderFlow", number, "--input", "-", "--wait", "20", *here]
    assert "◷ waiting" in call(*start, by=deployment.caller, stdin=json.dumps(context())).stdout
    order = f"orderid::{number}"
    assert "→ hephaestus resume" in call("get", order, *here, by=deployment.caller).stdout
    assert "● started" in call("history", order, *here, by=deployment.caller).stdout
    assert order in call("list", "--workflow", "OrderFlow", "-n", "200", *here, by=deployment.caller).stdout
    call("resume", order, "flown", *here, by=deployment.caller, code=4)
    call("get", order, *here, by=deployment.stranger, code=5)
    call("get", "orderid::nobody", *here, by=deployment.caller, code=3)


def test_who_may_not_is_told_so(deployment: Deployment, call: Call) -> None:
    """A stranger, a stack that is not there, nobody who answers."""
    assert "does not allow" in call("list", by=deployment.stranger, code=5).stderr.replace("\n", " ")
    assert "no stack nothing" in call("list", "--stack", "nothing", code=3).stderr
    said = answer(call("doctor", "--json", by=deployment.stranger, code=1))["findings"][-1]
    assert (said["what"], said["fix"]) == ("stack", "it takes cloudformation:DescribeStacks")
    assert "does not answer" in call("list", "--endpoint-url", "http://127.0.0.1:9", code=5).stderr.replace("\n", " ")


def test_a_table_s_name_is_enough_to_look(deployment: Deployment, call: Call) -> None:
    number = fresh()
    call("start", "OrderFlow", number, "--input", "-", "--wait", "20", stdin=json.dumps(context()))
    order, here = f"orderid::{number}", ["--table", deployment.table]
    assert "◷ waiting" in call("get", order, *here).stdout
    assert "● started" in call("history", order, *here).stdout
    for more in (["--workflow", "OrderFlow"], ["--status", "waiting"], []):
        assert order in call("list", "-n", "200", *more, *here).stdout
    assert "name the stack" in call("pause", order, *here, code=2).stderr.replace("\n", " ")


@pytest.mark.usefixtures("no_letters")
def test_dead_letters_are_looked_at(call: Call) -> None:
    """None there, so nothing to do; see the tests of dead letters for what becomes of each."""
    assert answer(call("dlq", "redrive", "--dry-run", "--json"))["work"]["found"] == 0
