"""What `make up` ends with: two orders go through the deployed API, one approved by link, one left to its deadline.

The deadline is a schedule that the deployed functions make and that really fires. Ids are new at each tour, since the
emulator's data are kept.
"""

from __future__ import annotations

import json
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tools.emulator import EmulatorError, client, outputs, running, say

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tools.emulator import Emulator

DEADLINE_SECONDS: Final = 12
PATIENCE_SECONDS: Final = 120
ENDS: Final = ("completed", "failed", "cancelled")


@dataclass
class Order:
    """One order on its way, and what of it was printed already."""

    api: str
    number: str
    title: str
    printed: set[str] = field(default_factory=set)

    @property
    def id(self) -> str:
        """The instance's id."""
        return f"orderid::{self.number}"

    def start(self, **more: Any) -> None:
        """Start it and wait for a moment, as a caller with ``Prefer: wait`` does."""
        context = {
            "customer": {"name": "Ann", "email": "ann@example.org"},
            "items": [{"sku": "anvil", "quantity": 1, "price_cents": 4200}, {"sku": "hammer", "price_cents": 1900}],
            **more,
        }
        self.tell(call(f"{self.api}/workflows/OrderFlow/instances", {"id": self.number, "context": context}))

    def look(self) -> Mapping[str, Any]:
        """See how far it is, and tell what is new."""
        shown = call(f"{self.api}/instances/{self.id}")
        self.tell(shown)
        return shown

    def approve(self) -> None:
        """Do what its approver does: open the link in the mail, and press the page's button.

        Raises:
            EmulatorError: opening the link has changed something, or the page is not as it should be.
        """
        link = self.look()["steps"]["send_receipt"]["results"]["links"]["approved"]
        say(f"  {self.title}  its approver was sent links: {link[:60]}…")
        page = open_page(link)
        found = re.search(r'name="confirmation" value="([^"]+)"', page)
        if found is None or self.look()["status"] != "waiting":
            message = f"{self.id} should wait until the page's button is pressed; the page is {page[:500]}"
            raise EmulatorError(message)
        say(f"  {self.title}  the link is opened: a page asks, and nothing has happened; its button decides")
        open_page(link, urllib.parse.urlencode({"confirmation": found[1]}).encode())

    def until_it_ends(self) -> Mapping[str, Any]:
        """Follow it to its end.

        Raises:
            EmulatorError: it does not end.
        """
        give_up = time.monotonic() + PATIENCE_SECONDS
        while (shown := self.look())["status"] not in ENDS:
            if time.monotonic() > give_up:
                message = f"{self.id} is still {shown['status']}; see .local/emulator/emulator.log"
                raise EmulatorError(message)
            time.sleep(1)
        return shown

    def tell(self, shown: Mapping[str, Any]) -> None:
        """Print every step whose state is new."""
        for key, step in shown.get("steps", {}).items():
            state = step["status"] if step["status"] != "completed" else f"→ {step['event']}"
            line = f"{key} {state}"
            if line in self.printed:
                continue
            self.printed.add(line)
            until = (
                f" until {step['deadline'][:19].replace('T', ' ')} for {', '.join(step['accepts'])}"
                if "deadline" in step
                else ""
            )
            if step["status"] != "skipped":
                say(f"  {self.title}  {line}{until}")


def call(url: str, body: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
    """Call the API: POST where there is a body, else GET.

    Raises:
        EmulatorError: the API refuses, with its own words.
    """
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", "Prefer": "wait=10"}
    request = urllib.request.Request(url, data, headers)  # noqa: S310 - the emulator's address
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=60) as answer:
            shown: Mapping[str, Any] = json.load(answer)
    except urllib.error.HTTPError as rejected:
        message = f"{request.get_method()} {url} was answered with {rejected.code}: {rejected.read().decode()[:500]}"
        raise EmulatorError(message) from rejected
    return shown


def open_page(url: str, form: bytes | None = None) -> str:
    """Open a page as a browser does, or send its form.

    Raises:
        EmulatorError: it is rejected, with the page's own words.
    """
    request = urllib.request.Request(url, form, {"Accept": "text/html"})  # noqa: S310 - the emulator's address
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=60) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as rejected:
        message = f"{request.get_method()} {url} was answered with {rejected.code}: {rejected.read().decode()[:2000]}"
        raise EmulatorError(message) from rejected


def schedules(emulator: Emulator, group: str) -> list[str]:
    """The names of the schedules that wait in a group."""
    listed = client("scheduler", emulator.endpoint).list_schedules(GroupName=group)
    return [schedule["Name"] for schedule in listed["Schedules"]]


def main() -> int:
    """Take the tour, then say how to go on.

    Raises:
        EmulatorError: something is not as it should be.
    """
    found = running()
    if not found:
        message = "the emulator does not run: make up"
        raise EmulatorError(message)
    emulator = found[0]
    known = outputs(emulator)
    api, mark = known["ApiUrl"], f"tour-{int(time.time())}"
    say("\nTwo orders go through the API; each step as it ends:")
    approved = Order(api, f"{mark}-a", "approved ")
    forgotten = Order(api, f"{mark}-b", "forgotten")
    forgotten.start(approval_timeout_seconds=DEADLINE_SECONDS)
    mine = [name for name in schedules(emulator, known["ScheduleGroupName"]) if f"{mark}-b" in name]
    say(f"  {forgotten.title}  its deadline is the schedule {', '.join(mine) or 'that has fired already'}")
    approved.start(approver="boss@example.org", show_links=True)
    approved.approve()
    approved.until_it_ends()
    say(f"  {forgotten.title}  no one decides; waiting for the schedule to fire")
    forgotten.until_it_ends()
    say("\nFinished:")
    for order in (approved, forgotten):
        shown = order.look()
        decided = shown["steps"]["approval"]["event"]
        say(f"  {order.id:<32} {shown['status']:<10} decided by {decided!r}")
        if shown["status"] != "completed" or decided != {"a": "approved", "b": "timeout"}[order.number[-1]]:
            message = f"{order.id} did not end as it should; see .local/emulator/emulator.log"
            raise EmulatorError(message)
    say(ways_on(api, approved.id))
    return 0


def ways_on(api: str, instance_id: str) -> str:
    """Calls to go on with."""
    return f"""
The API is at   API={api}

  curl -s "$API/instances/{instance_id}"                # what became of it
  curl -s "$API/instances/{instance_id}/history"        # its log
  curl -s "$API/instances?workflow=OrderFlow&limit=5"   # all orders
  curl -s "$API/workflows"                              # what is deployed

  curl -s -X POST "$API/workflows/OrderFlow/instances" -H 'Prefer: wait=10' -d '{{"id": "mine-1", "context":
    {{"customer": {{"name": "Ann", "email": "ann@example.org"}}, "items": [{{"sku": "anvil", "price_cents": 4200}}]}}}}'
  curl -s -X POST "$API/instances/orderid::mine-1/events" -H 'Prefer: wait=10' -d '{{"event": "approved"}}'

  make invoke FUNCTION=start EVENT=events/direct-start.json
  make look (the console, in a browser)
  make status      make down (keeps the data)      make clean (removes them)"""


if __name__ == "__main__":
    try:
        sys.exit(main())
    except EmulatorError as error:
        say(f"make up: {error}")
        sys.exit(1)
