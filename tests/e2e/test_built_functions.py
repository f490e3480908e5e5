"""What `sam build` makes runs as Lambda runs it: every sample of ``events/``, on Amazon's runtime emulator.

Proven here is what only a build has: the layers hold all that the functions import, the handlers are where the template
says, and answers survive the way through JSON. Behind the functions is moto's server.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import boto3
import pytest

from hephaestus.store.keys import HEAD
from hephaestus.testing import TEST_KEY
from tests.engines import REGION, missing_engine
from tests.integration.deployment import SAMPLE as SAMPLE_ID
from tests.integration.deployment import SAMPLE_LIFE, of_life
from tools import emulator, rie

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_LAYER = 4_300_000  # bytes; 1.5 million are sources, 0.3 time zones, the rest what sources are compiled to
RESUME_ARN = f"arn:aws:lambda:{REGION}:123456789012:function:resume"
SAMPLE = {"id": "orderid::sample-1"}

# Each life of an order begins with an empty table. A step of it is the function, the sample, and what comes of it: the
# status of an answer to the API, a direct caller's result, or the name of the error that a direct caller gets.
LIVES: dict[str, list[tuple[str, str, int | str | dict[str, Any]]]] = {
    "approved over the API": [
        ("start", "api-start", 202),
        ("resume", "sqs-continue", {"batchItemFailures": []}),
        ("read", "api-get", 200),
        ("read", "api-history", 200),
        ("read", "api-list", 200),
        ("read", "api-workflows", 200),
        ("read", "api-openapi", 200),
        ("resume", "api-resume", 200),
        ("control", "api-cancel", 409),
    ],
    "found by the sweep, then cancelled": [
        ("start", "api-start", 202),
        ("sweep", "sweep", {"found": 1, "sent": 1}),
        ("control", "api-cancel", 202),
    ],
    "approved by another function": [
        ("start", "api-start", 202),
        ("resume", "sqs-continue", {"batchItemFailures": []}),
        ("resume", "direct-resume", SAMPLE | {"status": "completed"}),
    ],
    "timed out by its schedule": [
        ("start", "api-start", 202),
        ("resume", "sqs-continue", {"batchItemFailures": []}),
        ("resume", "scheduler-timeout", SAMPLE),
    ],
    "started, waited for and worked on": [
        ("start", "api-start-wait", 200),
        ("start", "direct-start", {"id": "orderid::sample-3", "status": "waiting"}),
        ("resume", "api-heartbeat", 200),
        ("resume", "direct-heartbeat", {"id": "orderid::sample-2"}),
    ],
    "paused before it began, and continued": [
        ("start", "api-start", 202),
        ("control", "api-pause", 202),
        ("resume", "sqs-continue", {"batchItemFailures": []}),
        ("control", "api-unpause", 202),
        ("resume", "sqs-continue", {"batchItemFailures": []}),
        ("control", "direct-pause", SAMPLE | {"status": "waiting"}),
        ("control", "direct-unpause", SAMPLE | {"status": "waiting"}),
        ("control", "direct-cancel", SAMPLE | {"status": "cancelled"}),
    ],
    "cancelled and redriven, twice": [
        ("start", "api-start", 202),
        ("resume", "sqs-continue", {"batchItemFailures": []}),
        ("control", "api-cancel-compensate", 200),
        ("control", "api-redrive", 200),
        ("control", "direct-cancel", SAMPLE | {"status": "cancelled"}),
        ("control", "direct-redrive", SAMPLE | {"status": "waiting"}),
    ],
    "forked": [
        ("start", "api-start", 202),
        ("resume", "sqs-continue", {"batchItemFailures": []}),
        ("control", "api-fork", 200),
        ("control", "direct-fork", {"id": "orderid::sample-5", "status": "waiting"}),
    ],
    "cancelled and deleted, twice": [
        ("start", "api-start", 202),
        ("control", "direct-cancel", SAMPLE | {"status": "cancelled"}),
        ("control", "api-delete", 200),
        ("start", "api-start", 202),
        ("control", "direct-cancel", SAMPLE | {"status": "cancelled"}),
        ("control", "direct-delete", SAMPLE),
    ],
    "approved by link": [
        ("start", "api-start", 202),
        ("resume", "sqs-continue", {"batchItemFailures": []}),
        ("callback", "api-callback-show", 200),
        ("callback", "api-callback-answer", 202),
        ("callback", "api-callback-show", 409),
    ],
    "placed and decided by events from outside": [
        ("ingest", "ingest-eventbridge", {"batchItemFailures": []}),
        ("ingest", "ingest-message", {"batchItemFailures": []}),  # another event for the same order: a dead letter
        ("ingest", "ingest-s3", {"batchItemFailures": []}),
        ("resume", "sqs-continue", {"batchItemFailures": []}),
        ("ingest", "ingest-sns", {"batchItemFailures": []}),
        ("read", "api-get", 200),
    ],
    "left by its schedule": [
        ("start", "api-start", 202),
        ("resume", "sqs-continue", {"batchItemFailures": []}),
        ("resume", "sqs-remove-schedule", {"batchItemFailures": []}),
        ("resume", "sqs-status-event", {"batchItemFailures": []}),
    ],
    "given another deadline": [
        ("start", "api-start", 202),
        ("resume", "sqs-continue", {"batchItemFailures": []}),
        ("control", "direct-schedule-resume", {}),
        ("control", "direct-cancel", SAMPLE | {"status": "cancelled"}),
    ],
    "started by a schedule": [
        ("control", "api-create-schedule", 200),
        ("read", "api-schedules", 200),
        ("control", "api-pause-schedule", 202),
        ("control", "api-unpause-schedule", 202),
        ("control", "api-trigger-schedule", 200),
        ("control", "direct-trigger-schedule", {"id": "orderid::nightly.manual-twice-more"}),
        ("control", "api-delete-schedule", 202),
        ("control", "direct-create-schedule", {}),
        ("control", "direct-pause-schedule", {}),
        ("control", "direct-unpause-schedule", {}),
        ("control", "direct-delete-schedule", {}),
    ],
    "held while its workflow is paused": [
        ("control", "api-pause-workflow", 200),
        ("start", "api-start", 202),
        ("read", "api-why", 200),
        ("control", "api-unpause-workflow", 200),
        ("resume", "sqs-unpause-workflow", {"batchItemFailures": []}),
        ("control", "direct-pause-workflow", {"id": "OrderFlow"}),
        ("control", "direct-unpause-workflow", {"id": "OrderFlow"}),
        ("control", "api-recheck", 200),
        ("control", "direct-recheck", SAMPLE),
    ],
    "without a map, under no limit": [
        ("start", "api-start", 202),
        ("read", "api-items", 404),
        ("read", "api-limits", 200),
        ("control", "api-set-limit", 404),
        ("control", "api-unset-limit", 404),
        ("control", "direct-set-limit", "UnknownLimit"),
        ("control", "direct-unset-limit", "UnknownLimit"),
        ("resume", "sqs-call-line", {"batchItemFailures": []}),
    ],
}


@dataclass
class Stack:
    """The built functions, each started when it is first invoked."""

    build: Path
    environment: dict[str, str]
    started: ExitStack
    functions: dict[tuple[str, str], rie.Function] = field(default_factory=dict)

    def invoke(self, name: str, event: Any) -> Any:
        """Invoke a function by the name of its folder; while a request waits, the queue's messages are delivered."""
        if "wait=" not in str(event.get("headers", "")):
            return self.function(name).invoke(event)
        answered = threading.Event()
        delivering = threading.Thread(target=self.deliver, args=(self.function("resume", "of the queue"), answered))
        delivering.start()
        try:
            return self.function(name).invoke(event)
        finally:
            answered.set()
            delivering.join()

    def function(self, name: str, which: str = "") -> rie.Function:
        """A function by the name of its folder, and an environment of it; started when it is first asked for."""
        if (name, which) not in self.functions:
            code = self.build / f"{name.capitalize()}Function"
            layers = rie.built_layers(self.build)
            function = rie.running(code, layers=layers, environment=self.environment)
            self.functions[name, which] = self.started.enter_context(function)
        return self.functions[name, which]

    def life(self) -> str:
        """The life of the sample order."""
        table: Any = boto3.client("dynamodb", endpoint_url=self.environment["AWS_ENDPOINT_URL"])
        key = {"pk": {"S": SAMPLE_ID}, "sk": {"S": HEAD}}
        life: str = table.get_item(TableName=self.environment["HEPHAESTUS_TABLE"], Key=key)["Item"]["life"]["S"]
        return life

    def deliver(self, resume: rie.Function, answered: threading.Event) -> None:
        """Give ``resume`` the queue's messages, as its event source does, until the request is answered."""
        queue = {"QueueUrl": self.environment["HEPHAESTUS_QUEUE_URL"]}
        like = read_sample("sqs-continue")["Records"][0]
        sqs: Any = boto3.client("sqs", endpoint_url=self.environment["AWS_ENDPOINT_URL"])
        while not answered.wait(0.05):
            for message in sqs.receive_message(**queue, MaxNumberOfMessages=1).get("Messages", []):
                record = {**like, "messageId": message["MessageId"], "body": message["Body"]}
                assert resume.invoke({"Records": [record]}) == {"batchItemFailures": []}
                sqs.delete_message(**queue, ReceiptHandle=message["ReceiptHandle"])


