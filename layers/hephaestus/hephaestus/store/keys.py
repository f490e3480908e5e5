"""The sort keys of an instance's partition, and the names of lives.

| item      | sort key                        |
|-----------|---------------------------------|
| head      | ``head``                        |
| log entry | ``log#<life>#<number>``         |
| mail      | ``mail#<life>#<name>#<number>`` |
| value     | ``value#<life>#<name>``         |

Lives and numbers count down, so that the newest entry of the newest life sorts right behind the head: one query of two
items reads both. No other key may sort between ``head`` and ``log#``.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

HEAD: Final = "head"
LOG: Final = "log#"
MAIL: Final = "mail#"
VALUE: Final = "value#"
KINDS: Final = (HEAD, LOG, MAIL, VALUE)
LAST_MS: Final = (1 << 44) - 1  # until the year 2527
LAST_NUMBER: Final = 99_999_999
_TIME_DIGITS: Final = 11
_LOG_KEY: Final = re.compile(r"log#[0-9a-f]{19}#[0-9]{8}")
_MAIL_KEY: Final = re.compile(r"mail#[0-9a-f]{19}#[^#]{1,900}#[0-9]{8}")


def life_name(now: int, unique: str, before: str = "") -> str:
    """A name for a life: 11 hexadecimal digits that count down with time, and 8 random ones.

    Args:
        now: when it begins (ms), by any clock.
        unique: a text that no other start has; the random digits are made of it.
        before: the life that this one replaces, which sorts behind it whatever the clock says.
    """
    left = LAST_MS - now
    if before:
        left = min(left, int(before[:_TIME_DIGITS], 16) - 1)
    return f"{left:011x}{hashlib.sha256(unique.encode()).hexdigest()[:8]}"


def log_key(life: str, number: int) -> str:
    """The sort key of a log entry."""
    return f"{LOG}{life}#{LAST_NUMBER - number:08d}"


def read_log_key(key: str) -> tuple[str, int]:
    """The life and the number of the log entry that has this sort key.

    Raises:
        ValueError: no log entry has such a key.
    """
    kind, life, left = key.split("#")
    if f"{kind}#" != LOG:
        message = f"{key!r} is not the key of a log entry"
        raise ValueError(message)
    return life, LAST_NUMBER - int(left)


def is_log_key(key: str) -> bool:
    """Whether ``key`` is the sort key of a log entry."""
    return _LOG_KEY.fullmatch(key) is not None


def mail_prefix(life: str) -> str:
    """What the sort keys of all mail of a life begin with."""
    return f"{MAIL}{life}#"


def mail_key(life: str, activation: str, number: int) -> str:
    """The sort key of the mail by which an activation's child tells of the log entry that closed it."""
    return f"{MAIL}{life}#{activation}#{number:08d}"


def read_mail_key(key: str) -> tuple[str, str, int]:
    """The life, the activation and the number in the sort key of mail.

    Raises:
        ValueError: no mail has such a key.
    """
    kind, life, activation, number = key.split("#")
    if f"{kind}#" != MAIL:
        message = f"{key!r} is not the key of mail"
        raise ValueError(message)
    return life, activation, int(number)


def is_alarm_key(key: str) -> bool:
    """Whether ``key`` is the sort key of what may have an alarm beside the head: a log entry, or mail."""
    return is_log_key(key) or _MAIL_KEY.fullmatch(key) is not None


def value_key(life: str, name: str) -> str:
    """The sort key of a value."""
    return f"{VALUE}{life}#{name}"


def end_of(prefix: str) -> str:
    """A key that sorts right behind all keys with ``prefix``, which ends with ``#``."""
    return prefix[:-1] + "$"
