"""A real Chromium for tests, through Playwright: an installed one, or Debian's package in ``.local/``."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from playwright.sync_api import Error, expect, sync_playwright

from tests.engines import missing_engine
from tools.fetch_chromium import FetchError, fetch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

PATIENCE: Final = 120_000  # milliseconds that a page may take on a busy machine for what takes it none elsewhere


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run a headless Chromium; without one, skip, or fail where nothing may go unproven."""
    try:
        found = fetch()
    except FetchError as error:
        missing_engine(f"no Chromium for the tests of the console: {error}")
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(
                executable_path=found.executable,
                env={**os.environ, **found.environment},
                # Chromium's own sandbox needs rights that a container has not; it opens nothing but our own page.
                chromium_sandbox=False,
            )
        except Error as error:
            missing_engine(f"{found.executable} does not start: {error.message.splitlines()[0]}")
        try:
            yield browser
        finally:
            browser.close()
