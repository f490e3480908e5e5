"""Find a Chromium for the tests of the console, or fetch Debian's, once, into ``.local/``, and print where it is.

One that is installed is taken as it is. Otherwise, on Debian, apt downloads the package ``chromium`` and those that it
needs and that are not installed, and they are unpacked without being installed: no one has to be root, and the system
stays as it was. apt checks the archive's signatures as ever.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT: Final = Path(__file__).resolve().parent.parent
INSTALLED: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PACKAGE: Final = "chromium"
PATIENCE: Final = 600  # seconds; 120 MB
TO_INSTALL: Final = re.compile(r"^Inst ([a-z0-9.+-]+(?::[a-z0-9]+)?) ", re.MULTILINE)


class FetchError(Exception):
    """Chromium could not be had; the text says why."""


@dataclass(frozen=True, slots=True)
class Browser:
    """A Chromium: its executable, and what its environment needs."""

    executable: Path
    environment: Mapping[str, str] = field(default_factory=dict)


def find(home: Path = ROOT / ".local" / "chromium") -> Browser | None:
    """The Chromium that is there, if any."""
    for name in INSTALLED:
        found = shutil.which(name)
        if found:
            return Browser(Path(found))
    executable = home / "usr" / "lib" / "chromium" / "chromium"
    if not executable.exists():
        return None
    folders = sorted({str(library.parent) for library in (home / "usr" / "lib").glob("*-linux-gnu*/**/*.so*")})
    return Browser(executable, {"LD_LIBRARY_PATH": os.pathsep.join(folders)})


def fetch(home: Path = ROOT / ".local" / "chromium") -> Browser:
    """The Chromium that is there, else Debian's, fetched (120 MB).

    :raises FetchError: there is none, and this is no Debian, or its archive cannot be had.
    """
    found = find(home)
    if found:
        return found
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            msg = "no Chromium is installed, and it is fetched on Debian only"
            raise FetchError(msg)
    home.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home.parent) as name:
        unpacked = _unpack(_download(Path(name)), Path(name) / "root")
        try:
            unpacked.rename(home)
        except OSError:
            # Another process was faster.
            if find(home) is None:
                raise
    found = find(home)
    if found is None:
        msg = f"Debian's package {PACKAGE} has no usr/lib/chromium/chromium any more"
        raise FetchError(msg)
    return found


def _download(folder: Path) -> Sequence[Path]:
    """The packages that are missing, as files; apt's lists are the caller's own, so that anybody may fetch them."""
    for part in ("lists/partial", "archives/partial", "packages"):
        (folder / part).mkdir(parents=True)
    own = ["-o", f"Dir::State::lists={folder}/lists", "-o", f"Dir::Cache={folder}", "-o", "APT::Sandbox::User="]
    _run(["apt-get", *own, "update", "--quiet"], folder)
    plan = _run(["apt-get", *own, "install", "--simulate", "--no-install-recommends", PACKAGE], folder)
    packages = TO_INSTALL.findall(plan)
    if not packages:
        msg = f"apt knows no package {PACKAGE}"
        raise FetchError(msg)
    _run(["apt-get", *own, "download", "--quiet", *packages], folder / "packages")
    return sorted((folder / "packages").glob("*.deb"))


def _unpack(packages: Sequence[Path], root: Path) -> Path:
    root.mkdir()
    for package in packages:
        _run(["dpkg-deb", "--extract", str(package), str(root)], root)
    return root


def _run(command: Sequence[str], folder: Path) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
        env=os.environ | {"LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"},
    )
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        msg = f"{' '.join(command[:1])} failed: {said[-1] if said else f'status {done.returncode}'}"
        raise FetchError(msg)
    return done.stdout


if __name__ == "__main__":
    try:
        print(fetch().executable)
    except FetchError as error:
        sys.exit(str(error))
