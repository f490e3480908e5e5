"""Dollars for a million instances, from what one took, here and elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from hephaestus.costs.play import USUAL_ITEMS, USUAL_ROUNDS, Counts, Plan, play
from hephaestus.costs.prices import PRICES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hephaestus.costs.prices import Prices

MILLION: Final = 1_000_000
GB: Final = 1_000_000_000
SQS_REQUESTS: Final = 3  # a message is sent, received and deleted
CALLBACK_OPERATIONS: Final = 3  # of a durable function: it is made, handed out and waited for
REQUEST_MS: Final = 5


@dataclass(frozen=True, slots=True)
class Work:
    """What the steps take, wherever they run.

    Attributes:
        step_ms: how long one step works, in milliseconds.
        memory_mb: the function's memory, in MB.
    """

    step_ms: int = 100
    memory_mb: int = 512


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that is paid for: how many an instance takes, and dollars for a million instances."""

    what: str
    count: float
    dollars: float


@dataclass(frozen=True, slots=True)
class Bill:
    """What one engine costs."""

    name: str
    lines: Sequence[Line]

    @property
    def total(self) -> float:
        """Dollars for a million instances."""
        return sum(line.dollars for line in self.lines)

    @property
    def orchestration(self) -> float:
        """The same without the time of Lambda, most of which is the steps' own."""
        return sum(line.dollars for line in self.lines if line.what != TIME)


TIME: Final = "Lambda GB-seconds"
EXPRESS_TIME: Final = "Express GB-seconds"
EXPRESS_MS: Final = 100  # what an execution's duration is rounded up to
EXPRESS_MB: Final = 64  # and its memory, at least


@dataclass(frozen=True, slots=True)
class Estimate:
    """What one instance takes, the bills, and everything that was assumed."""

    counts: Counts
    bills: Sequence[Bill]
    assumptions: Sequence[str]


def estimate(
    version: Mapping[str, Any], plan: Plan | None = None, work: Work | None = None, prices: Prices = PRICES
) -> Estimate:
    """Estimate what a workflow version costs.

    Args:
        version: one of the ``versions`` that ``GET /workflows`` shows of a workflow.
        plan: how an instance goes.
        work: what the steps take.
        prices: by default the published ones.

    Raises:
        BadRequest: the plan names a step or an event that the workflow has not.
    """
    plan, work = plan or Plan(), work or Work()
    counts = play(version, plan)
    bills = (
        _hephaestus(counts, work, prices),
        _step_functions(version, counts, work, prices),
        *([_distributed(version, counts, work, prices)] if counts.items else []),
        _durable_functions(counts, plan, work, prices),
    )
    return Estimate(counts, bills, [*_assumptions(plan, work), *_usual(version, counts)])


def _hephaestus(counts: Counts, work: Work, prices: Prices) -> Bill:
    milliseconds = _working(counts) * work.step_ms + counts.total_requests * REQUEST_MS
    lines = [
        _line("DynamoDB write units", counts.write_units, prices.write_units),
        _line("DynamoDB read units", counts.read_units, prices.read_units),
        _line("SQS requests", counts.messages * SQS_REQUESTS, prices.sqs_requests),
        _line("schedules fired", counts.schedules, prices.schedules),
        _line("status events", counts.published, prices.events),
        _line("Lambda invocations", counts.invocations, prices.invocations),
        _time(milliseconds, work, prices),
    ]
    return Bill("Hephaestus", [line for line in lines if line.count])


def _step_functions(version: Mapping[str, Any], counts: Counts, work: Work, prices: Prices) -> Bill:
    working = _working(counts)
    lines = [
        _line("state transitions", _transitions(version, counts), prices.transitions),
        _line("Lambda invocations", working, prices.invocations),
        _time(working * work.step_ms, work, prices),
    ]
    return Bill("Step Functions Standard", lines)


