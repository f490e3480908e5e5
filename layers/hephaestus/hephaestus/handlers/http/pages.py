"""The pages that a link shows to a person: one HTML document each, no script, no image, nothing loaded from anywhere.

Everything that comes from outside is escaped here and nowhere else. The policy lets the browser use this style and send
this form, and nothing more; colours keep a contrast of at least 4.5 to 1 (WCAG 2.2, 1.4.3), light and dark.
"""

from __future__ import annotations

import base64
import hashlib
import re
from html import escape
from typing import TYPE_CHECKING, Any, Final

from hephaestus.callbacks.link import dump

if TYPE_CHECKING:
    from collections.abc import Mapping

CONTENT_TYPE: Final = "text/html; charset=utf-8"
STYLE: Final = (
    ":root{color-scheme:light dark;--page:#f4f4f1;--card:#fff;--text:#1c1c1a;--soft:#55554f;--line:#d5d5cf;"
    "--act:#1d4f91;--on-act:#fff}"
    "@media(prefers-color-scheme:dark){:root{--page:#161614;--card:#22221f;--text:#f1f1ec;--soft:#b4b4ab;"
    "--line:#43433d;--act:#8db8f0;--on-act:#10233d}}"
    "*{box-sizing:border-box}"
    "body{margin:0;min-height:100vh;display:grid;place-items:center;padding:1rem;background:var(--page);"
    "color:var(--text);font:1rem/1.5 system-ui,sans-serif}"
    "main{width:100%;max-width:32rem;padding:1.5rem;background:var(--card);border:1px solid var(--line);"
    "border-radius:.5rem}"
    "h1{margin:0 0 .75rem;font-size:1.375rem;line-height:1.25}"
    "h1,p,dd{overflow-wrap:anywhere}"
    "p{margin:0 0 1rem;color:var(--soft)}"
    "dl{display:grid;grid-template-columns:auto 1fr;gap:.25rem 1rem;margin:0 0 1.25rem}"
    "dt{color:var(--soft)}dd{margin:0}"
    "button{width:100%;min-height:3rem;padding:.5rem 1rem;font:inherit;font-weight:600;color:var(--on-act);"
    "background:var(--act);border:0;border-radius:.375rem;overflow-wrap:anywhere;cursor:pointer}"
    ":focus-visible{outline:3px solid var(--text);outline-offset:3px}"
)
_HASH: Final = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_HASH}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
TIME: Final = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d)[:.\d]*\+00:00")
NAMES: Final = (
    ("id", "For"),
    ("workflow", "Workflow"),
    ("step", "Step"),
    ("item", "Item"),
    ("expires_at", "Valid until"),
)


def confirm(known: Mapping[str, Any], confirmation: str) -> str:
    """Ask whether the event is meant, with a form that says so.

    Args:
        known: ``id``, ``workflow``, ``step``, ``event``, ``expires_at`` and perhaps ``item`` and ``payload``.
        confirmation: what the form carries to show that this page was opened.
    """
    event = escape(str(known["event"]))
    return _document(
        f"Confirm: {event}",
        "<p>Nothing has happened yet. The link works once.</p>"
        f"{_facts(known)}"
        '<form method="post">'
        f'<input type="hidden" name="confirmation" value="{escape(confirmation)}">'
        f'<button type="submit">Confirm: {event}</button>'
        "</form>",
    )


def done(known: Mapping[str, Any]) -> str:
    """Say that the event is recorded."""
    event = escape(str(known["event"]))
    return _document(
        f"Recorded: {event}", f'<p role="status">Thank you. You can close this page.</p>{_facts(known, "expires_at")}'
    )


def refused(document: Mapping[str, Any]) -> str:
    """Say what was wrong and what to do, from a problem document."""
    title, detail = (escape(str(document[member]).rstrip(".")) for member in ("title", "detail"))
    request = document.get("request_id")
    which = f"<p>Request {escape(str(request))}</p>" if request else ""
    return _document(title, f'<p role="alert">{detail[:1].upper()}{detail[1:]}.</p>{which}')


def _facts(known: Mapping[str, Any], *without: str) -> str:
    """What a link is for, and the results that it carries: whoever confirms them has seen them."""
    rows = [(title, known[name]) for name, title in NAMES if name in known and name not in without]
    payload = known.get("payload", {})
    rows += payload.items() if isinstance(payload, dict) else [("With", payload)]
    return f"<dl>{''.join(f'<dt>{escape(title)}</dt><dd>{_shown(value)}</dd>' for title, value in rows)}</dl>"


def _shown(value: object) -> str:
    if not isinstance(value, str):
        return escape(dump(value))
    is_time = TIME.fullmatch(value)
    return f"{is_time[1]} {is_time[2]} UTC" if is_time else escape(value)


def _document(title: str, body: str) -> str:
    """A whole page; ``title`` and ``body`` are HTML already."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="robots" content="noindex, nofollow"><meta name="referrer" content="no-referrer">'
        f"<title>{title}</title><style>{STYLE}</style></head>"
        f"<body><main><h1>{title}</h1>{body}</main></body></html>"
    )
