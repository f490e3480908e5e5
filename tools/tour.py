"""The tour that ``make up`` ends with: two orders go through the deployed API, as any client would call it.

One is approved by an event. Nobody decides on the other one, so the schedule that its approval has set fires and the
order is refunded. Every tour makes orders of its own, as the data of earlier ones are kept.
"""

from __future__ import annotations

import json
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tools.emulator import EmulatorError, outputs, running, say

if TYPE_CHECKING:
    from collections.abc import Mapping

APPROVAL_SECONDS: Final = 5  # how long the order that nobody decides on waits
PATIENCE: Final = 90.0  # seconds; the emulator looks for due schedules every ten
PAUSE: Final = 0.5
SHOWN: Final = ("validate_order", "charge_payment", "reserve_stock", "send_receipt", "approval", "ship", "refund")


@dataclass(frozen=True)
class Api:
    """The deployed API."""

    url: str

    def call(self, method: str, path: str, body: object = None, **headers: str) -> dict[str, Any]:
        """Call it; answers the body.

        Raises:
            EmulatorError: it refused, or did not answer.
        """
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(  # noqa: S310 - the emulator on loopback
            self.url + path, data, {"Content-Type": "application/json", **headers}, method=method
        )
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
                read: dict[str, Any] = json.load(answer)
                return read
        except urllib.error.HTTPError as error:
            message = f"{method} {path} was answered with {error.code}: {error.read().decode(errors='replace')}"
            raise EmulatorError(message) from error
        except OSError as error:
            message = f"{method} {path} was not answered: {error}"
            raise EmulatorError(message) from error

    def start(self, number: str, approval_seconds: int) -> str:
        """Start an order; returns the instance's id."""
        body = {"id": number, "context": order(approval_seconds), "tags": ["tour"]}
        return str(self.call("POST", "/workflows/OrderFlow/instances", body)["id"])

    def until(self, instance: str, status: str) -> dict[str, Any]:
        """The instance once it has that status.

        Raises:
            EmulatorError: it ended otherwise, or takes too long.
        """
        deadline = time.monotonic() + PATIENCE
        while True:
            shown = self.call("GET", f"/instances/{instance}")
            if shown["status"] == status:
                return shown
            if shown["status"] in ("completed", "failed", "cancelled") or time.monotonic() > deadline:
                message = f"{instance} is {shown['status']}, not {status}: {self.url}/instances/{instance}/history"
                raise EmulatorError(message)
            time.sleep(PAUSE)


def order(approval_seconds: int) -> dict[str, Any]:
    """What an order starts with."""
    return {
        "customer": {"name": "Ada Lovelace", "email": "ada@example.com"},
        "items": [
            {"sku": "anvil-20kg", "price_cents": 12_900},
            {"sku": "tongs", "quantity": 2, "price_cents": 1_850},
        ],
        "approval_timeout_seconds": approval_seconds,
    }


def take(api: Api) -> None:
    """Run the two orders and show how they end."""
    number = f"{datetime.now(UTC):%y%m%d-%H%M%S}-{uuid4().hex[:4]}"
    say("\nTwo orders start; each is validated, charged, and reserved and confirmed side by side.")
    late = api.start(f"{number}-late", APPROVAL_SECONDS)
    good = api.start(f"{number}-good", 3600)
    for instance in (late, good):
        shown = api.until(instance, "waiting")
        say(f"  {instance} waits for its approval until {shown['steps']['approval']['deadline']}")
    say("\nSomebody approves the second one.")
    api.call("POST", f"/instances/{good}/events", {"event": "approved"}, **{"Idempotency-Key": f"approve-{number}"})
    show(api.until(good, "completed"))
    say("\nNobody decides on the first one: its schedule fires (the emulator looks every ten seconds).")
    show(api.until(late, "completed"))
    how_to_go_on(api, number)


def show(instance: Mapping[str, Any]) -> None:
    """The instance and how its steps ended, a line each."""
    say(f"  {instance['id']} is {instance['status']}")
    for name in SHOWN:
        step = instance["steps"].get(name)
        if step and step["status"] == "completed":
            updates = ", ".join(f"{key}={value}" for key, value in step.get("updates", {}).items())
            say(f"    {name:<16}{step['event']:<10}{updates}".rstrip())


def how_to_go_on(api: Api, number: str) -> None:
    """Commands to copy."""
    body = json.dumps({"id": f"{number}-mine", "context": order(3600)})
    mine = f"'{api.url}/instances/orderid::{number}-mine"
    say("\nThe API:")
    say(f"  {api.url}")
    say("Go on with an order of your own:")
    say(f"  curl -X POST {api.url}/workflows/OrderFlow/instances -d '{body}'")
    say(f"  curl {mine}'")
    say(f"""  curl -X POST {mine}/events' -d '{{"event": "approved"}}'""")
    say(f"  curl {mine}/history'")
    say("Look around:")
    say(f"  curl '{api.url}/instances?workflow=OrderFlow&status=completed&tag=tour'")
    say(f"  curl {api.url}/workflows")
    say("The emulator goes on running; `make down` stops it and keeps its data.")


def main() -> int:
    """Take the tour on the emulator that runs; returns the exit status."""
    found = running()
    if not found:
        sys.stderr.write("error: the emulator does not run: make up\n")
        return 1
    try:
        take(Api(outputs(found[0])["ApiUrl"]))
    except EmulatorError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
