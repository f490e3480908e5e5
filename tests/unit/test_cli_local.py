"""The commands that need no AWS: ``check``, ``graph``, ``cost`` and ``run``, on the example and on what is wrong."""

from __future__ import annotations

import json
import re
import sys
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from hephaestus.cli.app import app
from hephaestus.cli.terminal import Session
from hephaestus.cli.watched_run import SkippingClock

if TYPE_CHECKING:
    from typer.testing import Result

ROOT = Path(__file__).parents[2]
ORDER = json.dumps(
    {"customer": {"name": "Ann", "email": "ann@example.org"}, "items": [{"sku": "anvil", "price_cents": 4200}]}
)
BELOW = """
from hephaestus import DONE, Workflow, step

act = step(key="act")(lambda ctx: "done")


class Below(Workflow, key="below"):
    start_at = act
    transitions = {act: {"done": DONE}}
"""
ABOVE = """
import below_flow

from hephaestus import DONE, Workflow
from hephaestus.steps import ChildWorkflow

kid = ChildWorkflow(below_flow.Below, name="kid")


class Above(Workflow, key="above"):
    start_at = kid
    transitions = {kid: {"done": DONE}}
"""
MAPPED = """
from hephaestus import DONE, Workflow, step
from hephaestus.steps import Map

work = Map(step(key="work")(lambda ctx: "done"), over=lambda ctx: [])


class Mapped(Workflow, key="mapped"):
    start_at = work
    transitions = {work: {"done": DONE}}
"""
FACTS = """
from datetime import timedelta

from hephaestus import DONE, Concurrency, RateLimit, Retry, Rounds, Schedule, Workflow, step
from hephaestus.steps import Map, Repeat

mail = Concurrency("mail", 1, per=lambda ctx: "a")
work = step(key="work", limits=[mail], retry=Retry(), compensate=lambda ctx: None)(lambda ctx: "done")
plain = step(key="work", limits=[Concurrency("files", 2)])(lambda ctx: "done")
calls = step(key="call", limits=[RateLimit("api", 20, 1, burst=5)])(lambda ctx: "done")
one = step(
    key="one",
    retry=Retry(max_attempts=1),
    rounds=Rounds(1),
    limits=[mail, Concurrency("db", 8, held="step")],
    events=("done", "exhausted"),
)(lambda ctx: "done")


class Kid(Workflow, key="kid", limits=[Concurrency("kids", 5)]):
    start_at = work
    transitions = {work: {"done": DONE}}


class Facts(Workflow, key="facts"):
    once = Retry(max_attempts=1)
    each = Map(plain, over=lambda ctx: [], tolerate="2.5%", concurrency=7, retry=once, chunk=20, name="each")
    kids = Map(Kid, over=lambda ctx: [], tolerate=3, name="kids")
    fast = Map(calls, over=lambda ctx: [], concurrency=7, name="fast")
    again = Repeat(Kid, until=lambda ctx: True, rounds=Rounds(3), name="again")
    schedules = [
        Schedule(
            "nightly", "30 2 * * *", timezone="Europe/Rome", overlap="queue", catch_up=3, jitter=timedelta(minutes=10)
        )
    ]
    start_at = each
    once_more, end = {"done": again, "exhausted": DONE}, {"done": DONE}
    transitions = {each: {"done": kids}, kids: {"done": fast}, fast: {"done": one}, one: once_more, again: end}
"""
WRONG = """
from hephaestus import DONE, Workflow, step

@step(events=("a", "b"))
def one(ctx): return "a"

class Wrong(Workflow, key="k"):
    start_at = one
    transitions = {one: {"a": DONE}}
"""


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of 80 columns, without colours."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in ("HEPHAESTUS_STACK", "HEPHAESTUS_API", "HEPHAESTUS_WORKFLOWS", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)


def call(*arguments: str, stdin: str | None = None) -> Result:
    """Run the command."""
    return CliRunner().invoke(app, arguments, input=stdin)


def answer(*arguments: str, code: int = 0, stdin: str | None = None) -> Any:
    """Run the command for a program."""
    done = call(*arguments, "--json", stdin=stdin)
    assert done.exit_code == code, done.output
    return json.loads(done.stdout)


def narrow(text: str) -> bool:
    """Whether it fits 80 columns."""
    return all(len(line) <= 80 for line in text.splitlines())


