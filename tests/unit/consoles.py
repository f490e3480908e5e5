"""What the console's tests stand on: workflows in memory, a server over them, and a client that sends anything."""

from __future__ import annotations

import http.client
import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hephaestus import DONE, Completed, Retry, StepContext, Workflow, step
from hephaestus.console.embedded import LocalConnection
from hephaestus.console.guard import KEY_HEADER
from hephaestus.console.server import ConsoleServer
from hephaestus.steps import Map, WaitForEvent
from hephaestus.testing import LocalRuntime
from tests.answer import Answer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hephaestus.console.source import Connection

BY = "arn:aws:iam::123456789012:user/ann"


@step(events=("good", "bad"))
def look(ctx: StepContext) -> Completed:
    """Say what it was started with."""
    return Completed("bad" if ctx.initial.get("bad") else "good", {"echo": ctx.initial.get("echo")})


def unwrap(ctx: StepContext) -> None:
    """Undo the wrapping."""


@step(compensate=unwrap)
def wrap(ctx: StepContext) -> dict[str, Any]:
    """Wrap it."""
    return {"wrapped": True}


decision = WaitForEvent("yes", "no", name="decision")


@step(retry=Retry(max_attempts=1))
def deliver(ctx: StepContext) -> str:
    """Deliver it, unless the address is wrong."""
    if ctx.initial.get("address") == "wrong":
        message = f"no such address: {ctx.initial.get('echo')}"
        raise ValueError(message)
    return "done"


@step
def drop(ctx: StepContext) -> str:
    """Drop it."""
    return "done"


class Parcel(Workflow, key="parcel", version=1, tags=["post"]):
    """Look, wrap, ask, deliver."""

    start_at = look
    transitions = {
        look: {"good": wrap, "bad": drop},
        wrap: {"done": decision},
        decision: {"yes": deliver, "no": drop},
        deliver: {"done": DONE},
        drop: {"done": DONE},
    }


@step(retry=Retry(max_attempts=1))
def measure(ctx: StepContext) -> str:
    """Fail for three."""
    if ctx.index in {7, 5_001, 9_998}:
        message = f"no {ctx.index}"
        raise ValueError(message)
    return "done"


class Many(Workflow, key="many"):
    """A map of ten thousand items."""

    every = Map(measure, over=lambda _: range(10_000), tolerate=3, concurrency=10_000)
    start_at = every
    transitions = {every: {"done": DONE}}


@dataclass(frozen=True)
class Page:
    """Sends requests to a console as its page in a browser does, or as somebody else would."""

    server: ConsoleServer

    def ask(  # noqa: PLR0913 - what an HTTP request is made of
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str | None] | None = None,
        *,
        cookie: bool = True,
        key: bool = True,
    ) -> Answer:
        """Send a request; ``headers`` replace the usual ones, ``None`` leaves one out."""
        guard = self.server.guard
        sent: dict[str, str | None] = {"Host": f"127.0.0.1:{self.server.server_port}", "Sec-Fetch-Site": "same-origin"}
        if cookie:
            sent["Cookie"] = guard.cookie.split(";")[0]
        if key:
            sent[KEY_HEADER] = guard.key
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        if data is not None:
            sent |= {"Content-Type": "application/json", "Content-Length": str(len(data))}
        sent |= headers or {}
        connection = http.client.HTTPConnection("127.0.0.1", self.server.server_port, timeout=30)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in sent.items():
                if value is not None:
                    connection.putheader(name, value)
            connection.endheaders(data)
            answer = connection.getresponse()
            return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def get(self, path: str) -> Any:
        """What a read answers, which must succeed."""
        answer = self.ask("GET", path)
        assert answer.status == 200, answer.body
        return answer.json()

    def act(self, instance_id: str, action: str, **members: Any) -> Answer:
        """Do something to an instance."""
        return self.ask("POST", f"/api/instances/{instance_id}/{action}", members)


@contextmanager
def serving(connection: Connection) -> Iterator[Page]:
    """A console over ``connection`` on a free port."""
    with ConsoleServer(connection, 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield Page(server)
        finally:
            server.shutdown()
            thread.join()


def parcels() -> tuple[LocalRuntime, LocalConnection]:
    """Parcels in memory, and the connection to them."""
    local = LocalRuntime(Parcel)
    return local, LocalConnection(local.runner, "a test", BY)
