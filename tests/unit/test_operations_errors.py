"""What AWS and the API say, as errors that tell a person what to do; nothing of a function's start-up grows by it."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from botocore import exceptions
from botocore.exceptions import ClientError

from hephaestus import errors
from hephaestus.adapters.aws_errors import translate
from hephaestus.adapters.session import Account
from hephaestus.handlers.http import problem
from hephaestus.operations import AwsRefused, NoCredentials, Unreachable, explained
from hephaestus.operations.http_client import error_of
from hephaestus.operations.stack import Stack

HERE = Account(region="eu-west-1")


def refused(code: str, message: str = "User: ann is not authorized\n to perform: x") -> ClientError:
    """An answer of AWS's that is an error."""
    return ClientError({"Error": {"Code": code, "Message": message}}, "Operation")


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (exceptions.NoCredentialsError(), NoCredentials, "give profile (--profile)"),
        (exceptions.ProfileNotFound(profile="x"), NoCredentials, "x"),
        (exceptions.UnauthorizedSSOTokenError(), NoCredentials, "aws sso login"),
        (refused("ExpiredToken"), NoCredentials, "ExpiredToken"),
        (refused("UnrecognizedClientException"), NoCredentials, "does not take the credentials"),
        (refused("AccessDeniedException"), AwsRefused, "User: ann is not authorized to perform: x"),
        (refused("ResourceNotFoundException"), AwsRefused, "region eu-west-1"),
        (refused("SomethingNew"), AwsRefused, "SomethingNew"),
        (exceptions.NoRegionError(), AwsRefused, "--region"),
        (exceptions.EndpointConnectionError(endpoint_url="http://x"), Unreachable, "region eu-west-1"),
        (exceptions.ConnectTimeoutError(endpoint_url="http://x"), Unreachable, "does not answer"),
    ],
)
def test_an_error_of_aws_says_what_to_do(error: Exception, kind: type[errors.HephaestusError], said: str) -> None:
    """Raw, and behind the library's own error."""
    with pytest.raises(kind) as told, explained(HERE):
        raise error
    assert said in str(told.value)
    if kind is not AwsRefused or "SomethingNew" not in said:
        with pytest.raises(kind), explained(HERE):
            raise translate(error, "DynamoDB") from error


def test_what_has_nothing_to_do_with_aws_stays_as_it_is() -> None:
    """An error of the caller's, and what AWS will do later."""
    own = errors.InstanceNotFound("there is no instance x::y")
    with pytest.raises(errors.InstanceNotFound) as told, explained(HERE):
        raise own
    assert told.value is own
    throttled = refused("ThrottlingException")
    with pytest.raises(errors.StoreUnavailable), explained(HERE):
        raise translate(throttled, "DynamoDB") from throttled


@pytest.mark.parametrize(
    ("document", "status", "kind"),
    [
        ({"type": "/problems/already-running", "detail": "d"}, 409, errors.AlreadyRunning),
        ({"type": "/problems/invalid-input", "detail": "d"}, 422, errors.InvalidInput),
        ({"type": "/problems/ambiguous-event", "detail": "d", "steps": ["a"]}, 422, errors.AmbiguousEvent),
        ({"type": "/problems/store-unavailable", "detail": "d"}, 503, errors.StoreUnavailable),
        ({"type": "/problems/internal-error", "detail": "d", "request_id": "r-1"}, 500, errors.EngineError),
        ({"message": "Forbidden"}, 403, AwsRefused),
        ({"message": "Internal server error"}, 502, errors.EngineError),
        ({}, 404, errors.BadRequest),
    ],
)
def test_a_problem_document_is_the_library_s_own_error(
    document: dict[str, Any], status: int, kind: type[Exception]
) -> None:
    error = error_of(document, status)
    assert type(error) is kind
    assert str(document.get("request_id", "")) in str(error)


@pytest.mark.parametrize("kind", errors.errors_by_type().values(), ids=lambda kind: kind.__name__)
def test_an_error_crosses_the_api_as_itself(kind: type[errors.CallerError | errors.RetryLater]) -> None:
    """Its status, type and exit status are the class's own, in the document and behind it; none is left out."""
    more: dict[type, tuple[Any, ...]] = {errors.AmbiguousEvent: ([],), errors.UnexpectedEvent: ({},)}
    error = kind("said", *more.get(kind, ()))
    document = problem.document(error, "/x", "r-1")
    assert (document["type"], document["status"]) == (kind.problem_type(), kind.status)
    told = error_of(document, document["status"])
    assert (type(told), told.exit_code()) == (kind, kind.exit_code())


def test_exit_statuses_follow_the_policy() -> None:
    """Wrong use, no such thing, rejected as things are, and what is not the caller's mistake."""
    known = {kind.__name__: kind.exit_code() for kind in errors.errors_by_type().values()}
    assert {known[name] for name in ("BadRequest", "InvalidDelay")} == {2}
    assert {known[name] for name in ("InstanceNotFound", "UnknownStep", "UnknownVersion", "UnknownWorkflow")} == {3}
    assert {known[name] for name in ("AlreadyRunning", "ForkNotAllowed", "InvalidInput", "PayloadTooLarge")} == {4}
    assert {known[name] for name in ("StoreUnavailable", "TooBusy")} == {errors.EngineError.exit_code()} == {5}


def test_events_that_would_be_taken_come_along() -> None:
    error = error_of({"type": "/problems/unexpected-event", "detail": "d", "accepted": {"a": ["go"]}}, 422)
    assert error.details == {"accepted": {"a": ["go"]}}


def test_a_stack_of_an_older_release_has_defaults() -> None:
    outputs = {"TableName": "t", "WorkQueueUrl": "q", "ResumeFunctionName": "r"}
    settings = Stack("s", "CREATE_COMPLETE", outputs, {}, "1", "aws", "eu-west-1").settings()
    assert (settings.schedule_dlq_arn, settings.bucket, settings.list_shards) == (None, None, 4)
    assert settings.resume_arn == "arn:aws:lambda:eu-west-1:1:function:r"


def test_a_function_imports_nothing_of_an_operator_s() -> None:
    unwanted = ("typer", "rich", "hephaestus.operations", "hephaestus.cli", "hephaestus.diagrams", "hephaestus.costs")
    imported = "import sys, hephaestus.aws, hephaestus.handlers.http.api"
    code = f"{imported}; print([n for n in {unwanted!r} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
