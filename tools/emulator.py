"""The local AWS: starts and stops it, builds and deploys the stack onto it, and invokes the functions there.

Used by the Makefile (`up`, `down`, `status`, `invoke`) and by the tests, which run one of their own. Nothing listens
beyond loopback, and no one's AWS profile is read: every AWS variable of the caller is dropped and replaced.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ROOT: Final = Path(__file__).resolve().parent.parent
LOCAL: Final = ROOT / ".local"
VENVS: Final = ROOT / ".venvs"
STACK: Final = "hephaestus"
REGION: Final = "us-east-1"
ARTIFACTS: Final = "hephaestus-artifacts"
HOST: Final = "127.0.0.1"
PORT: Final = 4566
LAST_PORT: Final = 65_535
START_SECONDS: Final = 60
STOP_SECONDS: Final = 30
# What a build depends on.
SOURCES: Final = ("template.yaml", "functions", "layers")


class EmulatorError(Exception):
    """Something the person at the keyboard can fix; the text says how."""


# --- Environments ---


def aws_environment(endpoint: str | None = None) -> dict[str, str]:
    """This process's environment for a tool that calls AWS: the emulator's address in, anybody's credentials out."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    nowhere = str(LOCAL / "no-aws-profile")
    kept |= {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_REGION": REGION,
        "AWS_CONFIG_FILE": nowhere,
        "AWS_SHARED_CREDENTIALS_FILE": nowhere,
        "AWS_EC2_METADATA_DISABLED": "true",
        "SAM_CLI_TELEMETRY": "0",
        "SAM_CLI_POLL_DELAY": "1",
        "__SAM_CLI_APP_DIR": str(LOCAL / "sam"),
        # SAM looks for the interpreter of the runtime, and the layer's Makefile for one with pip.
        "PATH": f"{VENVS / 'sam' / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "PYTHON": str(VENVS / "sam" / "bin" / "python"),
    }
    if endpoint:
        # A proxy has no business between two programs on one machine.
        hosts = [HOST, "localhost", *filter(None, [os.environ.get("NO_PROXY") or os.environ.get("no_proxy")])]
        kept |= {"AWS_ENDPOINT_URL": endpoint, "NO_PROXY": ",".join(hosts), "no_proxy": ",".join(hosts)}
    return kept


def client(service: Any, endpoint: str) -> Any:
    """A boto3 client of the emulator, as its all-powerful deployer; no profile, settings or proxy of anybody's."""
    import boto3
    import botocore.session
    from botocore.config import Config

    # Where a setting comes from: the name in a profile, in the environment, and what it is without either.
    unset: dict[str, tuple[None, None, str | None, None]] = {
        "profile": (None, None, None, None),
        "config_file": (None, None, os.devnull, None),
        "credentials_file": (None, None, os.devnull, None),
    }
    session: Any = boto3.Session(botocore_session=botocore.session.Session(session_vars=unset))  # any service's name
    return session.client(
        service,
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id="test",
        aws_secret_access_key="test",  # noqa: S106 - the emulator's own
        config=Config(proxies={}),
    )


# --- The emulator's process ---


