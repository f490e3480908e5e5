"""The real process ``hephaestus dev``, killed at any moment: what it acknowledged is done."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from hephaestus import HephaestusError
from hephaestus.adapters.session import Account
from hephaestus.operations.advice import Unreachable
from hephaestus.operations.http_client import Api
from hephaestus.operations.transport import Gateway
from hephaestus.runtime.commands import Deliver, Start

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KILLS = 3
BETWEEN = 15  # acknowledged requests
PATIENCE = 120
FLOW = """
import os
from hephaestus import DONE, Workflow, step
from hephaestus.steps import WaitForEvent

def note(ctx):
    with open("effects", "a") as file:
        file.write(f"{ctx.instance_id} {ctx.idempotency_key}\\n")
    return "done"

first, second, last = (step(key=key)(note) for key in ("first", "second", "last"))
go = WaitForEvent("go", name="go")

class Killed(Workflow, key="killed"):
    start_at = first
    transitions = {first: {"done": second}, second: {"done": go}, go: {"go": last}, last: {"done": DONE}}
"""
# Ctrl+C ends it, also where the tests run in the background, where nobody's does.
MAIN = """
import signal
from hephaestus.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)
main()
"""


@contextmanager
def dev(project: Path) -> Iterator[tuple[subprocess.Popen[str], Api]]:
    """The command, and a client of it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "HEPHAESTUS_"))}
    command = [sys.executable, "-c", MAIN, "dev", "flows.py", "--port", "0", "--json"]
    with (
        (project / "log").open("a") as log,
        subprocess.Popen(
            command, cwd=project, env=environment, stdout=subprocess.PIPE, stderr=log, text=True
        ) as process,
    ):
        try:
            assert process.stdout is not None
            lines = iter(process.stdout.readline, "")  # it ends with the process
            told = json.loads("".join(takewhile(lambda line: line != "}\n", lines)) + "}")
            yield process, Api(Gateway(told["url"], Account()))
        finally:
            process.kill()


class Caller(threading.Thread):
    """Starts instances and sends each its event, until nobody answers; notes what was acknowledged."""

    def __init__(self, api: Api, first: int) -> None:
        super().__init__()
        self.api, self.number = api, first
        self.acknowledged = list[tuple[str, str]]()
        self.enough = threading.Event()

    def run(self) -> None:
        try:
            while True:
                self.number += 1
                known = f"killed::{self.number}"
                self.api.do(Start(workflow="Killed", id=str(self.number), start_id=f"start-{self.number}"))
                self.acknowledge("start", known)
                self.api.do(Deliver(instance_id=known, event="go", event_id=f"go-{self.number}"))
                self.acknowledge("go", known)
        except (Unreachable, HephaestusError):
            self.enough.set()

    def acknowledge(self, what: str, instance_id: str) -> None:
        self.acknowledged.append((what, instance_id))
        if len(self.acknowledged) >= BETWEEN:
            self.enough.set()


def closed(api: Api, instance_id: str) -> dict[str, Any]:
    ends_at = time.monotonic() + PATIENCE
    while (shown := api.get(instance_id))["status"] not in ("completed", "failed") and time.monotonic() < ends_at:
        time.sleep(0.05)
    return shown


def test_kill_9_at_any_moment_loses_nothing_acknowledged(tmp_path: Path) -> None:
    (tmp_path / "flows.py").write_text(FLOW)
    acknowledged, number = list[tuple[str, str]](), 0
    for _ in range(KILLS):
        with dev(tmp_path) as (process, api):
            caller = Caller(api, number)
            caller.start()
            assert caller.enough.wait(PATIENCE)
            process.kill()
            caller.join()
        assert len(caller.acknowledged) >= BETWEEN, (tmp_path / "log").read_text()
        acknowledged, number = acknowledged + caller.acknowledged, caller.number
    started = [instance_id for what, instance_id in acknowledged if what == "start"]
    went = {instance_id for what, instance_id in acknowledged if what == "go"}
    with dev(tmp_path) as (process, api):
        for instance_id in set(started) - went:
            api.do(Deliver(instance_id=instance_id, event="go", event_id=f"go-{instance_id.partition('::')[2]}"))
        shown = {instance_id: closed(api, instance_id) for instance_id in started}
        assert {each["status"] for each in shown.values()} == {"completed"}, (tmp_path / "log").read_text()
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0
    effects = [line.split() for line in (tmp_path / "effects").read_text().splitlines()]
    for instance_id in started:
        keys = [key for known, key in effects if known == instance_id]
        assert len(set(keys)) == 3, "each step has one key, however often it ran"