def test_the_help_shows_no_command_alone() -> None:
    """Each part of it has several: a part for one command is a name that was misspelt."""
    named = [one.rich_help_panel for one in app.registered_commands]
    named += [one.rich_help_panel for one in app.registered_groups]
    assert min(Counter(map(str, named)).values()) > 1, named


def test_check_shows_what_was_understood() -> None:
    done = call("check", "workflows")
    assert done.exit_code == 0, done.output
    assert "✓ OrderFlow v1  ids orderid::<value>  tags sales" in done.stdout
    assert "charge_payment  up to 5 attempts, timeout 10 s, can be undone" in done.stdout
    assert "timeout → refund" in done.stdout
    assert narrow(done.stdout)
    assert [flow["name"] for flow in answer("check", "workflows")["workflows"]] == ["Onboarding", "OrderFlow"]


def test_check_shows_schedules_limits_and_what_maps_tolerate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And one of something is one."""
    (tmp_path / "facts_flow.py").write_text(FACTS)
    monkeypatch.setenv("COLUMNS", "200")
    done = call("check", str(tmp_path / "facts_flow.py"))
    told = [line.strip("│├└─ ") for line in done.stdout.splitlines()]
    assert "schedule nightly  30 2 * * * Europe/Rome, overlap queue, catch_up 3, jitter 10 min" in told
    assert (
        "each  up to 1 attempt, start, runs work for each item, 7 at a time, 2.5% may fail, "
        "limit files 2, a permit for up to 20 items"
    ) in told
    assert "fast  runs call for each item, 7 at a time, none may fail, limit api 20 in 1 s, 5 at once" in told, told
    assert "one  up to 1 attempt, up to 1 round, limit mail 1 for each value, limit db 8, waits included" in told
    assert (
        "kids  can be undone, runs the workflow Kid for each item, "
        "100 at a time, 16 for each 100 of more than 100 items, 3 may fail"
    ) in told
    assert "work  up to 5 attempts, can be undone, start, limit mail 1 for each value" in told
    assert any(line.startswith("again  repeats the workflow Kid, can be undone, up to 3 rounds") for line in told), told
    assert "limit kids 5, from its first step to its end" in told


def test_check_takes_paths_and_tells_everything_that_is_wrong(tmp_path: Path) -> None:
    assert call("check", str(ROOT / "layers/workflows/workflows/orders.py")).exit_code == 0
    (tmp_path / "wrong_flow.py").write_text(WRONG)
    done = call("check", str(tmp_path / "wrong_flow.py"))
    assert done.exit_code == 1
    assert "✗ Wrong: 1 problem" in done.stdout
    assert "one: declares 'b' but no transition routes it" in done.stdout
    found = answer("check", str(tmp_path / "wrong_flow.py"), code=1)
    assert [error["workflow"] for error in found["errors"]] == ["Wrong"]


def test_check_says_which_children_would_not_be_deployed(tmp_path: Path) -> None:
    """Their workflow is in none of the modules."""
    (tmp_path / "below_flow.py").write_text(BELOW)
    (tmp_path / "above_flow.py").write_text(ABOVE)
    above, below = str(tmp_path / "above_flow.py"), str(tmp_path / "below_flow.py")
    assert call("check", below, above).exit_code == 0
    done = call("check", above)
    assert done.exit_code == 1
    assert "kid: starts Below, which none of these modules holds" in " ".join(done.stdout.split())


FAMILY = """
from hephaestus import DONE, Workflow, step
from hephaestus.steps import ChildWorkflow

one = step(key="one")(lambda ctx: "done")


class Child(Workflow, key="child"):
    start_at = one
    transitions = {one: {"done": DONE}}


kid = ChildWorkflow(Child, name="kid")


class Parent(Workflow, key="parent"):
    start_at = kid
    transitions = {kid: {"done": DONE}}
