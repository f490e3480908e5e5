"""How people are asked: links are sent to them, and never kept or logged."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping


class People(Protocol):
    """Who decides."""

    def ask(self, person: str, question: str, links: Mapping[str, str], idempotency_key: str) -> None:
        """Send a question, and the link of each answer. The same key again is the same question."""


class Topic:
    """Subscribers of a topic of Amazon SNS. The role of the function needs ``sns:Publish`` on it (``StepPolicyArn``).

    Args:
        arn: the topic's ARN.
    """

    def __init__(self, arn: str) -> None:
        self.arn = arn

    @cached_property
    def client(self) -> Any:
        """The client, made when it is first needed."""
        import boto3  # noqa: PLC0415 - a cold start of what asks no one should not pay for it

        return boto3.client("sns")

    def ask(self, person: str, question: str, links: Mapping[str, str], idempotency_key: str) -> None:
        """Publish it, with the person as an attribute for subscriptions to filter by."""
        attributes = {
            "person": {"DataType": "String", "StringValue": person},
            "question": {"DataType": "String", "StringValue": idempotency_key},
        }
        self.client.publish(TopicArn=self.arn, Message=letter(question, links), MessageAttributes=attributes)


class Screen:
    """The screen of this machine, for ``hephaestus dev``."""

    def ask(self, person: str, question: str, links: Mapping[str, str], idempotency_key: str) -> None:  # noqa: ARG002 - as everyone
        """Print it."""
        print(f"\nFor {person}:\n{letter(question, links)}")  # noqa: T201 - what it is for


def letter(question: str, links: Mapping[str, str]) -> str:
    """A question as a text."""
    return "\n".join([question, *(f"  {answer}: {link}" for answer, link in links.items())])
