"""The timers on EventBridge Scheduler: what is really asked of the service, on moto."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError
from botocore.stub import Stubber
from hypothesis import given
from hypothesis import strategies as st

from hephaestus.adapters.scheduler import SOURCE, SchedulerTimers, read_timeout, timeout_payload
from hephaestus.adapters.session import LazyClient
from hephaestus.errors import BadRequest, EngineError, StoreUnavailable
from hephaestus.runtime.names import MAX_PREFIX, schedule_name
from hephaestus.runtime.ports import Timeout
from hephaestus.testing import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Mapping

ROLE: Final = "arn:aws:iam::123456789012:role/scheduler"
TARGET: Final = "arn:aws:lambda:eu-west-1:123456789012:function:resume"
DLQ: Final = "arn:aws:sqs:eu-west-1:123456789012:dlq"
NOON: Final = datetime(2026, 5, 1, 12, tzinfo=UTC)
NOON_MS: Final = int(NOON.timestamp() * 1000)
WAIT: Final = Timeout("orderid::abc123", "e64892557ff01234567", "approval", "approval#1", NOON_MS + 48 * 3600 * 1000)
ALLOWED: Final = re.compile(r"[0-9a-zA-Z_.-]{1,64}")

texts = st.text(st.characters(codec="utf-8"), max_size=200)
timeouts = st.builds(Timeout, texts, texts, texts, texts, st.integers(0, 4 * 10**12))


@pytest.fixture
def timers(moto_in_process: None) -> SchedulerTimers:
    """Timers at noon, with a group and a queue for what cannot be delivered."""
    client = LazyClient("scheduler")
    client.get().create_schedule_group(Name="waits")
    return SchedulerTimers("waits", ROLE, TARGET, DLQ, client, VirtualClock(NOON))


def stored(timers: SchedulerTimers) -> list[dict[str, Any]]:
    """Every schedule of the group, as the service has it."""
    client = timers.client.get()
    names = [one["Name"] for one in client.list_schedules(GroupName=timers.group)["Schedules"]]
    return [client.get_schedule(GroupName=timers.group, Name=name) for name in names]


def test_a_schedule_says_all_that_the_service_must_know(timers: SchedulerTimers) -> None:
    """Group, time, zone, target, role, what happens on failure, and that it is deleted when it has fired."""
    name = timers.schedule(WAIT)
    [schedule] = stored(timers)
    assert (schedule["Name"], schedule["GroupName"]) == (name, "waits")
    assert schedule["ScheduleExpression"] == "at(2026-05-03T12:00:00)"
    assert schedule["ScheduleExpressionTimezone"] == "UTC"
    assert schedule["FlexibleTimeWindow"] == {"Mode": "OFF"}
    assert schedule["ActionAfterCompletion"] == "DELETE"
    target = schedule["Target"]
    assert (target["Arn"], target["RoleArn"], target["DeadLetterConfig"]) == (TARGET, ROLE, {"Arn": DLQ})
    assert target["RetryPolicy"] == {"MaximumEventAgeInSeconds": 86_400, "MaximumRetryAttempts": 185}
    assert read_timeout(json.loads(target["Input"])) == WAIT


def test_without_a_dlq_none_is_named(timers: SchedulerTimers) -> None:
    """The queue for failures is a choice."""
    SchedulerTimers("waits", ROLE, TARGET, None, timers.client, timers.clock).schedule(WAIT)
    [schedule] = stored(timers)
    assert "DeadLetterConfig" not in schedule["Target"]


def test_making_it_twice_makes_one(timers: SchedulerTimers) -> None:
    """The service's conflict is success, under the same name."""
    assert timers.schedule(WAIT) == timers.schedule(WAIT)
    assert len(stored(timers)) == 1


def test_each_wait_has_a_schedule_of_its_own(timers: SchedulerTimers) -> None:
    """Another instance, generation or token is another schedule; the step alone is in the token."""
    others = [
        Timeout("orderid::abc124", "e64892557ff01234567", "approval", "approval#1", WAIT.due_at),
        Timeout("orderid::abc123", "e64892557fe01234567", "approval", "approval#1", WAIT.due_at),
        Timeout("orderid::abc123", "e64892557ff01234567", "approval", "approval#2", WAIT.due_at),
        Timeout("orderid::abc123", "e64892557ff01234567", "payment", "payment.1", WAIT.due_at),
        Timeout("orderid::abc123", "e64892557ff01234567", "approval", "approval#s1", WAIT.due_at),
    ]
    names = {timers.schedule(timeout) for timeout in (WAIT, *others)}
    assert len(names) == len(stored(timers)) == 6


