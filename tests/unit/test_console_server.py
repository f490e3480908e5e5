from __future__ import annotations

import json
import logging
import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from hephaestus.console import ConsoleServer, PortTaken
from hephaestus.console.embedded import LocalConnection
from hephaestus.console.guard import TICKET_SECONDS, Guard, Refused
from hephaestus.errors import EngineError, StoreUnavailable
from hephaestus.testing import LocalRuntime
from tests.unit.consoles import BY, Page, Parcel, parcels, serving
from tests.unit.test_limit_commands import Payment
from tests.unit.test_schedule_commands import Report as Nightly

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HOSTILE = "<img src=x onerror=alert(1)>\u202e\u0000'\"`${1}</script><script>alert(1)</script> \U0001f525"


@pytest.fixture
def local() -> tuple[LocalRuntime, LocalConnection]:
    return parcels()


@pytest.fixture
def page(local: tuple[LocalRuntime, LocalConnection]) -> Iterator[Page]:
    with serving(local[1]) as page:
        yield page


# --- Who is answered ---


ROUTES = (
    "/",
    "/app.js",
    "/api/about",
    "/api/instances",
    "/api/instances/parcel::1",
    "/api/instances/parcel::1/history",
    "/api/limits",
    "/api/schedules",
)


@pytest.mark.parametrize("path", ROUTES)
def test_whoever_has_not_opened_the_printed_address_sees_nothing(page: Page, path: str) -> None:
    assert page.ask("GET", path, cookie=False).status == 401


@pytest.mark.parametrize("path", ROUTES[2:])
def test_the_cookie_alone_reads_nothing_as_browsers_send_it_to_every_port(page: Page, path: str) -> None:
    answer = page.ask("GET", path, key=False)
    assert (answer.status, answer.json()["title"]) == (401, "Not let in")


def test_the_cookie_alone_and_the_key_alone_change_nothing(
    local: tuple[LocalRuntime, LocalConnection], page: Page
) -> None:
    local[0].start(Parcel, "1")
    path = "/api/instances/parcel::1/cancel"
    assert page.ask("POST", path, {}, key=False).status == 401
    assert page.ask("POST", path, {}, cookie=False).status == 401
    assert local[0].runner.get("parcel::1").status == "waiting"


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "[::1]:{port}", None, ""]
)
def test_a_name_that_only_leads_here_is_refused_so_that_rebinding_gets_nothing(page: Page, host: str | None) -> None:
    sent = host and host.format(port=page.server.server_port)
    for path in ("/", "/api/about", f"/?token={page.server.guard.token}"):
        assert page.ask("GET", path, headers={"Host": sent}).status == 421


def test_both_names_of_loopback_are_the_console(page: Page) -> None:
    for name in ("127.0.0.1", "localhost"):
        assert page.ask("GET", "/api/about", headers={"Host": f"{name}:{page.server.server_port}"}).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "https://127.0.0.1:{port}"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/api/about"), ("GET", "/"), ("POST", "/api/instances/parcel::1/cancel")]
)
def test_what_another_page_sends_is_refused_even_with_cookie_and_key(
    page: Page, headers: Mapping[str, str], method: str, path: str
) -> None:
    sent = {name: value.format(port=page.server.server_port) for name, value in headers.items()}
    assert page.ask(method, path, {} if method == "POST" else None, sent).status == 403


def test_no_other_page_may_read_an_answer(page: Page) -> None:
    for answer in (page.ask("GET", "/api/about"), page.ask("OPTIONS", "/api/about"), page.ask("GET", "/")):
        assert not [name for name in answer.headers if name.startswith("access-control-")]
    assert page.ask("OPTIONS", "/api/about").status == 501


def test_every_answer_lets_nothing_run_but_the_pages_own_files(page: Page) -> None:
    answers = [page.ask("GET", path, cookie=cookie) for path in (*ROUTES, "/nothing") for cookie in (True, False)]
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'self';")
        assert "unsafe" not in policy
        for rule in ("frame-ancestors 'none'", "base-uri 'none'", "require-trusted-types-for 'script'"):
            assert rule in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert answer.headers["referrer-policy"] == "no-referrer"


