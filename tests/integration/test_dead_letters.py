"""Dead letters are redriven on moto: nothing is lost, nothing done twice, and what nobody can read stays."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import ClientError

from hephaestus.adapters.session import LazyClient
from hephaestus.adapters.sqs import SqsQueue, wake_message
from hephaestus.dead_letters import DeadLetterQueue, Report, asynchronously, find_stack, redrive
from hephaestus.dead_letters import __main__ as command
from hephaestus.dead_letters import queue as dead_letter_queue
from hephaestus.dead_letters.__main__ import main
from hephaestus.errors import BadRequest, EngineError, StoreUnavailable
from tests.integration.deployment import SAMPLE, of_life, pass_time, raising, sample
from tests.integration.stack import REGION

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.integration.stack import Stack

WORK, SCHEDULES = "WorkDeadLettersUrl", "ScheduleDeadLettersUrl"
QUEUES = ("WorkQueue", "BulkQueue", "WorkDeadLetters", "ScheduleDeadLetters", "IngestQueue", "IngestDeadLetters")


@dataclass
class Post:
    """The dead-letter queues of a stack, and what `resume` was invoked with."""

    stack: Stack
    urls: dict[str, str]
    invoked: list[Mapping[str, Any]] = field(default_factory=list)

    def put(self, body: object, queue: str = WORK, **attributes: str) -> str:
        """Put a letter into a queue; its id."""
        named = {name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()}
        text = body if isinstance(body, str) else json.dumps(body)
        sent = self.stack.sqs.send_message(QueueUrl=self.urls[queue], MessageBody=text, MessageAttributes=named)
        return str(sent["MessageId"])

    def count(self, queue: str = WORK) -> int:
        """How many letters lie in a queue and are hidden from nobody."""
        return self._count(self.urls[queue])

    def waiting(self) -> int:
        """How many messages the work queue has."""
        return self._count(self.stack.queue_url)

    def redrive(self, queue: str = WORK, **options: Any) -> Report:
        """Redrive a queue."""
        letters = DeadLetterQueue(self.urls[queue])
        return redrive(letters, SqsQueue(self.stack.queue_url), self.invoked.append, **options)

    def _count(self, url: str) -> int:
        name = "ApproximateNumberOfMessages"
        return int(self.stack.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[name])["Attributes"][name])


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty queue on moto is known to be empty at once."""
    monkeypatch.setattr(dead_letter_queue, "PATIENCE", 0)


@pytest.fixture
def post(stack: Stack) -> Post:
    """Empty dead-letter queues beside the functions."""
    urls = {name: stack.sqs.create_queue(QueueName=name)["QueueUrl"] for name in (WORK, SCHEDULES)}
    return Post(stack, urls)


def refusing(operation: str, client: Any) -> Callable[[], None]:
    """Have SQS be away for an operation; returns what ends that."""
    event = f"before-parameter-build.sqs.{operation}"
    refuse = raising(answer("ServiceUnavailable", 503))
    client.meta.events.register_first(event, refuse)
    return lambda: client.meta.events.unregister(event, refuse)


def answer(code: str, status: int) -> ClientError:
    """An error that AWS answers with."""
    response: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, "Operation")


def test_work_that_failed_is_done(post: Post, caplog: pytest.LogCaptureFixture) -> None:
    """A message that SQS had given up is a message again, and the order goes on; the queue is empty."""
    post.stack.call("start", "api-start")
    (message,) = post.stack.sqs.receive_message(QueueUrl=post.stack.queue_url)["Messages"]
    post.put(message["Body"])
    post.stack.sqs.purge_queue(QueueUrl=post.stack.queue_url)
    assert post.redrive() == Report(1, 1, 0, ())
    assert [record for record in caplog.records if record.name == "hephaestus.dead_letters"] == []
    assert (post.count(), post.stack.deliver(), post.stack.status(SAMPLE)) == (0, 1, "waiting")


