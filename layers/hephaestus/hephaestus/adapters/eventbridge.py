"""Status events on a bus of EventBridge.

Limits, from the service's API reference: PutEvents answers 200 also where it did not take an event, and says so with an
error code for that event; an event has at most 256 KB.
"""

from __future__ import annotations

import json
from dataclasses import field
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from hephaestus.adapters.aws_errors import translate
from hephaestus.adapters.session import LazyClient
from hephaestus.values.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hephaestus.runtime.status_events import StatusEvent

SOURCE: Final = "hephaestus"
DETAIL_TYPE: Final = "Hephaestus Instance Status Change"
SERVICE: Final = "EventBridge"


@dataclass(frozen=True, slots=True)
class EventBridgeBus:
    """An ``EventBus`` on EventBridge. A request is made once: the work queue repeats what was not taken.

    Attributes:
        name: the bus's name, or its ARN.
        stack: the name of the stack, which the events show.
        client: the service's client.
    """

    name: str
    stack: str = ""
    client: LazyClient = field(default_factory=lambda: LazyClient("events", max_attempts=1))

    def publish(self, event: StatusEvent) -> None:
        """Put an event on the bus.

        Raises:
            StoreUnavailable: EventBridge throttled or did not answer.
            EngineError: EventBridge rejected the event.
        """
        try:
            answer = self.client.get().put_events(Entries=[self.entry(event)])
        except (BotoCoreError, ClientError) as error:
            raise translate(error, SERVICE) from error
        if answer.get("FailedEntryCount"):
            code = answer["Entries"][0].get("ErrorCode", "")
            raise translate(ClientError({"Error": {"Code": code}}, "PutEvents"), SERVICE)

    def entry(self, event: StatusEvent) -> Mapping[str, Any]:
        """The event as PutEvents takes it."""
        return {
            "EventBusName": self.name,
            "Source": SOURCE,
            "DetailType": DETAIL_TYPE,
            "Time": event.at,
            "Detail": json.dumps({"stack": self.stack, **event.detail}),
        }
