"""What DynamoDB's answers mean: a condition that did not hold, a moment to wait, an error of the library.

Nothing above this package knows PynamoDB's errors.
"""

from __future__ import annotations

import random
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from botocore.exceptions import ClientError
from pynamodb.exceptions import PynamoDBException, TransactWriteError

from hephaestus.adapters.aws_errors import error_code, translate
from hephaestus.errors import PayloadTooLarge, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pynamodb.exceptions import CancellationReason

SERVICE: Final = "DynamoDB"
CONFLICT_TRIES: Final = 8
CONFLICT_PAUSE: Final = 0.02  # seconds; a transaction holds its items for some milliseconds
HELD_TOO_LONG: Final = "DynamoDB: other transactions held the instance for too long; nothing is lost, try again"
LEFT_OUT: Final = "DynamoDB: a request for many instances was throttled again and again; nothing is lost, try again"
HELD: Final = frozenset({"TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"})
HELD_ANSWERS: Final = frozenset({"TransactionConflictException", "TransactionInProgressException"})
# A token that was used for another transaction: one with the same commit id has been tried before. Look what is there.
NOT_WRITTEN: Final = frozenset({"ConditionalCheckFailedException", "IdempotentParameterMismatchException"})
TOO_LARGE: Final = ("exceeded the maximum allowed size", "Item size", "ItemSizeLimitExceeded")


def conditional(write: Callable[[], object]) -> bool:
    """Do a conditional write; whether its condition held.

    Raises:
        StoreUnavailable: other transactions held the items all the time.
    """

    def attempt() -> bool | None:
        try:
            write()
        except PynamoDBException as error:
            code, reasons = error_code(error.cause), {reason.code for reason in _reasons(error)}
            if code in NOT_WRITTEN or "ConditionalCheckFailed" in reasons:
                return False
            if not reasons & HELD and code not in HELD_ANSWERS:
                raise
            return None
        return True

    return when_free(attempt)


def when_free(attempt: Callable[[], bool | None], otherwise: str = HELD_TOO_LONG) -> bool:
    """What ``attempt`` comes to; ``None`` means that another transaction holds an item for a moment: it is tried again.

    Raises:
        StoreUnavailable: others held the items all the time; ``otherwise`` says so.
    """
    for tries in range(CONFLICT_TRIES):
        done = attempt()
        if done is not None:
            return done
        time.sleep(CONFLICT_PAUSE * (tries + random.random()))  # noqa: S311 - jitter
    raise StoreUnavailable(otherwise)


@contextmanager
def translated() -> Iterator[None]:
    """Turn PynamoDB's errors into the library's.

    Raises:
        PayloadTooLarge: the item is too large for DynamoDB.
        StoreUnavailable: no answer, or one that says to come back.
        EngineError: anything else.
    """
    try:
        yield
    except PynamoDBException as error:
        if any(mark in text for text in _texts(error) for mark in TOO_LARGE):
            message = (
                "the item would be larger than the 400 KB that DynamoDB takes: keep large data in S3 and pass its key"
            )
            raise PayloadTooLarge(message) from error
        if {reason.code for reason in _reasons(error)} & HELD:
            message = "DynamoDB throttled a transaction; nothing is lost, try again"
            raise StoreUnavailable(message) from error
        raise translate(error.cause, SERVICE) from error


def _reasons(error: PynamoDBException) -> list[CancellationReason]:
    """Why a transaction was cancelled."""
    if not isinstance(error, TransactWriteError):
        return []
    return [reason for reason in error.cancellation_reasons if reason is not None]


def _texts(error: PynamoDBException) -> list[str]:
    """What DynamoDB said, of the request and, in a transaction, of each item; PynamoDB's own way fails on a timeout."""
    answer = error.cause.response if isinstance(error.cause, ClientError) else {}
    return [str(answer.get("Error", {}).get("Message")), *(reason.message or "" for reason in _reasons(error))]
