"""``Prefer`` and ``Preference-Applied`` (RFC 7240).

A caller says ``respond-async`` (the default here) to have the work queued, or ``wait=N`` to have it done within ``N``
seconds. Other preferences, and malformed ones, are ignored as the RFC asks.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from hephaestus.values.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_WAIT: Final = 25  # seconds; API Gateway gives up on an integration after 29
MAX_LENGTH: Final = 4096

_TOKEN: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - a token of HTTP's grammar
_PREFERENCE: Final = re.compile(rf"({_TOKEN})(?:[ \t]*=[ \t]*(?:({_TOKEN})|\"((?:[^\"\\]|\\.)*)\"))?")
_ELEMENT: Final = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*"?)+')
_PART: Final = re.compile(r'(?:[^;"]|"(?:[^"\\]|\\.)*"?)+')
_ESCAPED: Final = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True)
class Preferences:
    """What a request prefers.

    Attributes:
        wait: how many seconds the caller waits for an answer, at most ``MAX_WAIT``; ``None`` not at all.
        respond_async: whether the caller named ``respond-async``.
    """

    wait: int | None = None
    respond_async: bool = False

    @property
    def applied(self) -> str:
        """The value of ``Preference-Applied``; empty when the request preferred nothing that is known here."""
        named = ["respond-async"] if self.respond_async else []
        return ", ".join(named if self.wait is None else [*named, f"wait={self.wait}"])


def read(header: str) -> Preferences:
    """The preferences in a ``Prefer`` header; several header lines are given joined with commas."""
    found = parse(header)
    wait = found.get("wait", "")
    seconds = min(int(wait[:9]), MAX_WAIT) if re.fullmatch(r"[0-9]{1,9}", wait) else None
    return Preferences(seconds, "respond-async" in found)


def parse(header: str) -> Mapping[str, str]:
    """Every well-formed preference: name in lower case, and value (``""`` for none); the first of a name counts."""
    found: dict[str, str] = {}
    if len(header) > MAX_LENGTH:
        return found
    for element in _ELEMENT.findall(header):
        parts = _PART.findall(element)  # behind the first semicolon are parameters, and none is known here
        match = _PREFERENCE.fullmatch(parts[0].strip(" \t")) if parts else None
        if match:
            name, token, quoted = match.groups()
            found.setdefault(name.lower(), token if token is not None else _ESCAPED.sub(r"\1", quoted or ""))
    return found
