"""What a model is asked, and two that answer: Bedrock's ``converse``, and a script for tests and demos.

Messages have the shape of Bedrock's: ``{"role": "user", "content": [{"text": "…"}]}``. The blocks of a content are
texts, calls of tools (``toolUse``) and their results (``toolResult``).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from hephaestus import NonRetryable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Message: TypeAlias = dict[str, Any]

MOST_OUTPUT: Final = 4_096  # tokens of one reply
LONGEST: Final = 120  # seconds that a reply may take
TRANSIENT: Final = (
    "InternalServerException",
    "ModelErrorException",
    "ModelNotReadyException",
    "ModelTimeoutException",
    "ServiceUnavailableException",
    "ThrottlingException",
)


class ModelBusy(Exception):
    """The model did not answer, and may answer later."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the model said.

    Attributes:
        message: its message, as it is kept.
        stop: why it stopped, in Bedrock's words: ``end_turn``, ``tool_use``, ``max_tokens`` and others.
        context: the tokens that it read.
        output: the tokens that it wrote.
    """

    message: Message
    stop: str
    context: int
    output: int


class Model(Protocol):
    """What answers a conversation."""

    def converse(self, system: str, messages: Sequence[Message], tools: Sequence[dict[str, Any]]) -> Reply:
        """Answer, or ask for calls of ``tools`` (as Bedrock's ``toolSpec``); without tools, only answer.

        Raises:
            ModelBusy: it may answer later.
            NonRetryable: it will not answer this.
        """


class Bedrock:
    """A model of Amazon Bedrock. The role of the function needs ``bedrock:InvokeModel`` on it (``StepPolicyArn``).

    Args:
        model_id: a model that can call tools, or an inference profile.
    """

    def __init__(self, model_id: str) -> None:
        self.model_id = model_id

    @cached_property
    def client(self) -> Any:
        """The client, made when it is first needed. It repeats nothing: the step's policy does, and no Lambda waits."""
        import boto3  # noqa: PLC0415 - a cold start of what asks no model should not pay for it
        from botocore.config import Config  # noqa: PLC0415 - the same

        return boto3.client("bedrock-runtime", config=Config(retries={"total_max_attempts": 1}, read_timeout=LONGEST))

    def converse(self, system: str, messages: Sequence[Message], tools: Sequence[dict[str, Any]]) -> Reply:
        """Ask ``Converse``."""
        from botocore import exceptions as of_aws  # noqa: PLC0415 - as above

        more = {"toolConfig": {"tools": [{"toolSpec": tool} for tool in tools]}} if tools else {}
        try:
            answer = self.client.converse(
                modelId=self.model_id,
                system=[{"text": system}],
                messages=list(messages),
                inferenceConfig={"maxTokens": MOST_OUTPUT},
                **more,
            )
        except of_aws.ClientError as error:
            reported = error.response["Error"]
            message = f"{self.model_id}: {reported['Code']}: {reported.get('Message', '')}"
            raise (ModelBusy if reported["Code"] in TRANSIENT else NonRetryable)(message) from error
        except (of_aws.ConnectionError, of_aws.HTTPClientError) as error:
            raise ModelBusy(f"{self.model_id}: {error}") from error  # noqa: EM102, TRY003 - one sentence
        usage = answer["usage"]
        return Reply(answer["output"]["message"], answer["stopReason"], usage["inputTokens"], usage["outputTokens"])


@dataclass(frozen=True, slots=True)
class Scripted:
    """A model that says what a function of the conversation says.

    Attributes:
        script: takes the messages, and whether tools are offered.
    """

    script: Callable[[Sequence[Message], bool], Reply]

    def converse(self, system: str, messages: Sequence[Message], tools: Sequence[dict[str, Any]]) -> Reply:  # noqa: ARG002 - as every model
        """Follow the script."""
        return self.script(messages, bool(tools))


def says(text: str, context: int = 100, stop: str = "end_turn") -> Reply:
    """A reply of a text."""
    return Reply({"role": "assistant", "content": [{"text": text}]}, stop, context, len(text) // 4 + 1)


def calls(*wanted: tuple[str, dict[str, Any]], context: int = 100, prefix: str = "call") -> Reply:
    """A reply that calls tools: their names and arguments."""
    uses = [
        {"toolUse": {"toolUseId": f"{prefix}-{place}", "name": name, "input": arguments}}
        for place, (name, arguments) in enumerate(wanted)
    ]
    return Reply({"role": "assistant", "content": [{"text": "One moment."}, *uses]}, "tool_use", context, 20)
