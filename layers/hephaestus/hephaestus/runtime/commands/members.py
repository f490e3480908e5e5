"""The members that commands have: what each takes, is kept as, and is in the API's document.

A rule is the only place where a value is checked, whoever gives it: a Python caller, the API, a direct invocation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeAlias, TypeVar

from hephaestus.definition.business_key import ID, NAME, VALUE, check_id
from hephaestus.definition.durations import shown
from hephaestus.definition.header import MAX_TAG_LENGTH, MAX_TAGS
from hephaestus.definition.references import step_key
from hephaestus.errors import BadRequest, InvalidDelay, UnknownWorkflow
from hephaestus.runtime.caller import Caller, read_caller
from hephaestus.runtime.intake import (
    MAX_NUMBER,
    MAX_REASON,
    MAX_TEXT,
    check_flag,
    check_number,
    check_reason,
    check_text,
    read_context,
    read_metadata,
    read_payload,
    read_tags,
    read_value,
)
from hephaestus.values import FrozenDict
from hephaestus.values.scalars import is_whole, plain_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hephaestus.definition.references import StepRef, WorkflowRef
    from hephaestus.values.foreign import Model

Schema: TypeAlias = dict[str, Any]
Given_contra = TypeVar("Given_contra", contravariant=True)
Kept_co = TypeVar("Kept_co", covariant=True)

LONGEST_SCHEDULE_MS: Final = 366 * 24 * 3600 * 1000
MAX_RESULTS: Final = 200  # steps that a fork gives other results


class Rule(NamedTuple):
    """What a member may be.

    Attributes:
        json: what it is in JSON; ``object`` is anything.
        read: given the member's name in quotes and a value, the value as it is kept; raises a ``CallerError``.
        schema: its JSON schema.
        carries: whether it holds values of users, in whose JSON objects stand for the types that JSON lacks.
    """

    json: type[Any]
    read: Callable[[str, Any], Any]
    schema: Schema
    carries: bool = False


class Declared(NamedTuple):
    """One member of a command; see ``member``."""

    rule: Rule
    default: Any
    kept: Any
    doc: str


class Member(Generic[Given_contra, Kept_co]):
    """A member's type: what a command is made with, and what it then has. Only type checkers see it."""

    if TYPE_CHECKING:

        def __get__(self, command: object, owner: type | None = None) -> Kept_co: ...

        def __set__(self, command: object, value: Given_contra) -> None: ...


REQUIRED: Final = object()


def required(rule: Rule, doc: str = "") -> Any:
    """Declare a member that a command cannot do without; ``doc`` says what it is, in a sentence."""
    return Declared(rule, REQUIRED, None, doc)


def member(rule: Rule, doc: str = "", *, default: Any, kept: Any = None) -> Any:
    """Declare a member that may be left out.

    Args:
        rule: what it may be.
        doc: what it is, in a sentence, for the API's document and the command line.
        default: what leaves it out.
        kept: what a command then has, where that is not ``default``.
    """
    return Declared(rule, default, default if kept is None else kept, doc)


def _read_workflow(_name: str, workflow: Any) -> Any:
    workflow = plain_name(workflow)
    if isinstance(workflow, str) and not NAME.fullmatch(workflow):
        message = f"there is no workflow {shown(workflow)}"
        raise UnknownWorkflow(message)
    return workflow


def _read_step(name: str, step: Any) -> str:
    return check_text(name, step_key(step))


def _read_delay(name: str, delay: Any) -> int:
    delay = plain_name(delay)
    if not is_whole(delay) or not 0 < delay <= LONGEST_SCHEDULE_MS:
        message = f"{name} is {shown(delay)}: it must be a whole number of milliseconds from 1 to {LONGEST_SCHEDULE_MS}"
        raise InvalidDelay(message)
    return int(delay)


def _read_results(name: str, results: Any) -> FrozenDict:
    if not isinstance(results, Mapping):
        message = f"{name} is a {type(results).__name__}: it must be a mapping (a JSON object) of results by step"
        raise BadRequest(message)
    if len(results) > MAX_RESULTS:
        message = f"{name} must name at most {MAX_RESULTS} steps"
        raise BadRequest(message)
    kept: dict[str, FrozenDict] = {}
    for named, given in results.items():
        step = check_text(f"a step in {name}", step_key(named))
        if step in kept:
            message = f"{name} names the step {step!r} twice: give its results once"
            raise BadRequest(message)
        own = read_value(given, f"results.{step}")
        if not isinstance(own, FrozenDict):
            message = f"the results of step {step!r} must be a mapping (a JSON object)"
            raise BadRequest(message)
        kept[step] = own
    return FrozenDict(kept)


