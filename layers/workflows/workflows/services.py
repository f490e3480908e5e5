"""Services that only pretend: what they answer follows from what they are asked, so that a test and a demo repeat.

Like real ones they take idempotency keys: the same key is the same charge, reservation, mail or parcel.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

FLAKY_ATTEMPTS: Final = 2


class CardDeclined(Exception):
    """The card was rejected for good."""


class PaymentUnavailable(Exception):
    """The payment service did not answer; ask again."""


@dataclass(frozen=True, slots=True)
class Charge:
    """Money taken."""

    id: str
    cents: int


class Payments:
    """Takes money and gives it back."""

    def charge(self, cents: int, currency: str, card: str, idempotency_key: str, attempt: int) -> Charge:
        """Charge ``cents`` to ``card``.

        Raises:
            CardDeclined: the token is ``tok_declined``.
            PaymentUnavailable: the token is ``tok_flaky`` and the attempt one of the first two.
        """
        if card == "tok_declined":
            message = f"the card was declined for {cents / 100:.2f} {currency}"
            raise CardDeclined(message)
        if card == "tok_flaky" and attempt <= FLAKY_ATTEMPTS:
            message = "the payment service did not answer"
            raise PaymentUnavailable(message)
        return Charge(_name("ch", idempotency_key), cents)

    def refund(self, charge_id: str, idempotency_key: str) -> str:
        """Give a charge back."""
        return _name("re", charge_id + idempotency_key)


class Warehouse:
    """Holds what is sold: everything but what is called ``unknown…``."""

    def sells(self, sku: str) -> bool:
        """Whether it ever has the item."""
        return not sku.startswith("unknown")

    def reserve(self, wanted: Sequence[tuple[str, int]], idempotency_key: str) -> str:
        """Put items aside: stock-keeping units and how many of each."""
        return _name("rs", f"{wanted}{idempotency_key}")

    def release(self, reservation_id: str) -> None:
        """Give reserved items free; doing it twice is no error."""


class Mail:
    """Sends mail."""

    async def send(self, address: str, subject: str, idempotency_key: str, text: str = "") -> str:  # noqa: ARG002 - a real service would send it
        """Send one message and return its id."""
        return _name("msg", address + subject + idempotency_key)


class Carrier:
    """Takes parcels."""

    def ship(self, reservation_id: str, idempotency_key: str) -> str:
        """Fetch what was reserved and bring it to the customer."""
        return _name("trk", reservation_id + idempotency_key)


def _name(kind: str, seed: str) -> str:
    return f"{kind}_{hashlib.sha256(seed.encode()).hexdigest()[:16]}"


payments: Final = Payments()
warehouse: Final = Warehouse()
mail: Final = Mail()
carrier: Final = Carrier()
