"""A REST API proxy event, read with suspicion.

Paths come with or without a stage or a base path in front, ids in them encoded or not, headers in any case, bodies in
base64 or not, and anything may be missing, huge or malformed. What cannot be meant is a ``CallerError``.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import chain
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from hephaestus.errors import BadRequest, PayloadTooLarge
from hephaestus.handlers.http.request_key import read_key
from hephaestus.runtime.caller import MAX_CALLER, Caller
from hephaestus.values import FrozenDict
from hephaestus.values.strict_json import read_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MAX_BODY: Final = 1024 * 1024  # bytes; a context is for facts and references, not for files
MAX_PARAMETER: Final = 2048
TEXTS: Final = ("httpMethod", "path", "resource", "body")
CONTEXT_TEXTS: Final = ("path", "stage", "requestId")
LISTS: Final = ("multiValueHeaders", "multiValueQueryStringParameters")
OBJECTS: Final = (*LISTS, "headers", "queryStringParameters", "pathParameters", "stageVariables")
FLAGS: Final = {"true": True, "1": True, "false": False, "0": False}
EMPTY: Final = FrozenDict()  # what a body of nothing but blanks is read as
CLAIMED: Final = "claimedBy"  # of the request's context: who a direct caller says it is


class Request:
    """One HTTP request.

    Attributes:
        method: in upper case.
        path: as the API's routes are written, without stage and base path.
        base: the stage or base path in front of it, as the caller sees it: ``""`` or ``"/prod"``.
        id: what the gateway calls this request.
        headers: the headers by their names in lower case; several lines of one are joined with commas.
    """

    def __init__(self, event: Mapping[str, Any]) -> None:
        """Read an event.

        Raises:
            BadRequest: it has not the shape of API Gateway's, so that somebody invoked the function with it directly.
        """
        check_shape(event)
        self._event = event
        self._asked = _query(event)
        self.headers = _headers(event)
        context = event.get("requestContext") or {}
        self.method = str(event.get("httpMethod") or "GET").upper()
        self.path = _own_path(str(event.get("path") or "/"), str(event.get("resource") or ""), context.get("stage"))
        self.base = _base(str(context.get("path") or ""), self.path)
        self.id = str(context.get("requestId") or "")

    def takes(self, *names: str) -> None:
        """Refuse a query with other parameters than ``names``: a filter that is misspelt would show everything.

        Raises:
            BadRequest: it has some. What belongs to a signature in the query does not count.
        """
        others = [name for name in self._asked if name not in names and not name.lower().startswith("x-amz-")]
        if others:
            known = f"there are {', '.join(names)}" if names else "this call takes none"
            message = f"there is no query parameter {others[0][:64]!r}: {known}"
            raise BadRequest(message)

    def query(self, name: str, longest: int = MAX_PARAMETER) -> str | None:
        """A query parameter, the last one where it is repeated; ``None`` when it is missing.

        Raises:
            BadRequest: it is empty, or longer than ``longest``.
        """
        if name not in self._asked:
            return None
        value = self._asked[name]
        if not value:
            message = f"the query parameter {name!r} is empty: give it a value, or leave it out"
            raise BadRequest(message)
        if len(value) > longest:
            message = f"the query parameter {name!r} is longer than {longest} characters"
            raise BadRequest(message)
        return str(value)

    def several(self, name: str) -> list[str] | None:
        """A query parameter with several values, separated by commas or repeated; ``None`` when it is missing.

        Raises:
            BadRequest: one of them is empty, or all together are longer than ``MAX_PARAMETER``.
        """
        last = self.query(name)
        if last is None:
            return None
        repeated = (self._event.get("multiValueQueryStringParameters") or {}).get(name)
        # Of a parameter that is repeated, API Gateway's other member has the last value.
        values = repeated if isinstance(repeated, list) and repeated[-1:] == [last] else [last]
        text = ",".join(str(value) for value in values)
        several = [value.strip() for value in text.split(",")]
        if not all(several) or len(text) > MAX_PARAMETER:
            message = (
                f"the query parameter {name!r} is {text[:40]!r}: write its values with commas, as in failed,cancelled"
            )
            raise BadRequest(message)
        return several

    def flag(self, name: str) -> bool:
        """Whether a query parameter asks for something: ``true`` or ``1``, against ``false``, ``0`` or none at all.

        Raises:
            BadRequest: it is something else.
        """
        value = self.query(name)
        found = False if value is None else FLAGS.get(value.lower())
        if found is None:
            message = f"the query parameter {name!r} is {str(value)[:40]!r}: it must be true or false"
            raise BadRequest(message)
        return found

    def number(self, name: str, default: int | None, most: int) -> int | None:
        """A query parameter that is a whole number from 1 to ``most``.

        Raises:
            BadRequest: it is something else.
        """
        value = self.query(name)
        if value is None:
            return default
        if value.isascii() and value.isdigit() and len(value) <= len(str(most)) and 1 <= int(value) <= most:
            return int(value)
        message = f"the query parameter {name!r} is {value[:40]!r}: it must be a whole number from 1 to {most}"
        raise BadRequest(message)

    def time(self, name: str) -> datetime | None:
        """A query parameter that is a time in ISO 8601, in UTC where it names no zone.

        Raises:
            BadRequest: it is something else.
        """
        value = self.query(name)
        if value is None:
            return None
        for text in (value, "+".join(value.rsplit(" ", 1))):  # a plus sign that was not encoded arrives as a space
            try:
                found = datetime.fromisoformat(text)
            except ValueError:
                continue
            return found if found.tzinfo else found.replace(tzinfo=UTC)
        message = f"the query parameter {name!r} is {value[:40]!r}: it must be a time as in 2026-01-31T12:00:00Z"
        raise BadRequest(message)

    @property
    def idempotency_key(self) -> str | None:
        """The request id that the ``Idempotency-Key`` is; ``None`` when it is missing.

        Raises:
            BadRequest: it is malformed; an empty one would promise what it does not keep.
        """
        given = self.headers.get("idempotency-key")
        return None if given is None else read_key(given)

    @property
    def caller(self) -> Caller:
        """Who sent the request: the IAM identity's ARN as API Gateway authorized it, or what a direct caller claims.

        Whoever invokes the function directly with an event that has the API's shape can write any identity into it:
        ``docs/security.md`` names that trust. Our own clients that do so say that theirs is a claim.
        """
        context = self._event.get("requestContext") or {}
        identity = context.get("identity")
        claimed, authorized = context.get(CLAIMED), identity.get("userArn") if isinstance(identity, Mapping) else None
        name = claimed if CLAIMED in context else authorized
        shown = name[:MAX_CALLER] if isinstance(name, str) and name.isprintable() else ""
        return Caller(shown, "claim" if CLAIMED in context else "api")

    def body(self, most: int = MAX_BODY) -> Any:
        """The body as JSON, whatever its content type says; ``EMPTY``, an object, where there is none.

        Args:
            most: how many bytes it may have.

        Raises:
            PayloadTooLarge: it is larger than ``most``.
            BadRequest: it is not JSON in UTF-8.
        """
        text = self.text(most)
        return read_json(text) if text.strip() else EMPTY

    def text(self, most: int) -> str:
        """The body as text.

        Raises:
            PayloadTooLarge: it is larger than ``most`` bytes.
            BadRequest: it is not in UTF-8.
        """
        text = self._event.get("body") or ""
        if len(text) > most * 2:
            raise _too_large(most)
        try:
            raw = base64.b64decode(text, validate=True) if self._event.get("isBase64Encoded") else text.encode()
            if len(raw) > most:
                raise _too_large(most)
            return raw.decode()
        except (UnicodeError, binascii.Error) as error:
            message = "the body is not text in UTF-8"
            raise BadRequest(message) from error


def check_shape(event: Mapping[str, Any]) -> None:
    """Reject an event that API Gateway cannot have sent.

    Members may be missing or null. What is there has the type that the API Gateway Developer Guide names ("Input format
    of a Lambda function for proxy integration").

    Raises:
        BadRequest: naming the members of another type.
    """
    context = event.get("requestContext")
    inner: Mapping[str, Any] = context if isinstance(context, Mapping) else {}
    odd = [name for name in ("requestContext", *OBJECTS) if not isinstance(event.get(name), Mapping | None)]
    texts: dict[str, Sequence[object]] = {name: (event.get(name),) for name in TEXTS}
    texts |= {f"requestContext.{name}": (inner.get(name),) for name in CONTEXT_TEXTS}
    for name in OBJECTS:
        if (held := event.get(name)) and name not in odd:
            values: Iterable[object] = held.values()
            if name in LISTS:  # what is there instead of a list is no text, either
                values = chain.from_iterable(some or () if isinstance(some, list | None) else (b"",) for some in values)
            texts[name] = (*held, *values)
    sound = _are_texts(chain.from_iterable(texts.values()))
    wrong = odd if sound else [*(name for name, some in texts.items() if not _are_texts(some)), *odd]
    wrong += ["isBase64Encoded"] if not isinstance(event.get("isBase64Encoded"), bool | None) else []
    if wrong:
        message = (
            f"the event has the shape of an API call, but not what API Gateway sends: {', '.join(wrong)} malformed; "
            "to invoke the function directly, leave out httpMethod and requestContext"
        )
        raise BadRequest(message)


def _query(event: Mapping[str, Any]) -> dict[str, str]:
    """The query's parameters, each with its last value: a list's where only that member of the event names one."""
    lists = event.get("multiValueQueryStringParameters") or {}
    asked = {name: values[-1] if values else "" for name, values in lists.items()}
    given = event.get("queryStringParameters") or {}
    return {name: value for name, value in {**asked, **given}.items() if value is not None}


def _headers(event: Mapping[str, Any]) -> dict[str, str]:
    """Where names differ in their case alone the first counts, and a list of lines before a single one."""
    lines = reversed((event.get("multiValueHeaders") or {}).items())
    single = reversed((event.get("headers") or {}).items())
    found = {name.lower(): str(value or "") for name, value in single}
    return found | {name.lower(): ", ".join(values) for name, values in lines if values and None not in values}


def _are_texts(values: Iterable[object]) -> bool:
    """Whether each value is missing, or text that UTF-8 can hold."""
    for value in values:
        if value is not None and (
            not isinstance(value, str)
            or (not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value))
        ):
            return False
    return True


def _too_large(most: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"the body is larger than {most} bytes: store large data elsewhere and pass a reference")


def _own_path(path: str, resource: str, stage: object) -> str:
    """``path`` as the routes are written: what precedes the matched resource removed, everything unusual encoded."""
    segments = path.split("/")[1:]
    template = resource.split("/")[1:]
    surplus = len(segments) - len(template)
    if resource and "+}" not in resource and surplus > 0:
        tail = segments[surplus:]
        if all(part.startswith("{") or part == own for part, own in zip(template, tail, strict=True)):
            segments = tail
    elif len(segments) > 1 and segments[0] == stage and (not resource or "+}" in resource):
        segments = segments[1:]
    return quote("/" + "/".join(segments), safe="/%:@!$&'()*+,;=~")


def _base(full: str, own: str) -> str:
    """What the caller sees in front of the API's own paths."""
    segments = full.rstrip("/").split("/")
    return "/".join(segments[: max(len(segments) - len(own.rstrip("/").split("/")) + 1, 1)]) if full else ""
