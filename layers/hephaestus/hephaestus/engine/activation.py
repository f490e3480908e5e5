"""What runs or waits: an activation of a step, and its one text form.

The text is the step's key, then ``~epoch``, ``[item]``, ``@round`` and ``!undo``, each only where it is not neutral. In
the key of a step or an item, what is neither a letter or digit of ASCII nor one of ``_.-`` is percent-encoded
(RFC 3986, section 2.1), so that no two activations have the same text. A plain step's text is its key.

Events and the state name activations by their text, which is hashed and written fast; what needs a part of it parses
it.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from typing import Final

from hephaestus.values.lazy_dataclass import dataclass

_OTHER: Final = re.compile(rb"[^A-Za-z0-9_.-]")
_KEY: Final = r"(?:[A-Za-z0-9_.-]|%[0-9A-F]{2})*"
_NUMBER: Final = r"0|[1-9][0-9]*"
_TEXT: Final = re.compile(rf"({_KEY})(?:~({_NUMBER}))?(?:\[({_KEY})\])?(?:@({_NUMBER}))?(!undo)?", re.ASCII)
KNOWN: Final = 16_384  # texts whose activations are kept
INSTANCE: Final = ""  # in an activation's place: the instance itself, which has the permits of its workflow's limits


@dataclass(frozen=True, slots=True)
class Activation:
    """One activation of a step.

    Attributes:
        step: the step's key.
        epoch: how often the step's effects were undone before.
        item: the key of a map's item.
        round: the number of a loop's round, from 1; 1 where there is no loop.
        undo: whether what it did is undone.
    """

    step: str
    epoch: int = 0
    item: str | None = None
    round: int = 1
    undo: bool = False

    @property
    def text(self) -> str:
        """The text form."""
        text = _encoded(self.step)
        if self.epoch:
            text += f"~{self.epoch}"
        if self.item is not None:
            text += f"[{_encoded(self.item)}]"
        if self.round != 1:
            text += f"@{self.round}"
        return f"{text}!undo" if self.undo else text


@lru_cache(KNOWN)
def text_of(step: str, epoch: int = 0, round_: int = 1, *, undo: bool = False) -> str:
    """The text of an activation that is no map's item."""
    return Activation(step, epoch, round=round_, undo=undo).text


@lru_cache(KNOWN)
def text_of_item(step: str, epoch: int, item: str, *, undo: bool = False) -> str:
    """The text of an activation of a map's item."""
    return Activation(step, epoch, item, undo=undo).text


@lru_cache(KNOWN)
def parse(text: str) -> Activation:
    """The activation whose text form is ``text``.

    Raises:
        ValueError: no activation has it.
    """
    found = _TEXT.fullmatch(text)
    if found is None:
        message = f"{text!r} is not the text of an activation"
        raise ValueError(message)
    step, epoch, item, round_, undo = found.groups()
    activation = Activation(
        _decoded(step),
        int(epoch or 0),
        None if item is None else _decoded(item),
        1 if round_ is None else int(round_),
        undo is not None,
    )
    if activation.text != text:
        message = f"{text!r} is not the text of an activation: that of {activation} is {activation.text!r}"
        raise ValueError(message)
    return activation


@lru_cache(KNOWN)
def step_of(text: str) -> str:
    """The key of the step that the activation ``text`` is of.

    Raises:
        ValueError: no activation has it.
    """
    return parse(text).step


def is_item(text: str, step: str) -> bool:
    """Whether an activation is of an item, or a part, of the map ``step``.

    Raises:
        ValueError: no activation has the text.
    """
    return "[" in text and step_of(text) == step


def leaf_of(text: str) -> str:
    """What takes the permits of limits for an activation: for a map's item the map, for all of its items here (F.9)."""
    return text.partition("[")[0]


def token_of(activation: str, what: str) -> str:
    """What a timer of an activation is called: each has a name of its own within its life."""
    return f"{activation}#{what}"


def name_in_life(instance_id: str, life: str, name: str) -> str:
    """What an activation, or a timer of one, is called outside of the instance: no other life has the same name.

    Idempotency keys, and the digests in the names of schedules, are made by this function alone.
    """
    return f"{instance_id}:{life}:{name}"


def derived(root_life: str, path: str) -> str:
    """The value of a child's business key: no other activation in any tree has it (D.4)."""
    return hashlib.sha256(f"{root_life} {path}".encode()).hexdigest()[:32]


def _encoded(key: str) -> str:
    if key.isascii() and key.isidentifier():
        return key
    return _OTHER.sub(lambda one: b"%%%02X" % one[0][0], key.encode(errors="surrogatepass")).decode()


def _decoded(text: str) -> str:
    if "%" not in text:
        return text
    raw = re.sub(rb"%(..)", lambda one: bytes([int(one[1], 16)]), text.encode())
    return raw.decode(errors="surrogatepass")
