"""What runs on this machine: the emulator of ``make up`` and ``hephaestus dev``, found by the files that they leave."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import botocore.session
from botocore.config import Config

from hephaestus.adapters.session import Account
from hephaestus.operations.advice import Unreachable

STATE: Final = Path(".local/emulator/running.json")
REGION: Final = "us-east-1"
DEV: Final = "dev"  # what a person says instead of a stack's name
DEV_FOLDER: Final = ".hephaestus"
DEV_RUNNING: Final = "dev.json"


def local_account(start: Path | None = None) -> Account:
    """The emulator's account, whose credentials are no one's; looked for from ``start`` (here) upwards.

    Raises:
        Unreachable: none was started.
    """
    here = (start or Path.cwd()).resolve()
    found = next((folder / STATE for folder in (here, *here.parents) if (folder / STATE).exists()), None)
    if found is None:
        message = f"no emulator was started from {here} or above: make up"
        raise Unreachable(message)
    session = botocore.session.Session(session_vars={"profile": (None, None, None, None)})
    session.set_credentials("test", "test")
    session.set_default_client_config(Config(proxies={}))  # a proxy has no business between two programs on one machine
    port = int(json.loads(found.read_text())["port"])
    return Account(session, REGION, f"http://127.0.0.1:{port}", connect_timeout=2, read_timeout=15)


def dev_url(start: Path | None = None) -> str:
    """The address of its API; looked for from ``start`` (here) upwards.

    Raises:
        Unreachable: none runs.
    """
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        try:
            return str(json.loads((folder / DEV_FOLDER / DEV_RUNNING).read_text())["url"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
    message = f"no `hephaestus dev` runs in {here} or above: start it, or give its address"
    raise Unreachable(message)
