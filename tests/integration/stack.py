"""The functions on moto, put together from the environment: real messages, real schedules, their real payloads.

Only Lambda is played: what SQS and Scheduler hold is taken from them and given to the resume function.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.integration.deployment import Context, cold_start, sample

if TYPE_CHECKING:
    from types import ModuleType

REGION = "eu-central-1"
ACCOUNT = "123456789012"
RESUME_ARN = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:resume"


@dataclass
class Stack:
    """The functions, and the clients of what stands between them."""

    sqs: Any
    scheduler: Any
    queue_url: str
    bulk_url: str = ""
    functions: dict[str, ModuleType] = field(default_factory=dict)

    def invoke(self, function: str, event: Any) -> Any:
        """Invoke a function as Lambda does, importing it when it is first needed."""
        if function not in self.functions:
            self.functions[function] = cold_start(function)
        return json.loads(json.dumps(self.functions[function].handler(json.loads(json.dumps(event)), Context())))

    def call(self, function: str, name: str, path: str | None = None) -> tuple[int, dict[str, Any]]:
        """Send a sample API event."""
        event = sample(name)
        answer = self.invoke(function, {**event, "path": path or event["path"]})
        return answer["statusCode"], json.loads(answer["body"])

    def deliver(self) -> int:
        """Give the queue's messages to the resume function as its event source does; how many there were."""
        return self._deliver(self.queue_url)

    def deliver_bulk(self) -> int:
        """The same with the messages of the bulk queue."""
        return self._deliver(self.bulk_url)

    def _deliver(self, url: str) -> int:
        delivered = 0
        while found := self.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
            records = [
                {"messageId": each["MessageId"], "body": each["Body"], "eventSource": "aws:sqs", "attributes": {}}
                for each in found
            ]
            assert self.invoke("resume", {"Records": records}) == {"batchItemFailures": []}
            for each in found:
                self.sqs.delete_message(QueueUrl=url, ReceiptHandle=each["ReceiptHandle"])
            delivered += len(found)
        return delivered

    def schedules(self) -> list[dict[str, Any]]:
        """Every schedule there is."""
        found = self.scheduler.list_schedules(GroupName="hephaestus")["Schedules"]
        return [self.scheduler.get_schedule(GroupName="hephaestus", Name=each["Name"]) for each in found]

    def history(self, instance_id: str) -> list[dict[str, Any]]:
        """What the API says has happened to an instance."""
        status, body = self.call("read", "api-history", f"/instances/{instance_id}/history")
        assert status == 200
        items: list[dict[str, Any]] = body["items"]
        return items

    def status(self, instance_id: str) -> str:
        """What the API says of an instance."""
        status, body = self.call("read", "api-get", f"/instances/{instance_id}")
        assert status == 200
        return str(body["status"])
