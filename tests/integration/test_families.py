"""Parents, children and the items of maps, by API and by command line: how they are shown and steered."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from hephaestus import DONE, Pending, Retry, StepContext, Workflow, step
from hephaestus.cli.app import app
from hephaestus.cli.terminal import Session
from hephaestus.steps import ChildWorkflow, Map
from tests.integration.deployment import Deployment, api, deploy, pass_time

if TYPE_CHECKING:
    from hephaestus.operations import Connection

TOP = "voyage::1"
NUMBER = 25


LINKS: dict[str, str] = {}


@step(events=("loaded", "timeout"), retry=Retry(max_attempts=1))
def load(ctx: StepContext) -> Pending:
    """Wait until a crate is loaded; each fifth is broken."""
    LINKS[ctx.item_key] = ctx.callback_url("loaded")
    if ctx.index % 5 == 4:
        message = f"crate {ctx.item} is broken"
        raise ValueError(message)
    return Pending(timeout=timedelta(days=1), heartbeat=timedelta(minutes=10))


class Loading(Workflow, key="loading"):
    """A crate at a time."""

    crates = Map(load, over=lambda ctx: range(NUMBER), key=lambda crate: f"crate-{crate}", tolerate="50%")
    start_at = crates
    transitions = {crates: {"done": DONE}}


class Voyage(Workflow, key="voyage"):
    """A ship, loaded by a child."""

    loading = ChildWorkflow(Loading)
    start_at = loading
    transitions = {loading: {"done": DONE}}


@step
def sign(ctx: StepContext) -> dict[str, str]:
    """Sign it."""
    return {"by": "ann"}


class Signature(Workflow, key="signature"):
    """One step."""

    start_at = sign
    transitions = {sign: {"done": DONE}}


class Contract(Workflow, key="contract"):
    """It is signed by a child of a child."""

    class Page(Workflow, key="contractpage"):
        """In between."""

        signature = ChildWorkflow(Signature)
        start_at = signature
        transitions = {signature: {"done": DONE}}

    page = ChildWorkflow(Page, name="page")
    start_at = page
    transitions = {page: {"done": DONE}}


@pytest.fixture
def deployment(monkeypatch: pytest.MonkeyPatch) -> Deployment:
    """The functions, with a voyage whose crates wait."""
    deployed = deploy(monkeypatch, Voyage, Loading, Contract, Contract.Page, Signature)
    deployed.invoke("start", {"workflow": "Voyage", "id": "1"})
    deployed.pump()
    return deployed


@pytest.fixture
def loading(deployment: Deployment) -> str:
    """The id of the child."""
    return str(deployment.runner.get(TOP, tree=True).children[0]["id"])


@pytest.fixture
def _connected(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Session, "connection", connection)
    monkeypatch.setenv("COLUMNS", "80")


def read(deployment: Deployment, path: str, **query: str) -> tuple[int, Any]:
    """An answer of the API."""
    event = api("api-get", path=path, queryStringParameters=query or None)
    status, body, _ = deployment.call("read", event)
    return status, body


def call(*arguments: str, code: int = 0) -> str:
    """Run the command."""
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == code, done.output
    return done.output


def answer(*arguments: str) -> Any:
    """Run it for a program."""
    return json.loads(call(*arguments, "--json"))


class TestApi:
    """What a program gets."""

    def test_who_waits_for_an_instance_waits_for_its_children(self, deployment: Deployment) -> None:
        """As long as one of them runs; not for one that waits itself, and not beyond the time."""

        def started(workflow: str, number: str, wait: int) -> tuple[int, Any]:
            path = f"/workflows/{workflow}/instances"
            event = api(
                "api-start", body={"id": number, "context": {}}, prefer=f"wait={wait}", path=path, resource=None
            )
            status, shown, _ = deployment.call("start", event)
            return status, shown

        status, shown = started("Contract", "1", 20)
        assert (status, shown["status"], shown["output"]) == (200, "completed", {"by": "ann"})
        status, shown = started("Voyage", "2", 20)
        assert (status, shown["status"], shown["steps"]["loading"]["status"]) == (200, "waiting", "waiting")
        child = deployment.runner.get("voyage::2", tree=True).children[0]
        assert child["status"] == "waiting"
        deployment.delivers = False
        assert started("Contract", "2", 1)[0] == 202

    def test_a_tree_is_shown_on_request(self, deployment: Deployment, loading: str) -> None:
        """Each child with its step, its path and its status; without the request none is read."""
        status, shown = read(deployment, f"/instances/{TOP}", tree="true")
        (child,) = shown["children"]
        assert (status, child["id"], child["step"], child["status"]) == (200, loading, "loading", "waiting")
        assert "children" not in read(deployment, f"/instances/{TOP}")[1]
        below = read(deployment, f"/instances/{loading}")[1]
        assert (below["parent"], below["root"], below["path"]) == (TOP, TOP, "loading")
        assert read(deployment, f"/instances/{TOP}", tree="maybe")[0] == 400

    def test_children_are_listed_where_they_are_asked_for(self, deployment: Deployment, loading: str) -> None:
        """By their parent, or with all others; else only roots are."""

        def listed(**query: str) -> list[str]:
            status, page = read(deployment, "/instances", **query)
            assert status == 200
            return [one["id"] for one in page["items"]]

        assert listed() == [TOP]
        assert listed(parent=TOP) == [loading]
        assert sorted(listed(children="true")) == [loading, TOP]
        assert listed(children="true", workflow="Loading") == [loading]
        assert listed(parent=loading) == []
        assert read(deployment, "/instances", parent="no id")[0] == 400

    def test_items_are_paged_also_by_status(self, deployment: Deployment, loading: str) -> None:
        """The pages together are the items, in order, each once."""
        path = f"/instances/{loading}/items"
        for status, numbers in ((None, range(NUMBER)), ("failed", range(4, NUMBER, 5))):
            keys: list[str] = []
            query = {"step": "load", "limit": "2"} | ({"status": status} if status else {})
            cursor: str | None = ""
            while cursor is not None:
                code, page = read(deployment, path, **query, **({"cursor": cursor} if cursor else {}))
                assert code == 200
                assert 0 < len(page["items"]) <= 2
                keys += [one["key"] for one in page["items"]]
                cursor = page["cursor"]
            assert keys == [f"crate-{number}" for number in numbers]

    @pytest.mark.parametrize(
        ("query", "code"),
        [
            ({"step": "load", "cursor": "x"}, 400),
            ({"step": "load", "limit": "0"}, 400),
            ({"step": "load", "statsu": "failed"}, 400),
            ({"step": "odd"}, 404),
        ],
    )
    def test_malformed_questions_are_rejected(
        self, deployment: Deployment, loading: str, query: dict[str, str], code: int
    ) -> None:
        """With what is wrong."""
        assert read(deployment, f"/instances/{loading}/items", **query)[0] == code

    def test_a_heartbeat_names_its_item(
        self, deployment: Deployment, loading: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It puts off that item's alarm alone."""
        pass_time(monkeypatch, 500)
        path = f"/instances/{loading}/heartbeat"
        event = api("api-heartbeat", path=path, body={"step": "load", "item": "crate-3"})
        assert deployment.call("resume", event)[0] in {200, 202}
        pass_time(monkeypatch, 200)  # the others are silent for 700 s
        deployment.invoke("sweep", {"source": "aws.events", "detail-type": "Scheduled Event"})
        deployment.pump()
        _, page = read(deployment, f"/instances/{loading}/items", step="load", status="waiting")
        assert [one["key"] for one in page["items"]] == ["crate-3"]

    def test_a_link_says_which_item_it_is_for(self, deployment: Deployment) -> None:
        """On its page, and to a program."""
        token = LINKS["crate-7"].rpartition("/")[2]
        event = api("api-callback-show", path=f"/callbacks/{token}", pathParameters={"token": token})
        event["headers"] = {"Accept": "text/html"}
        page = deployment.invoke("callback", event)["body"]
        assert "<dt>Step</dt><dd>load</dd><dt>Item</dt><dd>crate-7</dd>" in page
        event["headers"] = {"Accept": "application/json"}
        status, shown, _ = deployment.call("callback", event)
        assert (status, shown["step"], shown["item"]) == (200, "load", "crate-7")

    def test_an_event_names_its_item(self, deployment: Deployment, loading: str) -> None:
        """Without it, it is ambiguous; for one that does not wait, it is rejected."""
        path = f"/instances/{loading}/events"

        def send(body: dict[str, Any]) -> tuple[int, Any]:
            event = api("api-resume", path=path, body=body)
            event["headers"].pop("Idempotency-Key", None)  # each is a request of its own
            status, answered, _ = deployment.call("resume", event)
            deployment.pump()
            return status, answered

        assert send({"event": "loaded"})[0] == 422
        assert send({"event": "loaded", "step": "load", "item": "crate-0", "payload": {"by": "ann"}})[0] == 202
        first = read(deployment, f"/instances/{loading}/items", step="load", limit="1")[1]["items"][0]
        assert (first["key"], first["status"], first["event"]) == ("crate-0", "completed", "loaded")
        status, problem = send({"event": "loaded", "step": "load", "item": "crate-99"})
        assert (status, "crate-99" in problem["detail"]) == (422, True)


