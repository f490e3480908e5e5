"""The page on security names tests that there are, and at least one for every threat."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text("utf-8")
NAMED = re.compile(r"`(test_\w+)`")


def test_every_test_that_the_page_names_is_there() -> None:
    sources = "".join(path.read_text("utf-8") for path in sorted((ROOT / "tests").rglob("test_*.py")))
    there = set(re.findall(r"def (test_\w+)\(", sources))
    assert set(NAMED.findall(PAGE)) - there == set()


def test_every_threat_has_an_answer_and_a_test() -> None:
    section = PAGE.partition("## Threats")[2].partition("\n## ")[0]
    rows = [line.strip("|").split(" | ") for line in section.splitlines() if line.startswith("| ")][1:]
    assert len(rows) >= 25
    for row in rows:
        threat, _harm, answer, proof = row
        assert answer.strip(), threat
        assert NAMED.findall(proof), threat


def test_the_page_tells_the_bounds_that_the_code_has() -> None:
    from hephaestus.definition.durations import LONGEST
    from hephaestus.definition.header import MAX_TAG_LENGTH, MAX_TAGS
    from hephaestus.definition.retries import LONGEST_DELAY
    from hephaestus.engine.codec import MAX_INFLATED
    from hephaestus.errors import MAX_FIELDS, MAX_SHOWN
    from hephaestus.handlers.http.request import MAX_BODY
    from hephaestus.runtime.attempt import MAX_MESSAGE, MAX_TRACE
    from hephaestus.runtime.caller import MAX_CALLER
    from hephaestus.runtime.commands.members import LONGEST_SCHEDULE_MS, MAX_RESULTS
    from hephaestus.runtime.commands.schedule import MAX_TIMERS
    from hephaestus.runtime.intake import MAX_LIMIT, MAX_REASON, MAX_TEXT
    from hephaestus.values import MAX_DEPTH, MAX_INT_BITS
    from hephaestus.values.weight import MAX_HELD, MAX_VALUE, PART

    section = PAGE.partition("## Bounds")[2].partition("\n## ")[0]
    known = dict(re.findall(r"^\| (.+?) +\| (.+?) +\|$", section, re.MULTILINE))
    assert known["an API request's body"] == f"{MAX_BODY >> 20} MiB"
    room = (
        f"{MAX_VALUE >> 20} MiB; {MAX_HELD >> 20} MiB: its JSON, and {PART} bytes for each object, list and value in it"
    )
    assert known["the room of a value; of all that an instance holds"] == room
    assert known["JSON inflated of one commit or snapshot"] == f"{MAX_INFLATED >> 20} MiB"
    assert known["nesting; a whole number"] == f"{MAX_DEPTH} levels; {MAX_INT_BITS:,} bits"
    assert known["names of events and steps, event and request ids"] == f"{MAX_TEXT} characters"
    assert known["tags"] == f"{MAX_TAGS} of {MAX_TAG_LENGTH} characters"
    assert known["a reason; who asks for it"] == f"{MAX_REASON:,} characters; {MAX_CALLER}"
    assert known["an error's message; its trace"] == f"cut to {MAX_MESSAGE:,} characters; to {MAX_TRACE:,}"
    assert known["a page"] == f"{MAX_LIMIT} items"
    assert known["steps that a fork gives other results"] == str(MAX_RESULTS)
    days = (LONGEST_SCHEDULE_MS // 86_400_000, LONGEST.days, LONGEST_DELAY.days)
    assert known["`delay_ms`; a wait or heartbeat; a retry's delay"] == "{} days; {:,} days; {} days".format(*days)
    assert f"names {MAX_FIELDS} wrong fields, {MAX_SHOWN} characters of each" in PAGE
    assert f"{MAX_TIMERS} deadlines an instance" in PAGE
