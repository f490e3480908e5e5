"""Runs attempts side by side and tells which have ended."""

from __future__ import annotations

import contextvars
import logging
import queue
import threading
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from hephaestus.runtime.attempt import Outcome


_logger = logging.getLogger("hephaestus.workers")


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
        self._raised: BaseException | None = None

    def start(self, attempt: Callable[[], Outcome]) -> None:
        """Run ``attempt`` in a thread of its own, with the caller's context variables.

        Where the process has no thread left, as when a step leaks them, it runs here and now.
        """
        context = contextvars.copy_context()
        thread = threading.Thread(target=lambda: context.run(self._run, attempt), name="hephaestus-step", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            _logger.warning("no thread can be started: the step runs alone; a step may leave threads behind")
            context.run(self._run, attempt)

    def wait(self, timeout_ms: int | None) -> list[Outcome]:
        """Every outcome that is there; if there is none, the next one, or nothing after ``timeout_ms``.

        Raises:
            BaseException: what an attempt let out, as it would have in this thread; the outcomes before it come first.
        """
        outcomes: list[Outcome] = []
        try:
            if self._raised is not None:
                raise self._raised
            ended = self._ended.get(timeout=None if timeout_ms is None else max(timeout_ms, 0) / 1000)
            while True:
                if isinstance(ended, BaseException):
                    self._raised = ended
                    if outcomes:
                        return outcomes
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