@pytest.fixture(scope="module")
def build() -> Path:
    """The output of `sam build`."""
    try:
        rie.find_emulator()
    except rie.EmulatorMissing as missing:
        missing_engine(str(missing))
    return emulator.build().parent


@pytest.fixture
def stack(build: Path, moto_server: str) -> Iterator[Stack]:
    """A table, a queue and a schedule group of one test, and functions whose environment names them."""
    name = f"rie-{uuid4()}"
    _create_table(name, moto_server)
    sqs: Any = boto3.client("sqs", endpoint_url=moto_server)
    queue_url = sqs.create_queue(QueueName=name)["QueueUrl"]
    boto3.client("scheduler", endpoint_url=moto_server).create_schedule_group(Name=name)
    environment = {
        "AWS_ENDPOINT_URL": moto_server,
        "HEPHAESTUS_TABLE": name,
        "HEPHAESTUS_QUEUE_URL": queue_url,
        "HEPHAESTUS_INGEST_DLQ_URL": sqs.create_queue(QueueName=f"{name}-dead")["QueueUrl"],
        "HEPHAESTUS_SCHEDULE_GROUP": name,
        "HEPHAESTUS_SCHEDULE_ROLE_ARN": "arn:aws:iam::123456789012:role/scheduler",
        "HEPHAESTUS_RESUME_ARN": RESUME_ARN,
        # The samples' links are signed with the key of tests.
        "HEPHAESTUS_CALLBACK_KEY": f"secret:{name}",
        "HEPHAESTUS_CALLBACK_AUDIENCE": "local",
    }
    secrets: Any = boto3.client("secretsmanager", endpoint_url=moto_server)
    secrets.create_secret(Name=name, SecretString=TEST_KEY.decode())
    with ExitStack() as started:
        yield Stack(build, environment, started)


