"""Runs attempts side by side and tells which have ended."""

from __future__ import annotations

import contextvars
import queue
import threading
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from hephaestus.runtime.attempt import Outcome


class Workers(Protocol):
    """Where attempts run. One object serves one execution, from one thread."""

    def start(self, attempt: Callable[[], Outcome]) -> None:
        """Run ``attempt`` beside what runs already."""

    def wait(self, timeout_ms: int | None) -> list[Outcome]:
        """Every outcome that is there; if there is none, the next one, or nothing after ``timeout_ms``."""


class ThreadWorkers:
    """A daemon thread an attempt: a step that never returns keeps neither its execution nor its process alive."""

    def __init__(self) -> None:
        self._ended: queue.SimpleQueue[Outcome | BaseException] = queue.SimpleQueue()

    def start(self, attempt: Callable[[], Outcome]) -> None:
        """Run ``attempt`` in a thread of its own, with the caller's context variables."""
        context = contextvars.copy_context()
        threading.Thread(target=lambda: context.run(self._run, attempt), name="hephaestus-step", daemon=True).start()

    def wait(self, timeout_ms: int | None) -> list[Outcome]:
        """Every outcome that is there; if there is none, the next one, or nothing after ``timeout_ms``.

        Raises:
            BaseException: what an attempt let out, as it would have in this thread.
        """
        outcomes: list[Outcome] = []
        try:
            ended = self._ended.get(timeout=None if timeout_ms is None else max(timeout_ms, 0) / 1000)
            while True:
                if isinstance(ended, BaseException):
                    raise ended
                outcomes.append(ended)
                ended = self._ended.get_nowait()
        except queue.Empty:
            return outcomes

    def _run(self, attempt: Callable[[], Outcome]) -> None:
        try:
            self._ended.put(attempt())
        except BaseException as error:  # noqa: BLE001 - a thread that dies in silence would be waited for
            self._ended.put(error)
