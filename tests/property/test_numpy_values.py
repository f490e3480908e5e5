"""NumPy's scalars and arrays are kept as Python's own values, exactly, or rejected with what to do instead.

NumPy is not imported by the library; it is a development dependency.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
from datetime import date, datetime, timedelta
from typing import Annotated, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, BeforeValidator, Field, PlainSerializer

from hephaestus import DONE, Workflow
from hephaestus.errors import InvalidInput
from hephaestus.steps import Wait
from hephaestus.testing import LocalRuntime
from hephaestus.values import FrozenList, NotSerializable, adopt, freeze, from_json, to_json

np: Any = importlib.import_module("numpy")  # untyped: its types would take mypy longer than all others

OBJECT = object()
FLOATS = ("f2", "f4", "f8")
WHOLE = ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")
NUMBERS = st.one_of(
    st.sampled_from(FLOATS).flatmap(
        lambda kind: st.floats(width=int(kind[1]) * 8, allow_nan=False, allow_infinity=False).map(  # type: ignore[arg-type]  # 16, 32 or 64
            lambda number: np.dtype(kind).type(number)
        )
    ),
    st.sampled_from(WHOLE).flatmap(
        lambda kind: st.integers(int(np.iinfo(kind).min), int(np.iinfo(kind).max)).map(np.dtype(kind).type)
    ),
    st.booleans().map(np.bool_),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5).map(np.str_),
    st.binary(max_size=5).map(np.bytes_),
    st.datetimes().map(lambda at: np.datetime64(at, "us")),
    st.timedeltas(timedelta(days=-(10**6)), timedelta(days=10**6)).map(lambda long: np.timedelta64(long, "us")),
)


def item(value: Any) -> Any:
    """The scalar as Python's own; ``item()`` of bytes drops zeros at their end."""
    return bytes(value) if isinstance(value, bytes) else value.item()


@given(NUMBERS)
def test_a_numpy_scalar_is_kept_as_the_value_it_is(value: Any) -> None:
    """Equal, of Python's own type, and the same after its way through the store."""
    kept = freeze({"a": value})["a"]
    assert type(kept).__module__ in {"builtins", "datetime"}
    assert kept == item(value)
    back = adopt(from_json(to_json({"a": kept})))["a"]
    assert (type(back), back) == (type(kept), kept)


@given(st.lists(NUMBERS, max_size=3), st.sampled_from([(0,), (2, 0), (2, 3), (1, 1, 1), ()]))
def test_an_array_is_kept_as_lists_of_its_values(values: list[Any], shape: tuple[int, ...]) -> None:
    """Of any shape, alone and among other values."""
    array = np.arange(int(np.prod(shape)), dtype="i4").reshape(shape)
    kept = freeze({"numbers": array, "others": values})
    assert kept["numbers"] == array.tolist()
    assert type(kept["numbers"]) is (FrozenList if shape else int)
    assert kept["others"] == [item(value) for value in values]


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (np.datetime64("2026-01-02"), date(2026, 1, 2)),
        (np.datetime64("2026-01-02T03:04:05.678", "ms"), datetime(2026, 1, 2, 3, 4, 5, 678_000)),  # noqa: DTZ001 - NumPy has no zones
        (np.timedelta64(3, "h"), timedelta(hours=3)),
        (np.array(["2026-01-02", "2026-01-03"], "M8[D]"), [date(2026, 1, 2), date(2026, 1, 3)]),
        (np.array([], "M8[us]"), []),
        (np.array(["a", "bc"]), ["a", "bc"]),
        (np.array([{"a": 1}, None], dtype=object), [{"a": 1}, None]),
    ],
    ids=repr,
)
def test_times_and_texts_are_kept(value: Any, kept: Any) -> None:
    """Whatever the unit, as long as it is not finer than a microsecond."""
    assert freeze({"a": value})["a"] == kept


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (np.float32("nan"), "total.a is nan: JSON has no such number"),
        (np.array([1.0, np.inf]), r"total.a\[1\] is inf"),
        (
            np.datetime64("2026-01-02T00:00:00", "ns"),
            r"datetime64\[ns\], which datetime cannot hold exactly: pass value",
        ),
        (np.array([1], "M8[ns]"), r"datetime64\[ns\]"),
        (np.datetime64("NaT"), "datetime64, which datetime cannot hold exactly"),
        (np.array(["2026", "NaT"], "M8[us]"), r"datetime64\[us\], which"),
        (np.datetime64(10**6, "Y"), r"datetime64\[Y\], which"),
        (np.timedelta64(3, "Y"), r"timedelta64\[Y\], which datetime cannot hold exactly: pass its number and its unit"),
        (np.timedelta64(3, "ns"), r"timedelta64\[ns\], which"),
        (np.longdouble(1) / 3, "wider than Python's float: pass value.astype"),
        (np.complex128(1 + 2j), r"complex128: pass .value.real.tolist\(\), value.imag.tolist\(\)."),
        (np.array([1j]), r"complex128: pass .value.real.tolist"),
        (np.datetime64("30000-01-01", "us"), r"datetime64\[us\], which.*: pass str"),
        (np.complex64(1), "total.a is a complex.*pass .value.real, value.imag."),
        (np.zeros(2, "i4,f4"), "pass a dict or a list of dicts"),
        (np.zeros(2, "i4,f4")[0], "pass a dict or a list of dicts"),
        (np.ma.masked_array([1, 2], [True, False]), r"a masked array: pass value.filled\(...\).tolist\(\)"),
        (np.array([OBJECT]), r"total.a\[0\] is a object"),
    ],
    ids=lambda value: repr(value).replace(repr(OBJECT), "object()"),
)
def test_what_would_lose_something_is_rejected_with_the_fix(value: Any, problem: str) -> None:
    """Nanoseconds, years of unknown length, wide numbers, fields, and what is behind a mask."""
    with pytest.raises(NotSerializable, match=problem):
        freeze({"a": value}, "total")


