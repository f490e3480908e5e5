"""The console's page in a real browser, over workflows in memory. ``test_console_deployed`` has the deployed stack."""

from __future__ import annotations

import re
import threading
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Final

import pytest
from playwright.sync_api import expect

from hephaestus import DONE, Concurrency, Pending, RateLimit, Retry, Rounds, Schedule, StepContext, Workflow
from hephaestus import step as as_step
from hephaestus.adapters.memory import MemoryStore
from hephaestus.console.demo import Order, in_memory
from hephaestus.console.embedded import LocalConnection
from hephaestus.console.handover import Handover
from hephaestus.console.server import ConsoleServer
from hephaestus.embedded import Embedded
from hephaestus.runtime.clock import SystemClock
from hephaestus.runtime.registry import Registry
from hephaestus.steps import Map, Repeat, WaitForEvent
from hephaestus.testing import LocalRuntime
from tests.browser import PATIENCE, chromium
from tests.npm import npm_packages
from tests.unit.consoles import BY, Many, Parcel, parcels, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Locator, Page, ViewportSize

    from hephaestus.runtime.commands import Command


HOSTILE = (
    "<img src=x onerror=\"window.hit='img'\"><script>window.hit='script'</script>\u202e\"'`${7*7} {{7*7}} \U0001f525"
)
DESKTOP: Final[ViewportSize] = {"width": 1280, "height": 900}
PHONE: Final[ViewportSize] = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@contextmanager
def opened(browser: Browser, server: ConsoleServer, **options: Any) -> Iterator[Page]:
    """The console's first page; whatever the browser refuses or a script raises is a failure."""
    context = browser.new_context(**{"viewport": DESKTOP, "reduced_motion": "reduce", **options})
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on(
        "console", lambda message: wrong.append(message.text) if "Content Security Policy" in message.text else None
    )
    page.on("dialog", lambda dialog: wrong.append(f"a dialog: {dialog.message}"))
    page.goto(server.url)
    try:
        yield page
    finally:
        context.close()
    assert not wrong


@pytest.fixture
def memory() -> Iterator[Embedded]:
    """Parcels that run by themselves, in real time."""
    with Embedded(MemoryStore(), Registry([Parcel])) as memory:
        yield memory


@pytest.fixture
def page(browser: Browser, memory: Embedded) -> Iterator[Page]:
    with serving(LocalConnection(memory.runner, "a test", BY)) as console, opened(browser, console.server) as page:
        yield page


def row(page: Page, instance_id: str) -> Locator:
    return page.get_by_role("row").filter(has=page.get_by_role("link", name=instance_id, exact=True))


def show(page: Page, instance_id: str) -> None:
    page.evaluate("id => { location.hash = `#/instances/${encodeURIComponent(id)}` }", instance_id)
    expect(page.get_by_role("heading", name=instance_id, level=1)).to_be_visible()


def press(page: Page, action: str, answer: str) -> None:
    """Press an action's button, and answer what it asks."""
    page.get_by_role("group", name="Actions").get_by_role("button", name=action, exact=True).click()
    expect(page.get_by_role("dialog")).to_contain_text(f"History will name {BY}")
    page.get_by_role("dialog").get_by_role("button", name=answer, exact=True).click()
    expect(page.get_by_role("dialog")).to_have_count(0)


def step(page: Page, key: str) -> Locator:
    return page.locator(f'[data-step="{key}"]')


def test_the_file_that_a_browser_is_started_with_opens_the_console(browser: Browser, memory: Embedded) -> None:
    """From the file to the page, without a trace of the address; a reload stays in, and the file opens nothing more."""
    memory.runner.start_instance(Parcel, {}, id="1")
    with serving(LocalConnection(memory.runner, "a test", BY)) as console:
        server = console.server
        said: list[str] = []
        server.warn = said.append
        context = browser.new_context()
        with context, Handover(server.url_for_once()) as file:
            page = context.new_page()
            page.goto(file.uri)
            expect(row(page, "parcel::1")).to_be_visible()
            assert page.url.startswith(f"http://127.0.0.1:{server.server_port}/")
            assert "token" not in page.url
            assert "key" not in page.url
            page.reload()
            expect(row(page, "parcel::1")).to_be_visible()
            assert not said
            other = browser.new_context().new_page()
            other.goto(file.uri)
            expect(other.get_by_text("has been opened before")).to_be_visible()
            other.context.close()
    assert len(said) == 1


def test_the_list_and_its_counts_follow_what_happens_without_a_reload(page: Page, memory: Embedded) -> None:
    expect(page.get_by_text("There is no instance yet")).to_be_visible()
    memory.runner.start_instance(Parcel, {}, id="1")
    expect(row(page, "parcel::1")).to_contain_text("waiting")
    expect(page.get_by_role("button", name="Parcel, waiting 1")).to_be_visible()
    memory.runner.resume("parcel::1", "no")
    expect(row(page, "parcel::1")).to_contain_text("completed")
    expect(page.get_by_role("button", name="Parcel, completed 1")).to_be_visible()


def test_the_list_is_narrowed_down_and_the_address_keeps_it(page: Page, memory: Embedded) -> None:
    for number in range(3):
        memory.runner.start_instance(Parcel, {"bad": number == 0}, id=str(number), tags=["red"] if number == 1 else [])
    expect(row(page, "parcel::0")).to_contain_text("completed")
    page.get_by_role("combobox", name="Status").select_option("waiting")
    expect(row(page, "parcel::0")).to_have_count(0)
    expect(row(page, "parcel::2")).to_be_visible()
    page.get_by_label("Tag", exact=True).fill("red")
    page.keyboard.press("Enter")
    expect(row(page, "parcel::2")).to_have_count(0)
    page.get_by_role("combobox", name="Started").select_option("1h")
    expect(row(page, "parcel::1")).to_be_visible()
    assert page.url.endswith("#/?status=waiting&tag=red&since=1h")
    page.reload()
    expect(row(page, "parcel::1")).to_be_visible()
    expect(page.get_by_label("Tag", exact=True)).to_have_value("red")
    page.get_by_role("button", name="clear").click()
    expect(row(page, "parcel::0")).to_be_visible()
    page.get_by_role("combobox", name="Workflow").select_option("Parcel")
    expect(row(page, "parcel::0")).to_be_visible()


