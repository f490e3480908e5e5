"""Starts the emulator with what its CloudFormation leaves out: the transform of SAM in a nested stack's template."""

from __future__ import annotations

import sys
from typing import Any


def main() -> None:
    """Run it; the nested stack's own code is the only one that asks ``engine`` for a parser so late."""
    from ministack.app import main as run  # type: ignore[import-not-found]  # only the emulator's environment has it
    from ministack.services.cloudformation import (  # type: ignore[import-not-found]  # as above
        changesets,
        engine,
        handlers,
    )

    parse = engine._parse_template  # noqa: SLF001 - there is no other place for it

    def transformed(body: str) -> Any:
        return engine._apply_transforms(parse(body))  # noqa: SLF001 - as above

    assert changesets._parse_template is handlers._parse_template is parse  # noqa: SLF001, S101 - they transform themselves
    engine._parse_template = transformed  # noqa: SLF001 - as above
    sys.exit(run())


if __name__ == "__main__":
    main()
