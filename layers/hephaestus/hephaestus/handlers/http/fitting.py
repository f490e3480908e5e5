"""Answers as JSON, none larger than Lambda takes: what makes one too large is left out, and ``left_out`` says so.

What workflows carry goes first (``CARRIED``, derived from the views' and events' types); if that is not enough, every
member that is large, whatever it is. So no member of a view has to be known here.
"""

from __future__ import annotations

import json
from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING, Any, Final

from hephaestus.definition.views import CARRIED

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_ANSWER: Final = 6_000_000  # bytes; Lambda takes 6 MiB, in which the body is a string of JSON in ASCII
MAX_MEMBER: Final = 10_000  # characters of a member that stays where the values were not enough
LONGEST: Final = 12  # bytes of one character in such a string: two escapes, as of an emoji

_LISTS: Final = ("items", "events", "completed")  # of a page, a log entry, a fork


def fitted(body: Mapping[str, Any]) -> str:
    """``body`` as JSON, without what makes it too large for an answer."""
    text = dump(body)
    if fits(text):
        return text
    text = dump({**_without_values(body), "left_out": "the data: it is larger than an answer may be"})
    if fits(text):
        return text
    return dump({**_without_large(body), "left_out": "what is large: it is more than an answer may be"})


def fits(text: str) -> bool:
    """Whether an answer may be ``text``."""
    return len(text) * LONGEST <= MAX_ANSWER or len(encode_basestring_ascii(text)) <= MAX_ANSWER


def dump(body: Any) -> str:
    """``body`` as JSON that UTF-8 can hold: a step's error may name a file whose name is no text."""
    text = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(body, allow_nan=False, separators=(",", ":"))
    return text


def _without_values(shown: Mapping[str, Any]) -> dict[str, Any]:
    """A page, an instance, a step, a log entry or an event, with the engine's own members only."""
    left = {name: value for name, value in shown.items() if name not in CARRIED}
    for name in _LISTS:
        if isinstance(left.get(name), list):
            left[name] = [_without_values(one) for one in left[name]]
    if isinstance(left.get("steps"), dict):  # by key: a step may be called as a member is
        left["steps"] = {key: _without_values(step) for key, step in left["steps"].items()}
    return left


def _without_large(shown: Mapping[str, Any]) -> dict[str, Any]:
    """An instance, or a page of one item, with its small members only."""
    if "items" in shown:
        return {**shown, "items": [_without_large(item) for item in shown["items"]]}
    return {name: value for name, value in shown.items() if len(dump(value)) <= MAX_MEMBER}
