"""``hephaestus.connect``: the library's calls, views and errors on a deployment, from sync and async code."""

from __future__ import annotations

import asyncio
import inspect
import json
import socket
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

import hephaestus
from hephaestus import (
    AlreadyRunning,
    BadRequest,
    InstanceNotFound,
    InvalidInput,
    PayloadTooLarge,
    StoreUnavailable,
    UnexpectedEvent,
)
from hephaestus.cli.app import app
from hephaestus.client import AsyncClient, Client, synchronous
from hephaestus.dev.folder import Folder
from hephaestus.dev.reloading import Modules
from hephaestus.dev.serving_all import serving
from hephaestus.operations import Unreachable, connect
from hephaestus.operations.http_client import Api
from hephaestus.operations.transport import Answer
from hephaestus.runtime.commands import ROUTED
from hephaestus.runtime.registry import Registry
from tests.unit.flows import Order, approval

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hephaestus.dev.serving_all import Served

PATIENCE = 60
GOODS = {"items": [20, 22]}


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """A ``hephaestus dev`` that runs one folder above."""
    (tmp_path / "inside").mkdir()
    monkeypatch.chdir(tmp_path / "inside")
    monkeypatch.setattr(Modules, "load", lambda _modules: Registry([Order]))
    with Folder(tmp_path) as folder, serving(folder, Modules([]), port=0, console_port=0, by="ann") as found:
        yield found


@pytest.fixture
def shop(served: Served) -> Client:
    return hephaestus.connect("dev")


def waiting(client: Client, instance_id: str) -> None:
    for _ in synchronous.pauses(PATIENCE):
        if client.get(instance_id).status == "waiting":
            return


def test_an_instance_from_its_start_to_its_end(shop: Client, served: Served) -> None:
    order = shop.start(Order, "a1", GOODS, tags=["big"], metadata={"by": "shop"})
    assert order.id == "orderid::a1"
    waiting(shop, order.id)
    order.resume("approved", {"by": "bob"}, step=approval)
    shown = order.wait(PATIENCE)
    assert shown == served.embedded.runner.get(order.id), "a runner in the same process shows the same"
    assert (shown.status, shown.steps[approval].results) == ("completed", {"by": "bob"})
    while not (listed := shop.list(workflow=Order, status=["completed", "failed"], tag="big").items):
        pass  # a list follows its instances
    assert [each.id for each in listed] == [order.id]
    assert shop.list(status="waiting").items == []
    assert [entry.sequence for entry in shop.history(order.id, limit=2)] == [1, 2]
    assert [flow["name"] for flow in shop.workflows()] == ["Order"]


def test_steering(shop: Client) -> None:
    order = shop.start("Order", "a1", GOODS)
    waiting(shop, order.id)
    shop.pause(order.id, "stock-taking")
    assert order.get().paused == "stock-taking"
    shop.unpause(order.id)
    fork = shop.fork(order.id, new_id="a2")
    assert (fork.id, fork.get().forked_from is not None) == ("orderid::a2", True)
    order.cancel("changed my mind")
    assert order.wait(PATIENCE).status == "cancelled"
    shop.redrive(order.id)
    waiting(shop, order.id)
    order.cancel(compensate=True)
    order.wait(PATIENCE)
    shop.delete(order.id)
    with pytest.raises(InstanceNotFound):
        order.get()


def test_errors_are_the_library_s(shop: Client) -> None:
    order = shop.start(Order, "a1", GOODS)
    waiting(shop, order.id)
    with pytest.raises(AlreadyRunning):
        shop.start(Order, "a1", GOODS)
    with pytest.raises(UnexpectedEvent) as unexpected:
        order.resume("approvd")
    assert unexpected.value.accepted == {"approval": ("approved", "rejected", "timeout")}
    with pytest.raises(InstanceNotFound):
        shop.handle("orderid::none").wait(PATIENCE)
    with pytest.raises(InvalidInput):
        shop.start(Order, "a2", {"items": object()})
    with pytest.raises(TimeoutError, match=r"orderid::a1 has not ended within 0\.1 s: it is waiting for approval"):
        order.wait(0.1)


def test_a_repeated_start_is_one(shop: Client) -> None:
    first, second = (shop.start(Order, "a1", GOODS, start_id="cart-1") for _ in range(2))
    assert first == second


