"""Large values in S3, under keys that are derived from the commit that wrote them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from hephaestus.adapters.aws_errors import error_code, translate
from hephaestus.adapters.session import MAX_ATTEMPTS, LazyClient

SERVICE: Final = "S3"


class Blobs(Protocol):
    """Keeps what is too large for a DynamoDB item."""

    def put(self, key: str, data: bytes) -> None:
        """Keep ``data`` under ``key``; what was there is replaced."""

    def get(self, key: str) -> bytes | None:
        """What is kept under ``key``; ``None`` where there is nothing."""


@dataclass(frozen=True, slots=True)
class S3Blobs:
    """``Blobs`` in a bucket.

    Attributes:
        bucket: the bucket's name.
        client: the service's client.
    """

    bucket: str
    client: LazyClient = field(default_factory=lambda: LazyClient("s3", max_attempts=MAX_ATTEMPTS))

    def put(self, key: str, data: bytes) -> None:
        """Keep ``data`` under ``key``.

        Raises:
            StoreUnavailable: S3 throttled or did not answer.
            EngineError: S3 refused the request.
        """
        try:
            self.client.get().put_object(Bucket=self.bucket, Key=key, Body=data)
        except (BotoCoreError, ClientError) as error:
            raise translate(error, SERVICE) from error

    def get(self, key: str) -> bytes | None:
        """What is kept under ``key``; ``None`` where there is nothing.

        Raises:
            StoreUnavailable: S3 throttled or did not answer.
            EngineError: S3 refused the request.
        """
        try:
            data: bytes = self.client.get().get_object(Bucket=self.bucket, Key=key)["Body"].read()
        except (BotoCoreError, ClientError) as error:
            if error_code(error) == "NoSuchKey":
                return None
            raise translate(error, SERVICE) from error
        return data
