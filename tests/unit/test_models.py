"""Models of pydantic's, and dataclasses, wherever values are given: stored as JSON has them, and never a secret."""

from __future__ import annotations

import dataclasses
import enum
import math
import sys
from collections import deque
from datetime import date, time, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from pydantic import (
    AliasChoices,
    AliasPath,
    BaseModel,
    ConfigDict,
    Field,
    HttpUrl,
    PlainSerializer,
    RootModel,
    Secret,
    SecretBytes,
    SecretStr,
    computed_field,
    field_serializer,
    model_serializer,
)
from pydantic.dataclasses import dataclass as model_dataclass

from hephaestus import DONE, Completed, StepContext, Workflow, step
from hephaestus.errors import BadRequest, CallerError, InvalidInput
from hephaestus.simulation import simulate
from hephaestus.steps import WaitForEvent
from hephaestus.testing import LocalRuntime
from hephaestus.values import FrozenDict, NotSerializable, freeze
from hephaestus.values.foreign import by_alias, is_model
from hephaestus.values.scalars import Unstorable

if TYPE_CHECKING:
    from collections.abc import Callable


class Address(BaseModel):
    """A part of another model."""

    url: HttpUrl
    opens: time


class Order(BaseModel):
    """A model with fields that JSON has no types for."""

    day: date
    price: Decimal
    address: Address
    pause: timedelta = timedelta(seconds=90)


class Strict(BaseModel):
    """A strict model, whose fields have other names outside, and one that is computed."""

    model_config = ConfigDict(strict=True, extra="forbid")

    day: date = Field(alias="deliveryDay")

    @computed_field  # type: ignore[prop-decorator]  # as pydantic's documentation has it
    @property
    def weekday(self) -> int:
        """It follows from the day."""
        return self.day.weekday()


class Numbers(RootModel[list[int]]):
    """A model of a list."""


@model_dataclass
class Point:
    """A dataclass of pydantic's."""

    at: HttpUrl
    x: int = 1


@dataclasses.dataclass
class Plain:
    """A dataclass of Python's with a model in it."""

    order: Order


class Login(BaseModel):
    """A model with a secret in it."""

    user: str
    password: SecretStr


@model_dataclass
class Badge:
    """A dataclass with a secret in it."""

    key: SecretStr


class Account(BaseModel):
    """A model with a model with a secret in it."""

    logins: list[Login]


