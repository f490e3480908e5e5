"""What ``hephaestus init`` and ``hephaestus upgrade`` do to a folder."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cfnlint.decode import cfn_yaml  # type: ignore[import-untyped]  # cfn-lint ships no types
from typer.testing import CliRunner

from hephaestus import __version__
from hephaestus.cli.app import app
from hephaestus.errors import BadRequest
from hephaestus.project import packaged
from hephaestus.project.changes import MANIFEST, plan_init, plan_upgrade
from hephaestus.project.skeleton_files import new_project

if TYPE_CHECKING:
    from typer.testing import Result

ROOT = Path(__file__).parents[2]
NEXT = "99.0.0"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments])


def everything(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A folder that was set up."""
    assert run("init", str(tmp_path / "shop")).exit_code == 0
    return tmp_path / "shop"


def test_an_empty_folder_gets_every_file_and_the_answer_names_them(tmp_path: Path) -> None:
    told = run("init", str(tmp_path / "my.shop"))
    assert told.exit_code == 0, told.output
    written = everything(tmp_path / "my.shop")
    assert "src/my_shop/purchases.py" in written
    for path in written:
        assert path in told.output or path.startswith(packaged.FOLDER) or path == MANIFEST
    assert not any(re.search(rb"@[A-Z]+@", text) for text in written.values())
    assert b'stack_name = "my-shop"' in written["samconfig.toml"]
    assert "pip install -r requirements.txt" in told.output


def test_the_command_that_enters_the_new_folder_can_be_pasted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where its name has a space."""
    monkeypatch.chdir(tmp_path)
    told = run("init", "my shop")
    assert told.exit_code == 0, told.output
    assert "  cd 'my shop'\n" in told.output
    assert "  hephaestus dev src/my_shop\n" in told.output


def test_the_team_s_template_nests_the_packaged_stack_with_parameters_that_it_has(shop: Path) -> None:
    own, stack = (cfn_yaml.load(str(shop / path)) for path in ("template.yaml", f"{packaged.FOLDER}/template.yaml"))
    nested = own["Resources"]["Hephaestus"]["Properties"]
    assert (shop / nested["Location"]).is_file()
    required = {name for name, it in stack["Parameters"].items() if "Default" not in it}
    assert required == {"StackName", "WorkflowsLayer"} <= set(nested["Parameters"]) <= set(stack["Parameters"])
    assert own["Outputs"]["HephaestusStack"]["Value"] == {"Ref": "Hephaestus"}


def test_the_nested_stack_is_the_one_template_but_for_its_name_and_layer() -> None:
    """Every other resource, parameter and output is as it stands in ``template.yaml``."""
    one = cfn_yaml.loads((ROOT / "template.yaml").read_text().replace("AWS::StackName", "StackName"))
    nested = cfn_yaml.loads(packaged.nested((ROOT / "template.yaml").read_text()))
    del one["Resources"]["WorkflowsLayer"]
    assert {"StackName", "WorkflowsLayer"} == nested["Parameters"].keys() - one["Parameters"].keys()
    del nested["Parameters"]["StackName"], nested["Parameters"]["WorkflowsLayer"]
    assert nested == one


def test_a_template_that_cannot_be_nested_is_an_error() -> None:
    with pytest.raises(ValueError, match="WorkflowsLayer"):
        packaged.nested("Resources: {}\n")


def test_an_existing_project_keeps_its_files_and_is_told_what_to_do_about_them(tmp_path: Path) -> None:
    theirs = {"requirements.txt": b"flask\n", ".gitignore": b"x\n", "src/shop/__init__.py": b"A = 1\n"}
    for path, text in theirs.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(text)
    told = run("init", str(tmp_path), "--name", "shop")
    assert told.exit_code == 0, told.output
    assert theirs.items() <= everything(tmp_path).items()
    said = " ".join(told.output.split())
    assert f"requirements.txt kept: add hephaestus-aws[cli]=={__version__}, pytest and -r src/requirements.txt" in said
    assert "src/shop/__init__.py kept: import the workflows" in said
    assert run("upgrade", str(tmp_path)).exit_code == 0
    assert theirs.items() <= everything(tmp_path).items()


WRONG: dict[str, tuple[dict[str, str], list[str], str]] = {
    "a file": ({"shop": "x"}, [], "is a file"),
    "a template": ({"shop/template.yaml": "x"}, [], "init a subfolder"),
    "a file in the way": ({"shop/src": "x"}, [], "needs a folder there"),
    "set up already": ({f"shop/{MANIFEST}": "{}"}, [], "hephaestus upgrade"),
    "no stack's name": ({}, ["--name", "9lives"], "give another with --name"),
    "a long name": ({}, ["--name", "s" * 56], "give another with --name"),
    "no identifier": ({}, ["--package", "my-shop"], "give another with --package"),
    "a keyword": ({}, ["--package", "class"], "give another with --package"),
    "not ASCII": ({}, ["--package", "größe"], "give another with --package"),
    "a package of Python's": ({}, ["--package", "email"], "another package is called"),
    "a package at the top": ({"shop/shop/__init__.py": ""}, [], "give another name with --package"),
    "a module at the top": ({"shop/shop.py": ""}, [], "would hide src/shop"),
    "our package": ({}, ["--package", "hephaestus"], "another package is called"),
}


@pytest.mark.parametrize("case", WRONG)
def test_bad_input_is_an_error_that_says_what_to_do_and_changes_nothing(case: str, tmp_path: Path) -> None:
    files, options, fix = WRONG[case]
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    before = everything(tmp_path)
    told = run("init", str(tmp_path / "shop"), *options)
    assert told.exit_code == 2
    assert fix in " ".join(told.stderr.split())
    assert everything(tmp_path) == before
    assert (tmp_path / "shop").exists() == bool(files)


def test_what_cannot_be_written_whole_is_not_written_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No permission, or a full disk, after some files."""
    plan = plan_init(tmp_path / "shop", new_project("shop", __version__))
    write = Path.write_text

    def refuse(self: Path, *given: Any, **named: Any) -> int:
        if self.name == "samconfig.toml":
            raise PermissionError(13, "Permission denied", str(self))
        return write(self, *given, **named)

    monkeypatch.setattr(Path, "write_text", refuse)
    with pytest.raises(BadRequest, match=r"samconfig.toml cannot be written: Permission denied; nothing was changed"):
        plan.apply()
    assert list(tmp_path.iterdir()) == []