def test_cancelling_removes_this_one_only(timers: SchedulerTimers) -> None:
    """One that is gone, or never was, is no error."""
    other = Timeout("orderid::other", "e64892557ff01234567", "approval", "approval#1", WAIT.due_at)
    timers.schedule(WAIT)
    name = timers.schedule(other)
    for _ in range(2):
        timers.cancel(WAIT)
        assert [schedule["Name"] for schedule in stored(timers)] == [name]
    timers.schedule(WAIT)
    assert len(stored(timers)) == 2


@pytest.mark.parametrize(
    ("due_at", "at"),
    [
        (NOON_MS + 60_000, "12:01:00"),
        (NOON_MS + 60_001, "12:01:01"),
        (NOON_MS + 60_999, "12:01:01"),
        (NOON_MS + 2_000, "12:00:02"),
        (NOON_MS + 1, "12:00:02"),
        (NOON_MS - 10**9, "12:00:02"),
        (0, "12:00:02"),
    ],
)
def test_invariant_6_the_time_is_never_early_and_never_past(timers: SchedulerTimers, due_at: int, at: str) -> None:
    """Whole seconds, rounded up; what is past on arrival would be refused, so it is a moment from now."""
    timers.schedule(Timeout("orderid::a", "e64892557ff01234567", "w", "w.1", due_at))
    [schedule] = stored(timers)
    assert schedule["ScheduleExpression"] == f"at(2026-05-01T{at})"


@given(st.integers(NOON_MS - 10**10, NOON_MS + 366 * 24 * 3600 * 1000), st.integers(0, 999))
def test_invariant_6_the_time_is_the_first_second_that_will_do(due_at: int, now: int) -> None:
    """At or after the deadline, less than a second late, and always ahead of the clock."""
    clock = VirtualClock(NOON)
    clock.move_to(NOON_MS + now)
    expression = SchedulerTimers("g", ROLE, TARGET, clock=clock).expression(due_at)
    found = datetime.strptime(expression, "at(%Y-%m-%dT%H:%M:%S)").replace(tzinfo=UTC)
    at = int(found.timestamp() * 1000)
    assert at >= due_at
    assert at > clock.now()
    assert at < max(due_at, clock.now() + 2_000) + 1_000


@given(timeouts)
def test_a_name_keeps_to_the_services_rules(timeout: Timeout) -> None:
    """At most 64 of its letters, whatever the instance and the step are called; the same again and again."""
    name = schedule_name(timeout)
    assert ALLOWED.fullmatch(name)
    assert name == schedule_name(timeout)


@given(timeouts, st.text("abcdef0123456789-_.", min_size=1, max_size=MAX_PREFIX))
def test_every_name_begins_with_the_prefix_of_the_deployment(timeout: Timeout, prefix: str) -> None:
    """And still keeps to the rules, and tells waits apart as a name without a prefix does."""
    name = schedule_name(timeout, prefix)
    assert ALLOWED.fullmatch(name)
    assert name.startswith(prefix)
    assert name[-24:] == schedule_name(timeout)[-24:]


def test_a_schedule_is_made_and_removed_under_its_prefix(timers: SchedulerTimers) -> None:
    owned = replace(timers, prefix="0a1b2c3d4e5f.")
    name = owned.schedule(WAIT)
    assert name == owned.request(WAIT)["Name"] == owned.name(WAIT)
    assert name.startswith("0a1b2c3d4e5f.orderid-abc123-approval-")
    client = timers.client.get()
    assert [it["Name"] for it in client.list_schedules(GroupName="waits")["Schedules"]] == [name]
    owned.cancel(WAIT)
    assert client.list_schedules(GroupName="waits")["Schedules"] == []


