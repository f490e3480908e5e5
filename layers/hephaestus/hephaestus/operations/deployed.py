"""A connection to a deployed Hephaestus: reads from the table, asks the deployed functions to change something.

Everything it answers is JSON as the API has it, whichever way it came.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import botocore.session

from hephaestus.adapters.session import Account
from hephaestus.aws import Settings, build_runner
from hephaestus.definition.views import to_json_object, to_json_page
from hephaestus.errors import BadRequest
from hephaestus.operations.advice import explained
from hephaestus.operations.catalog import Catalog
from hephaestus.operations.http_client import Api
from hephaestus.operations.local import DEV, dev_url
from hephaestus.operations.stack import Stack, find_stack
from hephaestus.operations.transport import DirectInvocation, Gateway
from hephaestus.runtime.registry import Registry
from hephaestus.store.filters import EVERY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hephaestus.runtime.commands import Command
    from hephaestus.runtime.runner import Runner
    from hephaestus.store.filters import ListFilter

Json = dict[str, Any]
DEFAULT_STACK: Final = "hephaestus"
CONNECT_TIMEOUT: Final = 5.0  # seconds; a person is further away than a function
READ_TIMEOUT: Final = 15.0


@dataclass(frozen=True, slots=True)
class Connection:
    """What is known of a deployment, and what can be done there.

    Attributes:
        account: whose AWS, and where.
        runner: reads the table; it changes nothing, as nothing of a workflow but its graph is known to it. ``None``
            where only the API's address is known.
        api: the deployed functions; ``None`` where only a table is known.
        stack: the stack, if one was named.

    Raises (any method):
        CallerError: as the runner's method of the same name raises it.
        NoCredentials, AwsRefused, Unreachable: AWS was not to be asked.
    """

    account: Account
    runner: Runner | None = None
    api: Api | None = None
    stack: Stack | None = None

    def workflows(self) -> list[Json]:
        """What is deployed, as ``GET /workflows`` describes it."""
        return self._deployed().workflows()

    def schedules(self) -> list[Json]:
        """All schedules, with their next times."""
        if self.runner is None:
            return self._deployed().schedules()
        with explained(self.account):
            return [to_json_object(one) for one in self.runner.schedules()]

    def limits(self, name: str | None = None, *, limit: int = 50, cursor: str | None = None) -> Json:
        """A page of limits: ``items`` by their names, and ``cursor``, ``None`` at the end."""
        if self.runner is None:
            return self._deployed().limits(name, limit=limit, cursor=cursor)
        with explained(self.account):
            return to_json_page(self.runner.limits(name, limit=limit, cursor=cursor))

    def get(self, instance_id: str, *, tree: bool = False) -> Json:
        """An instance as it is now, with its tree where that is asked for."""
        if self.runner is None:
            return self._deployed().get(instance_id, tree=tree)
        with explained(self.account):
            return to_json_object(self.runner.get(instance_id, tree=tree))

    def why(self, instance_id: str) -> Json:
        """Why an instance does not go on, and why what it waits for does not."""
        if self.runner is None:
            return self._deployed().why(instance_id)
        with explained(self.account):
            return to_json_object(self.runner.why(instance_id))

    def history(
        self, instance_id: str, *, generation: int | None = None, limit: int = 100, cursor: str | None = None
    ) -> Json:
        """A page of an instance's log: ``items``, oldest first, and ``cursor``, ``None`` at the end."""
        if self.runner is None:
            return self._deployed().history(instance_id, generation=generation, limit=limit, cursor=cursor)
        with explained(self.account):
            asked: Any = {"generation": generation, "limit": limit, "cursor": cursor}
            return to_json_page(self.runner.history(instance_id, **asked, traces=True))

    def items(
        self, instance_id: str, step: str, *, status: str | None = None, limit: int = 100, cursor: str | None = None
    ) -> Json:
        """A page of the items of a map: ``items`` in their order, and ``cursor``, ``None`` at the end."""
        if self.runner is None:
            return self._deployed().items(instance_id, step, status=status, limit=limit, cursor=cursor)
        with explained(self.account):
            return to_json_page(self.runner.items(instance_id, step, status=status, limit=limit, cursor=cursor))

    def list(self, wanted: ListFilter = EVERY, *, limit: int = 50, cursor: str | None = None) -> Json:
        """A page of instances, newest first: ``items`` and ``cursor``, ``None`` at the end."""
        if self.runner is None:
            return self._deployed().list(wanted, limit=limit, cursor=cursor)
        with explained(self.account):
            return to_json_page(self.runner.find(wanted, limit=limit, cursor=cursor))

    def do(self, command: Command, *, wait: int | None = None) -> Json:
        """Have the deployed functions do what ``command`` asks for.

        Args:
            command: it, with a request id where the same request made twice is to be one; who asks is known by the
                credentials.
            wait: how many seconds (up to 25) the answer may take to show how far the instance came.
        """
        return self._deployed().do(command, wait=wait)

    def _deployed(self) -> Api:
        if self.api is None:
            message = "a table alone is known, which can be looked at only: name the stack with --stack"
            raise BadRequest(message)
        return self.api


