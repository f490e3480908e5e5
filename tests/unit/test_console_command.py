from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from pathlib import Path
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
def command(*arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """The command ``hephaestus console`` as a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN, *arguments],
        cwd=ROOT / "layers" / "hephaestus",
        env={**os.environ, **environment},
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


# It notes what it was given, as other users of the machine may see it, and opens the address while it is waited for.
BROWSER = """
import html, json, os, pathlib, re, sys, urllib.error, urllib.request
noted, uri = pathlib.Path(sys.argv[1]), sys.argv[2]
path = pathlib.Path(urllib.request.url2pathname(uri.removeprefix("file://")))
url = html.unescape(re.search('href="([^"]+)"', path.read_text())[1])
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
page = opener.open(urllib.request.Request(url), timeout=60).read().decode()
told = {"seen": [*sys.argv, *os.environ.values()], "url": url, "page": page, "folder": str(path.parent)}
noted.with_suffix(".new").write_text(json.dumps(told))
noted.with_suffix(".new").rename(noted)
try:
    opener.open(url, timeout=60)
except urllib.error.HTTPError as error:
    assert error.code == 401
"""


def test_a_browser_gets_a_file_and_no_address_and_the_page_is_served_while_it_is_waited_for(tmp_path: Path) -> None:
    """A browser in the terminal comes back only when it is closed: it is served all the same, and its file removed."""
    script, noted = tmp_path / "browser.py", tmp_path / "noted.json"
    script.write_text(BROWSER)
    browser = shlex.join([sys.executable, str(script), str(noted)]) + " %s"
    with command("console", "--demo", "--port", "0", BROWSER=browser, TMPDIR=str(tmp_path)) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        said = process.stdout.readline() + process.stdout.readline() + process.stdout.readline()
        address = process.stdout.readline().strip()
        warned = process.stderr.readline()  # the browser opens the address a second time
        told = json.loads(noted.read_text())
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0
    token = re.search("token=(.+)", told["url"])
    assert token is not None
    assert "Whoever has this address" in said
    assert not [text for text in told["seen"] if token[1] in text or "token=" in text]
    assert told["url"] != address
    assert "url=/#key=" in told["page"]
    assert "opened a second time" in warned
    assert not Path(told["folder"]).exists()


def test_a_person_without_a_browser_is_told_to_open_the_address(tmp_path: Path) -> None:
    missing = str(tmp_path / "no-browser")
    with command("console", "--demo", "--port", "0", BROWSER=missing, PATH=str(tmp_path)) as process:
        assert process.stdout is not None
        said = ""
        while "No browser was found" not in said:
            line = process.stdout.readline()
            assert line, said
            said += line
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0
    assert "open the address above" in said


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
