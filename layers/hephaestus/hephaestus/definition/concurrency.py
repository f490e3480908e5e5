"""The limits that a step, or a workflow, names, and the first kind of them: how many may run at once."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias, get_args

from hephaestus.definition.durations import is_one_of, shown
from hephaestus.definition.mistakes import Mistakes
from hephaestus.definition.signatures import call_problem
from hephaestus.errors import NonRetryable
from hephaestus.values.scalars import is_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from hephaestus.definition.context import StepContext
    from hephaestus.definition.definition import Declared
    from hephaestus.definition.workflow import Workflow

Holds: TypeAlias = Literal["attempt", "step"]
HOLDS: Final[tuple[str, ...]] = get_args(Holds)
NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
MOST_PERMITS: Final = 4_000
MOST_LIMITS: Final = 8  # of one step
MOST_PRIORITY: Final = 10
LONGEST_PER: Final = 128  # characters
PRIORITY_MS: Final = 60_000  # what a unit of priority is worth in line


class InvalidPer(NonRetryable):
    """What the ``per`` of a limit gave names no limit; giving it again would not help."""


@dataclass(frozen=True, slots=True, init=False)
class Limit:
    """What a step, or a workflow, may name as one of its limits.

    Attributes:
        name: its name.
        n: how many it lets through.
        per: takes the context and gives a text; each has a limit of its own.
        priority: what its step is worth in line.
    """

    name: str
    n: int
    per: Callable[[StepContext], str] | None
    priority: int

    @property
    def size(self) -> str:
        """How much it lets through, for people: one name has one size."""
        raise NotImplementedError

    def key(self, context: StepContext) -> str:
        """The limit's name, with the value of ``per``.

        Raises:
            NonRetryable: what ``per`` gave is no text of 1 to 128 characters.
        """
        if self.per is None:
            return self.name
        value = self.per(context)
        if not isinstance(value, str) or not 1 <= len(value) <= LONGEST_PER or not value.isprintable():
            message = f"the per of limit {self.name} gave {shown(value)}: give 1 to {LONGEST_PER} printable characters"
            raise InvalidPer(message)
        return f"{self.name}#{str.__str__(value)}"


@dataclass(frozen=True, slots=True, init=False)
class Concurrency(Limit):
    """At most so many attempts, or instances, at once: over all that name the limit.

    An attempt takes a permit before it starts, and gives it back when it has ended; an instance of a workflow with
    ``limits=`` takes one before its first step, and gives it back when it has ended. While there is none left, it
    stands in line, and the instance runs nothing and costs nothing. A name is a limit of steps or of workflows.
    The items of a map that share an instance, up to its ``chunk``, take one permit together.

    Attributes:
        name: the limit's name: up to 64 letters, digits, ``_``, ``.`` and ``-``, a letter or ``_`` first.
        n: how many permits it has, 0 to 4,000; with 0, nothing that names it runs. Of more than 8, the line is not
            in order.
        per: takes the context and gives a text of 1 to 128 characters; each has permits of its own.
        held: of a step: ``"attempt"``, or ``"step"``: from the first attempt to the step's outcome, waits and retries
            included.
        priority: -10 to 10; a unit is worth a minute in line.

    Raises:
        DefinitionError: one of these is none.
    """

    held: Holds

    def __init__(
        self,
        name: str,
        n: int,
        *,
        per: Callable[[StepContext], str] | None = None,
        held: Holds = "attempt",
        priority: int = 0,
    ) -> None:
        """Check it."""
        wrong = Mistakes(name)
        check_named(wrong, name, per, priority)
        if not is_whole(n) or not 0 <= n <= MOST_PERMITS:
            wrong.add(f"n is {shown(n)}", f"Give a whole number from 0 to {MOST_PERMITS}")
        if not is_one_of(held, HOLDS):
            wrong.add(f"held is {shown(held)}", f"Use one of {', '.join(HOLDS)}")
        wrong.report("limit")
        object.__setattr__(self, "name", str.__str__(name))
        object.__setattr__(self, "n", int.__int__(n))
        object.__setattr__(self, "per", per)
        object.__setattr__(self, "held", held)
        object.__setattr__(self, "priority", int.__int__(priority))

    @property
    def size(self) -> str:
        """How many permits it has."""
        return f"{self.n} permit{'' if self.n == 1 else 's'}"


def check_named(wrong: Mistakes, name: object, per: object, priority: object) -> None:
    """Note what is wrong with what all limits have."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        fix = "Use up to 64 letters, digits, '_', '.' and '-', a letter or '_' first"
        wrong.add(f"the name {shown(name)} is invalid", fix)
    if per is not None and (problem := call_problem(per, "context", coroutines=False)):
        wrong.add(f"its per {problem}", "Give a plain function that takes the context and returns a text")
    if not is_whole(priority) or not -MOST_PRIORITY <= priority <= MOST_PRIORITY:
        wrong.add(f"priority is {shown(priority)}", f"Give a whole number from -{MOST_PRIORITY} to {MOST_PRIORITY}")


def limits_wrong(limits: object, *, of_workflow: bool = False) -> Iterator[tuple[str, str]]:
    """What is wrong with the limits that a step, or a workflow, names."""
    if not isinstance(limits, tuple) or any(not isinstance(one, Limit) for one in limits):
        yield (f"limits is {shown(limits)}", 'Give a list of limits, as in limits=[Concurrency("stripe", 5)]')
        return
    names = [one.name for one in limits]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        yield (f"names the limit {twice[0]!r} twice", "Name each limit once")
    if len(limits) > MOST_LIMITS:
        yield (f"names {len(limits)} limits", f"Name at most {MOST_LIMITS}")
    for one in limits if of_workflow else ():
        if not isinstance(one, Concurrency):
            yield (
                f"names the rate {one.name!r}",
                "Give the rate to its first step: nothing runs before that",
            )
        elif one.held != "attempt":
            yield (f"names the limit {one.name!r} with held={one.held!r}", "Drop held: it is held until the end")


def limits_of(declared: Declared | type[Workflow]) -> tuple[Limit, ...]:
    """The limits that a step or a workflow names, as far as they are some."""
    named: object = declared.limits
    return tuple(one for one in named if isinstance(one, Limit)) if isinstance(named, tuple) else ()


class Named(NamedTuple):
    """A limit, who names it, and whether that is a workflow."""

    owner: str
    limit: Limit
    whole: bool = False


def clashes(limits: Iterable[Named]) -> Iterator[tuple[str, str, str]]:
    """Two declarations of one limit that do not go together: who has the second, what is wrong, what to do (F.3, F.8).

    Args:
        limits: all of them.
    """
    known: dict[str, Named] = {}
    for owner, limit, whole in limits:
        other, first, of_workflow = known.setdefault(limit.name, Named(owner, limit, whole))
        if of_workflow != whole:
            kinds = ("workflow", "step") if whole else ("step", "workflow")
            problem = f"its limit {limit.name!r} is a {kinds[0]}'s, and a {kinds[1]}'s in {other}"
            yield (owner, problem, "Give one of the two another name: they are held for different times")
        if first.size != limit.size:
            problem = f"its limit {limit.name!r} has {limit.size}, and {first.size} in {other}"
            yield (owner, problem, "Declare the limit once, and name it in both")
