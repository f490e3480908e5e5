"""The machine's own time and randomness."""

from __future__ import annotations

import random
import secrets
import time


class SystemClock:
    """A ``Clock`` that is the machine's."""

    def now(self) -> int:
        """Milliseconds since the epoch."""
        return time.time_ns() // 1_000_000

    def sleep(self, milliseconds: int) -> None:
        """Wait."""
        time.sleep(milliseconds / 1000)

    def random(self) -> float:
        """A number from 0 up to 1."""
        return random.random()  # noqa: S311 - jitter needs no cryptographic randomness

    def unique(self) -> str:
        """80 random bits in hexadecimal digits."""
        return secrets.token_hex(10)
