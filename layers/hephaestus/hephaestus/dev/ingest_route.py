"""``POST /ingest``: takes an event from outside, in the place of the ingest queue and its function.

The body is the message that the queue would bring, or the sample event of the function with its records.
"""

from __future__ import annotations

import uuid
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from hephaestus.errors import BadRequest, HephaestusError, NotTaken
from hephaestus.runtime.ingest import Ingested, ingest
from hephaestus.values.strict_json import read_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aws_lambda_powertools.event_handler.api_gateway import Response

    from hephaestus.handlers.http.api import Api


MOST_BYTES: Final = 1_000_000  # of a message


def serve_ingest(api: Api) -> None:
    """Give ``api`` the route."""

    @api.post("/ingest")
    def take() -> Response[str]:
        """Do what triggers say about an event."""
        body = api.incoming.text(MOST_BYTES)
        started: list[str] = []
        resumed: list[str] = []
        matched, read_as, failed = 0, list[str](), None
        for message_id, text in _messages(body, api.incoming.headers.get("idempotency-key") or uuid.uuid4().hex):
            try:
                done = ingest(api.runner, text, message_id, {})
            except HephaestusError as error:  # the other messages are taken, as the function does
                failed = failed or error
                continue
            started += done.started
            resumed += done.resumed
            matched += done.matched
            read_as += done.read_as
        if isinstance(failed, NotTaken):  # deployed, it is a dead letter with this reason
            raise BadRequest(str(failed)) from failed
        if failed is not None:
            raise failed
        return api.answer(asdict(Ingested(tuple(started), tuple(resumed), matched, tuple(read_as))))


def _messages(body: str, message_id: str) -> Iterator[tuple[str, str]]:
    """The ids and texts of the messages: of records, as Lambda brings them, or the one that the body is."""
    try:
        said = read_json(body, "the message")
    except BadRequest:
        said = None
    records = said.get("Records") if isinstance(said, dict) else None
    if isinstance(records, list) and records and all(map(_is_record, records)):
        yield from ((record["messageId"], record["body"]) for record in records)
    else:
        yield message_id, body


def _is_record(record: object) -> bool:
    return (
        isinstance(record, dict)
        and record.get("eventSource") == "aws:sqs"
        and isinstance(record.get("messageId"), str)
        and isinstance(record.get("body"), str)
    )
