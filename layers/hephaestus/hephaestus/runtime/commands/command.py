"""What every command is: members, checked when it is made, and what becomes of it.

A command is declared once, as a class. From its members come its checking, its reading from JSON, the API's route and
document, the direct invocation, what clients send, and its command on the command line.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, NoReturn, TypeAlias, dataclass_transform

from hephaestus.definition.containment import contain
from hephaestus.definition.raised import name_of
from hephaestus.engine.state import RESERVED
from hephaestus.errors import BadRequest, CallerError, HephaestusError, InvalidInput, NotRoot
from hephaestus.runtime.commands.members import (
    REQUIRED,
    Declared,
    caller,
    instance_id,
    member,
    request_id,
    required,
)
from hephaestus.runtime.intake import read_wire, request_digest
from hephaestus.runtime.names import is_bulk, is_schedule
from hephaestus.runtime.orphans import steered_at
from hephaestus.values import to_wire

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Self

    from hephaestus.engine.state import State
    from hephaestus.runtime.caller import Caller
    from hephaestus.runtime.commands.members import Rule
    from hephaestus.runtime.dispatch import Dispatch
    from hephaestus.runtime.instances import Instances
    from hephaestus.store.store import Store

Known: TypeAlias = "str | Caller | None"  # what does not come from the caller's JSON: of the path, of a header
SHOWN: Final = 64
MOST_PROBLEMS: Final = 10

_JSON_NAMES: Final = {
    str: "a string",
    int: "a whole number",
    bool: "true or false",
    dict: "an object",
    list: "a list",
    object: "anything",
}


def check_root(state: State, who: Caller, store: Store) -> None:
    """Reject what is for the root of a tree alone (D.6). A child that its parent has left is on its own.

    Raises:
        NotRoot: the instance is a child that its parent waits for, and it is not the parent that asks.
    """
    origin = state.origin
    if origin is None or origin.detached or who.source == "parent":
        return
    if (root := steered_at(state, store)) != state.instance_id:
        message = f"instance {state.instance_id} is a child of {origin.public[0]}: ask at its root, {root}"
        raise NotRoot(message)


def check_known(instance_id: str, store: Store) -> None:
    """Reject the id of an instance that runs items of another's map: people ask at that one (C.1).

    Raises:
        NotRoot: it is one.
    """
    if is_bulk(instance_id):
        state = store.load(instance_id)
        if state is not None and state.public_id != instance_id:
            message = f"instance {instance_id} runs items of a map of {state.public_id}: ask there"
            raise NotRoot(message)


def check_addressed(command: Command, store: Store) -> None:
    """Reject what cannot be done to an instance of the library's own: a schedule has commands of its own.

    Raises:
        BadRequest: it is asked of a schedule.
        NotRoot: see ``check_known``.
    """
    instance_id: str = getattr(command, "instance_id", "")
    if not instance_id.startswith(RESERVED):
        return
    check_known(instance_id, store)
    if is_schedule(instance_id) and not command.of_schedules:
        message = f"{instance_id} is a schedule: {command.action} is for instances; see hephaestus schedules --help"
        raise BadRequest(message)


class Used(str):
    """The id of an instance that was open already: a start uses it, and has started nothing."""

    __slots__ = ()


@dataclass_transform(
    frozen_default=True, kw_only_default=True, field_specifiers=(member, required, instance_id, request_id, caller)
)
class Command:
    """One thing that a caller can ask for. It is frozen, and its members are as they are stored.

    Attributes:
        action: its name: of the direct invocation, and among the requests that an instance remembers.
        operation: its name in the API's document; empty for what the API has no route for.
        route: where the API takes it: the names between ``<`` and ``>`` are members.
        served_by: the function that serves it.
        raises: what can be wrong besides a malformed request, an unavailable store and a defect.
        named_by: the member that is its request id, which the ``Idempotency-Key`` gives; empty for none.
        answers: what a direct invocation is answered, and an API call where it may not be waited for: the instance's
            ``status``, its ``id``, or a name.
        logged: the members that log lines have.
        asks: whether a person is asked before it is done.
        said: what a person is told when it is done.
        of_schedules: whether the instance may be a schedule.
    """

    action: ClassVar[str]
    operation: ClassVar[str] = ""
    route: ClassVar[str] = ""
    served_by: ClassVar[str] = "control"
    raises: ClassVar[tuple[type[CallerError], ...]] = ()
    named_by: ClassVar[str] = "request_id"
    answers: ClassVar[Literal["status", "id", "schedule_name", "limit"]] = "status"
    logged: ClassVar[tuple[str, ...]] = ("instance_id",)
    asks: ClassVar[bool] = False
    said: ClassVar[str] = ""
    of_schedules: ClassVar[bool] = False
    members: ClassVar[Mapping[str, Declared]] = {}

    def __init_subclass__(cls) -> None:
        """Read the declared members; a command's own attributes take their place."""
        super().__init_subclass__()
        cls.members = {name: own for name, own in vars(cls).items() if isinstance(own, Declared)}
        for name in cls.members:
            delattr(cls, name)

    def __init__(self, **given: Any) -> None:
        """Check and keep what is given.

        Raises:
            BadRequest: members are malformed; of one mistake its own error, of several one that names them all.
            TypeError: there is no such member, or one is missing.
        """
        missing = [name for name, own in self.members.items() if own.default is REQUIRED and name not in given]
        unknown = [name for name in given if name not in self.members]
        if missing or unknown:
            message = f"{type(self).__name__} takes {', '.join(self.members)}; missing {missing}, unknown {unknown}"
            raise TypeError(message)
        wrong = self._keep(given)
        if wrong:
            raise _together(wrong)

    @classmethod
    def read(cls, source: object, **known: Known) -> Self:
        """The command that a JSON object describes.

        Args:
            source: a request's body, or the event of a direct invocation; ``action`` in it is left out, as it chose the
                command. A member that is ``null`` is left out, too.
            known: members that come from elsewhere, as from the path; ``source`` cannot have them.

        Raises:
            BadRequest: members are missing, unknown, of the wrong type or malformed: all of them are named.
            CallerError: what a member raises that is its only mistake.
        """
        if not isinstance(source, Mapping):
            message = "a JSON object is needed, as {...}"
            raise BadRequest(message)
        types = {name: own.rule.json for name, own in cls.members.items()}
        given = {
            name: _whole(value) if types.get(name) is int else value
            for name, value in source.items()
            if value is not None and name != "action"
        }
        problems = [f"{_shown(name)} is not known" for name in given if name not in types or name in known]
        given.update({name: value for name, value in known.items() if value is not None})
        problems += [
            f"{name!r} is missing" for name, own in cls.members.items() if own.default is REQUIRED and name not in given
        ]
        unfit = [
            name
            for name, kind in types.items()
            if name in given and name not in known and kind is not object and type(given[name]) is not kind
        ]
        problems += [f"{name!r} must be {_JSON_NAMES[types[name]]}" for name in unfit]
        command = cls.__new__(cls)
        wrong = command._keep(  # noqa: SLF001 - its own class
            {name: given[name] for name in given if name in types and name not in unfit}, wire=True
        )
        if wrong and not problems:
            raise _together(wrong)
        if problems:
            listed = "; ".join([*problems, *map(str, wrong)][:MOST_PROBLEMS])
            names = ", ".join(name for name in types if name not in known)
            message = f"the request is malformed: {listed}. Its members are: {names}"
            raise BadRequest(message)
        return command

    def perform(self, instances: Instances, going: Dispatch) -> str:
        """Do it; return the id of the instance that it is about, or made.

        Args:
            instances: the instances.
            going: run in place what follows, or leave it to the queue.
        """
        raise NotImplementedError

    def accepted(self) -> dict[str, Any]:
        """What the API answers beside the instance's id where nobody waits."""
        return {}

    @property
    def request(self) -> str | None:
        """The request's name, if it has one."""
        name: str | None = getattr(self, self.named_by) if self.named_by else None
        return name

    def digest(self, *asked: Any) -> str:
        """What stands for what is asked for; empty where the request has no name, as nothing can repeat it."""
        return request_digest(*asked) if self.request is not None else ""

    def given(self, name: str) -> Any:
        """A member as the caller gave it."""
        return self.__dict__["_given"].get(name)

    def sent(self) -> dict[str, Any]:
        """The members that a request carries, as JSON: without those in its path and its headers."""
        elsewhere = {*in_path(type(self)), self.named_by, "by"}
        found = {name: getattr(self, name) for name in self.members if name not in elsewhere}
        return {name: to_wire(value) for name, value in found.items() if value != self.members[name].kept}

    def asked_by(self, by: str) -> Self:
        """The same command, of a caller who says to be ``by``."""
        return type(self)(**{**self.__dict__["_given"], "by": by})

    def _keep(self, given: Mapping[str, Any], *, wire: bool = False) -> Sequence[CallerError]:
        """Keep what is given, in Python or by ``wire`` as JSON, each as its rule reads it; return what is wrong."""
        wrong: list[CallerError] = []
        kept: dict[str, Any] = {"_given": dict(given)}
        for name, (rule, default, absent, _) in self.members.items():
            value = given.get(name, default)
            if value is default:
                kept[name] = absent
                continue
            try:
                if wire and rule.carries:
                    kept["_given"][name] = value = read_wire(value, name)
                # What JSON holds has no code of its own that reading it could call.
                kept[name] = rule.read(repr(name), value) if wire else _read(rule, name, value)
            except CallerError as error:
                wrong.append(error)
        self.__dict__.update(kept)
        return wrong

    def __setattr__(self, name: str, value: object) -> None:
        message = f"a command is frozen: {name} cannot be set"
        raise AttributeError(message)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and dict(self._shown()) == dict(other._shown())

    __hash__ = None  # type: ignore[assignment]  # it holds mappings

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self._shown())})"

    def _shown(self) -> Iterator[tuple[str, Any]]:
        return ((name, getattr(self, name)) for name in self.members)