def test_the_printed_address_starts_a_session_that_scripts_and_other_sites_cannot_use(page: Page) -> None:
    address = page.server.url.removeprefix(f"http://127.0.0.1:{page.server.server_port}")
    answer = page.ask("GET", address, cookie=False, key=False, headers={"Sec-Fetch-Site": "none"})
    assert answer.status == 303
    assert answer.headers["location"] == f"/#key={page.server.guard.key}"
    assert answer.headers["set-cookie"].endswith("; Path=/; HttpOnly; SameSite=Strict")
    assert page.server.guard.token not in answer.headers["set-cookie"] + answer.headers["location"]


NAVIGATION = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


def once(page: Page) -> str:
    """The path of a new one-time address."""
    return page.server.url_for_once().removeprefix(f"http://127.0.0.1:{page.server.server_port}")


def test_the_address_that_a_browser_is_started_with_works_once_and_its_second_use_is_reported(page: Page) -> None:
    """From a file, which browsers call another site; a page leads on, as a redirect would carry no strict cookie."""
    said: list[str] = []
    used: list[str] = []
    page.server.warn, page.server.when_used = said.append, lambda: used.append("used")
    address = once(page)
    assert page.server.guard.token not in address
    first = page.ask("GET", address, cookie=False, key=False, headers=NAVIGATION)
    assert (first.status, first.headers["cache-control"], used, said) == (200, "no-store", ["used"], [])
    assert first.headers["set-cookie"].endswith("; Path=/; HttpOnly; SameSite=Strict")
    assert f'url=/#key={page.server.guard.key}"' in first.body.decode()
    second = page.ask("GET", address, cookie=False, key=False, headers=NAVIGATION)
    assert (second.status, used) == (401, ["used"])
    assert "set-cookie" not in second.headers
    assert page.server.guard.key not in second.body.decode()
    (warning,) = said
    assert "somebody else may have opened it first" in warning
    assert address.partition("=")[2] not in warning
    assert page.ask("GET", f"/?token={page.server.guard.token}", cookie=False).status == 303


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
        {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"},
        {"Sec-Fetch-Dest": "iframe"},
        {"Origin": "null"},
    ],
)
def test_a_one_time_address_opens_for_a_browsers_own_window_only(page: Page, headers: Mapping[str, str]) -> None:
    """A script, a frame and a form get nothing, and use nothing up."""
    address = once(page)
    refused = page.ask("GET", address, cookie=False, key=False, headers={**NAVIGATION, **headers})
    assert (refused.status, "set-cookie" in refused.headers) == (403, False)
    assert page.ask("GET", address, cookie=False, headers={**NAVIGATION, "Host": "evil.example"}).status == 421
    assert page.ask("HEAD", address, cookie=False, key=False, headers=NAVIGATION).status == 403
    assert page.ask("GET", address.replace("/?", "/api/about?"), cookie=False, headers=NAVIGATION).status == 403
    assert page.ask("GET", address, cookie=False, key=False, headers=NAVIGATION).status == 200


def test_the_printed_address_is_for_the_address_bar_not_for_other_sites(page: Page) -> None:
    address = f"/?token={page.server.guard.token}"
    assert page.ask("GET", address, cookie=False, key=False, headers=NAVIGATION).status == 403


def test_a_one_time_address_that_is_not_opened_in_time_opens_nothing() -> None:
    now = 0.0
    guard = Guard(1, monotonic=lambda: now)
    tickets = [guard.ticket(), guard.ticket()]
    now = TICKET_SECONDS
    guard.redeem(tickets[0])
    now = TICKET_SECONDS + 1
    for _ in range(2):
        with pytest.raises(Refused, match="opened"):
            guard.redeem(tickets[1])


