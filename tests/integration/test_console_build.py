from __future__ import annotations

import re
from pathlib import Path

import pytest

from hephaestus import console
from hephaestus.console.server import FILES
from tests.npm import CONSOLE, npm_packages, run

STATIC = Path(console.__file__).parent / "static"


def test_the_checked_in_page_is_what_its_sources_build(tmp_path: Path) -> None:
    npm_packages()
    done = run(["node", "build.mjs", str(tmp_path)])
    assert done.returncode == 0, done.stderr
    fresh = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    kept = {path.name: path.read_bytes() for path in STATIC.iterdir()}
    assert sorted(fresh) == sorted(kept) == sorted(FILES)
    changed = [name for name in fresh if fresh[name] != kept[name]]
    assert not changed, f"{changed} differ from a fresh build: run `make console` and commit what it writes"


def test_the_pages_types_hold() -> None:
    npm_packages()
    done = run(["node", "node_modules/typescript/bin/tsc", "--noEmit"])
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_page_asks_nobody_but_its_server_and_makes_no_code_or_markup_of_text() -> None:
    for name in FILES:
        text = (STATIC / name).read_text("utf-8")
        if name != "licenses.txt":
            addresses = set(re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}", text)) - {"http://www.w3.org"}
            assert not addresses, name
    sources = "".join(path.read_text("utf-8") for path in (CONSOLE / "src").glob("*.ts*"))
    for sink in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"):
        assert sink not in sources


def test_whoever_passes_the_page_on_passes_on_the_licences_of_its_parts() -> None:
    notices = (STATIC / "licenses.txt").read_text("utf-8")
    for name in ("preact", "@dagrejs/dagre"):
        assert re.search(rf"^{re.escape(name)} \d+\.\d+\.\d+ \(MIT\)$", notices, re.MULTILINE)
    assert "Permission is hereby granted" in notices


def test_a_missing_node_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="Node and npm"):
        npm_packages()
