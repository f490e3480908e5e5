"""What AWS's errors become."""

from __future__ import annotations

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    ParamValidationError,
    ReadTimeoutError,
)
from pynamodb.exceptions import PutError, VerboseClientError

from hephaestus.adapters.aws_errors import error_code, translate
from hephaestus.errors import EngineError, HephaestusError, RetryLater, StoreUnavailable


def answer(code: str, status: int = 400, message: str = "the table orders-prod said so") -> ClientError:
    return ClientError(
        {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}},  # type: ignore[typeddict-item]  # wrong on purpose
        "PutItem",
    )


@pytest.mark.parametrize(
    "error",
    [
        answer("ThrottlingException"),
        answer("AWS.SimpleQueueService.RequestThrottled", 403),
        answer("ProvisionedThroughputExceededException"),
        answer("RequestLimitExceeded"),
        answer("TransactionConflictException"),
        answer("InternalServerError", 500),
        answer("SlowDown", 503),
        answer("SomethingNew", 502),
        answer("503", 503),
        ReadTimeoutError(endpoint_url="https://example.invalid"),
        ConnectTimeoutError(endpoint_url="https://example.invalid"),
        EndpointConnectionError(endpoint_url="https://example.invalid"),
    ],
    ids=lambda error: error_code(error) or type(error).__name__,
)
def test_what_passes_is_to_be_tried_again(error: Exception) -> None:
    """Throttling, 5xx and no answer at all: nothing is wrong with the call."""
    found = translate(error, "SQS")
    assert isinstance(found, StoreUnavailable)
    assert isinstance(found, RetryLater)
    assert_discreet(found)


@pytest.mark.parametrize(
    "error",
    [
        answer("AccessDeniedException"),
        answer("ResourceNotFoundException"),
        answer("ValidationException"),
        answer("ExpiredTokenException"),
        NoCredentialsError(),
        ParamValidationError(report="orders-prod"),
        None,
    ],
    ids=lambda error: error_code(error) or type(error).__name__,
)
def test_a_refusal_is_not_the_callers_mistake(error: Exception | None) -> None:
    """Permissions and configuration: a defect of the installation, for its operator."""
    found = translate(error, "DynamoDB")
    assert isinstance(found, EngineError)
    assert "permissions and configuration" in str(found)
    assert_discreet(found)


def test_the_status_is_found_behind_pynamodbs_own_error() -> None:
    """PynamoDB's error has the code only; the status is in the one that it was raised from."""
    verbose = VerboseClientError({"Error": {"Code": "Odd"}}, "PutItem", {"table_name": "orders-prod"})
    verbose.__cause__ = answer("Odd", 500)
    assert isinstance(translate(PutError("no", verbose).cause, "DynamoDB"), StoreUnavailable)
    verbose.__cause__ = answer("Odd", 400)
    assert isinstance(translate(PutError("no", verbose).cause, "DynamoDB"), EngineError)


def assert_discreet(error: HephaestusError) -> None:
    """Neither names of resources nor addresses."""
    assert "orders-prod" not in str(error)
    assert "example.invalid" not in str(error)