@dataclass(frozen=True)
class Emulator:
    """One emulator: where it listens and where it keeps its data.

    Attributes:
        port: on loopback.
        home: its directory: data, log and temporary files.
        auth: whether IAM is enforced.
    """

    port: int
    home: Path
    auth: bool = True

    @property
    def endpoint(self) -> str:
        """Its address."""
        return f"http://{HOST}:{self.port}"

    @property
    def log(self) -> Path:
        """What it and its functions wrote."""
        return self.home / "emulator.log"

    def start(self) -> subprocess.Popen[bytes]:
        """Start it and wait until it answers; where that is interrupted, it is stopped.

        Raises:
            EmulatorError: the port is taken, or it ended or stayed silent.
        """
        process = self._begin()
        try:
            self._wait(process)
        except BaseException:
            stop(process.pid)
            raise
        return process

    def _begin(self) -> subprocess.Popen[bytes]:
        """Start it."""
        check_port_is_free(self.port)
        program = VENVS / "emulator" / "bin" / "python"
        if not program.exists():
            message = "the emulator is not installed: make .venvs/emulator/.stamp"
            raise EmulatorError(message)
        temporary = self.home / "tmp"
        shutil.rmtree(temporary, ignore_errors=True)  # what functions of an earlier run left
        temporary.mkdir(parents=True)
        environment = aws_environment() | {
            "BIND_HOST": HOST,
            "GATEWAY_PORT": str(self.port),
            "MINISTACK_REGION": REGION,
            "AUTH": "true" if self.auth else "false",
            "PERSIST_STATE": "1",
            "STATE_DIR": str(self.home / "state"),
            "S3_PERSIST": "1",
            "S3_DATA_DIR": str(self.home / "s3"),
            "TMPDIR": str(temporary),
            # Its other listeners would not stay on loopback.
            "IOT_MTLS_ENABLED": "0",
            "SFTP_ENABLED": "0",
            "LOG_LEVEL": os.environ.get("EMULATOR_LOG_LEVEL", "INFO"),
        }
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [str(program), str(ROOT / "tools" / "run_ministack.py")],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        """Wait until it answers."""
        deadline = time.monotonic() + START_SECONDS
        while not self.is_healthy():
            if process.poll() is not None:
                message = f"the emulator ended at once with status {process.returncode}; see {self.log}"
                raise EmulatorError(message)
            if time.monotonic() > deadline:
                message = f"the emulator did not answer within {START_SECONDS} s; see {self.log}"
                raise EmulatorError(message)
            time.sleep(0.1)

    def is_healthy(self) -> bool:
        """Whether an emulator answers at the address."""
        try:
            with _opener().open(f"{self.endpoint}/_ministack/health", timeout=2) as answer:
                return bool(answer.status == 200)  # noqa: PLR2004 - OK
        except (urllib.error.URLError, OSError):
            return False


def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(urllib.request.ProxyHandler({}))


