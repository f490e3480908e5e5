"""What objects of dataclasses and of other libraries are stored as; none of these libraries is imported here.

Recognized by what they offer: pydantic's models and dataclasses (stored as in ``model_dump(mode="json")``), NumPy's
scalars and arrays, dataclasses, and mappings that are no ``dict``. A secret is never stored, not even masked.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from collections.abc import Set as AbstractSet
from enum import Enum
from functools import lru_cache, partial
from os import PathLike
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol

from hephaestus.values.scalars import Unstorable

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET: Final = "get_secret_value"  # noqa: S105 - a method that all of pydantic's secret types have
MAX_PROBLEM: Final = 300  # characters of what another library says
PLAIN: Final = (bool, int, float, str, bytes)
_COARSE: Final = frozenset({"Y", "M", "W", "D", "h", "m", "s", "ms", "us"})  # NumPy's units that datetime has, too


class Model(Protocol):
    """What a pydantic model offers."""

    def model_dump(self, *, mode: str = ...) -> Any:
        """Its fields; with ``mode="json"`` in types that JSON has."""


class DataClass(Protocol):
    """What an object of a data class has."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


def stand_in(value: Any, kind: type) -> Any:
    """What is stored for ``value``: something plainer, which may hold objects again.

    Raises:
        Unstorable: nothing could stand for it, or not without a loss.
    """
    if hasattr(kind, SECRET):
        raise _secret(kind)
    try:
        if hasattr(kind, "__array_interface__"):
            return _array(value)
        if not issubclass(kind, type):
            if hasattr(value, "model_dump") or hasattr(kind, "__pydantic_serializer__"):
                return _model(value, kind)
            if dataclasses.is_dataclass(value):
                return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
            if issubclass(kind, Mapping) or (hasattr(kind, "items") and not hasattr(kind, "__array__")):
                return dict(value)
    except Unstorable:
        raise
    except Exception as error:
        raise _unreadable(kind, error) from error
    raise Unstorable(_advice(kind))


def is_model(value: object) -> bool:
    """Whether ``value`` is a model or a dataclass of pydantic's."""
    kind = type(value)
    return hasattr(kind, "__pydantic_serializer__") and not issubclass(kind, type)


def by_alias(value: Any) -> Any:
    """A model as its own validation reads it again: under the aliases that it takes, without computed fields.

    Raises:
        Unstorable: it holds a secret, or pydantic cannot serialize it.
    """
    if not is_model(value):
        return value
    try:
        dumped = _model(value, type(value), by_alias=True, round_trip=True)
        return _renamed(dumped, type(value)) if isinstance(dumped, dict) else dumped
    except Unstorable:
        raise
    except Exception as error:
        raise _unreadable(type(value), error) from error


def changed_fields(given: Any, read: Any) -> list[str]:
    """The fields of a model, its extra ones too, that another one of its class has otherwise."""
    names = getattr(type(given), "__pydantic_fields__", {})
    extra = {**(getattr(given, "__pydantic_extra__", None) or {}), **(getattr(read, "__pydantic_extra__", None) or {})}
    every = (*names, *extra)
    return [name for name in every if not _same(getattr(given, name, None), getattr(read, name, None))]


def _same(one: Any, other: Any) -> bool:
    """Whether two values of a field are equal.

    Where ``==`` answers otherwise than by a ``bool``, as of NumPy's arrays, they are compared as they are stored, or,
    as pandas' tables, which are not, by what they offer for that.
    """
    from hephaestus.values import NotSerializable, freeze  # noqa: PLC0415 - which reads objects by this module

    try:
        equal = one == other
    except Exception:  # noqa: BLE001 - as of lists of arrays; a model that holds one asks it for a truth value
        equal = None
    if type(equal) is bool:
        return equal
    if is_model(one) and type(one) is type(other):
        return not changed_fields(one, other)
    try:
        return bool(freeze(one) == freeze(other))
    except NotSerializable:
        equals = getattr(one, "equals", None)
        return bool(equals(other)) if callable(equals) else False


def _renamed(dumped: dict[str, Any], kind: type) -> dict[str, Any]:
    """What a model was dumped to, each field under the name by which validation takes it."""
    names = {}
    for name, field in getattr(kind, "__pydantic_fields__", {}).items():
        taken = field.validation_alias
        choices = [taken] if isinstance(taken, str) else getattr(taken, "choices", ())
        texts = [choice for choice in choices if isinstance(choice, str)]
        names[field.serialization_alias or name] = texts[0] if texts else name if taken is None else None
    renamed = {names.get(name) or name: item for name, item in dumped.items()}
    return renamed if len(renamed) == len(dumped) else dumped