"""


def test_check_finds_a_child_that_would_not_be_deployed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that holds the parent alone; the module that holds both is well, and so is the parent as such."""
    package = tmp_path / "families"
    package.mkdir()
    (package / "both.py").write_text(FAMILY)
    (package / "__init__.py").write_text("from families.both import Parent as Parent")
    monkeypatch.syspath_prepend(tmp_path)
    done = call("check", "families")
    assert done.exit_code == 1
    assert "✗ Parent: 1 problem" in done.stdout
    assert "kid: starts Child, which none of these modules holds" in " ".join(done.stdout.split())
    assert call("check", "families.both").exit_code == 0
    assert call("check", "families:Parent").exit_code == 0
    assert call("check", "families", "families.both").exit_code == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import nothing_like_that", "No module named 'nothing_like_that'"),
        ("1 / 0", "ZeroDivisionError"),
        ("x = ", "SyntaxError"),
    ],
)
def test_check_says_where_a_module_breaks(tmp_path: Path, text: str, said: str) -> None:
    name = f"broken_{len(text)}"
    (tmp_path / f"{name}.py").write_text(f"\n{text}\n")
    done = call("check", str(tmp_path / f"{name}.py"))
    assert done.exit_code == 1
    assert said in " ".join(done.stdout.split()), "however long the path is that it is wrapped behind"
    empty = tmp_path / "empty_module.py"
    empty.write_text("")
    assert call("check", str(empty)).exit_code == 1


def test_a_module_that_is_not_there() -> None:
    for arguments in (["check", "nothing_like_that"], ["check", "nothing/like.py"], ["run", "workflows:Nothing"]):
        done = call(*arguments)
        assert (done.exit_code, done.stdout) == (3, ""), done.output
        assert done.stderr.startswith("error: ")


@pytest.mark.parametrize("name", ["", ":R", "a..b", ".orders", "orders.", "...", ":"])
@pytest.mark.parametrize("command", ["check", "run"])
def test_a_name_that_no_module_has_is_rejected(command: str, name: str) -> None:
    """And not by an error of Python's import."""
    done = call(command, name)
    assert (done.exit_code, done.stdout) == (3 if command == "check" or name else 2, ""), done.output
    assert "there is no module" in done.stderr or "is no module" in done.stderr or "name a workflow" in done.stderr


