"""Starts the emulator with what its CloudFormation leaves out of nested stacks, and with code that is unpacked once.

It does not apply SAM's transform to their templates, and forgets the attributes of what an update leaves as it is.
"""

from __future__ import annotations

import contextlib
import hashlib
import sys
import tempfile
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any


def main() -> None:
    """Run it; only the code of nested stacks and of functions calls what is replaced here where it is replaced."""
    from ministack.app import main as run  # type: ignore[import-not-found]  # only the emulator's environment has it
    from ministack.core import lambda_runtime  # type: ignore[import-not-found]  # as above
    from ministack.services.cloudformation import (  # type: ignore[import-not-found]  # as above
        _stacks,
        changesets,
        engine,
        handlers,
        provisioners,
        stacks,
    )

    parse, update = engine._parse_template, provisioners._update_resource  # noqa: SLF001 - there is no other place for it

    def transformed(body: str) -> Any:
        return engine._apply_transforms(parse(body))  # noqa: SLF001 - as above

    def updated(kind: str, physical: str, old: Any, new: Any, stack: str, logical: str) -> Any:  # noqa: PLR0913, PLR0917 - as it is called
        return update(kind, physical, old, new, stack, logical, _stacks[stack]["_resources"][logical]["Attributes"])

    # These have the functions already, and are right about both.
    assert changesets._parse_template is handlers._parse_template is parse  # noqa: SLF001, S101 - a new release may differ
    assert stacks._update_resource is update  # noqa: SLF001, S101 - as above
    engine._parse_template, provisioners._update_resource = transformed, updated  # noqa: SLF001 - as above
    assert lambda_runtime.zipfile is zipfile  # noqa: S101 - as above
    lambda_runtime.zipfile = SimpleNamespace(**{**vars(zipfile), "ZipFile": UnpackedOnce})
    sys.exit(run())


class UnpackedOnce(zipfile.ZipFile):
    """The archive of a function or a layer, whose processes share its files, and what Python compiles of them.

    The emulator unpacks it for each process, which then compiles all of it: most of a cold start. On AWS they are read
    only, too.
    """

    def extractall(self, path: Any = None, members: Any = None, pwd: bytes | None = None) -> None:
        """Have ``path``, an empty directory, lead to the files."""
        with Path(str(self.filename)).open("rb") as archive:
            digest = hashlib.file_digest(archive, "sha256").hexdigest()
        shared = Path(tempfile.gettempdir()) / f"unpacked-{digest}"
        if not shared.exists():
            own = tempfile.mkdtemp()
            super().extractall(own, members, pwd)
            with contextlib.suppress(OSError):  # another process's start was faster
                Path(own).rename(shared)
        Path(path).rmdir()
        Path(path).symlink_to(shared)


if __name__ == "__main__":
    main()
