"""Calls a user's code so that whatever it raises, or does to its process, ends as an outcome.

``contain`` is the only way in which the runtime calls a step, a compensation, a ``Choice`` or a policy's ``decide``. It
lets two things through: the engine's own signals, and a Ctrl-C. docs/decisions/0023 says why, and what cannot be held.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Final, NoReturn, TypeVar

from hephaestus.errors import EngineSignal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

T = TypeVar("T")

FORKED: Final = 70  # the exit status of a forked child that came back: EX_SOFTWARE of sysexits.h


class ConsoleInterrupt(KeyboardInterrupt, EngineSignal):
    """Ctrl-C was pressed while a user's code ran in the main thread: the process is to end."""


def contain(work: Callable[[], T], failed: Callable[[BaseException], T]) -> T:
    """What ``work`` returns; whatever it raises is handed to ``failed``.

    ``SystemExit``, ``KeyboardInterrupt``, ``CancelledError`` and every other ``BaseException`` count as raised. The
    recursion limit, which the engine itself depends on, is as it was afterwards. A child that ``work`` forked, and that
    comes back here, exits: it would go on as a second engine.

    Raises:
        EngineSignal: an engine's signal passed, or Ctrl-C was pressed (see ``watched_console``).
    """
    process, depth = os.getpid(), sys.getrecursionlimit()
    try:
        return work()
    except EngineSignal:
        raise
    except BaseException as error:  # noqa: BLE001 - sys.exit() in a step must not end the process of all others
        return failed(error)
    finally:
        if os.getpid() != process:
            os._exit(FORKED)  # not sys.exit: nothing of the parent's may run here
        if sys.getrecursionlimit() != depth:
            sys.setrecursionlimit(depth)


@contextlib.contextmanager
def watched_console() -> Iterator[None]:
    """Have Ctrl-C raise ``ConsoleInterrupt``, which no ``raise KeyboardInterrupt`` of a step is.

    Signals reach the main thread only; a handler that is not Python's own belongs to somebody else and stays.
    """
    main = threading.get_ident() == threading.main_thread().ident
    watched = main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if watched:
        signal.signal(signal.SIGINT, _interrupt)
    try:
        yield
    finally:
        if watched and signal.getsignal(signal.SIGINT) is _interrupt:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise ConsoleInterrupt
