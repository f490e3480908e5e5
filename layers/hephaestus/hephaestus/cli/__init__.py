"""The command ``hephaestus``: looks at workflows and steers them, deployed or in memory.

It needs the extra ``cli``. Exit status: 0 done; 1 an instance ended badly, or ``check`` or ``doctor`` found errors;
2 wrong use; 3 there is no such thing; 4 refused as things are; 5 AWS, the credentials or the engine failed.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line."""
    try:
        from hephaestus.cli.app import run  # noqa: PLC0415 - an extra, which may be missing
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("typer", "rich"):
            raise
        sys.stderr.write(f"hephaestus needs {error.name}: pip install 'hephaestus-aws[cli]'\n")
        sys.exit(2)
    run()
