"""A new command is one class: the API, the client, the document, the console and the command line follow."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import typer
from typer.testing import CliRunner

from hephaestus import DONE, Workflow
from hephaestus.cli import steering
from hephaestus.cli.terminal import Place, Session
from hephaestus.console import service
from hephaestus.console.embedded import LocalConnection
from hephaestus.errors import BadRequest, InstanceClosed, InstanceNotFound
from hephaestus.handlers import commands as handler
from hephaestus.handlers.http.api import Api
from hephaestus.operations.http_client import Api as Client
from hephaestus.operations.transport import Answer
from hephaestus.runtime.commands import CATALOGUE
from hephaestus.runtime.commands.command import Command
from hephaestus.runtime.commands.members import (
    FLAG,
    TEXT,
    By,
    Flag,
    MaybeText,
    Text,
    caller,
    instance_id,
    member,
    request_id,
    required,
)
from hephaestus.steps import WaitForEvent
from hephaestus.testing import LocalRuntime
from tools.openapi import operations, schemas

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hephaestus.runtime.dispatch import Dispatch
    from hephaestus.runtime.instances import Instances
    from hephaestus.runtime.runner import Runner

gate = WaitForEvent("go", name="gate")
NOTES: list[tuple[str, str, bool, str]] = []


class Gated(Workflow, key="gated"):
    """One wait."""

    start_at = gate
    transitions = {gate: {"go": DONE}}


class Note(Command):
    """Note something about an instance."""

    action = "note"
    operation = "noteInstance"
    route = "/instances/<instance_id>/note"
    raises = (InstanceNotFound, InstanceClosed)
    said = "noted"

    instance_id: Text = instance_id()
    text: Text = required(TEXT, "What is noted.")
    loud: Flag = member(FLAG, "Whether everyone is told.", default=False)
    request_id: MaybeText = request_id(default=None)
    by: By = caller(default=None)

    def perform(self, instances: Instances, going: Dispatch) -> str:
        """Note it."""
        NOTES.append((instances.load(self.instance_id).instance_id, self.text, self.loud, self.by.name))
        return self.instance_id


@dataclass
class Context:
    """Lambda's context object."""

    aws_request_id: str = "r"

    def get_remaining_time_in_millis(self) -> int:
        """Half a minute."""
        return 30_000


@dataclass
class Sent:
    """A transport that keeps what it is given."""

    calls: list[Any] = field(default_factory=list)

    def call(self, method: str, path: str, **more: Any) -> Answer:
        """Accept it."""
        self.calls.append((method, path, more["body"], more["headers"].get("Idempotency-Key")))
        return Answer(202, {"id": "gated::1"})


class Connected:
    """A deployment that is one runner."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner

    def do(self, command: Command, *, wait: int | None) -> dict[str, Any]:
        """Do it, in the name of its operator."""
        assert wait is None
        return {"id": self.runner.do(command.asked_by("ann"))}


@pytest.fixture
def local(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalRuntime]:
    """One instance, and a catalogue with the new command."""
    monkeypatch.setattr(handler, "CATALOGUE", (*CATALOGUE, Note))
    monkeypatch.setattr(service, "ACTIONS", {**service.ACTIONS, "note": Note})
    local = LocalRuntime(Gated)
    local.start(Gated, "1", {})
    yield local
    NOTES.clear()


def test_the_api_and_direct_invocations_take_it(local: LocalRuntime) -> None:
    """With the caller's name, and with all mistakes in one answer."""
    api = Api(local.runner)
    handler.serve(api, "control")

    def post(body: Any) -> tuple[int, Any]:
        event = {"httpMethod": "POST", "path": "/instances/gated%3A%3A1/note", "body": json.dumps(body)}
        answer = api({**event, "requestContext": {"identity": {"userArn": "ann"}}}, Context())
        return answer["statusCode"], json.loads(answer["body"])

    assert post({"text": "late"}) == (202, {"id": "gated::1"})
    status, problem = post({"text": "", "loud": 1, "txt": 2})
    assert status == 400
    assert all(said in problem["detail"] for said in ("'txt' is not known", "'loud' must be", "'text' must be"))
    event = {"action": "note", "instance_id": "gated::1", "text": "later", "loud": True, "by": "bob"}
    assert handler.do_directly(local.runner, "control", event, Context()) == {"id": "gated::1", "status": "waiting"}
    assert NOTES == [("gated::1", "late", False, "ann"), ("gated::1", "later", True, "bob")]


def test_the_client_sends_it() -> None:
    """Path, body and key; what has its default is left out."""
    sent = Sent()
    Client(sent).do(Note(instance_id="gated::1", text="late", request_id="r1"))
    assert sent.calls == [("POST", "/instances/gated%3A%3A1/note", {"text": "late"}, "r1")]


def test_the_document_describes_it() -> None:
    """Its summary, errors and body are the declaration's."""
    described = operations.of_command(Note)
    assert (described.id, described.summary) == ("noteInstance", "Note something about an instance")
    assert (described.errors, described.keyed, described.waits) == (Note.raises, True, True)
    body = schemas.request(Note)
    assert (set(body["properties"]), body["required"]) == ({"text", "loud"}, ["text"])
    assert body["properties"]["loud"] == {"type": ["boolean", "null"], "description": "Whether everyone is told."}


def test_the_console_does_it(local: LocalRuntime) -> None:
    """In the name of who runs it."""
    shown = service.Service(LocalConnection(local.runner, by="ann"))
    assert shown.act("note", "gated::1", {"text": "late", "request_id": "r1"}) == {"id": "gated::1"}
    with pytest.raises(BadRequest, match="'by' is not known"):
        shown.act("note", "gated::1", {"text": "late", "by": "bob"})
    assert NOTES == [("gated::1", "late", False, "ann")]


def test_the_command_line_has_it(local: LocalRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    """An option a member, with the sentence of the declaration."""
    app = typer.Typer()
    app.command("note")(steering.made_of(Note))
    app.command("other")(lambda: None)
    session = Session(Place(), json=False)
    monkeypatch.setattr(Session, "connection", Connected(local.runner))
    done = CliRunner().invoke(app, ["note", "gated::1", "--text", "late", "--loud"], obj=session)
    assert (done.exit_code, NOTES) == (0, [("gated::1", "late", True, "ann")]), done.output
    shown = CliRunner().invoke(app, ["note", "--help"]).output
    assert all(said in shown for said in ("--loud", "everyone", "--request-id", "--wait"))
