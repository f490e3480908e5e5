"""A data class whose methods are compiled late behaves as the standard library's."""

from __future__ import annotations

import dataclasses
import pickle
from copy import copy
from dataclasses import field, replace
from typing import Any

import pytest

from hephaestus import Completed, Pending, Put
from hephaestus.values.lazy_dataclass import dataclass


def declared(decorate: Any) -> type[Any]:
    """The same class, by one decorator or the other."""

    class Thing:
        """Has a field of each kind."""

        name: str
        size: int = 1
        parts: list[int] = field(default_factory=list, compare=False)
        seen: int = field(default=7, init=False, repr=False)
        last: str = field(default="z", kw_only=True, repr=False)

    Thing.__qualname__ = "Thing"
    return decorate(Thing)  # type: ignore[no-any-return]  # either decorator


@pytest.mark.parametrize("options", [{"frozen": True, "slots": True}, {"frozen": True}, {"slots": True}])
def test_a_late_data_class_is_made_compared_and_shown_as_a_standard_one(options: dict[str, bool]) -> None:
    """Its fields, defaults, comparison, hash, text, copies, and what it rejects."""
    late, standard = declared(dataclass(**options)), declared(dataclasses.dataclass(**options))
    for kind in (late, standard):
        one = kind("a", parts=[1])
        assert (one.name, one.size, one.parts, one.seen) == ("a", 1, [1], 7)
        assert one == kind("a", 1, [2]) != kind("b")
        assert one != "a"
        assert kind("a", last="y").last == "y" != one.last
        assert repr(one) == "Thing(name='a', size=1, parts=[1])"
        assert replace(one, size=2) == kind("a", 2)
        assert copy(one) == one
        assert kind.__match_args__ == ("name", "size", "parts")
        with pytest.raises(TypeError, match="missing 1 required positional argument"):
            kind()
        if options.get("frozen"):
            assert hash(one) == hash(kind("a"))
            with pytest.raises(dataclasses.FrozenInstanceError):
                one.name = "b"
            with pytest.raises(dataclasses.FrozenInstanceError):
                del one.name
        else:
            one.name = "b"
            assert one.name == "b"
    assert hash(late("a")) == hash(standard("a")) if options.get("frozen") else late.__hash__ is None


@dataclass(frozen=True, slots=True)
class Base:
    """Is inherited from."""

    first: int


@dataclass(frozen=True, slots=True)
class Derived(Base):
    """Has a method of its own in place of a compiled one."""

    second: int = 2

    def __repr__(self) -> str:
        """Its own."""
        return "derived"


def test_a_late_data_class_is_inherited_from_and_pickled() -> None:
    """Each class compiles its own methods."""
    assert (Derived(1).first, Derived(1, 3).second, Base(4).first) == (1, 3, 4)
    assert Derived(1) != Base(1)
    assert repr(Derived(1)) == "derived"
    assert pickle.loads(pickle.dumps(Derived(1, 3))) == Derived(1, 3)  # noqa: S301 - what was just made


@pytest.mark.parametrize("kind", [Completed, Pending, Put])
def test_what_users_may_inherit_from_is_a_standard_data_class(kind: type[Any]) -> None:
    """A frozen one may inherit from it, and another may not."""
    assert dataclasses.dataclass(frozen=True)(type("Frozen", (kind,), {"__annotations__": {"more": "int"}, "more": 1}))
    with pytest.raises(TypeError, match="frozen"):
        dataclasses.dataclass(type("Open", (kind,), {"__annotations__": {"more": "int"}, "more": 1}))