def test_several_statuses_are_listed_together(page: Page, memory: Embedded) -> None:
    for number in range(3):
        memory.runner.start_instance(Parcel, {}, id=str(number))
        expect(row(page, f"parcel::{number}")).to_contain_text("waiting")
    memory.runner.cancel("parcel::0")
    memory.runner.resume("parcel::1", "no")
    page.get_by_role("combobox", name="Status").select_option("failed or cancelled")
    expect(row(page, "parcel::0")).to_be_visible()
    expect(row(page, "parcel::2")).to_have_count(0)
    page.evaluate("location.hash = '#/?status=waiting,completed'")
    expect(row(page, "parcel::1")).to_be_visible()
    expect(row(page, "parcel::2")).to_be_visible()
    expect(row(page, "parcel::0")).to_have_count(0)
    expect(page.get_by_role("combobox", name="Status")).to_have_value("waiting,completed")


def test_a_redrive_and_a_cancellation_say_what_they_do_before_they_do_it(page: Page, memory: Embedded) -> None:
    memory.runner.start_instance(Parcel, {"address": "wrong"}, id="1")
    show(page, "parcel::1")
    expect(step(page, "decision")).to_have_attribute("aria-label", "decision waiting")
    actions = page.get_by_role("group", name="Actions")
    actions.get_by_role("button", name="Cancel", exact=True).click()
    page.get_by_role("dialog").get_by_role("checkbox").check()
    expect(page.get_by_role("dialog")).to_contain_text("Undone in this order, as things stand: wrap")
    page.get_by_role("dialog").get_by_role("button", name="Not now").click()
    memory.runner.resume("parcel::1", "yes")
    actions.get_by_role("button", name="Redrive", exact=True).click()
    plan = page.get_by_role("list", name="What the redrive does")
    expect(plan).to_contain_text("Run again: wrap, deliver")
    expect(plan).to_contain_text("Wait again, also for what came before: decision")
    expect(plan).to_contain_text("Keep their results: look")


def test_what_leaves_a_filter_leaves_the_list(page: Page, memory: Embedded) -> None:
    memory.runner.start_instance(Parcel, {}, id="1")
    page.get_by_role("combobox", name="Status").select_option("waiting")
    expect(row(page, "parcel::1")).to_be_visible()
    memory.runner.resume("parcel::1", "no")
    expect(page.get_by_text("No instance is like that.")).to_be_visible()


def test_the_graph_shows_the_state_of_every_step_as_it_changes(page: Page, memory: Embedded) -> None:
    memory.runner.start_instance(Parcel, {"address": "wrong", "echo": "here"}, id="1")
    show(page, "parcel::1")
    expect(step(page, "decision")).to_have_attribute("aria-label", "decision waiting")
    expect(step(page, "look")).to_have_attribute("aria-label", "look good")
    expect(step(page, "deliver")).to_have_attribute("aria-label", "deliver not yet")
    memory.runner.resume("parcel::1", "yes")
    expect(step(page, "deliver")).to_have_attribute("aria-label", "deliver failed")
    expect(step(page, "drop")).to_have_attribute("aria-label", "drop skipped")
    expect(step(page, "wrap")).to_have_attribute("aria-label", "wrap compensated")
    expect(page.locator(".line.taken")).to_have_count(3)
    expect(page.get_by_role("group", name="Why it failed")).to_contain_text("no such address: here")
    step(page, "deliver").click()
    detail = page.get_by_role("complementary", name="Step deliver")
    expect(detail).to_contain_text("ValueError")
    expect(detail).to_contain_text("no such address: here")


def test_a_wait_says_until_when(browser: Browser) -> None:
    local = LocalRuntime(Order)
    local.clock.move_to(SystemClock().now())
    local.start(Order, "1", {"items": [{"price": 1}]})
    with serving(LocalConnection(local.runner)) as console, opened(browser, console.server) as page:
        show(page, "orderid::1")
        expect(step(page, "approval")).to_have_attribute(
            "aria-label", re.compile(r"^approval due in 4[78] h, waiting, due in 4[78] h$")
        )
        step(page, "approval").click()
        expect(page.get_by_role("complementary", name="Step approval")).to_contain_text("waits until")
        why = page.get_by_role("region", name="Why it does not go on")
        expect(why).to_have_text(re.compile(r"^approval waits for `approved` or `rejected` .*until its timeout at "))


def test_resume_offers_exactly_the_events_it_waits_for_and_sends_the_payload(page: Page, memory: Embedded) -> None:
    memory.runner.start_instance(Parcel, {}, id="1")
    show(page, "parcel::1")
    events = page.get_by_role("group", name="Events for decision").get_by_role("button")
    expect(events).to_have_text(["yes", "no"])
    events.filter(has_text="yes").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Payload").fill('{"note": ')
    dialog.get_by_role("button", name="Send yes").click()
    expect(dialog.get_by_role("alert")).to_contain_text("The payload is not JSON")
    assert memory.runner.get("parcel::1").status == "waiting"
    dialog.get_by_label("Payload").fill('{"note": "careful"}')
    dialog.get_by_role("button", name="Send yes").click()
    expect(page.locator(".facts .status")).to_have_text("completed")
    assert memory.runner.get("parcel::1").steps["decision"].results == {"note": "careful"}
    expect(page.get_by_role("button", name=f"yes received for decision, by {BY}")).to_be_visible()


def test_nothing_is_done_before_it_was_asked_and_a_no_is_a_no(page: Page, memory: Embedded) -> None:
    memory.runner.start_instance(Parcel, {}, id="1")
    show(page, "parcel::1")
    for action in ("yes", "Pause", "Cancel", "Fork"):
        page.get_by_role("group", name="Actions").get_by_role("button", name=action, exact=True).click()
        page.get_by_role("button", name="Not now").click()
        expect(page.get_by_role("dialog")).to_have_count(0)
    page.get_by_role("button", name="Cancel").click()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.get_by_role("heading", name="parcel::1")).to_be_visible()
    events = [event["type"] for entry in memory.runner.history("parcel::1") for event in entry.events]
    assert not {"EventReceived", "Paused", "CancelRequested"} & set(events)


