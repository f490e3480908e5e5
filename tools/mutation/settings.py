"""What is mutated, and where things are."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parent.parent
SETTINGS: Final = tomllib.loads((HERE / "settings.toml").read_text())
PACKAGE: Final = ROOT / SETTINGS["package"]
EQUIVALENT: Final = HERE / "equivalent.txt"
CACHE: Final = ROOT / ".local/mutation"


def modules_of(asked: list[str]) -> list[str]:
    """The modules that are asked for, in that order, or all in the settings'; a folder means what is in it."""
    found: list[str] = []
    for each in SETTINGS["modules"]:
        files = sorted((PACKAGE / each).rglob("*.py")) if each.endswith("/") else [PACKAGE / each]
        found += [str(file.relative_to(PACKAGE)) for file in files]
    known = list(dict.fromkeys(found))
    if unknown := [each for each in asked if not any(module.startswith(each) for module in known)]:
        message = f"not among the modules of tools/mutation/settings.toml: {', '.join(unknown)}"
        raise SystemExit(message)
    return list(dict.fromkeys(each for start in asked or [""] for each in known if each.startswith(start)))


def listed() -> dict[str, str]:
    """The equivalent mutants with their reasons, by name: paragraphs of four lines, of which the last is the reason."""
    found = {}
    for paragraph in EQUIVALENT.read_text().split("\n\n"):
        lines = [line for line in paragraph.strip().splitlines() if not line.startswith("#")]
        if lines:
            *name, reason = lines
            if len(name) != 3 or not reason.startswith("= "):  # noqa: PLR2004 - where, before, after
                message = f"equivalent.txt: a place, '- ', '+ ' and '= reason' are expected, not:\n{paragraph}"
                raise SystemExit(message)
            found["\n".join(name)] = reason
    return found
