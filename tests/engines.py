"""The DynamoDBs that tests run against, each a context manager; ``conftest.py`` makes fixtures of them.

| engine | what it is for |
|---|---|
| `moto_in_process` | fast, all services; no network, so no HTTP faults |
| `moto_server` | the same over HTTP, from many threads |
| `dynamodb_local` | Amazon's own: the reference for conditions, indexes and the cost of single writes |

Everything listens on loopback only and is ended by who started it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn
from unittest.mock import patch

import pytest
from moto import mock_aws
from moto.dynamodb.responses import DynamoHandler

from tools.emulator import VENVS, Emulator, EmulatorError, free_port, stop
from tools.fetch_dynamodb_local import FetchError, fetch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from moto.core.common_types import TYPE_RESPONSE

ROOT = Path(__file__).resolve().parent.parent

REGION = "eu-west-1"
"""Where every test is; no engine cares, but botocore wants one."""

# What botocore reads. Nothing here opens any account, wherever the tests run.
HARMLESS_AWS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_SESSION_TOKEN": "testing",
    "AWS_DEFAULT_REGION": REGION,
    "AWS_REGION": REGION,
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}

_PORTS = 3  # that are tried for a server that cannot choose its own
_GRACE = 10.0  # seconds between asking a process to end and making it


def in_ci() -> bool:
    """Whether this is a run that must be complete (``CI=true``)."""
    return os.environ.get("CI", "").lower() in {"1", "true"}


def missing_engine(reason: str) -> NoReturn:
    """Skip what needs an engine that this machine lacks; under ``CI=true`` fail, as there nothing may go unproven."""
    if in_ci():
        pytest.fail(f"{reason} (a failure because CI=true)", pytrace=False)
    pytest.skip(reason)


@contextmanager
def one_dynamodb_call_at_a_time() -> Iterator[None]:
    """Make moto's DynamoDB exact under threads.

    moto checks a condition and writes in two moves, with nothing between threads: two of them win one conditional
    put, and updates get lost. DynamoDB serializes the writes of an item; this serializes all calls.
    """
    turn = threading.RLock()
    unguarded = DynamoHandler.call_action

    def call_action(self: DynamoHandler) -> TYPE_RESPONSE:
        with turn:
            answer: TYPE_RESPONSE = unguarded(self)
            return answer

    with patch.object(DynamoHandler, "call_action", call_action):
        yield


@contextmanager
def moto_in_process() -> Iterator[None]:
    """Answer every AWS call of this process from moto, starting from nothing."""
    with one_dynamodb_call_at_a_time(), mock_aws():
        yield


@contextmanager
def moto_server() -> Iterator[str]:
    """Run moto's server and give its endpoint URL. It answers for every service that moto has."""
    with _listening([sys.executable, "-m", "tests.moto_server"], ROOT, HARMLESS_AWS) as url:
        yield url


@contextmanager
def dynamodb_local() -> Iterator[str]:
    """Run Amazon's DynamoDB Local, in memory, and give its endpoint URL; fetch it first if need be."""
    java = shutil.which("java")
    if java is None:
        missing_engine("DynamoDB Local needs Java 17 or later; there is no `java` here")
    try:
        home = fetch()
    except FetchError as error:
        missing_engine(f"DynamoDB Local: {error}")
    command = [
        java,
        f"-Djava.library.path={home / 'DynamoDBLocal_lib'}",
        "-Dorg.eclipse.jetty.LEVEL=WARN",
        "-Dorg.eclipse.jetty.util.log.announce=false",
        # It serves one test at a time and lives for a minute: start fast, take little.
        "-XX:TieredStopAtLevel=1",
        "-XX:+UseSerialGC",
        "-Xmx512m",
        *("-cp", f"{home / 'DynamoDBLocal.jar'}{os.pathsep}{home / 'DynamoDBLocal_lib'}/*"),
        *("org.eclipse.jetty.xml.XmlConfiguration", str(ROOT / "tools" / "dynamodb-local.xml")),
    ]
    with _listening(command, home, {"DDB_LOCAL_TELEMETRY": "0"}) as url:
        yield url


@contextmanager
def _listening(command: list[str], home: Path, environment: Mapping[str, str]) -> Iterator[str]:
    """Run a server that chooses a free port and prints it, so that no other process can take it first; give its URL."""
    process = subprocess.Popen(
        command,
        cwd=home,
        env=os.environ | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with _ended(process):
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        if not port.isdigit():
            msg = f"{command} printed {port!r} and no port, status {process.poll()}; its words are above"
            raise RuntimeError(msg)
        yield f"http://127.0.0.1:{port}"


@contextmanager
def ministack(home: Path, *, auth: bool = True) -> Iterator[Emulator]:
    """Run a whole AWS that starts from nothing, keeps its data in ``home`` and enforces IAM unless told otherwise."""
    for environment in ("emulator", "sam"):
        if not (VENVS / environment / ".stamp").exists():
            missing_engine(f"the emulator is not installed: make .venvs/{environment}/.stamp")
    emulator, process = _started(home, auth=auth)
    try:
        yield emulator
    finally:
        stop(process.pid)
        process.wait()


def _started(home: Path, *, auth: bool) -> tuple[Emulator, subprocess.Popen[bytes]]:
    """An emulator that runs; a port that another process took after it was chosen is given up for another one."""
    for _ in range(_PORTS - 1):
        with suppress(EmulatorError):
            emulator = Emulator(free_port(), home, auth=auth)
            return emulator, emulator.start()
    emulator = Emulator(free_port(), home, auth=auth)
    return emulator, emulator.start()


@contextmanager
def _ended(process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> Iterator[None]:
    """End the process on leaving, and wait for its end; ``Popen`` then closes its pipes."""
    with process:
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(_GRACE)
            except subprocess.TimeoutExpired:
                process.kill()
