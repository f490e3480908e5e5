"""Hooks of the documentation's site (``hooks`` in mkdocs.yml): the table of decisions, and that no one else is asked.

A warning fails the build, which is strict.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any, Final

DECISIONS: Final = Path(__file__).resolve().parent.parent / "docs" / "decisions"
HEADING: Final = re.compile(r"# (\d+)\. (.+)")
# What a browser fetches by itself, from somewhere else than the site.
FETCHED: Final = re.compile(r"<(?:script|link|img|iframe|source)\b[^>]*\b(?:src|href)=[\"']?(?:https?:)?//[^\"'\s>]+")
DIAGRAM: Final = re.compile(r'<pre class="mermaid">.*?</pre>', re.DOTALL)

_logger = logging.getLogger("mkdocs.hooks.site")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Let the page of decisions list them all."""
    return f"{markdown}\n{decisions()}" if page.file.src_uri == "decisions/index.md" else markdown


def on_page_content(html: str, **_: Any) -> str:
    """Let diagrams be wider than a phone: each has a frame that scrolls."""
    return DIAGRAM.sub(r'<div class="diagram">\g<0></div>', html)


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Refuse a page that would fetch something from elsewhere: the site works without a network."""
    for found in FETCHED.findall(output):
        if 'rel="canonical"' not in found:
            _logger.warning("%s fetches from elsewhere: %s", page.file.src_uri, found)
    return output


def decisions(folder: Path = DECISIONS) -> str:
    """A table of the decisions in ``folder``, by number.

    Raises:
        ValueError: a decision does not begin with a heading such as ``# 7. Effects follow their commit``.
    """
    rows = ["| no | decision |", "|---:|----------|"]
    for path in sorted(folder.glob("[0-9]*.md")):
        heading = HEADING.match(path.read_text("utf-8"))
        if not heading:
            message = f"{path.name} does not begin with a heading such as '# 7. Effects follow their commit'"
            raise ValueError(message)
        rows.append(f"| {heading[1]} | [{heading[2]}]({path.name}) |")
    return "\n".join(rows) + "\n"
