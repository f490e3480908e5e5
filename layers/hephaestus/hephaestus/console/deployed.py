"""A connection to a deployed stack, with the person's own credentials."""

from __future__ import annotations

import getpass
from functools import cached_property
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from hephaestus.errors import BadRequest
from hephaestus.operations import explained

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hephaestus.console.connection import Json
    from hephaestus.operations import Connection as Deployment


class DeployedConnection:
    """The instances of a deployment: read from its table, steered by its functions; see ``Connection``.

    Args:
        deployment: what ``hephaestus.operations.connect`` found.
    """

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        # The rest is the deployment's own; what the console adds is below.
        self.get, self.history, self.list = deployment.get, deployment.history, deployment.list
        self.resume, self.cancel, self.pause = deployment.resume, deployment.cancel, deployment.pause
        self.unpause, self.redrive, self.fork = deployment.unpause, deployment.redrive, deployment.fork

    @cached_property
    def place(self) -> str:
        """The stack, region and account; or the address of another endpoint than AWS's own."""
        stack, account = self._deployment.stack, self._deployment.account
        named = f"stack {stack.name}" if stack else "a deployment"
        parts = (account.region, stack.account_id if stack else "", account.endpoint_url)
        return " · ".join((named, *filter(None, parts)))

    @cached_property
    def by(self) -> str:
        """The caller's ARN, else the system's user."""
        try:
            client = self._deployment.account.client("sts").get()
            return str(client.get_caller_identity()["Arn"])
        except (BotoCoreError, ClientError):
            return getpass.getuser()

    def workflows(self) -> Sequence[Json]:
        """What is deployed."""
        return self._deployment.workflows()

    def counts(self) -> Mapping[str, Mapping[str, int]]:
        """How many instances there are, by workflow and status."""
        runner = self._deployment.runner
        if runner is None:
            message = "instances are counted in the table: name the stack instead of its API's address"
            raise BadRequest(message)
        with explained(self._deployment.account):
            return runner.counts()