def test_pause_continue_cancel_with_compensation_redrive_and_fork(page: Page, memory: Embedded) -> None:
    runner = memory.runner
    runner.start_instance(Parcel, {"address": "wrong"}, id="1")
    show(page, "parcel::1")
    press(page, "Pause", "Pause")
    expect(page.locator(".facts")).to_contain_text("paused")
    press(page, "Unpause", "Unpause")
    expect(page.locator(".facts")).not_to_contain_text("paused")
    runner.resume("parcel::1", "yes")
    expect(page.locator(".facts .status")).to_have_text("failed")
    press(page, "Redrive", "Redrive")
    expect(page.get_by_role("button", name=f"redriven, by {BY}")).to_be_visible()
    page.get_by_role("button", name="look completed: good").first.click()
    page.get_by_role("button", name="Fork after this entry…").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Id of the new instance").fill("2")
    dialog.get_by_label("Other start data").fill('{"address": "right"}')
    dialog.get_by_role("button", name="Fork", exact=True).click()
    expect(page.get_by_role("heading", name="parcel::2")).to_be_visible()
    expect(page.locator(".facts")).to_contain_text("forked from")
    expect(page.locator(".facts .status")).to_have_text("waiting")
    page.get_by_role("button", name="Cancel", exact=True).click()
    dialog.get_by_label("Reason").fill("changed my mind")
    dialog.get_by_label("first undo").check()
    dialog.get_by_role("button", name="Cancel", exact=True).click()
    expect(page.locator(".facts .status")).to_have_text("cancelled")
    expect(step(page, "wrap")).to_have_attribute("aria-label", "wrap compensated")
    assert runner.get("parcel::2").context == {"address": "right"}


def test_a_refused_action_says_why_and_can_be_mended(page: Page, memory: Embedded) -> None:
    memory.runner.start_instance(Parcel, {}, id="1")
    show(page, "parcel::1")
    page.get_by_role("button", name="Fork", exact=True).click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Id of the new instance").fill("not good")
    dialog.get_by_role("button", name="Fork", exact=True).click()
    expect(dialog.get_by_role("alert")).to_contain_text("it must be 1 to 128 letters, digits")
    dialog.get_by_label("Id of the new instance").fill("good")
    dialog.get_by_role("button", name="Fork", exact=True).click()
    expect(page.get_by_role("heading", name="parcel::good")).to_be_visible()


def test_nothing_of_data_is_ever_executed_or_made_markup(page: Page, memory: Embedded) -> None:
    data = {"echo": HOSTILE, "address": "wrong", HOSTILE: [HOSTILE, {HOSTILE: HOSTILE}], "__proto__": {"x": HOSTILE}}
    memory.runner.start_instance(
        Parcel, data, id="1", tags=["<b>tag</b>"], telemetry_metadata={"<i>name</i>": HOSTILE[:100]}
    )
    expect(row(page, "parcel::1")).to_contain_text("<b>tag</b>")
    memory.runner.pause("parcel::1", HOSTILE, by="<b>ann</b>")
    show(page, "parcel::1")
    expect(page.locator(".notice")).to_contain_text(HOSTILE)
    press(page, "Unpause", "Unpause")
    page.get_by_role("button", name="yes", exact=True).click()
    page.get_by_label("Payload").fill(f'{{"__proto__": {{"polluted": 1}}, "x": "{"<svg onload=alert(1)>"}"}}')
    page.get_by_role("button", name="Send yes").click()
    expect(page.get_by_role("group", name="Why it failed")).to_contain_text(HOSTILE)
    for key in ("look", "decision", "deliver"):
        step(page, key).click()
        expect(page.get_by_role("complementary", name=f"Step {key}")).to_be_visible()
    page.get_by_label("bookkeeping").check()
    lines = page.get_by_role("table", name="History").locator("[data-line]")
    for index in range(lines.count()):
        lines.nth(index).click()
    assert page.evaluate("[window.hit, ({}).polluted]") == [None, None]
    assert page.locator("img:not([src='/icon.svg']), script:not([src='/app.js']), iframe, object, embed").count() == 0
    assert page.locator("main b, main i, main svg[onload]").count() == 0
    assert page.title().startswith("parcel::1")


def test_the_browser_itself_refuses_to_make_markup_of_text(page: Page) -> None:
    refused = page.evaluate(
        "() => { try { document.body.innerHTML = '<b>x</b>'; return '' } catch (e) { return e.name } }"
    )
    assert refused == "TypeError"


def test_thousands_of_instances_are_a_few_rows_for_the_browser(browser: Browser) -> None:
    local, connection = parcels()
    for number in range(3_000):
        local.runner.start_instance(Parcel, {}, id=f"{number:04}")
        local.clock.sleep(1)
    with serving(connection) as console, opened(browser, console.server) as page:
        expect(row(page, "parcel::2999")).to_be_visible()
        expect(page.get_by_role("button", name="Parcel, pending 1000+")).to_be_visible()
        box = page.get_by_role("rowgroup", name="Instances")
        while "instances read" in page.locator(".more").inner_text():
            box.evaluate("box => box.scrollTo(0, box.scrollHeight)")
            page.wait_for_timeout(30)
        expect(page.locator(".more")).to_have_text("3000 instances")
        box.evaluate("box => box.scrollTo(0, box.scrollHeight)")
        expect(row(page, "parcel::0000")).to_be_visible()
        assert page.get_by_role("row").count() < 80
        ids = page.locator(".row .id a").all_inner_texts()
        assert ids == sorted(ids, reverse=True)
        local.runner.cancel("parcel::0003")
        expect(row(page, "parcel::0003")).to_contain_text("cancelled")


