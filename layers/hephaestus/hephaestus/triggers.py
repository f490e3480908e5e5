"""What makes events from outside start and resume instances: EventBridge, S3, SNS, and messages of SQS.

>>> from hephaestus.triggers import On, S3Event, Start
>>> def new_file(event: S3Event) -> Start:
...     return Start(event.key.rsplit("/", 1)[-1], {"bucket": event.bucket, "key": event.key})
>>> On.s3(new_file, bucket="inbox", prefix="orders/")
On.s3(new_file, bucket='inbox', prefix='orders/')
"""

from hephaestus.definition.incoming import (
    Answer,
    EventBridgeEvent,
    Incoming,
    On,
    QueueMessage,
    Resume,
    S3Event,
    SnsMessage,
    Start,
    Trigger,
)

__all__ = [
    "Answer",
    "EventBridgeEvent",
    "Incoming",
    "On",
    "QueueMessage",
    "Resume",
    "S3Event",
    "SnsMessage",
    "Start",
    "Trigger",
]
