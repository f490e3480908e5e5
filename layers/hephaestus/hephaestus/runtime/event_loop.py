"""The event loop that the ``async def`` steps of a process share, in a thread of its own.

It is one loop for as long as it is sound, so that a step's clients may be kept between steps. What a step does to it
reaches no other step: an exit in a task or a callback, or a stop, is logged and the loop goes on. A loop that is
closed, or held by code that never gives control back, is replaced; the attempts that it can no longer end have failed.

Only what asyncio documents is used. Its import takes a tenth of a cold start, so this module is imported by the first
``async def`` step.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import time
import types
from collections.abc import Coroutine
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from hephaestus.values.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator
    from concurrent.futures import Executor

BLOCKED_S: Final = 1.0  # so long without giving control back, a step is named in a warning
PATIENCE_S: Final = 10.0  # so long, or as long as its timeout, the loop is replaced for what begins then

_logger = logging.getLogger("hephaestus.event_loop")
_attempt: ContextVar[object] = ContextVar("hephaestus-attempt")
_executor: ContextVar[ThreadPoolExecutor | None] = ContextVar("hephaestus-executor", default=None)
_task_factory: ContextVar[Any] = ContextVar("hephaestus-task-factory", default=None)


class LoopEnded(RuntimeError):
    """The event loop ended under an attempt: a step that ran beside it closed it, or it broke."""


@dataclass(frozen=True, slots=True)
class Who:
    """Whose coroutine it is; ``timeout_s`` is the step's, in seconds, if it has one."""

    step: str
    instance_id: str = ""
    timeout_s: float | None = None


class _Control:
    """A coroutine has control of the loop since ``began``."""

    __slots__ = ("began", "told", "who")

    def __init__(self, who: Who, began: float) -> None:
        self.who = who
        self.began = began
        self.told = False


class _AttemptTask(asyncio.Task[None]):
    """An attempt's task. Another attempt that cancels every task of the loop does not reach it."""

    def cancel(self, msg: Any | None = None) -> bool:
        """Cancel it, unless the call comes from another attempt."""
        return _attempt.get(self) is self and super().cancel(msg)


