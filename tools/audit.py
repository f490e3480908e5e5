"""Look for known vulnerabilities in what the Lambda layer installs and in the development environment, by pip-audit.

A vulnerability fails the check. Advisories that cannot be reached do not, not even with CI=true: somebody else's outage
must not stop a build. What was not audited is said in so many words, for pip-audit itself calls a package whose
advisories it did not get no worse than one that has none.

Must not take longer than ``LIMIT``, however slowly the advisories come.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT: Final = Path(__file__).resolve().parent.parent
LAYER: Final = ROOT / "layers" / "hephaestus" / "requirements.txt"
OWN: Final = "hephaestus-aws"
LIMIT: Final = 20.0  # seconds for everything
SILENCE: Final = 5  # seconds without a byte, after which one request is given up


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known of some packages.

    Attributes:
        about: whose packages they are.
        found: a line for each vulnerability.
        audited: how many packages were audited.
        skipped: the packages that were not, sorted.
    """

    about: str
    found: Sequence[str]
    audited: int
    skipped: Sequence[str]

    @property
    def text(self) -> str:
        """What to tell, one line a fact."""
        lines = [f"{self.about}: {line}" for line in self.found]
        if self.skipped and not self.audited:
            count = len(self.skipped)
            lines.append(f"{self.about}: advisories could not be reached: {count} packages NOT audited")
        elif self.skipped:
            names = ", ".join(self.skipped)
            lines.append(f"{self.about}: no advisories for {len(self.skipped)} packages, NOT audited: {names}")
        if self.audited and not self.found:
            lines.append(f"{self.about}: {self.audited} packages audited, no known vulnerability")
        return "\n".join(lines)


def pinned(requirements: str) -> dict[str, str]:
    """The versions that a file of requirements names, each as ``name==version``.

    Raises:
        ValueError: a line has no exact version; what would be installed is not known then.
    """
    found: dict[str, str] = {}
    for line in requirements.splitlines():
        text = line.partition("#")[0].strip()
        if not text:
            continue
        name, equal, version = text.partition("==")
        if not equal:
            message = f"{text!r} is not pinned: write name==version, else what is audited is not what is installed"
            raise ValueError(message)
        found[name.strip()] = version.strip()
    return found


def installed() -> dict[str, str]:
    """The versions of what this environment holds, this project left out."""
    return {it.name: it.version for it in distributions() if it.name and it.name.lower() != OWN}


def judge(about: str, packages: Mapping[str, str], report: str) -> Verdict:
    """What pip-audit's report in JSON says of ``packages``; they are not audited where it says nothing of them.

    Args:
        about: whose packages they are.
        packages: versions by name.
        report: what pip-audit wrote; empty or cut short where it failed.
    """
    try:
        entries: list[dict[str, Any]] = list(json.loads(report)["dependencies"])
    except (ValueError, KeyError, TypeError):
        entries = []
    audited = {_plain(entry["name"]): entry for entry in entries if "vulns" in entry}
    found = [
        f"{entry['name']} {entry['version']} has {vulnerability['id']}, {_mend(vulnerability)}"
        for entry in audited.values()
        for vulnerability in entry["vulns"]
    ]
    skipped = sorted(name for name in packages if _plain(name) not in audited)
    return Verdict(about, found, len(packages) - len(skipped), skipped)


def _plain(name: str) -> str:
    """A package's name as PyPI compares it: ``typing_extensions`` is ``typing-extensions``."""
    return name.lower().replace("_", "-").replace(".", "-")


def _mend(vulnerability: Mapping[str, Any]) -> str:
    versions = ", ".join(vulnerability.get("fix_versions") or ())
    return f"fixed in {versions}" if versions else "not fixed yet"


def audit(subjects: Mapping[str, Mapping[str, str]], limit: float = LIMIT) -> list[Verdict]:
    """Run pip-audit for every subject, side by side, for ``limit`` seconds at most."""
    ends = time.monotonic() + limit
    with tempfile.TemporaryDirectory() as folder:
        running = {about: _start(Path(folder), number, subjects[about]) for number, about in enumerate(subjects)}
        return [judge(about, subjects[about], _report(*started, ends)) for about, started in running.items()]


def _start(folder: Path, number: int, packages: Mapping[str, str]) -> tuple[subprocess.Popen[bytes], Path]:
    """Start pip-audit on exactly these versions; it resolves and installs nothing."""
    asked, answer = folder / f"{number}.txt", folder / f"{number}.json"
    asked.write_text("".join(f"{name}=={version}\n" for name, version in packages.items()))
    settings = ("--no-deps", "--disable-pip", "--progress-spinner", "off", "--desc", "off", "--timeout", str(SILENCE))
    command = [sys.executable, "-m", "pip_audit", "-r", str(asked), "-f", "json", "-o", str(answer), *settings]
    null = subprocess.DEVNULL
    return subprocess.Popen(command, stdin=null, stdout=null, stderr=null), answer


def _report(process: subprocess.Popen[bytes], answer: Path, ends: float) -> str:
    """What it wrote by then; it is ended where it needs longer."""
    try:
        process.wait(timeout=max(ends - time.monotonic(), 0))
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    return answer.read_text() if answer.exists() else ""


def conclude(verdicts: Sequence[Verdict]) -> tuple[int, str]:
    """The exit status, and what to print."""
    return int(any(verdict.found for verdict in verdicts)), "\n".join(verdict.text for verdict in verdicts)


if __name__ == "__main__":
    status, text = conclude(audit({"layer": pinned(LAYER.read_text()), "development": installed()}))
    print(text)
    sys.exit(status)
