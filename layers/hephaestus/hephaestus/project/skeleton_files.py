"""What stands in a team's repository: its names, and the files that are made of them."""

from __future__ import annotations

import keyword
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hephaestus.errors import BadRequest
from hephaestus.project.packaged import stack_files

TEMPLATE: Final = "template.yaml"
RUNTIMES: Final = (11, 12, 13, 14)  # minor versions of Python that Lambda has and the template takes
NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,54}")
RESERVED: Final = frozenset({"hephaestus", "src", "tests"})
# Where each file of `skeleton/` goes. The team's own code is written once and never upgraded.
OWN: Final = {
    "src/@PACKAGE@/__init__.py": "package.txt",
    "src/@PACKAGE@/purchases.py": "workflow.txt",
    "src/requirements.txt": "layer-requirements.txt",
    "tests/workflows/test_purchases.py": "test.txt",
}
KEPT_UP: Final = {
    ".github/workflows/hephaestus.yml": "ci.yml",
    ".gitignore": "gitignore",
    TEMPLATE: "template.yaml",
    "requirements.txt": "requirements.txt",
    "samconfig.toml": "samconfig.toml",
    "tests/workflows/conftest.py": "conftest.txt",
}
# What to do about a file that was there already.
HINTS: Final = {
    ".gitignore": "add .aws-sam/",
    "requirements.txt": "add hephaestus-aws[cli]==@VERSION@, pytest and -r src/requirements.txt",
    "samconfig.toml": 'deploy with capabilities = "CAPABILITY_IAM CAPABILITY_AUTO_EXPAND"',
    "src/@PACKAGE@/__init__.py": "import the workflows that are deployed: from @PACKAGE@.purchases import Purchase",
}


@dataclass(frozen=True)
class Project:
    """A team's project.

    Attributes:
        name: what the stack is called.
        package: the package of the workflows, in ``src``.
        python: the version of Python, as ``3.13``.
        release: the release of Hephaestus whose files it has.
    """

    name: str
    package: str
    python: str
    release: str

    def filled(self, text: str) -> str:
        """``text`` with the names of this project."""
        names = {"NAME": self.name, "PACKAGE": self.package, "RUNTIME": f"python{self.python}"}
        names |= {"PYTHON": self.python, "VERSION": self.release}
        return re.sub(r"@([A-Z]+)@", lambda found: names[found[1]], text)

    def own_files(self) -> dict[str, str]:
        """The team's own files, by their paths: written once."""
        return self._files(OWN)

    def kept_up_files(self) -> dict[str, str]:
        """The files that an upgrade keeps up, by their paths."""
        return self._files(KEPT_UP) | stack_files(self.release)

    def hints(self) -> dict[str, str]:
        """What to do about files that were there already."""
        return {self.filled(path): self.filled(hint) for path, hint in HINTS.items()}

    def _files(self, known: dict[str, str]) -> dict[str, str]:
        folder = Path(__file__).parent / "skeleton"
        return {self.filled(path): self.filled((folder / file).read_text("utf-8")) for path, file in known.items()}


def new_project(folder: str, release: str, name: str | None = None, package: str | None = None) -> Project:
    """A project that is named after its folder, unless it is given names.

    Raises:
        BadRequest: a name that no stack, or no package, can have.
    """
    name = name or re.sub(r"[^A-Za-z0-9]+", "-", folder).strip("-")
    if not NAME.fullmatch(name):
        message = (
            f"{name[:80]!r} is no name of a stack: at most 55 letters, digits and hyphens, first a letter; "
            "give another with --name"
        )
        raise BadRequest(message)
    package = package or name.replace("-", "_").lower()
    if not (package.isascii() and package.isidentifier()) or keyword.iskeyword(package):
        message = f"{package[:80]!r} is no name of a package: letters, digits and _; give another with --package"
        raise BadRequest(message)
    if package in RESERVED or package in sys.stdlib_module_names:
        message = f"another package is called {package!r} already; give another name with --package"
        raise BadRequest(message)
    minor = min(max(sys.version_info.minor, RUNTIMES[0]), RUNTIMES[-1])
    return Project(name, package, f"3.{minor}", release)
