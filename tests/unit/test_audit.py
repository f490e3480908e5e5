"""The dependency audit says what is vulnerable, what is clean, and what nobody looked at; on pip-audit's own output."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tools import audit
from tools.audit import LAYER, conclude, installed, judge, pinned

if TYPE_CHECKING:
    from collections.abc import Sequence

PACKAGES = {"pynamodb": "6.1.0", "typing_extensions": "4.16.0"}
CLEAN = {"name": "pynamodb", "version": "6.1.0", "vulns": []}
ALSO_CLEAN = {"name": "typing-extensions", "version": "4.16.0", "vulns": []}
HOLE = {"id": "PYSEC-2026-1", "fix_versions": ["6.1.1", "6.2.0"], "aliases": ["CVE-2026-0001"], "description": "…"}
VULNERABLE = {**CLEAN, "vulns": [HOLE, {**HOLE, "id": "GHSA-xxxx", "fix_versions": []}]}
SKIPPED = {"name": "typing-extensions", "skip_reason": "Dependency not found on PyPI and could not be audited"}


def report(*entries: dict[str, Any]) -> str:
    """What pip-audit writes with ``-f json``."""
    return json.dumps({"dependencies": entries, "fixes": []})


def told(*entries: dict[str, Any]) -> tuple[int, str]:
    """The exit status and the text for a report."""
    return conclude([judge("layer", PACKAGES, report(*entries))])


def test_a_vulnerability_fails_and_says_what_mends_it() -> None:
    status, text = told(VULNERABLE, ALSO_CLEAN)
    assert status == 1
    assert text.splitlines() == [
        "layer: pynamodb 6.1.0 has PYSEC-2026-1, fixed in 6.1.1, 6.2.0",
        "layer: pynamodb 6.1.0 has GHSA-xxxx, not fixed yet",
    ]


def test_a_clean_report_says_how_many_packages_it_is_about() -> None:
    assert told(CLEAN, ALSO_CLEAN) == (0, "layer: 2 packages audited, no known vulnerability")


UNREACHABLE = (0, "layer: advisories could not be reached: 2 packages NOT audited")


@pytest.mark.parametrize("written", ["", "{", "[]", "null", '{"dependencies": null}', report(), report(SKIPPED)])
def test_what_could_not_be_audited_is_said_and_does_not_fail(written: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer, half an answer, or one that leaves every package out: never `no known vulnerability`. In CI, too."""
    monkeypatch.setenv("CI", "true")
    assert conclude([judge("layer", PACKAGES, written)]) == UNREACHABLE


def test_a_package_that_was_left_out_is_named() -> None:
    status, text = told(CLEAN, SKIPPED)
    assert status == 0
    assert "no advisories for 1 packages, NOT audited: typing_extensions" in text
    assert "1 packages audited, no known vulnerability" in text
    assert told(VULNERABLE, SKIPPED)[0] == 1


def test_one_vulnerable_environment_among_others_fails() -> None:
    """The text holds what is known of all of them."""
    verdicts = [judge("layer", PACKAGES, ""), judge("development", PACKAGES, report(VULNERABLE, ALSO_CLEAN))]
    status, text = conclude(verdicts)
    assert status == 1
    assert UNREACHABLE[1] in text
    assert "development: pynamodb 6.1.0 has PYSEC-2026-1" in text


def test_the_layers_requirements_are_pinned_and_the_environment_is_known() -> None:
    """So what is audited is what is installed."""
    assert {"pynamodb", "aws-lambda-powertools", "wrapt"} <= pinned(LAYER.read_text()).keys()
    assert {"pynamodb", "boto3", "pydantic", "moto"} <= {name.lower() for name in installed()}
    assert "hephaestus-aws" not in {name.lower() for name in installed()}
    with pytest.raises(ValueError, match="'pynamodb>=6' is not pinned"):
        pinned("# text\npynamodb>=6 # why\n")


def test_an_audit_that_never_ends_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is then one that was not made."""
    sleeper = tmp_path / "sleeper"
    sleeper.write_text(f"#!{sys.executable}\nimport time\ntime.sleep(3600)\n")
    sleeper.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(sleeper))
    verdicts = audit.audit({"layer": PACKAGES}, limit=0.2)
    assert conclude(verdicts) == UNREACHABLE


def test_the_check_is_one_of_those_that_make_runs() -> None:
    """`make check` and `make test` run every one of ``CHECKS``."""
    lines: Sequence[str] = (Path(LAYER).parents[2] / "Makefile").read_text().splitlines()
    (checks,) = [line for line in lines if line.startswith("CHECKS :=")]
    assert "audit" in checks.split()