@pytest.mark.usefixtures("_connected")
class TestCommandLine:
    """What a person sees."""

    def test_a_tree_is_drawn(self, loading: str) -> None:
        """And a child says whose it is."""
        said = call("get", TOP, "--tree")
        assert said.startswith(f"{TOP}  ◷ waiting\n└── loading  {loading}  ◷ waiting")
        (child,) = answer("get", TOP, "--tree")["children"]
        assert child["id"] == loading
        assert f"loading waits for the child {loading} (for " in call("get", TOP).replace("\n", " ")
        assert f"→ hephaestus get {TOP} --tree" in call("get", TOP)
        shown = " ".join(call("get", loading).split())
        assert "load 5 of 25 items have ended, 5 of them failed; 20 waiting for `loaded` " in shown
        assert f"→ hephaestus items {loading} load --status failed" in shown
        assert f"→ hephaestus resume {loading} loaded --step load --item KEY" in shown
        assert f"child of {TOP}, at loading" in shown
        assert f"loading of {TOP}" not in shown
        dry = " ".join(call("redrive", loading, "--dry-run").split())
        assert dry == f"{loading} is waiting: there is nothing to redrive"

    def test_children_are_listed(self, loading: str) -> None:
        """Of one parent, or of all."""
        assert [one["id"] for one in answer("list")["items"]] == [TOP]
        assert [one["id"] for one in answer("list", "--parent", TOP)["items"]] == [loading]
        assert len(answer("list", "--children")["items"]) == 2
        assert call("list", "--parent", loading) == "no instances like that\n"
        nothing = "would pause 0 instances\nchildren are left out: their roots steer them\n"
        assert call("bulk", "pause", "--workflow", answer("get", loading)["workflow"]) == nothing

    def test_items_are_paged(self, loading: str) -> None:
        """The line at the end says how to go on."""
        first = answer("items", loading, "load", "--status", "failed", "--limit", "3")
        assert [one["key"] for one in first["items"]] == ["crate-4", "crate-9", "crate-14"]
        rest = answer("items", loading, "load", "--status", "failed", "--limit", "3", "--cursor", first["cursor"])
        assert ([one["key"] for one in rest["items"]], rest["cursor"]) == (["crate-19", "crate-24"], None)
        said = call("items", loading, "load", "--status", "failed", "--limit", "3")
        assert "ValueError: crate 4 is broken" in said
        assert f"--cursor {first['cursor']}" in said.replace("'", "")

    def test_an_item_is_answered_and_kept_alive(
        self, loading: str, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """``--item`` names it; who forgets it is told what there is."""
        assert "name the item that is meant" in " ".join(call("resume", loading, "loaded", code=4).split())
        call("resume", loading, "loaded", "--item", "crate-0", "--wait", "10")
        pass_time(monkeypatch, 500)
        call("heartbeat", loading, "--step", "load", "--item", "crate-3")
        pass_time(monkeypatch, 200)
        deployment.invoke("sweep", {"source": "aws.events", "detail-type": "Scheduled Event"})
        deployment.pump()
        assert [one["key"] for one in answer("items", loading, "load", "--status", "waiting")["items"]] == ["crate-3"]

    def test_a_child_is_steered_at_its_root(self, loading: str, deployment: Deployment) -> None:
        """The answer names the root; what is done there reaches the child."""
        assert TOP in call("cancel", loading, code=4)
        call("cancel", TOP)
        deployment.pump()
        assert [child["status"] for child in answer("get", TOP, "--tree")["children"]] == ["cancelled"]
        assert "--status waiting" not in call("get", loading)
        assert "--tree" not in call("get", TOP)
