"""A connection to a deployed stack, with the person's own credentials."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from hephaestus.errors import BadRequest
from hephaestus.operations import explained
from hephaestus.operations.identity import Identity

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hephaestus.console.source import Json
    from hephaestus.operations import Connection as Deployment


class DeployedConnection:
    """The instances of a deployment: read from its table, steered by its functions; see ``Connection``.

    Args:
        deployment: what ``hephaestus.operations.connect`` found.
    """

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._identity = Identity(deployment.account)
        # The rest is the deployment's own; what the console adds is below.
        self.get, self.history, self.list = deployment.get, deployment.history, deployment.list
        self.do, self.items = deployment.do, deployment.items
        self.limits, self.schedules = deployment.limits, deployment.schedules

    @cached_property
    def place(self) -> str:
        """The stack, region and account; or the address of another endpoint than AWS's own."""
        stack, account = self._deployment.stack, self._deployment.account
        named = f"stack {stack.name}" if stack else "a table" if self._deployment.api is None else "an API"
        parts = (account.region, stack.account_id if stack else "", account.endpoint_url)
        return " · ".join((named, *filter(None, parts)))

    @property
    def by(self) -> str:
        """The caller's ARN."""
        return self._identity.arn() or "an unknown caller, as AWS does not say who you are"

    def workflows(self) -> Sequence[Json]:
        """What is deployed; a table alone does not say, and is shown without."""
        return self._deployment.workflows() if self._deployment.api is not None else ()

    def counts(self) -> Mapping[str, Mapping[str, int]]:
        """How many instances there are, by workflow and status."""
        runner = self._deployment.runner
        if runner is None:
            message = "instances are counted in the table: name the stack instead of its API's address"
            raise BadRequest(message)
        with explained(self._deployment.account):
            return runner.counts()
