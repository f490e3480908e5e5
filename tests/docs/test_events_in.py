"""The request of the guide "Take events from outside", and the samples of ``events/``, find triggers they are for."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus.testing import LocalRuntime
from tests.docs.test_examples import examples
from workflows import OrderFlow

if TYPE_CHECKING:
    from hephaestus import Workflow

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "guides" / "events-in.md").read_text("utf-8")
SAMPLES = sorted(path.name for path in (ROOT / "events").glob("ingest-*.json"))


@pytest.fixture
def invoice(monkeypatch: pytest.MonkeyPatch) -> type[Workflow]:
    """The guide's workflow."""
    program = ModuleType("example")
    monkeypatch.setitem(sys.modules, "example", program)
    exec(next(examples(PAGE))[1], vars(program))  # noqa: S102 - our own page
    flow: type[Workflow] = vars(program)["Invoice"]
    return flow


def body(sample: str) -> Any:
    return json.loads((ROOT / "events" / sample).read_text())["Records"][0]["body"]


def test_the_guide_s_request_answers_as_shown(invoice: type[Workflow]) -> None:
    ((sent, shown),) = re.findall(r"/ingest -d '(.*?)'\n(\{.*?\})\n", PAGE, re.DOTALL)
    assert json.loads(json.dumps(asdict(LocalRuntime(invoice).ingest(sent)))) == json.loads(shown)


@pytest.mark.parametrize("sample", SAMPLES)
def test_a_sample_is_for_the_workflow_that_the_guide_says(sample: str, invoice: type[Workflow]) -> None:
    assert f"`{sample}`" in PAGE
    local = LocalRuntime(invoice if sample == "ingest-s3.json" else OrderFlow)
    if sample == "ingest-sns.json":  # a decision about the order that another one places
        local.ingest(body("ingest-eventbridge.json"))
    assert local.ingest(body(sample)).matched == 1
