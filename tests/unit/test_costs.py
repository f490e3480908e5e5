"""What ``hephaestus cost`` makes of counts, and that every workflow there is can be played to its end."""

from __future__ import annotations

import pytest

from hephaestus import DONE, Pending, RateLimit, Rounds, StepContext, Workflow, step
from hephaestus.costs import PRICES, Plan, estimate, plan_of, play
from hephaestus.costs.estimate import Bill, Estimate, Work
from hephaestus.errors import BadRequest
from hephaestus.handlers.http.describe import describe
from hephaestus.steps import ChildWorkflow, Map, Poll, Repeat, Wait, WaitForEvent
from tests.contract.test_cost import chain
from tests.property.random_flows import flow
from workflows import OrderFlow

TEN = describe(chain(10))["versions"][0]
ORDER = describe(OrderFlow)["versions"][0]


def lines(bill: Bill) -> dict[str, tuple[float, float]]:
    """What a bill says: how many, and dollars."""
    return {line.what: (line.count, round(line.dollars, 4)) for line in bill.lines}


def test_ten_linear_steps_cost_what_their_counts_say() -> None:
    """18 write units, 10 transitions and 11 operations, each at its price; the steps' work is the same everywhere."""
    ours, theirs, durable = estimate(TEN, work=Work(step_ms=100, memory_mb=1024)).bills
    assert lines(ours)["DynamoDB write units"] == (18, 18 * PRICES.write_units)
    assert lines(ours)["Lambda invocations"] == (1, 0.2)
    assert lines(ours)["Lambda GB-seconds"][0] == pytest.approx(1.06)
    assert lines(theirs)["state transitions"] == (10, 250)
    assert lines(theirs)["Lambda invocations"] == (10, 2)
    assert lines(durable)["durable operations"] == (11, 88)
    assert ours.total == pytest.approx(sum(line.dollars for line in ours.lines))
    assert ours.orchestration == pytest.approx(11.25 + 0.2)


def test_step_functions_pay_for_choices_and_parallels_too() -> None:
    """Six states on the way, three of which part ways, and one fan-out."""
    found = estimate(ORDER)
    assert lines(found.bills[1])["state transitions"][0] == 6 + 3 + 1
    assert lines(found.bills[2])["durable operations"][0] == 1 + 6 + 2, "a callback is made, handed out and waited for"
    assert lines(found.bills[2])["Lambda invocations"][0] == 2


def test_whatever_is_assumed_is_said() -> None:
    said = " ".join(estimate(ORDER, Plan(queued=True, result_bytes=77), Work(123, 256)).assumptions)
    for text in ("77 bytes", "123 ms at 256 MB", "queued", "120 bytes", "no free tier"):
        assert text in said
    assert "run in place" in " ".join(estimate(ORDER).assumptions)


def test_the_usual_numbers_of_maps_loops_and_limits_are_said_where_there_are_some() -> None:
    """How many items and rounds there are decides more than all else; nothing is said of what a workflow has not."""

    @step(limits=[RateLimit("api", 20, 1)])
    def work(ctx: StepContext) -> str:
        return "done"

    class Many(Workflow, key="x"):
        every = Map(work, over=lambda _: [], name="every")
        ready = Poll(lambda _: True, every=1, rounds=Rounds(500), name="ready")
        start_at = ready
        transitions = {ready: {"done": every, "exhausted": DONE}, every: {"done": DONE}}

    texts = ("A map has 10 items", "A loop takes 10 rounds", "waits for a rate in place")
    said, other = (" ".join(estimate(one).assumptions) for one in (describe(Many)["versions"][0], ORDER))
    assert [text in said for text in texts] == [True] * 3
    assert [text in other for text in texts] == [False] * 3


def test_larger_data_cost_more_units() -> None:
    small, large = play(TEN, Plan(result_bytes=40)), play(TEN, Plan(result_bytes=4_000))
    assert large.write_units > 2 * small.write_units
    assert large.requests == small.requests


def test_a_plan_is_checked() -> None:
    for events in ({"nothing": "paid"}, {"charge_payment": "flown"}):
        with pytest.raises(BadRequest, match="has no"):
            play(ORDER, Plan(events=events))
    declined = play(ORDER, Plan(events={"charge_payment": "declined"}))
    assert declined.route[-1] == ("reject_order", "done")


