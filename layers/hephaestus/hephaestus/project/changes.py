"""What ``init`` and ``upgrade`` change in a folder: planned first, shown, and then done whole or not at all.

``.hephaestus.json`` remembers the digest of every file as a release wrote it. A file that has another digest is the
team's: it is kept.
"""

from __future__ import annotations

import hashlib
import json
import re
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from difflib import unified_diff
from typing import TYPE_CHECKING, Final, Literal

from hephaestus.errors import BadRequest
from hephaestus.project.skeleton_files import TEMPLATE, Project

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MANIFEST: Final = ".hephaestus.json"
Kind = Literal["added", "updated", "removed", "kept", "left out"]


@dataclass(frozen=True)
class Change:
    """What becomes of one file.

    Attributes:
        path: of the file, in the folder.
        kind: ``added``, ``updated``, ``removed``; ``kept`` as the team has it; ``left out`` as the team deleted it.
        old: what is there; ``None`` where nothing is.
        new: what the release has; ``None`` where it has no such file.
        why: a line for a person about what is kept.
    """

    path: str
    kind: Kind
    old: str | None = None
    new: str | None = None
    why: str = ""

    def diff(self) -> str:
        """From what is there to what the release has, as a unified diff."""
        old, new = (self.old or "").splitlines(keepends=True), (self.new or "").splitlines(keepends=True)
        return "".join(unified_diff(old, new, f"a/{self.path}", f"b/{self.path}"))


@dataclass(frozen=True)
class Plan:
    """Changes, and what is remembered of them.

    Attributes:
        folder: where.
        project: whose files, of which release.
        changes: file by file.
        digests: of every file as the release has it.
    """

    folder: Path
    project: Project
    changes: tuple[Change, ...]
    digests: Mapping[str, str]

    def apply(self) -> None:
        """Do it.

        Raises:
            BadRequest: a file cannot be written; everything is as it was.
        """
        manifest = json.dumps({**asdict(self.project), "files": self.digests}, indent=2) + "\n"
        steps = {each.path: each.new for each in self.changes if each.kind in ("added", "updated", "removed")}
        try:
            with ExitStack() as undo:
                for path, text in {**steps, MANIFEST: manifest}.items():
                    _put(self.folder / path, text, undo)
                undo.pop_all()
        except OSError as error:
            message = f"{error.filename or self.folder} cannot be written: {error.strerror}; nothing was changed"
            raise BadRequest(message) from error


def plan_init(folder: Path, project: Project) -> Plan:
    """What ``init`` adds to a folder, which may hold other things; it overwrites none of them.

    Raises:
        BadRequest: the folder is none, has a template or was set up before, a file stands where a folder must, or a
            module of the package's name would hide it.
    """
    if folder.exists() and not folder.is_dir():
        message = f"{folder} is a file: give a folder"
        raise BadRequest(message)
    if (folder / MANIFEST).exists():
        message = f"{folder} is set up already: hephaestus upgrade brings its files to release {project.release}"
        raise BadRequest(message)
    if (folder / TEMPLATE).exists():
        message = (
            f"{folder / TEMPLATE} exists already, and nothing is overwritten: init a subfolder "
            "(hephaestus init workflows) and nest its template.yaml in yours, as an AWS::Serverless::Application"
        )
        raise BadRequest(message)
    for there in (folder / project.package / "__init__.py", folder / f"{project.package}.py"):
        if there.exists():
            message = (
                f"{there} is a package or module named {project.package!r} already, and would hide "
                f"src/{project.package}: give another name with --package"
            )
            raise BadRequest(message)
    files = project.own_files() | project.kept_up_files()
    for path in files:
        for parent in (folder / path).parents:
            if parent.exists() and not parent.is_dir():
                message = f"{parent} is a file, and {path} needs a folder there: move it, or init another folder"
                raise BadRequest(message)
    hints = project.hints()
    changes = [
        Change(path, "kept", new=text, why=hints.get(path, "")) if there else Change(path, "added", new=text)
        for path, text in files.items()
        for there in [(folder / path).exists() or (folder / path).is_symlink()]
    ]
    left = {each.path for each in changes if each.kind == "kept"}
    kept_up = project.kept_up_files()
    return Plan(folder, project, tuple(changes), {p: digest(text) for p, text in kept_up.items() if p not in left})


def plan_upgrade(folder: Path, release: str) -> Plan:
    """What a release changes in the files that an earlier one wrote.

    Raises:
        BadRequest: the folder was not set up by ``init``, or by a newer release.
    """
    before, digests = _remembered(folder)
    if _number(before.release) > _number(release):
        message = f"{folder} has the files of release {before.release}, and this is {release}: install the newer one"
        raise BadRequest(message)
    project = replace(before, release=release)
    files = project.kept_up_files()
    changes = [
        change
        for path in dict.fromkeys([*files, *digests])
        if (change := _change(folder, path, files.get(path), digests.get(path)))
    ]
    never_ours = {each.path for each in changes if each.kind == "kept" and each.path not in digests}
    return Plan(folder, project, tuple(changes), {p: digest(text) for p, text in files.items() if p not in never_ours})


def _change(folder: Path, path: str, new: str | None, remembered: str | None) -> Change | None:
    """What becomes of a file; ``None`` where nothing does."""
    old = _text(folder / path)
    if new == old or (new is not None and digest(new) == remembered):
        return None  # as the release has it, or the release has nothing new
    if remembered is None:
        return Change(path, "added", new=new) if old is None else Change(path, "kept", old, new, "it was there before")
    if old is None:
        return Change(path, "left out", new=new, why="you deleted it") if new is not None else None
    if digest(old) != remembered:
        return Change(
            path, "kept", old, new, "you changed it" if new is not None else "you changed it; it is not used any more"
        )
    return Change(path, "removed" if new is None else "updated", old, new)


def digest(text: str) -> str:
    """What tells one text from another, whatever its line ends."""
    return hashlib.sha256(text.replace("\r\n", "\n").encode()).hexdigest()


def package_in(folder: Path) -> str | None:
    """The package of the workflows in a folder that ``init`` has set up, as ``src/shop``; ``None`` in any other.

    Raises:
        BadRequest: what is remembered of the folder cannot be read.
    """
    return f"src/{_remembered(folder)[0].package}" if (folder / MANIFEST).exists() else None


def _remembered(folder: Path) -> tuple[Project, dict[str, str]]:
    try:
        known = json.loads((folder / MANIFEST).read_text("utf-8"))
        files = known.pop("files")
        return Project(**known), dict(files)
    except FileNotFoundError as error:
        message = f"{folder} has no {MANIFEST}: hephaestus init sets a folder up"
        raise BadRequest(message) from error
    except (OSError, ValueError, TypeError, KeyError) as error:
        message = f"{folder / MANIFEST} cannot be read ({type(error).__name__}): take it from version control"
        raise BadRequest(message) from error


def _number(release: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", release)))


def _text(path: Path) -> str | None:
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        message = f"{path} cannot be read: {error}"
        raise BadRequest(message) from error


def _put(path: Path, text: str | None, undo: ExitStack) -> None:
    """Write or remove a file; ``undo`` then knows the way back."""
    for parent in reversed([each for each in path.parents if not each.exists()]):
        parent.mkdir()
        undo.callback(parent.rmdir)
    if path.exists():
        undo.callback(path.write_bytes, path.read_bytes())
    else:
        undo.callback(path.unlink, missing_ok=True)
    if text is None:
        path.unlink()
    else:
        path.write_text(text, "utf-8", newline="\n")
