"""The functions over a store in memory, and what they log."""

from __future__ import annotations

import importlib.util
import io
import os

import pytest

os.environ["POWERTOOLS_LOG_DEDUPLICATION_DISABLED"] = "1"  # else Powertools silences pytest's own log handler

from hephaestus import aws, observability
from hephaestus.adapters.memory import MemoryQueue, MemoryStore, MemoryTimers
from hephaestus.runtime.clock import SystemClock
from hephaestus.runtime.registry import Registry
from hephaestus.runtime.runner import Runner
from tests.integration.deployment import FUNCTIONS, ROOT, Deployment, Large
from workflows import Onboarding, OrderFlow


@pytest.fixture
def deployment(monkeypatch: pytest.MonkeyPatch) -> Deployment:
    """The functions, imported afresh as in a cold start, over a store in memory."""
    clock = SystemClock()
    store, timers, queue = MemoryStore(), MemoryTimers(), MemoryQueue(clock)
    runner = Runner(store, timers, queue, Registry([OrderFlow, Onboarding, Large]), clock=clock)
    monkeypatch.setattr(aws, "runner_from_environment", lambda: runner)
    deployed = Deployment(runner, store, timers, queue)
    for name in FUNCTIONS:
        spec = importlib.util.spec_from_file_location(
            f"hephaestus_function_{name}", ROOT / "functions" / name / "app.py"
        )
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        deployed.functions[name] = module
    return deployed


@pytest.fixture
def logs(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What the functions write to their log."""
    written = io.StringIO()
    monkeypatch.setattr(observability.logger.registered_handler, "stream", written)
    return written