def connect(  # noqa: PLR0913 - what a person may say about where it is
    stack: str | None = None,
    *,
    table: str | None = None,
    api_url: str | None = None,
    region: str | None = None,
    profile: str | None = None,
    endpoint_url: str | None = None,
    modules: Sequence[str] = (),
    account: Account | None = None,
) -> Connection:
    """Find a deployment.

    Args:
        stack: the stack's name, by default ``hephaestus``; its table, queue and functions are found by it. ``dev`` is
            the ``hephaestus dev`` that runs here.
        table: a table alone, which can be looked at only.
        api_url: the API's address alone; requests are signed where there are credentials.
        region, profile, endpoint_url: where and as whom, by default as the environment says.
        modules: modules with the workflows, to take their graphs from them instead of from the deployed functions.
        account: all of the latter three at once, as ``local_account`` gives them.

    Raises:
        BadRequest: several of ``stack``, ``table`` and ``api_url``, or an address that is none.
        NoSuchStack: there is none, or it is none of Hephaestus.
        NoCredentials, AwsRefused, Unreachable: AWS was not to be asked.
    """
    if sum(each is not None for each in (stack, table, api_url)) > 1:
        message = "name one of a stack, a table and an API"
        raise BadRequest(message)
    account = account or account_of(region, profile, endpoint_url)
    if stack == DEV:
        return Connection(Account(), api=_dev_api())
    if api_url is not None:
        return Connection(account, api=_api_at(api_url, account))
    if table is not None:
        settings = Settings(table, queue_url="", schedule_group="", schedule_role_arn="", resume_arn="")
        registry = Registry.load(modules) if modules else Catalog(_unknown)
        with explained(account):
            return Connection(account, build_runner(settings, registry, account))
    found = find_stack(stack or DEFAULT_STACK, account)
    api = Api(DirectInvocation(found, account))
    registry = Registry.load(modules) if modules else Catalog(api.workflows)
    with explained(account):
        return Connection(account, build_runner(found.settings(), registry, account), api, found)


def deployed_api(
    where: str, *, region: str | None = None, profile: str | None = None, endpoint_url: str | None = None
) -> Api:
    """The API of a stack, by its functions; of an address; or of the ``hephaestus dev`` that runs here.

    Args:
        where: the stack's name, an address that begins with ``https://`` or ``http://``, or ``dev``.
        region, profile, endpoint_url: where and as whom, by default as the environment says.

    Raises:
        BadRequest: the address is none.
        NoSuchStack: there is none, or it is none of Hephaestus.
        NoCredentials, AwsRefused, Unreachable: AWS was not to be asked, or no ``hephaestus dev`` runs.
    """
    if where == DEV:
        return _dev_api()
    account = account_of(region, profile, endpoint_url)
    if "://" in where:
        return _api_at(where, account)
    return Api(DirectInvocation(find_stack(where, account), account))


def _dev_api() -> Api:
    return Api(Gateway(dev_url(), Account()))


def _api_at(address: str, account: Account) -> Api:
    _check_address(address)
    return Api(Gateway(address, account))


def account_of(region: str | None = None, profile: str | None = None, endpoint_url: str | None = None) -> Account:
    """Whose AWS, and where: what is not said comes from the environment and the profile, as botocore reads them.

    Raises:
        NoCredentials: there is no such profile.
        BadRequest: the endpoint's address is none.
    """
    if endpoint_url is not None:
        _check_address(endpoint_url)
    session = botocore.session.Session(profile=profile)
    with explained(Account(session, region, endpoint_url)):
        # botocore reads AWS_DEFAULT_REGION alone; the AWS CLI and every other SDK take AWS_REGION first.
        where = region or os.environ.get("AWS_REGION") or session.get_config_variable("region")
        return Account(session, where, endpoint_url, CONNECT_TIMEOUT, READ_TIMEOUT)


def _check_address(address: str) -> None:
    """Refuse what no HTTP request can be sent to."""
    try:
        parts = urlsplit(address)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        good = False
    if not good or any(letter.isspace() for letter in address):
        message = f"{address[:100]!r} is no address: it begins with http:// or https:// and names a host"
        raise BadRequest(message)


def _unknown() -> list[Json]:
    message = "a table alone does not say which workflows there are"
    raise BadRequest(message)