def test_a_history_of_five_thousand_entries_is_read_to_its_end(browser: Browser) -> None:
    local, connection = parcels()
    local.start(Parcel, "1")
    before = len(local.runner.history("parcel::1"))
    for number in range(2_500):
        local.runner.pause("parcel::1", f"pause {number}")
        local.runner.unpause("parcel::1", dispatch=None)
    with serving(connection) as console, opened(browser, console.server) as page:
        show(page, "parcel::1")
        expect(page.get_by_text(re.compile(rf"^{before + 5_000} entries$"))).to_be_visible()
        assert page.get_by_role("table", name="History").get_by_role("row").count() < 60
        page.get_by_role("table", name="History").get_by_role("button").first.focus()
        page.keyboard.press("End")
        expect(page.get_by_role("complementary", name="Entry")).to_contain_text(f"Entry {before + 5_000},")
        local.runner.pause("parcel::1", "one more")
        expect(page.get_by_text(f"{before + 5_001} entries")).to_be_visible()


def test_ten_thousand_items_scroll_and_what_failed_is_found_at_once(browser: Browser) -> None:
    """Rule C.10: a page of items is read as it is seen, wherever that is; three failures are read by themselves."""
    local = LocalRuntime(Many)
    local.start(Many, "1", {})
    with serving(LocalConnection(local.runner, "a test", BY)) as console, opened(browser, console.server) as page:
        show(page, "many::1")
        page.get_by_role("button", name=re.compile("^measure")).first.click()
        items, box = page.get_by_role("table", name="Items"), page.get_by_role("rowgroup", name="Items of the map")
        expect(items.get_by_role("row").first).to_contain_text("0")
        assert items.get_by_role("row").count() < 60
        for place in (5_000, 9_990, 20):
            box.evaluate("(box, place) => box.scrollTo(0, place * 34)", place)
            row = items.locator(f'[aria-rowindex="{place + 1}"]')
            expect(row).to_contain_text(f"{place}")
            expect(row).to_contain_text("completed")
        page.get_by_role("combobox", name="items").select_option("failed")
        expect(items.get_by_role("row")).to_have_count(3)
        expect(items).to_contain_text("ValueError: no 9998")


def test_three_hundred_kilobytes_are_shown_when_they_are_asked_for(page: Page, memory: Embedded) -> None:
    large = "0123456789abcdef" * 20_000
    memory.runner.start_instance(Parcel, {"echo": large}, id="1")
    show(page, "parcel::1")
    expect(page.locator(".large")).to_contain_text("start data: 320 KB")
    page.get_by_role("button", name="Load start data").click()
    expect(page.locator(".data pre").first).to_contain_text("0123456789abcdef0123")
    page.get_by_role("button", name="show all of it (320 KB)").click()
    assert large in page.locator(".data pre").first.inner_text()
    page.get_by_role("button", name="started Parcel v1").click()
    entry = page.get_by_role("complementary", name="Entry")
    entry.get_by_role("button", name="Load initial").click()
    expect(entry.locator("pre")).to_contain_text("0123456789abcdef")


def test_a_server_that_stops_is_said_and_the_page_recovers_by_itself(browser: Browser, memory: Embedded) -> None:
    connection = LocalConnection(memory.runner, "a test", BY)
    memory.runner.start_instance(Parcel, {}, id="1")
    with ConsoleServer(connection, 0) as server:
        port, token = server.server_port, server.guard.token
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        context = browser.new_context(viewport=DESKTOP)
        page = context.new_page()
        page.goto(server.url)
        show(page, "parcel::1")
        server.shutdown()
        thread.join()
    # Connections that the browser keeps are served by threads of their own.
    context.set_offline(True)
    expect(page.get_by_role("alert")).to_contain_text("The console's server does not answer")
    expect(page.get_by_role("heading", name="parcel::1")).to_be_visible()
    context.set_offline(False)
    memory.runner.resume("parcel::1", "no")
    with ConsoleServer(connection, port, token) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        expect(page.locator(".facts .status")).to_have_text("completed")
        expect(page.get_by_role("alert")).to_have_count(0)
        context.close()
        server.shutdown()
        thread.join()


def test_a_browser_that_was_not_let_in_is_told_what_to_do(browser: Browser, memory: Embedded) -> None:
    with serving(LocalConnection(memory.runner)) as console:
        context = browser.new_context()
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{console.server.server_port}/")
        expect(page.locator("body")).to_contain_text("Open the address that `hephaestus console` printed")
        page.goto(console.server.url)
        expect(page.get_by_text("There is no instance yet")).to_be_visible()
        assert "key" not in page.url
        assert "token" not in page.url
        assert page.evaluate("document.cookie") == ""
        page.evaluate("localStorage.removeItem('hephaestus-key')")
        page.reload()
        expect(page.get_by_role("alert")).to_contain_text("it lets this page in")
        context.close()


def test_another_page_on_this_machine_reads_and_changes_nothing(browser: Browser, memory: Embedded) -> None:
    memory.runner.start_instance(Parcel, {}, id="1")
    connection = LocalConnection(memory.runner, "a test", BY)
    with serving(connection) as console, serving(connection) as other:
        context = browser.new_context(bypass_csp=True)
        page = context.new_page()
        page.goto(console.server.url)
        expect(row(page, "parcel::1")).to_be_visible()
        # Same machine, same host, another port: the browser sends it the cookie, and it knows the console's address.
        page.goto(other.server.url)
        expect(row(page, "parcel::1")).to_be_visible()
        target = f"http://127.0.0.1:{console.server.server_port}"
        outcomes = page.evaluate(
            """async (target) => {
                const outcome = async (path, init) => {
                    try { const answer = await fetch(target + path, init); return answer.type + answer.status }
                    catch (error) { return error.name }
                };
                const path = '/api/instances/parcel::1/cancel';
                return [
                    await outcome('/api/instances', { credentials: 'include' }),
                    await outcome(path, { method: 'POST', credentials: 'include', body: '{}' }),
                    await outcome(path, { method: 'POST', credentials: 'include', mode: 'no-cors', body: '{}' }),
                    await outcome(path, { method: 'POST', credentials: 'include', body: '{}', headers: {
                        'Content-Type': 'application/json', 'X-Hephaestus-Key': localStorage['hephaestus-key'] } }),
                ];
            }""",
            target,
        )
        assert outcomes[0] == outcomes[1] == outcomes[3] == "TypeError"
        assert outcomes[2] in {"TypeError", "opaque0"}
        assert memory.runner.get("parcel::1").status == "waiting"
        context.close()