def test_waits_are_as_long_as_their_definition_says() -> None:
    """A short one comes by the queue, a long one by a schedule."""

    @step
    def work(ctx: StepContext) -> str:
        return "done"

    class Waits(Workflow, key="x"):
        start_at = work
        short, long = Wait(minutes=5, name="short"), Wait(days=2, name="long")
        transitions = {work: {"done": short}, short: {"done": long}, long: {"done": DONE}}

    counts = play(describe(Waits)["versions"][0], plan_of(Waits.definition(1), Plan()))
    assert (counts.messages, counts.schedules, counts.waits, counts.steps) == (1, 1, 2, 3)
    unknown = play(describe(Waits)["versions"][0])
    assert (unknown.messages, unknown.schedules) == (0, 2)


def test_status_events_are_counted_only_where_they_are_turned_on() -> None:
    """One when it begins, and one when it ends, at a dollar a million."""
    lines = {line.what: line for line in estimate(ORDER, Plan(publishes=True)).bills[0].lines}
    assert (lines["status events"].count, lines["status events"].dollars) == (2, 2.0)
    assert "status events" not in {line.what for line in estimate(ORDER).bills[0].lines}


@pytest.mark.parametrize("queued", [False, True])
def test_every_workflow_can_be_played_to_its_end(queued: bool) -> None:
    """Any graph and every kind of step, from its description alone."""
    for number in range(150):
        version = describe(flow(number))["versions"][0]
        counts = play(version, Plan(queued=queued))
        assert counts.route[-1][0] in {
            "last",
            *(each["key"] for each in version["steps"] if ["FAIL"] in each["routes"].values()),
        }
        assert counts.write_units >= counts.total_requests - counts.requests.get("GetItem", 0)


def test_children_are_played_with_their_parent() -> None:
    """Those that are described, in their shape; others as workflows of one step."""
    kid = ChildWorkflow(OrderFlow, name="kid")
    top = type("Top", (Workflow,), {"start_at": kid, "transitions": {kid: {"done": DONE}}}, key="top")
    version = describe(top)["versions"][0]
    whole = play(version, Plan(children={"OrderFlow": ORDER}))
    assert whole.steps == 1 + play(ORDER).steps
    assert play(version).steps == 2
    assert whole.write_units > play(version).write_units > play(describe(chain(1))["versions"][0]).write_units


def test_each_round_of_children_costs_the_same() -> None:
    """As many as the plan has: three writes and a head of the parent, and what the child costs."""
    draft = Repeat(OrderFlow, until=lambda ctx: True, rounds=Rounds(20), name="draft")
    top = type("Top", (Workflow,), {"start_at": draft, "transitions": {draft: {"done": DONE}}}, key="top")
    version = describe(top)["versions"][0]
    costs = [play(version, Plan(rounds={"draft": number})) for number in (3, 4, 5)]
    units = [each.write_units for each in costs]
    assert [each.steps for each in costs] == [6, 8, 10]
    assert units[2] - units[1] == units[1] - units[0]


def test_a_round_that_goes_on_with_an_event_waits_for_one() -> None:
    """Each but the last: an event in place, a commit that ends the round, and the next wait."""

    @step(rounds=Rounds(100, again_on=("said",)), events=("done",))
    def talk(ctx: StepContext) -> Pending:
        return Pending()

    class Talk(Workflow, key="talk"):
        start_at = talk
        transitions = {talk: {"done": DONE}}

    version = describe(Talk)["versions"][0]
    few, more = (play(version, Plan(rounds={"talk": number})) for number in (3, 4))
    assert (few.steps, few.invocations, more.invocations) == (3, 3, 4)
    assert 0 < more.write_units - few.write_units <= 8


class Parcel(Workflow, key="parcel"):
    """Two steps."""

    pack, send = (step(key=name)(lambda ctx: "done") for name in ("pack", "send"))
    start_at = pack
    transitions = {pack: {"done": send}, send: {"done": DONE}}