@given(timeouts, timeouts)
def test_different_waits_have_different_names(one: Timeout, other: Timeout) -> None:
    """The name is made of what tells waits apart: instance, life and token."""
    same = (one.instance_id, one.life, one.token) == (other.instance_id, other.life, other.token)
    assert same or schedule_name(one) != schedule_name(other)


@given(timeouts)
def test_a_payload_comes_back(timeout: Timeout) -> None:
    """What a schedule sends is what was waited for, and says that it is a timeout of ours."""
    payload = json.loads(timeout_payload(timeout))
    assert (payload["source"], payload["event"]) == (SOURCE, "timeout")
    assert read_timeout(payload) == timeout


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(texts, json_values, max_size=8))
def test_a_foreign_payload_is_refused(payload: Mapping[str, Any]) -> None:
    """Whatever it is: a bad request, never a crash."""
    with pytest.raises(BadRequest, match="not a timeout"):
        read_timeout(payload)


@given(st.sampled_from(["source", "instance_id", "life", "step", "token", "due_at"]), json_values | st.just(...))
def test_a_payload_with_one_field_wrong_is_refused_or_read(field: str, value: Any) -> None:
    """A field that is missing (``...``) or of another type; a boolean is no number."""
    payload: dict[str, Any] = json.loads(timeout_payload(WAIT))
    kind = type(payload.pop(field))
    if value is not ...:
        payload[field] = value
    fits = type(value) is kind and (field != "source" or value == SOURCE)
    if fits and kind is int:
        fits = 0 <= value < 10**15
    if fits:
        assert getattr(read_timeout(payload), field, SOURCE) == value
    else:
        with pytest.raises(BadRequest, match="not a timeout"):
            read_timeout(payload)


def test_a_payload_that_is_too_large_is_refused_before_it_is_sent(timers: SchedulerTimers) -> None:
    """Lambda targets take 256 KB; no id or step comes near, so it would be a defect of ours."""
    with pytest.raises(EngineError, match="orderid::a"):
        timers.schedule(Timeout("orderid::a", "e64892557ff01234567", "w", "x" * 256 * 1024, NOON_MS))
    assert stored(timers) == []


@pytest.mark.parametrize("call", ["create_schedule", "delete_schedule"])
@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("ThrottlingException", 429, StoreUnavailable),
        ("InternalServerException", 500, StoreUnavailable),
        ("ServiceQuotaExceededException", 402, EngineError),
        ("AccessDeniedException", 403, EngineError),
        ("ValidationException", 400, EngineError),
    ],
)
def test_an_error_says_whether_to_come_back(
    timers: SchedulerTimers, call: str, code: str, status: int, kind: type[Exception]
) -> None:
    """Throttled and broken: later. Refused: a matter of permissions and settings, whose names stay inside."""
    with Stubber(timers.client.get()) as stubber:
        stubber.add_client_error(call, code, f"{ROLE} may not", status)
        with pytest.raises(kind, match=code) as caught:
            timers.schedule(WAIT) if call == "create_schedule" else timers.cancel(WAIT)
    assert isinstance(caught.value, StoreUnavailable) == (kind is StoreUnavailable)
    assert "arn:" not in str(caught.value)


def test_no_answer_is_a_passing_condition(timers: SchedulerTimers) -> None:
    """Whoever called may call again, and does: the name is the same."""

    def silence(**_: Any) -> None:
        raise ReadTimeoutError(endpoint_url="http://test")

    events = timers.client.get().meta.events
    events.register_first("before-send.scheduler", silence)
    with pytest.raises(StoreUnavailable, match="try again"):
        timers.schedule(WAIT)
    with pytest.raises(StoreUnavailable, match="try again"):
        timers.cancel(WAIT)


def test_a_group_that_is_not_there_is_an_engine_error(timers: SchedulerTimers) -> None:
    """A schedule needs its group; a cancellation finds nothing to cancel."""
    lost = SchedulerTimers("lost", ROLE, TARGET, DLQ, timers.client, timers.clock)
    with pytest.raises(ClientError):
        timers.client.get().get_schedule_group(Name="lost")
    lost.cancel(WAIT)
    with Stubber(timers.client.get()) as stubber:
        stubber.add_client_error("create_schedule", "ResourceNotFoundException", "no such group", 404)
        with pytest.raises(EngineError, match="ResourceNotFoundException"):
            lost.schedule(WAIT)