def test_everything_can_be_done_with_the_keyboard(page: Page, memory: Embedded) -> None:
    for number in range(3):
        memory.runner.start_instance(Parcel, {}, id=str(number))
    expect(row(page, "parcel::2")).to_contain_text("waiting")
    page.keyboard.press("j")
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("link", name="parcel::1", exact=True)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="parcel::1")).to_be_visible()
    step(page, "look").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("complementary", name="Step look")).to_contain_text("good")
    page.get_by_role("button", name="no", exact=True).focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog").get_by_label("Payload")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator(".facts .status")).to_have_text("completed")
    page.keyboard.press("Escape")
    expect(row(page, "parcel::1")).to_contain_text("completed")
    page.keyboard.press("/")
    page.keyboard.type("0")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="parcel::0")).to_be_visible()
    page.keyboard.press("/")
    page.keyboard.type("nothing")
    page.keyboard.press("Enter")
    expect(page.get_by_role("search")).to_contain_text("There is no instance nothing.")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()


def test_a_key_pressed_before_the_focus_of_the_last_one_came_is_not_undone_by_it(page: Page, memory: Embedded) -> None:
    for number in range(4):
        memory.runner.start_instance(Parcel, {}, id=str(number))
    expect(row(page, "parcel::3")).to_contain_text("waiting")
    # A browser that is busy draws late: the second key is pressed in the frame in which the first one's focus comes.
    page.evaluate("""() => {
        const press = (key) => document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
        const drawn = requestAnimationFrame;
        let pressed = false;
        window.requestAnimationFrame = (callback) => drawn((at) => {
            if (!pressed && String(callback).includes("data-row")) { pressed = true; press("ArrowDown"); }
            callback(at);
        });
        press("j");
    }""")
    expect(page.get_by_role("link", name="parcel::2", exact=True)).to_be_focused()
    memory.runner.start_instance(Parcel, {}, id="new")
    expect(row(page, "parcel::new")).to_contain_text("waiting")
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("link", name="parcel::1", exact=True)).to_be_focused()


def test_the_timeline_and_history_tell_what_ran_when(page: Page, memory: Embedded) -> None:
    memory.runner.start_instance(Parcel, {"address": "wrong"}, id="1")
    memory.runner.resume("parcel::1", "yes", {"a": 1}, by="ann")
    show(page, "parcel::1")
    timeline = page.get_by_role("region", name="Timeline")
    expect(timeline.get_by_role("img", name=re.compile(r"^look ran .*: good$"))).to_be_visible()
    expect(timeline.get_by_role("img", name=re.compile(r"^deliver ran .*: no such address"))).to_be_visible()
    expect(timeline.get_by_role("img", name=re.compile(r"^wrap was undone "))).to_be_visible()
    timeline.get_by_label("true to scale").check()
    expect(timeline.get_by_role("img", name=re.compile(r"^look ran "))).to_be_visible()
    page.get_by_role("button", name="yes received for decision, by ann").click()
    expect(page.get_by_role("complementary", name="Entry")).to_contain_text('"a": 1')


@as_step(retry=Retry(max_attempts=1))
def resize(ctx: StepContext) -> dict[str, int]:
    """Fail for three of a hundred."""
    if ctx.index in {17, 42, 88}:
        message = f"image {ctx.item} is damaged"
        raise ValueError(message)
    return {"kilobytes": ctx.index}


def counted(ctx: StepContext) -> dict[str, int]:
    """How many albums there are."""
    return {"albums": ctx.initial["albums"] + 1}


class Album(Workflow, key="album"):
    """A map of a hundred."""

    thumbs = Map(resize, over=lambda _: [f"img-{number:02}" for number in range(100)], key=str, tolerate="5%")
    start_at = thumbs
    transitions = {thumbs: {"done": DONE}}
    output = counted


class Shelf(Workflow, key="shelf"):
    """Albums, one after the other, and people who say whether they like them."""

    albums = Repeat(
        Album,
        until=lambda ctx: ctx.carry["albums"] == 15,
        rounds=Rounds(20),
        context=lambda _: {"albums": 0},
        name="albums",
    )
    asked = Map(WaitForEvent("yes", "no", name="ask"), over=lambda _: ["ann", "bob c", "cy"], key=str)
    start_at = albums
    transitions = {albums: {"done": asked}, asked: {"done": DONE}}


@pytest.fixture(scope="module")
def shelf(browser: Browser) -> Iterator[tuple[Browser, LocalRuntime, ConsoleServer]]:
    """A shelf that has been filled; its people have not answered yet."""
    local = LocalRuntime(Shelf, Album)
    assert local.start(Shelf, "1", {}).status == "waiting"
    with serving(LocalConnection(local.runner, "a test", BY)) as console:
        yield browser, local, console.server


def newest_album(local: LocalRuntime) -> str:
    return str(local.runner.get("shelf::1", tree=True).children[0]["id"])


