"""The functions over a store in memory and on moto, and what they log."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

import boto3
import pytest
from moto import mock_aws

os.environ["POWERTOOLS_LOG_DEDUPLICATION_DISABLED"] = "1"  # else Powertools silences pytest's own log handler

from hephaestus import aws, observability
from hephaestus.adapters import secrets, session
from hephaestus.adapters.dynamodb import Table
from tests.integration.deployment import Deployment, Large, deploy
from tests.integration.stack import ACCOUNT, REGION, RESUME_ARN, Stack
from workflows import Onboarding, OrderFlow

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def deployment(monkeypatch: pytest.MonkeyPatch) -> Deployment:
    """The functions over a store in memory, with the example and a workflow whose results have any size."""
    return deploy(monkeypatch, OrderFlow, Onboarding, Large)


@pytest.fixture
def logs(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What the functions write to their log."""
    written = io.StringIO()
    monkeypatch.setattr(observability.logger.registered_handler, "stream", written)
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
    for cached in (
        aws.settings_from_environment,
        aws.runner_from_environment,
        aws.signer_from_environment,
        session.shared_session,
    ):
        cached.cache_clear()
    for client in (secrets._secrets, secrets._parameters):  # noqa: SLF001 - made once a process
        client._client = None  # noqa: SLF001 - the same
