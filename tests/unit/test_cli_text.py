"""What the command writes: other people's text is only text, times and durations read well."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from hephaestus.cli.app import hoist
from hephaestus.cli.looking import Status
from hephaestus.cli.styles import SIGNS
from hephaestus.cli.terminal import Session
from hephaestus.cli.text import ago, brief, dump, read_time, safe, short, span, until, who
from hephaestus.cli.timeline import Timeline
from hephaestus.engine.state import STATUSES, StepStatus
from hephaestus.errors import (
    AlreadyRunning,
    BadRequest,
    CorruptLog,
    DefinitionError,
    HephaestusError,
    InstanceNotFound,
    InvalidInput,
    PayloadTooLarge,
    StoreUnavailable,
)
from hephaestus.operations import AwsRefused, NoCredentials, NoSuchStack, Unreachable

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


@given(st.text())
def test_no_text_controls_the_terminal(text: str) -> None:
    """Neither escapes nor what turns the text around; also in JSON, which stays the same JSON."""
    for shown in (safe(text), short(text, 20), brief({"a": text}, 40), dump(text)):
        assert not any(letter < " " or "\x7f" <= letter <= "\x9f" or "\u202a" <= letter <= "\u202e" for letter in shown)
    assert json.loads(dump({"a": text})) == {"a": text}


def test_letters_of_every_script_stay_letters() -> None:
    assert safe("Zoë 訂單 👩\u200d🔬 <b>&") == "Zoë 訂單 👩\u200d🔬 <b>&"
    assert safe("a\x1b[31mb\u202ec") == "a\\x1b[31mb\\u202ec"
    assert dump("訂\x9b") == '"訂\\u009b"'
    assert safe("a\nb", lines=True) == "a\nb"
    assert safe("a\nb") == "a\\nb"


def test_json_is_whole_in_every_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the terminal has not the letters, they are escaped, not lost."""
    for encoding in ("utf-8", "ascii", "latin-1"):
        raw = io.BytesIO()
        monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding, errors="replace", write_through=True))
        Session(json=True).write_json({"tag": "訂單 😀 ü"})
        assert json.loads(raw.getvalue().decode(encoding)) == {"tag": "訂單 😀 ü"}


def test_what_is_long_is_cut() -> None:
    assert short("x" * 300_000, 10) == "x" * 9 + "…"
    assert brief({"total": 42, "currency": "EUR", "rows": [1]}, 40) == "total=42 currency=EUR rows=[1]"
    assert len(brief({"blob": "x" * 300_000}, 40)) == 40


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ms"),
        (0.0172, "17 ms"),
        (0.9999, "1.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.7, "1 min"),
        (3_569, "59 min"),
        (3_599, "1 h"),
        (3_900, "1 h 5 min"),
        (40_000, "11 h"),
        (86_399, "1 d"),
        (183_600, "2 d 3 h"),
        (86_400 * 400, "400 d"),
    ],
)
def test_a_duration_has_one_or_two_units(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_a_time_is_told_from_now() -> None:
    assert ago("2026-01-31T11:57:00+00:00", NOW) == "3 min ago"
    assert ago("2026-02-02T12:00:00+00:00", NOW) == "in 2 d"
    assert ago(None, NOW) == ""


def test_a_time_to_come_has_its_day_where_it_is_another() -> None:
    soon, late = NOW + timedelta(minutes=5), NOW + timedelta(days=3)
    assert until(soon, NOW) == f"{soon.astimezone():%H:%M} (in 5 min)"
    assert until(late.isoformat(), NOW) == f"{late.astimezone():%Y-%m-%d %H:%M} (in 3 d)"


def test_who_did_it_is_the_end_of_the_arn() -> None:
    assert who("arn:aws:iam::123456789012:user/ann") == "user/ann"
    assert who("arn:aws:sts::123456789012:assumed-role/Admin/ann@example.com") == "assumed-role/Admin/ann@example.com"
    assert who("Ann: from support") == "Ann: from support"


def test_a_person_writes_times_in_many_ways() -> None:
    assert read_time("90m", NOW) == NOW - timedelta(minutes=90)
    assert read_time("3d", NOW) == NOW - timedelta(days=3)
    assert read_time("2026-01-31T12:00:00Z") == NOW
    assert read_time("2026-01-31").tzinfo is not None
    for wrong in ("", "yesterday", "3y", "-1h", "99999999999h"):
        with pytest.raises(BadRequest, match="is no time"):
            read_time(wrong)


def test_options_of_every_command_may_stand_anywhere() -> None:
    assert hoist(["list", "--json", "--stack", "shop", "-n", "3"]) == ["--json", "--stack", "shop", "list", "-n", "3"]
    assert hoist(["get", "x::y", "--region=eu-west-1"]) == ["--region=eu-west-1", "get", "x::y"]
    assert hoist(["get", "--", "--json"]) == ["get", "--", "--json"]
    assert hoist(["list", "--stack"]) == ["list", "--stack"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BadRequest("x"), 2),
        (InstanceNotFound("x"), 3),
        (NoSuchStack("x"), 3),
        (AlreadyRunning("x"), 4),
        (InvalidInput("x"), 4),
        (PayloadTooLarge("x"), 4),
        (NoCredentials("x"), 5),
        (AwsRefused("x"), 5),
        (Unreachable("x"), 5),
        (StoreUnavailable("x"), 5),
        (CorruptLog("x"), 5),
        (DefinitionError("x", []), 1),
    ],
)
def test_every_kind_of_error_has_its_status(error: HephaestusError, code: int) -> None:
    assert error.exit_code() == code


def test_every_status_can_be_chosen_and_has_a_sign() -> None:
    assert tuple(Status) == STATUSES
    assert {*STATUSES, *get_args(StepStatus), "running"} <= set(SIGNS)


@pytest.mark.parametrize(
    ("delay_ms", "told"),
    [(-3, "again at once"), (0, "again at once"), (1, "again in 1 ms"), (90_000, "again in 2 min")],
)
def test_history_tells_when_a_failed_attempt_is_repeated(delay_ms: int, told: str) -> None:
    """Full jitter may leave nothing of a delay, and the commit may take longer than what is left."""
    retry_at = (NOW + timedelta(milliseconds=delay_ms)).isoformat()
    failed = {"type": "StepFailed", "step": "pay", "error": {"type": "OSError", "message": "no"}, "retry_at": retry_at}
    console = Console(file=io.StringIO(), width=80)
    with console.capture() as shown:
        console.print(*Timeline(80).lines({"at": NOW.isoformat(), "sequence": 4, "events": [failed]}))
    assert told in shown.get()
