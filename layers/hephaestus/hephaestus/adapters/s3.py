"""Large values in S3, under keys that are derived from the commit that wrote them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from hephaestus.adapters.aws_errors import translate
from hephaestus.adapters.session import LazyClient


class Blobs(Protocol):
    """Keeps what is too large for a DynamoDB item."""

    def put(self, key: str, data: bytes) -> None:
        """Keep ``data`` under ``key``; what was there is replaced."""

    def get(self, key: str) -> bytes:
        """What is kept under ``key``."""


@dataclass(frozen=True, slots=True)
class S3Blobs:
    """``Blobs`` in a bucket.

    Attributes:
        bucket: the bucket's name.
        client: the boto3 client.
    """

    bucket: str
    client: LazyClient = field(default_factory=lambda: LazyClient("s3"))

    def put(self, key: str, data: bytes) -> None:
        """Keep ``data`` under ``key``.

        Raises:
            StoreUnavailable: S3 throttled or did not answer.
            EngineError: S3 refused the request.
        """
        try:
            self.client.get().put_object(Bucket=self.bucket, Key=key, Body=data)
        except Exception as error:
            raise _translated(error) from error

    def get(self, key: str) -> bytes:
        """What is kept under ``key``.

        Raises:
            StoreUnavailable: S3 throttled or did not answer.
            EngineError: S3 refused the request, or nothing is there.
        """
        try:
            data: bytes = self.client.get().get_object(Bucket=self.bucket, Key=key)["Body"].read()
        except Exception as error:
            raise _translated(error) from error
        return data


def _translated(error: Exception) -> Exception:
    response = getattr(error, "response", None)
    return translate("S3", response["Error"]["Code"] if response else None, error)
