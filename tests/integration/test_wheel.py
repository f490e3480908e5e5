"""The wheel is what a team needs: it holds the stack as it stands in this repository, and is small."""

from __future__ import annotations

from typing import TYPE_CHECKING
from zipfile import ZipFile

import pytest

from hephaestus.project.packaged import sources
from tests.wheels import ROOT, build_wheel

if TYPE_CHECKING:
    from pathlib import Path

MOST = 1_050_000  # bytes


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as it is published."""
    return build_wheel(tmp_path_factory.mktemp("wheel"))


def test_the_wheel_holds_the_one_template_the_handlers_the_document_and_the_console(wheel: Path) -> None:
    with ZipFile(wheel) as packed:
        names = set(packed.namelist())
        prefix = "hephaestus/project/stack/"
        stack = {name.removeprefix(prefix): packed.read(name).decode() for name in names if name.startswith(prefix)}
    assert stack == sources()
    assert stack["template.yaml"] == (ROOT / "template.yaml").read_text()
    functions = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("functions/*/app.py")}
    assert functions | {"template.yaml", "layers/hephaestus/Makefile", "layers/hephaestus/requirements.txt"} == set(
        stack
    )
    library = ROOT / "layers" / "hephaestus"
    held = {path.relative_to(library).as_posix() for path in (library / "hephaestus").rglob("*") if path.is_file()}
    assert {path for path in held if "__pycache__" not in path} <= names


def test_the_wheel_is_small(wheel: Path) -> None:
    assert wheel.stat().st_size <= MOST
