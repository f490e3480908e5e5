"""Run one function of the `sam build` output as Lambda would, without a container; a stand-in for `sam local invoke`.

Amazon's runtime interface emulator (it comes with the SAM CLI) takes the event over HTTP, and `awslambdaric`, Lambda's
own runtime client, runs the handler: JSON both ways, a real context object, the time limit, the layers on the path.

    python tools/rie.py StartFunction events/direct-start.json --env-vars events/env.json

Must not reach a real account: every AWS variable of the caller is dropped; what the function may use is given to it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    _Started = tuple[int, subprocess.Popen[bytes]]

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / ".aws-sam" / "build"
"""Where `sam build` puts what it makes, unless told otherwise."""
PYTHON = ROOT / ".venvs" / "rie" / "bin" / "python"
SAM = ROOT / ".venvs" / "sam"

HOST = "127.0.0.1"
_STARTUP = 30.0  # seconds until it listens
_TRIES = 3  # to find two ports
_GRACE = 5.0  # seconds between asking it to end and making it
_MACHINES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}


class EmulatorMissing(Exception):
    """The runtime emulator cannot run here; the text says why."""


class FunctionFailed(Exception):
    """The handler raised, ended its process or ran out of time: what a caller of Lambda sees as a `FunctionError`.

    Attributes:
        type: the exception's name, as Lambda reports it.
        message: its text.
    """

    def __init__(self, message: str, kind: str = "Runtime") -> None:
        super().__init__(f"{kind}: {message}")
        self.type = kind
        self.message = message


@dataclass(frozen=True)
class Function:
    """A function that the emulator holds warm."""

    port: int
    log_file: Path
    timeout: int

    def invoke(self, event: object) -> Any:
        """Return what the handler returns for the event.

        Raises:
            FunctionFailed: it returned nothing, but failed.
        """
        url = f"http://{HOST}:{self.port}/2015-03-31/functions/function/invocations"
        request = urllib.request.Request(url, json.dumps(event).encode(), {"Content-Type": "application/json"})
        # No proxy between two programs on one machine. The emulator enforces the function's limit; ours is for its own.
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with direct.open(request, timeout=self.timeout + _STARTUP) as response:
                body = response.read()
        except urllib.error.HTTPError as error:
            with error:
                body = error.read()  # the handler's process ended
        try:
            result = json.loads(body)
        except ValueError:
            # Its own words, as `Task timed out after 3.00 seconds`, are no JSON.
            raise FunctionFailed(body.decode(errors="replace")) from None
        if isinstance(result, dict) and {"errorType", "errorMessage"} <= result.keys():
            raise FunctionFailed(result["errorMessage"], result["errorType"])
        return result

    @property
    def log(self) -> str:
        """What the function and the emulator have written so far."""
        return self.log_file.read_text("utf-8", errors="replace")


@contextmanager
def running(
    code: Path,
    *,
    layers: Sequence[Path] = (),
    environment: Mapping[str, str] | None = None,
    handler: str = "app.handler",
    timeout: int = 30,
) -> Iterator[Function]:
    """Keep a function ready for events.

    Args:
        code: the folder that Lambda would unpack to its task root.
        layers: built layers, each a folder with `python/` in it, in the order of the template.
        environment: the function's variables; credentials, too, if it needs any.
        handler: `module.function`.
        timeout: seconds an invocation may take.

    Raises:
        EmulatorMissing: no emulator for this machine, or an environment is not installed.
        RuntimeError: the emulator ended before it listened.
    """
    emulator = find_emulator()
    known = _lambda_environment(code, layers, handler, timeout) | dict(environment or {})
    with tempfile.TemporaryDirectory(prefix="rie-") as folder:
        command, log = [str(emulator), str(PYTHON), "-m", "awslambdaric", handler], Path(folder) / "log"
        port, process = _started(command, code, known, log, _TRIES)
        try:
            yield Function(port, log, timeout)
        finally:
            _end(process)


def _started(command: Sequence[str], code: Path, environment: Mapping[str, str], log: Path, tries: int) -> _Started:
    """One that listens; a port that another process took after it was chosen is given up for another one."""
    port, api = _free_ports()
    emulator, *runtime = command
    addresses = ("--runtime-interface-emulator-address", f"{HOST}:{port}", "--runtime-api-address", f"{HOST}:{api}")
    with log.open("wb") as written:
        process = subprocess.Popen(
            [emulator, "--log-level", "error", *addresses, *runtime],
            cwd=code,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # the handler's process ends with the emulator's
        )
    try:
        _wait_until_it_listens(port, process, log)
    except RuntimeError:
        _end(process)
        if tries == 1:
            raise
        return _started(command, code, environment, log, tries - 1)
    return port, process


def find_emulator() -> Path:
    """Return the emulator's program for this machine.

    Raises:
        EmulatorMissing: there is none, or an environment is not installed.
    """
    machine = _MACHINES.get(platform.machine().lower())
    if sys.platform != "linux" or machine is None:
        msg = f"Amazon's runtime emulator runs on Linux, x86_64 or arm64; this is {sys.platform}, {platform.machine()}"
        raise EmulatorMissing(msg)
    found = sorted(SAM.glob(f"lib/python3*/site-packages/samcli/local/rapid/aws-lambda-rie-{machine}"))
    if not found or not PYTHON.exists():
        msg = "the runtime emulator is not installed: make .venvs/sam/.stamp .venvs/rie/.stamp"
        raise EmulatorMissing(msg)
    if os.access(found[0], os.X_OK):
        return found[0]
    # A wheel keeps no executable bit for data.
    copy = ROOT / ".local" / "rie" / found[0].name
    if not copy.exists():
        copy.parent.mkdir(parents=True, exist_ok=True)
        partial = copy.with_suffix(f".{os.getpid()}")
        shutil.copyfile(found[0], partial)
        partial.chmod(0o755)
        partial.rename(copy)
    return copy


def built_layers(build: Path) -> list[Path]:
    """Return the layers in the output of `sam build`."""
    return sorted(path.parent for path in build.glob("*/python"))


def _lambda_environment(code: Path, layers: Sequence[Path], handler: str, timeout: int) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PYTHON"))}
    return kept | {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_REGION": "eu-west-1",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_LAMBDA_FUNCTION_NAME": code.name,
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
        "AWS_LAMBDA_FUNCTION_TIMEOUT": str(timeout),
        "AWS_EXECUTION_ENV": f"AWS_Lambda_python{sys.version_info.major}.{sys.version_info.minor}",
        "LAMBDA_TASK_ROOT": str(code),
        "_HANDLER": handler,
        "PYTHONPATH": os.pathsep.join([str(code), *(str(layer / "python") for layer in layers)]),
        # Compiled once, though not into the build output, which stays what was built.
        "PYTHONPYCACHEPREFIX": str(ROOT / ".local" / "rie" / "pycache"),
        "TZ": ":UTC",
    }


def _free_ports() -> tuple[int, int]:
    """Two different ones that are free at this moment."""
    with socket.socket() as one, socket.socket() as other:
        one.bind((HOST, 0))
        other.bind((HOST, 0))
        return one.getsockname()[1], other.getsockname()[1]


def _wait_until_it_listens(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    give_up = time.monotonic() + _STARTUP
    while time.monotonic() < give_up and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex((HOST, port)) == 0:
                return
        time.sleep(0.02)
    msg = f"the runtime emulator does not listen (status {process.poll()}):\n{log.read_text(errors='replace')}"
    raise RuntimeError(msg)


def _end(process: subprocess.Popen[bytes]) -> None:
    for word in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, word)
        except ProcessLookupError:
            break
        try:
            process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            continue
    process.wait()


def main() -> int:
    """Invoke once; print the log to stderr and the result to stdout, as `sam local invoke` does."""
    parser = argparse.ArgumentParser(description="Run a built function without a container.")
    parser.add_argument("function", help="its name in template.yaml, such as StartFunction")
    parser.add_argument("event", type=Path, help="a JSON file")
    parser.add_argument("--build", type=Path, default=BUILD, help="what `sam build` made (default: .aws-sam/build)")
    parser.add_argument("--env-vars", type=Path, help="a JSON file as for `sam local invoke`")
    parser.add_argument("--timeout", type=int, default=30, help="seconds (default: 30)")
    arguments = parser.parse_args()
    code = arguments.build.resolve() / arguments.function
    if not code.is_dir():
        parser.error(f"there is no {code}: run `sam build`, and give the name of a function in template.yaml")
    variables = json.loads(arguments.env_vars.read_text("utf-8")) if arguments.env_vars else {}
    environment = {**variables.get("Parameters", {}), **variables.get(arguments.function, {})}
    try:
        with running(
            code, layers=built_layers(code.parent), environment=environment, timeout=arguments.timeout
        ) as function:
            try:
                print(json.dumps(function.invoke(json.loads(arguments.event.read_text("utf-8"))), indent=2))
            finally:
                sys.stderr.write(function.log)
    except (EmulatorMissing, FunctionFailed) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
