"""Messages of the sweep that are about no instance are read by the function that takes them."""

from __future__ import annotations

import json

import pytest

from hephaestus.errors import BadRequest
from hephaestus.handlers.triggers import read_work
from hephaestus.runtime.names import DECLARATIONS
from hephaestus.store.overdue import Wakeup
from hephaestus.store.paused import PAUSED
from hephaestus.store.permits import limit_key
from hephaestus.store.reservations import rate_key


def message(name: str) -> str:
    """As the queue has it."""
    return json.dumps({"source": "hephaestus.queue", "instance_id": name})


OF_LIMITS = [limit_key("stripe"), limit_key("stripe#acct 1"), rate_key("openai"), rate_key("openai#acct 1")]


@pytest.mark.parametrize("name", [*OF_LIMITS, PAUSED, DECLARATIONS, "order::1"])
def test_what_the_sweep_sends_is_taken(name: str) -> None:
    """A limit's partition is named as no instance is; its message went to the dead letters (F.1)."""
    assert read_work(message(name)) == Wakeup(name)


@pytest.mark.parametrize("name", ["order", "limit", "hephaestus-paused", ""])
def test_what_names_nothing_is_rejected(name: str) -> None:
    with pytest.raises(BadRequest):
        read_work(message(name))