def test_where_no_workflow_is_the_modules_to_name_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a folder and of a package that imports nothing, also as the current directory; of a module that holds none."""
    folder, package = tmp_path / "some_flows", tmp_path / "a_package"
    for place in (folder, package / "inner"):
        place.mkdir(parents=True)
        (place / "flow_1.py").write_text("x = 1\n")
    for file in (package / "__init__.py", package / "inner" / "__init__.py"):
        file.touch()
    monkeypatch.chdir(folder)
    for arguments in (["check", "."], ["run", "."], ["check", str(folder)], ["check", f"../{folder.name}"]):
        told = " ".join(f"{(done := call(*arguments)).stdout}{done.stderr}".split())
        assert "some_flows is a folder: name a module in it, as" in told, told
        assert done.exit_code == (1 if "check" in arguments else 2)
    monkeypatch.chdir(package / "inner")
    for arguments in (["check", ".."], ["check", str(package)], ["run", "..:Some"]):
        told = " ".join(f"{(done := call(*arguments)).stdout}{done.stderr}".split())
        assert "a_package is a package that imports no workflow: name a module in it, as a_package.inner" in told, told
    ((problem,),) = [each["problems"] for each in answer("check", "flow_1.py", code=1)["errors"]]
    assert problem == "a_package.inner.flow_1 holds no workflow"


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("approval=approved:{", "--event approval=approved:{: what follows 'approved' is not JSON"),
        ("approved:{'by': 1}", "--event approved:{'by': 1}: what follows 'approved' is not JSON"),
        ("=approved", "--event '=approved' names no step before '='"),
        ('=approved:{"a": 1}', "names no step before '='"),
        ("approval=", "--event approval=: '' is no answer"),
        ("", "--event : '' is no answer"),
        (":{}", "--event :{}: ':{}' is no answer"),
    ],
)
def test_an_answer_that_cannot_be_read_is_named_with_its_option(option: str, said: str) -> None:
    done = call("run", "workflows:OrderFlow", "--data", ORDER, "--event", option)
    assert (done.exit_code, done.stdout) == (2, ""), done.output
    assert said in " ".join(done.stderr.split())


def test_graph_draws_by_format_or_by_the_file_s_ending(tmp_path: Path) -> None:
    assert call("graph", "workflows:OrderFlow").stdout.splitlines()[3] == "flowchart TD"
    assert call("graph", "OrderFlow", "-m", "workflows", "-f", "dot").stdout.startswith('digraph "OrderFlow v1"')
    for name, start in (("a.svg", "<svg "), ("a.mmd", "---"), ("a.gv", "digraph")):
        assert call("graph", "workflows:OrderFlow", "-o", str(tmp_path / name)).exit_code == 0
        assert (tmp_path / name).read_text().startswith(start)
    assert call("graph", "workflows:OrderFlow", "-o", str(tmp_path / "no" / "a.svg")).exit_code == 2
    assert call("graph", "workflows:Onboarding", "--version", "3").exit_code == 3
    assert "OnboardingV1" not in call("graph", "workflows:Onboarding", "--version", "1").stdout


def test_cost_prints_counts_dollars_and_every_assumption() -> None:
    done = call("cost", "workflows:OrderFlow")
    assert done.exit_code == 0, done.output
    # Two steps that run side by side end together, or one by one: one commit more.
    assert re.search(r"1[01] requests of DynamoDB \([67] PutItem, 3 UpdateItem, 1 Query", done.stdout)
    for name in ("Hephaestus", "Step Functions Standard", "Lambda durable functions", "Assumed"):
        assert name in done.stdout
    assert narrow(done.stdout)
    small = answer("cost", "workflows:OrderFlow", "--input-bytes", "0", "--result-bytes", "0")
    assert small["counts"]["write_units"] in {21, 22}
    found = answer("cost", "workflows:OrderFlow", "--event", "approval=timeout", "--queued")
    assert found["counts"]["route"][-1] == ["refund", "done"]
    assert (found["counts"]["schedules"], found["counts"]["messages"]) == (1, 1)
    assert [round(bill["total"], 6) for bill in found["bills"]] == [
        round(sum(line["dollars"] for line in bill["lines"]), 6) for bill in found["bills"]
    ]
    for wrong in ("approval", "nobody=x", "approval=flown"):
        assert call("cost", "workflows:OrderFlow", "--event", wrong).exit_code == 2


@pytest.mark.parametrize(
    ("option", "given", "said"),
    [
        ("--items", "work", "--items work: write MAP=NUMBER, as resize=1000"),
        ("--items", "work=some", "--items work=some: write MAP=NUMBER, as resize=1000"),
        ("--items", "other=3", "items of other: it is no map of the workflow; there is work"),
        ("--items", "work=10000000000", "items of work: give a number from 0 to 100000, not 10000000000"),
        ("--rounds", "work", "--rounds work: write STEP=NUMBER, as poll=10"),
        ("--rounds", "work=3", "rounds of work: it is no step with rounds of the workflow; there is none"),
        ("--event", "work", "--event work: write STEP=EVENT, as charge=declined"),
    ],
)
def test_what_an_estimate_cannot_assume_is_said_by_its_option(
    option: str, given: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / "mapped_flow.py").write_text(MAPPED)
    done = call("cost", str(tmp_path / "mapped_flow.py"), option, given)
    assert (done.exit_code, said in " ".join(done.stderr.split())) == (2, True), done.output


def test_run_skips_waits_and_takes_answers() -> None:
    shown = answer("run", "workflows:OrderFlow", "--data", ORDER)
    assert (shown["status"], shown["steps"]["refund"]["results"]["why"]) == ("completed", "timeout")
    said = 'approval=approved:{"by":"Ann"}'
    shown = answer("run", "workflows:OrderFlow", "--input", "-", "--event", said, "--id", "x-1", stdin=ORDER)
    assert (shown["id"], shown["steps"]["approval"]["results"]) == ("orderid::x-1", {"by": "Ann"})
    shown = answer("run", "workflows:OrderFlow", "--data", ORDER, "--event", "rejected")
    assert shown["steps"]["approval"]["event"] == "rejected"


def test_run_tells_a_person_how_it_went() -> None:
    done = call("run", "workflows:Onboarding", "--data", '{"email": "a@example.org"}', "-e", "feedback=happy")
    assert done.exit_code == 0, done.output
    assert "… skips 5.0 s" in done.stdout
    assert "… feedback: happy" in done.stdout
    assert "orderid" not in done.stdout
    assert "customerid::local  ✓ completed  Onboarding v2" in done.stdout
    assert narrow(done.stdout)


POLLS = """
from hephaestus import DONE, Rounds, Workflow
from hephaestus.steps import Poll

class Shipping(Workflow, key="order"):
    shipped = Poll(lambda ctx: False, every=60, rounds=Rounds(9), ends_on=("delivered",), name="shipped")
    start_at = shipped
    transitions = {shipped: {"done": DONE, "delivered": DONE}}
