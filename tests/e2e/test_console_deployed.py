"""The console of a deployed stack, in a real browser, with the credentials of somebody who may do no more than that."""

from __future__ import annotations

import re
import socket
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import botocore.session
import pytest
from playwright.sync_api import expect

from hephaestus.adapters.session import Account
from hephaestus.console.remote import DeployedConnection
from hephaestus.operations import connect
from tests.browser import PATIENCE, chromium
from tests.e2e import orders
from tests.e2e.deployment import user
from tests.unit.consoles import serving
from tools.emulator import REGION, STACK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

    from tests.e2e.deployment import Deployment

OPERATOR: Final = "console-operator"


class Wire:
    """Carries connections to the emulator until it is cut, as if the emulator had stopped."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._cut = False
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Carry nothing more."""
        self._cut = True
        for end in self._open:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def fix(self) -> None:
        """Carry again."""
        self._cut = False

    def close(self) -> None:
        """Cut it for good."""
        self.cut()
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                if self._cut:
                    near.close()
                    continue
                far = socket.create_connection(("127.0.0.1", self._to))
                self._open += [near, far]
                for source, target in ((near, far), (far, near)):
                    threading.Thread(target=_pump, args=(source, target), daemon=True).start()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError), source, target:
        while data := source.recv(65_536):
            target.sendall(data)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def wire(deployment: Deployment) -> Iterator[Wire]:
    wire = Wire(urlsplit(deployment.emulator.endpoint).port or 0)
    yield wire
    wire.close()


@pytest.fixture(scope="module")
def connection(deployment: Deployment, wire: Wire) -> DeployedConnection:
    """What the README says that a person needs, and nothing more."""
    table = f"arn:aws:dynamodb:{REGION}:*:table/{deployment.table}"
    functions = [deployment.outputs[f"{name}FunctionName"] for name in ("Read", "Resume", "Control")]
    keys = user(
        deployment.emulator,
        OPERATOR,
        {"Effect": "Allow", "Action": "cloudformation:DescribeStacks", "Resource": "*"},
        {
            "Effect": "Allow",
            "Action": ["dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:Query"],
            "Resource": [table, f"{table}/index/*"],
        },
        {
            "Effect": "Allow",
            "Action": "lambda:InvokeFunction",
            "Resource": [f"arn:aws:lambda:{REGION}:*:function:{name}" for name in functions],
        },
    )
    session = botocore.session.Session()
    session.set_credentials(keys.access_key, keys.secret_key)
    return DeployedConnection(connect(STACK, account=Account(session, REGION, wire.url)))


@contextmanager
def opened(browser: Browser, connection: DeployedConnection) -> Iterator[Page]:
    with serving(connection) as console:
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(console.server.url)
        yield page
        context.close()


@pytest.fixture
def page(browser: Browser, connection: DeployedConnection) -> Iterator[Page]:
    with opened(browser, connection) as page:
        yield page


def show(page: Page, order: str) -> None:
    page.get_by_role("searchbox", name="Search by id").fill(order)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=f"orderid::{order}", level=1)).to_be_visible()


def press(page: Page, action: str, answer: str, **fields: Any) -> None:
    page.get_by_role("group", name="Actions").get_by_role("button", name=action, exact=True).click()
    dialog = page.get_by_role("dialog")
    for label, value in fields.items():
        dialog.get_by_label(label).fill(value)
    dialog.get_by_role("button", name=answer, exact=True).click()
    expect(dialog).to_have_count(0)


def test_an_order_is_found_watched_and_approved_and_history_names_the_callers_identity(
    page: Page, deployment: Deployment
) -> None:
    order = orders.start(deployment, tags=["console"])
    expect(page.locator(".place")).to_contain_text(f"stack {STACK} · {REGION}")
    page.get_by_label("Tag", exact=True).fill("console")
    page.keyboard.press("Enter")
    link = page.get_by_role("link", name=f"orderid::{order}", exact=True)
    expect(link).to_be_visible()
    expect(page.get_by_role("button", name=re.compile(r"^OrderFlow, waiting \d+"))).to_be_visible()
    link.click()
    expect(page.locator('[data-step="approval"]')).to_have_attribute(
        "aria-label", re.compile("^approval due in 2[34] h, waiting")
    )
    press(page, "approved", "Send approved", Payload='{"note": "from the console"}')
    expect(page.locator(".facts .status")).to_have_text("completed")
    expect(page.locator('[data-step="refund"]')).to_have_attribute("aria-label", "refund skipped")
    by = rf"approved received for approval, by arn:aws:iam::\d+:user.{OPERATOR}"
    expect(page.get_by_role("button", name=re.compile(by))).to_be_visible()
    assert orders.show(deployment, order)["steps"]["approval"]["results"] == {"note": "from the console"}