def test_the_same_from_async_code(served: Served) -> None:
    async def main() -> None:
        shop = await hephaestus.connect_async("dev")
        orders = await asyncio.gather(*(shop.start(Order, f"a{number}", GOODS) for number in range(3)))
        for order in orders:
            with pytest.raises(TimeoutError):
                await order.wait(0.01)
            await order.resume("approved")
        assert {(await order.wait(PATIENCE)).status for order in orders} == {"completed"}
        while len(await shop.list(status="completed")) < 3:
            pass  # a list follows its instances
        with pytest.raises(InstanceNotFound):
            await shop.handle("orderid::none").get()

    asyncio.run(main())


def test_every_command_of_the_api_is_a_method_with_its_members() -> None:
    """A new one is missed here; ``by`` is known by the credentials."""
    names = {"instance_id", "value", "by", "id", "request_id", "start_id", "event_id"}
    for command in ROUTED:
        method = getattr(Client, command.action)
        takes = set(inspect.signature(method).parameters) - {"self"}
        assert set(command.members) - names == takes - names, command.action
        assert command.action in vars(AsyncClient)


class Flaky:
    """A transport that answers 503 at first, having done what it was asked."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.keys: list[str] = []

    def call(self, method: str, path: str, *, query: Any, body: Any, headers: Any) -> Answer:
        self.keys.append(headers["Idempotency-Key"])
        if len(self.keys) <= self.failures:
            return Answer(503, {"type": "/problems/store-unavailable", "detail": "no answer"})
        return Answer(202, {"id": "orderid::a1"})


def test_an_unanswered_request_is_sent_again_under_the_same_request_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synchronous, "AGAIN", (0, 0, 0))
    flaky = Flaky(3)
    assert Client(Api(flaky)).start("Order", "a1").id == "orderid::a1"
    assert len(flaky.keys) == 4
    assert len(set(flaky.keys)) == 1
    with pytest.raises(StoreUnavailable):
        Client(Api(Flaky(4))).resume("orderid::a1", "approved")


def test_an_output_that_an_answer_is_too_small_for_is_not_taken_for_none() -> None:
    """The instance has completed; what is not shown is said."""
    known = {"id": "a::1", "key": "1", "workflow": "A", "version": 1, "generation": 1, "status": "completed"}
    times = dict.fromkeys(("created_at", "updated_at"), "2026-01-01T00:00:00+00:00")

    class Large(Flaky):
        """Answers without the data."""

        def call(self, *_: Any, **__: Any) -> Answer:
            return Answer(200, {**known, **times, "left_out": "the data"})

    with pytest.raises(PayloadTooLarge, match="a::1: its output is too large for an answer"):
        Client(Api(Large(0))).handle("a::1").output()


def test_looks_become_seldom_and_end_in_time() -> None:
    pauses = [next(found) for found in [synchronous.pauses(None)] for _ in range(20)]
    assert pauses[0] == synchronous.FIRST_PAUSE
    assert pauses == sorted(pauses)
    assert pauses[-1] == synchronous.LONGEST_PAUSE
    assert list(synchronous.pauses(0)) == []


def test_where_no_dev_runs_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for call in (hephaestus.connect, connect):
        with pytest.raises(Unreachable, match=r"no `hephaestus dev` runs in .* or above: start it"):
            call("dev")
    with pytest.raises(BadRequest, match="is no address"):
        hephaestus.connect("https://")


def test_a_dev_that_was_killed_is_not_taken_for_aws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its name, by its address, and by the doctor, who needs no credentials for it."""
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as gone:
        url = f"http://127.0.0.1:{gone.getsockname()[1]}"
    (tmp_path / ".hephaestus").mkdir()
    (tmp_path / ".hephaestus" / "dev.json").write_text(f'{{"url": "{url}"}}')
    for where in ("dev", url):
        with pytest.raises(Unreachable, match=f"nothing answers at {url} .start `hephaestus dev`"):
            hephaestus.connect(where).get("orderid::1")
    told = CliRunner().invoke(app, ["doctor", "--stack", "dev", "--json"])
    (finding,) = json.loads(told.stdout)["findings"]
    assert (told.exit_code, finding["what"], finding["verdict"]) == (1, "API", "wrong")
    assert finding["detail"].startswith(f"nothing answers at {url}")


@pytest.mark.usefixtures("served")
def test_the_doctor_looks_at_dev() -> None:
    told = CliRunner().invoke(app, ["doctor", "--stack", "dev", "--json"])
    found = [(each["what"], each["verdict"]) for each in json.loads(told.stdout)["findings"]]
    assert (told.exit_code, found) == (0, [("API", "ok"), ("workflows", "ok")])


def test_the_command_line_reaches_dev_by_that_name(served: Served) -> None:
    connection = connect("dev")
    assert [flow["name"] for flow in connection.workflows()] == ["Order"]
