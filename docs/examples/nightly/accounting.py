"""The service that the reports ask: slow, and with limits of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Sequence


class TooManyCalls(Exception):
    """The service answered 429; ask again later."""


class Accounting(Protocol):
    """What is asked of it. Put your own here."""

    def tenants(self) -> Sequence[str]:
        """The ids of all tenants; one call."""
        ...

    def usage(self, tenant: str, night: str) -> int:
        """What a tenant used on the day before ``night``, in units; one call."""
        ...

    def invoices(self, tenant: str, night: str) -> int:
        """What a tenant was billed for it, in cents; one call."""
        ...


class Demo:
    """200 tenants that do not exist."""

    def tenants(self) -> Sequence[str]:
        """Their names."""
        return [f"tenant-{number:03}" for number in range(200)]

    def usage(self, tenant: str, night: str) -> int:
        """Any number, always the same."""
        return crc32(f"{tenant} {night}".encode()) % 1_000

    def invoices(self, tenant: str, night: str) -> int:
        """Three cents a unit."""
        return 3 * self.usage(tenant, night)
