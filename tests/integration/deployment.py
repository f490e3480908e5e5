"""All functions over one store in memory, invoked as Lambda does, and the events that they are sent."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hephaestus import DONE, Completed, Retry, StepContext, Workflow, aws, step
from hephaestus.adapters.memory import MemoryQueue, MemoryStore, MemoryTimers
from hephaestus.adapters.queued_timers import QueuedTimers
from hephaestus.runtime.clock import SystemClock
from hephaestus.runtime.registry import Registry
from hephaestus.runtime.runner import Runner
from hephaestus.runtime.sweeper import Sweeper
from hephaestus.testing import signer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType

    import pytest

    from hephaestus.runtime.ports import Clock, Timeout

ROOT = Path(__file__).parents[2]
FUNCTIONS = ("start", "resume", "control", "callback", "read", "sweep", "ingest")
SAMPLE = "orderid::sample-1"
SAMPLE_LIFE = "e64892557ff01234567"


@step(events=("done",), retry=Retry(max_attempts=2, delay=0.01))
def swell(ctx: StepContext) -> Completed:
    """Leave as much as asked for."""
    return Completed("done", {"text": "x" * ctx.initial["size"]})


class Large(Workflow, key="large"):
    """An instance with results of any size."""

    start_at = swell
    transitions = {swell: {"done": DONE}}


@dataclass
class Context:
    """Lambda's context object, as far as anybody here reads it."""

    function_name: str = "hephaestus-test"
    memory_limit_in_mb: int = 512
    invoked_function_arn: str = "arn:aws:lambda:eu-central-1:123456789012:function:hephaestus-test"
    aws_request_id: str = "4f2c9a1e-0000-4000-8000-000000000001"
    remaining_ms: int = 30_000

    def get_remaining_time_in_millis(self) -> int:
        """What is left of the invocation."""
        return self.remaining_ms


@dataclass
class Deployment:
    """All functions over one store, and what their queue and schedules hold."""

    runner: Runner
    store: MemoryStore
    timers: MemoryTimers
    queue: MemoryQueue
    functions: dict[str, ModuleType] = field(default_factory=dict)
    rejected: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)  # the ingest queue's dead letters
    delivers: bool = True  # what is queued while a request waits

    def invoke(self, function: str, event: Any, **context: Any) -> Any:
        """Invoke a function as Lambda does: what goes in and out is JSON."""
        return json.loads(
            json.dumps(self.functions[function].handler(json.loads(json.dumps(event)), Context(**context)))
        )

    def call(self, function: str, event: Any, **context: Any) -> tuple[int, dict[str, Any], dict[str, str]]:
        """Invoke a function by API: the status, the body and the headers."""
        answer = self.invoke(function, event, **context)
        headers = {name: ", ".join(values) for name, values in answer.get("multiValueHeaders", {}).items()}
        return answer["statusCode"], json.loads(answer["body"]), headers

    def pump(self) -> int:
        """Deliver every due message of the queue through the resume function, in batches; how many there were."""
        delivered = 0
        while due := self.queue.pop_due(self.runner.clock.now()):
            delivered += len(due)
            assert self.invoke("resume", batch(*(work.instance_id for work in due))) == {"batchItemFailures": []}
        return delivered

    def life(self) -> str:
        """The name of the sample instance's life."""
        state = self.store.load(SAMPLE)
        assert state is not None
        return state.life

    def started(self, **change: Any) -> str:
        """The sample instance, waiting for its approval."""
        event = sample("direct-start")
        event.update(id="sample-1", start_id=None)
        event["context"].update(change)
        assert self.invoke("start", event) == {"id": SAMPLE, "status": "waiting"}
        return SAMPLE


class Served:
    """A request's clock: in its pauses the queue's messages are delivered, as Lambda delivers them meanwhile."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment

    def now(self) -> int:
        """The deployment's time."""
        return self.deployment.runner.clock.now()

    def sleep(self, milliseconds: int) -> None:
        """Deliver what is due, or else wait."""
        if not (self.deployment.delivers and self.deployment.pump()):
            self.deployment.runner.clock.sleep(milliseconds)


@dataclass
class Rejected:
    """A queue of dead letters."""

    deployment: Deployment

    def send(self, body: str, attributes: Mapping[str, str]) -> None:
        """Keep one."""
        self.deployment.rejected.append((body, attributes))


