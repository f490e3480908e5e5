"""``hephaestus dev``, in this process: the deployed routes, reloading, the folder, and who is let in."""

from __future__ import annotations

import errno
import http.client
import json
import logging
import re
import shlex
import signal
import socket
import sys
import threading
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from unittest.mock import Mock
from urllib.parse import urlsplit

import pytest
from typer.testing import CliRunner

from hephaestus import DONE, DefinitionError, Retry, Rounds, StepContext, Workflow, step
from hephaestus.cli.app import app
from hephaestus.cli.dev import lines_to_try
from hephaestus.console import PortTaken
from hephaestus.definition import default
from hephaestus.definition.raised import last_line_of
from hephaestus.dev import readable_log, serving_all
from hephaestus.dev.folder import Folder, StateInUse
from hephaestus.dev.reloading import Modules
from hephaestus.dev.serving_all import Served, serving
from hephaestus.project.changes import package_in
from hephaestus.runtime import telemetry
from hephaestus.runtime.registry import Registry
from hephaestus.steps import Map, Repeat
from hephaestus.testing import LocalRuntime

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
PATIENCE = 60
FLOW = """
from hephaestus import DONE, Workflow, step
from hephaestus.steps import WaitForEvent
from hephaestus.triggers import On, Start
import {prefix}_words

def placed(event):
    return Start(event.detail["number"], {{}})

ask = WaitForEvent("approved", name="ask")

@step
def first(ctx):
    return {{"said": {prefix}_words.TEXT, "link": ctx.callback_url("approved", step=ask)}}

@step
def last(ctx):
    return {{"said": {prefix}_words.TEXT}}

class {name}(Workflow, key="{prefix}id"):
    start_at = first
    triggers = [On.eventbridge(placed, source="{prefix}")]
    transitions = {{first: {{"done": ask}}, ask: {{"approved": last}}, last: {{"done": DONE}}}}
"""
MODULES = ("dev_letters", "dev_parcels")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(serving_all, "LOOK", 0.01)
    monkeypatch.syspath_prepend(tmp_path)
    for module, name in zip(MODULES, ("Letter", "Parcel"), strict=True):
        prefix = f"dev_{name.lower()}"
        (tmp_path / f"{prefix}_words.py").write_text("TEXT = 'old'")
        (tmp_path / f"{module}.py").write_text(FLOW.format(name=name, prefix=prefix).replace('key="dev_', 'key="'))
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("dev_")]:
        del sys.modules[name]
    default.use(None)


@pytest.fixture
def served(project: Path) -> Iterator[Served]:
    with Folder(project) as folder, serving(folder, Modules(MODULES), port=0, console_port=0, by="ann") as found:
        yield found


