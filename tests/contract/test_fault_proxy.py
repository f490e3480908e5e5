"""Whole workflows while the network between the AWS adapters and their services fails, and after that.

The adapters are the real ones, with botocore's own retries and timeouts. What Lambda does is played: messages and due
schedules are taken from SQS and Scheduler and given to the runner, and those whose invocation fails come again. Time is
virtual.
"""

from __future__ import annotations

import itertools
import json
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

import boto3
import pytest

from hephaestus import DONE, Completed, Retry, StepContext, Update, Workflow, step
from hephaestus.adapters import session
from hephaestus.adapters.deadline import ending_in, time_left
from hephaestus.adapters.dynamodb import DynamoTable
from hephaestus.adapters.scheduler import SchedulerTimers, read_timeout
from hephaestus.adapters.session import MAX_ATTEMPTS, LazyClient
from hephaestus.adapters.sqs import SqsQueue
from hephaestus.engine.events import StepCompleted
from hephaestus.errors import InstanceClosed, RetryLater, StoreUnavailable
from hephaestus.handlers.triggers import read_work
from hephaestus.runtime.dispatch import Budget
from hephaestus.runtime.limits import Limits
from hephaestus.runtime.ports import Timeout
from hephaestus.runtime.registry import Registry
from hephaestus.runtime.runner import Runner
from hephaestus.runtime.sweeper import Sweeper
from hephaestus.steps import WaitForEvent
from hephaestus.store.items import INDEXES
from hephaestus.store.overdue import Wakeup
from hephaestus.store.store import Store
from hephaestus.testing import VirtualClock
from hephaestus.writes.rules import check_writes
from tests.contract.instances import claim, commit, everything, started
from tests.contract.instances import step as done
from tests.contract.test_workflows import assert_log_is_state
from tests.engines import REGION
from tests.faults import LATE_MS, proxies

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.faults import Proxy

EFFECTS: Final = "effects"
ROLE: Final = "arn:aws:iam::123456789012:role/schedules"
RESUME: Final = f"arn:aws:lambda:{REGION}:123456789012:function:resume"
INVOCATION_MS: Final = 60_000
MINUTE_MS: Final = 60_000
WAIT: Final = timedelta(minutes=20)  # more than the 15 of a message, so that it takes a schedule
HURRY: Final = 1.0  # seconds that an adapter waits for an answer where answers are late
PATIENT: Final = 60.0  # and elsewhere: a loaded machine takes long to answer
CALLS: Final = 200  # how often whoever calls from outside repeats a call until it is acknowledged
PASSING: Final = ("throttled", "failing", "reset", "lost", "cut")
SLOW_MS: Final = 1_500
SHORT_MS: Final = 30_000
ROUNDS: Final = 300  # minutes of virtual time in which everything must have ended
OFTEN: Final = Retry(
    max_attempts=50, delay=timedelta(milliseconds=200), max_delay=timedelta(milliseconds=900), jitter="none"
)

T = TypeVar("T")
_names = itertools.count(1)


def effect(ctx: StepContext, what: str) -> Update:
    """A write that shows how often it happened: nothing but the transaction keeps it from happening twice."""
    return Update(EFFECTS, {"pk": f"{ctx.instance_id}/{what}"}, "ADD n :one", values={":one": 1})


def working(name: str, *, fails: int = 0, undone: bool = False, broken: bool = False) -> Any:
    """A step with an effect, and one of its compensation; its first attempts may fail, or all of them."""

    def undo(ctx: StepContext) -> Completed:
        return Completed("done", writes=[effect(ctx, f"{name} undone")])

    @step(key=name, retry=Retry(max_attempts=1) if broken else OFTEN, compensate=undo if undone else None)
    def run(ctx: StepContext) -> Completed:
        if broken or ctx.attempt <= fails:
            message = f"attempt {ctx.attempt} fails on purpose"
            raise ValueError(message)
        return Completed("done", {"n": 1}, writes=[effect(ctx, name)])

    return run


one, two, three = working("one"), working("two", fails=2), working("three")
fork, left, middle, right, join = (working(name) for name in ("fork", "left", "middle", "right", "join"))
before, approved, late = working("before"), working("approved"), working("late")
approval = WaitForEvent("approved", name="approval", timeout=WAIT)
hotel, car, payment = working("hotel", undone=True), working("car", undone=True), working("payment", broken=True)


