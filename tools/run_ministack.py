"""Starts the emulator with what its CloudFormation leaves out of nested stacks.

It does not apply SAM's transform to their templates, and forgets the attributes of what an update leaves as it is.
"""

from __future__ import annotations

import sys
from typing import Any


def main() -> None:
    """Run it; only the code of nested stacks calls these two functions where they are replaced."""
    from ministack.app import main as run  # type: ignore[import-not-found]  # only the emulator's environment has it
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
    sys.exit(run())


if __name__ == "__main__":
    main()
