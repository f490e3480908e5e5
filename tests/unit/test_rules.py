"""The page of rules and the tests that name them agree."""

from __future__ import annotations

import re

from tests.engines import ROOT

RULE = re.compile(r"^([A-J]\.\d+)$", re.MULTILINE)
NAMED = re.compile(r"Rules? ([A-J]\.\d+(?:(?:, | and )[A-J]\.\d+)*)")


def test_every_rule_has_a_test_that_names_it_and_no_test_names_another() -> None:
    """``docs/rules.md`` is what the tests hold."""
    rules = set(RULE.findall((ROOT / "docs" / "rules.md").read_text("utf-8")))
    named: set[str] = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        if path.name != "test_rules.py":
            named.update(
                rule for found in NAMED.findall(path.read_text("utf-8")) for rule in re.split(", | and ", found)
            )
    assert rules
    assert rules == named