class Linear(Workflow, key="linear"):
    """Steps one after the other, one of which fails at first."""

    retry = OFTEN
    start_at = one
    transitions = {one: {"done": two}, two: {"done": three}, three: {"done": DONE}}


class Fan(Workflow, key="fan"):
    """Steps side by side."""

    retry = OFTEN
    start_at = fork
    transitions = {
        fork: {"done": [left, middle, right]},
        left: {"done": join},
        middle: {"done": join},
        right: {"done": join},
        join: {"done": DONE},
    }


class Waiting(Workflow, key="waiting"):
    """A wait for an event, or for its deadline."""

    retry = OFTEN
    start_at = before
    transitions = {
        before: {"done": approval},
        approval: {"approved": approved, "timeout": late},
        approved: {"done": DONE},
        late: {"done": DONE},
    }


class Saga(Workflow, key="saga"):
    """Steps that are undone when the last one fails."""

    retry = OFTEN
    start_at = hotel
    transitions = {hotel: {"done": car}, car: {"done": payment}, payment: {"done": DONE}}


@dataclass(frozen=True)
class Plan:
    """An instance: how it must end, and the effects that it must have had by then, once each."""

    workflow: type[Workflow]
    value: str
    status: str
    effects: frozenset[str]
    event: str | None = None

    @property
    def id(self) -> str:
        """The instance's."""
        return f"{self.workflow.__name__.lower()}::{self.value}"


def plans(count: int) -> list[Plan]:
    """``count`` instances of every kind."""
    found = []
    for number in range(count):
        value = f"n{number}"
        found += [
            Plan(Linear, value, "completed", frozenset({"one", "two", "three"})),
            Plan(Fan, value, "completed", frozenset({"fork", "left", "middle", "right", "join"})),
            Plan(Waiting, f"e{value}", "completed", frozenset({"before", "approved"}), "approved"),
            Plan(Waiting, f"t{value}", "completed", frozenset({"before", "late"})),
            Plan(Saga, value, "failed", frozenset({"hotel", "car", "hotel undone", "car undone"})),
        ]
    return found


