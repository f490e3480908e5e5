"""A proxy event is read with suspicion: whatever can be missing, encoded, huge or malformed is."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from hephaestus.errors import BadRequest, PayloadTooLarge
from hephaestus.handlers.http.request import MAX_BODY, Request
from hephaestus.values.strict_json import read_json


def request(**event: Any) -> Request:
    """A request with these members of the event."""
    return Request({"httpMethod": "POST", "path": "/instances", "requestContext": {}, **event})


@pytest.mark.parametrize(
    ("resource", "path", "full", "own", "base"),
    [
        ("/instances/{id}", "/instances/a::b", "/prod/instances/a::b", "/instances/a::b", "/prod"),
        ("/instances/{id}", "/instances/a%3A%3Ab", "/prod/instances/a%3A%3Ab", "/instances/a%3A%3Ab", "/prod"),
        ("/instances/{id}", "/instances/a::b", "", "/instances/a::b", ""),
        ("/instances/{id}", "/instances/a::b", "/instances/a::b", "/instances/a::b", ""),
        ("/instances/{id}", "/shop/v1/instances/a::b", "/shop/v1/instances/a::b", "/instances/a::b", "/shop/v1"),
        ("/instances/{id}", "/prod/instances/a::b", "/prod/instances/a::b", "/instances/a::b", "/prod"),
        ("", "/prod/instances/a::b", "/prod/instances/a::b", "/instances/a::b", "/prod"),
        ("/{proxy+}", "/prod/instances/a::b", "/prod/instances/a::b", "/instances/a::b", "/prod"),
        ("/instances", "/instances/", "/prod/instances/", "/instances/", "/prod"),
        ("/workflows", "/elsewhere/x", "", "/elsewhere/x", ""),
        ("/instances/{id}", '/instances/a"b', "", "/instances/a%22b", ""),
        ("/instances/{id}", "/instances/ä", "", "/instances/%C3%A4", ""),
    ],
)
def test_a_path_is_read_without_what_stands_in_front_of_it(
    resource: str, path: str, full: str, own: str, base: str
) -> None:
    """Stages and base paths are no part of a route, and come back in front of a ``Location``."""
    read = request(resource=resource, path=path, requestContext={"path": full, "stage": "prod"})
    assert (read.path, read.base) == (own, base)


def test_headers_are_found_in_any_case_and_joined() -> None:
    """HTTP/2 and proxies write names in lower case; several lines are one list."""
    assert request(headers={"pReFeR": "wait=1", "PREFER": "wait=2"}).headers == {"prefer": "wait=1"}
    lines = request(headers={"prefer": "b"}, multiValueHeaders={"PREFER": ["respond-async", "wait=1"]})
    assert lines.headers["prefer"] == "respond-async, wait=1"
    assert request(headers=None, multiValueHeaders=None).headers == {}
    absent = request(headers={"prefer": "b"}, multiValueHeaders={"prefer": [None], "idempotency-key": None})
    assert absent.headers == {"prefer": "b"}
    assert absent.idempotency_key is None


@pytest.mark.parametrize("key", ["abc", '"abc"', " abc "])
def test_an_idempotency_key_may_be_quoted(key: str) -> None:
    """The draft asks for a quoted string, most clients send a bare one."""
    assert request(headers={"idempotency-key": key}).idempotency_key == "abc"


def test_a_query_has_no_parameter_that_is_not_known() -> None:
    """A filter that is misspelt would be none; a signature may be in the query."""
    signed = {"status": "failed", "X-Amz-Signature": "abc", "X-Amz-Date": "20260101T000000Z"}
    request(queryStringParameters=signed).takes("status", "limit")
    request(queryStringParameters=None).takes("status")
    with pytest.raises(BadRequest, match="no query parameter 'statsu': there are status, limit"):
        request(queryStringParameters={"statsu": "failed"}).takes("status", "limit")


@pytest.mark.parametrize("key", ["", " ", '""', "a b", "ä", "x" * 129, 'a"b', "a, b", "a\nb"])
def test_a_malformed_idempotency_key_is_refused(key: str) -> None:
    """1 to 128 visible ASCII characters, or 400."""
    with pytest.raises(BadRequest, match="Idempotency-Key"):
        _ = request(headers={"Idempotency-Key": key}).idempotency_key


def test_a_body_may_be_plain_encoded_or_missing() -> None:
    """Whatever the content type says, JSON is read; nothing is an empty object."""
    assert request(body='{"a": "ä"}').body() == {"a": "ä"}
    assert request(body=base64.b64encode('{"a": "ä"}'.encode()).decode(), isBase64Encoded=True).body() == {"a": "ä"}
    assert request(body=None).body() == {}
    assert request(body="  \n").body() == {}


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[1,",
        "{'a': 1}",
        '{"a": NaN}',
        '{"a": Infinity}',
        '{"a": -Infinity}',
        '{"a": 1e999}',
        '{"a": "\\ud800"}',
        "[" * 100_000,
        '{"a": ' + "9" * 5000 + "}",
        "undefined",
    ],
)
def test_a_body_that_is_not_json_is_refused(text: str) -> None:
    """Also what Python's own parser would let through: NaN, infinities, half surrogate pairs."""
    with pytest.raises(BadRequest, match="the body"):
        request(body=text).body()


