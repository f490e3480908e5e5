"""Objects of a folder, which maps read where nothing of AWS is."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from hephaestus.cli.app import app
from hephaestus.definition import default
from hephaestus.dev.folder import Folder
from hephaestus.dev.reloading import Modules
from hephaestus.dev.serving_all import serving
from tests.unit.test_dev import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FLOW = """
from hephaestus import DONE, Items, Workflow, step
from hephaestus.steps import Map

@step
def book(ctx):
    return {"booked": ctx.item["sku"]}

class Booking(Workflow, key="booking"):
    rows = Map(book, over=lambda ctx: Items.s3("uploads", ctx.initial["key"]))
    start_at = rows
    transitions = {rows: {"done": DONE}}
"""
MODULE = "objects_flow"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A module, and a bucket with an object."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("COLUMNS", "400")
    (tmp_path / f"{MODULE}.py").write_text(FLOW)
    (tmp_path / "buckets" / "uploads").mkdir(parents=True)
    (tmp_path / "buckets" / "uploads" / "today.csv").write_text("sku\na\nb\n")
    yield tmp_path
    sys.modules.pop(MODULE, None)
    default.use(None)


def run(project: Path, key: str, *arguments: str, code: int = 0) -> str:
    """Run the workflow."""
    given = ["run", f"{project}/{MODULE}.py", "--data", json.dumps({"key": key}), *arguments]
    done = CliRunner().invoke(app, given)
    assert done.exit_code == code, done.output
    return done.output


def test_a_run_reads_the_folder_that_it_is_given(project: Path) -> None:
    """Without one it says what to give, and of a file that is not there which it would be."""
    buckets = str(project / "buckets")
    assert "completed 2/2" in run(project, "today.csv", "--objects", buckets)
    assert "give `hephaestus run` or `hephaestus dev` a folder" in run(project, "today.csv", code=1)
    path = project / "buckets" / "uploads" / "no.csv"
    assert f"it would be the file {path}" in run(project, "no.csv", "--objects", buckets, code=1)
    assert "does not exist" in run(project, "today.csv", "--objects", f"{project}/nothing", code=2)


def test_dev_reads_the_folder_that_it_is_given(project: Path) -> None:
    with (
        Folder(project) as folder,
        serving(folder, Modules([MODULE]), port=0, console_port=0, by="ann", objects=project / "buckets") as served,
    ):
        runner = served.embedded.runner
        runner.start_instance("Booking", {"key": "today.csv"}, id="1")
        until(lambda: runner.get("booking::1").closed)
        shown = runner.get("booking::1")
        assert shown.status == "completed", shown.error
        assert [one.results["booked"] for one in runner.items("booking::1", "book").items] == ["a", "b"]
