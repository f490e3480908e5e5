"""Tracing is a switch: the X-Ray SDK is there where it is on, and is not imported where it is off."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

SETTINGS = {
    "HEPHAESTUS_TABLE": "table",
    "HEPHAESTUS_QUEUE_URL": "https://queue.test/1/work",
    "HEPHAESTUS_SCHEDULE_GROUP": "group",
    "HEPHAESTUS_SCHEDULE_ROLE_ARN": "arn:aws:iam::123456789012:role/scheduler",
    "HEPHAESTUS_RESUME_ARN": "arn:aws:lambda:eu-west-1:123456789012:function:resume",
}

# A payload that is nobody's is refused before anything is touched, by a handler that is traced like any other.
SCRIPT = """
import sys
import app
from hephaestus.errors import BadRequest

class Context:
    function_name = memory_limit_in_mb = invoked_function_arn = aws_request_id = "test"
    def get_remaining_time_in_millis(self):
        return 30_000

try:
    app.handler({"nobody": "knows"}, Context())
except BadRequest as refused:
    print("refused", file=sys.stderr)
print("aws_xray_sdk" in sys.modules)
"""


# What would go to X-Ray, printed.
TRACED = """
import json
from aws_xray_sdk.core import xray_recorder
from hephaestus.handlers.observability import observed

class Context:
    function_name = memory_limit_in_mb = invoked_function_arn = aws_request_id = "test"
    def get_remaining_time_in_millis(self):
        return 30_000

class Emitter:
    def send_entity(self, entity):
        print(json.dumps(entity.to_dict(), default=str))

xray_recorder.configure(emitter=Emitter(), sampling=False)
observed(lambda event, context: {"card": "s3cr3t"})({}, Context())
"""

# The same, of an instance with two steps at once of which one fails.
STEPS = """
from datetime import timedelta
from hephaestus import DONE, Retry, Workflow, step
from hephaestus.testing import LocalRuntime

@step
def begin(ctx):
    return "done"

@step
def left(ctx):
    return "done"

@step(retry=Retry(max_attempts=1))
def right(ctx):
    raise ValueError("s3cr3t")

@step
def join(ctx):
    return "done"

class Drawn(Workflow, key="drawn"):
    start_at = begin
    transitions = {begin: {"done": [left, right]}, left: {"done": join}, right: {"done": join}, join: {"done": DONE}}

observed(lambda event, context: LocalRuntime(Drawn).start(Drawn, "1", {"card": "s3cr3t"}).id)({}, Context())
"""


def traced(script: str) -> str:
    """What a script prints in what looks like Lambda with tracing on."""
    lambdas = {
        "HEPHAESTUS_TRACING": "on",
        "LAMBDA_TASK_ROOT": "/var/task",
        "_X_AMZN_TRACE_ID": "Root=1-57ff426a-80c11c39b0c928905eb0828d;Parent=1234abcd1234abcd;Sampled=1",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    done = subprocess.run(
        [sys.executable, "-c", script], env=os.environ | lambdas, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_no_answer_goes_into_a_trace() -> None:
    """It holds what workflows carry; that there was one is enough."""
    sent = traced(TRACED)
    assert "## lambda" in sent
    assert "s3cr3t" not in sent


def test_every_attempt_of_a_step_is_a_subsegment_that_its_instance_finds() -> None:
    sent = traced(TRACED + STEPS)
    entities = [entity for line in sent.splitlines() if "parent_id" in (entity := json.loads(line))]
    handler = [entity for entity in entities if entity["name"] == "## lambda"][-1]
    steps = {entity["name"]: entity for entity in entities if entity["parent_id"] == handler["id"]}
    assert steps.keys() == {"step begin", "step left", "step right"}
    right = steps["step right"]
    assert right["fault"] is True
    assert right["annotations"]["instance_id"] == handler["annotations"]["instance_id"] == "drawn::1"
    assert (right["annotations"]["attempt"], right["annotations"]["kind"]) == (1, "ValueError")
    assert all(one["end_time"] >= one["start_time"] > 0 for one in steps.values())
    assert "s3cr3t" not in sent


@pytest.mark.parametrize(("switch", "imported"), [("on", "True"), ("off", "False")])
def test_the_x_ray_sdk_is_imported_only_where_tracing_is_on(switch: str, imported: str) -> None:
    """A handler answers the same way in both cases."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=os.environ | SETTINGS | {"HEPHAESTUS_TRACING": switch, "PYTHONPATH": os.pathsep.join(sys.path)},
        cwd=ROOT / "functions" / "resume",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == imported
    assert "refused" in done.stderr
