"""The functions over a store in memory and on moto, and what they log."""

from __future__ import annotations

import contextlib
import io
import json
import os
from typing import TYPE_CHECKING

import boto3
import pytest
from moto import mock_aws

os.environ["POWERTOOLS_LOG_DEDUPLICATION_DISABLED"] = "1"  # else Powertools silences pytest's own log handler

from hephaestus import aws
from hephaestus.adapters import secrets, session
from hephaestus.adapters.dynamodb import DynamoTable
from hephaestus.adapters.session import Account
from hephaestus.handlers import observability
from hephaestus.operations import Connection
from hephaestus.operations.catalog import Catalog
from hephaestus.operations.http_client import Api
from hephaestus.operations.identity import Identity
from hephaestus.operations.transport import DirectInvocation
from hephaestus.runtime.runner import Runner
from hephaestus.store.items import INDEXES
from tests.integration.deployment import Deployment, Large, deploy
from tests.integration.outside import ANN, STACK, TEMPLATE, Functions
from tests.integration.stack import ACCOUNT, REGION, RESUME_ARN, Stack
from workflows import Onboarding, OrderFlow

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _no_metrics_of_other_tests() -> None:
    """Drop what is counted outside of any function, by a runner that a test calls itself: no handler writes it."""
    with contextlib.redirect_stdout(io.StringIO()):
        observability.counted.flush()


@pytest.fixture
def deployment(monkeypatch: pytest.MonkeyPatch) -> Deployment:
    """The functions over a store in memory, with the example and a workflow whose results have any size."""
    return deploy(monkeypatch, OrderFlow, Onboarding, Large)


@pytest.fixture
def connection(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> Connection:
    """A connection to the functions in this process, whose runner knows no workflow's code."""
    monkeypatch.setattr(Identity, "arn", lambda _: ANN)
    own = deployment.runner
    api = Api(DirectInvocation(STACK, Account(), Functions(deployment)))  # type: ignore[arg-type]  # called as the SDK's client is
    runner = Runner(own.store, own.timers, own.queue, Catalog(api.workflows), clock=own.clock)
    runner.heed_pauses()
    return Connection(Account(), runner, api, STACK)


@pytest.fixture
def logs(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What the functions write to their log."""
    written = io.StringIO()
    monkeypatch.setattr(observability.begin().registered_handler, "stream", written)
    return written


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
        DynamoTable("hephaestus", INDEXES).create()
        sqs, scheduler = boto3.client("sqs", region_name=REGION), boto3.client("scheduler", region_name=REGION)
        url, bulk = (sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("work", "bulk"))
        scheduler.create_schedule_group(Name="hephaestus")
        monkeypatch.setenv("HEPHAESTUS_TABLE", "hephaestus")
        monkeypatch.setenv("HEPHAESTUS_QUEUE_URL", url)
        monkeypatch.setenv("HEPHAESTUS_BULK_QUEUE_URL", bulk)
        monkeypatch.setenv("HEPHAESTUS_SCHEDULE_GROUP", "hephaestus")
        monkeypatch.setenv("HEPHAESTUS_SCHEDULE_ROLE_ARN", f"arn:aws:iam::{ACCOUNT}:role/schedules")
        monkeypatch.setenv("HEPHAESTUS_RESUME_ARN", RESUME_ARN)
        yield Stack(sqs, scheduler, url, bulk)
        forget()


def forget() -> None:
    """Begin as a fresh process does."""
    for cached in (
        aws.settings_from_environment,
        aws.runner_from_environment,
        aws.answerer_from_environment,
        aws.reader_from_environment,
        aws.signer_from_environment,
        session.shared_session,
    ):
        cached.cache_clear()
    for client in (secrets._secrets, secrets._parameters):  # noqa: SLF001 - made once a process
        client._client = None  # noqa: SLF001 - the same


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An account with a stack ``shop``, and one that is none of ours."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with mock_aws():
        DynamoTable("hephaestus", INDEXES, REGION).create()
        formation = boto3.client("cloudformation", region_name=REGION)
        formation.create_stack(StackName="shop", TemplateBody=json.dumps(TEMPLATE))
        bare = {"Resources": TEMPLATE["Resources"]}
        formation.create_stack(StackName="other", TemplateBody=json.dumps(bare))
        inner = formation.describe_stacks(StackName="shop")["Stacks"][0]["StackId"]
        team = {"Resources": {"Own": {"Type": "AWS::SQS::Queue"}}, "Outputs": {"HephaestusStack": {"Value": inner}}}
        formation.create_stack(StackName="team", TemplateBody=json.dumps(team))
        yield