def _model(value: Any, kind: type, **options: bool) -> Any:
    models: list[Any] = []
    serializer: Any = getattr(kind, "__pydantic_serializer__", None)
    # A dataclass of pydantic's has no method of its own; whatever else has one is asked as a model is.
    dump: Callable[..., Any] = (
        value.model_dump if hasattr(value, "model_dump") else partial(serializer.to_python, value)
    )
    if serializer is None:
        return dump(mode="json", **options)
    plain = dump(**options)
    _check_inside(value, "", set(), models)
    _check_inside(plain, "", set(), [])
    stored = dump(mode="json", **options)
    _check_numbers(plain, stored, "")
    if _holds(stored, None):
        for model in filter(is_model, models):
            _check_exact(model, stored, options)
    return stored


def _check_exact(model: Any, stored: Any, options: Mapping[str, bool]) -> None:
    """Reject the numbers that only a model's serializer for JSON makes, as ``_check_numbers`` does others.

    Args:
        model: what is stored, or a model inside of it, which counts where ``stored`` holds its JSON.
        stored: the JSON of the whole.
        options: what that was made with.
    """
    kind: Any = type(model)
    given: dict[str, Any] = {"mode": "json", "warnings": False, **options}
    try:
        shown, exact = (made.to_python(model, **given) for made in (kind.__pydantic_serializer__, _exact(kind)))
    except Exception:  # noqa: BLE001 - inside of another one, whose serializer shows it otherwise
        return
    try:
        _check_numbers(exact, shown, f".{kind.__name__}")
    except Unstorable:
        if _holds(stored, shown):
            raise


@lru_cache(maxsize=256)
def _exact(kind: Any) -> Any:
    """A serializer of a model's class that keeps the numbers which JSON has not."""
    return sys.modules["pydantic_core"].SchemaSerializer(
        kind.__pydantic_core_schema__, {"ser_json_inf_nan": "constants"}
    )


def _holds(stored: Any, part: Any) -> bool:
    """Whether ``part`` is what a model was dumped to, or anywhere in it."""
    if stored == part:
        return True
    inside = stored.values() if isinstance(stored, dict) else stored if isinstance(stored, list) else ()
    return any(_holds(item, part) for item in inside)


def _check_numbers(value: Any, stored: Any, place: str) -> None:
    """Reject the numbers that pydantic's JSON has no text for, where it has ``None`` in their place.

    Args:
        value: what a model was dumped to, or something inside of it.
        stored: the same in types that JSON has.
        place: where it is.

    Raises:
        Unstorable: naming the place of NaN or of an infinity.
    """
    number = value.value if isinstance(value, Enum) else value
    if stored is None and isinstance(number, float) and not math.isfinite(number):
        message = f"has {number!r} in {place.lstrip('.')!r}: JSON has no such number; pass None or a text"
        raise Unstorable(message)
    if isinstance(value, dict) and isinstance(stored, dict) and len(value) == len(stored):
        for (key, item), (text, kept) in zip(value.items(), stored.items(), strict=True):
            _check_numbers(key, None if isinstance(key, (float, Enum)) else text, f"{place}{{}}")
            _check_numbers(item, kept, f"{place}.{str(text)[:64]}")
    elif isinstance(value, (set, frozenset)) and isinstance(stored, list) and None in stored and None not in value:
        for item in value:
            _check_numbers(item, None, f"{place}{{}}")
    elif isinstance(value, (list, tuple, deque)) and isinstance(stored, list) and len(value) == len(stored):
        for index, (item, kept) in enumerate(zip(value, stored, strict=True)):
            _check_numbers(item, kept, f"{place}[{index}]")


def _check_inside(value: Any, place: str, above: set[int], models: list[Any]) -> None:
    """Reject what a model's JSON would show as asterisks, in the clear, or not at all.

    What the model itself holds is looked at, whatever its serializers make of it, and so is what they make.

    Args:
        value: a model, or something inside of one.
        place: where it is.
        above: the identities of what it is inside of.
        models: gets every object that holds others by name, models among them.

    Raises:
        Unstorable: naming the place of a secret, of an iterator, or of keys that JSON has as one text.
    """
    kind = type(value)
    if hasattr(kind, SECRET):
        raise _secret(kind, place or "its key")
    if kind in PLAIN or issubclass(kind, (type, ModuleType)) or id(value) in above:
        return
    above = {*above, id(value)}
    if isinstance(value, Iterator):
        message = f"has the iterator {place.lstrip('.')!r}, which can be read only once: pass list(value)"
        raise Unstorable(message)
    if isinstance(value, Mapping):
        for key, item in dict.items(value) if isinstance(value, dict) else value.items():
            _check_inside(key, f"{place}{{}}", above, models)
            _check_inside(item, f"{place}.{str(key)[:64]}", above, models)
        _check_keys(value, place)
    elif isinstance(value, Collection) and not isinstance(value, (*PLAIN, bytearray, memoryview, range)):
        if not hasattr(kind, "__array__"):
            for index, item in enumerate(value):
                _check_inside(item, f"{place}[{index}]", above, models)
    else:
        models.append(value)
        for name, item in _held(value, kind):
            _check_inside(item, f"{place}.{name}", above, models)


