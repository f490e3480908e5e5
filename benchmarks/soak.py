"""A soak: thousands of instances at the highest rate that the machine gives, with everything that can go wrong.

    python benchmarks/soak.py [--instances N] [--seed N] [--workers N] [--engine memory|dynamodb-local|emulator] …
    python benchmarks/soak.py --children 100 --instances 400

Starts that come twice, rival starts, early and doubled events, deadlines, cancellations, pauses, failing and slow
steps, sagas undone and redriven, schedules that never fire, messages that come twice, and worker processes that are
killed. The runner, the executor, the sweeper and the store are the real ones; the queue and the schedules are this
soak's own, shared by its processes.

With ``--children`` the instances are parents, whose children end at once, and maps in trees of instances, in turn: each
end must be counted once, no child may be left open, and the results must be right.

Ends with a report, and with the status 1 if anything was lost, doubled or broken; 2 if the engine is not there.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

sys.path[:0] = [str(Path(__file__).resolve().parent.parent)]

from benchmarks.soaking.conductor import Conductor, Settings
from benchmarks.soaking.engines import NO_ENGINE

if TYPE_CHECKING:
    from collections.abc import Sequence

ENGINES = ("memory", "dynamodb-local", "emulator")


def main(arguments: Sequence[str]) -> int:
    """Soak, and tell; the exit status."""
    settings = Settings()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    for field in fields(Settings):
        value = getattr(settings, field.name)
        choices = ENGINES if field.name == "engine" else None
        option = f"--{field.name.replace('_', '-')}"
        parser.add_argument(option, type=type(value), default=value, choices=choices, help=f"by default {value}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there, too")
    given = vars(parser.parse_args(arguments))
    file: Path | None = given.pop("json")
    if given["children"] and given["engine"] == "memory":
        parser.error("--children needs an engine that all processes reach themselves: dynamodb-local or emulator")
    try:
        report = Conductor(Settings(**given)).run()
    except NO_ENGINE as missing:
        print(f"no soak: {missing}; or choose another one with --engine", file=sys.stderr)
        return 2
    print(report.text(), flush=True)
    if file is not None:
        file.write_text(json.dumps(report.json(), indent=2) + "\n")
    return 0 if report.good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
