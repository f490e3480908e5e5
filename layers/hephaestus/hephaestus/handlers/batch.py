"""A batch of the work queue: every message on its own, the failed ones reported back alone.

A message has an instance continued, removes a schedule that could not be removed when its wait ended, or publishes a
status event that the bus did not take.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType

from hephaestus.errors import BadRequest, TooBusy
from hephaestus.handlers.observability import about_message
from hephaestus.handlers.triggers import budget, read_work
from hephaestus.runtime.dispatch import Budget
from hephaestus.runtime.ports import Timeout
from hephaestus.store.overdue import Wakeup
from hephaestus.values.scalars import clean_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

    from hephaestus.handlers.triggers import Invocation
    from hephaestus.runtime.runner import Runner
    from hephaestus.runtime.status_events import StatusEvent

LEAST_MS: Final = 2_000
MAX_ID: Final = 128  # characters of a message's id that are shown

_logger = logging.getLogger("hephaestus.handlers.batch")


def wake_each(event: Mapping[str, Any], context: Invocation, runner: Runner) -> dict[str, Any]:
    """Do what every message asks for.

    The first instance may use the whole invocation; the others start no step that does not fit in what is left, they
    hand over instead. A message whose turn comes too late, or that fails, goes back to the queue; one that is not ours
    ends up in the dead-letter queue, where somebody sees it.

    Returns:
        What an event source with ``ReportBatchItemFailures`` expects.

    Raises:
        BadRequest: a record has no ``messageId``, so that its failure could not be reported; nothing was done.
    """
    records = event["Records"]
    check_records(records)
    whole = budget(context, runner.clock)

    def wake(record: SQSRecord) -> None:
        about_message(record.raw_event)
        try:
            work = read_work(_body(record))
            about_message(record.raw_event, work.instance_id)
            check_time(context, f"instance {work.instance_id}")
            if not isinstance(work, Wakeup):
                _make_up_for(work, runner)
                return
            is_first = record.message_id == records[0].get("messageId")
            own = whole if is_first else Budget(whole.deadline, start_until=whole.deadline)
            runner.wake(work.instance_id, budget=own, alarms=work.alarms)
        except BadRequest as error:
            _logger.error("%s is not ours: %s", named(record), error)  # noqa: TRY400 - the stack says nothing
            raise
        except Exception:
            _logger.exception("%s failed and goes back to the queue", named(record))
            raise
        except BaseException as error:  # as an exit while a workflow's module is imported: the others go on
            _logger.exception("%s failed and goes back to the queue", named(record))
            message = f"{named(record)} failed with a {type(error).__name__}"
            raise RuntimeError(message) from error

    return each(records, wake)


def named(record: SQSRecord) -> str:
    """A message as log and errors name it: its id may be anything, where a function is invoked by hand."""
    return f"message {clean_text(record.message_id, MAX_ID)}"


def _make_up_for(work: Timeout | StatusEvent, runner: Runner) -> None:
    """Do what could not be done right after its commit.

    Raises:
        StoreUnavailable, EngineError: it cannot be done now either.
    """
    if isinstance(work, Timeout):
        runner.timers.cancel(work)
    elif runner.bus is not None:
        runner.bus.publish(work)
    else:
        _logger.warning("instance %s: a status event is dropped, as the stack has no bus any more", work.instance_id)


def each(records: list[dict[str, Any]], work: Callable[[SQSRecord], None]) -> dict[str, Any]:
    """Do ``work`` for every message; what an event source with ``ReportBatchItemFailures`` expects."""
    processor = BatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)
    with processor(records=records, handler=work):
        processor.process()
    return dict(processor.response())


def check_records(records: Sequence[Mapping[str, Any]]) -> None:
    """Make sure that the failure of each message of a batch could be reported.

    Raises:
        BadRequest: a record has no ``messageId``.
    """
    unnamed = [str(place) for place, record in enumerate(records) if not _is_named(record)]
    if unnamed:
        message = (
            f"records {', '.join(unnamed[:10])} (from 0) of the batch have no messageId: SQS gives every message one"
        )
        raise BadRequest(message)


def _is_named(record: Mapping[str, Any]) -> bool:
    name = record.get("messageId")
    return isinstance(name, str) and bool(name)


def _body(record: SQSRecord) -> str:
    body = record.raw_event.get("body")
    if not isinstance(body, str):
        message = "not a message of Hephaestus: the record has no body"
        raise BadRequest(message)
    return body


def check_time(context: Invocation, what: str) -> None:
    """Make sure that there is time left for ``what``.

    Raises:
        TooBusy: there is none.
    """
    if context.get_remaining_time_in_millis() < LEAST_MS:
        message = f"{what}: no time is left in this invocation"
        raise TooBusy(message)
