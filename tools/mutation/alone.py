"""A mutant in a process of its own, which imports the changed module."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tools.mutation.plugin import KILLED, OPTIONS, SURVIVED, TIMEOUT, load_profile
from tools.mutation.process import PATIENCE, limit
from tools.mutation.settings import PACKAGE, ROOT

if TYPE_CHECKING:
    from types import CodeType

    from tools.mutation.mutants import Mutant


class Alone:
    """A mutant in a process of its own."""

    def __init__(self, mutant: Mutant, tests: list[str], seconds: float) -> None:
        self.mutant = mutant
        with tempfile.NamedTemporaryFile("wb", delete=False) as file:
            pickle.dump((mutant.module, mutant.source, tests, seconds), file)
        self.file = Path(file.name)
        self.until = time.monotonic() + 4 * (20 + PATIENCE * seconds)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tools.mutation", "--alone", file.name], cwd=ROOT, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    @property
    def ended(self) -> bool:
        """Whether it has; what has waited too long is ended."""
        if self.process.poll() is None and time.monotonic() <= self.until:
            return False
        self.end()
        return True

    def end(self) -> None:
        """End it, if it runs, with all that it has started; it is waited for, so that nothing of it is left."""
        if self.process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.file.unlink(missing_ok=True)

    @property
    def outcome(self) -> str:
        """What became of it."""
        if self.process.returncode < 0:
            return TIMEOUT
        return (
            SURVIVED if self.process.returncode in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED} else KILLED
        )


def run_alone(file: str) -> int:
    """Run tests while a module is imported as its mutant has it."""
    module, source, tests, seconds = pickle.loads(Path(file).read_bytes())  # noqa: S301 - the parent wrote it
    path, right = str(PACKAGE / module), SourceFileLoader.get_code
    limit(20 + seconds)

    def get_code(self: SourceFileLoader, fullname: str) -> CodeType | None:
        return compile(source, path, "exec") if self.path == path else right(self, fullname)

    setattr(SourceFileLoader, "get_code", get_code)  # noqa: B010 - the module as it would be
    if not tests:
        return int(pytest.ExitCode.NO_TESTS_COLLECTED)
    files = sorted({name.partition("::")[0] for name in tests})
    return int(pytest.main([*OPTIONS, "-x", *files], plugins=[Only(tests)]))


class Only:
    """A pytest plugin: only these tests, in this order."""

    def __init__(self, tests: list[str]) -> None:
        self.order = {name: place for place, name in enumerate(tests)}

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self) -> None:
        """Before the tests are imported, which read the profile."""
        load_profile()

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leave out all others."""
        items[:] = sorted((one for one in items if one.nodeid in self.order), key=lambda one: self.order[one.nodeid])
