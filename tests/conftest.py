"""What every tier shares: no way to a real AWS account, the order of the tiers, Hypothesis profiles, the engines."""

from __future__ import annotations

import gc
import os
from functools import cache
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest
from botocore.loaders import JSONFileLoader, Loader
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]  # it brings no types

from tests import engines

if TYPE_CHECKING:
    from collections.abc import Iterator

TIERS = ("unit", "property", "contract", "integration", "docs", "e2e")
"""The folders of tests, cheapest first, so that what is broken is seen early. Each is a marker, too."""

TESTS = Path(__file__).parent
OWN_ENGINES = ("test_built_functions", "test_console_page", "test_rie")
"""Modules of the end-to-end tier that do without the deployed stack."""


def pytest_configure(config: pytest.Config) -> None:
    """Take every AWS setting of the caller away before anything can read one; name the tiers."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ.update(engines.HARMLESS_AWS)
    _describe_aws_once()
    for tier in TIERS:
        config.addinivalue_line("markers", f"{tier}: tests in tests/{tier}")
    config.addinivalue_line("markers", "large: only with --large-models")


def _describe_aws_once() -> None:
    """Have botocore look for the descriptions of services, and read each, once a process and not once a session."""
    read, look = JSONFileLoader.load_file, Loader.list_available_services

    @cache
    def described(path: str) -> Any:
        return read(JSONFileLoader(), path)

    @cache
    def services(paths: tuple[str, ...], kind: str) -> Any:
        return look(Loader(paths, include_default_search_paths=False), kind)

    def list_available_services(loader: Loader, type_name: str) -> Any:
        return services(tuple(loader.search_paths), type_name)

    patch.object(JSONFileLoader, "load_file", lambda _, path: described(path)).start()
    patch.object(Loader, "list_available_services", list_available_services).start()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let tests run in another order, as none may depend on what ran before it; and more of the models."""
    parser.addoption(
        "--shuffle", type=int, metavar="SEED", help="shuffle modules, and the tests within each, by a seed"
    )
    parser.addoption("--large-models", action="store_true", help="explore large scenes of the storage protocol, too")


def pytest_report_header(config: pytest.Config) -> str | None:
    """Say how to see the same order again."""
    seed = config.getoption("shuffle")
    return None if seed is None else f"order: --shuffle {seed}"


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Share out single tests; those of one ``_engine`` stay together, the largest such group first."""
    return _ByEngine(config, log)


class _ByEngine(LoadScopeScheduling):  # type: ignore[misc]  # pytest-xdist is untyped
    """Groups by path: xdist's marks of groups become part of a node's id, which pytest 9.2 does not take."""

    def _split_scope(self, nodeid: str) -> str:
        return _engine(nodeid) or nodeid


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run the tiers in their order."""
    for item in items:
        if " at 0x" in item.nodeid:
            message = f"{item.nodeid}: the name holds an address, which is another one in each worker: give it an id"
            raise pytest.UsageError(message)
        tier = _tier(item)
        if tier in TIERS:
            item.add_marker(tier)
    if not config.getoption("large_models"):
        items[:] = [item for item in items if item.get_closest_marker("large") is None]
    if (seed := config.getoption("shuffle")) is not None:
        _shuffle(items, Random(seed))
    items.sort(key=lambda item: TIERS.index(tier) if (tier := _tier(item)) in TIERS else len(TIERS))


def pytest_collection_finish() -> None:
    """Look for garbage more seldom, and not among the collected tests: that was a tenth of the whole run."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def _engine(nodeid: str) -> str | None:
    """What a test shares with others and is slow to start: the deployed stack, or what its module starts once."""
    module = nodeid.partition("::")[0]
    if "tests/e2e/" in module:
        return module if Path(module).stem in OWN_ENGINES else "deployment"
    return module if module.endswith("test_typing.py") else None


def _shuffle(items: list[pytest.Item], random: Random) -> None:
    modules = sorted({item.path for item in items})
    random.shuffle(modules)
    place = {path: number for number, path in enumerate(modules)}
    random.shuffle(items)
    items.sort(key=lambda item: place[item.path])


def _tier(item: pytest.Item) -> str:
    return item.path.relative_to(TESTS).parts[0]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A check that failed before pytest started makes the whole run red, even when every test is green."""
    if _failed_checks() and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say at the end, where it is read, that a check failed further up."""
    if failed := _failed_checks():
        terminalreporter.section("checks", red=True)
        terminalreporter.write_line(f"FAILED, see above the tests: {failed}", red=True)


def _failed_checks() -> str:
    return os.environ.get("HEPHAESTUS_FAILED_CHECKS", "")


_PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("dev", _PATIENT, max_examples=150)
settings.register_profile("ci", _PATIENT, max_examples=150, derandomize=True, database=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if engines.in_ci() else "dev"))


@pytest.fixture(scope="session")
def dynamodb_local() -> Iterator[str]:
    """The endpoint URL of Amazon's DynamoDB Local; one for the session, so every test makes a table of its own."""
    with engines.dynamodb_local() as url:
        yield url


@pytest.fixture(scope="session")
def moto_server() -> Iterator[str]:
    """The endpoint URL of moto's server; one for the session, so every test makes resources of its own."""
    with engines.moto_server() as url:
        yield url


@pytest.fixture
def moto_in_process() -> Iterator[None]:
    """An empty AWS in this process, for this test."""
    with engines.moto_in_process():
        yield