def _create_table(name: str, endpoint: str) -> None:
    """As ``template.yaml`` has it, without what moto does nothing with."""
    dynamodb: Any = boto3.client("dynamodb", endpoint_url=endpoint)
    index = {"Projection": {"ProjectionType": "ALL"}}
    keys = {"pk": "S", "sk": "S", "wake_shard": "S", "wake_at": "N", "list_key": "S", "list_at": "S", "recent_key": "S"}
    dynamodb.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": key, "AttributeType": kind} for key, kind in keys.items()],
        KeySchema=_key("pk", "sk"),
        GlobalSecondaryIndexes=[
            {"IndexName": "wake", "KeySchema": _key("wake_shard", "wake_at"), **index},
            {"IndexName": "listing", "KeySchema": _key("list_key", "list_at"), **index},
            {"IndexName": "recent", "KeySchema": _key("recent_key", "list_at"), **index},
        ],
    )


def _key(partition: str, sort: str) -> list[dict[str, str]]:
    return [{"AttributeName": partition, "KeyType": "HASH"}, {"AttributeName": sort, "KeyType": "RANGE"}]


@pytest.mark.parametrize("life", LIVES)
def test_an_order_lives(stack: Stack, life: str) -> None:
    """One life of the sample order, function by function."""
    for function, sample, expected in LIVES[life]:
        event = read_sample(sample)
        if function == "callback" or SAMPLE_LIFE in json.dumps(event):
            event = of_life(event, stack.life())
        if isinstance(expected, str):
            with pytest.raises(rie.FunctionFailed, match=f"^{expected}: "):
                stack.invoke(function, event)
            continue
        result = stack.invoke(function, event)
        if isinstance(expected, int):
            assert result["statusCode"] == expected, (sample, result)
            assert result["body"].startswith("<!doctype html>") or json.loads(result["body"]) is not None
        else:
            assert expected.items() <= result.items(), (sample, result)


