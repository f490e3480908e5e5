"""A function runs as Lambda runs it, on Amazon's runtime emulator; a trivial one, to trust the emulator itself."""

from __future__ import annotations

import os
import textwrap
from typing import TYPE_CHECKING
from urllib.error import URLError

import pytest

from tests.e2e.orders import eventually
from tests.engines import missing_engine
from tools import rie

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LONG = 60  # seconds; no test but one is about them
HANDLER = """
    import json, os, sys, time
    import colours

    def handler(event, context):
        print("log line", flush=True)
        match event:
            case {"raise": text}:
                raise ValueError(text)
            case {"exit": status}:
                os._exit(status)
            case {"sleep": seconds}:
                time.sleep(seconds)
        return {
            "event": event,
            "layer": colours.RED,
            "process": os.getpid(),
            "variable": os.environ["COLOUR"],
            "function": context.function_name,
            "request": len(context.aws_request_id),
            "remaining": context.get_remaining_time_in_millis(),
            "key": os.environ["AWS_ACCESS_KEY_ID"],
        }
"""


@pytest.fixture
def trivial(tmp_path: Path) -> Path:
    """What `sam build` would make of a function and its layer; the function's folder."""
    code, layer = tmp_path / "TrivialFunction", tmp_path / "TrivialLayer"
    (layer / "python").mkdir(parents=True)
    (layer / "python" / "colours.py").write_text("RED = 'red'\n", "utf-8")
    code.mkdir()
    (code / "app.py").write_text(textwrap.dedent(HANDLER), "utf-8")
    try:
        rie.find_emulator()
    except rie.EmulatorMissing as missing:
        missing_engine(str(missing))
    return code


@pytest.fixture
def function(trivial: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[rie.Function]:
    """The trivial function on the emulator."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    layers = rie.built_layers(trivial.parent)
    with rie.running(trivial, layers=layers, environment={"COLOUR": "green"}, timeout=LONG) as running:
        yield running


def test_a_function_gets_its_event_context_layers_and_variables(function: rie.Function) -> None:
    """And its result comes back; the caller's own credentials do not get in."""
    result = function.invoke({"list": [1, "ü", None]})
    assert 0 < result.pop("remaining") <= LONG * 1000
    assert result.pop("process") != os.getpid()
    assert result == {
        "event": {"list": [1, "ü", None]},
        "layer": "red",
        "variable": "green",
        "function": "TrivialFunction",
        "request": len("4edc4f0e-4a8e-4a52-a0a8-9f4d1b0e5e0f"),
        "key": "testing",
    }
    assert "log line" in function.log
    assert function.invoke({"again": True})["event"] == {"again": True}


def test_what_a_handler_raises_is_a_failed_function(function: rie.Function) -> None:
    """With the type and text that Lambda reports; the next event is served."""
    with pytest.raises(rie.FunctionFailed, match="ValueError: no such order"):
        function.invoke({"raise": "no such order"})
    assert function.invoke({})["event"] == {}


def test_a_function_that_takes_too_long_is_cut_off(trivial: Path) -> None:
    """The emulator enforces the time limit of the function."""
    layers = rie.built_layers(trivial.parent)
    briefly = rie.running(trivial, layers=layers, environment={"COLOUR": "green"}, timeout=2)
    with briefly as running, pytest.raises(rie.FunctionFailed, match="timed out after 2"):
        running.invoke({"sleep": LONG})


def test_a_process_that_ends_is_a_failed_function(function: rie.Function) -> None:
    """As for a crash of the interpreter."""
    with pytest.raises(rie.FunctionFailed, match="exit"):
        function.invoke({"exit": 7})


def is_there(process: int) -> bool:
    """Whether a process has not ended, or is not yet buried by the one that has inherited it."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_nothing_is_left_behind(trivial: Path) -> None:
    """Neither the emulator nor the process of the handler."""
    layers = rie.built_layers(trivial.parent)
    with rie.running(trivial, layers=layers, environment={"COLOUR": "green"}) as running:
        handler = running.invoke({})["process"]
        os.kill(handler, 0)
    eventually(lambda: not is_there(handler), f"the handler's process {handler} is still there")
    with pytest.raises(URLError):
        running.invoke({})
