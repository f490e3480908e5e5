"""Large values in S3."""

from __future__ import annotations

from dataclasses import field
from typing import Final

from botocore.exceptions import BotoCoreError, ClientError

from hephaestus.adapters.aws_errors import error_code, translate
from hephaestus.adapters.session import MAX_ATTEMPTS, LazyClient
from hephaestus.errors import EngineError
from hephaestus.values.lazy_dataclass import dataclass

SERVICE: Final = "S3"
DENIED: Final = frozenset({"403", "AccessDenied", "Forbidden"})


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
            EngineError: S3 rejected the request.
        """
        try:
            self.client.get().put_object(Bucket=self.bucket, Key=key, Body=data)
        except (BotoCoreError, ClientError) as error:
            raise translate(error, SERVICE) from error

    def get(self, key: str) -> bytes | None:
        """What is kept under ``key``; ``None`` where there is nothing.

        A role without ``s3:ListBucket`` is denied an object that is not there, as one that it may not read (S3 API
        Reference, GetObject: Permissions): such an answer says nothing about the object, and is never ``None``.

        Raises:
            StoreUnavailable: S3 throttled or did not answer.
            EngineError: S3 denied or rejected the request.
        """
        try:
            data: bytes = self.client.get().get_object(Bucket=self.bucket, Key=key)["Body"].read()
        except (BotoCoreError, ClientError) as error:
            code = error_code(error)
            if code == "NoSuchKey":
                return None
            if code in DENIED:
                message = (
                    f"S3 denied access to {key} ({code}): the function's role needs s3:GetObject on the bucket's "
                    "objects, s3:ListBucket on the bucket (without it, S3 denies an object that is missing) and, with "
                    "a KMS key, kms:Decrypt on it"
                )
                raise EngineError(message) from error
            raise translate(error, SERVICE) from error
        return data

    def delete(self, key: str) -> None:
        """Keep nothing under ``key`` any more; it is no error if there was nothing.

        Raises:
            StoreUnavailable: S3 throttled or did not answer.
            EngineError: S3 rejected the request.
        """
        try:
            self.client.get().delete_object(Bucket=self.bucket, Key=key)
        except (BotoCoreError, ClientError) as error:
            raise translate(error, SERVICE) from error
