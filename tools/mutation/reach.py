"""What tests reach: the lines of the package that each of them runs."""

from __future__ import annotations

import ast
import difflib
import hashlib
import inspect
import os
import pickle
import re
import signal
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tools.mutation.process import silence
from tools.mutation.settings import CACHE, PACKAGE, ROOT, SETTINGS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tools.mutation.mutants import Mutant
    from tools.mutation.runner import Runner

NEVER: Final = 1e6  # seconds that a test takes which is not to run


class Reach:
    """Which lines of the package each test runs, and how long it takes.

    That is kept for each file of tests as long as the file is the same; where a module has changed since, its lines are
    taken for those that they come from. What is kept only chooses tests: ``--fresh`` measures anew.
    """

    def __init__(self, runner: Runner, *, fresh: bool) -> None:
        CACHE.mkdir(parents=True, exist_ok=True)
        self.runner = runner
        self.seconds: dict[int, float] = {}
        self.lines: defaultdict[tuple[str, int], set[int]] = defaultdict(set)
        by_file: defaultdict[Path, list[int]] = defaultdict(list)
        for index, item in enumerate(runner.items):
            by_file[item.path].append(index)
        kept = {path: CACHE / _digest([path]) for path in by_file}
        self._measure({path: (file, by_file[path]) for path, file in kept.items() if fresh or not file.exists()})
        for path, indexes in by_file.items():
            self._load(kept[path], {runner.items[index].nodeid: index for index in indexes})

    def tests(self, mutant: Mutant) -> list[int]:
        """The tests that reach what a mutant changes."""
        lines = range(mutant.line, mutant.last + 1)
        found = set().union(*(self.lines[mutant.module, line] for line in lines))
        return list(found or self._by_name(mutant))

    def _by_name(self, mutant: Mutant) -> set[int]:
        """Of what no test runs, as it is run by the import: the tests that name it or run a line that does."""
        names = {mutant.place.rpartition(".")[2]} - {"<module>"}
        source = (PACKAGE / mutant.module).read_text()
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Assign | ast.AnnAssign) and node.lineno <= mutant.line <= (node.end_lineno or 0):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                names |= {each.id for each in targets if isinstance(each, ast.Name)}
        if not names:
            return set()
        named = re.compile(rf"\b({'|'.join(names)})\b")
        found = {index for index in self.seconds if named.search(self._source(index))}
        for module in {module for module, _ in self.lines if (PACKAGE / module).exists()}:
            for number, line in enumerate((PACKAGE / module).read_text().splitlines(), 1):
                if named.search(line):
                    found |= self.lines.get((module, number), set())
        return found

    @cache  # noqa: B019 - as long as the run
    def _source(self, index: int) -> str:
        return inspect.getsource(self.runner.items[index].function)  # type: ignore[attr-defined]  # all are functions

    def _measure(self, files: dict[Path, tuple[Path, list[int]]]) -> None:
        """Each file in a process of its own, several at once."""
        waiting = list(files.items())
        running: set[int] = set()
        while waiting or running:
            while waiting and len(running) < self.runner.workers:
                path, (file, indexes) = waiting.pop()
                print(f"measuring {path.relative_to(ROOT)}", flush=True)
                pid = os.fork()
                if not pid:
                    silence()
                    try:
                        self._run(file, indexes)
                    finally:
                        os._exit(0)
                running.add(pid)
            running.discard(os.wait()[0])

    def _run(self, file: Path, indexes: list[int]) -> None:
        import coverage  # type: ignore[import-not-found]  # only in .venvs/mutate

        measured = coverage.Coverage(data_file=None, config_file=False, include=[f"{PACKAGE}/*"])
        seconds: dict[str, float] = {}
        signal.signal(signal.SIGVTALRM, _too_slow)
        measured.start()
        for index in indexes:
            name = self.runner.items[index].nodeid
            measured.switch_context(str(len(seconds)))
            self.runner.failed, seconds[name] = False, NEVER
            signal.setitimer(signal.ITIMER_VIRTUAL, 3 * SETTINGS["slow"])
            try:
                took = sum(took for _, took in self.runner.run([index]))
                seconds[name] = NEVER if self.runner.failed else took
            except BaseException:  # noqa: BLE001, S112 - a test that ends its process, or takes too long: not to run
                continue
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        measured.stop()
        names, data = list(seconds), measured.get_data()
        lines = {
            (str(Path(path).relative_to(PACKAGE)), line): [
                names[int(each)] for each in contexts if each.isdigit() and int(each) < len(names)
            ]
            for path in data.measured_files()
            for line, contexts in data.contexts_by_lineno(path).items()
        }
        partial = file.with_suffix(f".{os.getpid()}")
        sources = {module: (PACKAGE / module).read_text() for module, _ in lines}
        partial.write_bytes(pickle.dumps((seconds, lines, sources)))
        partial.rename(file)

    def _load(self, file: Path, indexes: dict[str, int]) -> None:
        if not file.exists():
            print(f"no tests of {min(indexes)} and its like could be measured", flush=True)
            return
        seconds, lines, sources = pickle.loads(file.read_bytes())  # noqa: S301 - written above
        moved = {module: self._moved(module, source) for module, source in sources.items()}
        quick = {name for name, took in seconds.items() if took <= SETTINGS["slow"] and name in indexes}
        self.seconds.update({indexes[name]: seconds[name] for name in quick})
        for (module, line), names in lines.items():
            if found := {indexes[name] for name in names if name in quick}:
                self.lines[module, moved[module].get(line, line)] |= found

    @cache  # noqa: B019 - as long as the run
    def _moved(self, module: str, before: str) -> dict[int, int]:
        """Where the lines of a module are now."""
        path = PACKAGE / module
        after = path.read_text() if path.exists() else ""
        if before == after:
            return {}
        same = difflib.SequenceMatcher(None, before.splitlines(), after.splitlines(), autojunk=False)
        return {a + n + 1: b + n + 1 for a, b, size in same.get_matching_blocks() for n in range(size)}


def _too_slow(*_: Any) -> None:
    raise TimeoutError


def _digest(files: Sequence[Path]) -> str:
    found = hashlib.sha256()
    for file in sorted(files):
        found.update(str(file.relative_to(ROOT)).encode() + file.read_bytes())
    return found.hexdigest()[:16]
