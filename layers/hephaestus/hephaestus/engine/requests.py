"""Which requests a generation remembers, so that the same request made twice is carried out once.

A request is an event or an act of steering that its caller gave an id. The newest ``WINDOW`` of them are remembered,
each as a digest of its action and id followed by a digest of what it asked for: a repeat is told from another request
under the same id. An id that returns after ``WINDOW`` others is a new request, unless its event is still in use: no
event stands in line twice, or is given to a round and accepted once more.

The id of a callback link is kept for as long as its generation, outside of the window: a link must never work twice.
Each answers one activation of a step, so there are few of them; that of a round is for it alone, and forgotten with it.
"""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from hephaestus.errors import RequestIdReused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hephaestus.engine.state import State

WINDOW: Final = 256
NAME: Final = 12  # characters: 72 bits, so that two ids within a window are as good as never taken for one
DIGEST: Final = 8  # characters: 48 bits, of what was asked for


@lru_cache(2 * WINDOW)  # asked for as a request comes in, and as it is remembered
def named(action: str, request_id: str) -> str:
    """The ``NAME`` characters that stand for a request: the same id of another action is another request."""
    return short(f"{action}\n{request_id}", NAME)


def steered_by(life: str, number: int) -> str:
    """The id of what entry ``number`` of a parent's log asks of its children."""
    return f"{life}#{number}"


def number_of(request_id: str) -> int:
    """The number of the entry of a parent that asks, by the id of what it asks for."""
    number = request_id.rpartition("#")[2]
    return int(number) if number.isdecimal() else 0


def short(text: str, characters: int) -> str:
    """The first ``characters`` (a multiple of 4, at most 40) of a digest of ``text`` in base64url (RFC 4648)."""
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).digest()
    return urlsafe_b64encode(digest[: characters * 3 // 4]).decode("ascii")


def remember(
    state: State, action: str, request_id: str, digest: str, requests: tuple[str, ...] | None = None
) -> tuple[str, ...]:
    """The newest requests, this one included, and older ones whose event is in use; see ``_in_use``.

    Args:
        state: the generation.
        action: see ``repeats``, as for the next two.
        request_id: what has no id is not remembered.
        digest: see above.
        requests: those that are known, if they are not those of the state.
    """
    known = state.requests if requests is None else requests
    if not request_id:
        return known
    found = (*known, named(action, request_id) + digest)
    if len(found) <= WINDOW:
        return found
    used = {named("event", event_id) for event_id in _in_use(state) if event_id}
    return (*[one for one in found[:-WINDOW] if one[:NAME] in used], *found[-WINDOW:])


def _in_use(state: State) -> Iterator[str]:
    """The ids of the events that are kept for a step, or were given to the round that a step is at."""
    for line, received in state.inbox.items():
        yield from (one.event_id for one in (received, *state.lines.get(line, ())))
    for step in state.steps.values():
        if step.loop is not None and step.loop.received is not None:
            yield step.loop.received.event_id


def link_used(state: State, event_id: str) -> bool:
    """Whether the callback link whose event has this id has been used."""
    return short(event_id, NAME) in state.links


def repeats(state: State, action: str, request_id: str | None, digest: str) -> bool:
    """Whether a request has been carried out already.

    Args:
        state: the generation.
        action: what it does, as ``cancel``; ``event`` for an event.
        request_id: its id; without one it is never a repeat.
        digest: what it asks for (see ``DIGEST``).

    Raises:
        RequestIdReused: another request had this id.
    """
    if not request_id:
        return False
    name = named(action, request_id)
    known = next((one[NAME:] for one in reversed(state.requests) if one.startswith(name)), None)
    if known is None:
        return False
    if known and digest and known != digest:
        raise RequestIdReused.of(state.public_id, action, request_id)
    return True
