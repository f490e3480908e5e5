"""What the command line writes, as plain text."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from rich.console import RenderableType


def rendered(*parts: RenderableType, width: int = 160) -> str:
    """The text of ``parts``, without colours."""
    out = io.StringIO()
    Console(file=out, width=width, color_system=None).print(*parts, sep="\n")
    return out.getvalue()
