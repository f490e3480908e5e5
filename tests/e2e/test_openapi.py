"""The deployed API keeps what its document promises: schemathesis tries, with good requests and bad ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tools.emulator import REGION
from tools.openapi.document import document

if TYPE_CHECKING:
    from tests.e2e.deployment import Deployment

ROOT: Final = Path(__file__).resolve().parents[2]
CONFORMANCE: Final = Path(__file__).parent / "conformance"
SEED: Final = 20_260_101
EXAMPLES: Final = 4  # of an operation, in each of the phases that make them up
PATIENCE: Final = 600  # seconds until it is given up


def test_the_document_is_served_by_what_it_describes(deployment: Deployment) -> None:
    """To whoever may call the API, and nobody else; its server is the API's own address."""
    answer = deployment.call("GET", "/openapi.json")
    assert answer.status == 200
    served = answer.json()
    assert {**served, "servers": document()["servers"]} == document()
    assert deployment.url.endswith(served["servers"][0]["url"])
    assert deployment.call("GET", "/openapi.json", signed=False).status == 403


def test_schemathesis_finds_no_answer_that_is_not_documented(deployment: Deployment, tmp_path: Path) -> None:
    """Statuses, content types, headers and schemas; no 5xx; what is malformed is refused, what is well-formed is not.

    Examples, boundary values, random requests and sequences of them, from a fixed seed, signed by a caller who may do
    no more than call the API.
    """
    served = tmp_path / "openapi.json"
    served.write_text(json.dumps(deployment.call("GET", "/openapi.json").json()))
    schemathesis = str(Path(sys.executable).with_name("st"))
    command = [
        *(schemathesis, "--config-file", str(CONFORMANCE / "schemathesis.toml"), "run", str(served)),
        *("--url", deployment.url, "--seed", str(SEED), "--max-examples", str(EXAMPLES)),
        *("--continue-on-failure", "--warnings", "off", "--request-timeout", "60"),
    ]
    environment = os.environ | {
        "SCHEMATHESIS_HOOKS": "tests.e2e.conformance.hooks",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "layers" / "hephaestus")]),
        "CALLER_KEY": deployment.caller.access_key,
        "CALLER_SECRET": deployment.caller.secret_key,
        "CALLER_REGION": REGION,
    }
    run = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    operations = sum(len(methods) for methods in document()["paths"].values())
    assert f"Tested: {operations}\n" in run.stdout
    for phase in ("Examples", "Coverage", "Fuzzing", "Stateful"):
        assert f"✅ {phase}" in run.stdout
