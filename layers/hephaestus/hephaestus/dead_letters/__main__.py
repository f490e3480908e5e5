"""``python -m hephaestus.dead_letters``: redrives the dead letters of a stack.

It acts with the credentials and in the region of its environment. Exit status: 0 when every letter was sent (or would
be), 1 when some are left, 2 when the arguments are wrong, 3 when AWS rejected or did not answer.
"""

from __future__ import annotations

import argparse
import logging
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from hephaestus.adapters.session import LazyClient
from hephaestus.dead_letters import Places, Report, asynchronously, find_stack, redrive_all
from hephaestus.errors import BadRequest, HephaestusError

if TYPE_CHECKING:
    from collections.abc import Sequence

ALL_SENT: Final = 0
SOME_LEFT: Final = 1
WRONG: Final = 2
FAILED: Final = 3
SHOWN: Final = 20
ENVIRONMENT: Final = "The credentials and the region are those of the environment, as of AWS_PROFILE and AWS_REGION."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--stack", metavar="NAME", help="the stack: its dead-letter queues are found by its outputs")
    where.add_argument("--queue", metavar="URL", help="one dead-letter queue; --work-queue goes with it")
    parser.add_argument("--work-queue", metavar="URL", help="the work queue, where --queue names the dead letters")
    parser.add_argument("--bulk-queue", metavar="URL", help="the queue for work of maps, if there is one")
    parser.add_argument("--function", metavar="NAME", help="the function resume, which takes failed events again")
    parser.add_argument("--region", help="the region; by default as the environment or the profile says")
    parser.add_argument("--limit", type=_count, metavar="N", help="look at so many letters of each queue at most")
    parser.add_argument("--dry-run", action="store_true", help="say what would happen, and change nothing")


def run(asked: argparse.Namespace) -> int:
    """Redrive what the arguments name, and tell about it.

    Returns:
        The exit status.
    """
    try:
        places = _places(asked)
    except BadRequest as error:
        _say(f"error: {error}")
        return WRONG
    except HephaestusError as error:
        _say(f"error: {error}. {ENVIRONMENT}")
        return FAILED
    client = LazyClient("sqs", asked.region)
    invoke = asynchronously(places.functions, LazyClient("lambda", asked.region)) if places.functions else None
    worst = ALL_SENT
    for name, report in redrive_all(places, client, client, invoke, limit=asked.limit, dry_run=asked.dry_run):
        _tell(name, report, dry_run=asked.dry_run)
        worst = max(worst, FAILED if report.failure else SOME_LEFT if report.left else ALL_SENT)
    return worst


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the arguments and redrive."""
    parser = argparse.ArgumentParser(
        prog="python -m hephaestus.dead_letters", description="Send the dead letters of a stack where they belong."
    )
    add_arguments(parser)
    asked = parser.parse_args(arguments)
    if (asked.queue is None) != (asked.work_queue is None):
        parser.error("--queue and --work-queue go together")
    if asked.bulk_queue is not None and asked.queue is None:
        parser.error("--bulk-queue goes with --queue")
    logging.basicConfig(format="%(message)s")
    return run(asked)


def _places(asked: argparse.Namespace) -> Places:
    named = {"resume": asked.function} if asked.function else {}
    if asked.stack is None:
        return Places(asked.work_queue, {"the queue": asked.queue}, named, bulk_queue=asked.bulk_queue or "")
    found = find_stack(asked.stack, LazyClient("cloudformation", asked.region))
    return replace(found, functions={**found.functions, **named})


def _tell(name: str, report: Report, *, dry_run: bool) -> None:
    sent = "would be sent" if dry_run else "sent"
    merged = f", {report.merged} more of the same instances" if report.merged else ""
    _say(f"{name}: {report.found} found, {report.sent} {sent}{merged}, {len(report.left)} left")
    for letter in report.left[:SHOWN]:
        _say(f"  {letter.message_id}: {letter.reason}")
    if len(report.left) > SHOWN:
        _say(f"  and {len(report.left) - SHOWN} more")
    if report.failure:
        _say(f"  ended early: {report.failure}. {ENVIRONMENT}")


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text[:9])):
        message = f"{text[:40]!r} is no whole number from 1 on"
        raise argparse.ArgumentTypeError(message)
    return int(text[:9])


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main())
