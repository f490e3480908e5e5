"""Takes the README's pictures of the console, of a Hephaestus in memory: ``python tools/console_pictures.py [FOLDER]``.

Run it after the page has changed, look at what it took, and commit it.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "layers" / "hephaestus")]

from playwright.sync_api import sync_playwright

from hephaestus.console import ConsoleServer
from hephaestus.console.demo import in_memory
from tools.fetch_chromium import fetch

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ViewportSize

WIDE: Final[ViewportSize] = {"width": 1280, "height": 720}
TALL: Final[ViewportSize] = {"width": 1280, "height": 940}
FAILED: Final = "orderid::2026-0011"


def take(folder: Path) -> None:
    """Write the pictures into ``folder``."""
    found = fetch()
    with in_memory() as connection, ConsoleServer(connection, 0) as server, sync_playwright() as playwright:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser = playwright.chromium.launch(
            executable_path=found.executable, env={**os.environ, **found.environment}, chromium_sandbox=False
        )
        _list(browser, server, folder / "console-list.png")
        _instance(browser, server, folder / "console-instance.png")
        browser.close()
        server.shutdown()


def _list(browser: Browser, server: ConsoleServer, picture: Path) -> None:
    page = browser.new_page(viewport=WIDE, color_scheme="light")
    page.goto(server.url)
    page.get_by_role("row").filter(has_text=FAILED).filter(has_text="failed").wait_for()
    page.get_by_role("button", name="All workflows, waiting 11").wait_for()
    page.screenshot(path=picture)


def _instance(browser: Browser, server: ConsoleServer, picture: Path) -> None:
    page = browser.new_page(viewport=TALL, color_scheme="dark")
    page.goto(server.url)
    page.get_by_role("link", name=FAILED).click()
    page.locator('[data-step="ship"]').click()
    page.locator("main").evaluate("main => main.scrollTo(0, 0)")
    page.mouse.move(0, 0)
    page.wait_for_timeout(300)  # what the pointer was over has lost its colour
    page.screenshot(path=picture)


if __name__ == "__main__":
    take(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "images")