class EventLoop:
    """One event loop and its thread.

    Args:
        clock: seconds, from any beginning.
        blocked_s: after so many seconds without giving control back, a step is named in a warning.
        patience_s: after so many, or after its timeout, the loop takes nothing more.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        blocked_s: float = BLOCKED_S,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._clock = clock
        self._blocked_s = blocked_s
        self._patience_s = patience_s
        self._lock = threading.Lock()
        self._tickets: dict[Future[Any], Who] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._control: _Control | None = None
        self._beat = self._told = clock()
        self._beating = False
        self._retired = False
        self.loop = _new_loop()
        with contextlib.suppress(AttributeError):  # a loop that is not asyncio's own may not allow it
            self._keep_apart()
        self._debug = self.loop.get_debug()
        self._slow_s = getattr(self.loop, "slow_callback_duration", None)
        threading.Thread(target=self._serve, name="hephaestus-loop", daemon=True).start()

    def _keep_apart(self) -> None:
        """Have each attempt set the default executor and the task factory for itself and its own tasks alone."""
        loop, shared = self.loop, self.loop.run_in_executor

        def run_in_executor(executor: Executor | None, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
            return shared(_executor.get() if executor is None else executor, func, *args)

        def set_default_executor(executor: ThreadPoolExecutor) -> None:
            if not isinstance(executor, ThreadPoolExecutor):
                message = "executor must be ThreadPoolExecutor instance"
                raise TypeError(message)
            _executor.set(executor)

        loop.set_task_factory(_make_task)
        loop.run_in_executor = run_in_executor  # type: ignore[assignment, method-assign]  # an attempt has its own executor
        loop.set_default_executor = set_default_executor  # type: ignore[assignment, method-assign]  # as above
        loop.shutdown_default_executor = _keep_executor  # type: ignore[method-assign]  # else ``to_thread`` fails for all
        loop.set_task_factory = _set_task_factory  # type: ignore[method-assign]  # an attempt has its own factory
        loop.get_task_factory = _task_factory.get  # type: ignore[method-assign]  # as above

    def _run_here(self) -> None:
        """In the loop's thread: be the running loop again, if a step has said that there is none, or another."""
        if asyncio._get_running_loop() is not self.loop:  # noqa: SLF001 - asyncio's own for those who make loops
            asyncio._set_running_loop(self.loop)  # noqa: SLF001 - as above

    def _set_back(self) -> None:
        """After an attempt: what it may have set of the loop, and cannot be told apart by whose it is."""
        loop = self.loop
        if loop.get_exception_handler() is not None:
            loop.set_exception_handler(None)
        if loop.get_debug() != self._debug:
            loop.set_debug(self._debug)
        if self._slow_s is not None and loop.slow_callback_duration != self._slow_s:
            loop.slow_callback_duration = self._slow_s

    @property
    def usable(self) -> bool:
        """Whether it takes more: it runs, and no step has kept it for too long."""
        if self._retired or self.loop.is_closed():
            return False
        control, now = self._control, self._clock()
        if control is not None:
            return now - control.began <= self._patience(control.who)
        return not self._tickets or now - self._beat <= self._patience_s + self._pause

    def run(self, coroutine: Coroutine[Any, Any, Any], who: Who) -> Future[Any]:
        """Run a coroutine from a thread that is not the loop's, and wait until it has ended.

        Returns:
            What came of it; cancelled, if the loop could not begin it.
        """
        ticket: Future[Any] = Future()
        with self._lock:
            if self._retired:
                ticket.cancel()
                return ticket
            if not self._tickets:
                self._beat = self._clock()
            self._tickets[ticket] = who
        try:
            self.loop.call_soon_threadsafe(self._begin, coroutine, who, ticket)
            while not wait((ticket,), self._blocked_s).done:
                self._look()
                if not self.usable and ticket.cancel():
                    break
        except RuntimeError:  # it has been closed
            ticket.cancel()
        finally:
            self._leave(ticket)
        return ticket

    def retire(self) -> None:
        """Take nothing more; what runs may come to its end."""
        with self._lock:
            self._retired = True
            empty = not self._tickets
        if empty:
            with contextlib.suppress(RuntimeError):
                self.loop.call_soon_threadsafe(self.loop.stop)

    def _leave(self, ticket: Future[Any]) -> None:
        with self._lock:
            self._tickets.pop(ticket, None)
        if self._retired:
            self.retire()

    def _begin(self, coroutine: Coroutine[Any, Any, Any], who: Who, ticket: Future[Any]) -> None:
        """In the loop's thread: make the attempt's task, if its caller still waits for it."""
        if not ticket.set_running_or_notify_cancel():
            return
        self._run_here()
        task = _AttemptTask(self._attend(coroutine, who, ticket), loop=self.loop, name=who.step)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if not self._beating:
            self._beating = True
            self.loop.call_later(self._pause, self._tick)

    async def _attend(self, coroutine: Coroutine[Any, Any, Any], who: Who, ticket: Future[Any]) -> None:
        """Note what comes of a coroutine. Nothing gets out: ``Task`` would hand an exit on to the loop."""
        _attempt.set(asyncio.current_task())
        try:
            result = await self._watch(coroutine, who)
        except BaseException as error:  # noqa: BLE001 - see above
            if not ticket.done():
                self._set_back()
                ticket.set_exception(error)
        else:
            if not ticket.done():
                self._set_back()
                ticket.set_result(result)

    @types.coroutine
    def _watch(self, coroutine: Coroutine[Any, Any, Any], who: Who) -> Generator[Any, Any, Any]:
        """``await coroutine``, and how long it keeps control each time that it has it."""
        sent: Any = None
        thrown: BaseException | None = None
        while True:
            control = self._control = _Control(who, self._clock())
            self._run_here()  # a task or a callback may have changed it
            try:
                asked = coroutine.send(sent) if thrown is None else coroutine.throw(thrown)
            except StopIteration as returned:
                return returned.value
            finally:
                self._control = None
                self._run_here()
                self._check(control)
            sent = thrown = None
            try:
                sent = yield asked
            except GeneratorExit:
                coroutine.close()
                raise
            except BaseException as error:  # noqa: BLE001 - it is the coroutine's: a cancellation, or what it waited for
                thrown = error

    def _patience(self, who: Who) -> float:
        return self._patience_s if who.timeout_s is None else max(who.timeout_s, self._blocked_s)

    @property
    def _pause(self) -> float:
        """Between two beats, in seconds."""
        return self._blocked_s / 4

    def _tick(self) -> None:
        """In the loop's thread, again and again while attempts run: what keeps this waiting has blocked the loop."""
        self._check_beat()
        self._beat = self._clock()
        self._beating = bool(self._tickets)
        if self._beating:
            self.loop.call_later(self._pause, self._tick)

    def _look(self) -> None:
        """From a thread that waits: say who keeps the loop."""
        control = self._control
        if control is not None:
            self._check(control)
        else:
            self._check_beat()

    def _check_beat(self) -> None:
        """A task or a callback that a step made has no attempt's name: any of those that run may have made it."""
        now = self._clock()
        with self._lock:  # the loop's thread and those that wait may come at once
            took = now - self._beat
            if took <= self._blocked_s + self._pause or self._told > self._beat:
                return
            self._told = now
            whose = tuple(self._tickets.values())
        ids, steps = sorted({who.instance_id for who in whose}), sorted({who.step for who in whose})
        _warn(took, ", ".join(ids), ", ".join(steps), "a task or callback of the async step")

    def _check(self, control: _Control) -> None:
        now = self._clock()
        took = now - control.began
        if took <= self._blocked_s:
            return
        with self._lock:
            if control.told:
                return
            control.told = True
            self._told = now
        _warn(took, control.who.instance_id, control.who.step, "the async step")

    def _serve(self) -> None:
        """Run the loop for as long as it can be run."""
        try:
            while not self.loop.is_closed():
                try:
                    self.loop.run_forever()
                except (SystemExit, KeyboardInterrupt) as error:
                    self._went_on(f"{type(error).__name__} was raised in a task or a callback")
                else:
                    if self._retired and not self._tickets:
                        break
                    if not self.loop.is_closed():
                        self._went_on("the loop was stopped")
        except BaseException:
            _logger.exception("the event loop of the async steps broke; the next one gets another")
        self._end()

    def _went_on(self, what: str) -> None:
        running = ", ".join(sorted(who.step for who in tuple(self._tickets.values()))) or "none"
        _logger.warning("%s in the event loop of the async steps; it goes on (running: %s)", what, running)

    def _end(self) -> None:
        """The loop has run for the last time: the attempts that it still had have failed."""
        with self._lock:
            self._retired = True
            left = dict(self._tickets)
        for ticket, who in left.items():
            message = f"step {who.step}: the event loop ended under it, closed by an async step that ran in its process"
            if not ticket.cancel() and not ticket.done():
                ticket.set_exception(LoopEnded(message))
        if not self.loop.is_closed():
            self.loop.close()


