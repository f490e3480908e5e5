"""What is known of an error without calling code of its own: its class may override everything that is asked of it."""

from __future__ import annotations

import logging
import traceback
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

from hephaestus.definition.containment import contain
from hephaestus.errors import HephaestusError, InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

T = TypeVar("T")

LIBRARY: Final = contain.__code__.co_filename.rpartition("definition")[0]
FUTURES: Final = f"{traceback.extract_tb.__code__.co_filename.removesuffix('traceback.py')}concurrent"

_logger = logging.getLogger("hephaestus.definition.raised")


def name_of(kind: type[Any]) -> str:
    """A type's name, whatever its metaclass says."""
    name: str = type.__dict__["__name__"].__get__(kind)
    return name


def frames_of(error: BaseException, most: int) -> traceback.StackSummary:
    """Where it was raised: at most so many of the innermost frames, the innermost last.

    The frames that the engine calls a user's code by are left out, unless there are no others.
    """
    raised_at: TracebackType | None = BaseException.__dict__["__traceback__"].__get__(error)
    own = raised_at
    while own is not None and is_engine(own.tb_frame.f_code.co_filename):
        own = own.tb_next
    return traceback.extract_tb(own or raised_at, limit=-most)


def is_engine(file: str) -> bool:
    """Whether a file of code is the library's own, or that of the futures which it waits for."""
    return file.startswith((LIBRARY, FUTURES))


def last_line_of(error: BaseException) -> str:
    """The last line outside of the library that an error came through, as ``FILE:LINE: ``; ``""`` without one."""
    frames = traceback.extract_tb(BaseException.__dict__["__traceback__"].__get__(error))
    own = [it for it in frames if not is_engine(it.filename) and "importlib" not in it.filename]
    return f"{own[-1].filename}:{own[-1].lineno}: " if own else ""


def has_arguments(error: BaseException) -> bool:
    """Whether it was made with any argument."""
    return bool(BaseException.__dict__["args"].__get__(error))


def called_for_a_start(work: Callable[[], T], what: str, passing: type[Exception] = HephaestusError) -> T:
    """What ``work`` returns: a user's code that runs in a start, or in what reads start data.

    Args:
        work: calls the code.
        what: whose code it is, for the message.
        passing: errors of this type go to the caller as they are, as the engine's own do.

    Raises:
        InvalidInput: it raised anything else, exits included. The message names the code, and of the error its type.
    """

    def failed(error: BaseException) -> NoReturn:
        if issubclass(type(error), (HephaestusError, passing)):
            raise error
        message = f"{what} raised {name_of(type(error))} for these start data; nothing was changed"
        _logger.warning("%s", message, exc_info=error)
        raise InvalidInput(message) from error

    return contain(work, failed)
