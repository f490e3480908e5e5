"""``dataclass`` as the standard library has it, but for its methods, which are compiled when they are first called.

A hundred classes are declared, of which an invocation makes a few: compiling the methods of all of them was a sixth of
a cold start. What users may inherit from is a standard ``dataclass``.
"""

from __future__ import annotations

import dataclasses
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable
    from dataclasses import dataclass
else:

    def dataclass(*, frozen: bool = False, slots: bool = False, eq: bool = True) -> Callable[[type[Any]], type[Any]]:
        """Declare a data class; see ``dataclasses.dataclass``."""

        def declare(kind: type[Any]) -> type[Any]:
            written = {name for name in vars(kind) if name not in ("__dict__", "__weakref__")}
            declared = dataclasses.dataclass(init=False, repr=False, eq=False, slots=slots)(kind)
            for name, method in _methods(declared, frozen=frozen, slots=slots, eq=eq).items():
                if name not in written:
                    setattr(declared, name, method)
            return declared

        return declare


__all__ = ["dataclass"]

_ABSENT: Final = object()  # an argument that was not given


def _methods(kind: type[Any], *, frozen: bool, slots: bool, eq: bool) -> dict[str, Any]:
    """The methods of a data class; its ``__init__`` puts the compiled one in its own place."""
    compared = [field.name for field in dataclasses.fields(kind) if field.compare]
    values: Callable[[Any], Any] = attrgetter(*compared) if compared else lambda _: ()

    def first_init(self: Any, *args: Any, **named: Any) -> None:
        kind.__init__ = _compiled(kind, slots=slots)
        kind.__init__(self, *args, **named)

    def equal(self: Any, other: object) -> bool:
        return values(self) == values(other) if other.__class__ is self.__class__ else NotImplemented

    def hashed(self: Any) -> int:
        return hash(values(self))

    methods: dict[str, Any] = {"__init__": first_init, "__repr__": _repr}
    methods |= {"__eq__": equal, "__hash__": hashed if frozen else None} if eq else {}
    if frozen:
        methods |= {"__setattr__": _refuse, "__delattr__": _refuse}
        methods |= {"__getstate__": _get_state, "__setstate__": _set_state} if slots else {}
    return methods


def _compiled(kind: type[Any], *, slots: bool) -> Callable[..., None]:
    """The ``__init__`` of a data class: past ``__setattr__``, which a frozen one refuses."""
    known: dict[str, Any] = {"_absent": _ABSENT}
    arguments, body = ["self"], ["_values = self.__dict__"]
    for field in sorted(dataclasses.fields(kind), key=lambda field: bool(field.kw_only)):
        if field.kw_only and "*" not in arguments:
            arguments.append("*")
        name, default, value = field.name, f"_default_{field.name}", field.name
        if field.default_factory is not dataclasses.MISSING:
            known[default] = field.default_factory
            arguments += [f"{name}=_absent"] if field.init else []
            value = f"{default}() if {name} is _absent else {name}" if field.init else f"{default}()"
        elif field.default is not dataclasses.MISSING:
            known[default] = field.default
            arguments += [f"{name}={default}"] if field.init else []
            value = name if field.init else default
        elif field.init:
            arguments.append(name)
        else:
            continue  # ``__post_init__`` gives it one
        known[f"_set_{name}"] = getattr(kind, name).__set__ if slots else None
        body.append(f"_set_{name}(self, {value})" if slots else f"_values[{name!r}] = {value}")
    body = (body[1:] if slots else body) + (["self.__post_init__()"] if hasattr(kind, "__post_init__") else [])
    exec(f"def __init__({', '.join(arguments)}):\n " + "\n ".join(body or ["pass"]), known)  # noqa: S102 - as dataclasses
    compiled: Callable[..., None] = known["__init__"]
    compiled.__qualname__ = f"{kind.__qualname__}.__init__"
    return compiled


def _repr(self: Any) -> str:
    shown = [f"{field.name}={getattr(self, field.name)!r}" for field in dataclasses.fields(self) if field.repr]
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _refuse(_self: Any, name: str, *_value: object) -> NoReturn:
    message = f"cannot assign to or delete field {name!r}"
    raise dataclasses.FrozenInstanceError(message)


def _get_state(self: Any) -> list[Any]:
    return [getattr(self, field.name) for field in dataclasses.fields(self)]


def _set_state(self: Any, state: list[Any]) -> None:
    for field, value in zip(dataclasses.fields(self), state, strict=True):
        object.__setattr__(self, field.name, value)
