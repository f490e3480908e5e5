"""What the commands of the local AWS take, and how they end when they cannot do it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest

from tools import emulator
from tools.emulator import Emulator, EmulatorError, read_parameters, read_port

if TYPE_CHECKING:
    from pathlib import Path


def test_parameters_of_the_template_are_taken_whatever_their_values() -> None:
    assert read_parameters([]) == {}
    given = [
        "StepPolicyArn=arn:aws:iam::000000000000:policy/orders",
        "LogLevel=DEBUG",
        "LogMetadata=a=b,c",
        "KmsKeyArn=",
    ]
    assert read_parameters(given) == {
        "StepPolicyArn": "arn:aws:iam::000000000000:policy/orders",
        "LogLevel": "DEBUG",
        "LogMetadata": "a=b,c",
        "KmsKeyArn": "",
    }


@pytest.mark.parametrize("wrong", ["LogLevl=DEBUG", "LogLevel", "", "=x", "Type=String", "Parameters=x"])
def test_any_other_is_rejected_with_the_names_that_there_are(wrong: str) -> None:
    with pytest.raises(EmulatorError, match=r"is no parameter: write Name=value, with one of ApiAuthorization, .*"):
        read_parameters(["LogLevel=INFO", wrong])


@pytest.mark.parametrize("wrong", ["80000", "65536", "0", "-1", "", "http", "9" * 5_000, "٤٥٦٦"])
def test_a_port_that_is_none_is_rejected_in_a_line(wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run("up", f"--port={wrong}")
    shown = capsys.readouterr().err
    assert "is no port: choose one from 1 to 65535, such as PORT=4566" in shown
    assert len(shown) < 300
    assert read_port("65535") == 65_535


def run(*arguments: str) -> int:
    """Have the command do something in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["emulator", *arguments])
        return emulator.main()


def test_an_empty_parameter_is_quoted_for_sam(monkeypatch: pytest.MonkeyPatch) -> None:
    """So it replaces the value that the stack has: SAM rejects ``Name=``, and keeps what is not named."""
    called: list[str] = []
    buckets = {"list_buckets.return_value": {"Buckets": [{"Name": emulator.ARTIFACTS}]}}
    monkeypatch.setattr(emulator, "build", lambda: emulator.HOME)
    monkeypatch.setattr(emulator, "client", lambda *_: Mock(**buckets))
    monkeypatch.setattr(emulator, "_sam", lambda _, *arguments: called.extend(arguments))
    monkeypatch.setattr(emulator, "outputs", lambda *_: {})
    monkeypatch.setattr(emulator, "_complete", lambda *_: None)
    emulator.deploy(Emulator(1, emulator.HOME), {"StepPolicyArn": "", "LogLevel": "DEBUG"})
    assert {'StepPolicyArn=""', "LogLevel=DEBUG"} <= set(called[called.index("--parameter-overrides") :])


class Stackless:
    """CloudFormation without a stack."""

    class exceptions:  # noqa: N801 - as boto3's clients have it
        """Its errors."""

        ClientError = LookupError

    def describe_stacks(self, StackName: str) -> None:  # noqa: N803 - boto3's name
        """There is none."""
        raise LookupError(StackName)


def test_the_status_without_a_stack_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(emulator, "running", lambda: (Emulator(1, emulator.HOME), 7))
    monkeypatch.setattr(emulator, "client", lambda *_: Stackless())
    assert run("status") == 1
    assert capsys.readouterr().err == "error: no stack hephaestus is deployed: make up\n"


@pytest.mark.parametrize("interrupted", [KeyboardInterrupt, EmulatorError("it ended")])
def test_a_start_that_is_interrupted_leaves_no_emulator_behind(
    interrupted: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing would know of it: neither `down` nor `status`."""
    sleeping = [sys.executable, "-c", "import time; time.sleep(3600)", "ministack"]
    with subprocess.Popen(sleeping) as process:
        monkeypatch.setattr(Emulator, "_begin", lambda _self: process)
        monkeypatch.setattr(Emulator, "is_healthy", lambda _self: raising(interrupted))
        with pytest.raises((KeyboardInterrupt, EmulatorError)):
            Emulator(1, tmp_path).start()
        assert not emulator.is_alive(process.pid)


def raising(error: Any) -> bool:
    """Raise it."""
    raise error


def test_an_interrupted_command_ends_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(emulator, "status", lambda: raising(KeyboardInterrupt))
    assert run("status") == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    program = f"import sys; sys.path[:0] = {json.dumps(sys.path)}; sys.argv[1:] = ['status']\n"
    program += "from tools import emulator\n"
    program += "emulator.status = lambda: [emulator.say('line') for _ in range(100_000)]\n"
    program += "sys.exit(emulator.main())"
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([sys.executable, "-c", program], stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")