def test_an_order_is_paused_cancelled_with_compensation_redriven_and_forked(page: Page, deployment: Deployment) -> None:
    order = orders.start(deployment)
    show(page, order)
    press(page, "Pause", "Pause", Reason="a look at it")
    expect(page.locator(".notice")).to_contain_text(": a look at it; nothing starts until it is unpaused")
    press(page, "Unpause", "Unpause")
    expect(page.locator(".notice")).to_have_count(0)
    page.get_by_role("button", name="Cancel", exact=True).click()
    page.get_by_label("first undo").check()
    page.get_by_role("dialog").get_by_role("button", name="Cancel", exact=True).click()
    expect(page.locator(".facts .status")).to_have_text("cancelled")
    expect(page.locator('[data-step="charge_payment"]')).to_have_attribute("aria-label", "charge_payment compensated")
    press(page, "Redrive", "Redrive")
    expect(page.locator(".facts .status")).to_have_text("waiting")
    forked = orders.fresh()
    press(page, "Fork", "Fork", **{"Id of the new instance": forked})
    expect(page.get_by_role("heading", name=f"orderid::{forked}")).to_be_visible()
    types = {
        event["type"]: event.get("by", "")
        for entry in deployment.call("GET", f"/instances/orderid::{order}/history").json()["items"]
        for event in entry["events"]
    }
    for action in ("Paused", "Unpaused", "CancelRequested", "Redriven"):
        assert types[action].endswith(f":user/{OPERATOR}"), action


def test_an_emulator_that_stops_is_said_and_the_page_recovers_by_itself(
    page: Page, deployment: Deployment, wire: Wire
) -> None:
    order = orders.start(deployment)
    show(page, order)
    expect(page.locator('[data-step="approval"]')).to_be_visible()
    wire.cut()
    expect(page.get_by_role("alert")).to_contain_text("AWS does not answer")
    expect(page.locator('[data-step="approval"]')).to_be_visible()
    press_refused(page)
    wire.fix()
    expect(page.get_by_role("alert")).to_have_count(0)
    press(page, "rejected", "Send rejected")
    expect(page.locator(".facts .status")).to_have_text("completed")


def press_refused(page: Page) -> None:
    """An action that cannot be sent is told in its dialog, and can be given up."""
    page.get_by_role("button", name="Pause", exact=True).click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Pause", exact=True).click()
    expect(dialog.get_by_role("alert")).to_contain_text("AWS does not answer")
    page.get_by_role("button", name="Not now").click()


def test_an_instance_of_a_newer_release_is_not_half_read_and_the_rest_is_shown(
    page: Page, deployment: Deployment
) -> None:
    order = orders.start(deployment, tags=["newer"])
    key = {"pk": {"S": f"orderid::{order}"}, "sk": {"S": "head"}}
    dynamodb = deployment.client("dynamodb")
    head = dynamodb.get_item(TableName=deployment.table, Key=key)["Item"]
    dynamodb.put_item(TableName=deployment.table, Item={**head, "format": {"N": "99"}})
    try:
        page.evaluate("hash => { location.hash = hash }", "#/?tag=newer")
        page.get_by_role("link", name=f"orderid::{order}").click()
        expect(page.get_by_role("alert")).to_contain_text("newer release")
        page.evaluate("location.hash = '#/'")
        expect(page.get_by_role("link", name=f"orderid::{order}")).to_be_visible()
    finally:
        dynamodb.put_item(TableName=deployment.table, Item=head)


def test_who_may_not_read_is_told_what_aws_says(browser: Browser, deployment: Deployment) -> None:
    session = botocore.session.Session()
    session.set_credentials("test", "test")
    found = connect(STACK, account=Account(session, REGION, deployment.emulator.endpoint))
    stranger = botocore.session.Session()
    stranger.set_credentials(deployment.stranger.access_key, deployment.stranger.secret_key)
    table = connect(table=deployment.table, account=Account(stranger, REGION, deployment.emulator.endpoint))
    denied = DeployedConnection(type(found)(table.account, table.runner, found.api, found.stack))
    with opened(browser, denied) as page:
        expect(page.get_by_role("main").get_by_role("alert")).to_contain_text("AWS does not allow it")
