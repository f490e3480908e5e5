"""Who asked for something, and how that is known.

History keeps both apart: ``by`` is the name, ``by_source`` says who vouches for it.

========  =============================================================================================
source    the name is
========  =============================================================================================
``api``   the identity that API Gateway authorized; empty where the API asks for no authorization
``claim`` what the caller says of itself: nothing checked it
``link``  the callback link that was used: whoever held it
``parent`` the instance that has this one as a child, or its schedule; no caller is taken for one
========  =============================================================================================

Without a name and a source, the caller said nothing of itself.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias, get_args

from hephaestus.errors import BadRequest
from hephaestus.values.lazy_dataclass import dataclass

Source: TypeAlias = Literal["", "api", "claim", "link", "parent"]
SOURCES: Final[tuple[Source, ...]] = get_args(Source)

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
        BadRequest: it is no printable text of at most 256 characters, or a ``Caller`` of something else.
    """
    if by is None:
        return Caller()
    if isinstance(by, Caller) and by.source == "parent":
        return by
    given, source = (by.name, by.source) if isinstance(by, Caller) else (by, None)
    name = str.__str__(given) if isinstance(given, str) else None
    if name is None or len(name) > MAX_CALLER or not name.isprintable():
        message = f"by must be a printable string of at most {MAX_CALLER} characters"
        raise BadRequest(message)
    if source is None:
        return Caller(name, "claim") if name else Caller()
    if not isinstance(source, str) or source not in SOURCES:
        message = f"by has a source that there is not: there are {', '.join(filter(None, SOURCES))}"
        raise BadRequest(message)
    return Caller(name, SOURCES[SOURCES.index(source)])