def _held(value: Any, kind: type) -> list[tuple[str, Any]]:
    """What a model, a dataclass or another object holds, a model's extra fields too, by name.

    A field that a model leaves out of its JSON is left out, where the model has no serializer that may show it.
    """
    fields: Mapping[str, Any] = getattr(kind, "__pydantic_fields__", {})
    decorators = getattr(kind, "__pydantic_decorators__", None)
    shows = any(getattr(decorators, name, None) for name in ("model_serializers", "field_serializers"))
    shows = shows or bool(getattr(decorators, "computed_fields", None))
    if fields or hasattr(kind, "__pydantic_serializer__"):
        names = [name for name, field in fields.items() if shows or not getattr(field, "exclude", None)]
    elif dataclasses.is_dataclass(kind):
        names = [field.name for field in dataclasses.fields(kind)]
    else:
        names = list(getattr(value, "__dict__", ()))
    extra = getattr(value, "__pydantic_extra__", None) if fields or decorators is not None else None
    return [(name, getattr(value, name, None)) for name in names] + list((extra or {}).items())


def _check_keys(value: Mapping[Any, Any], place: str) -> None:
    """Reject keys of which JSON has two as the same text."""
    plain = getattr(sys.modules.get("pydantic_core"), "to_jsonable_python", None)
    if plain is None or all(type(key) is str for key in value):
        return
    try:
        texts = plain(dict.fromkeys(value))
    except Exception:  # noqa: BLE001 - the model's own serializer may know these keys
        return
    if len(texts) != len(value):
        message = f"has two keys in {place.lstrip('.')!r} that are the same text: keys must differ as texts"
        raise Unstorable(message)


def _secret(kind: type, place: str = "") -> Unstorable:
    what = f"has the secret {place.lstrip('.')!r}, a {kind.__name__}" if place else f"is a {kind.__name__}"
    return Unstorable(
        f"{what}: secrets are not stored; pass a reference, and read the secret in the step that needs it"
    )


def _array(value: Any) -> Any:
    """A NumPy scalar or array as Python's own numbers and lists.

    Raises:
        Unstorable: it holds fields, times finer than microseconds, or numbers wider than Python's.
    """
    dtype = value.dtype
    if dtype.kind == "V":
        message = f"is NumPy data of the type {dtype}: pass a dict or a list of dicts"
        raise Unstorable(message)
    if hasattr(value, "filled"):
        message = "is a masked array: pass value.filled(...).tolist()"
        raise Unstorable(message)
    plain = value.tolist()
    if dtype.kind in "mM":
        unit = str(dtype).partition("[")[2].strip("]").lstrip("0123456789")
        fine = unit not in _COARSE  # which is lost by rounding; a time outside of datetime's years is lost by anything
        if fine or not _are_times(plain):
            advice = "pass its number and its unit"
            if dtype.kind == "M":
                advice = "pass value.astype('datetime64[us]')" if fine else "pass str(value)"
            message = f"is NumPy data of the type {dtype}, which datetime cannot hold exactly: {advice}"
            raise Unstorable(message)
    elif dtype.kind in "fc" and dtype.itemsize > 8:  # noqa: PLR2004 - bytes of a double
        if dtype.kind == "c":
            message = f"is NumPy data of the type {dtype}: pass [value.real.tolist(), value.imag.tolist()]"
        else:
            message = f"is NumPy data of the type {dtype}, wider than Python's float: pass value.astype(float)"
        raise Unstorable(message)
    return plain


def _are_times(plain: Any) -> bool:
    if isinstance(plain, list):
        return all(_are_times(item) for item in plain)
    return plain is not None and not isinstance(plain, PLAIN)


def _unreadable(kind: type, error: Exception) -> Unstorable:
    """Its own code raised; what it says may quote the data, but so does the data's owner's own log."""
    try:
        says = " ".join(str(error).split())[:MAX_PROBLEM]
    except Exception:  # noqa: BLE001 - the message is the same code's
        says = "without a message"
    return Unstorable(f"is a {kind.__name__}, which could not be read: {type(error).__name__}: {says}")


def _advice(kind: type) -> str:
    """What an object is, and what to pass in its place."""
    fix = "pass a text, a number, or a mapping or list of them"
    if hasattr(kind, "__array__"):
        fix = "pass value.tolist() or value.to_dict()"
    elif issubclass(kind, complex):
        fix = "pass [value.real, value.imag]"
    elif issubclass(kind, (PathLike, BaseException)):
        fix = "pass str(value)"
    elif issubclass(kind, (Iterator, range, AbstractSet)) or hasattr(kind, "__len__"):
        fix = "pass list(value)"
    elif issubclass(kind, type) or hasattr(kind, "__get__"):
        fix = "pass its name"
    return f"is a {kind.__name__}, which cannot be stored as JSON: {fix}"