def test_three_failures_of_a_hundred_items_are_found_at_once(
    shelf: tuple[Browser, LocalRuntime, ConsoleServer],
) -> None:
    """In the graph, in the list of items, in the timeline, which draws no others, and in history."""
    browser, local, server = shelf
    with opened(browser, server) as page:
        show(page, newest_album(local))
        expect(step(page, "resize")).to_contain_text("97 of 100 items, 3 failed")
        step(page, "resize").click()
        items = page.get_by_role("table", name="Items")
        expect(items).to_have_attribute("aria-rowcount", "100")
        page.get_by_role("button", name="show the 3 failed").click()
        expect(items.get_by_role("row")).to_have_count(3)
        expect(items.get_by_role("row").nth(1)).to_contain_text("ValueError: image img-42 is damaged")
        items.get_by_role("button", name="img-42").click()
        expect(page.locator(".items .open")).to_contain_text("image img-42 is damaged")
        timeline = page.get_by_role("region", name="Timeline")
        expect(timeline.locator("ol > li")).to_have_count(4)
        expect(timeline).to_contain_text("97 items of resize are not drawn")
        history = page.get_by_role("region", name="History")
        expect(history).to_contain_text("resize runs for 100 items")
        expect(history).to_contain_text("resize[img-00] completed: done")


def test_rounds_with_children_are_drawn_as_what_they_were(shelf: tuple[Browser, LocalRuntime, ConsoleServer]) -> None:
    """The newest one by one, those before them as one; a child that has completed is no failure."""
    browser, _, server = shelf
    with opened(browser, server) as page:
        show(page, "shelf::1")
        timeline = page.get_by_role("region", name="Timeline")
        expect(timeline.get_by_role("img", name=re.compile(r"^albums went through .*: round 1 to 2$"))).to_be_visible()
        expect(timeline.get_by_role("img", name=re.compile(r"^albums waited .*: its child has ended$"))).to_have_count(
            13
        )
        expect(timeline.locator(".bar.failed:not(.legend *)")).to_have_count(0)


def test_the_way_from_a_child_to_its_root_is_shown_where_it_is_needed(
    shelf: tuple[Browser, LocalRuntime, ConsoleServer],
) -> None:
    """Above it, and in the place of what its root has to be asked."""
    browser, local, server = shelf
    with opened(browser, server) as page:
        show(page, newest_album(local))
        crumbs = page.get_by_role("navigation", name="Where it is")
        expect(crumbs).to_have_text("Instances › shelf::1 › albums@15")
        actions = page.get_by_role("group", name="Actions")
        expect(actions).to_have_text("cancelled, redriven and forked at shelf::1")
        page.get_by_role("button", name="resize runs for 100 items").click()
        expect(page.get_by_role("complementary", name="Entry")).to_contain_text("MapBegun")
        expect(page.get_by_role("button", name="Fork after this entry…")).to_have_count(0)
        actions.get_by_role("link", name="shelf::1").click()
        expect(page.get_by_role("heading", name="shelf::1", level=1)).to_be_visible()
        expect(actions.get_by_role("button", name="Fork", exact=True)).to_be_visible()


@as_step(retry=Retry(max_attempts=1), compensate=lambda _: None)
def pack(ctx: StepContext) -> dict[str, Any]:
    """Pack one."""
    return {"packed": ctx.item}


@as_step(retry=Retry(max_attempts=1))
def halt(_: StepContext) -> str:
    """Fail."""
    message = "halted"
    raise ValueError(message)


class Crate(Workflow, key="crate"):
    """A map that many instances run, and that is undone."""

    every = Map(pack, over=lambda _: range(7), chunk=2)
    start_at = every
    transitions = {every: {"done": halt}, halt: {"done": DONE}}


def test_the_parts_of_a_large_map_are_a_line_in_history_and_undone_items_are_counted(browser: Browser) -> None:
    """And a redrive says beforehand that such a map begins anew."""
    local = LocalRuntime(Crate)
    local.start(Crate, "1", {})
    with serving(LocalConnection(local.runner, "a test", BY)) as console, opened(browser, console.server) as page:
        show(page, "crate::1")
        expect(step(page, "pack")).to_contain_text("7 of 7 items undone")
        history = page.get_by_role("region", name="History")
        expect(history).to_contain_text("pack begins 4 parts of its items, at most 7 items at a time")
        expect(history).to_contain_text("pack undoes the items of 4 parts")
        page.get_by_role("group", name="Actions").get_by_role("button", name="Redrive").click()
        expect(page.get_by_role("dialog")).to_contain_text("Run again: pack (anew, with all its items), halt")


def test_entries_that_tell_of_nothing_but_parts_of_a_map_are_one_line(browser: Browser) -> None:
    """As where the work takes time; with the bookkeeping, each stands by itself."""
    every = Map(WaitForEvent("yes", name="ask"), over=lambda _: range(12), chunk=2, concurrency=2)
    flow = type("Slow", (Workflow,), {"start_at": every, "transitions": {every: {"done": DONE}}}, key="slow")
    local = LocalRuntime(flow)
    local.start(flow, "1", {})
    for item in range(12):
        local.resume("slow::1", "yes", item=str(item))
    with serving(LocalConnection(local.runner, "a test", BY)) as console, opened(browser, console.server) as page:
        show(page, "slow::1")
        history = page.get_by_role("region", name="History")
        folded = history.get_by_role("button", name=re.compile(r"^ask: \d parts of its items ended: \d+ completed$"))
        expect(folded).to_have_count(1)
        folded.click()
        expect(page.get_by_role("complementary", name="Entry")).to_contain_text(re.compile(r"Entries \d+ to \d+, "))
        expect(page.get_by_role("button", name="Fork after these entries…")).to_be_visible()
        history.get_by_label("bookkeeping (claims, starts, suspensions)").check()
        expect(folded).to_have_count(0)
        expect(history.get_by_role("button", name="ask: a part of its items ended: 2 completed").first).to_be_visible()


