"""The example of an agent under every fault: its conversations stay whole, whatever dies, and whoever steers."""

from __future__ import annotations

from itertools import count, pairwise
from typing import TYPE_CHECKING, Any

import pytest

from agent import Conversation
from agent.model import ModelBusy, Reply, Scripted, calls, says
from agent.services import services
from agent.tools import TOOLS, OrderId, Tool
from hephaestus.simulation import simulate
from hephaestus.writes import Put
from tests.unit.test_agent import MESSAGES, TASK, Asked, InMemory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.model import Message
    from hephaestus import Write
    from hephaestus.simulation import Finished

RUNS = 60
CALLS: list[tuple[str, dict[str, Any]]] = [
    ("look_up", {"order": "A-1"}),
    ("ship", {"order": "A-1"}),
    ("refund", {"order": "A-2", "cents": 1}),
]


class Appends(InMemory):
    """A deliberate bug: it writes at once, behind what is there, as one would without numbers and transactions."""

    def write(self, conversation: str, number: int, message: Message) -> Sequence[Write]:
        """Write it, and hand nothing over."""
        number = len([item for item in self.tables[MESSAGES].items() if item["pk"] == conversation])
        for write in super().write(conversation, number, message):
            assert isinstance(write, Put)
            self.tables[MESSAGES].put(write.item)
        return ()


def test_a_conversation_stays_whole_whatever_dies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each message is kept once, in its place; each call has one result, behind it.

    The model never says the same twice, so that what a dead attempt has heard does not fit what is kept.
    """
    ends = conversations(monkeypatch, InMemory)
    assert {"answered"} <= set(ends) <= {"answered", "stopped"}
    assert len(ends) > RUNS / 2


def test_a_transcript_that_appends_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the test above can fail."""
    with pytest.raises(AssertionError):
        conversations(monkeypatch, Appends)


def conversations(monkeypatch: pytest.MonkeyPatch, kept_by: type[InMemory]) -> list[str]:
    """How those have ended that were simulated."""
    numbers = count()
    transcripts: list[InMemory] = []
    answered = []

    def script(messages: Sequence[Message], _: bool) -> Reply:
        number = next(numbers)
        if number % 7 == 3:
            raise ModelBusy(str(number))
        if len(messages) > 4:
            return says("Done.")
        return calls(*CALLS[number % 3 :], *CALLS[: number % 2], prefix=f"call-{number}")

    def flaky(_: Any, key: str) -> str:
        """Ship."""
        if next(numbers) % 5 == 0:
            raise ConnectionError(key)
        return key

    def prepare(tables: Any) -> None:
        transcripts.append(kept_by(tables))
        monkeypatch.setattr(services, "transcript", transcripts[-1])

    def check(finished: Finished) -> None:
        for view in finished.instances:
            if view.status == "completed" and view.workflow == "Conversation":
                output = view.output
                assert output is not None
                kept = transcripts[-1].read(output["conversation"], 0, output["messages"])
                assert kept or output["state"] == "stopped"  # before the model had said anything
                whole(kept)
                answered.append(output["state"])

    monkeypatch.setattr(services, "model", Scripted(script))
    monkeypatch.setattr(services, "people", Asked())
    monkeypatch.setattr(services, "tools", {**TOOLS, "ship": Tool(OrderId, flaky)})
    report = simulate(
        Conversation,
        {**TASK, "budget": 300},
        runs=RUNS,
        tables={MESSAGES: ("pk", "sk")},
        payloads={"decided": {"allowed": True, "by": "ann"}, "yes": {"say": "go on"}},
        prepare=prepare,
        check=check,
    )
    assert report.faults
    return answered


def whole(messages: Sequence[Message]) -> None:
    """Every call has its results in the next message, in their order, and nothing else is there."""
    assert messages[:1] in ([], [{"role": "user", "content": [{"text": TASK["task"]}]}])
    for message, following in pairwise([*messages, {"role": "end", "content": []}]):
        wanted = [block["toolUse"]["toolUseId"] for block in message["content"] if "toolUse" in block]
        left = [block["toolResult"]["toolUseId"] for block in following["content"] if "toolResult" in block]
        assert wanted == left
