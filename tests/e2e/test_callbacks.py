"""Orders decided by link through the deployed API: opened without deciding, confirmed once, and refused afterwards."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import pytest

from tests.e2e.orders import show, start, wait_for

if TYPE_CHECKING:
    from tests.answer import Answer
    from tests.e2e.deployment import Deployment

BROWSER: Final = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
FORM: Final = {**BROWSER, "Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "same-origin"}
JSON: Final = {"Accept": "application/json", "Content-Type": "application/json"}


def asked(deployment: Deployment) -> tuple[str, dict[str, str]]:
    """An order whose approver was sent links: its number, and the links by event."""
    order = start(deployment, approver="boss@example.com", show_links=True)
    links = show(deployment, order)["steps"]["send_receipt"]["results"]["links"]
    return order, links


def follow(deployment: Deployment, link: str, body: bytes | None = None, headers: Any = BROWSER) -> Answer:
    """Open a link as a stranger does, or send something to it."""
    assert link.startswith(f"{deployment.url}/callbacks/"), "links lead to the API, wherever the emulator has it"
    path = link.removeprefix(deployment.url)
    return deployment.call("GET" if body is None else "POST", path, body, headers, signed=False)


def press(deployment: Deployment, link: str) -> Answer:
    """Open a link and press its button."""
    page = follow(deployment, link)
    assert page.status == 200, page.body
    found = re.search(r'name="confirmation" value="([^"]+)"', page.body.decode())
    assert found is not None
    return follow(deployment, link, urlencode({"confirmation": html.unescape(found[1])}).encode(), FORM)


def happened(deployment: Deployment, order: str) -> list[dict[str, Any]]:
    """Everything that happened to an order."""
    entries = deployment.call("GET", f"/instances/orderid::{order}/history").json()["items"]
    return [event for entry in entries for event in entry["events"]]


def test_opening_a_link_decides_nothing_and_its_button_decides_once(deployment: Deployment) -> None:
    order, links = asked(deployment)
    before = happened(deployment, order)
    for _ in range(3):
        page = follow(deployment, links["approved"])
        assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert page.headers["cache-control"] == "no-store"
        assert page.headers["referrer-policy"] == "no-referrer"
        assert page.headers["x-robots-tag"] == "noindex, nofollow"
        assert "default-src 'none'" in page.headers["content-security-policy"]
    assert happened(deployment, order) == before, "mail scanners follow links"
    done = press(deployment, links["approved"])
    assert (done.status, b"Recorded: approved" in done.body) == (200, True), done.body
    ended = wait_for(deployment, order, "completed")
    assert ended["steps"]["approval"]["event"] == "approved"
    assert ended["steps"]["approval"]["results"] == {"by": "boss@example.com"}
    received = [event for event in happened(deployment, order) if event["type"] == "EventReceived"]
    assert [re.sub("[0-9a-f]{20}$", "<id>", event["by"]) for event in received] == ["callback <id>"]


def test_a_link_that_was_used_says_so_and_the_other_one_that_it_is_too_late(deployment: Deployment) -> None:
    order, links = asked(deployment)
    assert press(deployment, links["rejected"]).status == 200
    assert wait_for(deployment, order, "completed")["steps"]["refund"]["status"] == "completed"
    again = follow(deployment, links["rejected"])
    assert (again.status, b"Link already used" in again.body) == (409, True)
    other = follow(deployment, links["approved"])
    assert (other.status, b"Already decided" in other.body) == (409, True)
    told = follow(deployment, links["rejected"], b"{}", JSON)
    assert (told.status, told.json()["type"]) == (409, "/problems/link-used")
    assert told.headers["content-type"] == "application/problem+json"


def test_a_program_answers_with_json_and_is_told_in_json(deployment: Deployment) -> None:
    order, links = asked(deployment)
    shown = follow(deployment, links["approved"], headers={"Accept": "application/json"})
    assert (shown.status, shown.json()["event"], shown.json()["workflow"]) == (200, "approved", "OrderFlow")
    taken = follow(deployment, links["approved"], b"", JSON)
    assert (taken.status, taken.json()["id"]) == (202, f"orderid::{order}"), taken.body
    assert wait_for(deployment, order, "completed")["steps"]["ship"]["status"] == "completed"


def test_nothing_but_the_pages_own_form_is_taken_from_a_person(deployment: Deployment) -> None:
    """Neither an empty form nor one that another site sends."""
    order, links = asked(deployment)
    for headers in (FORM, {**FORM, "Sec-Fetch-Site": "cross-site"}):
        refused = follow(deployment, links["approved"], b"confirmation=1.x", headers)
        assert (refused.status, b"Not confirmed" in refused.body) == (403, True)
    assert show(deployment, order)["status"] == "waiting"


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_altered_link_opens_nothing(deployment: Deployment, method: str) -> None:
    _, links = asked(deployment)
    link = links["approved"][:-2] + ("AA" if links["approved"][-2:] != "AA" else "BB")
    answer = follow(deployment, link, None if method == "GET" else b"{}", JSON)
    assert (answer.status, answer.json()["type"]) == (403, "/problems/link-altered")
    assert link.rsplit("/", 1)[-1] not in answer.body.decode()


def test_what_is_beside_a_link_still_asks_for_a_signature(deployment: Deployment) -> None:
    """The open route is one path deep, and only two methods of it are there."""
    order, links = asked(deployment)
    path = links["approved"].removeprefix(deployment.url)
    for method, beside in (("PUT", path), ("DELETE", path), ("GET", f"{path}/more"), ("GET", "/callbacks")):
        assert deployment.call(method, beside, signed=False).status == 403
    for method, beside in (("GET", f"/instances/orderid::{order}"), ("POST", f"/instances/orderid::{order}/events")):
        assert deployment.call(method, beside, signed=False).status == 403
