"""``python -m tools.mutation [--workers 2] [MODULE ...]``; see the package."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tools.mutation.alone import run_alone
from tools.mutation.mutants import Mutant, mutants
from tools.mutation.plugin import KILLED, OPTIONS, SURVIVED, TIMEOUT
from tools.mutation.runner import Runner
from tools.mutation.settings import ROOT, SETTINGS, listed, modules_of

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str]) -> int:
    """Run mutants; returns 1 if one survives that is not listed, or one that is listed does not."""
    parser = argparse.ArgumentParser(prog="python -m tools.mutation", description="Change the code; a test must fail.")
    parser.add_argument("module", nargs="*", help="such as store/ or engine/fold.py; all by default")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    parser.add_argument("--fresh", action="store_true", help="measure anew what each test reaches")
    parser.add_argument("--tests", nargs="+", default=SETTINGS["tests"], help="run these only, to see what they find")
    parser.add_argument("--list", action="store_true", help="show the mutants and run none")
    asked = parser.parse_args(arguments)
    if asked.alone:
        return run_alone(asked.alone)
    modules, equivalent = modules_of(asked.module), listed()
    if asked.list:
        print("\n\n".join(mutant.name for module in modules for mutant in mutants(module)))
        return 0
    outcomes: dict[str, dict[str, str]] = {module: {} for module in modules}

    def report(mutant: Mutant, outcome: str, seconds: float) -> None:
        outcomes[mutant.module][mutant.name] = outcome
        if not len(outcomes[mutant.module]) % 50:
            print(f"{mutant.module}: {len(outcomes[mutant.module])} mutants", flush=True)
        if outcome == SURVIVED and mutant.name not in equivalent:
            print(f"\nSURVIVED line {mutant.line} ({seconds:.1f} s)\n{mutant.name}", flush=True)

    status = pytest.main(
        [*OPTIONS, *(str(ROOT / path) for path in asked.tests)],
        plugins=[Runner(modules, asked.workers, report, fresh=asked.fresh)],
    )
    if status != pytest.ExitCode.OK:
        return int(status)
    return summary(outcomes, {name for name in equivalent if name.partition(" ")[0] in modules})


def summary(outcomes: dict[str, dict[str, str]], equivalent: set[str]) -> int:
    """Print a line a module, and what fails the run."""
    print(f"\n{'module':<28}{'mutants':>9}{'killed':>9}{'timeout':>9}{'equivalent':>12}{'survived':>10}")
    survivors: set[str] = set()
    for module, found in outcomes.items():
        alive = {name for name, outcome in found.items() if outcome == SURVIVED}
        survivors |= alive
        counted = Counter(found.values())
        same = len(alive & equivalent)
        print(f"{module:<28}{len(found):>9}{counted[KILLED]:>9}{counted[TIMEOUT]:>9}{same:>12}{len(alive) - same:>10}")
    gone = equivalent - survivors
    for name in sorted(gone):
        known = any(name in each for each in outcomes.values())
        print(f"\nlisted as equivalent, but {'a test finds it' if known else 'it is gone'}:\n{name}")
    return int(bool(gone or survivors - equivalent))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
