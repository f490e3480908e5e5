"""One client for a table, on the process's one botocore session or on a given one.

An answer that was damaged on its way is no answer. botocore compares DynamoDB's checksum and asks again, but takes what
came with its last try as it is: a ``GetItem`` would find nothing where there is an item.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

from botocore.exceptions import HTTPClientError
from pynamodb.connection import Connection

from hephaestus.adapters.bounds import keep_within_invocations
from hephaestus.adapters.session import CREATING, shared_session

if TYPE_CHECKING:
    from botocore.session import Session

CHECKSUM: Final = "x-amz-crc32"


class AnswerDamaged(HTTPClientError):
    """What came is not what DynamoDB sent; whether the request was done is not known."""

    fmt = "An answer was damaged on its way: {error}"


class SharedConnection(Connection):
    """A PynamoDB connection that makes its client once, whichever thread comes first."""

    own_session: Session | None = None

    @property
    def session(self) -> Session:
        """Its own botocore session or the process's, instead of one a thread."""
        return self.own_session or shared_session()

    _kept: Any = None

    @property
    def client(self) -> Any:
        """The botocore client, kept within invocations. PynamoDB makes another while it has no credentials."""
        with CREATING:
            client = super().client
            if client is not self._kept:
                keep_within_invocations(client)
                client.meta.events.register_first("before-parse", _parse_nothing_damaged)
                client.meta.events.register_first("after-call", _refuse_damaged)
                self._kept = client
            return client


def _parse_nothing_damaged(response_dict: dict[str, Any], **_: Any) -> None:
    """Have botocore read nothing out of an answer that is damaged, which it could stumble over; it asks again."""
    if _is_damaged(response_dict["headers"], response_dict["body"]):
        response_dict["body"] = b"{}"


def _refuse_damaged(http_response: Any, **_: Any) -> None:
    """Let no damaged answer through when there are no tries left.

    Raises:
        AnswerDamaged: the checksum says so.
    """
    if _is_damaged(http_response.headers, http_response.content):
        raise AnswerDamaged(error=f"its checksum is not {http_response.headers[CHECKSUM]}")


def _is_damaged(headers: Any, body: bytes) -> bool:
    checksum = headers.get(CHECKSUM)
    return checksum is not None and crc32(body) != int(checksum)