"""


def test_an_answer_is_also_for_a_poll_between_two_rounds(tmp_path: Path) -> None:
    (tmp_path / "polls.py").write_text(POLLS)
    shown = answer("run", f"{tmp_path / 'polls.py'}:Shipping", "-e", 'shipped=delivered:{"by":"Ann"}')
    assert (shown["status"], shown["steps"]["shipped"]["results"]) == ("completed", {"by": "Ann"})


PARENT = """
from hephaestus import DONE, Workflow
from hephaestus.steps import ChildWorkflow, WaitForEvent

class Kid(Workflow, key="kid"):
    gate = WaitForEvent("go", name="gate")
    start_at = gate
    transitions = {gate: {"go": DONE}}

class Middle(Workflow, key="middle"):
    kid = ChildWorkflow(Kid)
    start_at = kid
    transitions = {kid: {"done": DONE}}

class Top(Workflow, key="top"):
    middle = ChildWorkflow(Middle)
    start_at = middle
    transitions = {middle: {"done": DONE}}
"""


def test_a_run_has_the_children_of_its_workflow_and_answers_them(tmp_path: Path) -> None:
    (tmp_path / "parents.py").write_text(PARENT)
    target = f"{tmp_path / 'parents.py'}:Top"
    shown = answer("run", target, "-e", 'gate=go:{"by":"Ann"}')
    assert (shown["status"], shown["output"]) == ("completed", {"by": "Ann"})
    assert "it has middle, kid, gate" in call("run", target, "-e", "gone=go").stderr
    left = call("run", target)
    assert (left.exit_code != 0, "gate takes go" in left.stderr) == (True, True), left.output


MANY = """
from hephaestus import DONE, Workflow
from hephaestus.steps import Map, WaitForEvent

class Many(Workflow, key="many"):
    asked = Map(WaitForEvent("yes", name="ask", timeout=60), over=lambda _: range(250), name="asked", concurrency=250)
    start_at = asked
    transitions = {asked: {"done": DONE}}
"""


def test_a_run_has_the_items_that_other_instances_run(tmp_path: Path) -> None:
    """Rule C.1: they are answered, and time out, as those of one instance."""
    (tmp_path / "many.py").write_text(MANY)
    shown = answer("run", f"{tmp_path / 'many.py'}:Many", "-e", "asked=yes", "-e", "yes")
    assert (shown["status"], shown["output"]["events"]) == ("completed", {"timeout": 248, "yes": 2})
    assert shown["steps"]["asked"]["progress"] == {"total": 250, "completed": 250, "failed": 0}


def test_an_answer_that_nobody_wanted_is_told() -> None:
    done = call("run", "workflows:Onboarding", "--data", '{"email": "a@b.c"}', "-e", "feedback=happy", "-e", "happy")
    assert done.exit_code == 0
    assert done.stderr == "not used: --event happy\n"


def test_a_step_s_own_answer_comes_first_and_each_is_used_once() -> None:
    shown = answer("run", "workflows:OrderFlow", "--data", ORDER, "-e", "approved", "-e", "approval=rejected")
    assert shown["steps"]["approval"]["event"] == "rejected"


def test_real_time_is_waited_for_and_other_time_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    skipping, real = SkippingClock(real=False), SkippingClock(real=True)
    before = skipping.now()
    skipping.move_to(before + 3_600_000)
    assert skipping.now() >= before + 3_600_000
    assert slept == []
    real.sleep(1_500)
    real.move_to(real.now() - 5)
    assert slept == [1.5, 0]


def test_run_in_real_time_ends_as_well() -> None:
    shown = answer(
        "run", "workflows:Onboarding", "--data", '{"email": "a@example.org"}', "--version", "1", "--real-time"
    )
    assert shown["status"] == "completed"


def test_run_ends_with_status_1_when_the_instance_ends_badly(tmp_path: Path) -> None:
    (tmp_path / "failing_flow.py").write_text(
        "from hephaestus import DONE, NonRetryable, Workflow, step\n\n\n@step\ndef fail(ctx):\n"
        "    raise NonRetryable('no \\x1b[31m<b>')\n\n\nclass Failing(Workflow, key='k'):\n"
        "    start_at = fail\n    transitions = {fail: {'done': DONE}}\n"
    )
    done = call("run", str(tmp_path / "failing_flow.py"))
    assert done.exit_code == 1
    assert "✗ failed" in done.stdout
    assert "no \\x1b[31m<b>" in done.stdout
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["run", "workflows:OrderFlow", "--data", "{"], 2),
        (["run", "workflows:OrderFlow", "--data", "[1]"], 2),
        (["run", "workflows:OrderFlow", "--data", "{}", "--input", "x"], 2),
        (["run", "workflows:OrderFlow", "--input", "/no/such/file"], 2),
        (["run", "workflows:OrderFlow", "--data", ORDER, "--event", ":"], 2),
        (["run", "workflows:OrderFlow", "--data", "{}"], 4),
        (["run", "OrderFlow"], 2),
        (["run"], 2),
        (["fly"], 2),
        (["--stack", "a", "--table", "b", "get", "x::y", "--region", "eu-west-1"], 2),
    ],
)
def test_wrong_use_is_told_by_status_and_on_standard_error(arguments: list[str], code: int) -> None:
    done = call(*arguments)
    assert (done.exit_code, done.stdout) == (code, ""), done.output
    assert done.stderr


def test_an_error_for_a_program_is_json() -> None:
    done = call("run", "workflows:OrderFlow", "--data", "{}", "--json")
    told = json.loads(done.stderr)
    assert (told["type"], told["exit_code"]) == ("InvalidInput", 4)


def test_help_and_version_and_completion() -> None:
    assert "Steer" in call("--help").stdout
    assert call("--version").stdout.startswith("hephaestus ")
    script = CliRunner().invoke(app, [], env={"_HEPHAESTUS_COMPLETE": "source_bash"}, prog_name="hephaestus").stdout
    assert "_HEPHAESTUS_COMPLETE=complete_bash" in script


LINKED = """
from hephaestus import DONE, Workflow, step
from hephaestus.steps import WaitForEvent