ADDRESS = Address(url=HttpUrl("https://example.org/a"), opens=time(8, 30))
ORDER = Order(day=date(2026, 1, 2), price=Decimal("1.10"), address=ADDRESS)
STORED = {
    "day": "2026-01-02",
    "price": "1.10",
    "address": {"url": "https://example.org/a", "opens": "08:30:00"},
    "pause": "PT1M30S",
}


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (ORDER, STORED),
        ([ORDER, {"a": ORDER}], [STORED, {"a": STORED}]),
        (Numbers([1, 2]), [1, 2]),
        (Point(HttpUrl("https://example.org")), {"at": "https://example.org/", "x": 1}),
        (Plain(ORDER), {"order": STORED}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_model_is_kept_as_its_json(given: Any, kept: Any) -> None:
    """As ``model_dump(mode="json")`` has it, wherever it is."""
    assert freeze(given) == kept


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (Login(user="a", password=SecretStr("x")), r"^total has the secret 'password', a SecretStr: secrets are not"),
        (
            {"a": Account(logins=[Login(user="a", password=SecretStr("x"))])},
            r"total\.a has the secret 'logins\[0\]\.password', a SecretStr",
        ),
        ({"a": SecretStr("x")}, r"total\.a is a SecretStr: secrets are not stored; pass a reference"),
        ({"a": [SecretBytes(b"x")]}, r"total\.a\[0\] is a SecretBytes"),
        ({"a": Secret[int](5)}, r"total\.a is a Secret"),
        ([Badge(SecretStr("x"))], r"total\[0\] has the secret 'key', a SecretStr"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_secret_is_rejected_by_the_name_of_its_field(given: Any, problem: str) -> None:
    """Neither it nor its asterisks are stored."""
    with pytest.raises(NotSerializable, match=problem) as told:
        freeze(given, "total")
    assert "'x'" not in str(told.value)


def test_what_pydantic_cannot_serialize_is_rejected_with_its_place() -> None:
    """Not with a raw error of pydantic's."""

    class Raw(BaseModel):
        data: bytes = b"\xff"

    with pytest.raises(NotSerializable, match=r"total\.a is a Raw, which could not be read: UnicodeDecodeError"):
        freeze({"a": Raw()}, "total")


def test_a_class_and_a_result_are_no_models() -> None:
    """Only what pydantic serializes is one."""
    assert is_model(ORDER)
    assert is_model(Point(HttpUrl("https://example.org")))
    others: list[Any] = [Order, Completed("done"), Plain(ORDER), {}, "a"]
    assert not any(map(is_model, others))


# --- Wherever values are ---

wait = WaitForEvent("go", name="wait")


@step
def work(ctx: StepContext) -> Order:
    """Return a model as it is."""
    return ORDER


@step(events=("done",))
def report(ctx: StepContext) -> Completed:
    """Return models as results and as metadata."""
    return Completed("done", ORDER, metadata=Point(HttpUrl("https://example.org")))  # type: ignore[arg-type]  # no model to mypy


class Flow(Workflow, key="flow"):
    """A step whose result is a model, a wait, and another."""

    Input = Order
    start_at = work
    transitions = {work: {"done": wait}, wait: {"go": report}, report: {"done": DONE}}


class Renamed(Workflow, key="renamed"):
    """A workflow whose input has other names outside."""

    Input = Strict
    start_at = wait
    transitions = {wait: {"go": DONE}}


def test_models_are_taken_as_context_payload_results_and_metadata() -> None:
    """Each is in the view as its JSON, and the context is the workflow's own model again."""
    local = LocalRuntime(Flow)
    shown = local.start(Flow, "one", ORDER)
    assert shown.context == STORED
    assert shown.steps["work"].results == STORED
    shown = local.resume("flow::one", "go", ORDER)
    assert shown.status == "completed"
    assert shown.steps["wait"].results == STORED
    assert shown.steps["report"].results == STORED
    assert shown.metadata == {"at": "https://example.org/", "x": 1}
    assert Flow.definition(1).read_input(shown.context) == ORDER


def test_models_are_taken_by_forks_and_as_metadata_of_a_start() -> None:
    """A payload that is no mapping, too: a model of a list."""
    local = LocalRuntime(Flow)
    local.runner.start_instance(Flow, STORED, id="one", telemetry_metadata=Plain(ORDER))  # type: ignore[arg-type]  # no model to mypy
    local.settle()
    assert local.runner.get("flow::one").metadata == {"order": STORED}
    other = ORDER.model_copy(update={"price": Decimal(2)})
    forked = local.runner.fork("flow::one", new_id="two", context=other, results={"work": other})
    local.settle()
    shown = local.resume(forked, "go", Numbers([1, 2]))
    assert shown.context == {**STORED, "price": "2"}
    assert shown.steps["work"].results == {**STORED, "price": "2"}
    assert shown.steps["wait"].results == {"value": [1, 2]}


def test_a_strict_model_with_other_names_is_its_own_input() -> None:
    """By its aliases, as a caller of the API gives it; the computed field is left out."""
    local = LocalRuntime(Renamed)
    given = Strict(deliveryDay=date(2026, 1, 2))
    shown = local.start(Renamed, "one", given)
    assert shown.context == {"deliveryDay": "2026-01-02"}
    assert Renamed.definition(1).read_input(shown.context) == given


def test_a_strict_input_takes_no_other_types_for_that() -> None:
    """What is not JSON is judged as it is: a number is no date, and a duration no number."""
    for wrong in ({"deliveryDay": 5}, {"deliveryDay": timedelta(1)}, {"deliveryDay": "soon"}):
        with pytest.raises(InvalidInput, match="deliveryDay"):
            LocalRuntime(Renamed).start(Renamed, "one", wrong)


@pytest.mark.parametrize(
    "give",
    [
        lambda local, value: local.start(Flow, "two", {**STORED, "login": value}),
        lambda local, value: local.start(Flow, "two", value),
        lambda local, value: local.resume("flow::one", "go", value),
        lambda local, value: local.resume("flow::one", "go", [value]),
        lambda local, value: local.runner.start_instance(Flow, STORED, id="two", telemetry_metadata=value),
        lambda local, value: local.runner.fork("flow::one", new_id="two", context=value),
        lambda local, value: local.runner.fork("flow::one", new_id="two", results={"work": value}),
    ],
)
def test_a_secret_is_rejected_before_anything_is_stored(give: Callable[[LocalRuntime, Any], object]) -> None:
    """By every way in."""
    local = LocalRuntime(Flow)
    before = local.start(Flow, "one", ORDER)
    with pytest.raises(InvalidInput, match="the secret 'password', a SecretStr"):
        give(local, Login(user="a", password=SecretStr("x")))
    assert local.runner.get("flow::one") == before
    assert len(local.runner.list().items) == 1


def test_a_step_that_returns_a_secret_fails_and_says_which() -> None:
    """At once: running it again would not help."""

    @step
    def log_in(ctx: StepContext) -> Login:
        return Login(user="a", password=SecretStr("x"))

    class Leaky(Workflow, key="leaky"):
        start_at = log_in
        transitions = {log_in: {"done": DONE}}

    shown = LocalRuntime(Leaky).start(Leaky, "one", {})
    assert shown.status == "failed"
    assert shown.error is not None
    assert "its result has the secret 'password', a SecretStr" in shown.error["message"]


def test_what_is_no_mapping_is_rejected_as_context() -> None:
    """A model of a list, and a list."""
    for wrong in (Numbers([1]), [1], "a", 5):
        with pytest.raises(InvalidInput, match="must be a mapping"):
            LocalRuntime(Flow).start(Flow, "one", wrong)  # type: ignore[arg-type]  # on purpose


def test_the_results_of_a_fork_are_a_mapping() -> None:
    """Of steps to mappings; anything else is the caller's mistake."""
    local = LocalRuntime(Flow)
    local.start(Flow, "one", ORDER)
    given: list[Any] = [Numbers([1]), [1], "work", 5, True, {"work": [1]}, {"work": "a"}, {5: {}}]
    for wrong in given:
        with pytest.raises(BadRequest, match=r"mapping|is not a step"):
            local.runner.fork("flow::one", new_id="two", results=wrong)


def test_a_simulation_takes_a_model() -> None:
    """As a start does."""
    seen: list[Any] = []
    simulate(Flow, ORDER, runs=1, check=lambda finished: seen.extend(one.context for one in finished.instances))
    assert STORED in seen


def test_a_model_that_was_frozen_is_a_plain_mapping() -> None:
    """Nothing of pydantic's is kept."""
    assert type(freeze(ORDER)) is FrozenDict


# --- Secrets that a dump does not show, and data that one loses ---


class Deque(BaseModel):
    """A secret in a container that is no list."""

    a: deque[SecretStr]


class Keys(BaseModel):
    """Secrets as keys, of which JSON has one."""

    a: dict[SecretStr, int]


class Anything(BaseModel):
    """A field that holds what it is given."""

    model_config = ConfigDict(extra="allow")

    a: Any


class Shown(BaseModel):
    """A serializer that shows the secret."""

    a: SecretStr

    @field_serializer("a")
    def show(self, value: SecretStr) -> str:
        """In the clear."""
        return value.get_secret_value()


class ShownInJson(BaseModel):
    """A serializer that shows the secret in JSON only."""

    a: Annotated[SecretStr, PlainSerializer(lambda value: value.get_secret_value(), when_used="json")]


class ShownByTheModel(BaseModel):
    """A serializer of the whole model, of a field that is left out otherwise."""

    a: SecretStr = Field(exclude=True)

    @model_serializer
    def show(self) -> dict[str, str]:
        """In the clear."""
        return {"b": self.a.get_secret_value()}


class Left(BaseModel):
    """A secret that its model leaves out."""

    a: SecretStr = Field(exclude=True)
    b: int = 1


X = SecretStr("x")


@pytest.mark.parametrize(
    "given",
    [
        Deque(a=deque([X])),
        Keys(a={SecretStr("x"): 1, SecretStr("y"): 2}),
        Shown(a=X),
        ShownInJson(a=X),
        ShownByTheModel(a=X),
        *(Anything(a=held) for held in (X, [X], (X,), {X}, frozenset({X}), deque([X]), {"k": X}, {X: 1}, {"k": [{X}]})),
        *(Anything(a=held) for held in (MappingProxyType({"k": X}), {"k": X}.values(), Badge(X), Plain(X))),  # type: ignore[arg-type]  # on purpose
        *(Anything(a=held) for held in (Anything(a=X), Shown(a=X), [Anything.model_validate({"a": 1, "b": {X}})])),
    ],
    ids=repr,
)
def test_no_serializer_and_no_container_hides_a_secret(given: Any) -> None:
    """It is named by its field, and nothing of it is said."""
    with pytest.raises(NotSerializable, match=r"total has the secret 'a.*: secrets are not stored") as told:
        freeze(given, "total")
    assert "'x'" not in str(told.value)


def test_a_secret_that_is_left_out_is_no_secret_in_the_data() -> None:
    assert freeze(Left(a=X)) == {"b": 1}


class Number(float):
    """A number of a class of its own."""


class Bound(enum.Enum):
    """A bound that may be none."""

    NONE = math.inf


class Averaging(BaseModel):
    """A serializer that makes what JSON has not."""

    a: Any

    @field_serializer("a")
    def average(self, _value: Any) -> Any:
        """Make nothing of nothing."""
        return math.nan


NO_NUMBERS = [math.nan, math.inf, -math.inf, Number("nan"), Bound.NONE]


@pytest.mark.parametrize("number", NO_NUMBERS, ids=repr)
@pytest.mark.parametrize(
    "held",
    [
        lambda number: number,
        lambda number: [1.5, number],
        lambda number: (number,),
        lambda number: {number},
        lambda number: frozenset({number, "x"}),
        lambda number: deque([number]),
        lambda number: {"k": number},
        lambda number: {number: 1},
        lambda number: {"k": [{"l": (number,)}]},
        lambda number: MappingProxyType({"k": number}),
        Plain,
        lambda number: Anything(a=number),
    ],
)
def test_a_number_that_json_has_not_is_no_none_in_a_model(held: Callable[[Any], Any], number: Any) -> None:
    """It is rejected by its place as anywhere else, and never stored as something else."""
    for given in (Anything(a=held(number)), Anything.model_validate({"a": 1, "b": held(number)})):
        for read in (freeze, lambda value, place: freeze(by_alias(value), place)):
            with pytest.raises((NotSerializable, Unstorable)):
                read(given, "total")


def test_a_number_that_json_has_not_is_named_by_its_place_and_none_stays_none() -> None:
    with pytest.raises(NotSerializable, match=r"total has nan in 'a\.k\[1\]': JSON has no such number; pass None or a"):
        freeze(Anything(a={"k": [None, math.nan]}), "total")
    with pytest.raises(NotSerializable, match="total has nan in 'a'"):
        freeze(Averaging(a=[]), "total")
    assert freeze(Anything(a=[None, 1.5, {1.5: None}, {None}])) == {"a": [None, 1.5, {"1.5": None}, [None]]}


class Showing(BaseModel):
    """What only its JSON has, and where it is ``None``."""

    a: Any = 1.0
    none: None = None

    @field_serializer("a", when_used="json")
    def show(self, value: Any) -> Any:
        """Make what the value says."""
        return value() if callable(value) else value


class Rooted(RootModel[Any]):
    """A model that is its value."""

    @model_serializer(when_used="json")
    def show(self) -> Any:
        """Make what the value says."""
        return self.root()


class Hidden(BaseModel):
    """A model that shows another one otherwise."""

    a: Any = Field(default_factory=lambda: Showing(a=lambda: math.nan))
    none: None = None

    @field_serializer("a")
    def show(self, _value: Any) -> str:
        """Show it as a text."""
        return "nothing"


@pytest.mark.parametrize("number", NO_NUMBERS, ids=repr)
@pytest.mark.parametrize(
    "made",
    [
        lambda number: Showing(a=lambda: number),
        lambda number: Showing(a=lambda: [1, {"k": number}]),
        lambda number: Anything(a=Showing(a=lambda: number)),
        lambda number: Anything(a=[{"k": Showing(a=lambda: number)}]),
        lambda number: Rooted(lambda: number),
        lambda number: Rooted(lambda: {"k": [number]}),
    ],
)
def test_a_number_that_json_has_not_is_no_none_where_only_the_json_has_it(
    made: Callable[[Any], Any], number: Any
) -> None:
    """A serializer with ``when_used="json"`` may make it, of a model inside of another one, too."""
    for read in (freeze, lambda value, place: freeze(by_alias(value), place)):
        with pytest.raises((NotSerializable, Unstorable), match=f"{float(getattr(number, 'value', number))}"):
            read(made(number), "total")


def test_what_such_serializers_make_else_is_kept() -> None:
    assert freeze(Showing(a=lambda: None)) == {"a": None, "none": None}
    assert freeze(Showing(a=lambda: [Decimal("NaN"), 1.5])) == {"a": ["NaN", 1.5], "none": None}
    assert freeze(Hidden()) == {"a": "nothing", "none": None}


@pytest.mark.parametrize("held", [iter([1]), iter([X]), (part for part in (1, X)), map(str, [1])])
def test_what_can_be_read_only_once_is_rejected_unread(held: Any) -> None:
    """A look at it would take it from whoever gave it."""
    with pytest.raises(NotSerializable, match="total has the iterator 'a'"):
        freeze(Anything(a=held), "total")


@pytest.mark.parametrize("held", [{1: 1, "1": 2}, [{True: 1, "true": 2}], {None: 1, "None": 2}, {1.5: 1, "1.5": 2}])
def test_keys_that_json_has_as_one_text_are_rejected(held: Any) -> None:
    """As those of a plain mapping are; one of the two would be lost."""
    with pytest.raises(NotSerializable, match=r"two keys in 'a.*same text"):
        freeze(Anything(a=held), "total")
    assert freeze(Anything(a={1: 1, "2": 2})) == {"a": {"1": 1, "2": 2}}


class OtherOut(BaseModel):
    """Another name outside only."""

    s: int = Field(serialization_alias="out")


class OtherIn(BaseModel):
    """Another name inside only."""

    s: int = Field(validation_alias="in")


class Choices(BaseModel):
    """Several names inside, and one outside."""

    s: int = Field(validation_alias=AliasChoices(AliasPath("p", 0), "n", "num"), serialization_alias="out")


class ByPath(BaseModel):
    """Taken from inside of something else."""

    s: int = Field(validation_alias=AliasPath("p", 0))


class LeftOut(BaseModel):
    """Left out, and with a default."""

    s: int = Field(default=3, exclude=True)


class LeftOutRequired(BaseModel):
    """Left out, and required."""

    s: int = Field(exclude=True)


def reading(model: type[BaseModel]) -> type[Workflow]:
    """A workflow that shows what its step sees."""

    @step
    def look(ctx: StepContext) -> dict[str, Any]:
        return {"seen": ctx.input.s}

    members = {"start_at": look, "transitions": {look: {"done": DONE}}, "Input": model}
    made: type[Workflow] = type("Reading", (Workflow,), members, key="reading")
    return made


@pytest.mark.parametrize("given", [OtherOut(s=9), OtherIn(**{"in": 9}), Choices.model_validate({"num": 9})], ids=repr)
def test_an_input_of_any_alias_is_read_as_it_was_given(given: BaseModel) -> None:
    flow = reading(type(given))
    assert LocalRuntime(flow).start(flow, "a", given).steps["look"].results == {"seen": 9}


@pytest.mark.parametrize("given", [ByPath(p=[9]), LeftOut(s=9), LeftOutRequired(s=9)], ids=repr)  # type: ignore[call-arg]  # by its alias
def test_an_input_that_would_be_another_one_is_rejected(given: BaseModel) -> None:
    """Also by a fork; and nothing is stored."""
    flow = reading(type(given))
    local = LocalRuntime(flow)
    with pytest.raises(InvalidInput, match=f"{type(given).__name__} (that its own class cannot|whose fields s)"):
        local.start(flow, "a", given)
    assert not local.runner.list().items
    local.start(flow, "a", {"s": 3, "p": [3]})
    with pytest.raises(InvalidInput, match=f"{type(given).__name__} (that its own class cannot|whose fields s)"):
        local.runner.fork("reading::a", new_id="b", context=given)
    assert len(local.runner.list().items) == 1


class Exiting(BaseModel):
    """A model whose JSON cannot be made."""

    there: int = 1

    @field_serializer("there")
    def _there(self, _value: int) -> int:
        sys.exit("no config")


class ExitingText(str):
    """A text that exits when it is looked at."""

    __slots__ = ()

    def isprintable(self) -> bool:
        """Exit."""
        sys.exit("no config")

    __len__ = __repr__ = __str__ = isprintable  # type: ignore[assignment]  # wrong on purpose


class NoKey:
    """No business key, and nothing that can be shown."""

    def __repr__(self) -> str:
        sys.exit("no config")


CALLS: dict[str, Callable[[Any], Any]] = {
    "start data": lambda runner: runner.start_instance("Odd", Exiting(), id="2"),
    "metadata": lambda runner: runner.start_instance("Odd", {}, id="2", telemetry_metadata={"a": Exiting()}),
    "a tag": lambda runner: runner.start_instance("Odd", {}, id="2", tags=[ExitingText("x")]),
    "a business key": lambda runner: runner.start_instance("Odd", {}, id=NoKey()),
    "a version": lambda runner: runner.start_instance("Odd", {}, id="2", version=NoKey()),
    "a payload": lambda runner: runner.resume("odd::1", "go", [Exiting()]),
    "an id": lambda runner: runner.resume(NoKey(), "go"),
    "results": lambda runner: runner.fork("odd::1", new_id="2", results={"waits": Exiting()}),
    "a new id": lambda runner: runner.fork("odd::1", new_id=NoKey()),
}


@pytest.mark.parametrize("what", CALLS)
def test_an_object_of_a_caller_that_exits_when_it_is_read_is_a_callers_mistake(what: str) -> None:
    """It ends no process: what is given is read contained, and nothing is changed."""
    waits = WaitForEvent("go", name="waits")
    body = {"start_at": waits, "transitions": {waits: {"go": DONE}}}
    odd = type("Odd", (Workflow,), body, key="odd")
    local = LocalRuntime(odd)
    local.start(odd, "1")
    with pytest.raises(CallerError):
        CALLS[what](local.runner)
    assert [(each.id, each.status) for each in local.runner.list()] == [("odd::1", "waiting")]


@pytest.mark.parametrize("given", [{"amount": Decimal("1.10")}, {"raw": b"ok"}, {"inside": {"at": date(2026, 1, 2)}}])
@pytest.mark.parametrize("field", ["extra", "declared"])
def test_no_value_of_an_input_is_another_one_for_the_steps(given: dict[str, Any], field: str) -> None:
    """An extra field counts as a declared one does: the JSON of a model has texts for what JSON lacks."""
    members = {"Input": Anything, "start_at": work, "transitions": {work: {"done": DONE}}}
    flow: type[Workflow] = type("Open", (Workflow,), members, key="open")
    name = next(iter(given)) if field == "extra" else "a"
    context = Anything.model_validate({"a": 1, **given} if field == "extra" else {"a": given})
    with pytest.raises(InvalidInput, match=f"whose fields {name} would be lost"):
        LocalRuntime(flow).start(flow, "one", context)
    same = Anything.model_validate({"a": 1, "b": "x"})
    assert LocalRuntime(flow).start(flow, "one", same).context == {"a": 1, "b": "x"}
