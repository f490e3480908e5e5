"""What an AWS error means for whoever called: come back later, or a defect. Table names and the like stay inside."""

from __future__ import annotations

from typing import Final

from hephaestus.errors import EngineError, HephaestusError, StoreUnavailable

PASSING: Final = frozenset(
    {
        "InternalServerError",
        "InternalServerException",
        "InternalFailure",
        "ItemCollectionSizeLimitExceededException",
        "LimitExceededException",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "ServiceUnavailable",
        "ServiceUnavailableException",
        "SlowDown",
        "ThrottlingException",
        "Throttling",
        "TooManyRequestsException",
        "TransactionConflictException",
        "TransactionInProgressException",
    }
)


def translate(service: str, code: str | None, cause: BaseException | None) -> HephaestusError:
    """The error to raise instead.

    Args:
        service: for the message, as in ``DynamoDB``.
        code: AWS's error code, ``None`` where no answer came.
        cause: the original error.
    """
    if code is None or code in PASSING or code.startswith("5"):
        what = code or type(cause).__name__
        return StoreUnavailable(f"{service} did not answer ({what}); nothing is lost, try again")
    return EngineError(f"{service} refused a request ({code}): see the function's permissions and configuration")
