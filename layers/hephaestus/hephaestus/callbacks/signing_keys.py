"""The keys that links are signed with: the first signs, all of them verify.

Keys are read when they are first needed and kept for five minutes, so that a rotation, and a key that was thrown away
because it had leaked, are known everywhere soon. A key's own text is never in a message.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from hephaestus.errors import NoCallbackKey

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


MIN_KEY: Final = 32  # bytes: HMAC-SHA256 gains nothing from longer keys and loses by shorter ones (RFC 2104, section 3)
KEPT_MS: Final = 5 * 60 * 1000
AGAIN_MS: Final = 30 * 1000


class Keys(Protocol):
    """Where keys come from."""

    def known(self) -> Sequence[bytes]:
        """The keys, the one that signs first; at least one."""

    def newer(self) -> Sequence[bytes]:
        """The keys as they are now, for a signature that none of the known ones made; none if that was just asked."""


@dataclass(frozen=True, slots=True)
class FixedKeys:
    """Keys that are given and never change.

    Attributes:
        keys: the keys, the one that signs first.
    """

    keys: Sequence[bytes] = field(repr=False)

    def __post_init__(self) -> None:
        """Refuse keys that cannot be used."""
        check(self.keys)

    def known(self) -> Sequence[bytes]:
        """The keys."""
        return self.keys

    def newer(self) -> Sequence[bytes]:
        """None: they do not change."""
        return ()


class Clock(Protocol):
    """What time it is."""

    def now(self) -> int:
        """Milliseconds since the epoch."""


@dataclass
class CachedKeys:
    """Keys that are read from somewhere else, by one thread at a time.

    Attributes:
        read: reads the keys, the one that signs first.
        clock: what time it is.
    """

    read: Callable[[], Sequence[bytes]]
    clock: Clock
    _keys: Sequence[bytes] = field(default=(), repr=False)
    _read_at: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def known(self) -> Sequence[bytes]:
        """The keys as they were at most five minutes ago.

        Raises:
            NoCallbackKey: there is none, or it cannot be used.
            StoreUnavailable: the key store is unavailable.
        """
        return self._younger_than(KEPT_MS) or self._keys

    def newer(self) -> Sequence[bytes]:
        """The keys as they are now; none if they were read within the last 30 seconds, so that forgers cost nothing.

        Raises:
            NoCallbackKey: there is none, or it cannot be used.
            StoreUnavailable: the key store is unavailable.
        """
        return self._younger_than(AGAIN_MS)

    def _younger_than(self, age: int) -> Sequence[bytes]:
        """The keys if they had to be read again because they were older; else none."""
        with self._lock:
            now = self.clock.now()
            if self._keys and now - self._read_at < age:
                return ()
            found = self.read()
            check(found)
            self._keys, self._read_at = found, now
            return found


def check(keys: Sequence[bytes]) -> None:
    """Refuse keys that nothing should be signed with.

    Raises:
        NoCallbackKey: there is none, or one is too short.
    """
    if not keys:
        message = "there is no key to sign links with: the secret or parameter is empty"
        raise NoCallbackKey(message)
    if min(map(len, keys)) < MIN_KEY:
        message = (
            f"the key to sign links with, or the one before it, is shorter than {MIN_KEY} bytes: "
            "put a random text of 32 characters or more into its secret or parameter"
        )
        raise NoCallbackKey(message)
