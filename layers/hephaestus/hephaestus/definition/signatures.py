"""Checks that a function which the engine will call takes what it is called with, before anything runs."""

from __future__ import annotations

import functools
import inspect
import typing
from contextlib import suppress
from types import CodeType, FunctionType, GenericAlias, SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLLOWED: Final = 100  # functions of which the code is read


def call_problem(function: Any, *arguments: str, coroutines: bool = True) -> str | None:
    """Why ``function`` cannot be called with these arguments, given by position; ``None`` where it can.

    Functions that tell no signature, such as some of C, are taken.

    Args:
        function: what will be called.
        arguments: the names of the arguments, for the message.
        coroutines: whether it may be a coroutine function.
    """
    wanted = f"it is called with ({', '.join(arguments)})"
    if not callable(function):
        return f"cannot be called; {wanted}"
    plain = _unwrapped(function)
    if inspect.isgeneratorfunction(plain) or inspect.isasyncgenfunction(plain):
        return "is a generator function: it must return, not yield"
    if not coroutines and inspect.iscoroutinefunction(plain):
        return "is a coroutine function: it must be a plain one"
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return None
    try:
        signature.bind(*arguments)
    except TypeError as error:
        return f"has the signature {signature}, but {wanted} ({error})"
    return None


def model_wanted(function: Any) -> Any:
    """What ``StepContext[...]`` says of the start data in the annotation of the last argument.

    Returns:
        A pydantic model; ``None`` where the annotation names none, or cannot be read, as of a name that only a type
        checker imports.
    """
    function = getattr(_unwrapped(function), "__func__", _unwrapped(function))
    if not isinstance(function, FunctionType):
        return None
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    found: Any = None
    with suppress(Exception):  # whatever a name that is not there, or what it stands for, raises
        found = function.__annotations__[names[-1]]
        if isinstance(found, str) and "StepContext[" in found:
            known = {**function.__globals__, **dict(_enclosed(function))}
            found = typing.get_type_hints(SimpleNamespace(__annotations__={"context": found}), known)["context"]
    model = found.__args__[0] if isinstance(found, GenericAlias) and found.__args__ else None
    return model if isinstance(model, type) and hasattr(model, "model_validate") else None


def _unwrapped(function: Any) -> Any:
    """The function in a ``partial``, or the ``__call__`` of an object."""
    while isinstance(function, functools.partial):
        function = function.func
    if isinstance(function, (staticmethod, classmethod)):
        return function.__func__
    if inspect.isroutine(function) or isinstance(function, type):
        return function
    return getattr(type(function), "__call__", function)  # noqa: B004 - the function itself is wanted


def mentions(functions: list[Any], name: str) -> bool:
    """Whether the code of any of these functions, or of one that they call by its name, has ``name`` in it.

    It is a look at the code, not a proof: what cannot be read, as functions of C, may have it. Functions of other
    modules that are called as ``module.function`` are not followed.
    """
    ahead, seen = list(functions), set[Any]()
    while ahead and len(seen) < FOLLOWED:
        function = _unwrapped(ahead.pop())
        function = getattr(function, "__func__", function)
        if not isinstance(function, FunctionType):
            return True
        function = inspect.unwrap(function)
        if not isinstance(function, FunctionType) or name in str(function.__annotations__.get("return", "")):
            return True
        if function in seen:
            continue
        seen.add(function)
        names = set(_names(function.__code__))
        if name in names:
            return True
        known = {**function.__globals__, **dict(_enclosed(function))}
        ahead += [known[one] for one in names if isinstance(known.get(one), FunctionType)]
    return bool(ahead)


def _enclosed(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """The variables of the functions around it that it uses, but for those that are still to be set."""
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
        with suppress(ValueError):
            yield name, cell.cell_contents


def _names(code: CodeType) -> Iterator[str]:
    yield from (*code.co_names, *code.co_freevars)
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _names(inner)
