"""A port for the objects that users keep in S3: one is pinned, then read part by part, always the same one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from hephaestus.errors import NonRetryable
from hephaestus.values.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from typing import NoReturn


class UnreadableObject(NonRetryable):
    """A user's object is not there, was replaced, or may not be read; reading it again would not help."""

    @classmethod
    def missing(cls, bucket: str, key: str) -> UnreadableObject:
        """The error where there is none."""
        return cls(f"s3://{bucket}/{key}: there is no such object, or no such bucket")

    @classmethod
    def changed(cls, bucket: str, key: str) -> UnreadableObject:
        """The error where another one has taken its place, or it was deleted."""
        return cls(
            f"s3://{bucket}/{key}: the object was replaced or deleted while it was read; "
            "start another instance for the new one; a bucket with versioning keeps the version that is read"
        )


@dataclass(frozen=True, slots=True)
class ObjectPin:
    """Which object was found under a key.

    Attributes:
        etag: the object's ETag.
        size: in bytes.
        version_id: its version, in a bucket with versioning.
    """

    etag: str
    size: int
    version_id: str | None = None


def no_sources() -> NoReturn:
    """Say that nothing can be read.

    Raises:
        UnreadableObject: always.
    """
    message = (
        "this runtime reads no objects in S3: give `hephaestus run` or `hephaestus dev` a folder that has a folder "
        "for each bucket, as --objects FOLDER; in a test use LocalRuntime's objects"
    )
    raise UnreadableObject(message)


class Objects(Protocol):
    """Users' objects, read."""

    def look(self, bucket: str, key: str) -> ObjectPin:
        """Which object is under ``key`` now.

        Raises:
            UnreadableObject: there is none, it may not be read, or not in parts.
            StoreUnavailable: S3 throttled or did not answer.
        """

    def read(self, bucket: str, key: str, pin: ObjectPin, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes, at least one, of the object that was pinned, from ``offset`` on.

        Raises:
            UnreadableObject: it is another one now, is gone, or may not be read.
            StoreUnavailable: S3 throttled or did not answer.
        """
