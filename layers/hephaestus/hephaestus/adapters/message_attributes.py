"""The attributes of a message of the ingest queue: its dead letter brings them, and a redrive gives them back.

SQS takes at most ten attributes a message (Developer Guide, "Message metadata"), and a letter has two of its own. Where
the message's do not fit beside them, or are not all texts of the type ``String``, the letter has all of them in one
more, as JSON: ``{"count": ["Number", "7"], "picture": ["Binary", "iVBORw0="]}``, binary values in base64. Nothing here
imports AWS.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from hephaestus.errors import BadRequest
from hephaestus.values.strict_json import read_json

MOST: Final = 10
MESSAGE_ID: Final = "hephaestus-message-id"  # of a dead letter of the ingest queue: its first id
REASON: Final = "hephaestus-reason"  # and why it is dead
PACKED: Final = "hephaestus-attributes"  # and the message's own attributes
OWN: Final = (MESSAGE_ID, REASON)


class Attribute(NamedTuple):
    """One attribute.

    Attributes:
        kind: its data type, as SQS has it: ``String``, ``Number`` or ``Binary``, with an ending of the sender's own.
        text: its value; a binary one in base64.
    """

    kind: str
    text: str

    @property
    def is_text(self) -> bool:
        """Whether it is no binary one."""
        return not self.kind.startswith("Binary")


def of_record(given: object) -> dict[str, Attribute]:
    """The attributes of a message as Lambda brings them; what is none is left out."""
    return _read(given, "dataType", "stringValue", "binaryValue")


def of_message(given: object) -> dict[str, Attribute]:
    """The attributes of a message that was received from SQS; what is none is left out."""
    return _read(given, "DataType", "StringValue", "BinaryValue")


def packed(given: Mapping[str, Attribute]) -> dict[str, str]:
    """What a dead letter has of them: at most ten with its id and its reason, all of them texts."""
    own = {name: given[name].text for name in OWN if name in given}
    rest = {name: it for name, it in given.items() if name not in OWN}
    if len(rest) <= MOST - len(OWN) and all(it.kind == "String" for it in rest.values()):
        return {**{name: it.text for name, it in rest.items()}, **own}
    return {PACKED: json.dumps(rest, ensure_ascii=False, separators=(",", ":")), **own}


def unpacked(given: Mapping[str, Attribute]) -> dict[str, Attribute]:
    """The attributes that a message had before it was a dead letter; those that it has, if it never was."""
    if PACKED not in given:
        return dict(given)
    try:
        found = read_json(given[PACKED].text, "the attributes")
    except BadRequest:
        return dict(given)
    if not isinstance(found, Mapping) or not all(map(_is_attribute, found.values())):
        return dict(given)
    beside = {name: it for name, it in given.items() if name != PACKED}
    return {**{name: Attribute(*it) for name, it in found.items()}, **beside}


def _read(given: object, kind: str, text: str, binary: str) -> dict[str, Attribute]:
    found = {}
    for name, value in given.items() if isinstance(given, Mapping) else ():
        if isinstance(value, Mapping):
            said, raw, called = value.get(text), value.get(binary), value.get(kind)
            named = called if isinstance(called, str) else "String"
            if isinstance(said, str):
                found[name] = Attribute(named, said)
            elif isinstance(raw, (str, bytes)):
                shown = raw if isinstance(raw, str) else base64.b64encode(raw).decode()
                found[name] = Attribute(named, shown)
    return found


def _is_attribute(value: Any) -> bool:
    return isinstance(value, list) and len(value) == len(Attribute._fields) and all(isinstance(it, str) for it in value)
