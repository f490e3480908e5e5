"""Reads JSON that comes from outside, strictly.

RFC 8259 leaves to the reader what it does with a name that appears twice in one object, with ``NaN``, with numbers of
any size and with half of a surrogate pair. Readers that disagree about these see different data in one text, so all of
them are rejected (RFC 7493, "I-JSON", asks for the same).
"""

from __future__ import annotations

import json
import math
from typing import Any, Final, NoReturn

from hephaestus.errors import BadRequest
from hephaestus.values import MAX_DEPTH

SHOWN: Final = 64


class _Twice(ValueError):
    """A name appears twice in one object."""


def read_json(text: str | bytes, what: str = "the body") -> Any:
    """``text`` as JSON: no member twice, no NaN or Infinity, no number beyond a double, no half of a surrogate pair.

    Args:
        text: the JSON; bytes are in UTF-8.
        what: what it is, for the message.

    Raises:
        BadRequest: it is something else.
    """
    try:
        text = text.decode() if isinstance(text, bytes) else text
        value = json.loads(text, parse_constant=_no_constant, parse_float=_finite, object_pairs_hook=_object)
        if "\\ud" in text.lower():
            json.dumps(value, ensure_ascii=False).encode()
    except _Twice as error:
        message = f"{what} is not JSON that all readers read alike: an object has the member {error} twice"
        raise BadRequest(message) from error
    except json.JSONDecodeError as error:
        message = f"{what} is not JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        raise BadRequest(message) from error
    except UnicodeDecodeError as error:
        message = f"{what} is not text in UTF-8"
        raise BadRequest(message) from error
    except UnicodeEncodeError as error:
        message = f"{what} is not JSON: a string holds half of a surrogate pair"
        raise BadRequest(message) from error
    except RecursionError as error:
        message = f"{what} is nested too deeply: at most {MAX_DEPTH} levels are stored"
        raise BadRequest(message) from error
    except ValueError as error:
        message = f"{what} is not JSON: a number is not finite, or too long"
        raise BadRequest(message) from error
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]  # it adds, and is false
        raise _Twice(ascii(twice)[:SHOWN])
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text[:20])
    return number