@dataclass
class World:
    """Tables, a queue and a schedule group behind proxies, the runtime on them, and what Lambda does."""

    dynamodb: Proxy
    aws: Proxy
    patience: float
    clock: VirtualClock = field(default_factory=VirtualClock)
    refused: int = 0

    def __post_init__(self) -> None:
        """Make the resources, past the proxies."""
        name = f"faults-{next(_names)}"  # its servers have tables of other tests, too
        direct = DynamoTable(name, INDEXES, host=self.dynamodb.burst.upstream.base_url)
        direct.create()
        self.truth = Store(direct)
        self.client = direct.client
        with suppress(self.client.exceptions.ResourceInUseException):
            self.client.create_table(
                TableName=EFFECTS,
                AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
                KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
                BillingMode="PAY_PER_REQUEST",
            )
        for item in self.client.scan(TableName=EFFECTS, ConsistentRead=True)["Items"]:
            self.client.delete_item(TableName=EFFECTS, Key={"pk": item["pk"]})
        self.sqs = boto3.client("sqs", REGION, endpoint_url=self.aws.burst.upstream.base_url)
        self.scheduler = boto3.client("scheduler", REGION, endpoint_url=self.aws.burst.upstream.base_url)
        self.group = name
        self.scheduler.create_schedule_group(Name=name)
        path = self.sqs.create_queue(QueueName=name)["QueueUrl"].split("/", 3)[3]
        self.direct_url, self.url = f"{self.aws.burst.upstream.base_url}/{path}", f"{self.aws.url}/{path}"
        self.through = DynamoTable(name, INDEXES, host=self.dynamodb.url, read_timeout=self.patience)
        self.store = Store(self.through)
        timers = SchedulerTimers(
            group=name,
            role_arn=ROLE,
            target_arn=RESUME,
            client=LazyClient("scheduler", REGION, self.aws.url),
            clock=self.clock,
        )
        queue = SqsQueue(self.url, LazyClient("sqs", REGION, self.aws.url))
        workflows = Registry([Linear, Fan, Waiting, Saga])
        self.runner = Runner(self.store, timers, queue, workflows, clock=self.clock)
        self.sweeper = Sweeper(self.store, queue, self.clock)

    def spoil(self, *faults: str, share: float = 0.5, times: int | None = None) -> None:
        """Have a share of all requests meet the faults."""
        self.dynamodb.spoil(faults, share, times=times)
        # Only DynamoDB's answers have a checksum; for all of them there is TLS, which lets nothing damaged through.
        self.aws.spoil([fault for fault in faults if fault != "damaged"] or ["cut"], share, times=times)

    def fix(self) -> None:
        """No faults any more."""
        self.dynamodb.fix()
        self.aws.fix()

    def acknowledged(self, call: Callable[[], T]) -> T:
        """What a call from outside comes to; whoever makes it repeats it until it is answered."""
        for _ in range(CALLS):
            with suppress(RetryLater):
                return call()
            self.refused += 1
        pytest.fail("a call was never acknowledged")

    def start(self, plan: Plan) -> None:
        """Start an instance."""
        start_id = f"start {plan.value}"
        started = self.acknowledged(
            lambda: self.runner.start_instance(plan.workflow, {}, id=plan.value, start_id=start_id)
        )
        assert started == plan.id

    def send(self, plan: Plan) -> None:
        """Send the event that an instance waits for; once it was answered and the instance has ended, it is closed."""
        assert plan.event is not None
        event = plan.event
        with suppress(InstanceClosed):
            self.acknowledged(lambda: self.runner.resume(plan.id, event, {"by": "ann"}, event_id="only"))

    def invoke(self, handler: Callable[[Budget], None]) -> bool:
        """An invocation; whether it succeeded. Nothing but what may be repeated is ever raised."""
        try:
            handler(Budget(self.clock.now() + INVOCATION_MS))
        except RetryLater:
            self.refused += 1
            return False
        return True

    def deliver(self) -> int:
        """Give what is in the queue to the resume function; what fails is there again the next time."""
        back, total = [], 0
        while found := self.sqs.receive_message(QueueUrl=self.direct_url, MaxNumberOfMessages=10).get("Messages", []):
            for message in found:
                total += 1
                if self.invoke(lambda budget, body=message["Body"]: self.work(body, budget)):  # type: ignore[misc]  # a default keeps it
                    self.sqs.delete_message(QueueUrl=self.direct_url, ReceiptHandle=message["ReceiptHandle"])
                else:
                    back.append(message["ReceiptHandle"])
        for handle in back:
            self.sqs.change_message_visibility(QueueUrl=self.direct_url, ReceiptHandle=handle, VisibilityTimeout=0)
        return total

    def work(self, body: str, budget: Budget) -> None:
        """What the resume function does with a message."""
        work = read_work(body)
        if isinstance(work, Timeout):
            self.runner.timers.cancel(work)
        elif isinstance(work, Wakeup):
            self.runner.wake(work.instance_id, budget=budget, alarms=work.alarms)

    def fire(self) -> None:
        """Call the schedules that are due; one that was answered deletes itself."""
        for name in self.schedules():
            found = self.scheduler.get_schedule(GroupName=self.group, Name=name)
            at = datetime.strptime(found["ScheduleExpression"], "at(%Y-%m-%dT%H:%M:%S)").replace(tzinfo=UTC)
            if at.timestamp() * 1000 > self.clock.now():
                continue
            timeout = read_timeout(json.loads(found["Target"]["Input"]))
            if self.invoke(lambda budget, timeout=timeout: self.runner.timeout(timeout, budget=budget)):  # type: ignore[misc]  # as above
                with suppress(self.scheduler.exceptions.ResourceNotFoundException):
                    self.scheduler.delete_schedule(GroupName=self.group, Name=name)

    def schedules(self) -> list[str]:
        """The names of all schedules."""
        return [each["Name"] for each in self.scheduler.list_schedules(GroupName=self.group)["Schedules"]]

    def minute(self) -> int:
        """What happens in a minute; how much was overdue at its end."""
        self.deliver()
        self.fire()
        self.clock.sleep(MINUTE_MS)
        found = 0

        def sweep(budget: Budget) -> None:
            nonlocal found
            found = self.sweeper.sweep(budget).found

        self.invoke(sweep)
        return found

    def drain(self, planned: list[Plan]) -> int:
        """Let minutes pass until all have ended; how many it took."""
        for minutes in range(ROUNDS):
            if all((state := self.truth.load(plan.id)) is not None and state.closed for plan in planned):
                return minutes
            self.minute()
        pytest.fail(f"after {ROUNDS} minutes some have not ended")

    def effects(self) -> dict[str, int]:
        """Every effect, and how often it happened."""
        items = self.client.scan(TableName=EFFECTS, ConsistentRead=True)["Items"]
        return {item["pk"]["S"]: int(item["n"]["N"]) for item in items}

    def check(self, planned: list[Plan]) -> None:
        """Invariants 1, 2, 3, 7 and 9 of every instance."""
        for plan in planned:
            state = self.truth.load(plan.id)
            assert state is not None
            assert (plan.id, state.status, state.generation) == (plan.id, plan.status, 1)
            assert_log_is_state(self.truth, plan.id)
            completed = [
                event.step
                for entry in everything(self.truth, state)
                for event in entry.events
                if isinstance(event, StepCompleted)
            ]
            assert len(completed) == len(set(completed))
        assert self.effects() == {f"{plan.id}/{what}": 1 for plan in planned for what in plan.effects}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pauses between tries."""
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0)
    monkeypatch.setattr("hephaestus.adapters.dynamodb.answers.CONFLICT_PAUSE", 0)


@pytest.fixture
def world(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """An engine behind a proxy, and moto's SQS and Scheduler behind another."""
    patience = HURRY if request.node.callspec.params.get("fault") == "late" else PATIENT
    monkeypatch.setattr(session, "READ_TIMEOUT", patience)
    moto = request.getfixturevalue("moto_server")
    engine = moto if request.param == "moto-server" else request.getfixturevalue("dynamodb_local")
    with proxies(engine, moto, seed=7) as (dynamodb, aws):
        yield World(dynamodb, aws, patience)


