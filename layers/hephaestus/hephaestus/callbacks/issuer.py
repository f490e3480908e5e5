"""Makes links for a step that runs: finds the waiting step that is meant, and refuses what could never be answered.

A link's id follows from who made it and what it says. So a step that runs again hands out the same links again, and
whichever copy is used first uses them all.
"""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from hephaestus.callbacks.link import Link, dump
from hephaestus.definition.durations import read_duration
from hephaestus.definition.references import step_key
from hephaestus.engine.inbox import as_results
from hephaestus.errors import BadCallback, BadRequest
from hephaestus.values import NotSerializable, for_display, freeze
from hephaestus.values.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable

    from hephaestus.callbacks.signer import Signer
    from hephaestus.definition.context import Instance
    from hephaestus.definition.durations import Duration
    from hephaestus.definition.references import StepRef
    from hephaestus.engine.graph import Graph

LONGEST: Final = timedelta(days=366)
MAX_PAYLOAD: Final = 1_024  # bytes; it travels in the link


@dataclass(frozen=True, slots=True)
class Issuer:
    """Makes the links of one activation of one step.

    Attributes:
        signer: signs them.
        graph: the instance's workflow.
        instance: whose links they are.
        step: the step that makes them.
        activation: the step's idempotency key.
        now: tells the time, in milliseconds since the epoch.
    """

    signer: Signer
    graph: Graph
    instance: Instance
    step: str
    activation: str
    now: Callable[[], int]

    def token(self, event: str, step: StepRef | None, expires_in: Duration, payload: Any) -> str:
        """A signed token; see ``StepContext.callback_token``.

        Raises:
            BadCallback: no step takes the event, several do, or something is out of bounds.
            NoCallbackKey: there is no key to sign with.
            StoreUnavailable: the key store is unavailable.
        """
        target = self._target(event, _key(step) if step is not None else None)
        duration = _expiry(expires_in)
        expires_at = -(-(self.now() + round(duration / timedelta(milliseconds=1))) // 1000)
        claim, text = _claim(payload)
        name = hashlib.sha256(dump([self.activation, target, event, text]).encode()).hexdigest()[:20]
        owner = self.instance
        return self.signer.token(Link(name, owner.id, owner.life, target, event, expires_at, self._only(target), claim))

    def _only(self, target: str) -> str:
        """The activation that a link of this very step is for, if it has rounds or items; ``""`` for any."""
        own = target == self.step and (target in self.graph.rounds or target in self.graph.maps)
        return self.activation.rpartition(":")[2] if own else ""

    def url(self, event: str, step: StepRef | None, expires_in: Duration, payload: Any) -> str:
        """Where a person opens the link; see ``StepContext.callback_url``.

        Raises:
            BadCallback, NoCallbackKey, StoreUnavailable: as ``token`` does.
        """
        return self.signer.url(self.token(event, step, expires_in, payload))

    def _target(self, event: str, named: str | None) -> str:
        """The step that ``event`` is for: the one named, this one, the next that waits for it, or the only one."""
        if self._is_of_this_item(event, named):
            return self.step
        if named is not None:
            if named not in self.graph.edges or event not in self.graph.takes[named]:
                message = f"step {self.step} asks for a link for step {named!r} and event {event!r}: " + self._known()
                raise BadCallback(message)
            return named
        if self.step in self.graph.edges and event in self.graph.takes[self.step]:
            return self.step
        takers = [step for step in self._waits() if event in self.graph.takes[step]]
        found = next((near for near in self._ahead(takers) if near), takers)
        if len(found) != 1:
            which = f"{', '.join(found)} take it: name one with step=" if found else "no waiting step takes it"
            message = f"step {self.step} asks for a link for the event {event!r}, but {which}; {self._known()}"
            raise BadCallback(message)
        return found[0]

    def _is_of_this_item(self, event: str, named: str | None) -> bool:
        """Whether a link is for the item that asks for it."""
        spread = self.graph.maps.get(self.step)
        return spread is not None and named in {None, self.step} and event in spread.events

    def _ahead(self, takers: list[str]) -> list[list[str]]:
        """Those of ``takers`` that follow from this step, by how many transitions they are away."""
        levels, seen, front = [], {self.step}, [self.step]
        while front:
            ahead = [
                target for step in front for targets in self.graph.edges.get(step, {}).values() for target in targets
            ]
            front = [step for step in dict.fromkeys(ahead) if step not in seen]
            seen.update(front)
            levels.append([step for step in front if step in takers])
        return levels

    def _waits(self) -> list[str]:
        """The steps that are sure to wait."""
        return [step for step in self.graph.order if step in self.graph.waits or self.graph.again_on(step)]

    def _known(self) -> str:
        waits = [f"{step}: {', '.join(self.graph.takes[step])}" for step in self._waits()]
        return f"the waiting steps and their events are {'; '.join(waits) or 'none'}"


def _key(step: StepRef) -> str:
    try:
        return step_key(step)
    except BadRequest as error:
        message = f"a link is asked for with step={error}"
        raise BadCallback(message) from error


def _expiry(expires_in: Duration) -> timedelta:
    """How long a link works.

    Raises:
        BadCallback: for no time, or for too long.
    """
    try:
        return read_duration(expires_in, "expires_in", longest=LONGEST)
    except ValueError as error:
        message = f"a link cannot be made: {error}"
        raise BadCallback(message) from error


def _claim(payload: Any) -> tuple[Any, str]:
    """The payload as JSON has it, and its text.

    Raises:
        BadCallback: it cannot be stored, or is too large for a link.
    """
    try:
        frozen = freeze(payload, "the link's payload")
        freeze(as_results(frozen), "the link's payload")  # so that the answer is not rejected when it comes
        claim = for_display(frozen)
        text = dump(claim)
    except (NotSerializable, TypeError, ValueError) as error:
        message = f"a link cannot carry this payload: {error}"
        raise BadCallback(message) from error
    if len(text.encode()) > MAX_PAYLOAD:
        message = f"the link's payload has more than {MAX_PAYLOAD} bytes of JSON: give a reference to the data instead"
        raise BadCallback(message)
    return claim, text
