"""What the agent's steps use: of AWS where the environment names it, else of this machine."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from agent.model import Bedrock, Reply, Scripted, calls, says
from agent.people import Screen, Topic
from agent.tools import TOOLS
from agent.transcript import Folder, Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent.model import Message, Model
    from agent.people import People
    from agent.tools import Tool
    from agent.transcript import Transcript

FILES: Final = Path(".hephaestus/conversations")


@dataclass(slots=True)
class Services:
    """What steps use; a test puts its own there.

    Attributes:
        model: what is asked.
        transcript: where messages are kept.
        people: who decides.
        tools: what the model may call, by name.
    """

    model: Model
    transcript: Transcript
    people: People
    tools: Mapping[str, Tool]


def demo(messages: Sequence[Message], _: bool) -> Reply:  # noqa: FBT001 - a script's signature
    """What the model of a demo says: it looks two orders up, and pays for the lost one."""
    match sum(message["role"] == "assistant" for message in messages):
        case 0:
            return calls(("look_up", {"order": "A-1"}), ("look_up", {"order": "A-2"}))
        case 1:
            return calls(("refund", {"order": "A-2", "cents": 1_999}))
        case _:
            results = [block["toolResult"]["content"][0]["text"] for block in messages[-1]["content"]]
            return says(f"I have looked, and order A-2 was lost. {results[0]}")


def from_environment() -> Services:
    """``AGENT_MODEL``, ``AGENT_TABLE`` and ``AGENT_TOPIC`` name what is used on AWS (``StepVariables``)."""
    model, table, topic = (os.environ.get(name) for name in ("AGENT_MODEL", "AGENT_TABLE", "AGENT_TOPIC"))
    return Services(
        Bedrock(model) if model else Scripted(demo),
        Table(table) if table else Folder(FILES),
        Topic(topic) if topic else Screen(),
        TOOLS,
    )


services: Final = from_environment()
