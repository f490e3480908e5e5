"""The same client for ``async`` code: every call is made in a thread of the event loop's pool."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar

from hephaestus.client.synchronous import Client, HandleT, connect, in_time, output_of, pauses

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from hephaestus.client.synchronous import Handle
    from hephaestus.definition.durations import Duration
    from hephaestus.definition.outputs import OutputT
    from hephaestus.definition.reasons import Reasons
    from hephaestus.definition.references import StepRef
    from hephaestus.definition.views import InstanceView
    from hephaestus.definition.workflow import Workflow

P = ParamSpec("P")
T = TypeVar("T")


async def connect_async(
    where: str, *, region: str | None = None, profile: str | None = None, endpoint_url: str | None = None
) -> AsyncClient:
    """Connect to a deployment from ``async`` code; arguments and errors are those of ``connect``."""
    client = await asyncio.to_thread(connect, where, region=region, profile=profile, endpoint_url=endpoint_url)
    return AsyncClient(client)


def _in_thread(
    method: Callable[Concatenate[Client, P], T],
) -> Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, T]]:
    """A method of the client, called in another thread."""

    @wraps(method)
    async def call(self: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.to_thread(method, self.client, *args, **kwargs)

    return call


def _handled(
    method: Callable[Concatenate[Client, P], Handle[T]],
) -> Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, AsyncHandle[T]]]:
    """The same, of a method that makes an instance."""

    @wraps(method)
    async def call(self: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> AsyncHandle[T]:
        return AsyncHandle(self, await asyncio.to_thread(method, self.client, *args, **kwargs))

    return call


class AsyncClient:
    """A ``Client`` whose methods are awaited; arguments and errors are the same.

    Attributes:
        client: the client that is called in threads.
    """

    def __init__(self, client: Client) -> None:
        self.client = client

    start = _handled(Client.start)
    fork = _handled(Client.fork)
    resume = _in_thread(Client.resume)
    heartbeat = _in_thread(Client.heartbeat)
    cancel = _in_thread(Client.cancel)
    pause = _in_thread(Client.pause)
    unpause = _in_thread(Client.unpause)
    pause_workflow = _in_thread(Client.pause_workflow)
    unpause_workflow = _in_thread(Client.unpause_workflow)
    redrive = _in_thread(Client.redrive)
    recheck = _in_thread(Client.recheck)
    delete = _in_thread(Client.delete)
    schedules = _in_thread(Client.schedules)
    limits = _in_thread(Client.limits)
    set_limit = _in_thread(Client.set_limit)
    unset_limit = _in_thread(Client.unset_limit)
    create_schedule = _in_thread(Client.create_schedule)
    pause_schedule = _in_thread(Client.pause_schedule)
    unpause_schedule = _in_thread(Client.unpause_schedule)
    trigger_schedule = _handled(Client.trigger_schedule)
    delete_schedule = _in_thread(Client.delete_schedule)
    get = _in_thread(Client.get)
    why = _in_thread(Client.why)
    history = _in_thread(Client.history)
    items = _in_thread(Client.items)
    list = _in_thread(Client.list)
    workflows = _in_thread(Client.workflows)

    def handle(self, instance_id: str, workflow: str | type[Workflow[OutputT]] = "") -> AsyncHandle[OutputT]:
        """A handle on an instance by its id; nothing is asked. ``output`` is of the type that ``workflow`` has."""
        return AsyncHandle(self, self.client.handle(instance_id, workflow))

    async def wait(self, instance_id: str, timeout: Duration | None = None) -> InstanceView:  # noqa: ASYNC109 - as `Client.wait`
        """Wait until an instance has ended; see ``Client.wait``. No thread is held meanwhile."""
        for pause in pauses(timeout):
            shown = await self.get(instance_id)
            if shown.closed:
                return shown
            await asyncio.sleep(pause)
        return in_time(await self.get(instance_id), timeout)


@dataclass(frozen=True, slots=True)
class AsyncHandle(Generic[HandleT]):
    """One instance of an ``AsyncClient``.

    Attributes:
        client: the client.
        handle: the same of its ``Client``.
    """

    client: AsyncClient
    handle: Handle[HandleT]

    @property
    def id(self) -> str:
        """The instance's id."""
        return self.handle.id

    @property
    def used(self) -> bool:
        """Whether the start has started nothing, and uses this one, which was open."""
        return self.handle.used

    async def get(self) -> InstanceView:
        """The instance as it is now."""
        return await self.client.get(self.id)

    async def why(self) -> Reasons:
        """Why it does not go on; see ``Client.why``."""
        return await self.client.why(self.id)

    async def wait(self, timeout: Duration | None = None) -> InstanceView:  # noqa: ASYNC109 - as `Client.wait`
        """Wait until it has ended; see ``Client.wait``."""
        return await self.client.wait(self.id, timeout)

    async def output(self, timeout: Duration | None = None) -> HandleT:  # noqa: ASYNC109 - as `Client.wait`
        """Wait until it has ended, and return its output; see ``Handle.output``."""
        return output_of(await self.wait(timeout), self.handle.workflow)

    async def resume(
        self,
        event: str,
        payload: Any = None,
        *,
        step: StepRef | None = None,
        item: str | None = None,
        event_id: str | None = None,
    ) -> None:
        """Deliver an event to it; see ``Client.resume``."""
        await self.client.resume(self.id, event, payload, step=step, item=item, event_id=event_id)

    async def cancel(self, reason: str = "", *, compensate: bool = False, request_id: str | None = None) -> None:
        """Cancel it; see ``Client.cancel``."""
        await self.client.cancel(self.id, reason, compensate=compensate, request_id=request_id)
