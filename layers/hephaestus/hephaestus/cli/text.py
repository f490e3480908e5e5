"""Times, durations and other people's text, for a terminal.

What comes from an instance may hold anything: nothing of it may move the cursor, colour the screen, turn the
text around, or be taken for markup.
"""

from __future__ import annotations

import json
import re
import unicodedata
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from hephaestus.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

HIDDEN: Final = frozenset({"Cc", "Cf", "Co", "Cs", "Zl", "Zp"})
KEPT: Final = frozenset("\u200d\u200c")  # they join the letters of some scripts, and emoji
UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
MINUTE: Final = 60
HOUR: Final = 3600
DAY: Final = 86_400


def safe(text: object, *, lines: bool = False) -> str:
    """``text`` with everything invisible made visible as in Python's escapes; with ``lines``, lines stay lines."""
    return "".join(
        letter
        if (lines and letter == "\n") or letter in KEPT or unicodedata.category(letter) not in HIDDEN
        else _escape(letter)
        for letter in str(text)
    )


def short(text: object, width: int) -> str:
    """``text`` on one line of at most ``width`` letters."""
    one = safe(re.sub(r"\s+", " ", str(text)))
    return one if len(one) <= width else one[: max(width - 1, 0)] + "…"


def dump(value: Any, *, indent: int | None = 2) -> str:
    """``value`` as JSON for a terminal or a program; letters stay letters, what is invisible is escaped."""
    text = json.dumps(value, ensure_ascii=False, indent=indent, default=str)
    return "".join(
        letter
        if letter == "\n" or unicodedata.category(letter) not in HIDDEN or letter in KEPT
        else _json_escape(letter)
        for letter in text
    )


def brief(values: Any, width: int) -> str:
    """A mapping's members on one line, as ``total=42 currency=EUR``."""
    if not isinstance(values, dict):
        return short(dump(values, indent=None), width) if values is not None else ""
    parts = [f"{key}={value if isinstance(value, str) else dump(value, indent=None)}" for key, value in values.items()]
    return short(" ".join(parts), width)


def counted(number: int, noun: str) -> str:
    """So many of something: ``1 attempt``, ``12,000 items``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def moment(text: str | datetime | None) -> datetime | None:
    """A time as the API writes it."""
    if text is None or isinstance(text, datetime):
        return text
    return datetime.fromisoformat(text)


def ago(text: str | datetime | None, now: datetime) -> str:
    """How long ago, or in how long: ``3 min ago``, ``in 2 d``."""
    at = moment(text)
    if at is None:
        return ""
    seconds = (now - at).total_seconds()
    return f"{span(seconds)} ago" if seconds >= 0 else f"in {span(-seconds)}"


def span(seconds: float) -> str:
    """A duration in one or two units: ``850 ms``, ``3.2 s``, ``4 min``, ``2 h 5 min``, ``3 d 4 h``."""
    if round(seconds * 1000) < 1000:  # noqa: PLR2004 - milliseconds
        return f"{round(seconds * 1000)} ms"
    if seconds < 9.95:  # noqa: PLR2004 - a digit more where there is room
        return f"{seconds:.1f} s"
    if round(seconds) < MINUTE:
        return f"{round(seconds)} s"
    if round(seconds / MINUTE) < MINUTE:
        return f"{round(seconds / MINUTE)} min"
    large, small, names = (HOUR, MINUTE, ("h", "min")) if seconds < DAY - MINUTE / 2 else (DAY, HOUR, ("d", "h"))
    whole, rest = divmod(round(seconds / small), large // small)
    return f"{whole} {names[0]} {rest} {names[1]}" if rest and whole < 10 else f"{whole} {names[0]}"  # noqa: PLR2004 - two units where it matters


def clock(text: str | datetime | None) -> str:
    """A time of day in the person's own zone, with milliseconds."""
    at = moment(text)
    return at.astimezone().strftime("%H:%M:%S.%f")[:-3] if at else ""


def date(text: str | datetime | None) -> str:
    """A date and a time in the person's own zone."""
    at = moment(text)
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S") if at else ""


def until(text: str | datetime | None, now: datetime) -> str:
    """A time to come: ``10:37 (in 1 h)`` today, ``2026-11-27 09:37 (in 2 d)`` later."""
    at = moment(text)
    if at is None:
        return ""
    local = at.astimezone()
    shown = local.strftime("%H:%M" if local.date() == now.astimezone().date() else "%Y-%m-%d %H:%M")
    return f"{shown} ({ago(at, now)})"


def who(arn: str) -> str:
    """Whom an ARN names, without what is the same for everybody: ``user/ann``."""
    return arn.split(":", 5)[5] if arn.startswith("arn:") and arn.count(":") > 4 else arn  # noqa: PLR2004 - the parts of an ARN


def asked_by(event: Mapping[str, Any], by: str = "by", source: str = "by_source") -> str:
    """Who asked for something and how that is known, as ``by user/ann (authorized)``; empty where no one is known.

    Args:
        event: what was asked for.
        by: the member that names the caller.
        source: the member that says how that is known (``hephaestus.runtime.caller``).
    """
    name, known = event.get(by), event.get(source, "")
    if not name:
        return "through the API, without authorization" if known == "api" else ""
    label = {"api": " (authorized)", "claim": " (claimed)"}.get(known, "")
    return f"by {safe(who(name))}{label}"


def read_time(text: str, now: datetime | None = None) -> datetime:
    """A time as a person writes it: ``2h`` or ``3d`` ago, a date, or a time in ISO 8601, by the local clock.

    Raises:
        BadRequest: it is none of these.
    """
    found = re.fullmatch(r"(\d{1,6})([smhdw])", text.strip())
    if found:
        return (now or datetime.now(UTC)) - timedelta(seconds=int(found[1]) * UNITS[found[2]])
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError as error:
        message = f"{text[:40]!r} is no time: write 30m, 2h, 3d, 2026-01-31 or 2026-01-31T12:00:00Z"
        raise BadRequest(message) from error
    return at if at.tzinfo else at.astimezone()


def _escape(letter: str) -> str:
    return letter.encode("unicode_escape").decode()


def _json_escape(letter: str) -> str:
    pair = letter.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{pair[at : at + 4]}" for at in range(0, len(pair), 4))