def _exactly(pattern: str) -> str:
    """A pattern for the whole of a text, as JSON Schema's match anywhere."""
    return f"^{pattern}$" if "|" not in pattern else f"^({pattern})$"


_TEXT: Final[Schema] = {"type": "string", "format": "printable", "minLength": 1, "maxLength": MAX_TEXT}
_NUMBER: Final[Schema] = {"type": "integer", "minimum": 1, "maximum": MAX_NUMBER}

INSTANCE_ID: Final = Rule(
    str,
    lambda _, value: check_id(value),
    {"type": "string", "pattern": _exactly(ID.pattern), "examples": ["orderid::abc123"]},
)
WORKFLOW: Final = Rule(
    str, _read_workflow, {"type": "string", "pattern": _exactly(NAME.pattern), "examples": ["OrderFlow"]}
)
KEY: Final = Rule(str, lambda _, value: plain_name(value), {"type": "string", "pattern": _exactly(VALUE.pattern)})
"""A business key's value, which the workflow's own rule checks."""

TEXT: Final = Rule(str, check_text, _TEXT)
STEP: Final = Rule(str, _read_step, _TEXT)
REASON: Final = Rule(str, lambda _, value: check_reason(value), {"type": "string", "maxLength": MAX_REASON})
FLAG: Final = Rule(bool, check_flag, {"type": "boolean"})
NUMBER: Final = Rule(int, check_number, _NUMBER)
DELAY: Final = Rule(object, _read_delay, {"type": "integer", "minimum": 1, "maximum": LONGEST_SCHEDULE_MS})
DATA: Final = Rule(dict, lambda _, value: read_context(value), {"type": "object"}, carries=True)
METADATA: Final = Rule(dict, lambda _, value: read_metadata(value), {"type": "object"}, carries=True)
PAYLOAD: Final = Rule(object, lambda _, value: read_payload(value, "payload"), {}, carries=True)
TAGS: Final = Rule(
    list,
    lambda _, value: read_tags(value),
    {
        "type": "array",
        "maxItems": MAX_TAGS,
        "items": {"type": "string", "format": "printable", "minLength": 1, "maxLength": MAX_TAG_LENGTH},
    },
)
RESULTS: Final = Rule(
    dict,
    _read_results,
    {"type": "object", "maxProperties": MAX_RESULTS, "additionalProperties": {"type": "object"}},
    carries=True,
)
CALLER: Final = Rule(str, lambda _, value: read_caller(value), {"type": "string"})

Text: TypeAlias = Member[str, str]
MaybeText: TypeAlias = Member[str | None, str | None]
MaybeStep: TypeAlias = Member["StepRef | None", str | None]
AStep: TypeAlias = Member["StepRef", str]
AWorkflow: TypeAlias = Member["WorkflowRef", "WorkflowRef"]
Flag: TypeAlias = Member[bool, bool]
Number: TypeAlias = Member[int, int]
MaybeNumber: TypeAlias = Member[int | None, int | None]
Tags: TypeAlias = Member["Sequence[str]", tuple[str, ...]]
Data: TypeAlias = Member["Mapping[str, Any] | Model", FrozenDict]
MaybeData: TypeAlias = Member["Mapping[str, Any] | Model | None", FrozenDict | None]
Metadata: TypeAlias = Member["Mapping[str, Any] | Model | None", FrozenDict]
Results: TypeAlias = Member["Mapping[Any, Mapping[str, Any] | Model] | None", Mapping[str, FrozenDict]]
Payload: TypeAlias = Member[Any, Any]
By: TypeAlias = Member["Caller | str | None", Caller]


def instance_id() -> Any:
    """Declare which instance a command is about."""
    return Declared(INSTANCE_ID, REQUIRED, None, "The instance's id, as orderid::abc123.")


def request_id(*, default: None) -> Any:
    """Declare the request's name."""
    return Declared(TEXT, default, None, "A name for this request: made twice under one name, it is one.")


def caller(*, default: None) -> Any:
    """Declare who asks, and how that is known."""
    return Declared(CALLER, default, Caller(), "Who asks; a text is a claim.")