def deploy(monkeypatch: pytest.MonkeyPatch, *workflows: type[Workflow], clock: Clock | None = None) -> Deployment:
    """The functions, imported afresh as in a cold start, over a store in memory; in real time unless told otherwise."""
    clock = clock or SystemClock()
    store, timers, queue = MemoryStore(), MemoryTimers(), MemoryQueue(clock)
    runner = Runner(store, timers, queue, Registry(workflows), clock=clock, signer=signer)
    runner.heed_pauses()
    answerer = Runner(store, QueuedTimers(queue), queue, runner.registry, clock=clock, signer=lambda: runner.signer())  # noqa: PLW0108 - tests change the runner's
    for name in ("runner_from_environment", "reader_from_environment"):
        monkeypatch.setattr(aws, name, lambda: runner)
    monkeypatch.setattr(aws, "answerer_from_environment", lambda: answerer)
    monkeypatch.setattr(aws, "sweeper_from_environment", lambda: Sweeper(store, queue, clock))
    deployed = Deployment(runner, store, timers, queue)
    monkeypatch.setattr(aws, "rejected_from_environment", lambda: Rejected(deployed))
    for name in FUNCTIONS:
        module = cold_start(name)
        deployed.functions[name] = module
        if name in {"start", "resume", "control"}:
            routes = module._api() if name == "resume" else module.api  # noqa: SLF001 - made when it is first needed
            routes.clock = Served(deployed)
    return deployed


def cold_start(function: str) -> ModuleType:
    """Import a function afresh, as Lambda does; the module of the library that it is."""
    name = f"hephaestus.handlers.{function}_function"
    sys.modules.pop(name, None)
    spec = importlib.util.spec_from_file_location(
        f"hephaestus_function_{function}", ROOT / "functions" / function / "app.py"
    )
    assert spec is not None
    assert spec.loader is not None
    app = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(app)
    assert app.handler is sys.modules[name].handler
    return sys.modules[name]


def pass_time(monkeypatch: pytest.MonkeyPatch, seconds: int) -> None:
    """Move the machine's time on at once: what is due then may be far from due while a slow machine prepares it."""
    now = SystemClock.now
    monkeypatch.setattr(SystemClock, "now", lambda clock: now(clock) + seconds * 1000)


def sample(name: str) -> dict[str, Any]:
    """A file of ``events/``."""
    loaded: dict[str, Any] = json.loads((ROOT / "events" / f"{name}.json").read_text())
    return loaded


def api(
    name: str, *, body: Any = None, raw: str | None = None, prefer: str | None = None, **change: Any
) -> dict[str, Any]:
    """A sample API event with another body, preference or other members."""
    event = {**sample(name), **change}
    if body is not None or raw is not None:
        event["body"] = raw if raw is not None else json.dumps(body)
    event["headers"] = {key: value for key, value in event["headers"].items() if key != "Prefer"}
    event["headers"].update({"Prefer": prefer} if prefer else {})
    event["multiValueHeaders"] = None
    return event


def batch(*instance_ids: str) -> dict[str, Any]:
    """A batch of the work queue, one message an instance."""
    like = sample("sqs-continue")["Records"][0]
    bodies = [json.dumps({"source": "hephaestus.queue", "instance_id": instance_id}) for instance_id in instance_ids]
    return {"Records": [{**like, "messageId": f"m-{number}", "body": body} for number, body in enumerate(bodies)]}


def of_life(event: dict[str, Any], life: str) -> dict[str, Any]:
    """A sample event about the life that an instance really has: of its schedules, and of its links, signed anew."""
    text = json.dumps(event).replace(SAMPLE_LIFE, life)
    token = (event.get("pathParameters") or {}).get("token")
    if token is not None:
        known = signer().read(token, 0)
        text = text.replace(token, signer().token(replace(known, life=life)))
    changed: dict[str, Any] = json.loads(text)
    return changed


def fired(timeout: Timeout) -> dict[str, Any]:
    """What Scheduler sends when a schedule fires."""
    return {
        "source": "hephaestus.timer",
        "instance_id": timeout.instance_id,
        "life": timeout.life,
        "step": timeout.step,
        "event": "timeout",
        "token": timeout.token,
        "due_at": timeout.due_at,
    }


def raising(error: Exception) -> Any:
    """A function that fails."""

    def fail(*_args: Any, **_kwargs: Any) -> Any:
        raise error

    return fail
