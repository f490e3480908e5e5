"""What an AWS error means for the caller: come back later, or a defect. Table names and the like stay inside."""

from __future__ import annotations

from typing import Final

from botocore.exceptions import (
    ClientError,
    ConnectionError,  # noqa: A004 - botocore's own
    CredentialRetrievalError,
    HTTPClientError,
    IncompleteReadError,
)

from hephaestus.errors import EngineError, HephaestusError, StoreUnavailable

SERVER_ERROR: Final = 500
OF_SQS: Final = "AWS.SimpleQueueService."  # before a code, as SQS's old protocol had it and its new one still says
NO_ANSWER: Final = (ConnectionError, CredentialRetrievalError, HTTPClientError, IncompleteReadError)
PASSING: Final = frozenset(
    {
        "InternalFailure",
        "InternalServerError",
        "InternalServerException",
        "LimitExceededException",
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "RequestTimeout",
        "RequestTimeoutException",
        "ServiceUnavailable",
        "ServiceUnavailableException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingError",
        "ThrottlingException",
        "TooManyRequestsException",
        "TransactionConflictException",
        "TransactionInProgressException",
    }
)


def error_code(error: BaseException | None) -> str | None:
    """AWS's code for an error; ``None`` where no answer came."""
    return str(error.response["Error"].get("Code", "")) if isinstance(error, ClientError) else None


def translate(error: BaseException | None, service: str) -> HephaestusError:
    """The error to raise instead of botocore's.

    Args:
        error: what botocore raised: an answer that is an error, or a failure to get one.
        service: for the message, as in ``DynamoDB``.
    """
    what = error_code(error) or type(error).__name__
    if is_passing(error):
        return StoreUnavailable(f"{service} did not answer ({what}); nothing is lost, try again")
    return EngineError(f"{service} rejected a request ({what}): see the function's permissions and configuration")


def is_passing(error: BaseException | None) -> bool:
    """Whether the same request may succeed later: no answer came, or one that says so."""
    code = (error_code(error) or "").removeprefix(OF_SQS)
    return isinstance(error, NO_ANSWER) or code in PASSING or _status(error) >= SERVER_ERROR


def _status(error: BaseException | None) -> int:
    """The HTTP status of an answer; PynamoDB keeps it in the error behind its own."""
    while error is not None:
        if isinstance(error, ClientError) and "ResponseMetadata" in error.response:
            return int(error.response["ResponseMetadata"].get("HTTPStatusCode", 0))
        error = error.__cause__
    return 0
