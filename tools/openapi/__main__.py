"""Write the API's document to where the API serves it from, or see whether it is up to date.

    python -m tools.openapi [--check]

Exit status: 0; 1 where ``--check`` finds another document than the code makes.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

sys.path[:0] = ["layers/hephaestus", "layers/workflows"]

from tools.openapi.document import text

WHERE: Final = Path("layers/hephaestus/hephaestus/handlers/http/openapi.json")


def main() -> int:
    """Do it; return the exit status."""
    made = text()
    if "--check" not in sys.argv[1:]:
        WHERE.write_text(made)
        return 0
    if WHERE.exists() and WHERE.read_text() == made:
        return 0
    print(f"{WHERE} is not what the code makes: run `python -m tools.openapi`", file=sys.stderr)
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
