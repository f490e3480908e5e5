"""The command on a deployment in this process: what a person sees, what a program gets, and the exit status."""

from __future__ import annotations

import json
import re
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from hephaestus.cli.app import app
from hephaestus.cli.terminal import Session
from hephaestus.engine.events import Paused, Unpaused
from hephaestus.errors import CorruptLog, StoreUnavailable
from hephaestus.operations import Connection, bulk
from hephaestus.runtime import workflow_pauses
from hephaestus.runtime.commands import Cancel, Deliver
from tests.integration.deployment import sample
from tests.integration.outside import ANN

if TYPE_CHECKING:
    from typer.testing import Result

    from tests.integration.deployment import Deployment

CONTEXT = json.dumps(sample("direct-start")["context"])
NASTY = "<b>&\"' [red]x[/red] \x1b[31m \u202e 訂單 😀"


@pytest.fixture(autouse=True)
def _connected(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever stack is named, it is this one; 80 columns."""
    monkeypatch.setattr(Session, "connection", connection)
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("HEPHAESTUS_STACK", "HEPHAESTUS_API", "HEPHAESTUS_WORKFLOWS", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)


def call(*arguments: str, code: int = 0, stdin: str | None = None) -> Result:
    """Run the command; nothing is wider than the terminal and nothing controls it."""
    done = CliRunner().invoke(app, arguments, input=stdin)
    assert done.exit_code == code, done.output
    if "--json" not in arguments:
        assert all(len(line) <= 80 for line in done.stdout.splitlines()), done.stdout
    assert "\x1b" not in done.stdout + done.stderr
    assert "\u202e" not in done.stdout + done.stderr
    return done


def answer(*arguments: str, code: int = 0) -> Any:
    """Run the command for a program."""
    return json.loads(call(*arguments, "--json", code=code).stdout)


def order(value: str = "o-1", *more: str) -> str:
    """Start an order and wait until it waits."""
    shown = answer("start", "OrderFlow", value, "--data", CONTEXT, "--wait", "20", *more)
    assert shown["status"] == "waiting"
    return str(shown["id"])


def test_workflows_are_shown_with_what_they_wait_for() -> None:
    said = call("workflows").stdout
    assert "OrderFlow   v1*" in said
    assert "v1, v2*" in said
    assert [flow["name"] for flow in answer("workflows")["items"]] == ["Large", "Onboarding", "OrderFlow"]


def test_an_order_from_its_start_to_its_end() -> None:
    """What is said first is what to do next."""
    said = call("start", "OrderFlow", "o-1", "--data", CONTEXT, "--tag", "web", "--wait", "20").stdout
    assert said.startswith("orderid::o-1  ◷ waiting  OrderFlow v1\n")
    assert "approval waits for `approved` or `rejected` (for " in said
    assert "→ hephaestus resume orderid::o-1 approved" in said
    assert "tags sales, web" in said
    said = call("resume", "orderid::o-1", "approved", "--input", "-", "--wait", "20", stdin='{"by": "Ann"}').stdout
    assert "orderid::o-1  ✓ completed" in said
    assert "by=Ann" in said
    assert "\n→" not in said


def test_who_does_not_wait_is_told_that_it_was_taken(deployment: Deployment) -> None:
    assert call("start", "OrderFlow", "o-1", "--data", CONTEXT).stdout == "✓ started orderid::o-1\n"
    deployment.pump()
    assert call("pause", "orderid::o-1", "--reason", "night").stdout == "✓ paused orderid::o-1\n"
    assert "is paused by user/ann for 0 s: night" in call("get", "orderid::o-1").stdout
    assert "→ hephaestus unpause orderid::o-1" in call("get", "orderid::o-1").stdout
    assert call("unpause", "orderid::o-1").stdout == "✓ unpaused orderid::o-1\n"
    assert call("cancel", "orderid::o-1", "--compensate", "-r", "oops").stdout == "✓ cancelling orderid::o-1\n"
    deployment.pump()
    assert "⊘ cancelled" in call("get", "orderid::o-1").stdout
    assert call("redrive", "orderid::o-1", "-y").stdout == "✓ redriven orderid::o-1\n"
    deployment.pump()
    assert call("fork", "orderid::o-1", "o-2").stdout == "✓ forked from orderid::o-1: orderid::o-2\n"


def test_history_tells_who_did_what_when_and_for_how_long() -> None:
    order()
    call("pause", "orderid::o-1", "--reason", "night ☾")
    said = call("history", "orderid::o-1").stdout
    assert "● started OrderFlow v1  tags sales" in said
    assert "validate_order valid → charge_payment" in said
    assert "total_cents=" in said
    assert "‖ paused: night ☾" in said
    assert "by user/ann (claimed)" in said
    entries = answer("history", "orderid::o-1")["items"]
    who = {"by": ANN, "by_source": "claim"}
    assert entries[-1]["events"][0] == {"type": "Paused", "reason": "night ☾", **who, **_request(entries[-1])}
    assert answer("history", "orderid::o-1", "--last", "1")["items"] == entries[-1:]
    first = answer("history", "orderid::o-1", "--limit", "2")
    assert (first["items"], first["cursor"]) == (entries[:2], "2")
    assert answer("history", "orderid::o-1", "--cursor", "2")["items"] == entries[2:]
    assert '"price_cents"' in call("history", "orderid::o-1", "--payloads").stdout


def _request(entry: dict[str, Any]) -> dict[str, Any]:
    return {"request_id": entry["events"][0]["request_id"]}


def test_a_failed_instance_says_why_and_what_to_do() -> None:
    """The error in full, each attempt in its history; waiting for it ends with status 1."""
    done = call("start", "Large", "l-1", "--data", '{"size": "much"}', "--wait", "20", code=1)
    assert "✗ failed" in done.stdout
    said = call("get", "large::l-1").stdout
    assert "TypeError: step swell failed after" in said.replace("\n", " ")
    assert "→ hephaestus redrive large::l-1" in said
    said = call("history", "large::l-1").stdout
    assert "swell attempt 1 failed" in said
    assert re.search("again (in [0-9]+ ms|at once)", said), "what full jitter leaves of the delay"


def test_lists_are_filtered_paged_and_cut_to_columns() -> None:
    for number in range(3):
        order(f"o-{number}", "--tag", f"t{number}")
    call("resume", "orderid::o-2", "rejected", "--wait", "20")
    said = call("list").stdout
    assert [line.split()[0] for line in said.splitlines()] == ["ID", "orderid::o-2", "orderid::o-1", "orderid::o-0"]
    assert [each["id"] for each in answer("list", "--status", "completed")["items"]] == ["orderid::o-2"]
    assert [each["id"] for each in answer("list", "--tag", "t1", "--since", "1h")["items"]] == ["orderid::o-1"]
    page = answer("list", "--limit", "2")
    assert [each["id"] for each in page["items"]] == ["orderid::o-2", "orderid::o-1"]
    assert [each["id"] for each in answer("list", "--cursor", page["cursor"])["items"]] == ["orderid::o-0"]
    assert len(answer("list", "--all", "--limit", "1")["items"]) == 3
    assert "more: --cursor" in call("list", "--limit", "2").stdout
    assert call("list", "--columns", "id,tags,version").stdout.splitlines()[0].split() == ["ID", "TAGS", "VERSION"]
    assert call("list", "--workflow", "Onboarding").stdout == (
        "no instances like that\nchildren are left out: --children shows them, too\n"
    )
    call("list", "--columns", "id,colour", code=2)
    call("list", "--since", "soon", code=2)
    call("list", "--status", "happy", code=2)
    call("list", "--workflow", "Nothing", code=3)


def test_watching_shows_every_change_until_the_end(monkeypatch: pytest.MonkeyPatch, connection: Connection) -> None:
    """Somebody approves while one looks."""
    order()
    monkeypatch.setattr(
        time, "sleep", lambda _: connection.do(Deliver(instance_id="orderid::o-1", event="approved"), wait=20)
    )
    lines = call("get", "orderid::o-1", "--watch").stdout.splitlines()
    assert [line.split()[2] for line in lines] == ["waiting", "completed"]


def test_watching_for_a_program_is_a_line_a_change(monkeypatch: pytest.MonkeyPatch, connection: Connection) -> None:
    """Status 1 when it ends badly."""
    order()
    monkeypatch.setattr(
        time, "sleep", lambda _: connection.do(Cancel(instance_id="orderid::o-1", reason="no"), wait=20)
    )
    lines = call("get", "orderid::o-1", "--watch", "--json", code=1).stdout.splitlines()
    assert [json.loads(line)["status"] for line in lines] == ["waiting", "cancelled"]


def test_who_watches_outlasts_a_silence(monkeypatch: pytest.MonkeyPatch, deployment: Deployment) -> None:
    """A store that does not answer for a while ends nothing; one that stays silent does."""
    order()
    load, left = deployment.store.load, [0, 1, 1, 0]

    def silent(instance_id: str) -> Any:
        if left.pop(0) if left else True:
            message = "DynamoDB did not answer"
            raise StoreUnavailable(message)
        return load(instance_id)

    monkeypatch.setattr(time, "sleep", lambda _: None)
    monkeypatch.setattr(deployment.store, "load", silent)
    done = call("get", "orderid::o-1", "--watch", code=5)
    assert [line.split()[2] for line in done.stdout.splitlines()] == ["waiting"]
    assert done.stderr.count("still watching") == 2 + 29


def test_an_instance_s_picture_has_its_states() -> None:
    order()
    said = call("graph", "orderid::o-1", "-f", "mermaid").stdout
    assert 's0["validate_order<br>completed"]' in said
    assert "class s0,s1,s3,s4 completed" in said
    assert answer("graph", "OrderFlow", "-f", "svg")["text"].startswith("<svg")
    call("graph", "Nothing", code=3)
    call("graph", "orderid::nobody", code=3)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["get", "orderid::nobody"], 3, "there is no instance orderid::nobody"),
        (["get", "nobody"], 2, "is not an instance id"),
        (["history", "orderid::o-1", "--generation", "7"], 3, "with a generation 7"),
        (["start", "OrderFlow", "o-1", "--data", CONTEXT], 4, "is active"),
        (["start", "OrderFlow", "o-3"], 4, "customer: Field required"),
        (["start", "Nothing", "o-3"], 3, "no workflow 'Nothing'"),
        (["start", "OrderFlow", "o 3", "--data", CONTEXT], 2, "o 3"),
        (["start", "OrderFlow", "o-3", "--data", "NaN"], 2, "not JSON"),
        (["resume", "orderid::o-1", "flown"], 4, "approved, rejected, timeout"),
        (["resume", "orderid::o-1", "approved", "--step", "nothing"], 3, "nothing"),
        (["heartbeat", "orderid::o-1"], 4, "heartbeat"),
        (["redrive", "orderid::o-1"], 4, "only a failed, cancelled or parked instance"),
        (["fork", "orderid::o-1", "o-4", "--at", "99"], 2, "no entry 99"),
        (["fork", "orderid::o-1", "o-4", "--results", "[]"], 2, "must be a JSON object"),
        (["resume", "orderid::o-1", "approved", "--data", json.dumps("x" * 2_000_000)], 4, "larger than"),
    ],
)
def test_what_is_refused_is_explained(arguments: list[str], code: int, said: str) -> None:
    """On standard error, by status; nothing on standard output."""
    order()
    done = call(*arguments, code=code)
    assert done.stdout == ""
    assert said in " ".join(done.stderr.split())
    told = json.loads(call(*arguments, "--json", code=code).stderr)
    assert told["exit_code"] == code


def test_any_text_is_only_text() -> None:
    """In payloads, reasons and tags: no markup, no escape, nothing turned around; a program gets it as it is."""
    order("o-1", "--tag", "訂單 😀")
    call("pause", "orderid::o-1", "--reason", NASTY)
    call("unpause", "orderid::o-1")
    call("resume", "orderid::o-1", "approved", "--data", json.dumps({"note": NASTY}), "--wait", "20")
    for command in ("get", "history"):
        assert "<b>&" in call(command, "orderid::o-1").stdout
    assert "[red]x[/red]" in call("get", "orderid::o-1", "--full").stdout.replace("\n", "")
    assert answer("get", "orderid::o-1")["steps"]["approval"]["results"]["note"] == NASTY
    assert "訂單" in call("list", "--columns", "id,tags").stdout


def test_large_results_are_cut_in_tables_and_whole_for_programs() -> None:
    """300 KB in one step."""
    shown = answer("start", "Large", "l-1", "--data", '{"size": 300000}', "--wait", "20")
    assert shown["status"] == "completed"
    assert len(call("get", "large::l-1").stdout) < 1_000
    assert len(call("history", "large::l-1").stdout) < 2_000
    assert len(answer("get", "large::l-1")["steps"]["swell"]["results"]["text"]) == 300_000
    assert "300000" in call("get", "large::l-1", "--full").stdout


def test_a_history_of_five_thousand_entries_is_shown_page_by_page(deployment: Deployment) -> None:
    order()
    runner = deployment.runner
    state = runner.store.load("orderid::o-1")
    assert state is not None
    for number in range(2_500):
        for event in (Paused(f"r{number}"), Unpaused()):
            after = runner.instances.append(state, state.updated_at, event)
            assert after is not None
            state = after
    said = call("history", "orderid::o-1").stdout.splitlines()
    assert said[-1] == "more: --cursor 200, --last 50 or --all"
    assert "paused: r2499" in call("history", "orderid::o-1", "--last", "2").stdout
    assert len(answer("history", "orderid::o-1", "--all")["items"]) == state.sequence > 5_000


def test_a_table_of_a_newer_release_is_said_to_be_one(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    message = "instance orderid::o-1: a snapshot was written by a newer release: deploy that release again"

    def newer(_instance_id: str) -> None:
        raise CorruptLog(message)

    monkeypatch.setattr(deployment.store, "load", newer)
    assert "newer release" in call("get", "orderid::o-1", code=5).stderr


def test_a_person_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who says no has done nothing; a script is not asked."""
    order()
    monkeypatch.setattr(Session, "interactive", True)
    assert "Cancel orderid::o-1?" in call("cancel", "orderid::o-1", code=2, stdin="n\n").stdout
    assert answer("get", "orderid::o-1")["status"] == "waiting"
    call("cancel", "orderid::o-1", "--wait", "5", stdin="y\n")
    assert answer("get", "orderid::o-1")["status"] == "cancelled"


def test_a_whole_workflow_is_paused(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """What starts meanwhile says so, and what to do; an id and a workflow are not both given."""
    monkeypatch.setattr(workflow_pauses, "SEEN_MS", 0)
    order("o-0")
    said = call("pause", "--workflow", "OrderFlow", "--reason", "the carrier is down").stdout
    assert said == "✓ paused OrderFlow\n"
    assert call("start", "OrderFlow", "o-1", "--data", CONTEXT).stdout == "✓ started orderid::o-1\n"
    deployment.pump()
    shown = call("get", "orderid::o-1").stdout
    assert "waits: workflow OrderFlow is paused by" in " ".join(shown.split())
    assert "the carrier is down" in shown
    assert "→ hephaestus unpause --workflow OrderFlow" in shown
    assert answer("get", "orderid::o-1")["status"] == "pending"
    listed = " ".join(call("list", "--workflow", "OrderFlow").stdout.split())
    assert "○ pending ‖" in listed
    assert "‖ workflow OrderFlow is paused by" in listed
    assert "OrderFlow is paused by" in " ".join(call("workflows").stdout.split())
    [paused] = [flow["paused"] for flow in answer("workflows")["items"] if "paused" in flow]
    assert paused["reason"] == "the carrier is down"
    assert "the carrier is down" in call("history", "orderid::o-1").stdout
    assert "it waits for its workflow" in call("bulk", "unpause", "-W", "OrderFlow", "--yes").stdout

    assert call("unpause", "--workflow", "OrderFlow").stdout == "✓ unpaused OrderFlow\n"
    deployment.pump()
    assert answer("get", "orderid::o-1")["status"] == "waiting"
    assert "paused" not in answer("get", "orderid::o-1")
    for wrong in (("pause",), ("pause", "orderid::o-0", "--workflow", "OrderFlow")):
        assert "give the id of an instance, or --workflow" in call(*wrong, code=2).stderr
    assert "no workflow 'Nothing'" in call("pause", "--workflow", "Nothing", code=3).stderr


def test_many_are_steered_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dry run first; then a line now and then, a report, and the exit status of what it came to."""
    monkeypatch.setattr(bulk, "WORKERS", 1)
    for number in range(3):
        order(f"o-{number}", "--tag", "eu")
    order("o-3")
    said = call("bulk", "cancel", "--tag", "eu").stdout
    assert said.startswith("would cancel 3 instances\n  ◷ waiting  orderid::o-2\n")
    assert "nothing was done; --yes does it" in said
    dry = answer("bulk", "cancel", "--tag", "eu")
    first = [{"id": f"orderid::o-{number}", "status": "waiting"} for number in (2, 1, 0)]
    assert dry == {"action": "cancel", "dry_run": True, "found": 3, "first": first}
    assert answer("get", "orderid::o-0")["status"] == "waiting"

    done = call("bulk", "cancel", "--tag", "eu", "--yes", "--reason", "over", "--rate", "1000/s", "--operation", "stop")
    assert done.stdout == "3 done, 0 skipped, 0 failed\n"
    assert "3 of 3: 3 done, 0 skipped, 0 failed" in done.stderr
    assert {answer("get", f"orderid::o-{number}")["status"] for number in range(3)} == {"cancelled"}
    assert answer("get", "orderid::o-3")["status"] == "waiting"
    assert "over" in call("history", "orderid::o-0").stdout

    def fails(self: Connection, command: Any, **_: Any) -> Any:
        raise CorruptLog(NASTY)

    monkeypatch.setattr(Connection, "do", fails)
    report = answer("bulk", "pause", "--workflow", "OrderFlow", "--yes", "--operation", "night", code=1)
    failed = [{"id": "orderid::o-3", "why": NASTY}]
    known = {"action": "pause", "dry_run": False, "operation": "night", "found": 1, "done": 0, "left": 0}
    assert report == {**known, "skipped": [], "failed": failed, "ended": "", "cursor": None}
    assert "failed orderid::o-3: <b>&" in call("bulk", "pause", "--workflow", "OrderFlow", "--yes", code=1).stdout


def test_a_bulk_operation_that_is_cut_says_how_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "WORKERS", 1)
    for number in range(2):
        order(f"o-{number}")

    class Pressed:
        """Ctrl-C is pressed in the first pause."""

        monotonic = time.monotonic

        @staticmethod
        def sleep(_: float) -> None:
            monkeypatch.setattr(bulk, "time", time)
            raise KeyboardInterrupt

    monkeypatch.setattr(bulk, "time", Pressed)
    asked = ("bulk", "pause", "--workflow", "OrderFlow", "--yes", "--operation", "night")
    done = call(*asked, code=130)
    assert "go on: the same command with --operation night" in done.stderr
    assert {answer("get", f"orderid::o-{number}").get("paused") for number in range(2)} == {None, ""}
    assert call(*asked).stdout.startswith("1 done, 1 skipped, 0 failed\n  skipped orderid::o-1: it is paused already")


def test_open_instances_look_again_after_a_restoration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "WORKERS", 1)
    order("o-0")
    assert call("recheck", "orderid::o-0").stdout == "✓ rechecked orderid::o-0\n"
    said = call("bulk", "recheck", "--workflow", "OrderFlow", "--yes").stdout
    assert said == "1 done, 0 skipped, 0 failed\n"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["bulk", "cancel"], 2, "this would be for every instance"),
        (["bulk", "cancel", "--workflow", "Nothing"], 3, "no workflow 'Nothing'"),
        (["bulk", "redrive", "--tag", "eu", "--rate", "many"], 2, "is no rate"),
        (["bulk", "redrive", "--tag", "eu", "--operation", "", "--yes"], 2, "--operation is empty"),
        (["bulk", "pause", "--tag", "eu", "--reason", "x" * 2000], 2, "reason"),
        (["bulk", "pause", "--tag", "eu", "--cursor", "nonsense"], 2, "cursor"),
        (["bulk", "unpause", "--until", "soon", "--tag", "eu"], 2, "is no time"),
    ],
)
def test_what_is_wrong_with_a_bulk_operation_is_said_at_once(arguments: list[str], code: int, said: str) -> None:
    assert said in " ".join(call(*arguments, code=code).stderr.split())


def test_the_command_says_what_it_needs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without the extra it names it."""
    from hephaestus.cli import main

    monkeypatch.delitem(sys.modules, "hephaestus.cli.app")
    monkeypatch.setitem(sys.modules, "typer", None)
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    assert "hephaestus-aws[cli]" in capsys.readouterr().err
