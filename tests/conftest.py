"""Fixtures of every tier: no AWS account in sight, and the DynamoDBs that tests run on."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests import engines

if TYPE_CHECKING:
    from collections.abc import Iterator

# Set before any client is made, so that nothing can reach a real account.
os.environ.update(
    AWS_ACCESS_KEY_ID="testing",
    AWS_SECRET_ACCESS_KEY="testing",  # noqa: S106 - not a secret
    AWS_SESSION_TOKEN="testing",  # noqa: S106 - not a secret
    AWS_DEFAULT_REGION="eu-west-1",
    AWS_EC2_METADATA_DISABLED="true",
)
for variable in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_CONFIG_FILE"):
    os.environ.pop(variable, None)


@pytest.fixture(scope="session")
def dynamodb_local() -> Iterator[str]:
    """The endpoint of Amazon's DynamoDB Local; skipped where the machine lacks what it needs, except in CI."""
    try:
        running = engines.dynamodb_local()
        endpoint = running.__enter__()
    except engines.EngineMissing as missing:
        if os.environ.get("CI") == "true":
            pytest.fail(str(missing))
        pytest.skip(str(missing))
    yield endpoint
    running.__exit__(None, None, None)


@pytest.fixture(scope="session")
def moto_server() -> Iterator[str]:
    """The endpoint of moto's threaded server."""
    with engines.moto_server() as endpoint:
        yield endpoint


@pytest.fixture
def moto_in_process() -> Iterator[None]:
    """Moto patched into botocore in this process, empty."""
    with engines.moto_in_process():
        yield
