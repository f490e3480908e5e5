"""A module of workflows that cannot be loaded takes down its own workflows and no others."""

from __future__ import annotations

import builtins
import logging
import sys
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from hephaestus import UnknownWorkflow, WorkflowUnavailable
from hephaestus.runtime.registry import Registry
from hephaestus.testing import LocalRuntime

if TYPE_CHECKING:
    from pathlib import Path

FLOW = """
from hephaestus import DONE, Workflow, step

@step
def first(ctx):
    return {{"ok": True}}

class {name}(Workflow, key="{key}"):
    start_at = first
    transitions = {{first: {{"done": DONE}}}}
"""
SOUND = FLOW.format(name="Parcel", key="parcelid")
BROKEN = {
    "raises": f"{SOUND}\nraise RuntimeError('no database')",
    "exits": f"{SOUND}\nraise SystemExit(3)",
    "is cancelled": f"{SOUND}\nimport asyncio\nraise asyncio.CancelledError",
    "is interrupted": f"{SOUND}\nraise KeyboardInterrupt",
    "skips as a test": f"{SOUND}\nimport pytest\npytest.importorskip('not_there_at_all')",
    "is no Python": "class Parcel(",
    "imports what is not there": "import not_there_at_all",
    "has a workflow with mistakes": SOUND.replace('key="parcelid"', "key=3"),
    "has a name twice": SOUND
    + FLOW.format(name="Letter", key="other")
    .replace("Letter(", "Other(")
    .replace('key="other"', 'key="other", name="Letter"'),
    "has a key that is another's": FLOW.format(name="Parcel", key="letterid"),
}

CLASHES = ("has a name twice", "has a key that is another's")  # of two that clash, the later one is broken


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # a file is written twice within its time stamp's grain
    (tmp_path / "sound_letters.py").write_text(FLOW.format(name="Letter", key="letterid"))
    (tmp_path / "some_parcels.py").write_text(SOUND)
    return tmp_path


@pytest.fixture(autouse=True)
def forgotten() -> None:
    for name in ("sound_letters", "some_parcels"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("mistake", "order"),
    [
        *((mistake, ("sound_letters", "some_parcels")) for mistake in BROKEN),
        *((mistake, ("some_parcels", "sound_letters")) for mistake in BROKEN if mistake not in CLASHES),
    ],
)
def test_the_others_are_there_and_its_own_are_unavailable_until_it_is_fixed(
    place: Path, mistake: str, order: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    (place / "some_parcels.py").write_text(BROKEN[mistake])
    registry = Registry.load(order)
    with caplog.at_level(logging.ERROR, logger="hephaestus.registry"):
        assert registry.names() == ["Letter"]
    assert registry.unavailable() == ["some_parcels"]
    assert "module some_parcels are not available" in caplog.text
    with pytest.raises(
        WorkflowUnavailable, match=r"no workflow 'Parcel'; deployed workflows: Letter. Others could not"
    ):
        registry.get("Parcel")
    (place / "some_parcels.py").write_text(SOUND)
    sys.modules.pop("some_parcels", None)
    assert registry.get("Parcel").name == "Parcel"
    assert registry.names() == ["Letter", "Parcel"]
    assert registry.unavailable() == []
    with pytest.raises(UnknownWorkflow) as unknown:
        registry.get("Nothing")
    assert not isinstance(unknown.value, WorkflowUnavailable)


def test_an_instance_waits_for_its_module_and_goes_on(place: Path) -> None:
    registry = Registry.load(["sound_letters", "some_parcels"])
    parcel = registry.get("Parcel")
    local = LocalRuntime(registry.get("Letter"), parcel)
    (place / "some_parcels.py").write_text(BROKEN["raises"])
    local.runner.registry = Registry.load(["sound_letters", "some_parcels"])
    sys.modules.pop("some_parcels", None)
    with pytest.raises(WorkflowUnavailable):
        local.runner.start_instance("Parcel", {}, id="1")
    local.runner.registry = registry
    started = local.runner.start_instance("Parcel", {}, id="1", dispatch=None)
    local.runner.registry = Registry.load(["sound_letters", "some_parcels"])
    local.advance(timedelta(seconds=1))
    parked = local.runner.get(started)
    assert parked.parked is not None
    assert "deployed workflows: Letter. Others could not be loaded: the log of the function, or of" in parked.parked
    assert local.runner.start_instance("Letter", {}, id="1")
    (place / "some_parcels.py").write_text(SOUND)
    local.advance(timedelta(hours=2))
    local.sweep()
    local.advance(timedelta(seconds=1))
    assert local.runner.get(started).status == "completed", parked


def test_a_broken_module_is_imported_once_a_lookup(place: Path) -> None:
    """The first lookup of a cold start too, which has loaded everything just now."""
    (place / "some_parcels.py").write_text("import builtins\nbuiltins.tries.append(1)\nraise RuntimeError")
    registry, tries = Registry.load(["sound_letters", "some_parcels"]), list[int]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builtins, "tries", tries, raising=False)
        for expected in (1, 2, 3):
            with pytest.raises(WorkflowUnavailable):
                registry.get("Parcel")
            assert len(tries) == expected


def test_the_status_of_what_is_unavailable_asks_to_try_again() -> None:
    assert (UnknownWorkflow.status, WorkflowUnavailable.status) == (404, 503)
