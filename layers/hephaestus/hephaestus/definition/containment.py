"""Calls a user's code so that whatever it raises, or does to its process, ends as an outcome.

``contain`` is the only way in which a user's code is called once its workflow is defined: steps, compensations,
``Choice``, ``decide``, outputs, triggers, ``Input`` models and ``version_for``. It lets two things through: the
engine's own signals, and a Ctrl-C. docs/decisions/0023 says why, and what cannot be held.
"""

from __future__ import annotations

import contextlib
import contextvars
import decimal
import os
import signal
import sys
import threading
import warnings
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

from hephaestus.errors import EngineSignal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

T = TypeVar("T")

FILTER_PARTS: Final = 5  # of a filter of warnings: action, message, category, module, line
FORKED: Final = 70  # the exit status of a forked child that came back: EX_SOFTWARE of sysexits.h


class ConsoleInterrupt(KeyboardInterrupt, EngineSignal):
    """Ctrl-C was pressed while a user's code ran in the main thread: the process is to end."""


def contain(work: Callable[[], T], failed: Callable[[BaseException], T]) -> T:
    """What ``work`` returns; whatever it raises is handed to ``failed``.

    ``SystemExit``, ``KeyboardInterrupt``, ``CancelledError`` and every other ``BaseException`` count as raised. The
    settings of the interpreter that the engine itself depends on are as they were afterwards (see ``_Settings``), and
    so are context variables, the decimal context among them. A child that ``work`` forked, and that comes back here,
    exits: it would go on as a second engine.

    Raises:
        EngineSignal: an engine's signal passed, or Ctrl-C was pressed (see ``watched_console``).
    """
    process = os.getpid()
    _settings.enter()
    try:
        return contextvars.copy_context().run(_apart, work)
    except EngineSignal:
        raise
    except BaseException as error:  # noqa: BLE001 - sys.exit() in a step must not end the process of all others
        return failed(error)
    finally:
        if os.getpid() != process:
            os._exit(FORKED)  # not sys.exit: nothing of the parent's may run here
        _settings.leave()


def _apart(work: Callable[[], T]) -> T:
    decimal.setcontext(decimal.getcontext().copy())  # of all context variables the one whose value can be changed
    return work()


class _Settings:
    """The settings of the interpreter without which the engine fails, as they are while no user's code runs.

    Code that ran side by side may have changed them at any time, so the last to leave sets back all of them. One that
    leaves earlier undoes what takes something from the others, and leaves them what was given: a step that still runs
    may need its higher recursion limit.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._names: list[int] = []  # of filters: what is compared otherwise may have a user's code for that

    def enter(self) -> None:
        """A user's code is about to run."""
        with self._lock:
            if not self._inside:
                self._depth = sys.getrecursionlimit()
                self._digits = sys.get_int_max_str_digits()
                self._filters = _filters()
                self._names = [*map(id, self._filters)]
                self._stack = threading.stack_size()  # which sets it to the default
                threading.stack_size(self._stack)
            self._inside += 1

    def leave(self) -> None:
        """A user's code has ended. It raises nothing, whatever that code has left behind."""
        with self._lock:
            self._inside -= 1
            last = not self._inside
            depth, digits = sys.getrecursionlimit(), sys.get_int_max_str_digits()
            if depth != self._depth and (last or depth < self._depth):
                with contextlib.suppress(RecursionError):  # too deep in this thread for a limit that was given back
                    sys.setrecursionlimit(self._depth)
            if digits != self._digits and (last or _fewer(digits, self._digits)):
                sys.set_int_max_str_digits(self._digits)
            found = getattr(warnings, "filters", None)
            if type(found) is not list or [*map(id, found)] != self._names:
                warnings.filters = [*filter(self._may_stay, _filters()), *self._filters]
            threading.stack_size(self._stack)

    def _may_stay(self, one: Any) -> bool:
        """Whether a filter that a user's code has added hides or shows a warning, and makes no error of it."""
        sound = type(one) is tuple and len(one) == FILTER_PARTS and type(one[0]) is str and one[0] != "error"
        return sound and id(one) not in self._names


def _filters() -> tuple[Any, ...]:
    """The filters of warnings; none where a user's code has put something else in their place."""
    found = getattr(warnings, "filters", None)
    return tuple(found) if type(found) is list else ()


_settings = _Settings()


def _fewer(digits: int, than: int) -> bool:
    """Whether so many digits are fewer; 0 is any number of them."""
    return bool(digits) and (not than or digits < than)


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
