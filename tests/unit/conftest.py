"""A unit test leaves the process as it found it: what it attaches would be heard by whatever test comes next."""

from __future__ import annotations

import gc
import logging
import sys
import threading
import time
import warnings
from typing import TYPE_CHECKING

import pytest

from hephaestus.definition import containment
from hephaestus.runtime import telemetry

if TYPE_CHECKING:
    from collections.abc import Iterator

ENDED_WITHIN = 5.0  # seconds
LIBRARY = logging.getLogger("hephaestus")


@pytest.fixture(autouse=True)
def _leaves_the_process_as_it_was() -> Iterator[None]:
    before = _settings()
    yield
    gc.collect(1)  # what the test left says what it has to say now, as an asyncio task does whose error nobody read
    until = time.monotonic() + ENDED_WITHIN
    while containment._settings._inside and time.monotonic() < until:  # noqa: SLF001 - what still runs
        time.sleep(0.001)
    assert not containment._settings._inside, "a user's code still runs"  # noqa: SLF001 - the same
    assert _settings() == before


def _settings() -> dict[str, object]:
    return {
        "telemetry": dict(telemetry._handlers),  # noqa: SLF001 - what is attached
        "log handlers": list(LIBRARY.handlers),
        "log level": (LIBRARY.level, LIBRARY.propagate, LIBRARY.disabled),
        "recursion limit": sys.getrecursionlimit(),
        "digits": sys.get_int_max_str_digits(),
        "warnings are texts": type(warnings.filters) is list,
        "stack size": threading.stack_size(),
    }
