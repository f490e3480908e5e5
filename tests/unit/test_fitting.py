"""No answer is larger than Lambda takes, whatever an instance holds."""

from __future__ import annotations

import json
from dataclasses import MISSING, fields, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import pytest

from hephaestus.definition.references import ByStep
from hephaestus.definition.views import CARRIED, InstanceView, StepView, to_json_object, view_entry
from hephaestus.engine.events import EVENTS, Entry, Event, Forked, StepCompleted
from hephaestus.handlers.http import fitting
from hephaestus.values import FrozenDict

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST: Final = 60_000
NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)
SMALL: Final = InstanceView("large::1", "1", "Large", 1, 1, "completed", NOW, NOW, output={"a": 1})
HEAVY: Final = "😀" * (MOST // 12)  # a character of which is twelve bytes in an answer
LARGE: Final[Mapping[str, Any]] = {
    "str": HEAVY,
    "Mapping[str, str]": {"message": HEAVY},
    "Mapping[str, Any]": {"a": [HEAVY]},
    "Mapping[str, Sequence[str]]": {"runs_again": (HEAVY,)},
    "Sequence[str]": (HEAVY,),
    "Sequence[Mapping[str, Any]]": ({"id": HEAVY},),
    "tuple[str, ...]": (HEAVY,),
    "ByStep[StepView]": {f"step-{number}": StepView("failed", error={"message": "x" * 99}) for number in range(999)},
    "Any": HEAVY,
    "Mapping[str, int]": {"completed": 1},
    "Mapping[str, Mapping[str, Any]]": {"a": {"b": HEAVY}},
}


@pytest.fixture(autouse=True)
def _bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "MAX_ANSWER", MOST)
    monkeypatch.setattr(fitting, "MAX_MEMBER", 100)


def fitted(body: Mapping[str, Any]) -> dict[str, Any]:
    """What an answer has; as Lambda's runtime writes it, it is within the bound."""
    text = fitting.fitted(body)
    assert len(json.dumps(text)) <= MOST + 2
    found: dict[str, Any] = json.loads(text)
    return found


def large(kind: type[Any]) -> list[tuple[str, Any]]:
    """Each member of a view that can be large, with something large."""
    kinds = {field.name: str(field.type).removesuffix(" | None") for field in fields(kind)}
    return [(name, LARGE[text]) for name, text in kinds.items() if text not in ("int", "bool", "datetime")]


@pytest.mark.parametrize(("name", "value"), large(InstanceView))
def test_whatever_member_of_an_instance_is_large_the_rest_is_answered(name: str, value: Any) -> None:
    """A new member is tried without being named here; one of a type that has nothing large here fails."""
    found = fitted(to_json_object(replace(SMALL, **{name: value})))
    changed = {name: 0, "output": 0, "left_out": 0}
    assert found["left_out"].startswith("the data") or name not in CARRIED
    assert {**found, **changed} == {**to_json_object(SMALL), **changed}


@pytest.mark.parametrize(("name", "value"), large(StepView))
def test_whatever_member_of_a_step_is_large_its_instance_is_answered(name: str, value: Any) -> None:
    """A step stays, also one that is called as a member is."""
    step, other = replace(StepView("completed"), **{name: value}), StepView("completed")
    found = fitted(to_json_object(replace(SMALL, steps=ByStep({"output": step, "results": other}))))
    bare = {"status": "completed", "attempt": 0}
    assert found["id"] == "large::1"
    assert name not in CARRIED or found["steps"] == {"output": bare, "results": bare}


def test_whatever_an_event_carries_a_history_is_answered() -> None:
    """Each entry is there, and each event with its type."""
    done = StepCompleted("a", "done", (), {"b": HEAVY}, configs=FrozenDict({"c": {"d": HEAVY}}))
    carrying: list[Event] = [Forked("large::0", 1, 1, (done,))]
    for kind in EVENTS.values():
        types = {field.name: str(field.type) for field in fields(kind)}
        required = [field.name for field in fields(kind) if field.default is MISSING]
        needed = {name: 1 if types[name] == "int" else "a" for name in required}
        carrying += [kind(**{**needed, name: LARGE[text]}) for name, text in types.items() if "Any" in text]
    assert len(carrying) > len(CARRIED)
    for event in carrying:
        entry = to_json_object(view_entry(Entry(1, "c", 1, (event,))))
        found = fitted({"items": [entry], "cursor": "1"})
        assert (found["cursor"], found["items"][0]["events"][0]["type"]) == ("1", type(event).__name__)
        assert found["left_out"].startswith("the data")
    assert fitted({"items": [{"sequence": 1, "events": [{"type": HEAVY}]}], "cursor": "1"})["items"] == [
        {"sequence": 1}
    ]


def test_what_fits_is_answered_whole() -> None:
    """Up to the bound, also where each character counts twice."""
    body = {"a": '"' * ((MOST - 20) // 4)}
    assert fitted(body) == body
    assert "left_out" in fitted({"context": '"' * (MOST // 4)})