def check_port_is_free(port: int) -> None:
    """Refuse a port that somebody listens at.

    Raises:
        EmulatorError: naming the port.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            message = f"port {port} is taken by another program; choose another one: make up PORT={port + 1}"
            raise EmulatorError(message) from error


def free_port() -> int:
    """A port no one listens at."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def is_alive(pid: int) -> bool:
    """Whether ``pid`` is one of our emulators, and not a later process with its number."""
    found = subprocess.run(["ps", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=False)  # noqa: S607 - ps is where the system has it
    return "ministack" in found.stdout


def stop(pid: int) -> None:
    """End an emulator, which writes its data first.

    Raises:
        EmulatorError: it does not end.
    """
    deadline = time.monotonic() + STOP_SECONDS
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    while is_alive(pid):
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        if time.monotonic() > deadline:
            message = (
                f"the emulator (process {pid}) does not end; its last data are not saved if you kill it: kill -9 {pid}"
            )
            raise EmulatorError(message)
        time.sleep(0.1)


# --- Build and deploy ---


def digest(more: Mapping[str, str] | None = None) -> str:
    """What identifies the sources of a build, with what else it depends on."""
    known = hashlib.sha256(json.dumps(dict(more or {}), sort_keys=True).encode())
    for source in SOURCES:
        path = ROOT / source
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and "__pycache__" not in file.parts:
                known.update(f"{file.relative_to(ROOT)}\0".encode() + file.read_bytes())
    return known.hexdigest()


def parameters(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The stack's parameters on this machine."""
    runtime = f"python{sys.version_info.major}.{sys.version_info.minor}"
    architecture = "arm64" if platform.machine() in ("arm64", "aarch64") else "x86_64"
    # The emulator's IAM takes every schedule for one of the group `default`: a policy for another group lets none be
    # made.
    known = {"PythonRuntime": runtime, "Architecture": architecture, "ScheduleGroupName": "default"}
    # It speaks HTTP, and honours a policy that rejects it.
    # Its CloudFormation has no saved queries of Logs Insights, and hands an event source its bound as a text, which its
    # poller cannot compare.
    return known | {"TlsOnly": "off", "SavedQueries": "off", "BulkConcurrency": "0"} | dict(more or {})


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Let one process at a time do something."""
    LOCAL.mkdir(exist_ok=True)
    with (LOCAL / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def build() -> Path:
    """Build functions and layers, unless they are as they were; returns the built template.

    Raises:
        EmulatorError: SAM refuses.
    """
    target, stamp = LOCAL / "build", LOCAL / "build.digest"
    with locked("build"):
        wanted = digest(parameters())
        if not (stamp.exists() and stamp.read_text() == wanted and target.exists()):
            stamp.unlink(missing_ok=True)
            overrides = [f"{name}={value}" for name, value in parameters().items()]
            _sam(
                aws_environment(),
                *("build", "--template", str(ROOT / "template.yaml"), "--build-dir", str(target)),
                *("--cached", "--cache-dir", str(LOCAL / "build-cache"), "--parameter-overrides", *overrides),
            )
            stamp.write_text(wanted)
    return target / "template.yaml"


def deploy(emulator: Emulator, more: Mapping[str, str] | None = None, *, stack: str = STACK) -> dict[str, str]:
    """Deploy what is built; returns the stack's outputs, with the addresses as they are on this machine.

    Raises:
        EmulatorError: SAM or the emulator refuses.
    """
    template = build()
    artifacts = client("s3", emulator.endpoint)
    if ARTIFACTS not in {bucket["Name"] for bucket in artifacts.list_buckets()["Buckets"]}:
        artifacts.create_bucket(Bucket=ARTIFACTS)
    # SAM reads a value that is empty in quotes only; a parameter that is not named keeps the value of its stack.
    overrides = [f"{name}={value or empty}" for empty in ['""'] for name, value in parameters(more).items()]
    _sam(
        aws_environment(emulator.endpoint),
        *("deploy", "--template", str(template), "--stack-name", stack, "--s3-bucket", ARTIFACTS, "--s3-prefix", stack),
        *(
            "--capabilities",
            "CAPABILITY_IAM",
            "--no-confirm-changeset",
            "--no-fail-on-empty-changeset",
            "--no-progressbar",
        ),
        *("--parameter-overrides", *overrides),
    )
    found = outputs(emulator, stack)
    _complete(emulator, found)
    return found


def _complete(emulator: Emulator, deployed: Mapping[str, str]) -> None:
    """Do what the template says and the emulator's CloudFormation leaves out, though the emulator itself can do it."""
    table = client("dynamodb", emulator.endpoint)
    if (
        table.describe_time_to_live(TableName=deployed["TableName"])["TimeToLiveDescription"]["TimeToLiveStatus"]
        == "DISABLED"
    ):
        setting = {"AttributeName": "ttl", "Enabled": True}
        table.update_time_to_live(TableName=deployed["TableName"], TimeToLiveSpecification=setting)
    client("lambda", emulator.endpoint).put_function_recursion_config(
        FunctionName=deployed["ResumeFunctionName"], RecursiveLoop="Allow"
    )
    # Where links lead: the template names API Gateway's address on AWS.
    client("ssm", emulator.endpoint).put_parameter(
        Name=deployed["CallbackUrlParameterName"], Value=deployed["ApiUrl"], Type="String", Overwrite=True
    )


def outputs(emulator: Emulator, stack: str = STACK) -> dict[str, str]:
    """The stack's outputs; ``ApiUrl`` is where the emulator serves the API.

    Raises:
        EmulatorError: there is no such stack.
    """
    formation = client("cloudformation", emulator.endpoint)
    try:
        described = formation.describe_stacks(StackName=stack)
    except formation.exceptions.ClientError as error:
        message = f"no stack {stack} is deployed: make up"
        raise EmulatorError(message) from error
    found = {output["OutputKey"]: output["OutputValue"] for output in described["Stacks"][0]["Outputs"]}
    found["ApiUrl"] = f"{emulator.endpoint}/_aws/execute-api/{found['ApiId']}/{found['ApiStage']}"
    return found


def _sam(environment: Mapping[str, str], *arguments: str) -> None:
    """Run SAM; its output is shown when it fails, or with VERBOSE=1."""
    program = VENVS / "sam" / "bin" / "sam"
    if not program.exists():
        message = "SAM is not installed: make .venvs/sam/.stamp"
        raise EmulatorError(message)
    verbose = bool(os.environ.get("VERBOSE"))
    done = subprocess.run(
        [str(program), *arguments],
        cwd=ROOT,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=None if verbose else subprocess.PIPE,
        stderr=None if verbose else subprocess.STDOUT,
        check=False,
    )
    if done.returncode:
        if done.stdout:
            sys.stderr.buffer.write(done.stdout)
        message = f"sam {arguments[0]} failed with status {done.returncode}"
        raise EmulatorError(message)


# --- Commands ---

HOME: Final = LOCAL / "emulator"
STATE: Final = HOME / "running.json"


def running() -> tuple[Emulator, int] | None:
    """The emulator of `up` and its process, if it lives."""
    if not STATE.exists():
        return None
    known = json.loads(STATE.read_text())
    if not is_alive(known["pid"]):
        STATE.unlink()
        return None
    return Emulator(known["port"], HOME), known["pid"]


def read_parameters(given: Sequence[str]) -> dict[str, str]:
    """Parameters of the template as ``Name=value``.

    Raises:
        EmulatorError: one is malformed, or the template has none of that name.
    """
    found: dict[str, str] = {}
    section = re.search(r"^Parameters:\n((?: .*\n|\n)+)", (ROOT / "template.yaml").read_text("utf-8"), re.MULTILINE)
    known = re.findall(r"^  (\w+):$", section[1] if section else "", re.MULTILINE)
    for each in given:
        name, equals, value = each.partition("=")
        if not equals or name not in known:
            message = f"{each!r} is no parameter: write Name=value, with one of {', '.join(known)}"
            raise EmulatorError(message)
        found[name] = value
    return found


def check() -> None:
    """Check the workflows, and compare them with those that are deployed.

    Raises:
        EmulatorError: something is wrong with them, or an open instance would be parked.
    """
    program = VENVS / "cli" / "bin" / "hephaestus"
    command = [str(program), "--local", "check", "--deployed", "layers/workflows/workflows"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.stderr.write(done.stdout + done.stderr)
        message = "the workflows are not deployed as they are; to deploy them all the same: make deploy CHECK=no"
        raise EmulatorError(message)


def up(port: int | None = None, more: Mapping[str, str] | None = None, *, checked: bool = True) -> None:
    """Start the emulator if it does not run, and deploy the stack if anything changed.

    Args:
        port: where it listens; by default where it runs already, else ``PORT``.
        more: parameters of the template that differ from those of this machine.
        checked: whether the workflows are checked before they are deployed.

    Raises:
        EmulatorError: it runs at another port than the one that is asked for, or the workflows are wrong.
    """
    HOME.mkdir(parents=True, exist_ok=True)
    found = running()
    if found:
        emulator, pid = found
        if port not in {None, emulator.port}:
            message = f"the emulator already runs at port {emulator.port}; stop it first: make down"
            raise EmulatorError(message)
        say(f"the emulator runs at {emulator.endpoint} (process {pid})")
    else:
        emulator = Emulator(port or PORT, HOME)
        say(f"starting the emulator at {emulator.endpoint}")
        process = emulator.start()
        STATE.write_text(json.dumps({"pid": process.pid, "port": emulator.port}))
    stamp = HOME / "deployed.digest"
    chosen = parameters({"ApiAuthorization": "NONE", **(more or {})})
    wanted = digest(chosen)
    if stamp.exists() and stamp.read_text() == wanted:
        say("the stack is deployed as it is")
    else:
        if checked:
            say("checking the workflows")
            check()
        stamp.unlink(missing_ok=True)
        say("building functions and layers")
        build()
        say("deploying the stack")
        deploy(emulator, chosen)
        stamp.write_text(wanted)
    say(f"the API: {outputs(emulator)['ApiUrl']}")


def down() -> None:
    """Stop the emulator; its data stay."""
    found = running()
    if not found:
        say("the emulator does not run")
        return
    _, pid = found
    stop(pid)
    STATE.unlink()
    say("the emulator has stopped; its data are kept for the next `make up` (`make clean` removes them)")


def status() -> None:
    """Say whether the emulator runs and where."""
    found = running()
    if not found:
        say("the emulator does not run")
        return
    emulator, pid = found
    say(f"the emulator runs at {emulator.endpoint} (process {pid}), log: {emulator.log.relative_to(ROOT)}")
    found_outputs = outputs(emulator)
    width = max(map(len, found_outputs), default=0)
    for name, value in found_outputs.items():
        say(f"  {name:<{width}}  {value}")


def invoke(function: str, event: Path) -> int:
    """Invoke a deployed function with the event in a file; print what it answers. Returns the exit status."""
    found = running()
    if not found:
        message = "the emulator does not run: make up"
        raise EmulatorError(message)
    try:
        payload = event.read_bytes()
    except OSError as error:
        message = f"there is no event {event}: see events/"
        raise EmulatorError(message) from error
    functions = client("lambda", found[0].endpoint)
    try:
        answer = functions.invoke(FunctionName=f"{STACK}-{function}", Payload=payload)
    except functions.exceptions.ResourceNotFoundException as error:
        known = ", ".join(path.parent.name for path in sorted((ROOT / "functions").glob("*/app.py")))
        message = f"there is no function {function}: there are {known}"
        raise EmulatorError(message) from error
    body = answer["Payload"].read()
    try:
        text = json.dumps(json.loads(body), indent=2, ensure_ascii=False)
    except ValueError:
        text = body.decode(errors="replace")
    sys.stdout.write(f"{text}\n")
    return 1 if answer.get("FunctionError") else 0


def read_port(text: str) -> int:
    """A port as the command line has it.

    Raises:
        ArgumentTypeError: it is none.
    """
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(LAST_PORT)) and 1 <= int(text) <= LAST_PORT):
        message = f"{text[:20]!r} is no port: choose one from 1 to {LAST_PORT}, such as PORT={PORT}"
        raise argparse.ArgumentTypeError(message)
    return int(text)


def say(text: str) -> None:
    """A line of progress."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description="The local AWS.")
    commands = parser.add_subparsers(dest="command", required=True)
    starting = commands.add_parser("up", help="start it and deploy the stack")
    starting.add_argument("--port", type=read_port, help=f"on loopback; by default {PORT}, or where it runs already")
    starting.add_argument("--parameters", nargs="+", default=[], metavar="NAME=VALUE", help="of the template")
    starting.add_argument("--unchecked", action="store_true", help="deploy workflows without checking them")
    commands.add_parser("down", help="stop it, keeping its data")
    commands.add_parser("status", help="say whether and where it runs")
    commands.add_parser("build", help="build functions and layers")
    invoking = commands.add_parser("invoke", help="invoke a deployed function")
    invoking.add_argument("function")
    invoking.add_argument("event", type=Path)
    asked = parser.parse_args()
    try:
        match asked.command:
            case "up":
                up(asked.port, read_parameters(asked.parameters), checked=not asked.unchecked)
            case "down":
                down()
            case "status":
                status()
            case "build":
                build()
            case _:
                return invoke(asked.function, asked.event)
    except EmulatorError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130
    except BrokenPipeError:  # who read it has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
