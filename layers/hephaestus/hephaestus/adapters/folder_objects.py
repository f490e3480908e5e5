"""Users' objects in a folder of this machine, for ``hephaestus run`` and ``hephaestus dev``.

A folder in it is a bucket, and a file below that an object: ``s3://uploads/2026/today.csv`` is
``FOLDER/uploads/2026/today.csv``. As in a bucket without versioning, an object is the same as long as its bytes are.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import field
from typing import TYPE_CHECKING, Final

from hephaestus.runtime.objects import ObjectPin, UnreadableObject
from hephaestus.runtime.sources import Sources
from hephaestus.values.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable
    from io import BufferedReader
    from pathlib import Path

HERE: Final = ("", ".", "..")
GONE: Final = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


def sources_in(folder: Path) -> Callable[[], Sources]:
    """What reads the items of maps from the files of a folder."""
    reading = Sources(FolderObjects(folder.absolute()))
    return lambda: reading


@dataclass(frozen=True, slots=True)
class FolderObjects:
    """``Objects`` in a folder.

    Attributes:
        folder: has a folder for each bucket.
    """

    folder: Path
    _etags: dict[tuple[int, int, int], str] = field(default_factory=dict, repr=False, compare=False)

    def look(self, bucket: str, key: str) -> ObjectPin:
        """Which object is under ``key`` now; see ``Objects``.

        Raises:
            UnreadableObject: there is no such file, or it may not be read.
        """
        try:
            with self._opened(bucket, key) as file:
                return self._pin(file)
        except GONE as error:
            message = f"{UnreadableObject.missing(bucket, key)}; it would be the file {error.filename}"
            raise UnreadableObject(message) from error

    def read(self, bucket: str, key: str, pin: ObjectPin, offset: int, length: int) -> bytes:
        """A part of the object that was pinned; see ``Objects``.

        Raises:
            UnreadableObject: the file was changed, is gone, or may not be read.
        """
        try:
            with self._opened(bucket, key) as file:
                file.seek(offset)
                data, now = file.read(length), self._pin(file)
        except GONE as error:
            raise UnreadableObject.changed(bucket, key) from error
        if now != pin:
            raise UnreadableObject.changed(bucket, key)
        return data

    def _opened(self, bucket: str, key: str) -> BufferedReader:
        # A key is no path: S3 has no folder above another.
        if "/" in bucket or "\0" in bucket + key or any(part in HERE for part in (bucket, *key.split("/"))):
            raise UnreadableObject.missing(bucket, key)
        path = self.folder / bucket / key
        try:
            return path.open("rb")
        except GONE:
            raise
        except OSError as error:
            message = f"s3://{bucket}/{key}: {path} cannot be read: {error.strerror}"
            raise UnreadableObject(message) from error

    def _pin(self, file: BufferedReader) -> ObjectPin:
        """Which object a file is now: it is read as a whole once after each change."""
        known = os.fstat(file.fileno())
        change = (known.st_ino, known.st_mtime_ns, known.st_size)
        if change not in self._etags:
            file.seek(0)
            self._etags[change] = f'"{hashlib.file_digest(file, "sha256").hexdigest()}"'
        return ObjectPin(self._etags[change], known.st_size)
