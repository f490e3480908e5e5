"""A problem document tells a caller what to do and nothing about the inside."""

from __future__ import annotations

import pytest

from hephaestus import errors
from hephaestus.handlers.http.problem import MethodNotAllowed, NoSuchRoute, document, headers


@pytest.mark.parametrize(
    ("error", "status", "kind", "extra"),
    [
        (errors.BadRequest("x"), 400, "bad-request", {}),
        (errors.UnknownWorkflow("x"), 404, "unknown-workflow", {}),
        (errors.UnknownVersion("x"), 404, "unknown-version", {}),
        (errors.UnknownStep("x"), 404, "unknown-step", {}),
        (errors.InstanceNotFound("x"), 404, "instance-not-found", {}),
        (NoSuchRoute("x"), 404, "no-such-route", {}),
        (MethodNotAllowed("x", ["GET"]), 405, "method-not-allowed", {"allowed": ["GET"]}),
        (errors.AlreadyRunning("x"), 409, "already-running", {}),
        (errors.InstanceClosed("x"), 409, "instance-closed", {}),
        (errors.PayloadTooLarge("x"), 413, "payload-too-large", {}),
        (errors.InvalidInput("x"), 422, "invalid-input", {"errors": []}),
        (errors.UnexpectedEvent("x", {"a": ("b",)}), 422, "unexpected-event", {"accepted": {"a": ["b"]}}),
        (errors.AmbiguousEvent("x", ["a", "b"]), 422, "ambiguous-event", {"steps": ["a", "b"]}),
    ],
)
def test_a_callers_mistake_is_told_as_it_is(
    error: errors.CallerError, status: int, kind: str, extra: dict[str, object]
) -> None:
    """Type, title, status, detail, the path as instance, and the error's own members."""
    assert document(error, "/instances/a::b", "r-1") == {
        "type": f"/problems/{kind}",
        "title": error.title,
        "status": status,
        "detail": "x",
        "instance": "/instances/a::b",
        **extra,
    }


@pytest.mark.parametrize(
    "error",
    [
        ValueError("secret table"),
        errors.CorruptLog("secret table"),
        errors.InvariantBroken("secret table"),
        errors.DefinitionError("Secret", []),
        KeyError("secret"),
    ],
)
def test_what_is_nobodys_mistake_shows_only_a_request_id(error: Exception) -> None:
    """500 holds nothing of the error: neither its text nor its type."""
    shown = document(error, "/instances", "r-1")
    assert shown["status"] == 500
    assert shown["request_id"] == "r-1"
    assert "ecret" not in str(shown)
    assert type(error).__name__ not in str(shown)
    assert headers(error) == {}


@pytest.mark.parametrize("error", [errors.StoreUnavailable("secret table"), errors.TooBusy("secret")])
def test_a_passing_condition_asks_to_come_again(error: errors.RetryLater) -> None:
    """503 with ``Retry-After``, and without what the store said."""
    shown = document(error, "/instances", "r-1")
    assert (shown["status"], shown["request_id"]) == (503, "r-1")
    assert "secret" not in str(shown)
    assert headers(error) == {"Retry-After": "1"}


def test_a_full_line_is_told_as_it_is() -> None:
    """503, which is made again, and whose line it is."""
    shown = document(errors.LineFull("instance a::1: 100 events are in line for step work"), "/instances", "r-1")
    assert (shown["status"], shown["type"]) == (503, "/problems/line-full")
    assert shown["detail"].startswith("instance a::1: 100 events are in line for step work. Nothing is lost")


def test_a_wrong_method_names_the_right_ones() -> None:
    """405 comes with ``Allow``."""
    assert headers(MethodNotAllowed("x", ["GET", "POST"])) == {"Allow": "GET, POST"}
