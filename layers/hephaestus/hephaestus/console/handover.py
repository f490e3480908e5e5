"""Hands the console's one-time address to a browser in a file that no other user can read.

A browser's command line is in the list of processes, which every user of the machine may read, so it gets a file's path
only, as Jupyter does. The file lies in a new directory of mode 0700 whose name cannot be guessed, and is made
exclusively, so that neither can be made before or led elsewhere by another user. The address is never in an argument,
in the environment or in a log.
"""

from __future__ import annotations

import html
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from types import TracebackType

NAME: Final = "console.html"
PAGE: Final = """\
<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="referrer" content="no-referrer">
<meta http-equiv="refresh" content="0;url={url}">
<title>Hephaestus console</title>
<p>The console opens. If it does not: <a href="{url}">open it</a>.</p>
"""


class Handover:
    """A page on disk that leads to an address, until it is removed.

    Args:
        url: the address.
        folder: where its directory is made; by default where the system keeps temporary files.

    Raises:
        OSError: it cannot be written.
    """

    def __init__(self, url: str, folder: str | None = None) -> None:
        # mkdtemp makes it with mode 0700, and fails where the name exists already, as a symbolic link included.
        self._directory = Path(tempfile.mkdtemp(prefix="hephaestus-console-", dir=folder))
        try:
            self._write(PAGE.format(url=html.escape(url)))
        except BaseException:
            self.remove()
            raise

    def _write(self, page: str) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
        with open(os.open(self.path, flags, 0o600), "w", encoding="utf-8") as file:  # noqa: PTH123 - a descriptor, with its mode
            file.write(page)

    @property
    def path(self) -> Path:
        """The page's path."""
        return self._directory / NAME

    @property
    def uri(self) -> str:
        """The page's path as a browser takes it, on every system."""
        return self.path.resolve().as_uri()

    def remove(self) -> None:
        """Remove the page and its directory; again is no error."""
        shutil.rmtree(self._directory, ignore_errors=True)

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Remove it."""
        self.remove()
