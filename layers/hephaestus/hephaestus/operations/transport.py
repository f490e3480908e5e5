"""How a request of the API reaches the deployed functions: by invoking them directly, or through API Gateway.

Both carry the same requests and answers. Invoked directly, a function is given the event that API Gateway would give
it (AWS, API Gateway Developer Guide, "Input format of a Lambda function for proxy integration").
"""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import quote, urlencode, urlsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.httpsession import URLLib3Session
from botocore.utils import get_environ_proxies

from hephaestus.errors import EngineError
from hephaestus.handlers.http.request import CLAIMED
from hephaestus.operations.advice import NoSuchStack, explained
from hephaestus.operations.identity import Identity
from hephaestus.runtime.commands import ROUTED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hephaestus.adapters.session import Account, LazyClient
    from hephaestus.operations.stack import Stack

READ_TIMEOUT: Final = 60  # seconds; the API's answers take at most 29
SHOWN: Final = 500


@dataclass(frozen=True, slots=True)
class Answer:
    """What a function answered: the HTTP status and the body, read as JSON."""

    status: int
    body: Any


class Transport(Protocol):
    """Carries one request to the API."""

    def call(
        self, method: str, path: str, *, query: Mapping[str, str], body: Any, headers: Mapping[str, str]
    ) -> Answer:
        """Send a request; ``path`` is encoded.

        Raises:
            NoCredentials, AwsRefused, Unreachable: it did not arrive.
            EngineError: the function failed instead of answering.
        """


class DirectInvocation:
    """Invokes the functions of a stack with one's own credentials (``lambda:InvokeFunction``).

    Args:
        stack: the stack.
        account: whose credentials, and where.
        client: another client of Lambda than the account's.
    """

    def __init__(self, stack: Stack, account: Account, client: LazyClient | None = None) -> None:
        self.stack = stack
        self.account = account
        self.caller = Identity(account)
        self.client = client or account.client("lambda", read_timeout=READ_TIMEOUT)

    def call(
        self, method: str, path: str, *, query: Mapping[str, str], body: Any, headers: Mapping[str, str]
    ) -> Answer:
        """Invoke the function that serves the route; see ``Transport``."""
        role = _serving(method, path)
        function = self.stack.functions.get(role)
        if function is None:
            message = f"the stack {self.stack.name} has no function {role}: deploy this release"
            raise NoSuchStack(message)
        claim = {CLAIMED: self.caller.arn()} if method != "GET" else {}
        event = {
            "resource": "",
            "path": path,
            "httpMethod": method,
            "headers": dict(headers),
            "queryStringParameters": dict(query) or None,
            "body": None if body is None else json.dumps(body, ensure_ascii=False),
            "isBase64Encoded": False,
            "requestContext": {"path": path, "requestId": uuid.uuid4().hex, **claim},
        }
        with explained(self.account):
            answer = self.client.get().invoke(FunctionName=function, Payload=json.dumps(event).encode())
        said = answer["Payload"].read()
        if answer.get("FunctionError"):
            message = f"the function {function} failed ({_text(said)}): see its log"
            raise EngineError(message)
        told = json.loads(said)
        return Answer(int(told["statusCode"]), json.loads(told["body"] or "null"))


@dataclass(frozen=True, slots=True)
class Gateway:
    """Calls the API at its address, signed where there are credentials (``execute-api:Invoke``)."""

    url: str
    account: Account

    def call(
        self, method: str, path: str, *, query: Mapping[str, str], body: Any, headers: Mapping[str, str]
    ) -> Answer:
        """Send the request by HTTP; see ``Transport``."""
        data = b"" if body is None else json.dumps(body, ensure_ascii=False).encode()
        address = f"{self.url.rstrip('/')}{path}" + (f"?{urlencode(query, quote_via=quote)}" if query else "")
        request = AWSRequest(method, address, {**headers, "Content-Type": "application/json"}, data)
        with explained(self.account, self.url):
            credentials = self.account.session.get_credentials() if self.account.session else None
            if credentials is not None:
                SigV4Auth(credentials, "execute-api", self.account.region or _region(self.url)).add_auth(request)
            http = URLLib3Session(timeout=READ_TIMEOUT, proxies=get_environ_proxies(self.url))
            answer = http.send(request.prepare())
        try:
            return Answer(answer.status_code, json.loads(answer.content or b"null"))
        except ValueError:
            return Answer(answer.status_code, {"detail": _text(answer.content)})


def _serving(method: str, path: str) -> str:
    """Which function serves a route, as ``template.yaml`` has it."""
    if method == "GET":
        return "read"
    routes = ((re.sub(r"<\w+>", "[^/]+", command.route), command.served_by) for command in ROUTED)
    return next((function for route, function in routes if re.fullmatch(route, path)), "control")


def _region(url: str) -> str:
    """The region in an API's address: ``https://id.execute-api.REGION.amazonaws.com/...``."""
    parts = (urlsplit(url).hostname or "").split(".")
    return parts[2] if len(parts) > 3 and parts[1] == "execute-api" else "us-east-1"  # noqa: PLR2004 - see above


def _text(raw: bytes) -> str:
    return raw.decode(errors="replace")[:SHOWN]