def call(url: str, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    """Send a request; the status, and the body as JSON where it is."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=PATIENCE)
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    data = body if body is None or isinstance(body, bytes) else json.dumps(body)
    try:
        connection.request(method, path, data, sent)
        answer = connection.getresponse()
        text = answer.read().decode()
        return answer.status, json.loads(text) if "json" in (answer.getheader("Content-Type") or "") else text
    finally:
        connection.close()


def until(holds: Callable[[], bool]) -> None:
    done = threading.Event()
    for _ in range(PATIENCE * 100):
        if holds():
            return
        done.wait(0.01)
    raise AssertionError


def start(served: Served, flow: str, value: str) -> tuple[int, Any]:
    return call(served.url, "POST", f"/workflows/{flow}/instances", {"id": value}, Prefer="wait=20")


def test_the_deployed_routes_answer(served: Served) -> None:
    """Starts, reads, events, steering, lists, mistakes, and who asked."""
    status, shown = start(served, "Letter", "1")
    assert (status, shown["status"]) == (200, "waiting")
    assert call(served.url, "GET", "/instances/letterid::1")[1]["accepts"] == {"ask": ["approved"]}
    status, found = call(served.url, "POST", "/instances/letterid::1/events", {"event": "no"})
    assert (status, found["type"]) == (422, "/problems/unexpected-event")
    assert call(served.url, "POST", "/instances/letterid::1/pause")[0] == 202
    assert call(served.url, "POST", "/instances/letterid%3A%3A1/unpause")[0] == 202
    event = {"event": "approved", "payload": {"by": "bob"}}
    status, shown = call(served.url, "POST", "/instances/letterid::1/events", event, Prefer="wait=20")
    assert (status, shown["status"]) == (200, "completed")
    items = call(served.url, "GET", "/instances/letterid::1/history")[1]["items"]
    asked = [one for entry in items for one in entry["events"] if one["type"] == "EventReceived"]
    assert [(one["by"], one["by_source"]) for one in asked] == [("ann", "claim")]
    listed = "/instances?status=completed&workflow=Letter"  # a list follows its instances
    until(lambda: [each["id"] for each in call(served.url, "GET", listed)[1]["items"]] == ["letterid::1"])
    assert {each["name"] for each in call(served.url, "GET", "/workflows")[1]["items"]} == {"Letter", "Parcel"}
    assert call(served.url, "GET", "/nothing")[0] == 404
    assert call(served.url, "DELETE", "/instances")[0] == 405
    assert call(served.url, "POST", "/workflows/Letter/instances", b"\xff\xfe")[0] == 400
    assert call(served.url, "GET", "/openapi.json")[1]["openapi"].startswith("3.1")


def test_an_event_from_outside_is_taken_once_as_the_ingest_queue_brings_it(served: Served) -> None:
    """Its own form, or the sample of the function with its records; what can never be taken says why."""
    placed = {"id": "e-1", "source": "dev_letter", "detail-type": "Placed", "detail": {"number": "7"}}
    record = {"messageId": "m-1", "eventSource": "aws:sqs", "body": json.dumps(placed)}
    read_as = ["EventBridge event, source 'dev_letter', detail type 'Placed'"]
    taken = {"started": ["letterid::7"], "resumed": [], "matched": 1, "read_as": read_as}
    for body in (placed, {"Records": [record]}):
        assert call(served.url, "POST", "/ingest", body) == (200, taken)
    until(lambda: call(served.url, "GET", "/instances/letterid::7")[1]["status"] == "waiting")
    nothing = {"started": [], "resumed": [], "matched": 0}
    for other, kind in (
        ({**placed, "source": "shop"}, "EventBridge event, source 'shop', detail type 'Placed'"),
        (b"not JSON", "plain message"),
        ({"Records": [{**record, "body": 5}]}, "plain message"),
    ):
        assert call(served.url, "POST", "/ingest", other) == (200, {**nothing, "read_as": [kind]})
    bad = {**record, "messageId": "m-2", "body": json.dumps({**placed, "id": "e-2", "detail": {}})}
    good = {**record, "messageId": "m-3", "body": json.dumps({**placed, "id": "e-3", "detail": {"number": "8"}})}
    status, shown = call(served.url, "POST", "/ingest", {"Records": [bad, good]})
    assert (status, shown["type"]) == (400, "/problems/bad-request")
    assert call(served.url, "GET", "/instances/letterid::8")[0] == 200, "the other message is taken"
    assert (
        "workflow Letter, On.eventbridge(placed, source='dev_letter'): its function raised KeyError" in shown["detail"]
    )
    assert call(served.url, "GET", "/ingest")[0] == 404
    (letter,) = (each for each in call(served.url, "GET", "/workflows")[1]["items"] if each["name"] == "Letter")
    assert letter["triggers"] == [{"on": "eventbridge", "to": "placed", "source": ["dev_letter"]}]


@pytest.mark.parametrize("length", ["9" * 5_000, "9" * 13, "10000001"])
def test_a_length_of_any_size_is_answered(served: Served, length: str) -> None:
    """Python reads no number of 5,000 digits."""
    assert call(served.url, "POST", "/workflows/Letter/instances", b"", Content_Length=length)[0] == 413


def test_a_link_opens_from_another_site_and_its_button_answers(served: Served) -> None:
    link = urlsplit(start(served, "Letter", "1")[1]["steps"]["first"]["results"]["link"])
    assert f"http://{link.netloc}" == served.url
    status, page = call(served.url, "GET", link.path, Accept="text/html", Sec_Fetch_Site="cross-site")
    assert status == 200
    assert "<form" in page
    assert call(served.url, "POST", link.path, {}, Content_Type="application/json")[0] == 202
    until(lambda: served.embedded.runner.get("letterid::1").status == "completed")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "rebound.example"}, 421),
        ({"Origin": "https://other.example"}, 403),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Content_Length": "99999999"}, 413),
        ({"Transfer_Encoding": "chunked"}, 411),
    ],
)
def test_what_another_page_may_send_is_rejected(served: Served, headers: dict[str, str], status: int) -> None:
    assert call(served.url, "POST", "/workflows/Letter/instances", b'{"id": "1"}', **headers)[0] == status
    assert call(served.url, "GET", "/instances")[1]["items"] == []


FAILING = """
from hephaestus import DONE, Retry, Workflow, step
from hephaestus.steps import Map

@step(retry=Retry(max_attempts=1))
def work(ctx):
    raise ValueError("broken")

class Failing(Workflow, key="failing"):
    every = Map(work, over=lambda ctx: [1], name="every")
    start_at = every
    transitions = {every: {"done": DONE}}
"""


def test_history_has_the_traces_of_errors(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The code is the caller's own; of items, too, and the command line shows them."""
    (project / "dev_failing.py").write_text(FAILING)
    monkeypatch.chdir(project)
    with (
        Folder(project) as folder,
        serving(folder, Modules(["dev_failing"]), port=0, console_port=0, by="ann") as served,
    ):
        assert start(served, "Failing", "1")[1]["status"] == "failed"
        told = [
            CliRunner().invoke(app, ["--stack", "dev", "history", "failing::1", *more], env={"COLUMNS": "200"}).stdout
            for more in ([], ["--traces"])
        ]
    assert f"raised at {project / 'dev_failing.py'}:7 in work" in told[0]
    assert 'raise ValueError("broken")' not in told[0]
    assert 'raise ValueError("broken")' in told[1]


def test_an_edit_is_imported_and_what_waits_goes_on_with_it(served: Served, project: Path) -> None:
    """A helper module's edit counts, too."""
    start(served, "Letter", "1")
    before = served.embedded.runner.registry
    (project / "dev_letter_words.py").write_text("TEXT = 'a newer one'")
    until(lambda: served.embedded.runner.registry is not before)
    call(served.url, "POST", "/instances/letterid::1/events", {"event": "approved"}, Prefer="wait=20")
    steps = served.embedded.runner.get("letterid::1").steps
    assert [steps[key].results["said"] for key in ("first", "last")] == ["old", "a newer one"]


def test_a_step_that_began_before_an_edit_may_start_the_workflow_that_it_knew(project: Path) -> None:
    """Else all items of a map that were about to start would fail at the edit, for good."""
    modules = Modules(MODULES)
    before = modules.load().get("Letter")
    after = modules.load()
    assert after.get("Letter") is not before
    assert after.deployed(before) is after.get("Letter")


def test_a_module_that_does_not_import_takes_down_its_own_workflows_until_it_is_fixed(
    served: Served, project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    start(served, "Parcel", "1")
    sound, before = (project / "dev_parcels.py").read_text(), served.embedded.runner.registry
    with caplog.at_level(logging.INFO):
        (project / "dev_parcels.py").write_text("class Parcel(")
        until(lambda: served.embedded.runner.registry is not before)
    assert "dev_parcels.py changed" in caplog.text
    assert "module dev_parcels are not available" in caplog.text
    assert start(served, "Parcel", "2")[0] == 503
    assert start(served, "Letter", "1")[0] == 200
    served.embedded.queue.wake("parcelid::1")
    until(lambda: served.embedded.runner.get("parcelid::1").parked is not None)
    broken = served.embedded.runner.registry
    (project / "dev_parcels.py").write_text(sound)
    until(lambda: served.embedded.runner.registry is not broken)
    assert start(served, "Parcel", "2")[0] == 200
    until(lambda: served.embedded.runner.get("parcelid::1").parked is None)


@pytest.mark.parametrize("which", ["the scaffold of init", "layers/workflows", "README.md"])
def test_the_lines_that_it_prints_work_when_they_are_pasted(
    which: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = {"the scaffold of init": "dev_shop", "layers/workflows": "workflows"}.get(which, "dev_readme")
    if module == "dev_shop":
        assert CliRunner().invoke(app, ["init", str(tmp_path), "--package", module, "--name", "shop"]).exit_code == 0
        monkeypatch.syspath_prepend(tmp_path / "src")
    elif module == "dev_readme":
        block = (ROOT / "README.md").read_text("utf-8").partition("```python\n")[2].partition("```")[0]
        (tmp_path / "dev_readme.py").write_text(block)
        monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = {name: it for name, it in sys.modules.items() if name.partition(".")[0] == module}
    try:
        with Folder(tmp_path) as folder, serving(folder, Modules([module]), port=0, console_port=0, by="ann") as served:
            start_line, event_line = lines_to_try(served.embedded.runner.registry, served.url)
            for line in (start_line, event_line):
                status, shown = pasted(line)
                assert status == 200, shown
                assert not [step for step in shown["steps"].values() if "error" in step]
            expected = "waiting" if module == "workflows" else "completed"  # Onboarding settles in first
            assert shown["status"] == expected
            console = urlsplit(served.console)
            assert call(f"http://{console.netloc}", "GET", f"{console.path}?{console.query}")[0] < 400
    finally:
        default.use(None)
        for name in [name for name in sys.modules if name.partition(".")[0] == module]:
            del sys.modules[name]
        sys.modules.update(before)


def pasted(line: str) -> tuple[int, Any]:
    """What a line's request is answered with."""
    curl, silent, url, header, named, data, body = shlex.split(line)
    assert (curl, silent, header, data) == ("curl", "-s", "-H", "-d")
    name, _, value = named.partition(": ")
    return call(url, "POST", urlsplit(url).path, body.encode(), **{name: value})


def test_a_failed_attempt_s_line_has_the_error_and_the_frames_of_its_step(caplog: pytest.LogCaptureFixture) -> None:
    """Once for attempts that fail alike; none of the engine's frames, nor of what an async step is awaited by."""

    @step(retry=Retry(max_attempts=2))
    def first(ctx: StepContext) -> dict[str, Any]:
        return {"amount": ctx.initial["amount"]}

    @step
    async def last(ctx: StepContext) -> str:
        message = f"no {ctx.attempt}"
        raise RuntimeError(message)

    class Failing(Workflow, key="failing"):
        start_at = first
        transitions: ClassVar[Any] = {first: {"done": last}, last: {"done": DONE}}

    local = LocalRuntime(Failing)
    telemetry.attach("dev", readable_log.tell, readable_log.SAID)
    try:
        with caplog.at_level(logging.INFO, readable_log.NAME):
            local.start(Failing, "1", {})
            local.advance(timedelta(minutes=5))
            local.start(Failing, "2", {"amount": 1})
    finally:
        telemetry.detach("dev")
    told = [record.getMessage() for record in caplog.records if "failed, attempt" in record.getMessage()]
    assert "KeyError: 'amount'\n  File" in told[0]
    assert "KeyError: 'amount'" in told[1]
    assert "  File" not in told[1]
    assert "RuntimeError: no 1\n  File" in told[2]
    for text in (told[0], told[2]):
        assert re.findall(r'File "(.*?)"', text) == [__file__]


class Page(Workflow, key="page"):
    """A map, in each of two rounds of a loop."""

    lines = Map(step(key="line")(lambda ctx: "done"), over=lambda _: ["a", "b c"], key=str)
    start_at = lines
    transitions: ClassVar[Any] = {lines: {"done": DONE}}
    output = staticmethod(lambda ctx: {"pages": ctx.initial.get("pages", 0) + 1})


class Book(Workflow, key="book"):
    """Pages."""

    pages = Repeat(Page, until=lambda ctx: ctx.carry["pages"] == 2, rounds=Rounds(3), name="pages")
    start_at = pages
    transitions: ClassVar[Any] = {pages: {"done": DONE}}


def test_the_log_names_items_and_rounds(caplog: pytest.LogCaptureFixture) -> None:
    """Each line says what it is about; the end of a child that another one follows is no event without a name."""
    local = LocalRuntime(Book, Page)
    telemetry.attach("dev", readable_log.tell, readable_log.SAID)
    try:
        with caplog.at_level(logging.INFO, readable_log.NAME):
            local.start(Book, "1", {})
    finally:
        telemetry.detach("dev")
    told = [record.getMessage() for record in caplog.records]
    assert any("  line[b c] → done" in line for line in told)
    ends = [line.removeprefix("book::1  ") for line in told if "pages" in line and "←" in line]
    assert ends == ["pages ← again", "pages ← done"]


def test_no_event_is_suggested_where_no_step_takes_one() -> None:
    """A step that is a workflow, or a map of plain steps, takes none."""
    assert lines_to_try(Registry([Book, Page]), "http://x")[1] == ""
    assert "YourWorkflow" in lines_to_try(Registry([]), "http://x")[0]
    assert lines_to_try(Registry([]), "http://x")[1]


def test_a_definition_error_is_reported_at_the_user_s_own_line() -> None:
    with pytest.raises(DefinitionError) as told:
        type("Bad", (Workflow,), {}, key="bad")
    assert last_line_of(told.value).startswith(f"{__file__}:")


def test_state_survives_and_a_reset_forgets_it(project: Path) -> None:
    for asked in (201, 0, 404):
        with Folder(project) as folder:
            if asked == 404:
                folder.reset()
            with serving(folder, Modules(MODULES), port=0, console_port=0, by="ann") as served:
                if asked == 201:
                    link = start(served, "Letter", "1")[1]["steps"]["first"]["results"]["link"]
                elif asked == 0:
                    assert call(served.url, "POST", urlsplit(link).path, {})[0] == 202
                else:
                    assert call(served.url, "GET", "/instances/letterid::1")[0] == 404
                assert json.loads((project / ".hephaestus" / "dev.json").read_text())["url"] == served.url
    assert not (project / ".hephaestus" / "dev.json").exists()
    assert (project / ".hephaestus" / ".gitignore").read_text() == "*\n"


def test_a_second_one_on_the_same_state_is_rejected(project: Path) -> None:
    with Folder(project), pytest.raises(StateInUse, match=r"another `hephaestus dev` has .*: stop it, or use another"):
        Folder(project)
    with Folder(project), Folder(project, project / "other.sqlite"):
        pass


def test_a_taken_port_is_an_error_that_says_what_to_do(project: Path) -> None:
    before = set(threading.enumerate())
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with (
            Folder(project) as folder,
            pytest.raises(PortTaken, match=f"port {port} is taken on this machine: choose another one, or 0"),
            serving(folder, Modules(MODULES), port=port, console_port=0, by="ann"),
        ):
            pass
    assert set(threading.enumerate()) <= before


def test_the_log_is_for_a_person(served: Served, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    root, library = logging.getLogger(), logging.getLogger("hephaestus")
    for logger in (root, library):
        monkeypatch.setattr(logger, "handlers", [])
        monkeypatch.setattr(logger, "propagate", True)
    levels = [(logger, logger.level) for logger in (root, library, *map(logging.getLogger, readable_log.QUIET))]
    try:
        readable_log.set_up(written.append)
        start(served, "Letter", "1")
        call(served.url, "POST", "/instances/letterid::1/events", {"event": "approved"}, Prefer="wait=20")
        before = served.embedded.runner.registry
        (project / "dev_letters.py").write_text("import dev_letter_words\nraise RuntimeError('no database')")
        until(lambda: served.embedded.runner.registry is not before)
        for _ in range(2):
            start(served, "Letter", "2")
    finally:
        telemetry.detach("dev")
        for logger, level in levels:
            logger.setLevel(level)
    lines = [line.partition("  ")[2] for line in written]
    for expected in (
        "letterid::1  Letter v1 started",
        "letterid::1  status event: running",
        "letterid::1  ask waits",
        "letterid::1  ask ← approved",
        "letterid::1  status event: completed",
        "POST /instances/letterid::1/events → 200",
    ):
        assert expected in lines
    assert any(line.startswith("letterid::1  last → done (") for line in lines)
    assert any(line.startswith("letterid::1  completed (") for line in lines)
    broken = [line for line in lines if "no database" in line]
    assert len(broken) == 1, "the same trouble is told once"
    assert "dev_letters.py:2: RuntimeError: no database; its calls answer 503 until it is fixed" in broken[0]
    assert not [line for line in lines if line.startswith("{")]


def test_without_a_module_it_is_the_package_that_init_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    CliRunner().invoke(app, ["init", str(tmp_path / "shop")], catch_exceptions=False)
    assert package_in(tmp_path) is None
    monkeypatch.chdir(tmp_path / "shop")
    monkeypatch.setattr("sys.path", [*sys.path])
    named: list[list[str]] = []

    def stopped(_: Any, modules: Modules, **__: Any) -> None:
        named.append(list(modules.names))
        raise KeyboardInterrupt

    monkeypatch.setattr("hephaestus.dev.serving_all.serving", stopped)
    monkeypatch.setattr(readable_log, "set_up", lambda _: None)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    assert CliRunner().invoke(app, ["dev"]).exit_code == 0
    assert named == [["shop"]]


def _dev(folder: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[int, str]:
    """``hephaestus dev`` in a folder, which ends before it serves anything."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setattr(serving_all, "serving", Mock(side_effect=AssertionError("it is served")))
    done = CliRunner().invoke(app, ["dev", *arguments, "--port", "0"])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stderr


@pytest.mark.parametrize("given", ["dev_folder", "dev_folder/", "./dev_folder"])
def test_a_folder_without_init_is_said_to_be_one(given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the modules in it that may be meant; nothing is served."""
    (tmp_path / "dev_folder").mkdir()
    (tmp_path / "dev_folder" / "orders.py").write_text("")
    try:
        code, said = _dev(tmp_path, monkeypatch, given)
    finally:
        sys.modules.pop("dev_folder", None)
    assert (code, said.strip()) == (
        2,
        f"error: dev_folder is a folder: name a module in it, as {tmp_path / 'dev_folder' / 'orders.py'}",
    )


BROKEN_PLACES: dict[str, tuple[list[str], str]] = {
    "no folder": (["--state", "nothing/x.sqlite"], "there is no folder nothing for the state: make it"),
    "below a file": (["--state", "notes.txt/x.sqlite"], "there is no folder notes.txt for the state"),
    "another file": (["--state", "notes.txt"], "notes.txt is no file that `hephaestus dev` keeps instances in"),
    "another file, reset": (["--state", "notes.txt", "--reset"], "notes.txt is no file that `hephaestus dev`"),
    "a folder": (["--state", "inside"], "file 'inside' is a directory"),
    "no objects": (["--objects", "nothing"], "dir 'nothing' does not exist"),
    "objects in a file": (["--objects", "notes.txt"], "dir 'notes.txt' is a file"),
    "text": ([], "notes.txt is no Python file: give a module's name or path"),
    "taken": ([], ".hephaestus cannot be written: File exists"),
    "not written": ([], ".hephaestus cannot be written: Permission denied"),
    "a folder in place": ([], "dev.sqlite cannot be read: Is a directory"),
}


@pytest.mark.parametrize("what", BROKEN_PLACES)
def test_a_place_that_cannot_be_used_is_named(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is served, forgotten or written; and it is no traceback."""
    given, said = BROKEN_PLACES[what]
    (tmp_path / "dev_place.py").write_text("")
    (tmp_path / "notes.txt").write_text("my notes")
    (tmp_path / "inside").mkdir()
    if what == "taken":
        (tmp_path / ".hephaestus").write_text("")
    if what == "a folder in place":
        (tmp_path / ".hephaestus" / "dev.sqlite").mkdir(parents=True)
    if what == "not written":
        monkeypatch.setattr(Path, "mkdir", Mock(side_effect=PermissionError(errno.EACCES, "Permission denied")))
    code, told = _dev(tmp_path, monkeypatch, "notes.txt" if what == "text" else "dev_place.py", *given)
    assert (code, said in told) == (3 if what == "text" else 2, True), told
    assert (tmp_path / "notes.txt").read_text() == "my notes"
