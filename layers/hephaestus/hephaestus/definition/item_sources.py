"""Where the items of a map come from, when they are too many for a list: lines of an object in S3."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, get_args

from hephaestus.definition.durations import is_one_of, shown
from hephaestus.errors import NonRetryable
from hephaestus.values.lazy_dataclass import dataclass
from hephaestus.values.scalars import plain_name

if TYPE_CHECKING:
    from collections.abc import Iterator

Format: TypeAlias = Literal["jsonl", "csv"]
FORMATS: Final[tuple[str, ...]] = get_args(Format)
BY_SUFFIX: Final = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv"}
BUCKET: Final = re.compile(r"[A-Za-z0-9._-]{3,255}|arn:[a-z0-9-]+:s3[a-z0-9-]*:[A-Za-z0-9:/._-]{1,2000}")
LONGEST_KEY: Final = 1024  # bytes; Amazon S3 User Guide, "Naming Amazon S3 objects"


class InvalidItems(NonRetryable, ValueError):
    """What a map was given as its items, their keys or start data cannot be used; giving it again would not help."""


@dataclass(frozen=True, slots=True)
class Items:
    r"""The items of a map, one a line of an object in S3, up to 10,000,000.

    It is given to a map, or returned by its ``over``: ``Map(resize, over=Items.s3("uploads", "images.jsonl"))``.

    A line of JSON Lines is any JSON value. A CSV has a header in its first line, and each further line is a mapping of
    texts by the names in the header; a value may be quoted, but have no line break in it. Text is UTF-8, lines end in
    ``\n`` or ``\r\n``, and only the last ones may be blank. A line has at most 1 MiB, a field of a CSV 128 KiB.

    The map reads the version of the object that was there when it began, without versioning the same object by its
    ETag. One that is gone, replaced, may not be read or cannot be cut into lines fails the map without a retry; a line
    that is malformed is an item that has failed. The error names the object and the line. The steps' role needs
    ``s3:GetObject`` on the object, ``s3:GetObjectVersion`` too in a bucket with versioning, and ``kms:Decrypt`` where
    a key of yours encrypts it; ``s3:ListBucket`` on the bucket lets S3 say that an object is missing. An object with a
    ``Content-Encoding``, as ``gzip``, cannot be read in parts.

    Attributes:
        bucket: the bucket's name, or the ARN of an access point.
        key: the object's key.
        format: ``jsonl`` or ``csv``.
    """

    bucket: str
    key: str
    format: Format

    @classmethod
    def s3(cls, bucket: str, key: str, *, format: Format | None = None) -> Items:  # noqa: A002 - the word for it
        """The lines of an object in S3.

        Args:
            bucket: the bucket's name, or the ARN of an access point.
            key: the object's key.
            format: ``jsonl`` for JSON Lines, or ``csv``; by default as the key ends: ``.jsonl``, ``.ndjson``, ``.csv``.

        Raises:
            InvalidItems: there can be no such object, or its format is not known.
        """
        bucket, key = plain_name(bucket), plain_name(key)
        return cls(bucket, key, plain_name(format) if format is not None else _by_suffix(key))

    def __post_init__(self) -> None:
        """Reject what can be no object.

        Raises:
            InvalidItems: it cannot, or its format is not known.
        """
        for problem in _wrong(self.bucket, self.key, self.format):
            message = f"Items.s3({shown(self.bucket)}, {shown(self.key)}): {problem}"
            raise InvalidItems(message)

    @property
    def uri(self) -> str:
        """``s3://bucket/key``."""
        return f"s3://{self.bucket}/{self.key}"

    def __repr__(self) -> str:
        """As it is made."""
        return f"Items.s3({self.bucket!r}, {self.key!r}, format={self.format!r})"


def _by_suffix(key: object) -> Any:
    """The format that a key ends with; ``None`` for none."""
    found = re.search(r"\.\w+\Z", key) if isinstance(key, str) else None
    return BY_SUFFIX.get(found[0].lower()) if found else None


def _wrong(bucket: object, key: object, chosen: object) -> Iterator[str]:
    if not isinstance(bucket, str) or not BUCKET.fullmatch(bucket):
        names = "3 to 255 letters, digits, dots, hyphens and underscores"
        yield f"the bucket must be its name alone, {names}, or the ARN of an access point"
    if not isinstance(key, str) or not key or not _fits(key):
        yield f"the key must be a text of 1 to {LONGEST_KEY:,} bytes in UTF-8"
    if chosen is None:
        yield f"the key ends with none of {', '.join(BY_SUFFIX)}: give format='jsonl' or format='csv'"
    elif not is_one_of(chosen, FORMATS):
        yield f"format is {shown(chosen)}: give 'jsonl' or 'csv'"


def _fits(key: str) -> bool:
    try:
        return len(key.encode()) <= LONGEST_KEY
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
