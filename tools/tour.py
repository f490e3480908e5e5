"""What `make up` ends with: where the API is and how to call it."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tools.emulator import EmulatorError, outputs, running, say


def main() -> int:
    """Print the API's address and a call to begin with."""
    found = running()
    if not found:
        message = "the emulator does not run: make up"
        raise EmulatorError(message)
    url = outputs(found[0])["ApiUrl"]
    say("\nLook at what is deployed:")
    say(f"  curl {url}/workflows")
    return 0


if __name__ == "__main__":
    sys.exit(main())