answered = WaitForEvent("yes", name="answered")

@step
def ask(ctx):
    return {"link": ctx.callback_url("yes", step="answered")}

class Linked(Workflow, key="linkedid"):
    start_at = ask
    transitions = {ask: {"done": answered}, answered: {"yes": DONE}}
"""
SHARED = """
from hephaestus import DONE, Workflow, step

@step
def ok(ctx):
    return "done"

class Left(Workflow, key="name"):
    start_at = ok
    transitions = {ok: {"done": DONE}}

class Right(Workflow, key="name"):
    start_at = ok
    transitions = {ok: {"done": DONE}}
"""


def test_a_workflow_with_links_runs(tmp_path: Path) -> None:
    (tmp_path / "linked_flow.py").write_text(LINKED)
    shown = answer("run", str(tmp_path / "linked_flow.py"), "--event", "yes")
    assert shown["status"] == "completed"
    assert shown["steps"]["ask"]["results"]["link"].startswith("https://local.test/callbacks/")


@pytest.mark.parametrize("command", ["check", "run", "graph"])
@pytest.mark.parametrize("member", ["", ":Left"])
def test_workflows_that_clash_are_the_reason_that_is_shown(command: str, member: str, tmp_path: Path) -> None:
    (tmp_path / "shared_key.py").write_text(SHARED)
    done = call(command, f"{tmp_path / 'shared_key.py'}{member}")
    assert done.exit_code
    assert "its business key 'name' belongs to Left" in " ".join(f"{done.stdout} {done.stderr}".split())
    assert "Traceback" not in done.output + done.stderr


def test_check_takes_one_workflow_of_a_module() -> None:
    assert [flow["name"] for flow in answer("check", "workflows:OrderFlow")["workflows"]] == ["OrderFlow"]
    done = call("check", "workflows:Nothing")
    assert (done.exit_code, done.stdout) == (3, "")
    assert "workflows has no workflow Nothing: it has Onboarding, OrderFlow" in done.stderr


def test_start_data_may_stand_in_the_place_of_their_file(tmp_path: Path) -> None:
    (tmp_path / "linked_flow.py").write_text(LINKED)
    path = str(tmp_path / "linked_flow.py")
    assert answer("run", path, "--event", "yes", "--input", ' {"a": 1}')["context"] == {"a": 1}
    assert "must be a JSON object" in call("run", path, "--input", "[1]").stderr
    assert "the start data" in call("run", path, "--input", '{"a": }').stderr


def test_where_no_stack_is_deployed_there_are_no_dead_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who names the stack of `hephaestus dev` is not told to name a stack alone."""
    monkeypatch.setattr(Session, "connection", SimpleNamespace(stack=None))
    done = call("dlq", "redrive", "--stack", "dev")
    assert done.exit_code == 2
    assert "hephaestus dev has none" in " ".join(done.stderr.split())
