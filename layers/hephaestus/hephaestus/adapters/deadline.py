"""When the invocation ends, for the calls of AWS that it makes. Nothing here imports AWS.

The end goes with the context: into the threads that steps run in, and not into the next invocation. A step that an
invocation left behind finds its time up.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_end: ContextVar[float | None] = ContextVar("hephaestus_end", default=None)


@contextmanager
def ending_in(milliseconds: int) -> Iterator[None]:
    """Have the calls made inside end with an invocation that may last ``milliseconds`` more."""
    token = _end.set(monotonic() + milliseconds / 1000)
    try:
        yield
    finally:
        _end.reset(token)


def time_left() -> float | None:
    """The rest of the invocation, in seconds, below 0 when it is over; ``None`` outside of any."""
    end = _end.get()
    return None if end is None else end - monotonic()
