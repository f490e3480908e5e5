"""The stack, deployed on an emulator of the tests' own, and who may call it."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.answer import Answer
from tools.emulator import REGION, client, outputs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tools.emulator import Emulator

PATIENCE: Final = 60.0  # seconds that an answer may take


@dataclass(frozen=True)
class Deployment:
    """A deployed stack.

    Attributes:
        emulator: where it is.
        outputs: the stack's outputs; ``ApiUrl`` is where the emulator serves the API.
        caller: credentials of a user who may call the API and nothing else.
        stranger: credentials of a user who may do nothing.
    """

    emulator: Emulator
    outputs: Mapping[str, str]
    caller: Credentials
    stranger: Credentials

    @property
    def url(self) -> str:
        """The API's address."""
        return self.outputs["ApiUrl"]

    @property
    def table(self) -> str:
        """The table's name."""
        return self.outputs["TableName"]

    def client(self, service: str) -> Any:
        """A client of the all-powerful deployer."""
        return client(service, self.emulator.endpoint)

    def call(  # noqa: PLR0913 - what an HTTP request is made of
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        *,
        by: Credentials | None = None,
        signed: bool = True,
    ) -> Answer:
        """Call the API; ``path`` goes over the wire as it is. Signed by the caller unless told otherwise."""
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        request = AWSRequest(method, f"{self.url}{path}", dict(headers or {}), data)
        if body is not None and "Content-Type" not in request.headers:
            request.headers["Content-Type"] = "application/json"
        if signed:
            SigV4Auth(by or self.caller, "execute-api", REGION).add_auth(request)
        where = urlsplit(self.url)
        assert where.hostname is not None
        connection = http.client.HTTPConnection(where.hostname, where.port, timeout=PATIENCE)
        try:
            connection.request(method, f"{where.path}{path}", data, dict(request.headers.items()))
            answer = connection.getresponse()
            return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        finally:
            connection.close()


def user(emulator: Emulator, name: str, *statements: Mapping[str, Any]) -> Credentials:
    """Make an IAM user who may do what the statements say; returns its keys."""
    iam = client("iam", emulator.endpoint)
    iam.create_user(UserName=name)
    if statements:
        policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
        iam.put_user_policy(UserName=name, PolicyName="may", PolicyDocument=policy)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return Credentials(key["AccessKeyId"], key["SecretAccessKey"])


def callers(emulator: Emulator) -> Deployment:
    """What is deployed on the emulator, with its two users made."""
    found = outputs(emulator)
    api = f"arn:aws:execute-api:{REGION}:*:{found['ApiId']}/{found['ApiStage']}/*"
    may_call = {"Effect": "Allow", "Action": "execute-api:Invoke", "Resource": api}
    return Deployment(emulator, found, user(emulator, "caller", may_call), user(emulator, "stranger"))
