"""Users' objects in memory, as S3 has them in buckets with and without versioning."""

from __future__ import annotations

import hashlib
import threading
from typing import TYPE_CHECKING

from hephaestus.runtime.objects import ObjectPin, UnreadableObject

if TYPE_CHECKING:
    from collections.abc import Collection


class MemoryObjects:
    """``Objects`` in memory.

    Args:
        versioned: the buckets with versioning; what is replaced or deleted there can still be read.
    """

    def __init__(self, versioned: Collection[str] = ()) -> None:
        self._versioned = frozenset(versioned)
        self._lock = threading.Lock()
        self._now: dict[tuple[str, str], tuple[ObjectPin, bytes]] = {}
        self._versions: dict[tuple[str, str, str], bytes] = {}

    def put(self, bucket: str, key: str, data: bytes | str) -> None:
        """Keep an object under ``key``, instead of one that is there; a text is kept in UTF-8."""
        data = data.encode() if isinstance(data, str) else bytes(data)
        with self._lock:
            version = f"v{len(self._versions) + 1}" if bucket in self._versioned else None
            # As S3 has it for an object that is put as a whole; here it only has to differ where the bytes do.
            etag = f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'
            self._now[bucket, key] = ObjectPin(etag, len(data), version), data
            if version is not None:
                self._versions[bucket, key, version] = data

    def delete(self, bucket: str, key: str) -> None:
        """Keep nothing under ``key`` any more; versions stay."""
        with self._lock:
            self._now.pop((bucket, key), None)

    def look(self, bucket: str, key: str) -> ObjectPin:
        """Which object is under ``key`` now; see ``Objects``.

        Raises:
            UnreadableObject: there is none.
        """
        with self._lock:
            found = self._now.get((bucket, key))
        if found is None:
            raise UnreadableObject.missing(bucket, key)
        return found[0]

    def read(self, bucket: str, key: str, pin: ObjectPin, offset: int, length: int) -> bytes:
        """A part of the object that was pinned; see ``Objects``.

        Raises:
            UnreadableObject: it is another one now, or gone.
        """
        with self._lock:
            if pin.version_id is not None:
                data = self._versions.get((bucket, key, pin.version_id))
            else:
                now, data = self._now.get((bucket, key), (None, None))
                data = data if now is not None and now.etag == pin.etag else None
        if data is None:
            raise UnreadableObject.changed(bucket, key)
        return data[offset : offset + length]
