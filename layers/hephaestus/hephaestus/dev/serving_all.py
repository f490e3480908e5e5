"""Starts and stops all of it: the state, the runtime, the API, the console, and the watch over the modules' files."""

from __future__ import annotations

import logging
import threading
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hephaestus.adapters.folder_objects import sources_in
from hephaestus.adapters.sqlite import SqliteTable
from hephaestus.callbacks.signer import Signer, audience_of
from hephaestus.callbacks.signing_keys import FixedKeys
from hephaestus.console import ConsoleServer
from hephaestus.console.embedded import LocalConnection
from hephaestus.definition.default import use
from hephaestus.dev.front import Front
from hephaestus.embedded import Embedded
from hephaestus.runtime.names import DECLARATIONS
from hephaestus.store.items import INDEXES
from hephaestus.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from http.server import ThreadingHTTPServer
    from pathlib import Path

    from hephaestus.dev.folder import Folder
    from hephaestus.dev.reloading import Modules
    from hephaestus.runtime.status_events import StatusEvent

LOOK: Final = 0.5  # seconds between two looks at the files
PLACE: Final = "hephaestus dev on this machine"

_logger = logging.getLogger("hephaestus.dev")


@dataclass(frozen=True, slots=True)
class Served:
    """What is served, and where.

    Attributes:
        embedded: the runtime.
        url: the API's address.
        console: the console's; anyone who has it may do what this process may.
    """

    embedded: Embedded
    url: str
    console: str


class LoggedBus:
    """An ``EventBus`` that logs: a line for each status event that a stack with an ``EventBusName`` would publish."""

    def publish(self, event: StatusEvent) -> None:
        """Log an event."""
        _logger.info("%s  status event: %s", event.instance_id, event.detail["status"])


@contextmanager
def serving(  # noqa: PLR0913 - what is served, and where
    folder: Folder, modules: Modules, *, port: int, console_port: int | None, by: str, objects: Path | None = None
) -> Iterator[Served]:
    """Serve the workflows of ``modules`` from the state in ``folder``, as long as it is entered.

    Args:
        folder: where everything is kept.
        modules: the workflows; they are imported again when their files change.
        port: where the API listens; 0 takes any that is free.
        console_port: where the console listens; ``None`` takes the usual one or, if that is taken, any.
        by: who the caller is, as history keeps it.
        objects: a folder with a folder for each bucket of S3 that maps read.

    Raises:
        PortTaken: something else has the port.
        EngineError: the file of the state cannot be used.
    """
    with ExitStack() as until_the_end:
        table = SqliteTable(folder.state, INDEXES)
        until_the_end.callback(table.close)
        keys = FixedKeys((folder.key(),))
        embedded = Embedded(
            Store(table), modules.load(), lambda: Signer(keys, audience_of("hephaestus dev"), lambda: front.url)
        )
        embedded.runner.bus = LoggedBus()
        if objects is not None:
            embedded.runner.sources = sources_in(objects)
        front = until_the_end.enter_context(Front(embedded.runner, by, port))
        console = until_the_end.enter_context(
            ConsoleServer(LocalConnection(embedded.runner, PLACE, by), console_port, warn=_logger.warning)
        )
        use(embedded.runner)
        until_the_end.callback(use, None)
        embedded.recover()
        until_the_end.enter_context(embedded)
        embedded.queue.wake(DECLARATIONS)
        for server in (front, console):
            _serve(server, until_the_end)
        _watch(modules, embedded, until_the_end)
        folder.announce(url=front.url)
        yield Served(embedded, front.url, console.url)


def _serve(server: ThreadingHTTPServer, until_the_end: ExitStack) -> None:
    threading.Thread(target=server.serve_forever, args=(0.05,), name="hephaestus-http", daemon=True).start()
    until_the_end.callback(server.shutdown)


def _watch(modules: Modules, embedded: Embedded, until_the_end: ExitStack) -> None:
    """Look at the files from time to time, and have what is begun from then on run as they are."""
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(LOOK):
            try:
                if changed := modules.changed():
                    _logger.info("%s changed: importing again", ", ".join(changed))
                    embedded.runner.registry = registry = modules.load()
                    embedded.queue.wake(DECLARATIONS)
                    _logger.info("workflows: %s", ", ".join(registry.names()) or "none")
                    embedded.unpark("hephaestus dev")
            except Exception:
                _logger.exception("the modules were not imported again; edit one to have it tried again")

    watching = threading.Thread(target=look, name="hephaestus-watch", daemon=True)
    watching.start()
    until_the_end.callback(watching.join)
    until_the_end.callback(ended.set)
