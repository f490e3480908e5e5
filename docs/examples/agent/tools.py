"""The tools of a shop's assistant. Put your own here.

A tool takes its arguments, checked by a model of pydantic, and an idempotency key; what it returns or raises goes back
to the model. One that is dangerous runs only after a person has allowed that call.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from collections.abc import Callable

ORDERS: Final = {"A-1": ("delivered", 4_200), "A-2": ("lost", 1_999)}


class ToolError(Exception):
    """The tool cannot do that, and trying again would not help."""


class OrderId(BaseModel):
    """Which order."""

    model_config = ConfigDict(extra="forbid")

    order: str = Field(description="the number of the order, such as A-1", max_length=32)


class Refund(OrderId):
    """How much of an order."""

    cents: int = Field(description="how much is paid back, in cents", gt=0)


@dataclass(frozen=True, slots=True)
class Tool:
    """What a model may call.

    Attributes:
        arguments: what it takes.
        run: does it; its docstring says to the model what it is for.
        dangerous: whether a person must allow each call.
    """

    arguments: type[BaseModel]
    run: Callable[[Any, str], str]
    dangerous: bool = False

    def spec(self, name: str) -> dict[str, Any]:
        """As a model reads it."""
        schema = self.arguments.model_json_schema()
        return {"name": name, "description": self.run.__doc__ or name, "inputSchema": {"json": schema}}


def look_up(wanted: OrderId, _: str) -> str:
    """Look an order up: its status, and what was paid."""
    if wanted.order not in ORDERS:
        message = f"there is no order {wanted.order}"
        raise ToolError(message)
    status, cents = ORDERS[wanted.order]
    return f"order {wanted.order}: {status}, {cents} cents paid"


def refund(wanted: Refund, idempotency_key: str) -> str:
    """Pay money back for an order."""
    paid = ORDERS.get(wanted.order, ("", 0))[1]
    if wanted.cents > paid:
        message = f"{wanted.cents} cents are more than the {paid} that were paid for order {wanted.order}"
        raise ToolError(message)
    return f"refund {idempotency_key[-12:]}: {wanted.cents} cents"  # a payment service takes the whole key


TOOLS: Final = {"look_up": Tool(OrderId, look_up), "refund": Tool(Refund, refund, dangerous=True)}