def _new_loop() -> asyncio.AbstractEventLoop:
    """A new event loop, also where a step has set a policy that makes none."""
    try:
        return asyncio.new_event_loop()
    except Exception:
        _logger.exception("the event loop policy makes no event loop; the async steps get asyncio's own")
        return asyncio.SelectorEventLoop()


def _make_task(loop: asyncio.AbstractEventLoop, coroutine: Any, **how: Any) -> Any:
    """A task that a step makes, by its own task factory if it has set one."""
    factory = _task_factory.get()
    return asyncio.Task(coroutine, loop=loop, **how) if factory is None else factory(loop, coroutine, **how)


def _set_task_factory(factory: Any) -> None:
    if factory is not None and not callable(factory):
        message = "task factory must be a callable or None"
        raise TypeError(message)
    _task_factory.set(factory)


def _warn(took: float, instance_id: str, step: str, what: str) -> None:
    _logger.warning(
        "instance %s: %s %s has blocked the event loop for %.1f s, and with it every async step of its process: "
        "await asyncio.to_thread(...) for what blocks, or write the step as a plain def",
        instance_id,
        what,
        step,
        took,
        extra={"instance_id": instance_id, "step": step},
    )


async def _keep_executor(timeout: float | None = None) -> None:  # noqa: ARG001, ASYNC109 - the signature of asyncio's
    """In place of ``shutdown_default_executor``: the threads of ``to_thread`` belong to all steps of the process."""
    _logger.warning("an async step asked to shut down the loop's default executor, which all steps share; it stays")


_lock = threading.Lock()
_current: EventLoop | None = None


def event_loop() -> EventLoop:
    """The process's loop: made on first use, and again where a step has made the last one unusable."""
    global _current  # noqa: PLW0603 - one a process
    with _lock:
        if _current is None or not _current.usable:
            if _current is not None:
                _current.retire()
            _current = EventLoop()
        return _current


def run(awaitable: Awaitable[Any], who: Who) -> Any:
    """Run what an async step returned to its end, from a thread that is not the loop's.

    Raises:
        BaseException: what it raised.
        LoopEnded: the loop ended under it.
    """
    coroutine = awaitable if isinstance(awaitable, Coroutine) else _awaiting(awaitable)
    while True:
        try:
            loop = event_loop()
        except BaseException:
            coroutine.close()  # else it is reported as never awaited
            raise
        ticket = loop.run(coroutine, who)
        if not ticket.cancelled():
            return ticket.result()


async def _awaiting(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def _forget() -> None:
    """In a forked child: the loop's thread is not there."""
    global _current, _lock
    _current, _lock = None, threading.Lock()


os.register_at_fork(after_in_child=_forget)
