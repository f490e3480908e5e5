"""``python -m hephaestus.console``: serves the console until Ctrl+C.

It acts with the credentials and in the region of its environment. Exit status: 0 when it was ended, 2 when the
arguments are wrong, 3 when the stack could not be had, 4 when the port is taken.
"""

from __future__ import annotations

import argparse
import logging
import sys
from typing import TYPE_CHECKING, Final

from hephaestus.console.command import serve
from hephaestus.console.server import PORT, PortTaken
from hephaestus.errors import HephaestusError

if TYPE_CHECKING:
    from collections.abc import Sequence

WRONG: Final = 2
FAILED: Final = 3
TAKEN: Final = 4
LAST_PORT: Final = 65_535


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the arguments and serve."""
    asked = _parser().parse_args(arguments)
    logging.basicConfig(format="%(message)s")
    try:
        if asked.demo:
            _serve_demo(asked)
        else:
            _serve_stack(asked)
    except PortTaken as error:
        sys.stderr.write(f"error: {error}\n")
        return TAKEN
    except HephaestusError as error:
        sys.stderr.write(f"error: {error}\n")
        return FAILED
    return 0


def _serve_demo(asked: argparse.Namespace) -> None:
    from hephaestus.console.demo import demo  # noqa: PLC0415 - it defines workflows

    memory, connection = demo()
    with memory:
        serve(connection, port=asked.port, browse=asked.browse)


def _serve_stack(asked: argparse.Namespace) -> None:
    from hephaestus.console.deployed import DeployedConnection  # noqa: PLC0415 - it imports AWS
    from hephaestus.operations import connect  # noqa: PLC0415 - as above

    found = connect(asked.stack, region=asked.region, profile=asked.profile, endpoint_url=asked.endpoint_url)
    serve(DeployedConnection(found), port=asked.port, browse=asked.browse)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m hephaestus.console", description="Watch and steer the instances of a stack in a browser."
    )
    parser.add_argument("--stack", metavar="NAME", help="the stack; by default hephaestus")
    parser.add_argument("--region", help="the region; by default as the environment or the profile says")
    parser.add_argument("--profile", help="the AWS profile; by default as the environment says")
    parser.add_argument("--endpoint-url", metavar="URL", help="another endpoint than AWS's own, as of an emulator")
    parser.add_argument("--demo", action="store_true", help="look around in a Hephaestus in memory, without AWS")
    parser.add_argument(
        "--port", type=_port, help=f"where it listens on loopback; by default {PORT}, or any free one if that is taken"
    )
    parser.add_argument("--no-browser", dest="browse", action="store_false", help="print the address, and open nothing")
    return parser


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text[:6]) <= LAST_PORT):
        message = f"{text[:40]!r} is no port: it must be a whole number from 0 (any that is free) to {LAST_PORT}"
        raise argparse.ArgumentTypeError(message)
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