def test_nothing_in_the_librarys_layer_is_for_one_architecture(build: Path) -> None:
    """Its Makefile cannot know the stack's: what is compiled would be for the machine that builds."""
    layer = build / "HephaestusLayer"
    assert (layer / "python" / "wrapt").is_dir()
    assert [path.name for path in layer.rglob("*") if path.suffix in {".so", ".pyd", ".dylib"}] == []


UNCOMPILED = """
import os, pathlib, runpy, sys
build = pathlib.Path(sys.argv[1])
for function in build.glob("*Function/app.py"):
    runpy.run_path(str(function))
specs = [spec for module in [*sys.modules.values()] if (spec := getattr(module, "__spec__", None)) and spec.cached]
ours = [spec for spec in specs if spec.origin.startswith(str(build / "HephaestusLayer"))]
print(len(ours) > 200, [spec.name for spec in ours if not os.path.exists(spec.cached)])
"""


def test_all_that_functions_import_of_the_librarys_layer_is_compiled(stack: Stack) -> None:
    """A cold start that compiles takes twice the processor's time, and Lambda keeps nothing of it."""
    path = os.pathsep.join(str(layer / "python") for layer in rie.built_layers(stack.build))
    account = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": REGION}
    command = [sys.executable, "-B", "-c", UNCOMPILED, str(stack.build)]
    found = subprocess.run(
        command, check=False, env=stack.environment | account | {"PYTHONPATH": path}, capture_output=True, text=True
    )
    assert (found.stdout.strip(), found.stderr) == ("True []", "")


def test_the_librarys_layer_is_small(build: Path, tmp_path: Path) -> None:
    """As it is uploaded. A cold start unpacks it."""
    packed = shutil.make_archive(str(tmp_path / "layer"), "zip", build / "HephaestusLayer")
    assert Path(packed).stat().st_size <= MOST_LAYER


def test_every_sample_is_used() -> None:
    """A new file in ``events/`` needs a place in a life; one of them is what the stack sends, not what it takes."""
    used = {sample for life in LIVES.values() for _, sample, _ in life}
    assert used == {path.stem for path in (emulator.ROOT / "events").glob("*.json")} - {"env", "status-completed"}


def read_sample(sample: str) -> Any:
    """A file of ``events/``."""
    return json.loads((emulator.ROOT / "events" / f"{sample}.json").read_text("utf-8"))