def test_an_item_is_answered_in_its_row(browser: Browser) -> None:
    """The question names it; a map whose items wait has colours that can be read."""
    with Embedded(MemoryStore(), Registry([Shelf, Album])) as memory:
        memory.runner.start_instance(Shelf, {}, id="1")
        with (
            serving(LocalConnection(memory.runner, "a test", BY)) as console,
            opened(browser, console.server) as page,
        ):
            show(page, "shelf::1")
            expect(step(page, "ask")).to_contain_text("0 of 3 items, 3 wait")
            black = "box => getComputedStyle(box.querySelector('rect')).fill === 'rgb(0, 0, 0)'"
            assert not step(page, "ask").evaluate(black)
            step(page, "ask").click()
            items = page.get_by_role("table", name="Items").get_by_role("row")
            items.nth(1).get_by_role("button", name="yes").click()
            expect(page.get_by_role("dialog")).to_contain_text("Send “yes” to ask[bob c]?")
            page.get_by_role("dialog").get_by_role("button", name="Send yes").click()
            expect(page.get_by_text("Sent yes to ask[bob c].")).to_be_visible()
            expect(items.nth(1)).to_contain_text("completed")
            expect(items.nth(0)).to_contain_text("waiting")
            timeline = page.get_by_role("region", name="Timeline")
            expect(timeline.get_by_role("img", name=re.compile(r"^ask\[bob c\] waited .*: yes$"))).to_be_visible()


def test_an_instance_of_a_version_that_is_gone_is_shown_without_its_graph(browser: Browser) -> None:
    local, connection = parcels()
    local.start(Parcel, "1")
    connection.workflows = list  # type: ignore[method-assign]  # a fault, put in its place
    with serving(connection) as console, opened(browser, console.server) as page:
        show(page, "parcel::1")
        expect(page.get_by_text("Parcel v1 is not deployed")).to_be_visible()
        page.get_by_role("region", name="Graph").get_by_role("button", name="look").click()
        expect(page.get_by_role("complementary", name="Step look")).to_contain_text("good")


def test_an_instance_that_is_not_there_is_said(page: Page) -> None:
    show(page, "parcel::none")
    expect(page.get_by_text("there is no instance parcel::none")).to_be_visible()
    show(page, "<b>x</b>")
    expect(page.get_by_text("is not an instance id")).to_be_visible()


def check_page(page: Page, axe: str, where: str) -> None:
    """Names, roles and contrast are as they must be, and nothing is wider than the window."""
    page.evaluate(f"() => {{ {axe}; return true }}")
    found = page.evaluate("() => axe.run({ runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice'] })")
    told = [
        f"{one['id']}: {one['nodes'][0]['html'][:200]} {one['nodes'][0]['failureSummary'][:300]}"
        for one in found["violations"]
    ]
    assert not told, where
    overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert overflow <= 0, where


@as_step(limits=[Concurrency("stripe", 2, held="step")], events=("ok",))
def charge(_ctx: StepContext) -> Pending:
    """Hold a permit until it is told."""
    return Pending()


class Charge(Workflow, key="charge"):
    """Two at once."""

    start_at = charge
    transitions: ClassVar = {charge: {"ok": DONE}}


class Report(Workflow, key="report"):
    """One at two o'clock."""

    start_at = gate = WaitForEvent("end", name="gate")
    transitions: ClassVar = {gate: {"end": DONE}}
    schedules: ClassVar = [Schedule("nightly", "0 2 * * *", timezone="Europe/Rome")]


@pytest.fixture
def charged() -> LocalRuntime:
    """Three charges, of which one stands in line."""
    local = LocalRuntime(Charge, Report)
    local.clock.move_to(SystemClock().now())
    for name in "abc":
        local.start(Charge, name)
        local.advance(timedelta(milliseconds=5))
    return local


def test_a_limit_shows_its_line_and_an_operator_sets_and_unsets_its_number(
    browser: Browser, charged: LocalRuntime
) -> None:
    """Rule F.8. What cannot be is said, and the question stays."""
    with serving(LocalConnection(charged.runner, "a test", BY)) as console, opened(browser, console.server) as page:
        page.get_by_role("link", name="Limits").click()
        stripe = page.get_by_role("region", name="Limit stripe")
        expect(stripe).to_contain_text("2 of 2 held")
        expect(stripe).to_contain_text("1 in line")
        stripe.get_by_role("button", name="stripe").click()
        expect(stripe.get_by_role("link")).to_have_text(["charge::a", "charge::b", "charge::c"])
        dialog = page.get_by_role("dialog")
        stripe.get_by_role("button", name="Set", exact=True).click()
        expect(dialog).to_contain_text(BY)
        for wrong, says in (("-1", "a whole number"), ("1000000000", "from 0 to")):
            dialog.get_by_label("How many may run at once").fill(wrong)
            dialog.get_by_role("button", name="Set", exact=True).click()
            expect(dialog.get_by_role("alert")).to_contain_text(says)
        dialog.get_by_label("How many may run at once").fill("3")
        dialog.get_by_role("button", name="Set", exact=True).click()
        expect(dialog).to_have_count(0)
        expect(stripe).to_contain_text(f"set by {BY}")
        expect(stripe).to_contain_text("3 of 3 held")
        stripe.get_by_role("button", name="Unset").click()
        dialog.get_by_role("button", name="Unset").click()
        expect(stripe).to_contain_text("3 of 2 held")
        expect(stripe).to_contain_text("the number is the code's")


@as_step(limits=[RateLimit("openai", 6, timedelta(minutes=1), burst=2)])
def ask(_ctx: StepContext) -> str:
    """Start in its time."""
    return "done"


class Ask(Workflow, key="ask"):
    """Six a minute, two at once."""

    start_at = ask
    transitions: ClassVar = {ask: {"done": DONE}}