class Asked(Workflow, key="asked"):
    """A step, and a wait."""

    ask, send = WaitForEvent("yes", name="ask"), step(key="send")(lambda ctx: "done")
    start_at = ask
    transitions = {ask: {"yes": send}, send: {"done": DONE}}


def fleet(item: type[Workflow], key: str = "fleet") -> type[Workflow]:
    """A map of a workflow."""
    every = Map(item, over=lambda _: [], name="every")
    return type(key.capitalize(), (Workflow,), {"start_at": every, "transitions": {every: {"done": DONE}}}, key=key)


def of_items(item: type[Workflow], number: int, *others: type[Workflow]) -> Estimate:
    """What a map of so many workflows costs."""
    kids = {one.name: describe(one)["versions"][0] for one in (item, *others)}
    return estimate(describe(fleet(item))["versions"][0], Plan(children=kids, items={"every": number}))


def test_the_workflows_of_a_map_are_priced_with_their_own_steps() -> None:
    """Here each is an instance; elsewhere a transition a step, or an execution that a transition starts."""
    few, more = of_items(Parcel, 20), of_items(Parcel, 30)
    alone = play(describe(Parcel)["versions"][0])
    assert (more.counts.steps, more.counts.items, more.counts.workflows) == (61, 30, 30)
    assert more.counts.write_units - few.counts.write_units >= 10 * alone.write_units
    _, standard, distributed, durable = (lines(bill) for bill in more.bills)
    assert standard["state transitions"][0] == 1 + 30 * 2
    assert distributed["state transitions"][0] == 1 + 30
    assert distributed["Express executions"][0] == 30
    assert distributed["Express GB-seconds"][0] == pytest.approx(30 * 0.2 * 64 / 1024)
    assert durable["durable operations"][0] == 1 + 1 + 30 * (1 + 2)
    with pytest.raises(BadRequest, match="items of every: give a number from 0 to 10000, not 20000"):
        of_items(Parcel, 20_000)


def test_workflows_of_a_map_that_wait_are_standard_executions() -> None:
    """As an Express workflow waits for nothing; each is answered, and no Lambda works meanwhile."""
    found = of_items(Asked, 5)
    assert (found.counts.steps, found.counts.waits, found.counts.callbacks) == (11, 5, 5)
    _, standard, distributed, _ = (lines(bill) for bill in found.bills)
    assert (distributed["state transitions"][0], distributed["transitions of items"][0]) == (6, 10)
    assert "Express executions" not in distributed
    assert standard["Lambda invocations"][0] == 6


def test_maps_of_workflows_in_workflows_of_a_map_are_priced_whole() -> None:
    """The inner one has as many items as the plan has for its key."""
    inner = fleet(Parcel, "inner")
    assert of_items(inner, 3, Parcel).counts.steps == 1 + 3 * (1 + 3 * 2)


def test_a_map_is_priced_beside_both_kinds_of_step_functions_maps() -> None:
    """An item is a transition, and in a distributed map starts an Express workflow; ours share commits and Lambdas."""

    @step
    def work(ctx: StepContext) -> str:
        return "done"

    class Mapped(Workflow, key="x"):
        every = Map(work, over=lambda _: [], name="every")
        start_at = every
        transitions = {every: {"done": DONE}}

    version = describe(Mapped)["versions"][0]
    found = estimate(version, Plan(items={"every": 1_000}), Work(step_ms=250, memory_mb=1024))
    ours, standard, distributed, _ = found.bills
    assert [lines(bill)["state transitions"][0] for bill in (standard, distributed)] == [1_001, 1_001]
    assert lines(distributed)["Express executions"] == (1_000, 1_000.0)
    assert lines(distributed)["Express GB-seconds"][0] == 1_000 * 0.3 * 64 / 1024
    assert any("a distributed map" in one for one in found.assumptions)
    assert lines(ours)["DynamoDB write units"][0] <= 1.3 * 1_000
    assert lines(ours)["Lambda invocations"][0] <= 1 + 2 * 10
    assert [bill.name for bill in estimate(TEN).bills] == [
        "Hephaestus",
        "Step Functions Standard",
        "Lambda durable functions",
    ]
