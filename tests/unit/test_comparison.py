"""``hephaestus check --deployed``: a deployment that would park open instances is rejected before it is one."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from hephaestus.cli import terminal
from hephaestus.cli.app import app
from hephaestus.handlers.http.describe import describe
from hephaestus.operations import NoSuchStack
from tests.unit.test_changed_graphs import AT_THE_GATE, BEFORE, flow

if TYPE_CHECKING:
    from pathlib import Path

    from typer.testing import Result

    from hephaestus.store.filters import ListFilter

OPEN = {"pending", "running", "waiting", "compensating"}
MODULE = """
from hephaestus import Workflow
from tests.unit.test_changed_graphs import *

class Parcel(Workflow, key="parcel"):
    start_at, transitions = check, {edges}
"""


@dataclass
class Deployed:
    """A deployment with one workflow; ``open`` are the pages of its open instances."""

    edges: dict[Any, Any]
    open: list[list[str]]
    asked: list[ListFilter] = field(default_factory=list)

    def workflows(self) -> list[dict[str, Any]]:
        return [describe(flow(self.edges))]

    def list(self, wanted: ListFilter, *, cursor: str | None = None) -> dict[str, Any]:
        self.asked.append(wanted)
        assert wanted.children, "what has a parent waits as well"
        at = int(cursor or 0)
        return {"items": self.open[at], "cursor": str(at + 1) if at + 1 < len(self.open) else None}


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """A module with the workflow as ``BEFORE``, or with the edges that the test names."""
    monkeypatch.syspath_prepend(str(tmp_path))
    name = f"parcels_{abs(hash(request.node.name))}"
    (tmp_path / f"{name}.py").write_text(MODULE.format(edges=getattr(request, "param", "BEFORE")))
    return str(tmp_path / f"{name}.py")


def check(module: str, monkeypatch: pytest.MonkeyPatch, found: Any, *options: str) -> Result:
    def connect(*_: Any, **__: Any) -> Any:
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(terminal, "connect", connect)
    return CliRunner().invoke(app, ["check", module, "--deployed", *options])


def test_what_is_deployed_as_it_is_here_passes(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told = check(module, monkeypatch, Deployed(BEFORE, [["parcel::1"]]))
    assert (told.exit_code, told.stderr) == (0, "")


def test_a_changed_graph_with_open_instances_is_wrong(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Deployed(AT_THE_GATE, [[], ["parcel::1"]])
    told = check(module, monkeypatch, found, "--json")
    assert told.exit_code == 1
    (wrong,) = json.loads(told.stdout)["errors"]
    assert wrong["workflow"] == "Parcel"
    said = "version 1 is deployed with another graph (gate); give the new one another version, beside this one"
    assert wrong["problems"] == [f"{said}: instances of it are open, and would be parked"]
    assert {*(found.asked[0].statuses or ())} == OPEN
    assert (found.asked[0].workflow, found.asked[0].version) == ("Parcel", 1)


def test_a_changed_graph_without_open_instances_is_only_said(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told = check(module, monkeypatch, Deployed(AT_THE_GATE, [[]]))
    assert told.exit_code == 0
    assert "no instance of it is open" in " ".join(told.stderr.split())


@pytest.mark.parametrize(("pages", "code"), [([["parcel::1"]], 1), ([[]], 0)])
def test_a_version_that_is_missing_is_wrong_while_instances_of_it_are_open(
    pages: list[list[str]], code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "other_parcels.py"
    path.write_text(MODULE.format(edges="BEFORE").replace('Parcel(Workflow, key="parcel")', 'Other(Workflow, key="o")'))
    told = check(str(path), monkeypatch, Deployed(BEFORE, pages))
    assert told.exit_code == code
    assert "1 is deployed and missing here" in " ".join((told.stdout + told.stderr).split())


def test_where_nothing_is_deployed_nothing_is_compared(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first deployment of a stack."""
    told = check(module, monkeypatch, NoSuchStack("there is no stack shop"))
    assert told.exit_code == 0
    assert "nothing to compare with: there is no stack shop" in " ".join(told.stderr.split())
