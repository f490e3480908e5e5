"""The wheel as it is published, and the same as of another release."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

from hephaestus import __version__

ROOT = Path(__file__).resolve().parent.parent


def build_wheel(folder: Path) -> Path:
    """Build it into a folder."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def as_release(wheel: Path, version: str) -> Path:
    """The same wheel, beside it, that says it is of another release."""
    other = wheel.with_name(wheel.name.replace(__version__, version))
    with ZipFile(wheel) as packed, ZipFile(other, "w", ZIP_DEFLATED) as repacked:
        for name in packed.namelist():
            text = packed.read(name)
            if name.endswith((".dist-info/METADATA", "hephaestus/__init__.py")):
                text = text.replace(__version__.encode(), version.encode())
            if name.endswith("/RECORD"):  # without digests, which nobody needs to check here
                names = [each.replace(__version__, version) for each in packed.namelist()]
                text = "".join(f"{each},,\n" for each in names).encode()
            repacked.writestr(name.replace(f"aws-{__version__}.dist-info", f"aws-{version}.dist-info"), text)
    return other