on_both = pytest.mark.parametrize("world", ["moto-server", "dynamodb-local"], indirect=True)
on_local = pytest.mark.parametrize("world", ["dynamodb-local"], indirect=True)


@pytest.mark.parametrize(
    ("world", "fault"),
    [("dynamodb-local", fault) for fault in ("throttled", "failing", "reset", "lost", "cut", "late")]
    + [("moto-server", "damaged")],  # DynamoDB Local has no checksum in its errors
    indirect=["world"],
)
def test_invariants_3_5_7_nothing_is_lost_or_doubled_while_requests_fail(world: World, fault: str) -> None:
    """Half of them: starts, events, steps side by side, deadlines and compensations, to the very end."""
    planned = plans(1)
    if fault == "late":  # each of them takes its time
        world.dynamodb.spoil([fault], share=0.1, times=5)
        world.aws.spoil([fault], share=0.5, times=3)
    else:
        world.spoil(fault)
    for plan in planned:
        world.start(plan)
    world.minute()
    for plan in planned:
        if plan.event:
            world.send(plan)
    world.drain(planned)
    world.fix()
    world.check(planned)
    assert world.dynamodb.met["TransactWriteItems"] + world.dynamodb.met["PutItem"] > 0
    assert world.aws.met.total() > 0


@on_both
def test_invariants_3_5_7_the_backlog_of_an_outage_drains_after_it(world: World) -> None:
    """Half of all requests fail, each in another way, then none is done at all, then everything is well again."""
    planned = plans(2)
    world.spoil(*PASSING)
    for plan in planned:
        world.start(plan)
    for _ in range(3):
        world.minute()
    world.spoil("reset", share=1.0)
    for _ in range(2):
        world.minute()
    with pytest.raises(StoreUnavailable):
        world.runner.start_instance(Linear, {}, id="never")
    refused = world.refused
    assert refused > 0
    world.fix()
    for plan in planned:
        if plan.event:
            world.send(plan)
    world.drain(planned)
    world.check(planned)
    assert world.refused == refused, "nothing is refused any more"
    assert world.truth.load("linear::never") is None
    assert world.minute() == 0, "nothing is overdue"
    assert world.deliver() == 0, "no message is left"
    assert world.schedules() == []


