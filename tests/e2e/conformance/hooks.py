"""What schemathesis has to know of the API beside its document: how requests are signed, and what is printable.

It runs in a process of its own; the environment says who calls: ``CALLER_KEY``, ``CALLER_SECRET``, ``CALLER_REGION``.
"""

from __future__ import annotations

import base64
import os
from typing import TYPE_CHECKING, Any, Final

import schemathesis
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import strategies as st
from requests.auth import AuthBase

if TYPE_CHECKING:
    from requests import PreparedRequest
    from schemathesis import Case, HookContext

CALLER: Final = Credentials(os.environ["CALLER_KEY"], os.environ["CALLER_SECRET"])
LONGEST: Final = 128

schemathesis.openapi.format(
    "printable",
    st.text(st.characters(codec="utf-8").filter(str.isprintable), min_size=1, max_size=LONGEST),
)
schemathesis.openapi.format(
    "cursor",
    st.builds(
        lambda at, name: base64.urlsafe_b64encode(f"{at.isoformat(timespec='milliseconds')}#orderid::{name}".encode()),
        st.datetimes(),
        st.text("abcdef0123456789", min_size=1, max_size=20),
    ).map(bytes.decode),
)


class Signature(AuthBase):
    """AWS Signature Version 4."""

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Sign a request that is complete."""
        signed = AWSRequest(request.method, request.url, data=request.body or b"")
        SigV4Auth(CALLER, "execute-api", os.environ["CALLER_REGION"]).add_auth(signed)
        request.headers.update(dict(signed.headers.items()))
        return request


@schemathesis.hook
def before_call(_context: HookContext, case: Case[Any], _kwargs: dict[str, Any]) -> None:
    """Send no line break in a path: the emulator's policies match none, and its refusal is not like API Gateway's."""
    for name, value in case.path_parameters.items():
        case.path_parameters[name] = str(value).replace("\n", "")


schemathesis.auth.set_from_requests(Signature())  # type: ignore[attr-defined]  # added to the function at run time