# --- upgrade ---


def test_the_release_that_wrote_the_files_has_nothing_to_change(shop: Path) -> None:
    before = everything(shop)
    told = run("upgrade", str(shop))
    assert (told.exit_code, everything(shop)) == (0, before)
    assert told.output == f"shop is at release {__version__}\n"


@pytest.fixture
def newer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command of a newer release, whose stack has a new parameter, a new function and one less."""

    def sources() -> dict[str, str]:
        found = dict(known)
        found["template.yaml"] = found["template.yaml"].replace(
            "Parameters:\n", "Parameters:\n  New:\n    Type: String\n"
        )
        found["functions/fresh/app.py"] = found.pop("functions/sweep/app.py")
        return found

    known = packaged.sources()
    monkeypatch.setattr(packaged, "sources", sources)
    monkeypatch.setattr("hephaestus.cli.repository.__version__", NEXT)


def test_a_newer_release_shows_and_applies_what_it_changes(shop: Path, newer: None) -> None:
    before = everything(shop)
    shown = run("upgrade", str(shop), "--dry-run")
    assert everything(shop) == before
    told = run("upgrade", str(shop))
    for output in (shown.output, told.output):
        assert f"+hephaestus-aws[cli]=={NEXT}" in output
        assert "+  New:" in output
        assert f"- {packaged.FOLDER}/functions/sweep/app.py" in output
    after = everything(shop)
    assert after[f"{packaged.FOLDER}/functions/fresh/app.py"] == before[f"{packaged.FOLDER}/functions/sweep/app.py"]
    assert f"{packaged.FOLDER}/functions/sweep/app.py" not in after
    assert {path for path in after if before.get(path) != after[path]} == {
        MANIFEST,
        "requirements.txt",
        f"{packaged.FOLDER}/template.yaml",
        f"{packaged.FOLDER}/layers/hephaestus/Makefile",
        f"{packaged.FOLDER}/functions/fresh/app.py",
    }
    assert run("upgrade", str(shop)).output == f"shop is at release {NEXT}\n"


def test_what_the_team_changed_or_deleted_stays_so(shop: Path, newer: None) -> None:
    own = {"requirements.txt": b"mine\n", f"{packaged.FOLDER}/functions/sweep/app.py": b"mine too\n"}
    for path, text in own.items():
        (shop / path).write_bytes(text)
    (shop / packaged.FOLDER / "template.yaml").unlink()
    told = run("upgrade", str(shop))
    said = " ".join(told.output.split())
    assert "requirements.txt kept: you changed it" in said
    assert "sweep/app.py kept: you changed it; it is not used any more" in said
    assert "template.yaml left out: you deleted it" in said
    assert own.items() <= everything(shop).items()
    assert not (shop / packaged.FOLDER / "template.yaml").exists()
    assert run("upgrade", str(shop)).output == f"shop is at release {NEXT}\n", "each is told once"


def test_the_team_s_own_code_is_never_upgraded(shop: Path) -> None:
    known = json.loads((shop / MANIFEST).read_text())
    assert not any(path.startswith("src/") or path.endswith("test_purchases.py") for path in known["files"])


def test_line_ends_are_no_change(shop: Path, newer: None) -> None:
    """Git may check files out with others."""
    path = shop / "requirements.txt"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert "kept" not in run("upgrade", str(shop)).output


def test_a_new_file_of_a_release_replaces_none_of_the_team_s(shop: Path, newer: None) -> None:
    theirs = shop / packaged.FOLDER / "functions" / "fresh" / "app.py"
    theirs.parent.mkdir()
    theirs.write_text("mine\n")
    said = " ".join(run("upgrade", str(shop)).output.split())
    assert "fresh/app.py kept: it was there before" in said
    assert theirs.read_text() == "mine\n"


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        (None, "hephaestus init sets a folder up"),
        ("{", "take it from version control"),
        ("[]", "take it from version control"),
        ('{"files": {}}', "take it from version control"),
        ('{"name": "s", "package": "s", "python": "3.13", "release": "100.0", "files": {}}', "install the newer one"),
    ],
)
def test_a_folder_that_cannot_be_upgraded_is_an_error(text: str | None, fix: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / MANIFEST).write_text(text)
    told = run("upgrade", str(tmp_path))
    assert told.exit_code == 2
    assert fix in " ".join(told.stderr.split())


def test_a_program_reads_the_changes_as_json(shop: Path, newer: None) -> None:
    told = json.loads(run("upgrade", str(shop), "--dry-run", "--json").output)
    assert told["release"] == NEXT
    assert {each["kind"] for each in told["changes"]} == {"added", "updated", "removed"}
    assert plan_upgrade(shop, NEXT).changes
