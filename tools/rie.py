"""Runs a built function as `sam local invoke` does, without a container: on Amazon's own Lambda runtime emulator (RIE).

The RIE lies in SAM's package and drives Amazon's runtime client, which imports the function that `sam build` made,
with the built layers where Lambda has them on the path. Usage: rie.py FUNCTION EVENT [ENV], with files as
`sam local invoke` takes them.

Never call the RIE with --help: it takes it for a function and waits.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tools.emulator import HOST, LOCAL, VENVS, EmulatorError, aws_environment, free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

LAYERS: Final = ("HephaestusLayer", "WorkflowsLayer")
START_SECONDS: Final = 30
ANSWER_SECONDS: Final = 330


class FunctionFailed(Exception):
    """The function raised; what Lambda tells its caller.

    Attributes:
        error: ``errorType``, ``errorMessage`` and the rest.
    """

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(f"{error.get('errorType')}: {error.get('errorMessage')}")
        self.error = error


@contextlib.contextmanager
def lambda_runtime(function: str, variables: Mapping[str, str], *, timeout: int = 60) -> Iterator[Callable[[Any], Any]]:
    """Serve a built function; gives a call that takes an event and returns the answer, or raises ``FunctionFailed``.

    Args:
        function: as in ``functions/``.
        variables: the function's environment.
        timeout: the function's, in seconds.

    Raises:
        EmulatorError: it is not built, or does not start.
    """
    built = LOCAL / "build"
    code = built / f"{function.capitalize()}Function"
    if not (code / "app.py").exists():
        message = f"{code} is not built: .venvs/sam/bin/python tools/emulator.py build"
        raise EmulatorError(message)
    port = free_port()
    environment = aws_environment() | {
        **variables,
        "PYTHONPATH": os.pathsep.join(str(built / layer / "python") for layer in LAYERS),
        "LAMBDA_TASK_ROOT": str(code),
        "AWS_LAMBDA_FUNCTION_NAME": f"hephaestus-{function}",
        "AWS_LAMBDA_FUNCTION_TIMEOUT": str(timeout),
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [
        str(emulator_program()),
        *("--runtime-interface-emulator-address", f"{HOST}:{port}", "--runtime-api-address", f"{HOST}:{free_port()}"),
        *(str(VENVS / "lambda" / "bin" / "python"), "-m", "awslambdaric", "app.handler"),
    ]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command, cwd=code, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
        try:
            _wait(port, process)
            yield lambda event: _invoke(port, event)
        except (EmulatorError, urllib.error.URLError) as error:
            log.seek(0)
            message = f"{error}\n{log.read().decode(errors='replace')}"
            raise EmulatorError(message) from error
        finally:
            process.terminate()
            process.wait()


def emulator_program() -> Path:
    """The RIE for this machine.

    Raises:
        EmulatorError: SAM or the runtime client is not installed.
    """
    architecture = "arm64" if platform.machine() in ("arm64", "aarch64") else "x86_64"
    found = sorted((VENVS / "sam").glob(f"lib/python*/site-packages/samcli/local/rapid/aws-lambda-rie-{architecture}"))
    if not found or not (VENVS / "lambda" / ".stamp").exists():
        message = "the runtime emulator is not installed: make .venvs/sam/.stamp .venvs/lambda/.stamp"
        raise EmulatorError(message)
    return found[0]


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        with contextlib.suppress(OSError), contextlib.closing(_connect(port)):
            return
        if process.poll() is not None or time.monotonic() > deadline:
            message = "the runtime emulator did not start"
            raise EmulatorError(message)
        time.sleep(0.05)


def _connect(port: int) -> socket.socket:
    return socket.create_connection((HOST, port), timeout=1)


def _invoke(port: int, event: Any) -> Any:
    address = f"http://{HOST}:{port}/2015-03-31/functions/function/invocations"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(address, json.dumps(event).encode(), timeout=ANSWER_SECONDS) as answer:
        body = json.loads(answer.read() or b"null")
    if isinstance(body, dict) and "errorType" in body and "statusCode" not in body:
        raise FunctionFailed(body)
    return body


def main() -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description="Run a built function on Amazon's runtime emulator.")
    parser.add_argument("function")
    parser.add_argument("event", type=Path)
    parser.add_argument("environment", type=Path, nargs="?", default=Path("events/env.json"))
    asked = parser.parse_args()
    variables = json.loads(asked.environment.read_text())["Parameters"]
    try:
        with lambda_runtime(asked.function, variables) as invoke:
            print(json.dumps(invoke(json.loads(asked.event.read_text())), indent=2))
    except (EmulatorError, FunctionFailed) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
