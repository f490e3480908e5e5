"""Who asked for something, and how that is known.

History keeps both apart: ``by`` is the name, ``by_source`` says who vouches for it.

========  =============================================================================================
source    the name is
========  =============================================================================================
``api``   the identity that API Gateway authorized; empty where the API asks for no authorization
``claim`` what the caller says of itself: nothing checked it
``link``  the callback link that was used: whoever held it
========  =============================================================================================

Without a name and a source, the caller said nothing of itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from hephaestus.errors import BadRequest

Source: TypeAlias = Literal["", "api", "claim", "link"]

MAX_CALLER: Final = 256


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asked, and how that is known.

    Attributes:
        name: up to 256 printable characters.
        source: who vouches for the name.
    """

    name: str = ""
    source: Source = ""


def read_caller(by: Caller | str | None) -> Caller:
    """The caller that ``by`` names; a text is a claim.

    Raises:
        BadRequest: it is no printable text of at most 256 characters.
    """
    if isinstance(by, Caller):
        return by
    if by is None:
        return Caller()
    name = str.__str__(by) if isinstance(by, str) else None
    if name is None or len(name) > MAX_CALLER or not name.isprintable():
        message = f"by must be a printable string of at most {MAX_CALLER} characters"
        raise BadRequest(message)
    return Caller(name, "claim") if name else Caller()
