"""Workflows of one's own, from modules: by name as Python has it, or by the path of a file or a package."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hephaestus.definition.containment import watched_console
from hephaestus.definition.raised import last_line_of
from hephaestus.definition.workflow import Workflow
from hephaestus.errors import (
    BadRequest,
    DefinitionError,
    EngineSignal,
    HephaestusError,
    UnknownVersion,
    UnknownWorkflow,
)
from hephaestus.runtime.error_text import failure
from hephaestus.runtime.registry import Registry, workflows_in

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import ModuleType
    from typing import Any


class ModuleBroken(HephaestusError):
    """A module cannot be imported; the message says where it fails."""

    status = 500
    title = "Module cannot be imported"


class NoSuchModule(UnknownWorkflow):
    """There is no such module or file."""

    title = "No such module"


def locate(name: str) -> str:
    """The name that a module of that name or path is imported by; what it is imported from is put on the path.

    Raises:
        NoSuchModule: there is no such file, or it is no name.
    """
    path = Path(name)
    if path.suffix not in {"", ".py"} and path.is_file():
        message = f"{name} is no Python file: give a module's name or path, as orders or src/orders.py"
        raise NoSuchModule(message)
    package = path.is_dir() and (path / "__init__.py").exists() and name == path.name
    if name.endswith(".py") or "/" in name or name in {".", ".."} or package:
        return _by_path(path)
    if not all(name.split(".")):
        message = f"{name!r} is no module: give its name or its path, as orders or src/orders.py"
        raise NoSuchModule(message)
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    return name


def load(name: str) -> ModuleType:
    """The module of that name or path; the current directory is looked into, too.

    Raises:
        NoSuchModule: there is none.
        DefinitionError: one of its workflows is none.
        ModuleBroken: importing it fails otherwise.
    """
    name = locate(name)
    try:
        with watched_console():
            return importlib.import_module(name)
    except DefinitionError:
        raise
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            message = f"there is no module {name}: give its name or its path, as orders or src/orders.py"
            raise NoSuchModule(message) from error
        raise ModuleBroken(_where(name, error)) from error
    except EngineSignal:  # Ctrl-C was pressed
        raise
    except BaseException as error:  # one that calls sys.exit() has not been imported
        raise ModuleBroken(_where(name, error)) from error


def nothing_in(module: ModuleType) -> str:
    """Why a module holds no workflow, and what to name instead: the modules in its folder, where it is a package."""
    folders = [Path(each) for each in getattr(module, "__path__", ())]
    inside = sorted(
        found.stem
        for folder in folders
        for found in folder.iterdir()
        if (found.suffix == ".py" and found.stem != "__init__") or (found / "__init__.py").exists()
    )
    if not folders:
        return f"{module.__name__} holds no workflow"
    if getattr(module, "__file__", None) is None:
        what, named = "is a folder", [str(folders[0] / f"{name}.py") for name in inside]
    else:
        what, named = "is a package that imports no workflow", [f"{module.__name__}.{name}" for name in inside]
    return f"{module.__name__} {what}: name a module in it" + (f", as {', '.join(named[:5])}" if named else "")


def workflows(module: ModuleType) -> list[type[Workflow]]:
    """The workflows that a module holds, as a deployment finds them.

    Raises:
        DefinitionError: two have one name, or share a business key.
    """
    return list(Registry(dict.fromkeys(workflows_in(module.__name__))))


def find(target: str, modules: Sequence[str]) -> type[Workflow] | None:
    """The workflow that ``target`` names: ``module:Workflow``, a name in ``modules``, or a module that holds one.

    Returns:
        ``None`` where no module is meant: it may be deployed.

    Raises:
        UnknownWorkflow: the module has no such workflow.
        BadRequest: the module holds several.
    """
    module, colon, name = target.partition(":")
    if colon and not target.startswith(f"{module}::"):
        found = {flow.name: flow for flow in workflows(load(module))}
        if name not in found:
            message = (
                f"{module} has no workflow {name}: it has {', '.join(found)}" if found else nothing_in(load(module))
            )
            raise UnknownWorkflow(message)
        return found[name]
    if modules:
        named = {flow.name: flow for each in modules for flow in workflows(load(each))}
        if target in named:
            return named[target]
        known = f"{', '.join(modules)} has no workflow {target}: there are {', '.join(named)}"
        raise UnknownWorkflow(known if named else nothing_in(load(modules[0])))
    if target.endswith(".py") or "/" in target or "." in target:
        several = workflows(load(target))
        if not several:
            raise BadRequest(nothing_in(load(target)))
        if len(several) != 1:
            names = ", ".join(flow.name for flow in several)
            message = f"{target} holds {len(several)} workflows ({names}): name one, as {target}:{names.split(', ')[0]}"
            raise BadRequest(message)
        return several[0]
    return None


def version_of(described: Mapping[str, Any], number: int | None) -> dict[str, Any]:
    """One of a described workflow's versions, by default the current one.

    Raises:
        UnknownVersion: it has no such version.
    """
    wanted = described["current"] if number is None else number
    for version in described["versions"]:
        if version["version"] == wanted:
            return dict(version)
    there = ", ".join(str(each["version"]) for each in described["versions"])
    message = f"workflow {described['name']} has no version {wanted}: there are {there}"
    raise UnknownVersion(message)


def _by_path(path: Path) -> str:
    """The module's name, with what it is imported from put on the path: the first folder that is no package."""
    found = path.resolve()
    if not found.exists():
        message = f"there is no {path}"
        raise NoSuchModule(message)
    parts = [found.stem if found.is_file() else found.name]
    root = found.parent
    while (root / "__init__.py").exists():
        parts.insert(0, root.name)
        root = root.parent
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    return ".".join(parts)


def _where(name: str, error: BaseException) -> str:
    """Where an import failed: the last line of the person's own code."""
    at = last_line_of(error).removesuffix(": ")
    error_text = failure(error)
    return f"{name} cannot be imported{at and f' at {at}'}: {error_text.type}: {error_text.message}"
