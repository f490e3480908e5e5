"""What is deployed, for ``GET /workflows``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hephaestus.definition.child import ChildWorkflow
from hephaestus.definition.maps import Map
from hephaestus.definition.rates import RateLimit
from hephaestus.runtime.workflow_pauses import iso

if TYPE_CHECKING:
    from hephaestus.definition.concurrency import Limit
    from hephaestus.definition.definition import Definition
    from hephaestus.definition.rounds import Rounds
    from hephaestus.definition.step import Step
    from hephaestus.definition.workflow import Workflow
    from hephaestus.runtime.runner import Runner


def describe(workflow: type[Workflow]) -> dict[str, Any]:
    """A workflow in JSON's own types: its key, its triggers, its versions, and for each its steps, routes and input."""
    return {
        "name": workflow.name,
        "key": workflow.business_key.name,
        "scope": workflow.business_key.scope,
        "tags": list(workflow.tags),
        "current": workflow.current,
        "triggers": [trigger.described() for trigger in workflow.triggers],
        "versions": [_version(definition) for _, definition in sorted(workflow.definitions.items())],
    }


def deployed(runner: Runner) -> list[dict[str, Any]]:
    """All workflows of a runner, those that are paused with who paused them, when and why."""
    return [{**describe(workflow), **_paused(runner, workflow.name)} for workflow in runner.registry]


def _paused(runner: Runner, name: str) -> dict[str, Any]:
    paused = runner.pauses.of(name)
    return {} if paused is None else {"paused": {"by": paused.by, "at": iso(paused.at), "reason": paused.reason}}


def _rounds(rounds: Rounds) -> dict[str, Any]:
    within = {} if rounds.within is None else {"within_seconds": rounds.within.total_seconds()}
    again_on = {"again_on": list(rounds.again_on)} if rounds.again_on else {}
    return {"at_most": rounds.at_most, **within, **again_on}


def _limit(limit: Limit) -> dict[str, Any]:
    """How many attempts may run at once, or start in a time."""
    if isinstance(limit, RateLimit):
        seconds = limit.period.total_seconds()
        return {"name": limit.name, "n": limit.n, "period_seconds": seconds, "burst": limit.burst, "cost": limit.cost}
    return {"name": limit.name, "n": limit.n}


def _child(step: Step) -> dict[str, Any]:
    """The workflow that a step starts, and how what that did is undone: by the child itself or by the step."""
    if not isinstance(step, ChildWorkflow):
        return {}
    return {"child": {"workflow": step.workflow.name, "detached": step.detached, "undoes": step.undoes}}


def _map(definition: Definition, key: str) -> dict[str, Any]:
    """How a map runs its items."""
    (of, target), spread, made = definition.items[key], definition.graph.maps[key], definition.steps[key]
    assert isinstance(made, Map)  # noqa: S101 - no other step is a map
    return {
        "step": target.key,
        **({"workflow": of.workflow.name} if isinstance(of, ChildWorkflow) else {}),
        "concurrency": spread.concurrency,
        "tolerate": spread.tolerate if spread.share is None else f"{spread.share / 100:g}%",
        "events": list(spread.events),
        "chunk": made.chunk,
        **({"limits": list(map(_limit, target.limits))} if target.limits else {}),
    }


def _version(definition: Definition) -> dict[str, Any]:
    described: dict[str, Any] = {
        "version": definition.version,
        "start": definition.graph.start,
        "forks": definition.forks,
        "steps": [
            {
                "key": key,
                "waits": step.waits,
                "compensates": key in definition.graph.compensates,
                "events": list(step.events),
                "routes": {event: list(route.shown) for event, route in definition.routes[key].items()},
                **({"rounds": _rounds(step.rounds)} if step.rounds is not None else {}),
                **({"checkpoint": False} if definition.defers(key) and not step.waits else {}),
                **({"ends_on": list(step.ends_on)} if step.ends_on is not None else {}),
                **({"limits": list(map(_limit, step.limits))} if step.limits else {}),
                **_child(definition.steps[key]),
                **({"map": _map(definition, key)} if key in definition.graph.maps else {}),
            }
            for key, step in definition.declared.items()
            if key != definition.graph.on_failure
        ],
    }
    if definition.limits:
        described["limits"] = list(map(_limit, definition.limits))
    if definition.timeout is not None:
        described["timeout_seconds"] = definition.timeout.total_seconds()
    if definition.graph.on_failure:
        described["on_failure"] = definition.graph.on_failure
    if definition.graph.output:
        described["output"] = definition.graph.output
    if definition.input_model is not None:
        described["input"] = definition.input_model.model_json_schema()
    return described
