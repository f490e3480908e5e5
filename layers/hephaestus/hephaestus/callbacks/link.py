"""What a link says: which step of which life of which instance gets which event, and until when.

On the wire it is a JSON list in UTF-8. Nothing here signs or trusts anything.
"""

from __future__ import annotations

import json
from typing import Any, Final

from hephaestus.engine.activation import parse
from hephaestus.values.lazy_dataclass import dataclass

FORMAT: Final = 3
MEMBERS: Final[tuple[type, ...]] = (int, str, str, str, str, str, str, int, str)


@dataclass(frozen=True, slots=True)
class Link:
    """The claims of one link.

    Attributes:
        id: the link's own name, 20 hexadecimal digits; the event that it brings is named after it.
        instance_id: the instance.
        life: which of the instance's runs; no other run of any instance has its name.
        step: the step that waits.
        event: the event it is given.
        expires_at: when the link's time is over, in seconds since the epoch.
        activation: of a step with rounds, the one that may take it, as ``ask@2``, and of a map the item's, as
            ``ask[7]``; ``""`` for any.
        payload: JSON-safe results that come with the event; ``None`` leaves them to the answer.
    """

    id: str
    instance_id: str
    life: str
    step: str
    event: str
    expires_at: int
    activation: str = ""
    payload: Any = None

    @property
    def item(self) -> str | None:
        """The key of the item that it is for; ``None`` where it is for a step."""
        return parse(self.activation).item if "[" in self.activation else None

    @property
    def event_id(self) -> str:
        """The id of the event that the link brings: the same link twice is one event. Also who brought it."""
        return f"callback {self.id}"


def encode(link: Link, audience: str) -> bytes:
    """The link as it is signed; ``audience`` is the deployment that it is for."""
    named = (link.id, link.instance_id, link.life, link.step, link.event)
    claims = [FORMAT, audience, *named, link.expires_at, link.activation]
    if link.payload is not None:
        claims.append(link.payload)
    return dump(claims).encode()


def decode(text: bytes) -> tuple[str, Link] | None:
    """The audience and the link; ``None`` for what is no link of this format."""
    try:
        claims = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(claims, list) or len(claims) not in (len(MEMBERS), len(MEMBERS) + 1):
        return None
    if not all(type(claim) is kind for claim, kind in zip(claims, MEMBERS, strict=False)) or claims[0] != FORMAT:
        return None
    return claims[1], Link(*claims[2:])


def dump(value: Any) -> str:
    """``value`` as compact JSON.

    Raises:
        TypeError, ValueError: JSON has no such value.
    """
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
