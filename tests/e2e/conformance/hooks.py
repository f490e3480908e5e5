"""What schemathesis has to know of the API beside its document: how requests are signed, and what is printable.

It runs in a process of its own; the environment says who calls: ``CALLER_KEY``, ``CALLER_SECRET``, ``CALLER_REGION``.
"""

from __future__ import annotations

import base64
import os
import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import schemathesis
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import strategies as st
from requests.auth import AuthBase

from hephaestus.engine.state import STATUSES
from hephaestus.runtime.cursors import bind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from requests import PreparedRequest
    from schemathesis import Case, HookContext

CALLER: Final = Credentials(os.environ["CALLER_KEY"], os.environ["CALLER_SECRET"])
LONGEST: Final = 128
# What the format "cursor" makes up, and nothing that is malformed on purpose.
MADE_UP: Final = re.compile(r"[A-Za-z0-9_-]{40,120}={0,2}")

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
        """Sign a request that is complete, its query encoded as the signature has it, commas too."""
        address = urlsplit(request.url or "")
        query = urlencode(parse_qsl(address.query, keep_blank_values=True), quote_via=quote, safe="-_.~")
        request.url = address._replace(query=query).geturl()
        signed = AWSRequest(request.method, request.url, data=request.body or b"")
        SigV4Auth(CALLER, "execute-api", os.environ["CALLER_REGION"]).add_auth(signed)
        request.headers.update(dict(signed.headers.items()))
        return request


@schemathesis.hook
def before_call(_context: HookContext, case: Case[Any], _kwargs: dict[str, Any]) -> None:
    """Send no line break in a path, and a cursor with the filters that it belongs to.

    The emulator's policies match no line break, and its answer is not like API Gateway's.
    """
    for name, value in case.path_parameters.items():
        case.path_parameters[name] = str(value).replace("\n", "_").replace("%0A", "_")  # encoded already, or not yet
    cursor = str(case.query.get("cursor", ""))
    if case.operation.path == "/instances" and MADE_UP.fullmatch(cursor):
        case.query["cursor"] = bind(cursor, _filters(case.query))


def _filters(query: Mapping[str, Any]) -> dict[str, Any]:
    """The filters of a listing as its cursor names them."""
    asked = query.get("status")
    given = asked.split(",") if isinstance(asked, str) else asked
    statuses = [status for status in STATUSES if status in given] if isinstance(given, (list, tuple)) else None
    version = str(query.get("version"))
    number = int(version) if version.isdecimal() else None
    children = str(query.get("children")).lower() in ("true", "1") or None
    named = {name: query.get(name) for name in ("workflow", "tag", "parent")}
    return {**named, "status": statuses, "version": number, "children": children}


schemathesis.auth.set_from_requests(Signature())  # type: ignore[attr-defined]  # added to the function at run time
