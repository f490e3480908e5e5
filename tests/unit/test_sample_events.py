"""Each way to invoke a function has a sample in ``events/``, and the guide "Deploy" names it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

import pytest

from hephaestus.runtime.commands import CATALOGUE, ROUTED, Command

ROOT: Final = Path(__file__).parents[2]
SAMPLES: Final[dict[str, Any]] = {
    path.stem: json.loads(path.read_text("utf-8")) for path in sorted((ROOT / "events").glob("*.json"))
}
ROUTE: Final = re.compile(r"Method: (GET|POST)\n +Path: (\S+)\n")
SHOWN: Final = re.compile(r"`((?:api|direct|sqs|ingest|scheduler)-[a-z0-9-]+|sweep)`")
NEITHER: Final = {"env", "status-completed"}
"""Variables, and what the stack sends."""


def _routes() -> set[tuple[str, str]]:
    return set(ROUTE.findall((ROOT / "template.yaml").read_text("utf-8")))


@pytest.mark.parametrize(("method", "path"), sorted(_routes()))
def test_each_route_of_the_template_has_a_sample(method: str, path: str) -> None:
    assert any(
        (sample.get("httpMethod"), sample.get("resource")) == (method, path)
        for name, sample in SAMPLES.items()
        if name.startswith("api-")
    )


@pytest.mark.parametrize(
    "command", [one for one in CATALOGUE if one.served_by != "callback"], ids=lambda one: one.action
)
def test_each_command_has_a_direct_sample(command: type[Command]) -> None:
    """A sample without an action asks for what its function usually does."""
    name = f"direct-{command.action.replace('_', '-')}"
    assert SAMPLES[name].get("action", command.served_by) == command.action
    assert command.read(SAMPLES[name]).action == command.action


def test_each_sample_of_the_api_is_of_a_route() -> None:
    routes = _routes()
    samples = {name: sample for name, sample in SAMPLES.items() if name.startswith("api-")}
    assert len(samples) > len(ROUTED)
    assert {
        name: sample["resource"]
        for name, sample in samples.items()
        if (sample["httpMethod"], sample["resource"]) not in routes
    } == {}


def test_the_guide_names_each_sample_that_there_is() -> None:
    """Of direct ones it says which samples of the API they are like."""
    guide = (ROOT / "docs/guides/deploy.md").read_text("utf-8").partition("## Sample events")[2].partition("\n## ")[0]
    named = set(SHOWN.findall(guide))
    assert named <= set(SAMPLES)
    unnamed = set(SAMPLES) - NEITHER - named
    assert {name for name in unnamed if name.replace("direct-", "api-") not in named} == set()
