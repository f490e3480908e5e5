"""Take events from outside: the messages of the ingest queue, each on its own.

What triggers ask for is committed here and done by ``resume``. What can never be done goes to the dead letters at once,
with the reason; what cannot be done now goes back to the queue, alone.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from hephaestus.adapters.message_attributes import MESSAGE_ID, REASON, Attribute, of_record, packed, unpacked
from hephaestus.aws import answerer_from_environment, rejected_from_environment
from hephaestus.errors import BadRequest, EngineError, NotTaken
from hephaestus.handlers.batch import check_records, check_time, each, named
from hephaestus.handlers.observability import about_message, begin, count_event, observed
from hephaestus.handlers.triggers import trigger
from hephaestus.runtime.ingest import ingest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

    from hephaestus.handlers.triggers import Invocation

SHORT: Final = 200  # characters of the reason in a letter that has no room

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
        check_time(context, named(record))
        _take(record)

    return each(event["Records"], take)


def _take(record: SQSRecord) -> None:
    given = unpacked(of_record(record.raw_event.get("messageAttributes")))
    first = given.pop(MESSAGE_ID, None)  # of a dead letter that comes again
    given.pop(REASON, None)
    known = first.text if first else record.message_id
    attributes = {name: it.text for name, it in given.items() if it.is_text}
    body = record.raw_event.get("body")
    text = body if isinstance(body, str) else ""
    try:
        done = ingest(runner, text, known, attributes)
    except NotTaken as error:
        _logger.error("%s is a dead letter: %s", named(record), error)  # noqa: TRY400 - the stack says nothing
        _reject(text, given, known, str(error))
        count_event("rejected")
        return
    except Exception:
        _logger.exception("%s cannot be taken now and goes back to the queue", named(record))
        raise
    except BaseException as error:  # as an exit while a workflow's module is imported: the others go on
        _logger.exception("%s cannot be taken now and goes back to the queue", named(record))
        message = f"{named(record)} failed with a {type(error).__name__}"
        raise RuntimeError(message) from error
    count_event("taken" if done.matched else "unmatched")
    _logger.info("event taken", extra={"started": list(done.started), "resumed": list(done.resumed)})


def _reject(text: str, given: Mapping[str, Attribute], known: str, reason: str) -> None:
    """Send a dead letter with all that the message had; where SQS takes no letter so large, without its attributes.

    Raises:
        StoreUnavailable, EngineError: it was not sent; the message comes again.
    """
    try:
        rejected.send(text, {**packed(given), MESSAGE_ID: known, REASON: reason})
    except EngineError as error:
        _logger.warning("the dead letter is sent without its %d attributes: %s", len(given), error)
        lost = f"{reason[:SHORT]} (its {len(given)} attributes are lost: SQS did not take them)"
        rejected.send(text, {MESSAGE_ID: known, REASON: lost})
