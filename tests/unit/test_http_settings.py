"""The environment is read once and completely, and what is missing is said at once."""

from __future__ import annotations

import os

import pytest

from hephaestus.aws import ANSWERS, LINKS, READS, RUNS, SWEEPS, BadSettings, Settings, settings_from_environment

NEEDED = {
    "HEPHAESTUS_TABLE": "t",
    "HEPHAESTUS_QUEUE_URL": "https://queue",
    "HEPHAESTUS_SCHEDULE_GROUP": "g",
    "HEPHAESTUS_SCHEDULE_ROLE_ARN": "arn:role",
    "HEPHAESTUS_RESUME_ARN": "arn:resume",
}


def test_what_is_optional_has_a_default() -> None:
    """Empty is as good as missing: templates cannot leave a variable out."""
    bare = Settings.read({**NEEDED, "HEPHAESTUS_BUCKET": "", "HEPHAESTUS_SCHEDULE_DLQ_ARN": " "})
    assert bare == Settings("t", "https://queue", "g", "arn:role", "arn:resume")
    assert (bare.workflows, bare.wake_shards, bare.list_shards, bare.retention_days) == (("workflows",), 4, 4, None)


def test_everything_can_be_set() -> None:
    """Each variable has its place."""
    optional = {
        "HEPHAESTUS_SCHEDULE_DLQ_ARN": "arn:dlq",
        "HEPHAESTUS_WORKFLOWS": "orders, returns,",
        "HEPHAESTUS_BUCKET": "b",
        "HEPHAESTUS_WAKE_SHARDS": "8",
        "HEPHAESTUS_LIST_SHARDS": "2",
        "HEPHAESTUS_RETENTION_DAYS": "30",
        "HEPHAESTUS_TRACING": "True",
        "HEPHAESTUS_CALLBACK_KEY": "secret:key",
        "HEPHAESTUS_CALLBACK_URL": "https://api.test",
        "HEPHAESTUS_CALLBACK_AUDIENCE": "stack",
    }
    optional["HEPHAESTUS_SCHEDULE_PREFIX"] = "0a1b."
    optional |= {"HEPHAESTUS_EVENT_BUS": "default", "HEPHAESTUS_STACK": "shop"}
    optional["HEPHAESTUS_INGEST_DLQ_URL"] = "https://dead"
    optional["HEPHAESTUS_STEP_VARIABLES"] = "ORDERS=o\n\n QUERY=a=b \n"
    callbacks = ("secret:key", "https://api.test", "stack", "0a1b.")
    optional["HEPHAESTUS_BULK_QUEUE_URL"] = "https://bulk"
    optional["HEPHAESTUS_DEPLOYMENT"] = "arn:aws:lambda:eu-south-1:123456789012:layer:shop-workflows:41"
    outside = ("default", "shop", "https://dead", "https://bulk", 41, {"ORDERS": "o", "QUERY": "a=b"})
    expected = ("arn:dlq", ("orders", "returns"), "b", 8, 2, 30, True, *callbacks, *outside)
    assert Settings.read({**NEEDED, **optional}) == Settings(
        "t", "https://queue", "g", "arn:role", "arn:resume", *expected
    )


def test_all_that_is_wrong_is_said_at_once() -> None:
    """Every variable that is missing or malformed, by name."""
    settings = Settings.read(
        {
            "HEPHAESTUS_TABLE": "t",
            "HEPHAESTUS_WAKE_SHARDS": "0",
            "HEPHAESTUS_RETENTION_DAYS": "soon",
            "HEPHAESTUS_SCHEDULE_PREFIX": "my stack",
            "HEPHAESTUS_CALLBACK_KEY": "my-key",
            "HEPHAESTUS_CALLBACK_URL": "parameter:",
        }
    )
    with pytest.raises(BadSettings) as raised:
        settings.check(*RUNS, *LINKS)
    text = str(raised.value)
    assert "HEPHAESTUS_CALLBACK_KEY is 'my-key': it must be secret:… or parameter:…" in text
    assert "HEPHAESTUS_CALLBACK_URL is 'parameter:': it must be https://…" in text
    assert "HEPHAESTUS_SCHEDULE_PREFIX is 'my stack'" in text
    for name in ("QUEUE_URL", "SCHEDULE_GROUP", "SCHEDULE_ROLE_ARN", "RESUME_ARN", "WAKE_SHARDS", "RETENTION_DAYS"):
        assert f"HEPHAESTUS_{name}" in text
    assert "HEPHAESTUS_TABLE" not in text


DEPENDS = {"runs steps": RUNS, "takes links": ANSWERS, "shows": READS, "sweeps": SWEEPS}
WRONG = {
    "TABLE": "",
    "QUEUE_URL": "",
    "SCHEDULE_GROUP": "",
    "SCHEDULE_ROLE_ARN": "",
    "RESUME_ARN": "",
    "SCHEDULE_PREFIX": "a b",
    "STEP_VARIABLES": "ORDERS=o\nAWS_REGION=here",
    "WAKE_SHARDS": "none",
    "LIST_SHARDS": "65",
    "RETENTION_DAYS": "-1",
    "CALLBACK_KEY": "secret:",
    "CALLBACK_URL": "ftp://here",
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("role", DEPENDS)
def test_a_wrong_variable_stops_only_what_depends_on_it(role: str, name: str) -> None:
    settings = Settings.read({**NEEDED, f"HEPHAESTUS_{name}": WRONG[name]})
    if name.lower() in DEPENDS[role]:
        with pytest.raises(BadSettings, match=f"HEPHAESTUS_{name} (is|has the line)"):
            settings.check(*DEPENDS[role])
    else:
        assert settings.check(*DEPENDS[role]) is settings


def test_every_variable_that_can_be_wrong_stops_something() -> None:
    needed = {name for names in (*DEPENDS.values(), LINKS) for name in names}
    assert needed == {name.lower() for name in WRONG}
    assert not set(LINKS) & {name for names in DEPENDS.values() for name in names}, "links stop nothing else"


@pytest.mark.parametrize("digits", ["000000001999", "65", "0" * 8 + "1" + "0" * 5000, "9" * 5000, "00", "0" * 9])
def test_a_number_is_read_as_a_whole(digits: str) -> None:
    """However many digits it has, and whatever the first ones say."""
    problem = Settings.read({"HEPHAESTUS_WAKE_SHARDS": digits}).problems["wake_shards"]
    assert "must be a whole number from 1 to 64" in problem


@pytest.mark.parametrize("line", ["ORDERS", "=o", "OR DERS=o", "1ORDERS=o", "HEPHAESTUS_TABLE=mine", "LAMBDA_X=1"])
def test_a_line_that_is_no_variable_of_a_step_is_rejected(line: str) -> None:
    """Also one that would replace a variable of the functions themselves."""
    settings = Settings.read({"HEPHAESTUS_STEP_VARIABLES": f"GOOD=1\n{line}"})
    assert repr(line) in settings.problems["step_variables"]
    assert settings.step_variables == {}


def test_the_variables_of_the_steps_are_set_before_workflows_are_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEPHAESTUS_STEP_VARIABLES", "ORDERS_TABLE=orders")
    monkeypatch.setenv("ORDERS_TABLE", "")  # so that it is taken back
    settings_from_environment.cache_clear()
    try:
        settings_from_environment()
        assert os.environ["ORDERS_TABLE"] == "orders"
    finally:
        settings_from_environment.cache_clear()
