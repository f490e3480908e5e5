"""A second IAM engine, not the emulator's: ``@cloud-copilot/iam-simulate``, run by Node.

It comes from npm when it is first needed, as the lock file beside this pins it, into ``.local/``. Its licence is the
AGPL: it is a tool of tests, never shipped, and never committed.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.engines import ROOT, missing_engine
from tools.emulator import locked

FOLDER: Final = Path(__file__).parent
FILES: Final = ("package.json", "package-lock.json")
PATIENCE: Final = 300
Policy = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Question:
    """Whether a principal may do something.

    Attributes:
        principal: an ARN, or a service's name.
        action, resource: what, and on what.
        owner: the account that the resource is in.
        context: the request's context keys.
        identity: the policies of the principal.
        guard: the policy of the resource, if it has one.
    """

    principal: str
    action: str
    resource: str
    owner: str
    context: Mapping[str, str] = field(default_factory=dict)
    identity: Sequence[Policy] = ()
    guard: Policy | None = None


def judge(questions: Sequence[Question]) -> list[bool]:
    """For each question, whether the call is allowed."""
    places: dict[str, int] = {}
    policies: list[Policy] = []

    def place(policy: Policy) -> int:
        text = json.dumps(policy, sort_keys=True)
        if text not in places:
            places[text] = len(policies)
            policies.append(policy)
        return places[text]

    requests = [
        {
            "principal": asked.principal,
            "action": asked.action,
            "resource": asked.resource,
            "owner": asked.owner,
            "context": {"aws:SecureTransport": "true", **asked.context},
            "identity": [place(policy) for policy in asked.identity],
            "guard": None if asked.guard is None else place(asked.guard),
        }
        for asked in questions
    ]
    verdicts = _run(json.dumps({"policies": policies, "requests": requests}))
    wrong = {verdict: asked for verdict, asked in zip(verdicts, questions, strict=True) if verdict.startswith("ERROR")}
    assert not wrong, wrong
    return [verdict == "Allowed" for verdict in verdicts]


def _run(text: str) -> list[str]:
    node = shutil.which("node")
    if node is None:
        missing_engine("Node, which runs the IAM engine, is not installed")
    command = [node, str(FOLDER / "evaluate.mjs"), str(_installed() / "node_modules")]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr[-2000:]
    verdicts: list[str] = json.loads(done.stdout)
    return verdicts


def _installed() -> Path:
    """The folder with the engine, fetched if it is not there as the lock file has it."""
    wanted = hashlib.sha256(b"".join((FOLDER / name).read_bytes() for name in FILES)).hexdigest()[:16]
    home = ROOT / ".local" / "iam" / wanted
    with locked("iam"):  # two workers may want it at once
        if not (home / "complete").exists():
            _install(home)
    return home


def _install(home: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        missing_engine("npm, which fetches the IAM engine, is not installed")
    home.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copy(FOLDER / name, home / name)
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
    done = subprocess.run(
        command, cwd=home, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=PATIENCE
    )
    if done.returncode != 0:
        missing_engine(f"npm could not fetch the IAM engine: {done.stderr.strip()[-300:]}")
    (home / "complete").touch()
