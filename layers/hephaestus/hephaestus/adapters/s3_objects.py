"""Users' objects in S3, read part by part on condition that they are the same.

From the service's API reference: ``IfMatch`` is answered with 412 where the object has another ETag, and ``VersionId``
reads a version whatever has come after it (GetObject). An object from before its bucket had versioning has no version,
or that of the name ``null``, which can be overwritten: then the ETag alone distinguishes it. A HEAD request that
fails has a status and no code.
"""

from __future__ import annotations

from dataclasses import field
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from hephaestus.adapters.aws_errors import error_code, translate
from hephaestus.adapters.session import MAX_ATTEMPTS, LazyClient
from hephaestus.errors import StoreUnavailable
from hephaestus.runtime.objects import ObjectPin, UnreadableObject
from hephaestus.values.lazy_dataclass import dataclass

SERVICE: Final = "S3"
MISSING: Final = frozenset({"404", "NoSuchKey", "NoSuchBucket"})
GONE: Final = frozenset({*MISSING, "NoSuchVersion", "412", "PreconditionFailed", "416", "InvalidRange"})
DENIED: Final = frozenset({"403", "AccessDenied", "Forbidden"})
ARCHIVED: Final = "InvalidObjectState"
PLAIN: Final = frozenset({"", "identity", "aws-chunked"})  # encodings that leave the bytes as they are
UNVERSIONED: Final = "null"
NEEDED: Final = (
    "the steps' role needs s3:GetObject on it, s3:GetObjectVersion too in a bucket with versioning, kms:Decrypt where "
    "a key of yours encrypts it, and s3:ListBucket on the bucket, without which S3 denies an object that is missing"
)


@dataclass(frozen=True, slots=True)
class S3Objects:
    """``Objects`` in S3.

    Attributes:
        client: the service's client.
    """

    client: LazyClient = field(default_factory=lambda: LazyClient("s3", max_attempts=MAX_ATTEMPTS))

    def look(self, bucket: str, key: str) -> ObjectPin:
        """Which object is under ``key`` now (HeadObject).

        Raises:
            UnreadableObject: there is none, it may not be read, or not in parts.
            StoreUnavailable: S3 throttled or did not answer.
            EngineError: S3 rejected the request for another reason.
        """
        try:
            found = self.client.get().head_object(Bucket=bucket, Key=key)
        except (BotoCoreError, ClientError) as error:
            if error_code(error) in MISSING:
                raise UnreadableObject.missing(bucket, key) from error
            raise _error(bucket, key, error) from error
        if (encoding := str(found.get("ContentEncoding") or "")).strip().lower() not in PLAIN:
            message = (
                f"s3://{bucket}/{key}: its Content-Encoding is {encoding[:40]!r}, so that it cannot be read in parts: "
                "put it there uncompressed"
            )
            raise UnreadableObject(message)
        version = found.get("VersionId")
        return ObjectPin(found["ETag"], int(found["ContentLength"]), None if version == UNVERSIONED else version)

    def read(self, bucket: str, key: str, pin: ObjectPin, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes of the object that was pinned, from ``offset`` on (GetObject).

        Raises:
            UnreadableObject: it is another one now, is gone, or may not be read.
            StoreUnavailable: S3 throttled, did not answer, or broke off.
            EngineError: S3 rejected the request for another reason.
        """
        last = offset + length - 1
        asked: dict[str, Any] = {"Range": f"bytes={offset}-{last}", "IfMatch": pin.etag}
        if pin.version_id is not None:
            asked["VersionId"] = pin.version_id
        try:
            data: bytes = self.client.get().get_object(Bucket=bucket, Key=key, **asked)["Body"].read()
        except (BotoCoreError, ClientError) as error:
            if error_code(error) in GONE:
                raise UnreadableObject.changed(bucket, key) from error
            raise _error(bucket, key, error) from error
        if len(data) != length:
            message = f"S3 gave {len(data):,} bytes of s3://{bucket}/{key} instead of {length:,}; try again"
            raise StoreUnavailable(message)
        return data


def _error(bucket: str, key: str, error: BotoCoreError | ClientError) -> Exception:
    """What an answer means that is neither about a missing nor about a replaced object."""
    code = error_code(error)
    if code in DENIED:
        return UnreadableObject(f"S3 denied access to s3://{bucket}/{key} ({code}): {NEEDED}")
    if code == ARCHIVED:
        return UnreadableObject(f"s3://{bucket}/{key} is archived: restore it first")
    return translate(error, SERVICE)
