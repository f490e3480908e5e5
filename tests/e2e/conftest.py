"""An emulator of the tests' own, with IAM enforced, and the stack as in production: its API wants signatures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests import engines
from tests.e2e.deployment import Deployment, callers
from tools.emulator import STACK, deploy

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """The deployed stack; one for the session, so every test starts instances of its own."""
    with engines.ministack(tmp_path_factory.mktemp("emulator")) as emulator:
        deploy(emulator)
        yield callers(emulator)


@pytest.fixture
def no_letters(deployment: Deployment) -> None:
    """Nothing lies in the queues of dead letters, whatever other tests have left there."""
    for queue in ("WorkDeadLettersUrl", "ScheduleDeadLettersUrl", "IngestDeadLettersUrl"):
        deployment.client("sqs").purge_queue(QueueUrl=deployment.outputs[queue])


@pytest.fixture(scope="module")
def without_sweeps(deployment: Deployment) -> Iterator[None]:
    """Nothing is swept meanwhile, so that what is proved is not the sweep's doing."""
    events = deployment.client("events")
    stack = deployment.client("cloudformation").describe_stack_resources(StackName=STACK)["StackResources"]
    own = {one["PhysicalResourceId"] for one in stack}  # another test may have deployed a stack of its own
    minutely = [
        one["Name"] for one in events.list_rules()["Rules"] if one.get("ScheduleExpression") == "rate(1 minute)"
    ]
    (rule,) = own.intersection(minutely)
    events.disable_rule(Name=rule)
    yield
    events.enable_rule(Name=rule)
