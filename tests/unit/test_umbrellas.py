"""An umbrella over versions: what it adds to them, what it rejects, how it chooses; and how classes inherit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hephaestus import DONE, BadRequest, Concurrency, DefinitionError, Retry, UnknownVersion, Workflow, step
from hephaestus.testing import LocalRuntime

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@step
def only(ctx: Any) -> str:
    """Do nothing."""
    return "done"


class V1(Workflow, key="id", version=1, tags=["old", "shared"], metadata={"a": 1, "b": 1}):
    """The first version."""

    start_at = only
    transitions = {only: {"done": DONE}}


class V2(Workflow, key="id", version=2, tags=["new"], forks="unchanged"):
    """The second."""

    start_at = only
    transitions = {only: {"done": DONE}}


def umbrella(body: Mapping[str, Any] | None = None, **header: Any) -> type[Workflow]:
    """An umbrella over both."""
    return type("Both", (Workflow,), dict(body or {}), **{"versions": {1: V1, 2: V2}, **header})


def test_tags_and_metadata_of_version_umbrella_and_caller_are_all_kept() -> None:
    """In this order, each tag once; later metadata win."""
    both = umbrella(tags=["shared", "all"], metadata={"b": 2, "c": 2})
    local = LocalRuntime(both)
    first = local.start(both, "1", version=1, tags=["vip", "old"], metadata={"c": 3})
    assert first.tags == ("old", "shared", "all", "vip")
    assert first.metadata == {"a": 1, "b": 2, "c": 3}
    assert local.start(both, "2").tags == ("new", "shared", "all")


def test_the_version_of_an_umbrella_is_its_current_one() -> None:
    """The highest, or the one that is named."""
    assert (umbrella().version, umbrella().current) == (2, 2)
    assert (umbrella(current=1).version, umbrella(current=1).current) == (1, 1)


@pytest.mark.parametrize(
    ("body", "header", "message"),
    [
        ({}, {"version": 5}, "has version=5 beside versions=. Drop it"),
        ({}, {"version": 1}, "has version=1 beside versions=. Drop it"),
        ({}, {"checkpoint": "boundaries"}, "has checkpoint='boundaries' beside versions=. Drop it"),
        ({"start_at": only}, {}, "sets start_at, but an umbrella has no graph of its own. Move it into the versions"),
        ({"transitions": {}}, {}, "sets transitions, but an umbrella"),
        ({"retry": Retry()}, {}, "sets retry, but an umbrella"),
        ({"example": {}}, {}, "sets example, but an umbrella"),
        ({"Input": object}, {}, "sets Input, but an umbrella"),
        ({"version_for": classmethod(lambda cls: 1)}, {}, "version_for has the signature"),
        ({"version_for": lambda versions: 1}, {}, "version_for has the signature"),
        ({"version_for": 1}, {}, "version_for cannot be called"),
        ({}, {"versions": {True: V1}}, "is version 1 but stands under True"),
        ({}, {"versions": {"1": V1}}, "is version 1 but stands under '1'"),
        ({}, {"versions": {-1: V1}}, "is version 1 but stands under -1"),
        ({}, {"versions": {1.0: V1}}, "is version 1 but stands under 1.0"),
        ({}, {"versions": {1: V1, 2: V1}}, "is version 1 but stands under 2"),
        ({}, {"versions": {None: V1, "a": V2}}, "is version 1 but stands under None"),
        ({}, {"versions": {}}, "its versions are {}"),
        ({}, {"versions": 0}, "its versions are 0"),
        ({}, {"versions": [V1]}, "its versions are ["),
        ({}, {"current": True}, "current is True, which is not among the versions"),
        ({}, {"current": "2"}, "current is '2', which is not among"),
        ({}, {"current": [2]}, "current is [2], which is not among"),
        ({}, {"current": 0}, "current is 0, which is not among"),
        ({}, {"key": True}, "the business key True is invalid"),
        ({}, {"key": "other"}, "its versions have different business keys"),
        ({}, {"scope": "none"}, "its versions have different business keys"),
        ({}, {"limits": [Concurrency("one", 1)]}, "has limits= beside versions="),
        ({}, {"forks": "some"}, "forks is 'some'. Use one of any, unchanged, none"),
        ({}, {"tags": [str(number) for number in range(19)]}, "has 21 tags together with the umbrella"),
    ],
)
def test_what_an_umbrella_would_ignore_or_mistake_is_rejected(
    body: dict[str, Any], header: dict[str, Any], message: str
) -> None:
    """With what to do, when the class is defined."""
    with pytest.raises(DefinitionError) as caught:
        umbrella(body, **header)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "more", [{"current": 1}, {"key": True}, {"key": ""}, {"key": 5}, {"name": ""}, {"name": False}]
)
def test_a_workflow_without_versions_rejects_what_means_nothing_to_it(more: dict[str, Any]) -> None:
    """A current version, a key or a name that is none, falsy ones included."""
    with pytest.raises(DefinitionError):
        type("One", (Workflow,), {"start_at": only, "transitions": {only: {"done": DONE}}}, **{"key": "id", **more})


@pytest.mark.parametrize(
    ("chosen", "version"), [(lambda: None, 1), (lambda: 2, 2), (lambda: 1, 1), (lambda: max({1, 2}), 2)]
)
def test_version_for_chooses_or_leaves_it_to_the_current_one(chosen: Callable[[], Any], version: int) -> None:
    """``None`` is the current version."""
    both = umbrella({"version_for": classmethod(lambda cls, versions, opts: chosen())}, current=1)
    assert LocalRuntime(both).start(both, "1").version == version


@pytest.mark.parametrize(
    "chosen", [True, False, 0, 3, -1, "2", 2.0, [2], V2, object()], ids=lambda one: type(one).__name__
)
def test_a_version_that_is_none_is_unknown_whoever_names_it(chosen: Any) -> None:
    """``version_for``, ``definition``, and a start; nothing is stored, and the message has those that are deployed."""
    both = umbrella({"version_for": classmethod(lambda cls, versions, opts: chosen)})
    local = LocalRuntime(both)
    for ask in (lambda: local.start(both, "1"), lambda: both.definition(chosen)):
        with pytest.raises(UnknownVersion, match=r"workflow Both has no version .*: deployed are 1, 2"):
            ask()
    with pytest.raises((UnknownVersion, BadRequest), match="version") as raised:
        local.start(both, "1", version=chosen)
    assert isinstance(raised.value, UnknownVersion) == (chosen == 3), "what no version can be is malformed"
    assert not local.runner.list().items


def test_a_class_derived_from_a_workflow_has_its_graph_and_policies_and_a_header_of_its_own() -> None:
    """Key, version, tags and metadata are not inherited: they are said again, or the class is no workflow."""

    class Base(Workflow, key="id", version=3, tags=["base"], forks="none"):
        start_at = only
        retry = Retry(max_attempts=7)
        transitions = {only: {"done": DONE}}

    class Derived(Base, key="derived"):
        pass

    assert Derived.definition(1).graph == Base.definition(3).graph
    assert Derived.definition(1).retry == Retry(max_attempts=7)
    assert (Derived.version, Derived.tags, Derived.forks) == (1, (), "any")
    assert LocalRuntime(Base, Derived).start(Derived, "1").status == "completed"
    with pytest.raises(DefinitionError, match="has no business key"):
        type("Keyless", (Base,), {})


def test_what_several_workflows_share_stands_in_a_plain_class() -> None:
    """A mixin is no workflow, so that it needs neither key nor graph."""

    class Patient:
        retry = Retry(max_attempts=9)

    class Mixed(Patient, Workflow, key="id"):
        start_at = only
        transitions = {only: {"done": DONE}}

    assert Mixed.definition(1).retry.max_attempts == 9
    with pytest.raises(DefinitionError, match="has no first step or no transitions"):
        type("Abstract", (Workflow,), {"retry": Retry()})
