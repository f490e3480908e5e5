"""Errors as problem documents (RFC 9457): what a caller can act on, and nothing from inside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from hephaestus.errors import CallerError, ItemNotBegun, LineFull, RetryLater

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CONTENT_TYPE: Final = "application/problem+json"
RETRY_AFTER: Final = 1  # seconds


class NoSuchRoute(CallerError):
    """The API has no such path."""

    status = 404
    title = "Not found"


class MethodNotAllowed(CallerError):
    """The path exists, for other methods."""

    status = 405
    title = "Method not allowed"

    def __init__(self, message: str, allowed: Sequence[str]) -> None:
        super().__init__(message)
        self.allowed = tuple(allowed)

    @property
    def details(self) -> Mapping[str, object]:
        """``allowed``: the methods that the path takes."""
        return {"allowed": list(self.allowed)}


def document(error: BaseException, path: str, request_id: str) -> dict[str, Any]:
    """The problem document for ``error``.

    Args:
        error: what was raised. A caller's mistake is told as it is; of anything else only that it happened, and under
            which request id the logs have it; of a line that is full also that it is.
        path: the path of the request.
        request_id: the id of this invocation.
    """
    if isinstance(error, CallerError):
        known = {"title": error.title, "status": error.status, "detail": str(error)}
        return {"type": error.problem_type(), **known, "instance": path, **error.details}
    if isinstance(error, RetryLater):
        detail = "The engine could not answer just now."
        if isinstance(error, (LineFull, ItemNotBegun)):
            detail = f"{error}."
        detail += " Nothing is lost: repeat the call, with the same Idempotency-Key."
        known = {"title": error.title, "status": error.status, "detail": detail}
        return {"type": error.problem_type(), **known, "instance": path, "request_id": request_id}
    return {
        "type": "/problems/internal-error",
        "title": "Internal error",
        "status": 500,
        "detail": "The engine failed to answer. Its logs have the cause under this request_id.",
        "instance": path,
        "request_id": request_id,
    }


def headers(error: BaseException) -> dict[str, str]:
    """The headers that go with the problem document for ``error``."""
    if isinstance(error, MethodNotAllowed):
        return {"Allow": ", ".join(error.allowed)}
    if isinstance(error, RetryLater):
        return {"Retry-After": str(RETRY_AFTER)}
    return {}
