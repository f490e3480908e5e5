"""Take events from outside: the messages of the ingest queue, each on its own.

What triggers ask for is committed here and done by ``resume``. What can never be done goes to the dead letters at once,
with the reason; what cannot be done now goes back to the queue, alone.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from hephaestus.aws import answerer_from_environment, rejected_from_environment
from hephaestus.errors import BadRequest, NotTaken
from hephaestus.handlers.batch import check_records, check_time, each
from hephaestus.handlers.observability import about_message, begin, count_event, observed
from hephaestus.handlers.triggers import MESSAGE_ID, REASON, trigger
from hephaestus.runtime.ingest import ingest

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

    from hephaestus.handlers.triggers import Invocation

_logger = logging.getLogger("hephaestus.handlers.ingest")
begin()
runner = answerer_from_environment()
rejected = rejected_from_environment()


@observed
def handler(event: dict[str, Any], context: Invocation) -> dict[str, Any]:
    """Take every message; the answer names those that are to come again."""
    if trigger(event) != "queue":
        message = "this function takes the messages of the ingest queue only: send the event there"
        raise BadRequest(message)
    check_records(event["Records"])

    def take(record: SQSRecord) -> None:
        about_message(record.raw_event)
        check_time(context, f"message {record.message_id}")
        _take(record)

    return each(event["Records"], take)


def _take(record: SQSRecord) -> None:
    given = record.raw_event.get("messageAttributes")
    attributes = {
        name: value["stringValue"]
        for name, value in (given if isinstance(given, dict) else {}).items()
        if isinstance(value, dict) and isinstance(value.get("stringValue"), str)
    }
    known = attributes.pop(MESSAGE_ID, record.message_id)  # of a dead letter that comes again
    attributes.pop(REASON, None)
    body = record.raw_event.get("body")
    text = body if isinstance(body, str) else ""
    try:
        done = ingest(runner, text, known, attributes)
    except NotTaken as error:
        _logger.error("message %s is a dead letter: %s", record.message_id, error)  # noqa: TRY400 - the stack says nothing
        rejected.send(text, {**attributes, MESSAGE_ID: known, REASON: str(error)})
        count_event("rejected")
        return
    except Exception:
        _logger.exception("message %s cannot be taken now and goes back to the queue", record.message_id)
        raise
    count_event("taken" if done.matched else "unmatched")
    _logger.info("event taken", extra={"started": list(done.started), "resumed": list(done.resumed)})
