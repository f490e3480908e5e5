"""The page on the runner lists the variables that a runner on AWS is made of."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from hephaestus.aws import MAX_SHARDS, RUNS, Settings
from hephaestus.store.values import MAX_VALUE_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "runner.md").read_text("utf-8")
ROWS = re.findall(r"^\| `(HEPHAESTUS_\w+)` \| (.+) \| (.+) \|$", PAGE, re.MULTILINE)


class Asked(dict[str, str]):
    """An environment without variables, which remembers what it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def get(self, name: str, default: str = "") -> str:  # type: ignore[override]  # as it is asked
        """Remember it."""
        self.names.append(name)
        return default


def defaults() -> Iterator[tuple[str, str]]:
    """The variables that may be missing, and what is in their place where that is a value."""
    settings = Settings.read({})
    for name in ("workflows", "wake_shards", "list_shards"):
        value = getattr(settings, name)
        yield f"HEPHAESTUS_{name.upper()}", f"`{value[0]}`" if isinstance(value, tuple) else str(value)


def test_the_page_names_every_variable_and_no_other() -> None:
    asked = Asked()
    Settings.read(asked)
    assert sorted(name for name, _, _ in ROWS) == sorted(asked.names)
    assert len(ROWS) == len(fields(Settings)) - 1  # but for what is wrong with them


def test_the_page_says_which_are_needed_and_what_is_taken_instead() -> None:
    problems = Settings.read({}).problems
    needed = {f"HEPHAESTUS_{name.upper()}" for name in problems if name in RUNS}
    assert {name for name, _, without in ROWS if without == "an error"} == needed
    told = {name: without for name, _, without in ROWS}
    assert dict(defaults()).items() <= told.items()
    assert f"{MAX_VALUE_BYTES >> 10} KiB" in told["HEPHAESTUS_BUCKET"]
    for name, holds, _ in ROWS:
        if name.endswith("_SHARDS"):
            assert holds.endswith(f"1 to {MAX_SHARDS}")
