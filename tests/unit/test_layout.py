"""The library's modules: which imports which, what they are called, and what the layer leaves out."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

import hephaestus

if TYPE_CHECKING:
    from collections.abc import Iterator

LIBRARY: Final = Path(hephaestus.__file__).parent
ROOT: Final = Path(__file__).parents[2]
FUNCTIONS: Final = [path.parent.name for path in (ROOT / "functions").glob("*/app.py")]
FOR_USERS: Final = ("steps", "retry", "telemetry", "triggers", "writes", "errors")  # whatever the functions import
PUBLIC: Final = {"__init__", "aws", "errors", "retry", "steps", "testing", "triggers"}


def name_of(path: Path) -> str:
    return ".".join(("hephaestus", *path.relative_to(LIBRARY).with_suffix("").parts)).removesuffix(".__init__")


MODULES: Final = {name_of(path): path for path in LIBRARY.rglob("*.py")}


def imports(module: str, *, typing: bool) -> Iterator[str]:
    """The library's modules that a module imports anywhere in it, with or without those for type checkers."""
    tree = ast.parse(MODULES[module].read_text("utf-8"))
    for_checkers = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and (typing or id(node) not in for_checkers):
            for name in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names)):
                if name in MODULES:
                    yield name


def part(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def table() -> dict[str, set[str]]:
    """Which part may import which, as docs/architecture.md says."""
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    rows = re.findall(r"^\| (`[^|]*?) +\| [^|]* +\| ([^|]*) \|$", text.split("| part", 1)[1], re.MULTILINE)
    found = {
        name: set(re.findall(r"`(\w+)`", allowed)) for named, allowed in rows for name in re.findall(r"`(\w+)`", named)
    }
    return {**found, "cli": set(found)}


def test_imports_go_as_the_table_says() -> None:
    """Each part imports what its row names and nothing else; each row's parts stand above it."""
    allowed, above = table(), set[str]()
    for name, others in allowed.items():
        assert others <= above or name == "cli", f"{name} may import what stands below it"
        above.add(name)
    assert {part(module) for module in MODULES} - {""} == above
    seen: dict[str, set[str]] = {name: set() for name in allowed}
    wrong = []
    for module in MODULES:
        for other in imports(module, typing=True):
            one, two = part(module), part(other)
            if one and two and one != two:
                seen[one].add(two)
                wrong += [f"{module} imports {other}"] if two not in allowed[one] else []
    assert wrong == []
    assert {name: allowed[name] - seen[name] for name in allowed if name != "cli" and allowed[name] - seen[name]} == {}


def test_no_module_but_public_ones_stands_at_the_top() -> None:
    assert {path.stem for path in LIBRARY.glob("*.py")} == PUBLIC


def test_no_two_modules_share_a_name() -> None:
    """But for those that have the same role: a package's own, the adapters of one port, and what users import."""
    shared = Counter(
        path.stem
        for path in MODULES.values()
        if not path.stem.startswith("__") and "adapters" not in path.parts and path.parent != LIBRARY
    )
    assert [name for name, times in shared.items() if times > 1] == []


def test_the_layer_has_what_functions_and_users_import_and_nothing_else() -> None:
    needed: set[str] = set()
    found = [f"hephaestus.handlers.{function}_function" for function in FUNCTIONS]
    found += [f"hephaestus.{name}" for name in FOR_USERS]
    found += [module for module in MODULES if module.startswith("hephaestus.telemetry.")]
    while found:
        module = found.pop()
        if module not in needed:
            needed.add(module)
            found += [*imports(module, typing=False), *([module.rsplit(".", 1)[0]] if "." in module else [])]
    makefile = (LIBRARY.parent / "Makefile").read_text("utf-8").replace("\\\n", "")
    outside = re.findall(r"^OUTSIDE := (.*)$", makefile, re.MULTILINE)[0].split()
    left_out = {
        module for module, path in MODULES.items() if any(path.is_relative_to(LIBRARY / name) for name in outside)
    }
    assert all((LIBRARY / name).exists() for name in outside)
    assert set(MODULES) - left_out == needed


IMPORTS_ALL = """
import importlib, logging, pkgutil, signal, sys, threading, hephaestus
from hephaestus.runtime import telemetry

def settings():
    library = logging.getLogger("hephaestus")
    return (
        dict(telemetry._handlers), [*library.handlers], library.level, library.propagate, [*logging.root.handlers],
        logging.root.level, sys.getrecursionlimit(), sys.excepthook, signal.getsignal(signal.SIGINT),
        threading.active_count(),
    )

before = settings()
for module in pkgutil.walk_packages(hephaestus.__path__, "hephaestus."):
    if not module.name.endswith(("_function", "__main__")):
        importlib.import_module(module.name)
print([f"{was!r} -> {now!r}" for was, now in zip(before, settings()) if was != now])
"""


def test_importing_a_module_changes_nothing_in_the_process() -> None:
    """Only a function's does: it attaches its log and its metrics. Whoever imports another is a program of its own."""
    done = subprocess.run([sys.executable, "-c", IMPORTS_ALL], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