def test_a_body_that_is_no_text_is_refused() -> None:
    """Broken base64, and bytes that are no UTF-8."""
    for body in ("%%%", base64.b64encode(b"\xff\xfe{}").decode()):
        with pytest.raises(BadRequest, match="UTF-8"):
            request(body=body, isBase64Encoded=True).body()


@pytest.mark.parametrize("encoded", [True, False])
@pytest.mark.parametrize("size", [MAX_BODY, 10_000_000])
def test_a_body_that_is_too_large_is_refused_unread(size: int, encoded: bool) -> None:
    """413 above 1 MiB, also for the 10 MB that the gateway lets through."""
    text = json.dumps({"a": "x" * size})
    with pytest.raises(PayloadTooLarge, match="larger than"):
        request(body=base64.b64encode(text.encode()).decode() if encoded else text, isBase64Encoded=encoded).body()


@pytest.mark.parametrize("limit", ["0", "-1", "201", "1.0", "ten", "١", "9" * 5000, " 1"])
def test_a_number_out_of_bounds_is_refused(limit: str) -> None:
    """Limits are whole numbers within bounds."""
    with pytest.raises(BadRequest, match="'limit'"):
        request(queryStringParameters={"limit": limit}).number("limit", 50, 200)


def test_query_parameters_may_be_missing_but_not_empty() -> None:
    """``?workflow=`` comes of a value that somebody lost: a list of everything is not what was asked for."""
    assert request(queryStringParameters=None).query("workflow") is None
    empty = request(queryStringParameters={"workflow": "", "limit": "", "since": ""})
    for read in (lambda: empty.query("workflow"), lambda: empty.number("limit", 50, 200), lambda: empty.time("since")):
        with pytest.raises(BadRequest, match="is empty"):
            read()
    with pytest.raises(BadRequest, match="longer"):
        request(queryStringParameters={"cursor": "x" * 3000}).query("cursor")


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-31T12:00:00Z",
        "2026-01-31T12:00:00",
        "2026-01-31T13:00:00+01:00",
        "2026-01-31T13:00:00 01:00",
        "2026-01-31 12:00",
    ],
)
def test_a_time_is_read_in_any_usual_spelling(text: str) -> None:
    """Also with a plus sign that was not encoded and became a space."""
    assert request(queryStringParameters={"since": text}).time("since") == datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize("text", ["yesterday", "12", "2026-13-01", "2026-01-31T25:00:00Z"])
def test_a_malformed_time_is_refused(text: str) -> None:
    """400 shows the form that is meant."""
    with pytest.raises(BadRequest, match="2026-01-31T12:00:00Z"):
        request(queryStringParameters={"since": text}).time("since")


def test_json_is_read_as_it_is() -> None:
    """What is valid stays as it is, escaped surrogate pairs included."""
    assert read_json('{"a": [1, 1.5, true, null, "\\ud83d\\ude00"]}') == {"a": [1, 1.5, True, None, "😀"]}


@pytest.mark.parametrize("value", [True, False])
def test_a_flag_is_true_or_false(value: bool) -> None:
    """In the spellings that JSON, Python and C have; nothing else is guessed at."""
    for text in (str(value), str(value).lower(), str(int(value))):
        assert request(queryStringParameters={"on": text}).flag("on") is value
    assert request().flag("on") is False
    for text in ("yes", "", "2", "\u0661", "tr\u0131e"):
        with pytest.raises(BadRequest, match="'on'"):
            request(queryStringParameters={"on": text}).flag("on")