@on_both
@pytest.mark.parametrize("fault", ["lost", "cut"])
def test_invariant_7_a_write_whose_answer_is_lost_is_done_once(world: World, fault: str) -> None:
    """However often the client repeats it, and however often the engine does; on moto no token helps."""
    state = claim(world.truth, started(world.truth, "linear::a"))
    once = Update(EFFECTS, {"pk": "a"}, "ADD n :one", values={":one": 1})
    for number, writes in enumerate([(once,), (), (once,)]):
        after, entry = commit(state, done(f"s{number}"))
        world.dynamodb.spoil([fault], 1.0, times=6)
        acknowledged = world.acknowledged(
            lambda after=after, entry=entry, writes=writes: world.store.commit(  # type: ignore[misc]  # defaults keep them
                after, entry, check_writes(writes, None)
            )
        )
        assert acknowledged
        state = after
    assert world.effects() == {"a": 2}
    assert [entry.sequence for entry in everything(world.truth, state)] == [1, 2, 3, 4, 5]
    assert world.dynamodb.met["TransactWriteItems"] >= 2 * MAX_ATTEMPTS


@on_both
@pytest.mark.parametrize("fault", ["damaged", "emptied"])
def test_a_damaged_answer_is_no_answer(world: World, fault: str) -> None:
    """An instance that is there is never taken for one that is not, however often it is asked for in vain."""
    state = started(world.truth, "linear::a")
    world.dynamodb.spoil([fault], 1.0)
    with pytest.raises(StoreUnavailable, match="AnswerDamaged"):
        world.store.load("linear::a")
    assert world.dynamodb.met["Query"] == MAX_ATTEMPTS
    world.dynamodb.spoil([fault], 1.0, times=MAX_ATTEMPTS - 1)
    assert world.store.load("linear::a") == state


@on_local
def test_a_commit_that_is_late_ends_before_its_invocation_and_is_written_once(world: World) -> None:
    """There is time to say that it was not answered; asked for again in the next invocation, it is there."""
    store = world.store
    state = claim(world.truth, started(world.truth, "linear::a"))
    after, entry = commit(state, done("one"))
    once = check_writes([Update(EFFECTS, {"pk": "a"}, "ADD n :one", values={":one": 1})], None)
    world.dynamodb.spoil(["late"], 1.0)
    with ending_in(LATE_MS * 3 // 2), pytest.raises(StoreUnavailable, match="ReadTimeoutError"):
        store.commit(after, entry, once)
    world.fix()
    assert store.commit(after, entry, once)
    assert world.truth.load("linear::a") == after
    assert world.effects() == {"a": 1}


@on_local
def test_slow_answers_leave_time_to_hand_over(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The work goes through several short invocations, none of which is over before its last commit.

    Answers are slow in virtual time: how fast this machine is does not matter.
    """
    steps = [working(f"s{number}") for number in range(12)]

    class Long(Workflow, key="long"):
        start_at = steps[0]
        transitions = {one: {"done": other} for one, other in zip(steps, [*steps[1:], DONE], strict=True)}

    limits = Limits(reserve_ms=4 * SLOW_MS, margin_ms=4 * SLOW_MS)
    queue = SqsQueue(world.url, LazyClient("sqs", REGION, world.aws.url))
    clock = VirtualClock()
    runner = Runner(world.store, world.runner.timers, queue, Registry([Long]), clock=clock, limits=limits)
    monkeypatch.setattr("hephaestus.adapters.deadline.monotonic", lambda: clock.now() / 1000)
    for client in (world.through.client, queue.client.get()):
        client.meta.events.register("before-send", lambda **_: clock.sleep(SLOW_MS))
    instance_id = runner.start_instance(Long, {}, id="a")
    left: list[float | None] = []
    while (messages := world.sqs.receive_message(QueueUrl=world.direct_url).get("Messages")) is not None:
        for message in messages:
            world.sqs.delete_message(QueueUrl=world.direct_url, ReceiptHandle=message["ReceiptHandle"])
            with ending_in(SHORT_MS):
                runner.wake(instance_id, budget=Budget(runner.clock.now() + SHORT_MS))
                left.append(time_left())
    state = world.truth.load(instance_id)
    assert state is not None
    assert state.status == "completed"
    assert len(left) > 1
    assert all(seconds is not None and seconds > 0 for seconds in left)
    assert {known.attempt for known in state.steps.values()} == {1}
    assert world.effects() == {f"{instance_id}/s{number}": 1 for number in range(12)}
