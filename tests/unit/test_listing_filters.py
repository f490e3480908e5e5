"""Listing by statuses and versions, of deployed and other workflows, with cursors that belong to their filters."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hephaestus import DONE, StepContext, Workflow, step
from hephaestus.console.counts import Counts
from hephaestus.console.embedded import LocalConnection
from hephaestus.console.service import Service
from hephaestus.definition.business_key import BusinessKey, key_of
from hephaestus.engine.state import STATUSES
from hephaestus.errors import BadRequest, UnknownWorkflow
from hephaestus.handlers.http.request import MAX_PARAMETER, Request
from hephaestus.runtime.cursors import bind, unbind
from hephaestus.runtime.registry import Registry
from hephaestus.runtime.runner import Runner
from hephaestus.steps import WaitForEvent
from hephaestus.testing import LocalRuntime

if TYPE_CHECKING:
    from collections.abc import Iterable

gate = WaitForEvent("go", "fail", name="gate")


@step
def work(ctx: StepContext) -> str:
    """Work, or not."""
    return "done"


def flow(name: str, version: int = 1) -> type[Workflow]:
    """A workflow that waits, of that name."""
    members = {"start_at": gate, "transitions": {gate: {"go": DONE, "fail": DONE}}}
    made: type[Workflow] = type(name, (Workflow,), members, key=name.lower(), version=version)
    return made


Order, Gone = flow("Order", 3), flow("Gone")


@pytest.fixture
def runner() -> Runner:
    """Nine instances of each of two workflows, of which only ``Order`` is deployed now."""
    local = LocalRuntime(Order, Gone)
    for number in range(9):
        for kind in (Order, Gone):
            shown = local.start(kind, str(number))
            if number % 3 == 1:
                local.resume(shown.id, "go")
            elif number % 3 == 2:
                local.runner.cancel(shown.id)
    return Runner(local.store, local.timers, local.queue, Registry([Order]), clock=local.clock)


def ids(found: Iterable[Any]) -> set[str]:
    """Whole ids."""
    return {item.id for item in found}


@pytest.mark.parametrize(
    "status", ["waiting", ["waiting"], ("cancelled", "waiting"), {"completed", "cancelled"}, list(STATUSES), None]
)
def test_a_status_of_a_workflow_that_is_not_deployed_is_never_left_out(runner: Runner, status: Any) -> None:
    wanted = set(STATUSES) if status is None else {status} if isinstance(status, str) else set(status)
    found = runner.list(status=status, limit=200)
    assert {item.status for item in found} == wanted & {"waiting", "completed", "cancelled"}
    for name in ("order", "gone"):
        own = [item for item in found if item.id.startswith(f"{name}::")]
        assert len(own) == 3 * len(wanted & {"waiting", "completed", "cancelled"})
    assert ids(runner.list(status=status, workflow="Gone", limit=200)) == {i for i in ids(found) if "gone" in i}


def test_versions_are_filtered(runner: Runner) -> None:
    assert {item.workflow for item in runner.list(version=3, limit=200)} == {"Order"}
    assert {item.workflow for item in runner.list(version=1, limit=200)} == {"Gone"}
    assert len(runner.list(version=3, status=["waiting", "completed"])) == 6
    assert runner.list(version=3, workflow="Gone").items == []


def test_counts_hold_what_is_not_deployed_as_long_as_it_has_instances(runner: Runner) -> None:
    counts = runner.counts()
    assert {name: (n["waiting"], n["completed"], n["cancelled"]) for name, n in counts.items()} == {
        "Order": (3, 3, 3),
        "Gone": (3, 3, 3),
    }
    assert runner.counts(workflow="Gone") == {"Gone": counts["Gone"]}
    read = Counts(LocalConnection(runner)).read(30)
    assert [one["name"] for one in read["workflows"]] == ["Gone", "Order"]


@pytest.mark.parametrize("name", ["Nobody", "", "x" * 5_000, "Order#waiting", 7, Gone.versions])
def test_a_workflow_that_is_neither_deployed_nor_stored_is_rejected(runner: Runner, name: Any) -> None:
    for ask in (runner.list, runner.counts):
        with pytest.raises(UnknownWorkflow, match="Order"):
            ask(workflow=name)


def test_a_class_that_is_not_deployed_any_more_lists_its_instances(runner: Runner) -> None:
    assert ids(runner.list(workflow=Gone, limit=200)) == ids(runner.list(workflow="Gone", limit=200))


@pytest.mark.parametrize(
    "wrong",
    [
        {"status": "open"},
        {"status": []},
        {"status": ["waiting", "open"]},
        {"status": 7},
        {"status": [None]},
        {"version": 0},
        {"version": -1},
        {"version": True},
        {"version": "2"},
        {"version": 10**40},
        {"cursor": "x"},
        {"cursor": base64.urlsafe_b64encode(b"[]").decode()},
        {"cursor": base64.urlsafe_b64encode(b'["x",7]').decode()},
        {"cursor": base64.urlsafe_b64encode(b'["x",{}]').decode()},
    ],
)
def test_a_malformed_filter_is_rejected(runner: Runner, wrong: dict[str, Any]) -> None:
    with pytest.raises(BadRequest):
        runner.list(**wrong)


FILTERS: list[dict[str, Any]] = [
    {},
    {"workflow": "Order"},
    {"workflow": "Gone"},
    {"status": "waiting"},
    {"status": ["waiting", "cancelled"]},
    {"version": 1},
    {"version": 3, "status": ["waiting", "cancelled"]},
]


def test_a_cursor_belongs_to_its_filters(runner: Runner) -> None:
    """With the same ones it goes on, in whatever order statuses are written; with others, it says what is different."""
    for own in FILTERS:
        first = runner.list(**own, limit=2)
        assert first.cursor
        seen = [item.id for item in first]
        cursor: str | None = first.cursor
        while cursor:
            page = runner.list(**own, limit=5, cursor=cursor)
            seen += [item.id for item in page]
            cursor = page.cursor
        assert seen == [item.id for item in runner.list(**own, limit=200)]
        for other in FILTERS:
            if other != own:
                with pytest.raises(BadRequest, match="repeat its filters, or leave out the cursor"):
                    runner.list(**other, limit=2, cursor=first.cursor)
    one = runner.list(status=["waiting", "cancelled"], limit=1)
    assert len(runner.list(status=("cancelled", "waiting", "waiting"), limit=1, cursor=one.cursor)) == 1
    with pytest.raises(BadRequest, match="with status waiting, cancelled, not with status waiting"):
        runner.list(status="waiting", cursor=one.cursor)
    assert (
        runner.list(status=["waiting", "cancelled"], since=datetime(2030, 1, 1, tzinfo=UTC), cursor=one.cursor).items
        == []
    )


def test_a_cursor_is_no_longer_than_what_is_taken_as_one() -> None:
    """However long a tag is; of another tag it still is none."""
    tag = "t" * MAX_PARAMETER
    cursor = bind("c" * 200, {"tag": tag})
    assert cursor is not None
    assert len(cursor) < MAX_PARAMETER / 2
    assert unbind(cursor, {"tag": tag}) == "c" * 200
    with pytest.raises(BadRequest, match="repeat its filters"):
        unbind(cursor, {"tag": "t" * (MAX_PARAMETER - 1)})


def test_every_view_has_the_business_keys_value(runner: Runner) -> None:
    assert {item.key for item in runner.list(workflow="Order")} == {str(number) for number in range(9)}
    assert runner.get("order::4").key == "4"
    assert LocalConnection(runner).get("order::4")["key"] == "4"
    found = Service(LocalConnection(runner)).find({"id": "4"})
    assert [item["key"] for item in found["items"]] == ["4"]


@given(
    st.from_regex(r"[A-Za-z0-9._-]{1,128}", fullmatch=True),
    st.sampled_from(("workflow", "version", "global", "none")),
    st.integers(1, 99),
)
def test_the_keys_value_is_the_one_that_made_the_id(value: str, scope: Any, version: int) -> None:
    assert key_of(BusinessKey("orderid", scope).instance_id(value, version, "0a1b")) == value


def asked(**query: Any) -> Request:
    """A request as API Gateway gives it; a list is a repeated parameter."""
    several = {name: value if isinstance(value, list) else [value] for name, value in query.items()}
    last = {name: values[-1] for name, values in several.items()}
    return Request({"queryStringParameters": last, "multiValueQueryStringParameters": several})


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("failed", ["failed"]),
        ("failed,cancelled", ["failed", "cancelled"]),
        (["failed", "cancelled"], ["failed", "cancelled"]),
        (["failed,waiting", "cancelled"], ["failed", "waiting", "cancelled"]),
        ("failed, cancelled", ["failed", "cancelled"]),
    ],
)
def test_statuses_are_read_with_commas_or_repeated(given: Any, read: list[str]) -> None:
    assert asked(status=given).several("status") == read
    if isinstance(given, str):  # a direct invocation need not send both
        assert Request({"queryStringParameters": {"status": given}}).several("status") == read
    assert asked(tag="x").several("status") is None


@pytest.mark.parametrize(
    "given", ["", ",", "failed,", ",failed", "failed,,waiting", ["failed", ""], ["", "failed"], "x" * 3000]
)
def test_an_empty_status_among_others_is_rejected(given: Any) -> None:
    with pytest.raises(BadRequest):
        asked(status=given).several("status")


@pytest.mark.parametrize("tag", [b"x", 5, True, ["u"], "", "x" * 2_049, "\ud83d", {"t": 1}])
def test_a_tag_that_nothing_can_have_is_no_filter(runner: Runner, tag: Any) -> None:
    """An empty page would say that no instance has it."""
    with pytest.raises(BadRequest, match="tag must be a text of 1 to 2048 characters"):
        runner.list(tag=tag)
