"""Published prices: US East (N. Virginia), on demand, without free tiers, as of November 2026.

Sources: the pricing pages of Amazon DynamoDB, AWS Lambda, Amazon SQS, Amazon EventBridge and AWS Step Functions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Prices:
    """In dollars.

    Attributes:
        write_units: a million write request units of DynamoDB.
        read_units: a million read request units of DynamoDB.
        invocations: a million invocations of Lambda.
        gb_seconds: a million GB-seconds of Lambda, x86.
        sqs_requests: a million requests of a standard queue.
        schedules: a million invocations by EventBridge Scheduler.
        events: a million events that are put on a bus of EventBridge, of at most 64 KB each.
        transitions: a million state transitions of Step Functions Standard.
        express_requests: a million executions of Step Functions Express.
        express_gb_seconds: a million GB-seconds of them.
        durable_operations: a million operations of Lambda durable functions.
        durable_gb: a GB of data that Lambda durable functions write.
    """

    write_units: float = 0.625
    read_units: float = 0.125
    invocations: float = 0.20
    gb_seconds: float = 16.6667
    sqs_requests: float = 0.40
    schedules: float = 1.00
    events: float = 1.00
    transitions: float = 25.00
    express_requests: float = 1.00
    express_gb_seconds: float = 16.67
    durable_operations: float = 8.00
    durable_gb: float = 0.25


PRICES: Final = Prices()