def test_no_log_holds_an_address(page: Page, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever the level, and however wrong the request."""
    caplog.set_level(logging.DEBUG)
    ticket = page.server.guard.ticket()
    secret = page.server.guard.token
    for token in (ticket, ticket, secret):
        page.ask("GET", f"/?token={token}", cookie=False)
        page.ask("GET", f"//?token={token}", cookie=False)
        page.ask("BREW", f"/?token={token}", cookie=False)
        with socket.create_connection(("127.0.0.1", page.server.server_port), timeout=30) as raw:
            raw.sendall(f"GET /?token={token} to me HTTP/1.1\r\n\r\n".encode())
            while raw.recv(4096):
                pass
    assert caplog.records
    assert not [record for record in caplog.records if ticket in record.getMessage() or secret in record.getMessage()]


def test_another_runs_address_is_refused_with_what_to_do(page: Page) -> None:
    answer = page.ask("GET", "/?token=wrong", cookie=False)
    assert answer.status == 401
    assert "the one it printed last" in answer.json()["detail"]
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("cookie", ["", "=", "a=b; ;;", "hephaestus-console-{port}=wrong", "x" * 3000, "\u00e9=\u00e9"])
def test_a_malformed_cookie_is_no_session(page: Page, cookie: str) -> None:
    sent = cookie.format(port=page.server.server_port)
    assert page.ask("GET", "/", headers={"Cookie": sent.encode().decode("latin-1")}).status == 401


@pytest.mark.parametrize(
    "path",
    ["/../guard.py", "/%2e%2e/guard.py", "/static/app.js", "/app.js/", "/__init__.py", "/api", "/api/"],
)
def test_only_the_pages_files_are_served(page: Page, path: str) -> None:
    assert page.ask("GET", path).status == 404


def test_the_server_listens_on_loopback_only(page: Page) -> None:
    assert page.server.socket.getsockname()[0] == "127.0.0.1"


# --- What is answered ---


def test_an_instance_is_shown_with_what_it_accepts(local: tuple[LocalRuntime, LocalConnection], page: Page) -> None:
    local[0].start(Parcel, "1", {"echo": HOSTILE})
    shown = page.get("/api/instances/parcel%3A%3A1")
    assert shown["status"] == "waiting"
    assert shown["accepts"] == {"decision": ["yes", "no"]}
    assert shown["context"] == {"echo": HOSTILE}
    assert {key: step["status"] for key, step in shown["steps"].items()} == {
        "look": "completed",
        "wrap": "completed",
        "decision": "waiting",
    }


def test_asking_again_for_what_has_not_changed_costs_an_empty_answer(
    local: tuple[LocalRuntime, LocalConnection], page: Page
) -> None:
    local[0].start(Parcel, "1")
    for path in ("/api/instances/parcel::1", "/api/instances", "/api/instances/parcel::1/history", "/api/about"):
        first = page.ask("GET", path)
        again = page.ask("GET", path, headers={"If-None-Match": first.headers["etag"]})
        assert (again.status, again.body) == (304, b"")
    before = page.ask("GET", "/api/instances/parcel::1").headers["etag"]
    local[0].resume("parcel::1", "no")
    after = page.ask("GET", "/api/instances/parcel::1", headers={"If-None-Match": before})
    assert (after.status, after.json()["status"]) == (200, "completed")


def test_the_list_is_narrowed_down_by_workflow_status_tag_and_time(
    local: tuple[LocalRuntime, LocalConnection], page: Page
) -> None:
    for number in range(5):
        local[0].runner.start_instance(Parcel, {}, id=str(number), tags=["even"] if number % 2 == 0 else [])
    local[0].settle()
    local[0].resume("parcel::3", "no")

    def ids(query: str) -> list[str]:
        return [item["id"][8:] for item in page.get(f"/api/instances?{query}")["items"]]

    assert ids("") == ["4", "3", "2", "1", "0"]
    assert ids("status=completed") == ["3"]
    assert ids("tag=even") == ["4", "2", "0"]
    assert ids("workflow=Parcel&status=waiting&tag=even&since=2025-12-31T00:00:00Z") == ["4", "2", "0"]
    assert ids("since=2026-01-01T00:00:01%2B00:00") == []
    first = page.get("/api/instances?limit=3")
    assert [item["id"][8:] for item in first["items"]] == ["4", "3", "2"]
    assert ids(f"limit=3&cursor={first['cursor'].replace('#', '%23')}") == ["1", "0"]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("limit=0", "limit"),
        ("limit=many", "limit must be a whole number"),
        ("limit=99999999999", "limit must be a whole number"),
        ("status=gone", "there is no status 'gone'"),
        ("workflow=Gone", "there is no workflow 'Gone'"),
        ("since=yesterday", "since is 'yesterday'"),
        ("since=9999-12-31T23:59:59-23:00", "since is"),
        ("cursor=nonsense", "cursor"),
    ],
)
def test_a_wrong_filter_is_refused_with_what_is_wrong(page: Page, query: str, said: str) -> None:
    answer = page.ask("GET", f"/api/instances?{query}")
    assert answer.status in {400, 404}
    assert said in answer.json()["detail"]


@pytest.mark.parametrize("text", ["parcel::7", "7", "%207%20"])
def test_an_instance_is_found_by_its_id_or_by_its_value_alone(
    local: tuple[LocalRuntime, LocalConnection], page: Page, text: str
) -> None:
    local[0].start(Parcel, "7", {"echo": "x" * 100_000})
    (found,) = page.get(f"/api/find?id={text}")["items"]
    assert (found["id"], found["status"]) == ("parcel::7", "waiting")
    assert "context" not in found


@pytest.mark.parametrize("text", ["8", "nothing::8", "%3Cimg%3E", "a%20b", "%00"])
def test_what_is_not_there_is_found_nowhere_and_no_error(page: Page, text: str) -> None:
    assert page.get(f"/api/find?id={text}") == {"items": []}


def test_large_values_are_left_out_until_they_are_asked_for(
    local: tuple[LocalRuntime, LocalConnection], page: Page
) -> None:
    large = "é" * 300_000
    local[0].start(Parcel, "1", {"echo": large})
    answer = page.ask("GET", "/api/instances/parcel::1")
    assert len(answer.body) < 5_000
    assert answer.json()["large"] == {"context": 300_011}
    assert answer.json()["steps"]["look"]["large"] == {"results": 300_011}
    assert page.get("/api/instances/parcel::1?full=1")["context"] == {"echo": large}
    (entry,) = page.get("/api/instances/parcel::1/history?limit=1")["items"]
    assert entry["events"][0]["large"] == {"initial": 300_011}
    (entry,) = page.get("/api/instances/parcel::1/history?limit=1&full=1")["items"]
    assert entry["events"][0]["initial"] == {"echo": large}


def test_history_goes_on_where_the_page_before_ended(local: tuple[LocalRuntime, LocalConnection], page: Page) -> None:
    local[0].start(Parcel, "1")
    whole = page.get("/api/instances/parcel::1/history")
    assert whole["cursor"] is None
    found: list[Any] = []
    cursor: str | None = ""
    while cursor is not None:
        part = page.get(f"/api/instances/parcel::1/history?generation=1&limit=1&cursor={cursor}")
        found += part["items"]
        cursor = part["cursor"]
    assert found == whole["items"]
    assert [entry["sequence"] for entry in found] == list(range(1, len(found) + 1))


def test_the_counts_are_there_with_the_first_answer(local: tuple[LocalRuntime, LocalConnection], page: Page) -> None:
    local[0].start(Parcel, "1")
    local[0].start(Parcel, "2", {"bad": True})
    (parcel,) = page.get("/api/counts")["workflows"]
    assert parcel["name"] == "Parcel"
    assert {status: n for status, n in parcel["counts"].items() if n} == {"waiting": 1, "completed": 1}


# --- What can be done ---


def test_every_action_is_done_and_history_names_who_did_it(
    local: tuple[LocalRuntime, LocalConnection], page: Page
) -> None:
    runtime = local[0]
    runtime.start(Parcel, "1", {"address": "wrong"})
    assert page.act("parcel::1", "pause", reason="lunch").json() == {"id": "parcel::1"}
    assert runtime.runner.get("parcel::1").paused == "lunch"
    assert page.act("parcel::1", "unpause").status == 200
    assert page.act("parcel::1", "resume", event="yes", step="decision", payload={"ok": True}).status == 200
    runtime.settle()
    assert runtime.runner.get("parcel::1").status == "failed"
    assert page.act("parcel::1", "redrive").status == 200
    runtime.settle()
    assert page.act("parcel::1", "fork", new_id="2", at=3, context={"address": "right"}).json() == {"id": "parcel::2"}
    runtime.settle()
    assert page.act("parcel::2", "cancel", reason="no", compensate=True).status == 200
    runtime.settle()
    assert runtime.runner.get("parcel::2").status == "cancelled"
    assert runtime.runner.get("parcel::2").steps["wrap"].status == "compensated"
    done = {
        event["type"]: event.get("by")
        for number in (1, 2)
        for entry in runtime.runner.history(f"parcel::{number}")
        for event in entry.events
    }
    for event in ("Paused", "Unpaused", "EventReceived", "Redriven", "Forked", "CancelRequested"):
        assert done[event] == BY


def test_the_same_press_twice_is_one_event(local: tuple[LocalRuntime, LocalConnection], page: Page) -> None:
    local[0].start(Parcel, "1")
    for _ in range(2):
        assert page.act("parcel::1", "resume", event="yes", request_id="press-1").status == 200
        local[0].settle()
    received = [event for entry in local[0].runner.history("parcel::1") for event in entry.events]
    assert [event["event_id"] for event in received if event["type"] == "EventReceived"] == ["press-1"]


def test_limits_and_schedules_are_shown_and_changed_in_the_name_of_the_caller() -> None:
    """As instances are: whatever is wrong is said, and changes nothing."""
    runtime = LocalRuntime(Payment, Nightly)
    for name in "abc":
        runtime.start(Payment, name)
    with serving(LocalConnection(runtime.runner, "a test", BY)) as page:

        def change(kind: str, name: str, action: str, **body: Any) -> tuple[int, Any]:
            answer = page.ask("POST", f"/api/{kind}/{quote(name, safe='')}/{action}", body)
            runtime.settle()
            return answer.status, answer.json()

        assert change("limits", "stripe", "set", number=3) == (200, {"id": "stripe"})
        (shown,) = page.get("/api/limits")["items"]
        assert (shown["held"], shown["set_to"], shown["changed_by"]) == (3, 3, BY)
        assert change("limits", "stripe", "unset")[0] == 200
        assert "set_to" not in page.get("/api/limits?name=stripe")["items"][0]
        assert change("limits", "tenant#a/b", "set", number=1)[0] == 404
        assert change("limits", "stripe", "set", number=-1)[0] == 400
        assert change("limits", "stripe", "drop")[0] == 404
        assert change("schedules", "Report.nightly", "pause", reason="a freeze", request_id="r") == (
            200,
            {"id": "hephaestus-schedule::Report.nightly"},
        )
        (nightly,) = page.get("/api/schedules")["items"]
        assert (nightly["paused"]["reason"], nightly["paused"]["by"]) == ("a freeze", BY)
        assert change("schedules", "Report.nightly", "trigger", request_id="t") == (
            200,
            {"id": "report::nightly.manual-t"},
        )
        assert change("schedules", "Report.nightly", "delete")[0] == 400


@pytest.mark.parametrize(
    ("action", "members", "status", "said"),
    [
        ("resume", {"event": "maybe"}, 422, "it would take decision: yes, no"),
        ("resume", {}, 400, "event' is missing"),
        ("resume", {"event": 1}, 400, "'event' must be a string"),
        ("resume", {"event": "yes", "by": "somebody else"}, 400, "'by' is not known"),
        ("cancel", {"compensate": "yes"}, 400, "'compensate' must be true or false"),
        ("cancel", {"reason": "x" * 1001}, 400, "reason"),
        ("redrive", {}, 409, "only a failed, cancelled or parked instance is redriven"),
        ("fork", {"new_id": "a b"}, 400, "it must be 1 to 128"),
        ("fork", {"new_id": "2", "at": 10_000}, 400, "its history has no entry 10000"),
        ("fork", {"new_id": "2", "at": True}, 400, "'at' must be a whole number"),
        ("fork", {"new_id": "2", "context": [1]}, 400, "'context' must be an object"),
        ("start", {}, 404, "no such action"),
    ],
)
def test_a_wrong_action_is_refused_with_what_is_wrong_and_changes_nothing(  # noqa: PLR0913, PLR0917 - a case and its fixtures
    local: tuple[LocalRuntime, LocalConnection], page: Page, action: str, members: Any, status: int, said: str
) -> None:
    local[0].start(Parcel, "1")
    before = page.get("/api/instances/parcel::1/history")
    answer = page.act("parcel::1", action, **members)
    assert (answer.status, said in answer.json()["detail"]) == (status, True), answer.body
    assert page.get("/api/instances/parcel::1/history") == before


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{", {}, 400),
        (b"[]", {}, 400),
        (b"[" * 100_000, {}, 400),
        (b'{"reason": "\xff"}', {}, 400),
        (b"{}", {"Content-Type": "text/plain"}, 415),
        (b"{}", {"Content-Type": "application/x-www-form-urlencoded"}, 415),
        (b"", {"Content-Length": None}, 411),
        (b"", {"Content-Length": "-1"}, 411),
        (b"", {"Content-Length": "3000000"}, 413),
    ],
)
def test_a_body_that_is_no_json_object_is_refused(
    page: Page, body: bytes, headers: Mapping[str, str | None], status: int
) -> None:
    answer = page.ask("POST", "/api/instances/parcel::1/cancel", body, headers)
    assert answer.status == status
    assert answer.headers["connection"] == "close"


# --- When something is wrong ---


@pytest.mark.parametrize(
    ("error", "status"),
    [(StoreUnavailable("DynamoDB did not answer"), 503), (EngineError("no"), 500), (KeyError("surprise"), 500)],
)
def test_what_fails_is_told_and_the_server_goes_on(
    local: tuple[LocalRuntime, LocalConnection],
    page: Page,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    status: int,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(local[1], "list", fail)
    monkeypatch.setattr(local[1], "counts", fail)
    for path in ("/api/instances", "/api/counts"):
        answer = page.ask("GET", path)
        assert answer.status == status
        assert str(error) in answer.json()["detail"]
    monkeypatch.undo()
    assert page.get("/api/instances") == {"items": [], "cursor": None}


def test_a_port_that_is_taken_is_said_and_the_usual_one_gives_way(local: tuple[LocalRuntime, LocalConnection]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        with pytest.raises(PortTaken, match=f"port {taken} is taken on this machine: choose another one"):
            ConsoleServer(local[1], taken)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("hephaestus.console.server.PORT", taken)
            with ConsoleServer(local[1]) as server:
                assert server.server_port not in {0, taken}


def test_two_consoles_on_one_machine_keep_their_sessions_apart(local: tuple[LocalRuntime, LocalConnection]) -> None:
    with ConsoleServer(local[1], 0) as one, ConsoleServer(local[1], 0) as other:
        assert one.guard.cookie_name != other.guard.cookie_name
        assert len({one.guard.token, other.guard.token, one.guard.key, other.guard.key}) == 4


def test_a_lone_surrogate_in_data_does_not_end_an_answer(
    page: Page, local: tuple[LocalRuntime, LocalConnection], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local[1], "list", lambda *_, **__: {"items": [{"id": "\ud800"}], "cursor": None})
    assert json.loads(page.ask("GET", "/api/instances").body)["items"] == [{"id": "?"}]
