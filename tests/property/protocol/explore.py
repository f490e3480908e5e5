"""Every state that a model can reach, breadth first, and the shortest way to the first one that is wrong."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

State = TypeVar("State", bound="Hashable")
MOST_STATES = 2_000_000


class Model(Protocol[State]):
    """A system of actors, and what must be true of each of its states."""

    def initial(self) -> State:
        """Where it begins."""

    def steps(self, state: State) -> Iterable[tuple[str, State]]:
        """Everything that may happen next, in words, and what comes of it."""

    def wrong(self, state: State) -> str | None:
        """What is wrong with a state."""

    def wrong_at_rest(self, state: State) -> str | None:
        """What is wrong with a state in which nothing more can happen."""


@dataclass(frozen=True)
class Explored:
    """What came of it.

    Attributes:
        states: how many states were seen.
        wrong: what is wrong with the first state that is.
        trace: the steps to it.
    """

    states: int
    wrong: str | None = None
    trace: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "\n  ".join([f"{self.wrong or 'nothing is wrong'} ({self.states} states)", *self.trace])


def explore(model: Model[State]) -> Explored:
    """See every state, or those up to the first wrong one."""
    first = model.initial()
    came_from: dict[State, tuple[State, str] | None] = {first: None}
    left = deque([first])
    while left:
        state = left.popleft()
        why = model.wrong(state)
        following = [] if why else list(model.steps(state))
        if why := why or (None if following else model.wrong_at_rest(state)):
            return Explored(len(came_from), why, _trace(came_from, state))
        for words, after in following:
            known = len(came_from)
            came_from.setdefault(after, (state, words))  # a state's hash is half of the work: once is enough
            if len(came_from) > known:
                left.append(after)
        if len(came_from) > MOST_STATES:
            message = f"more than {MOST_STATES} states: the scene is too large"
            raise AssertionError(message)
    return Explored(len(came_from))


def _trace(came_from: dict[State, tuple[State, str] | None], state: State) -> tuple[str, ...]:
    words = []
    while (step := came_from[state]) is not None:
        state = step[0]
        words.append(step[1])
    return tuple(reversed(words))
