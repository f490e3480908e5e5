"""An emulator of the tests' own, with IAM enforced, and the stack as in production: its API wants signatures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests import engines
from tests.e2e.deployment import Deployment, callers
from tools.emulator import deploy

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """The deployed stack; one for the session, so every test starts instances of its own."""
    with engines.ministack(tmp_path_factory.mktemp("emulator")) as emulator:
        deploy(emulator)
        yield callers(emulator)