Array = Annotated[Any, BeforeValidator(np.asarray), PlainSerializer(lambda value: value.tolist())]
Rounded = Annotated[Any, BeforeValidator(np.asarray), PlainSerializer(lambda value: value.round().tolist())]
Hidden = Annotated[Any, Field(exclude=True)]


class Table:
    """A table as pandas has it: it is not stored, and ``==`` answers with another one."""

    def __init__(self, rows: list[Any]) -> None:
        self.rows = rows

    def __eq__(self, other: object) -> Any:
        return Table([])

    def __bool__(self) -> bool:
        message = "The truth value of a DataFrame is ambiguous"
        raise ValueError(message)

    def equals(self, other: Any) -> bool:
        """Whether it has the same rows."""
        return isinstance(other, Table) and self.rows == other.rows

    __hash__ = None  # type: ignore[assignment]  # as pandas' has none


class Inner(BaseModel):
    """A model that another one holds."""

    a: Array


class Arrays(BaseModel):
    """Fields whose values are no ``bool`` when they are compared, or cannot be at all."""

    a: Array
    several: list[Array]
    inner: Inner
    table: Annotated[Any, BeforeValidator(lambda it: Table(list(it))), PlainSerializer(lambda it: it.rows)] = []
    rounded: Rounded = 0
    hidden: Hidden = None


def start(**fields: Any) -> Any:
    """The start data of an instance that is started with such a model."""
    arrays = Wait(1, name="arrays")
    body = {"start_at": arrays, "transitions": {arrays: {"done": DONE}}, "Input": Arrays}
    flow = type("Flow", (Workflow,), body, key="flow")
    return LocalRuntime(flow).start(flow, "1", Arrays(**fields)).context


NUMBERS = st.lists(st.integers(-9, 9) | st.floats(-9, 9), max_size=3)


@settings(max_examples=40)
@given(NUMBERS, NUMBERS, NUMBERS)
def test_a_model_with_arrays_is_read_back(a: list[float], several: list[float], inner: list[float]) -> None:
    """Of any size, in lists and other models; what is not stored as it is would be lost, and is named."""
    given = {"a": a, "several": [several, a], "inner": {"a": inner}, "table": [several], "rounded": [1.0, 2.0]}
    kept = start(**given)
    assert [list(kept["a"]), list(kept["inner"]["a"]), list(kept["table"])] == [a, inner, [several]]
    with pytest.raises(InvalidInput, match="fields rounded would be lost"):
        start(**given | {"rounded": [1.5, 2.0]})
    with pytest.raises(InvalidInput, match="fields hidden would be lost"):
        start(**given, hidden=np.asarray([1, 2]))
    with pytest.raises(InvalidInput, match="fields hidden would be lost"):
        start(**given, hidden=Table([]))


def test_the_library_imports_neither_numpy_nor_pydantic() -> None:
    """They are recognized by what they offer."""
    code = (
        "import sys, hephaestus.testing, hephaestus.runtime.intake\n"
        "hephaestus.values.freeze({'a': (1, {2}, b'c')})\n"
        "sys.exit(bool({'numpy', 'pydantic', 'pandas'} & sys.modules.keys()))"
    )
    path = next(entry for entry in sys.path if entry.endswith("layers/hephaestus"))
    assert subprocess.run([sys.executable, "-c", code], check=False, env={"PYTHONPATH": path}).returncode == 0
