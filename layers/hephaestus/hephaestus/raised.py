"""What is known of an error without calling code of its own: its class may override everything that is asked of it."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any, TypeVar

from hephaestus.errors import EngineError, EngineSignal

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

T = TypeVar("T")


def name_of(kind: type[Any]) -> str:
    """A type's name, whatever its metaclass says."""
    name: str = type.__dict__["__name__"].__get__(kind)
    return name


def frames_of(error: BaseException, most: int) -> traceback.StackSummary:
    """Where it was raised: at most so many of the innermost frames, the innermost last."""
    raised_at: TracebackType | None = BaseException.__dict__["__traceback__"].__get__(error)
    return traceback.extract_tb(raised_at, limit=-most)


def has_arguments(error: BaseException) -> bool:
    """Whether it was made with any argument."""
    return bool(BaseException.__dict__["args"].__get__(error))


def exceptions_only(work: Callable[[], T], what: str) -> T:
    """What ``work`` returns: a user's code that a caller waits for, and that must not end the caller's process.

    Args:
        work: calls the code.
        what: whose code it is, for the message.

    Raises:
        EngineError: it raised an exit, or something else that is no ``Exception``.
        Exception: what it raised.
    """
    try:
        return work()
    except (Exception, EngineSignal):
        raise
    except BaseException as error:
        message = f"{what} raised {name_of(type(error))}: it may return, or raise an error; nothing was changed"
        raise EngineError(message) from error
