"""An error as history keeps it: its type, its message, and where it was raised.

Everything here may call an error's own code, ``__str__`` above all: that may raise, return something else than a text,
or never end. So this runs as a part of the attempt that raised the error, and its timeout holds for it, too.
"""

from __future__ import annotations

import traceback
from typing import Final

from hephaestus.definition.containment import contain
from hephaestus.definition.raised import frames_of, has_arguments, name_of
from hephaestus.engine.events import Failure
from hephaestus.values.scalars import clean_text

MAX_TYPE: Final = 200
MAX_MESSAGE: Final = 1_000
MAX_TRACE: Final = 2_000
MAX_CODE: Final = 200  # characters of what an exit says
FRAMES: Final = 5  # the innermost: where it was raised


def failure(error: BaseException, step: str = "") -> Failure:
    """An error as history keeps it, bounded in size, in texts that can be stored whatever the error is.

    Args:
        error: the error.
        step: the step that raised it, for errors whose own message says too little.
    """
    kind = clean_text(name_of(type(error)), MAX_TYPE)
    text = _explained(error, step) or contain(lambda: _message(error), _unreadable)
    trace = contain(lambda: _trace(error), lambda _: "")
    return Failure(kind, clean_text(text, MAX_MESSAGE) or kind, clean_text(trace[-MAX_TRACE:], MAX_TRACE))


def both(problem: Failure, event: str, story: Failure) -> Failure:
    """The failure of a ``Choice``, with that of the step which it was to route.

    Args:
        problem: what the ``Choice`` raised.
        event: the event that it was called for.
        story: why the step emitted that event.
    """
    half = MAX_MESSAGE // 2
    message = f"{_cut(problem.message, half)}; the Choice was to route {event!r}, after {story.type}: {story.message}"
    trace = f"{problem.trace[-(MAX_TRACE // 2) :]}{story.trace[-(MAX_TRACE // 2) :]}"
    return Failure(problem.type, clean_text(message, MAX_MESSAGE), trace)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _explained(error: BaseException, step: str) -> str | None:
    """What to say of an error that is not meant as one, or ``None``."""
    if not step:
        return None
    kind = type(error)
    if issubclass(kind, SystemExit):
        code = contain(lambda: _message(error), _unreadable)[:MAX_CODE]
        return (
            f"step {step} called sys.exit({code}), or something that does: a step ends by returning a result or by "
            "raising an error; call a click command with standalone_mode=False"
        )
    if issubclass(kind, KeyboardInterrupt):
        return f"step {step} raised KeyboardInterrupt: a step ends by returning a result or by raising an error"
    if name_of(kind) == "CancelledError" and not has_arguments(error):
        return f"step {step} was cancelled: by itself, or by another async step that cancels tasks of others"
    return None


def _message(error: BaseException) -> str:
    text = str(error)
    return str.__getitem__(text, slice(MAX_MESSAGE))  # a subclass of ``str`` may have methods of its own


def _unreadable(raised: BaseException) -> str:
    return f"its message cannot be read: __str__ raised {name_of(type(raised))}"


def _trace(error: BaseException) -> str:
    return "".join(traceback.format_list(frames_of(error, FRAMES)))
