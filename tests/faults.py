"""A proxy that spoils what goes between an adapter and its engine: microburst, in a thread of its own, on loopback.

Every fault is drawn from a seed. What is spoiled is AWS's wire format, so botocore itself meets it: errors, connections
that break before or after the request was done, answers that come too late (and writes with them), answers cut short.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from contextlib import contextmanager
from random import Random
from typing import TYPE_CHECKING, Any, Final

import microburst.rules  # type: ignore[import-untyped]  # it brings no types
from aiohttp import web
from microburst.app import make_app  # type: ignore[import-untyped]  # as above
from microburst.core.pipeline import Microburst  # type: ignore[import-untyped]  # as above

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

LATE_MS: Final = 2_500
"""Later than an adapter waits that is in a hurry; the request is done all the same, that late."""

FAULTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "throttled": {"error": {"code": "ThrottlingException", "status": 400}},
    "failing": {"error": {"code": "InternalServerError", "status": 500}},
    "reset": {"reset": True},
    "lost": {"response": {"abort_bytes": 0}},
    "cut": {"response": {"abort_frac": 0.5}},
    "damaged": {"response": {"corrupt_bytes": 8}},
    "emptied": {"response": {"truncate_bytes": 0}},
    "late": {"latency": LATE_MS},
}
"""What a request meets; ``lost`` and ``cut`` come after it was done, ``late`` before."""


class Proxy:
    """A proxy in front of one engine."""

    def __init__(self, upstream: str) -> None:
        self.burst = Microburst(upstream)
        self.url = ""

    def spoil(self, faults: Sequence[str], share: float, *, times: int | None = None) -> None:
        """Have a share of the requests meet one of the faults, each as often as the others, at most ``times`` each."""
        rules, left = [], 1.0
        for fault in faults:
            own = share / len(faults)
            rules.append({**FAULTS[fault], "probability": own / left, "times": times})
            left -= own
        self.burst.engine.set_rules(rules)

    def fix(self) -> None:
        """Let everything pass."""
        self.burst.engine.set_rules([])

    @property
    def met(self) -> Counter[str]:
        """How often which operation met a fault."""
        return Counter(str(event.operation) for event in self.burst.fired)


@contextmanager
def proxies(*upstreams: str, seed: int) -> Iterator[list[Proxy]]:
    """A proxy in front of each engine, all of them in one thread; what they do is drawn from ``seed``."""
    made = [Proxy(upstream) for upstream in upstreams]
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="proxies", daemon=True)
    drawn, microburst.rules.random = microburst.rules.random, Random(seed)
    thread.start()
    runners = [asyncio.run_coroutine_threadsafe(_serve(proxy), loop).result() for proxy in made]
    try:
        yield made
    finally:
        for runner in runners:
            asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        microburst.rules.random = drawn


async def _serve(proxy: Proxy) -> web.AppRunner:
    runner = web.AppRunner(make_app(proxy.burst), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    proxy.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    return runner
