"""The functions in this process, as whoever invokes them through Lambda sees them."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hephaestus.operations.stack import FUNCTIONS, Stack

if TYPE_CHECKING:
    from tests.integration.deployment import Deployment

STACK = Stack("shop", "CREATE_COMPLETE", {f"{each.title()}FunctionName": each for each in FUNCTIONS})
TEMPLATE = {
    "Parameters": {"ListShards": {"Type": "Number", "Default": 2}},
    "Resources": {
        "WorkQueue": {"Type": "AWS::SQS::Queue"},
        "BulkQueue": {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": "bulk"}},
        "WorkDeadLetters": {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": "dead-work"}},
        "Ingest": {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": "ingest"}},
        "IngestDeadLetters": {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": "dead-ingest"}},
        "ScheduleDeadLetters": {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": "dead"}},
    },
    "Outputs": {
        "TableName": {"Value": "hephaestus"},
        "WorkQueueUrl": {"Value": {"Ref": "WorkQueue"}},
        "BulkQueueUrl": {"Value": {"Ref": "BulkQueue"}},
        "WorkDeadLettersUrl": {"Value": {"Ref": "WorkDeadLetters"}},
        "ScheduleDeadLettersUrl": {"Value": {"Ref": "ScheduleDeadLetters"}},
        "IngestQueueUrl": {"Value": {"Ref": "Ingest"}},
        "IngestDeadLettersUrl": {"Value": {"Ref": "IngestDeadLetters"}},
        "ResumeFunctionName": {"Value": "shop-resume"},
    },
}
ANN = "arn:aws:iam::123456789012:user/ann"


@dataclass
class Functions:
    """Lambda's client, over functions in this process."""

    deployment: Deployment

    def get(self) -> Functions:
        """As of a lazy client."""
        return self

    def invoke(self, FunctionName: str, Payload: bytes) -> dict[str, Any]:  # noqa: N803 - Lambda's names
        """Invoke one as Lambda does: an error is an answer."""
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # their metrics are not the command's answer
                answer = self.deployment.invoke(FunctionName, json.loads(Payload))
        except Exception as error:  # noqa: BLE001 - as Lambda does
            said = {"errorType": type(error).__name__, "errorMessage": str(error)}
            return {"FunctionError": "Unhandled", "Payload": io.BytesIO(json.dumps(said).encode())}
        return {"Payload": io.BytesIO(json.dumps(answer).encode())}
