"""Runs mutants in forks of a process whose tests are collected."""

from __future__ import annotations

import gc
import os
import signal
import time
from collections import Counter, defaultdict
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any, Final

import pytest

from tools.mutation.alone import Alone
from tools.mutation.mutants import Mutant, mutants
from tools.mutation.plugin import KILLED, SURVIVED, TIMEOUT, load_profile
from tools.mutation.process import GRACE, PATIENCE, limit, silence
from tools.mutation.reach import Reach
from tools.mutation.settings import PACKAGE, SETTINGS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Report = Callable[[Mutant, str, float], None]
    Functions = dict[tuple[str, int], list[FunctionType]]

CONTROLS: Final = 10  # tests that are run without a mutant, after a module
QUICK: Final = 0.03  # seconds: quicker tests are not told apart by their time


def functions_of(module: str) -> Functions:
    """The functions that a module has made, by their qualified name and their place among those of the same name."""
    gc.unfreeze()  # the tests' conftest freezes what is there, and of what is frozen none is found
    path = str(PACKAGE / module)
    made: defaultdict[CodeType, list[FunctionType]] = defaultdict(list)
    for each in gc.get_objects():
        if type(each) is FunctionType and each.__code__.co_filename == path:  # an odd one might not say what it is
            made[each.__code__].append(each)
    codes = _codes(compile((PACKAGE / module).read_text(), path, "exec"))
    return {key: made[code] for key, code in codes.items() if code in made}


def _codes(code: CodeType) -> dict[tuple[str, int], CodeType]:
    """The code of functions and of methods: not that of functions within functions, which those make anew."""
    found: dict[tuple[str, int], CodeType] = {}
    seen: Counter[str] = Counter()

    def visit(outer: CodeType) -> None:
        for each in outer.co_consts:
            if isinstance(each, CodeType):
                if each.co_flags & 0x2:  # CO_NEWLOCALS: a function
                    found[each.co_qualname, seen[each.co_qualname]] = each
                    seen[each.co_qualname] += 1
                else:
                    visit(each)

    visit(code)
    return found


def exchange(mutant: Mutant, functions: Functions) -> bool:
    """Give the functions their changed code; false if the change is none of theirs."""
    new = _codes(compile(mutant.source, str(PACKAGE / mutant.module), "exec"))
    changed = False
    for key, old in functions.items():
        for function in old:
            if _differs(function.__code__, new[key]):
                if len(new[key].co_freevars) != len(function.__code__.co_freevars):
                    return False
                function.__code__, changed = new[key], True
    return changed


def _differs(old: Any, new: Any) -> bool:
    """Whether code does something else, wherever it stands."""
    if not isinstance(old, CodeType) or not isinstance(new, CodeType):
        return (type(old), old) != (type(new), new)
    if (old.co_code, old.co_names, old.co_varnames) != (new.co_code, new.co_names, new.co_varnames):
        return True
    pairs = zip(old.co_consts, new.co_consts, strict=False)
    return len(old.co_consts) != len(new.co_consts) or any(_differs(*pair) for pair in pairs)