def test_a_rate_shows_its_number_and_its_next_place_and_an_operator_sets_it(browser: Browser) -> None:
    """Rules F.8 and F.10. So many, in which time, and how many at once; 0 stops it; with a reason."""
    local = LocalRuntime(Ask)
    local.clock.move_to(SystemClock().now())
    for number in range(10):
        local.start(Ask, str(number))
    with serving(LocalConnection(local.runner, "a test", BY)) as console, opened(browser, console.server) as page:
        page.get_by_role("link", name="Limits").click()
        openai = page.get_by_role("region", name="Limit openai")
        expect(openai).to_contain_text("6 in 60 s, 2 at once; next place in")
        expect(openai).to_contain_text("2 in line")
        dialog = page.get_by_role("dialog")
        openai.get_by_role("button", name="Set", exact=True).click()
        for label, wrong, says in (("In how many seconds", "0", "from 1 on"), ("At once", "0", "1 or more")):
            field = dialog.get_by_label(label)
            known = field.input_value()
            field.fill(wrong)
            dialog.get_by_role("button", name="Set", exact=True).click()
            expect(dialog.get_by_role("alert")).to_contain_text(says)
            field.fill(known)
        dialog.get_by_label("How many may start").fill("50")
        dialog.get_by_label("In how many seconds").fill("1")
        dialog.get_by_label("Reason").fill("a new contract")
        dialog.get_by_role("button", name="Set", exact=True).click()
        expect(dialog).to_have_count(0)
        expect(openai).to_contain_text("50 in 1 s, 2 at once")
        expect(openai).to_contain_text(f"set by {BY}")
        expect(openai).to_contain_text("(a new contract); 6 in 60 s in the code")
        openai.get_by_role("button", name="Set", exact=True).click()
        dialog.get_by_label("How many may start").fill("0")
        dialog.get_by_role("button", name="Set", exact=True).click()
        expect(openai).to_contain_text("0: nothing starts")
        openai.get_by_role("button", name="Unset").click()
        dialog.get_by_role("button", name="Unset").click()
        expect(openai).to_contain_text("the number is the code's")


def test_a_schedule_is_paused_with_a_reason_unpaused_and_triggered(browser: Browser, charged: LocalRuntime) -> None:
    connection = LocalConnection(charged.runner, "a test", BY)
    done = connection.do

    def at_once(command: Command) -> dict[str, Any]:
        found = done(command)
        charged.settle()
        return found

    connection.do = at_once  # type: ignore[method-assign]  # for a test
    with serving(connection) as console, opened(browser, console.server) as page:
        page.keyboard.press("s")
        nightly = page.get_by_role("region", name="Schedule Report.nightly")
        expect(nightly).to_contain_text(re.compile(r"next 20\d\d-\d\d-\d\d 02:00 Europe/Rome"))
        expect(nightly.get_by_role("button", name="Delete")).to_have_count(0)
        nightly.get_by_role("button", name="Pause").click()
        page.get_by_role("dialog").get_by_label("Reason").fill("a freeze")
        page.get_by_role("dialog").get_by_role("button", name="Pause").click()
        expect(nightly).to_contain_text(re.compile(f"Paused by {BY} .*: a freeze"))
        nightly.get_by_role("button", name="Unpause").click()
        page.get_by_role("dialog").get_by_role("button", name="Unpause").click()
        expect(nightly).to_contain_text("next 20")
        nightly.get_by_role("button", name="Trigger").click()
        page.get_by_role("dialog").get_by_role("button", name="Trigger").click()
        started = page.get_by_role("status").get_by_role("link")
        expect(started).to_have_text(re.compile(r"^report::nightly\.manual-"))
        started.click()
        expect(page.get_by_role("heading", level=1)).to_have_text(re.compile(r"^report::nightly\.manual-"))


@pytest.mark.parametrize(("scheme", "viewport"), [("light", DESKTOP), ("dark", PHONE)], ids=["desktop", "phone"])
def test_limits_and_schedules_have_names_roles_and_contrast(
    browser: Browser, charged: LocalRuntime, scheme: str, viewport: ViewportSize
) -> None:
    axe = (npm_packages() / "axe-core" / "axe.min.js").read_text("utf-8")
    options = {"viewport": viewport, "color_scheme": scheme, "bypass_csp": True}
    with serving(LocalConnection(charged.runner)) as console, opened(browser, console.server, **options) as page:
        page.get_by_role("link", name="Schedules").click()
        expect(page.get_by_role("region", name="Schedule Report.nightly")).to_be_visible()
        check_page(page, axe, "schedules")
        page.get_by_role("link", name="Limits").click()
        page.get_by_role("button", name="stripe").click()
        check_page(page, axe, "limits")
        page.get_by_role("button", name="Set", exact=True).click()
        check_page(page, axe, "a question")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_names_roles_and_contrast_are_as_they_must_be(browser: Browser, scheme: str, viewport: ViewportSize) -> None:
    axe = (npm_packages() / "axe-core" / "axe.min.js").read_text("utf-8")
    with in_memory() as connection, serving(connection) as console:
        options = {"viewport": viewport, "color_scheme": scheme, "bypass_csp": True}
        with opened(browser, console.server, **options) as page:

            def check(where: str) -> None:
                check_page(page, axe, where)

            expect(row(page, "orderid::2026-0011")).to_contain_text("failed")
            expect(page.get_by_role("button", name="All workflows, waiting 11")).to_be_visible()
            check("the list")
            show(page, "orderid::2026-0011")
            expect(page.get_by_role("group", name="Why it failed")).to_be_visible()
            step(page, "ship").click()
            page.get_by_role("button", name="charge_card completed: paid").click()
            check("a failed instance")
            show(page, "orderid::2026-0003")
            page.get_by_role("button", name="approved", exact=True).click()
            check("a question")
            page.get_by_role("button", name="Not now").click()
            page.get_by_role("button", name="Fork", exact=True).click()
            check("another question")


def test_the_colours_are_the_systems_or_the_persons(page: Page) -> None:
    body = page.locator("body")

    def colour() -> str:
        return str(body.evaluate("body => getComputedStyle(body).backgroundColor"))

    def is_now(colour: str) -> None:
        expect(body).to_have_css("background-color", colour)

    page.emulate_media(color_scheme="light")
    light = colour()
    page.emulate_media(color_scheme="dark")
    expect(body).not_to_have_css("background-color", light)
    dark = colour()
    page.get_by_role("button", name="Colours: auto").click()
    expect(page.get_by_role("button", name="Colours: light")).to_be_visible()
    is_now(light)
    page.get_by_role("button", name="Colours: light").click()
    expect(page.get_by_role("button", name="Colours: dark")).to_be_visible()
    is_now(dark)
    page.emulate_media(color_scheme="light")
    is_now(dark)
    page.reload()
    expect(page.get_by_role("button", name="Colours: dark")).to_be_visible()
    is_now(dark)
