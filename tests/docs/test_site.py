"""What the pages promise about the code is so; that the site builds without a warning is `make check-site`."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

import hephaestus
from hephaestus import errors
from hephaestus.handlers.http.api import ROUTES
from tools import docs_site

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
# The field terms that all of the code keeps to.
TERMS = (
    "workflow step transition event instance generation log-entry head commit owner lease fencing wait deadline "
    "schedule sweep join dead-path compensation redrive fork "
    "initial payload results callback-link pause request-id command"
)


def reference() -> str:
    return "".join(path.read_text("utf-8") for path in sorted((DOCS / "reference").glob("*.md")))


def test_every_public_name_has_its_place_in_the_reference() -> None:
    text = reference()
    assert "::: hephaestus.errors" in text
    elsewhere = {*vars(errors), "DONE", "Done", "Result", "Write", "__version__"}
    missing = [name for name in hephaestus.__all__ if name not in elsewhere and not re.search(rf"\b{name}\b", text)]
    assert missing == []


def test_the_page_of_the_api_has_the_routes_of_the_code_and_no_other() -> None:
    page = (DOCS / "reference" / "http.md").read_text("utf-8")
    told = set(re.findall(r"^\| `([A-Z]+ /[^`]*)` \|", page, re.MULTILINE))
    path_of = {route: re.sub(r"<(instance_)?(\w+)>", r"{\2}", route) for route in ROUTES}
    assert told == {f"{method} {path_of[route]}" for route, methods in ROUTES.items() for method in methods}


def test_the_glossary_has_every_field_term() -> None:
    page = (DOCS / "glossary.md").read_text("utf-8")
    defined = {term.lower().replace(" ", "-") for term in re.findall(r"^(.+)\n:   ", page, re.MULTILINE)}
    assert set(TERMS.split()) - defined == set()


def test_every_guide_is_in_the_menu() -> None:
    """Beside the check of the site, which needs an environment of its own."""
    menu = (ROOT / "mkdocs.yml").read_text("utf-8")
    assert [path.name for path in sorted((DOCS / "guides").glob("*.md")) if f"guides/{path.name}" not in menu] == []


def test_decisions_are_listed_by_their_numbers(tmp_path: Path) -> None:
    (tmp_path / "0002-later.md").write_text("# 2. Later\n\nText.\n")
    (tmp_path / "0001-first.md").write_text("# 1. First\n")
    (tmp_path / "index.md").write_text("# Decisions\n")
    rows = docs_site.decisions(tmp_path).splitlines()[2:]
    assert rows == ["| 1 | [First](0001-first.md) |", "| 2 | [Later](0002-later.md) |"]
    (tmp_path / "0003-none.md").write_text("No heading\n")
    with pytest.raises(ValueError, match=r"0003-none\.md does not begin"):
        docs_site.decisions(tmp_path)


@pytest.mark.parametrize(
    ("html", "warnings"),
    [
        ('<script src="https://cdn.example/x.js"></script>', 1),
        ("<link rel=stylesheet href=//fonts.example/css>", 1),
        ('<a href="https://example.org">elsewhere</a><script src="assets/x.js"></script>', 0),
    ],
)
def test_a_page_that_fetches_from_elsewhere_is_told(html: str, warnings: int, caplog: pytest.LogCaptureFixture) -> None:
    page = SimpleNamespace(file=SimpleNamespace(src_uri="page.md"))
    assert docs_site.on_post_page(html, page) == html
    told: Sequence[str] = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(told) == warnings


def test_every_diagram_has_a_frame_that_scrolls() -> None:
    html = '<p>1</p><pre class="mermaid"><code>a</code></pre><pre class="mermaid"><code>b</code></pre>'
    assert docs_site.on_page_content(html).count('<div class="diagram"><pre class="mermaid">') == 2
    assert docs_site.on_page_content(html).count("</pre></div>") == 2


@pytest.mark.parametrize("page", sorted(ROOT.glob("*.md")), ids=lambda page: page.name)
def test_the_links_of_a_page_outside_of_the_site_lead_somewhere(page: Path) -> None:
    """The site's own pages are checked by its build."""
    links = re.findall(r"\]\(([^)#\s]+)", page.read_text("utf-8"))
    assert [link for link in links if "://" not in link and not (ROOT / link).exists()] == []