def test_a_status_event_that_the_bus_never_took_is_published(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once there is a bus that takes it."""
    monkeypatch.setenv("HEPHAESTUS_EVENT_BUS", "default")
    post.put(sample("sqs-status-event")["Records"][0]["body"])
    assert post.redrive(dry_run=True) == Report(1, 1, 0, ())
    assert post.waiting() == 0
    assert post.redrive() == Report(1, 1, 0, ())
    assert (post.count(), post.waiting(), post.stack.deliver(), post.waiting()) == (0, 1, 1, 0)


def test_a_schedule_that_was_left_behind_is_removed(post: Post) -> None:
    """By the message that could not remove it at first."""
    post.stack.call("start", "api-start")
    post.stack.deliver()
    (schedule,) = post.stack.schedules()
    life = json.loads(schedule["Target"]["Input"])["life"]
    post.put(of_life(sample("sqs-remove-schedule"), life)["Records"][0]["body"])
    assert post.redrive() == Report(1, 1, 0, ())
    assert len(post.stack.schedules()) == 1
    assert post.stack.deliver() == 1
    assert post.stack.schedules() == []


def scheduled(post: Post) -> str:
    """What the schedule of an order would send in an hour; the schedule is gone."""
    event = sample("direct-start")
    event["context"]["approval_timeout_seconds"] = 3_600
    post.stack.invoke("start", event)
    (schedule,) = post.stack.schedules()
    post.stack.scheduler.delete_schedule(GroupName="hephaestus", Name=schedule["Name"])
    return str(schedule["Target"]["Input"])


def test_a_timeout_that_could_not_be_delivered_is_met(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scheduler's letter becomes a look at the order, which is timed out then."""
    attributes = {
        "ERROR_CODE": "AWS.Scheduler.InternalServerError",
        "SCHEDULE_ARN": f"arn:aws:scheduler:{REGION}:123456789012:schedule/hephaestus/x",
        "IS_PAYLOAD_TRUNCATED": "false",
    }
    post.put(scheduled(post), SCHEDULES, **attributes)
    assert post.redrive(SCHEDULES) == Report(1, 1, 0, ())
    pass_time(monkeypatch, 3_600)
    assert post.stack.deliver() == 1
    assert post.stack.status("orderid::sample-3") == "completed"


def failed_invocation(event: Mapping[str, Any]) -> dict[str, Any]:
    """Lambda's record of an invocation that failed every time."""
    context = {"requestId": "4f2c9a1e", "functionArn": "arn:aws:lambda:resume", "condition": "RetriesExhausted"}
    return {"version": "1.0", "requestContext": context, "requestPayload": event, "responsePayload": {}}


def test_an_event_that_failed_is_given_to_its_function_again(post: Post) -> None:
    """As it was; twice is once, by its event id."""
    post.stack.call("start", "api-start")
    post.stack.deliver()
    for _ in range(2):
        post.put(failed_invocation(sample("direct-resume")), SCHEDULES)
    assert post.redrive(SCHEDULES) == Report(2, 2, 0, ())
    assert post.invoked == [sample("direct-resume")] * 2
    for event in post.invoked:
        assert post.stack.invoke("resume", event)["status"] == "completed"


def test_an_event_is_left_where_nobody_says_whom_it_is_for(post: Post) -> None:
    """Its letter can be redriven at once when somebody does."""
    post.put(failed_invocation(sample("direct-resume")), SCHEDULES)
    report = redrive(DeadLetterQueue(post.urls[SCHEDULES]), SqsQueue(post.stack.queue_url))
    assert (report.sent, [left.reason for left in report.left]) == (
        0,
        ["its event is for the function resume: say which function that is"],
    )
    assert post.redrive(SCHEDULES).sent == 1


def test_what_nobody_can_read_stays_and_is_reported(post: Post) -> None:
    """It keeps nothing else back, and is there for the next one to look at."""
    damaged = [post.put("{"), post.put({"hello": "world"})]
    damaged.append(post.put(wake_message("orderid::99"), IS_PAYLOAD_TRUNCATED="true"))
    for number in range(15):
        post.put(wake_message(f"orderid::{number}"))
    report = post.redrive()
    assert (report.found, report.sent, report.merged, report.failure) == (18, 15, 0, None)
    assert sorted(left.message_id for left in report.left) == sorted(damaged)
    assert (post.count(), post.waiting()) == (3, 15)
    assert post.redrive().left == report.left
    assert post.waiting() == 15


def test_letters_of_one_instance_are_one_message(post: Post) -> None:
    """The sweep sends one a minute for an instance that cannot go on: a night of them is one look."""
    for _ in range(25):
        post.put(wake_message("orderid::1"))
    post.put(wake_message("orderid::2"))
    assert post.redrive() == Report(26, 2, 24, ())
    assert (post.count(), post.waiting()) == (0, 2)


def test_a_dry_run_changes_nothing(post: Post) -> None:
    """It tells what would happen, and the letters are there for the run that follows."""
    for number in range(12):
        post.put(wake_message(f"orderid::{number % 6}"))
    post.put(failed_invocation(sample("direct-resume")))
    damaged = post.put("{")
    dry = post.redrive(dry_run=True)
    assert (dry.found, dry.sent, dry.merged) == (14, 7, 6)
    assert [left.message_id for left in dry.left] == [damaged]
    assert (post.count(), post.waiting(), post.invoked) == (14, 0, [])
    assert post.redrive() == dry


@pytest.mark.parametrize(("limit", "found"), [(1, 1), (10, 10), (13, 13), (100, 15)])
def test_a_limit_is_kept(post: Post, limit: int, found: int) -> None:
    """Not one letter more is looked at."""
    for number in range(15):
        post.put(wake_message(f"orderid::{number}"))
    assert post.redrive(limit=limit) == Report(found, found, 0, ())
    assert (post.count(), post.waiting()) == (15 - found, found)


def test_invariant_5_a_crash_between_sending_and_deleting_does_nothing_twice(post: Post) -> None:
    """The letter comes back, is sent again, and the order's history is what one message makes."""
    post.stack.call("start", "api-start")
    post.stack.sqs.purge_queue(QueueUrl=post.stack.queue_url)
    post.put(wake_message(SAMPLE))
    post.put(failed_invocation(sample("direct-resume")))
    letters = DeadLetterQueue(post.urls[WORK])
    fix = refusing("DeleteMessageBatch", letters.client.get())
    died = redrive(letters, SqsQueue(post.stack.queue_url), post.invoked.append)
    assert (died.failure, post.count()) == ("SQS did not answer (ServiceUnavailable); nothing is lost, try again", 2)
    fix()
    assert redrive(letters, SqsQueue(post.stack.queue_url), post.invoked.append) == Report(2, 2, 0, ())
    assert post.count() == 0
    assert post.stack.deliver() == 2
    for event in post.invoked * 2:
        assert post.stack.invoke("resume", event) == {"id": SAMPLE, "status": "completed"}
    kinds = [event["type"] for entry in post.stack.history(SAMPLE) for event in entry["events"]]
    assert (kinds.count("EventReceived"), kinds.count("InstanceFinished")) == (1, 1)


def test_a_letter_whose_message_is_not_taken_is_not_deleted(post: Post) -> None:
    """Neither where the queue refuses everything, nor where it refuses some of a batch."""
    post.put(wake_message("orderid::1"))
    work = SqsQueue(post.stack.queue_url)
    fix = refusing("SendMessageBatch", work.client.get())
    report = redrive(DeadLetterQueue(post.urls[WORK]), work)
    assert (report.found, report.sent) == (1, 0)
    assert report.failure is not None
    assert (post.count(), post.waiting()) == (1, 0)
    fix()

    class Half:
        """A work queue that takes every second message."""

        def wake_many(self, wakeups: Any) -> Any:
            return [wakeup.instance_id for wakeup in wakeups[::2]]

    for number in range(2, 5):
        post.put(wake_message(f"orderid::{number}"))
    half: Any = Half()
    report = redrive(DeadLetterQueue(post.urls[WORK]), half)
    assert (report.sent, len(report.left), post.count()) == (2, 2, 2)
    assert {left.reason for left in report.left} == {"the work queue did not take its message: run the command again"}


@pytest.mark.parametrize("operation", ["ReceiveMessage", "ChangeMessageVisibilityBatch"])
def test_a_queue_that_does_not_answer_ends_the_run(post: Post, operation: str) -> None:
    """With its reason, whatever was done before; nothing is lost."""
    post.put("{")
    letters = DeadLetterQueue(post.urls[WORK])
    refusing(operation, letters.client.get())
    report = redrive(letters, SqsQueue(post.stack.queue_url))
    assert report.failure == "SQS did not answer (ServiceUnavailable); nothing is lost, try again"


TEMPLATE = {
    "Resources": {name: {"Type": "AWS::SQS::Queue"} for name in QUEUES},
    "Outputs": {
        **{f"{name}Url": {"Value": {"Ref": name}} for name in QUEUES},
        "ResumeFunctionName": {"Value": "hephaestus-resume"},
    },
}


@pytest.fixture
def deployed(stack: Stack) -> Any:
    """A stack with the outputs of the template; CloudFormation's client."""
    client = boto3.client("cloudformation", region_name=REGION)
    client.create_stack(StackName="shop", TemplateBody=json.dumps(TEMPLATE))
    other = {"Resources": {"Queue": {"Type": "AWS::SQS::Queue"}}}
    client.create_stack(StackName="other", TemplateBody=json.dumps(other))
    return client


class TestCommand:
    """``python -m hephaestus.dead_letters``."""

    def test_a_stack_is_redriven_by_its_name(
        self, stack: Stack, deployed: Any, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Both queues; 0, then again 0 with nothing to do."""
        places = find_stack("shop")
        assert places.functions["resume"] == "hephaestus-resume"
        stack.sqs.send_message(QueueUrl=places.dead_letters["work"], MessageBody=wake_message("orderid::1"))
        timeout = json.dumps(sample("scheduler-timeout"))
        stack.sqs.send_message(QueueUrl=places.dead_letters["schedules"], MessageBody=timeout)
        assert main(["--stack", "shop", "--dry-run"]) == 0
        assert main(["--stack", "shop"]) == 0
        assert main(["--stack", "shop"]) == 0
        assert capsys.readouterr().out.splitlines() == [
            "work: 1 found, 1 would be sent, 0 left",
            "schedules: 1 found, 1 would be sent, 0 left",
            "events: 0 found, 0 would be sent, 0 left",
            "work: 1 found, 1 sent, 0 left",
            "schedules: 1 found, 1 sent, 0 left",
            "events: 0 found, 0 sent, 0 left",
            "work: 0 found, 0 sent, 0 left",
            "schedules: 0 found, 0 sent, 0 left",
            "events: 0 found, 0 sent, 0 left",
        ]
        moved = stack.sqs.receive_message(QueueUrl=places.work_queue, MaxNumberOfMessages=10)["Messages"]
        assert sorted(json.loads(each["Body"])["instance_id"] for each in moved) == ["orderid::1", SAMPLE]

    def test_letters_about_maps_go_back_to_the_bulk_queue(self, stack: Stack, deployed: Any) -> None:
        """They lie in the dead letters of the work queue; also where the queues are named one by one."""
        places, leaf = find_stack("shop"), "hephaestus-map::0a1b"
        one_queue = ["--queue", places.dead_letters["work"], "--work-queue", places.work_queue]
        for arguments in (["--stack", "shop"], [*one_queue, "--bulk-queue", places.bulk_queue]):
            for instance_id in (leaf, "orderid::1"):
                stack.sqs.send_message(QueueUrl=places.dead_letters["work"], MessageBody=wake_message(instance_id))
            assert main(arguments) == 0
            for url, instance_id in ((places.bulk_queue, leaf), (places.work_queue, "orderid::1")):
                (moved,) = stack.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
                assert json.loads(moved["Body"])["instance_id"] == instance_id
                stack.sqs.delete_message(QueueUrl=url, ReceiptHandle=moved["ReceiptHandle"])

    def test_one_queue_is_redriven_by_its_url(self, post: Post, capsys: pytest.CaptureFixture[str]) -> None:
        """1 while something is left, which is told line by line; its payload is not."""
        post.put(wake_message("orderid::1"))
        damaged = post.put({"card": "4111 1111"})
        one_queue = ["--queue", post.urls[WORK], "--work-queue", post.stack.queue_url, "--region", REGION]
        assert main([*one_queue, "--limit", "5"]) == 1
        first, *others = capsys.readouterr().out.splitlines()
        assert first == "the queue: 2 found, 1 sent, 1 left"
        assert others == [f"  {damaged}: not a message of Hephaestus: it names no source of ours"]
        assert main([*one_queue, "--dry-run"]) == 1

    def test_an_event_goes_to_the_stacks_function_or_to_the_one_that_is_named(
        self, stack: Stack, deployed: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A stack's outputs name it; a queue alone does not."""
        asked: list[tuple[str, str]] = []

        def functions(names: Mapping[str, str], _client: LazyClient) -> Callable[[Mapping[str, Any]], None]:
            return lambda event: asked.append((names["resume"], event["event_id"]))

        monkeypatch.setattr(command, "asynchronously", functions)
        places = find_stack("shop")
        letters = places.dead_letters["schedules"]
        one_queue = ["--queue", letters, "--work-queue", places.work_queue]
        for arguments, status in (
            (["--stack", "shop"], 0),
            (["--stack", "shop", "--function", "mine"], 0),
            ([*one_queue, "--function", "mine"], 0),
            (one_queue, 1),
        ):
            body = json.dumps(failed_invocation(sample("direct-resume")))
            stack.sqs.send_message(QueueUrl=letters, MessageBody=body)
            assert main(arguments) == status
        assert [name for name, _ in asked] == ["hephaestus-resume", "mine", "mine"]

    @pytest.mark.parametrize(
        ("stack_name", "problem"), [("none", "no stack none"), ("other", "no output WorkQueueUrl")]
    )
    def test_a_stack_that_is_none_of_ours(
        self, deployed: Any, stack_name: str, problem: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """2, and what is missing."""
        assert main(["--stack", stack_name]) == 2
        assert problem in capsys.readouterr().out

    @pytest.mark.parametrize(
        "arguments",
        [
            [],
            ["--queue", "https://q"],
            ["--work-queue", "https://q"],
            ["--stack", "shop", "--queue", "https://q", "--work-queue", "https://w"],
            ["--stack", "shop", "--work-queue", "https://w"],
            ["--stack", "shop", "--bulk-queue", "https://b"],
            ["--stack", "shop", "--limit", "0"],
            ["--stack", "shop", "--limit", "-1"],
            ["--stack", "shop", "--limit", "many"],
        ],
    )
    def test_wrong_arguments(self, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        """2, before anything is called."""
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 2
        assert "usage:" in capsys.readouterr().err

    def test_a_queue_that_is_not_there(self, post: Post, capsys: pytest.CaptureFixture[str]) -> None:
        """3: AWS rejected, and says why."""
        lost = ["--queue", f"{post.urls[WORK]}-lost", "--work-queue", post.stack.queue_url]
        assert main(lost) == 3
        assert "ended early: SQS rejected a request" in capsys.readouterr().out


class TestAdapters:
    """The edge to AWS."""

    @pytest.mark.parametrize(
        ("code", "status", "kind"),
        [
            ("Throttling", 400, StoreUnavailable),
            ("AccessDenied", 403, EngineError),
            ("ValidationError", 400, BadRequest),
        ],
    )
    def test_what_cloudformation_answers(self, stack: Stack, code: str, status: int, kind: type[Exception]) -> None:
        """A stack that is not there is the caller's mistake; the rest is not."""
        client = LazyClient("cloudformation")
        event = "before-parameter-build.cloudformation.DescribeStacks"
        client.get().meta.events.register_first(event, raising(answer(code, status)))
        with pytest.raises(kind):
            find_stack("shop", client)

    def test_an_event_is_given_to_a_function_asynchronously(self, stack: Stack) -> None:
        """So that Lambda repeats it, and makes a letter of it once more where it fails."""
        client, asked = LazyClient("lambda"), []
        throttled = answer("TooManyRequestsException", 429)

        def note(params: dict[str, Any], **_: Any) -> None:
            asked.append(dict(params))
            raise throttled

        client.get().meta.events.register_first("before-parameter-build.lambda.Invoke", note)
        with pytest.raises(StoreUnavailable, match="Lambda did not answer"):
            asynchronously({"resume": "shop-resume"}, client)(sample("direct-resume"))
        ((request),) = asked
        assert (request["FunctionName"], request["InvocationType"]) == ("shop-resume", "Event")
        assert json.loads(request["Payload"]) == sample("direct-resume")

    @pytest.mark.parametrize("name", ["direct-start", "direct-resume", "direct-cancel", "direct-fork"])
    def test_an_event_goes_to_the_function_that_reads_it_or_to_none(self, stack: Stack, name: str) -> None:
        """Where that function is not known, its letter stays."""
        client, asked = LazyClient("lambda"), []
        throttled = answer("TooManyRequestsException", 429)

        def note(params: dict[str, Any], **_: Any) -> None:
            asked.append(params["FunctionName"])
            raise throttled

        client.get().meta.events.register_first("before-parameter-build.lambda.Invoke", note)
        names = {role: f"shop-{role}" for role in ("start", "resume", "control")}
        with pytest.raises(StoreUnavailable):
            asynchronously(names, client)(sample(name))
        role = {"direct-start": "start", "direct-resume": "resume"}.get(name, "control")
        assert asked == [f"shop-{role}"]
        del names[role]
        with pytest.raises(BadRequest, match=f"for the function {role}"):
            asynchronously(names, client)(sample(name))
