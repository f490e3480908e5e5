"""What `make mutate` is set to is there."""

from __future__ import annotations

import gc

import pytest

from hephaestus.engine import holding
from tools.mutation import settings
from tools.mutation.runner import functions_of
from tools.mutation.settings import PACKAGE, ROOT, SETTINGS, listed, modules_of

ALL = modules_of([])


def test_modules_and_tests_are_there() -> None:
    assert [each for each in SETTINGS["modules"] if not (PACKAGE / each).exists()] == []
    assert [each for each in SETTINGS["tests"] if not (ROOT / each).exists()] == []
    assert len(ALL) == len(set(ALL)) > 30
    assert {"store/store.py", "engine/events/life.py", "runtime/commits.py"} <= set(ALL)


def test_modules_are_chosen_in_the_order_that_is_asked_for() -> None:
    assert modules_of(["runtime/commits.py", "store/"])[:2] == ["runtime/commits.py", "store/store.py"]
    with pytest.raises(SystemExit, match=r"not among the modules .*: cli/"):
        modules_of(["cli/"])


def test_each_equivalent_mutant_is_of_a_module_that_is_mutated_and_has_its_reason() -> None:
    for name, reason in listed().items():
        assert name.partition(" ")[0] in ALL
        assert len(reason) > len("= the same")


def test_a_paragraph_without_a_reason_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    class Text:
        @staticmethod
        def read_text() -> str:
            return "# All of them.\n\nstore/keys.py key\n- a\n+ b\n"

    monkeypatch.setattr(settings, "EQUIVALENT", Text)
    with pytest.raises(SystemExit, match="'= reason' are expected"):
        listed()


def test_functions_are_found_whose_code_is_changed() -> None:
    """Else each mutant gets a process of its own, which takes ten times as long."""
    gc.freeze()  # as the tests' conftest does
    try:
        assert functions_of("engine/holding.py")["may_start", 0] == [holding.may_start]
    finally:
        gc.freeze()
