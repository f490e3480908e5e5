"""What is known of an error without calling code of its own: its class may override everything that is asked of it."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import TracebackType


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