def _read(rule: Rule, name: str, value: Any) -> Any:
    """A member as its rule reads it, which calls the code of whatever object a Python caller gives.

    Raises:
        CallerError: it is malformed, or its own code raised, exits included.
    """
    if type(value) is str:
        return rule.read(repr(name), value)

    def failed(error: BaseException) -> NoReturn:
        if isinstance(error, HephaestusError):
            raise error
        message = f"{name!r} cannot be read: its own code raised {name_of(type(error))}"
        raise InvalidInput(message) from error

    return contain(lambda: rule.read(repr(name), value), failed)


def in_path(command: type[Command]) -> list[str]:
    """The members that are in the path of a command's route."""
    return [part[1:-1] for part in command.route.split("/") if part.startswith("<")]


def _together(wrong: Sequence[CallerError]) -> CallerError:
    """Several mistakes as one error: what is malformed comes before what does not fit."""
    if len(wrong) == 1:
        return wrong[0]
    kind = InvalidInput if all(isinstance(error, InvalidInput) for error in wrong) else BadRequest
    return kind("; ".join(map(str, wrong)))


def _whole(value: Any) -> Any:
    """``1.0`` as the whole number that it is in JSON."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _shown(name: object) -> str:
    shown = repr(name)
    return shown if len(shown) <= SHOWN else f"{shown[:SHOWN]}…"
