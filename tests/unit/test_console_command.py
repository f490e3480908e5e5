from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.engines import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 60
# Ctrl+C ends it, also where the tests run in the background, where nobody's does.
MAIN = """
import signal
from hephaestus.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)
main()
"""


@contextmanager
def command(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The command ``hephaestus console`` as a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN, *arguments],
        cwd=ROOT / "layers" / "hephaestus",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def test_the_demo_is_served_until_it_is_interrupted() -> None:
    with command("console", "--demo", "--port", "0", "--json") as process:
        assert process.stdout is not None
        told = json.loads("".join(iter(process.stdout.readline, "}\n")) + "}")
        assert told["place"] == "a demo in memory"
        assert told["url"].startswith("http://127.0.0.1:")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor())
        with opener.open(told["url"], timeout=PATIENCE) as answer:
            assert b"<title>Hephaestus</title>" in answer.read()
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0


def test_a_port_that_is_taken_is_refused_with_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with command("console", "--demo", "--port", str(port), "--no-browser") as process:
            said, wrong = process.communicate(timeout=PATIENCE)
    assert (process.returncode, said) == (4, "")
    assert f"port {port} is taken on this machine" in " ".join(wrong.split())


def test_an_aws_that_does_not_answer_is_said_before_anything_is_served() -> None:
    with command("--stack", "none", "--endpoint-url", "http://127.0.0.1:9", "console", "--no-browser") as process:
        _, wrong = process.communicate(timeout=PATIENCE)
    assert process.returncode == 5
    assert "AWS does not answer" in " ".join(wrong.split())