def _distributed(version: Mapping[str, Any], counts: Counts, work: Work, prices: Prices) -> Bill:
    """A transition starts an execution for each item: of an Express workflow, or of a Standard one where it waits."""
    working = _working(counts)
    starts = _transitions(version, counts) - counts.item_steps - counts.item_waits + counts.items
    if counts.item_waits:
        within = [_line("transitions of items", counts.item_steps + counts.item_waits, prices.transitions)]
    else:
        took = -(-work.step_ms * counts.item_steps // max(counts.items, 1) // EXPRESS_MS) * EXPRESS_MS
        within = [
            _line("Express executions", counts.items, prices.express_requests),
            _line(EXPRESS_TIME, counts.items * took / 1000 * EXPRESS_MB / 1024, prices.express_gb_seconds),
        ]
    lines = [
        _line("state transitions", starts, prices.transitions),
        *within,
        _line("Lambda invocations", working, prices.invocations),
        _time(working * work.step_ms, work, prices),
    ]
    return Bill("Step Functions Distributed Map", lines)


def _transitions(version: Mapping[str, Any], counts: Counts) -> int:
    """One a step and an item, a Choice where events part ways, a Parallel where steps fan out."""
    routes = {each["key"]: each["routes"] for each in version["steps"]}
    choices = sum(len({tuple(found) for found in routes[key].values()}) > 1 for key, _ in counts.route)
    return counts.steps + choices + sum(len(routes[key].get(event, ())) > 1 for key, event in counts.route)


def _durable_functions(counts: Counts, plan: Plan, work: Work, prices: Prices) -> Bill:
    operations = 1 + counts.steps + counts.workflows + (CALLBACK_OPERATIONS - 1) * counts.callbacks
    written = operations * plan.result_bytes
    lines = [
        _line("durable operations", operations, prices.durable_operations),
        Line("bytes written", written, written * MILLION / GB * prices.durable_gb),
        _line("Lambda invocations", 1 + counts.waits, prices.invocations),
        _time(_working(counts) * work.step_ms + operations * REQUEST_MS, work, prices),
    ]
    return Bill("Lambda durable functions", lines)


OF_MAPS: Final = (
    "An item of a map is one step. One that is a workflow is its steps, in an instance of its own; all are alike.",
    "In a distributed map it is a transition that starts an Express workflow of 64 MB, or a Standard one if it waits.",
    "In a durable function, an item that is a workflow is an operation more than its steps.",
    "Where a history of 25,000 events or an input of 256 KB has no room for the items, only a distributed map is left.",
)


def _usual(version: Mapping[str, Any], counts: Counts) -> Iterator[str]:
    """What is assumed of what a workflow has: of maps, loops and limits."""
    if counts.items:
        yield f"A map has {USUAL_ITEMS} items unless --items says otherwise."
        yield from OF_MAPS
    if any("rounds" in each for each in version["steps"]):
        yield f"A loop takes {USUAL_ROUNDS} rounds, or all that it may if fewer, unless --rounds says otherwise."
    if any("limits" in each or "limits" in each.get("map", {}) for each in (version, *version["steps"])):
        yield "Nothing stands in line for a limit; the time for which a Lambda waits for a rate in place is left out."


def _working(counts: Counts) -> int:
    return counts.steps - counts.waits


def _line(what: str, count: float, price: float) -> Line:
    return Line(what, count, count * price)


def _time(milliseconds: float, work: Work, prices: Prices) -> Line:
    return _line(TIME, milliseconds / 1000 * work.memory_mb / 1024, prices.gb_seconds)


def _assumptions(plan: Plan, work: Work) -> list[str]:
    how = "committed, queued and answered at once (the API's default)" if plan.queued else "run in place"
    took = f"leaves {plan.result_bytes} bytes and works {work.step_ms} ms at {work.memory_mb} MB"
    left_out = "Reads by people, the sweep (once a minute for the whole table), empty receives of the queue"
    return [
        "Prices: published, US East (N. Virginia), on demand, no free tier, November 2026.",
        f"Starts and events are {how}; every wait ends in an invocation of its own, and nothing is retried.",
        "A step emits its first event unless --event says otherwise; of several targets all are taken.",
        f"An instance starts with {plan.input_bytes} bytes; each step {took}, wherever it runs.",
        f"A request of DynamoDB and a checkpoint of a durable function take {REQUEST_MS} ms.",
        "A wait whose length is not known takes an hour, so that a schedule ends it.",
        "Our counts are the engine's own, by DynamoDB's rule: a unit a KB written, in a transaction two.",
        f"A message is {SQS_REQUESTS} requests of SQS. {left_out}, API Gateway, logs and storage are left out.",
        "Step Functions: a transition a step, a Choice where events part ways, a Parallel where steps fan out.",
        "Durable functions: an operation for the start, each step and each wait; three for a wait for a callback.",
    ]