class Runner:
    """A pytest plugin: it collects the tests, and runs the mutants instead of them."""

    def __init__(self, modules: Sequence[str], workers: int, report: Report, *, fresh: bool) -> None:
        self.modules, self.workers, self.report, self.fresh = modules, workers, report, fresh
        self.items: list[pytest.Item] = []
        self.kills: Counter[int] = Counter()
        self.failed = False

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self) -> None:
        """Before the tests are imported, which read the profile."""
        load_profile()

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leave out what is too slow by its kind."""
        items[:] = [item for item in items if not any(part in item.nodeid for part in SETTINGS["without"])]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A failure ends a mutant's process."""
        if report.failed:
            self.failed = True

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run each module's mutants."""
        self.items = session.items
        self.reach = Reach(self, fresh=self.fresh)
        gc.collect()
        functions = {module: functions_of(module) for module in self.modules}
        gc.freeze()
        for module in self.modules:
            self.module(module, functions[module])
        return True

    def run(self, indexes: Sequence[int]) -> Iterator[tuple[int, float]]:
        """Run tests one after the other; yields each with its time."""
        for place, index in enumerate(indexes):
            follows = self.items[indexes[place + 1]] if place + 1 < len(indexes) else None
            begun = time.process_time()
            self.items[index].config.hook.pytest_runtest_protocol(item=self.items[index], nextitem=follows)
            yield index, time.process_time() - begun

    def module(self, module: str, functions: Functions) -> None:
        """Run the mutants of one module, several at once."""
        self.kills.clear()
        waiting = mutants(module)[::-1]
        running: dict[int, tuple[Mutant, list[int], float, int]] = {}
        again: list[tuple[Mutant, list[int]]] = []
        while waiting or running:
            while waiting and len(running) < self.workers:
                mutant = waiting.pop()
                tests = self.tests(mutant)
                pid, answer = self.fork(mutant, functions, tests)
                running[pid] = (mutant, tests, time.monotonic(), answer)
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                time.sleep(0.005)
                self.stop_the_silent(running)
                continue
            if pid not in running:
                continue
            mutant, tests, begun, answer = running.pop(pid)
            said = os.read(answer, 16)
            os.close(answer)
            if os.waitstatus_to_exitcode(status) == 1:
                if said:
                    self.kills[int(said)] += 1
                self.report(mutant, KILLED, time.monotonic() - begun)
            elif os.waitstatus_to_exitcode(status) < 0:
                self.report(mutant, TIMEOUT, time.monotonic() - begun)
            elif os.waitstatus_to_exitcode(status) == 0:
                self.report(mutant, SURVIVED, time.monotonic() - begun)
            else:
                again.append((mutant, tests))
        self.alone(again)
        self.control(module)

    def control(self, module: str) -> None:
        """What found mutants passes without one: else this process has something that fails a test after the fork."""
        pid, answer = self.fork(None, {}, [index for index, _ in self.kills.most_common(CONTROLS)])
        os.close(answer)
        if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
            message = f"{module}: tests that have found mutants fail without any"
            raise SystemExit(message)

    def tests(self, mutant: Mutant) -> list[int]:
        """The tests that reach a mutant, within the budget: first those that found many a second, then the quick."""
        reaching = self.reach.tests(mutant)
        seconds_of = self.reach.seconds
        reaching.sort(key=lambda index: (-self.kills[index] / (seconds_of[index] + QUICK), seconds_of[index]))
        chosen, seconds = [], 0.0
        for index in reaching:
            seconds += self.reach.seconds[index]
            if seconds <= SETTINGS["budget"]:
                chosen.append(index)
        return chosen

    def fork(self, mutant: Mutant | None, functions: Functions, tests: list[int]) -> tuple[int, int]:
        """A process in which the mutant lives: it ends with 1 when a test fails, with 0 when none does, else with 2."""
        reading, writing = os.pipe()
        pid = os.fork()
        if pid:
            os.close(writing)
            return pid, reading
        silence()
        limit(sum(self.reach.seconds[index] for index in tests))
        try:
            if mutant and not exchange(mutant, functions):
                os._exit(2)
            for index, _ in self.run(tests):
                if self.failed:
                    os.write(writing, str(index).encode())
                    os._exit(1)
        except BaseException:  # noqa: BLE001 - whatever it is, it is the mutant's
            os._exit(1)
        os._exit(0)

    def stop_the_silent(self, running: dict[int, Any]) -> None:
        """End what waits for what will never happen."""
        for pid, (_, tests, begun, _) in running.items():
            allowed = 4 * (GRACE + PATIENCE * sum(self.reach.seconds[index] for index in tests))
            if time.monotonic() - begun > allowed:
                os.killpg(pid, signal.SIGKILL)

    def alone(self, mutants: list[tuple[Mutant, list[int]]]) -> None:
        """Run mutants in processes of their own, which import the changed module."""
        waiting = mutants[::-1]
        running: dict[Alone, float] = {}
        try:
            while waiting or running:
                while waiting and len(running) < self.workers:
                    mutant, tests = waiting.pop()
                    seconds = sum(self.reach.seconds[index] for index in tests)
                    names = [self.items[index].nodeid for index in tests]
                    running[Alone(mutant, names, seconds)] = time.monotonic()
                time.sleep(0.02)
                for each in [each for each in running if each.ended]:
                    self.report(each.mutant, each.outcome, time.monotonic() - running.pop(each))
        finally:  # whatever ends this run, ends them too
            for each in running:
                each.end()
