"""What callers meet is importable from ``hephaestus``, by the docstrings' own word."""

from __future__ import annotations

import builtins
import inspect
import re
from typing import TYPE_CHECKING, Any

import pytest

import hephaestus
import hephaestus.client
import hephaestus.simulation
import hephaestus.steps
import hephaestus.telemetry
import hephaestus.testing
import hephaestus.writes
from hephaestus import callbacks, errors
from hephaestus.errors import CallerError, EngineError, LinkExpired, RetryLater
from hephaestus.runtime.runner import Runner

if TYPE_CHECKING:
    from collections.abc import Iterator

OF_THEIR_OWN = {  # what only one module's callers meet
    "InvariantViolated": hephaestus.simulation,
    **dict.fromkeys(("AwsRefused", "NoCredentials", "NoSuchStack", "Unreachable"), hephaestus.client),
}


def public() -> Iterator[tuple[str, Any]]:
    """Every public thing with a docstring: what the modules that users import export, and the runner."""
    own = (hephaestus.steps, hephaestus.testing, hephaestus.simulation, hephaestus.telemetry, hephaestus.client)
    modules = (hephaestus, *own)
    things = {f"{module.__name__}.{name}": getattr(module, name) for module in modules for name in _exported(module)}
    for name, thing in {**things, "Runner": Runner}.items():
        yield name, thing
        if isinstance(thing, type):
            members = inspect.getmembers(thing, lambda one: inspect.isfunction(one) or inspect.ismethod(one))
            yield from ((f"{name}.{member}", found) for member, found in members if not member.startswith("_"))


def _exported(module: Any) -> list[str]:
    own = [name for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__]
    return list(getattr(module, "__all__", own))


def raised(docstring: str) -> set[str]:
    """The names in the Raises section of a docstring."""
    section = re.search(r"^( *)Raises:\n((?:\1 +.*\n|\n)*)", inspect.cleandoc(docstring) + "\n", re.MULTILINE)
    heads = re.findall(r"^    ([A-Z]\w+(?:, [A-Z]\w+)*):", section[2], re.MULTILINE) if section else []
    return {name for head in heads for name in head.split(", ")}


def test_every_error_that_a_docstring_names_is_importable_from_hephaestus() -> None:
    """Of everything public, with the few that belong to another public module."""
    named = {(place, error) for place, thing in public() for error in raised(inspect.getdoc(thing) or "")}
    assert len({error for _, error in named}) > 15, "the docstrings are not read"
    missing = {
        (place, error)
        for place, error in named
        if not hasattr(builtins, error) and error not in hephaestus.__all__ and not _elsewhere(error)
    }
    assert missing == set()


def _elsewhere(error: str) -> bool:
    return error in OF_THEIR_OWN and error in _exported(OF_THEIR_OWN[error])


@pytest.mark.parametrize("branch", [CallerError, RetryLater, EngineError], ids=lambda branch: branch.__name__)
def test_every_error_of_the_tree_is_importable_from_hephaestus(branch: type[Exception]) -> None:
    """Those of links, too."""
    assert LinkExpired in CallerError.__subclasses__()
    for error in (branch, *branch.__subclasses__()):
        if error.__module__ in (errors.__name__, f"{callbacks.__name__}.errors"):
            assert getattr(hephaestus, error.__name__) is error
            assert error.__name__ in hephaestus.__all__


def test_what_is_exported_is_there_once_and_in_order() -> None:
    """``from hephaestus import *`` works."""
    assert len(set(hephaestus.__all__)) == len(hephaestus.__all__)
    assert all(hasattr(hephaestus, name) for name in hephaestus.__all__)
    assert callable(hephaestus.use)
