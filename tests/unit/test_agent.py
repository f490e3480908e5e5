"""The example of an agent: what it does, what it survives, and that a late turn writes no more than an early one."""

from __future__ import annotations

import itertools
import json
from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.stub import Stubber

from agent import Conversation, Stretch, Turn
from agent.model import Bedrock, ModelBusy, Reply, Scripted, calls, says
from agent.people import Screen, Topic
from agent.services import demo, services
from agent.tools import TOOLS, OrderId, Tool
from agent.transcript import Folder, Table
from agent.workflow import MOST_CALLS, MOST_TURNS, Talk, joined
from hephaestus import NonRetryable
from hephaestus.costs.counting import CountingTable
from hephaestus.store.store import Store
from hephaestus.testing import LocalRuntime
from hephaestus.writes import Put
from hephaestus.writes.attributes import item_size
from hephaestus.writes.memory_tables import MemoryTables

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from agent.model import Message
    from hephaestus import InstanceView, Write

MESSAGES = "messages"
TASK = {"task": "What became of my orders?", "person": "ann"}
SOON = timedelta(hours=1)
BUSY = ModelBusy("ThrottlingException")


class InMemory(Table):
    """The table, read in memory."""

    def __init__(self, tables: MemoryTables) -> None:
        super().__init__(MESSAGES)
        self.tables = tables

    def read(self, conversation: str, first: int, end: int) -> list[Message]:
        """As a query does."""
        found = {int(item["sk"]): item for item in self.tables[MESSAGES].items() if item["pk"] == conversation}
        return [json.loads(found[number]["message"]) for number in range(first, end)]


class Asked:
    """People who remember what they were asked."""

    def __init__(self) -> None:
        self.questions: dict[str, tuple[str, Mapping[str, str]]] = {}

    def ask(self, person: str, question: str, links: Mapping[str, str], idempotency_key: str) -> None:
        """The same key again is the same question."""
        self.questions[idempotency_key] = (question, links)

    @property
    def last(self) -> tuple[str, Mapping[str, str]]:
        """The newest question and its links."""
        return list(self.questions.values())[-1]


class World:
    """A runtime, and what the agent uses in it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, script: Callable[[Sequence[Message], bool], Reply]) -> None:
        self.tables = MemoryTables({MESSAGES: ("pk", "sk")})
        self.table = CountingTable()
        self.table.tables = self.tables
        self.local = LocalRuntime(Conversation, Stretch, Turn, store=Store(self.table))
        self.people = Asked()
        self.heard: list[list[Message]] = []

        def listen(messages: Sequence[Message], tools: bool) -> Reply:
            self.heard.append(json.loads(json.dumps(messages)))
            reply: Reply = script(messages, tools)
            return reply

        monkeypatch.setattr(services, "model", Scripted(listen))
        monkeypatch.setattr(services, "transcript", InMemory(self.tables))
        monkeypatch.setattr(services, "people", self.people)

    def start(self, **more: Any) -> InstanceView:
        """Start a conversation, and give it an hour."""
        self.local.start(Conversation, "1", {**TASK, **more})
        self.local.advance(SOON)
        return self.shown

    def answer(self, answer: str, payload: Any = None) -> InstanceView:
        """Use a link of the newest question, and give it an hour."""
        self.local.follow(self.people.last[1][answer], payload)
        self.local.advance(SOON)
        return self.shown

    @property
    def shown(self) -> InstanceView:
        """The conversation."""
        return self.local.runner.get("conversation::1")

    @property
    def results(self) -> list[tuple[str, str]]:
        """Whether each call has worked, and what it said, as the model has read them last."""
        blocks = [block for message in self.heard[-1] for block in message["content"] if "toolResult" in block]
        return [(block["toolResult"]["status"], block["toolResult"]["content"][0]["text"]) for block in blocks]


def after(*replies: Reply | BaseException) -> Callable[[Sequence[Message], bool], Reply]:
    """A script: a reply for each message that the model has said so far; the last one again and again."""

    def script(messages: Sequence[Message], _: bool) -> Reply:
        said = len([message for message in messages if message["role"] == "assistant"])
        reply = replies[min(said, len(replies) - 1)]
        if isinstance(reply, BaseException):
            raise reply
        return reply

    return script


def look(number: int = 0, context: int = 100) -> Reply:
    """A harmless call."""
    return calls(("look_up", {"order": "A-1"}), context=context, prefix=f"call-{number}")


def test_it_looks_up_asks_a_person_pays_and_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tools of one message run side by side; a dangerous one waits for its link."""
    world = World(monkeypatch, demo)
    assert world.start().status == "waiting"
    question, links = world.people.last
    assert question == 'May refund be called with {"order": "A-2", "cents": 1999}?'
    assert set(links) == {"allow", "deny"}
    done = world.answer("allow")
    assert (done.status, done.output["state"], done.output["turns"]) == ("completed", "answered", 3)
    assert done.output["text"].startswith("I have looked, and order A-2 was lost. refund ")
    roles = [message["role"] for message in world.heard[-1]]
    assert roles == ["user", "assistant", "user", "assistant", "user"]
    assert [status for status, _ in world.results] == ["success"] * 3
    kept = [json.loads(item["message"]) for item in world.tables[MESSAGES].items()]
    assert kept[:-1] == world.heard[-1]
    turns = world.local.runner.list(workflow=Turn, children=True).items
    assert [turn.status for turn in turns] == ["completed"] * 3


@pytest.mark.parametrize(("answer", "said"), [("deny", "a person denied it"), (None, "no one has allowed it in time")])
def test_what_no_person_has_allowed_does_not_run(
    monkeypatch: pytest.MonkeyPatch, answer: str | None, said: str
) -> None:
    """The model is told so, and goes on; other calls of the message run."""
    ran: list[str] = []
    tools = {**TOOLS, "refund": Tool(OrderId, lambda wanted, key: ran.append(key) or "", dangerous=True)}  # type: ignore[func-returns-value]  # it notes and gives nothing
    monkeypatch.setattr(services, "tools", tools)
    both = calls(("refund", {"order": "A-1"}), ("look_up", {"order": "A-1"}))
    world = World(monkeypatch, after(both, says("Then not.")))
    world.start()
    if answer:
        world.answer(answer)
    else:
        world.local.advance(timedelta(days=1))
    assert world.shown.output["text"] == "Then not."
    assert world.results == [("error", said), ("success", "order A-1: delivered, 4200 cents paid")]
    assert ran == []


def test_a_decision_without_a_payload_allows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when an operator sends the event and forgets what was decided."""
    world = World(monkeypatch, after(calls(("refund", {"order": "A-1", "cents": 1})), says("Then not.")))
    world.start()
    (turn,) = world.local.runner.list(workflow=Turn, status="waiting", children=True).items
    world.local.resume(turn.id, "decided", item="0-refund")
    assert world.shown.output["text"] == "Then not."
    assert world.results[0][0] == "error"


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (("look_up", {"number": 1}), ["order: Field required", "number: Extra inputs are not permitted"]),
        (("look_up", {"order": "A-9"}), ["there is no order A-9"]),
        (("look_up", []), ["arguments: Input should be a valid dictionary"]),
        (("loook_up", {"order": "A-1"}), ["there is no tool 'loook_up'; there are: look_up, refund"]),
    ],
)
def test_what_is_wrong_with_a_call_goes_back_to_the_model(
    monkeypatch: pytest.MonkeyPatch, call: tuple[str, Any], said: list[str]
) -> None:
    """At the first attempt, as trying again would not help."""
    world = World(monkeypatch, after(calls(call), says("I see.")))
    world.start()
    assert world.shown.output["text"] == "I see."
    ((status, text),) = world.results
    assert status == "error"
    for one in said:
        assert one in text


def test_an_outage_of_a_tool_is_tried_again_and_then_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """With one idempotency key, so that a service does it once."""
    keys: list[str] = []

    def down(_: Any, key: str) -> str:
        """Be down."""
        keys.append(key)
        message = "down"
        raise ConnectionError(message)

    monkeypatch.setattr(services, "tools", {**TOOLS, "ship": Tool(OrderId, down)})
    world = World(monkeypatch, after(calls(("ship", {"order": "A-1"})), says("It is down.")))
    world.start()
    assert world.results == [("error", "ConnectionError: down")]
    assert (len(keys), len(set(keys))) == (3, 1)


def test_a_tool_that_leaves_nothing_or_too_much_has_a_result_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model wants one for each call: also of those above the most of a message."""
    tools = {"quiet": Tool(OrderId, lambda *_: ""), "loud": Tool(OrderId, lambda *_: "x" * 9_000)}
    monkeypatch.setattr(services, "tools", tools)
    wanted = [("quiet", {"order": "1"}), *[("loud", {"order": "1"})] * MOST_CALLS]
    world = World(monkeypatch, after(calls(*wanted), says("Enough.")))
    assert world.start().output["text"] == "Enough."
    assert len(world.results) == MOST_CALLS + 1
    assert world.results[0] == ("success", "(nothing)")
    assert world.results[-1] == ("error", f"only the first {MOST_CALLS} calls of a message are run")
    assert world.results[1][1].endswith(" … (cut)")
    assert max(item_size(item) for item in world.tables[MESSAGES].items()) < 400_000


def test_a_model_that_is_busy_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the step's policy; nothing is kept of what failed."""
    tries: list[int] = []

    def script(messages: Sequence[Message], _: bool) -> Reply:
        tries.append(len(messages))
        if len(tries) < 4:
            raise BUSY
        return says("Here.")

    world = World(monkeypatch, script)
    assert world.start().output["text"] == "Here."
    assert tries == [1] * 4
    assert len(world.tables[MESSAGES]) == 2


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (BUSY, "ThrottlingException"),
        (NonRetryable("AccessDeniedException"), "AccessDeniedException"),
        (says("I was c", stop="max_tokens"), "the model stopped: max_tokens"),
    ],
)
def test_where_the_model_does_not_answer_a_person_is_asked_and_nothing_is_lost(
    monkeypatch: pytest.MonkeyPatch, wrong: Reply | BaseException, why: str
) -> None:
    """The same turn is tried again when the person says so; what was cut off is not kept."""
    broken = [True]

    def script(messages: Sequence[Message], tools: bool) -> Reply:
        middle = len(messages) == 3 and broken[0]
        return after(look(), wrong if middle else says("Now."))(messages, tools)

    world = World(monkeypatch, script)
    world.start()
    question, links = world.people.last
    assert why in question
    assert set(links) == {"yes", "no"}
    broken[0] = False
    done = world.answer("yes")
    assert (done.output["state"], done.output["text"]) == ("answered", "Now.")
    assert len(world.heard[-1]) == 3


def test_a_task_that_could_not_be_said_is_said_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first turn of all fails: the task is not a message yet, and is not lost."""
    broken = [True]

    def script(messages: Sequence[Message], tools: bool) -> Reply:
        return after(NonRetryable("no access") if broken[0] else says("Now."))(messages, tools)

    world = World(monkeypatch, script)
    world.start()
    broken[0] = False
    assert world.answer("yes").output["text"] == "Now."
    assert world.heard[-1] == [{"role": "user", "content": [{"text": TASK["task"]}]}]


@pytest.mark.parametrize("budget", [200_000, 500])
@pytest.mark.parametrize("answer", ["yes", "no", None])
def test_when_the_budget_is_spent_a_person_says_whether_to_go_on(
    monkeypatch: pytest.MonkeyPatch, budget: int, answer: str | None
) -> None:
    """Rounds or tokens, whichever is spent first. What the person says, the model reads."""

    def script(messages: Sequence[Message], tools: bool) -> Reply:
        told = any(block.get("text") == "be brief" for message in messages for block in message["content"])
        return says("Brief.") if told else look(len(messages))

    world = World(monkeypatch, script)
    assert world.start(budget=budget).status == "waiting"
    turns = MOST_TURNS if budget > 500 else 5  # 120 tokens each
    assert len(world.heard) == turns
    assert world.people.last[0] == f"After {turns} turns there is no answer: {turns * 120} tokens are spent. Go on?"
    if answer is None:
        world.local.advance(timedelta(days=7))
    else:
        world.answer(answer, {"say": "be brief"} if answer == "yes" else None)
    done = world.shown
    assert done.status == "completed"
    assert done.output["state"] == ("answered" if answer == "yes" else "stopped")
    assert len(world.heard) == turns + (answer == "yes")
    roles = [message["role"] for message in world.heard[-1]]
    assert all(one != other for one, other in itertools.pairwise(roles))


def test_a_long_conversation_is_summed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the window the model reads a summary and what came later; no call is parted from its result."""

    def script(messages: Sequence[Message], tools: bool) -> Reply:
        if not tools:
            return says("orders were looked up", context=700)
        if any("in short: orders were" in str(block) for block in messages[0]["content"]):
            return says("All is well.")
        return look(len(messages), context=100 * len(messages))

    world = World(monkeypatch, script)
    done = world.start(window=450)
    assert done.output["text"] == "All is well."
    assert world.heard[-1] == [
        {"role": "user", "content": [{"text": "The conversation until here, in short: orders were looked up"}]}
    ]
    assert "toolResult" in world.heard[-2][0]["content"][0]["text"]
    assert done.output["total"] == sum(100 * n + 20 for n in (1, 3, 5)) + 706 + 104
    assert (done.output["since"], done.output["messages"]) == (7, 9)


@pytest.mark.parametrize("size", [50, 10_000])
def test_what_a_turn_writes_does_not_grow_with_the_turns(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Units and bytes, of the engine's table and of the messages: turn 55 as turn 5. What is read does grow."""
    spent: list[tuple[int, int, int, int]] = []
    own = [0, 0]

    class Counted(MemoryTables):
        """Tables that count what is written to them."""

        def transact(self, writes: Sequence[Write]) -> None:
            super().transact(writes)
            sizes = [item_size(write.item) for write in writes if isinstance(write, Put)]
            own[0] += 2 * sum(-(-size // 1024) for size in sizes)
            own[1] += sum(sizes)

    def script(messages: Sequence[Message], _: bool) -> Reply:
        spent.append((world.table.tally.write_units, own[0], own[1], world.table.tally.read_units))
        return look(1000 + len(messages))

    monkeypatch.setattr(
        services, "tools", {"look_up": Tool(OrderId, lambda *_: Random(size).randbytes(size // 2).hex())}
    )
    world = World(monkeypatch, script)
    world.table.tables = world.tables = Counted({MESSAGES: ("pk", "sk")})
    monkeypatch.setattr(services, "transcript", InMemory(world.tables))
    world.start()
    while len(spent) < 3 * MOST_TURNS:
        world.answer("yes")

    def written(turn: int) -> tuple[int, ...]:
        """What was written from the call of the model in one turn to that in the next."""
        return tuple(late - early for early, late in zip(spent[turn - 1], spent[turn], strict=True))

    early, late = written(5), written(55)
    assert early[:2] == late[:2]
    assert abs(late[2] - early[2]) <= 4  # the digits of numbers
    assert early[0] < 60
    assert early[3] == late[3]  # and the engine reads no more, either; the conversation itself, the model has to read


def test_what_goes_from_turn_to_turn_is_bounded() -> None:
    """Numbers, and the text that is said next."""
    talk = Talk(conversation="c" * 128, person="ann", budget=10**9, window=10**9, messages=10**6, total=10**9)
    assert len(talk.model_dump_json()) < 512


def test_messages_of_one_role_are_joined() -> None:
    """What a person says after results is one message with them."""
    messages = [
        {"role": role, "content": [role + number]} for role, number in (("user", "1"), ("user", "2"), ("a", "3"))
    ]
    assert joined(messages) == [{"role": "user", "content": ["user1", "user2"]}, {"role": "a", "content": ["a3"]}]


def test_bedrock_is_asked_as_its_api_wants() -> None:
    """The stub holds the request and the answer to the service's model, as botocore has it."""
    bedrock = Bedrock("some.model")
    bedrock.client = client("bedrock-runtime")
    message = {
        "role": "assistant",
        "content": [
            {"text": "One moment."},
            {"toolUse": {"toolUseId": "t1", "name": "look_up", "input": {"order": "A-1"}}},
        ],
    }
    answer = {
        "output": {"message": message},
        "stopReason": "tool_use",
        "usage": {"inputTokens": 10, "outputTokens": 5, "totalTokens": 15},
        "metrics": {"latencyMs": 1},
    }
    results = {"toolResult": {"toolUseId": "t1", "content": [{"text": "lost"}], "status": "error"}}
    messages: list[Message] = [
        {"role": "user", "content": [{"text": "Hello"}]},
        message,
        {"role": "user", "content": [results]},
    ]
    spec = TOOLS["refund"].spec("refund")
    expected = {
        "modelId": "some.model",
        "system": [{"text": "Be brief."}],
        "messages": messages,
        "inferenceConfig": {"maxTokens": 4096},
    }
    with Stubber(bedrock.client) as stub:
        stub.add_response("converse", answer, {**expected, "toolConfig": {"tools": [{"toolSpec": spec}]}})
        stub.add_response("converse", answer, expected)
        assert bedrock.converse("Be brief.", messages, [spec]) == Reply(message, "tool_use", 10, 5)
        bedrock.converse("Be brief.", messages, [])
    assert spec["inputSchema"]["json"]["required"] == ["order", "cents"]
    assert spec["description"] == "Pay money back for an order."


@pytest.mark.parametrize(
    ("code", "raised"),
    [("ThrottlingException", ModelBusy), ("ModelErrorException", ModelBusy), ("ValidationException", NonRetryable)],
)
def test_what_bedrock_rejects_is_worth_another_try_or_not(code: str, raised: type[Exception]) -> None:
    """The text names the model and the reason."""
    bedrock = Bedrock("some.model")
    bedrock.client = client("bedrock-runtime")
    with Stubber(bedrock.client) as stub:
        stub.add_client_error("converse", code, "too much")
        with pytest.raises(raised, match=f"some.model: {code}: too much"):
            bedrock.converse("Be brief.", [], [])


def test_a_bedrock_that_is_not_reached_is_worth_another_try(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when the connection breaks."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "http://127.0.0.1:1")
    with pytest.raises(ModelBusy, match=r"some\.model: .*127\.0\.0\.1:1"):
        Bedrock("some.model").converse("Be brief.", [{"role": "user", "content": [{"text": "Hello"}]}], [])


def test_the_table_is_read_from_number_to_number() -> None:
    """Consistently, and page after page."""
    table = Table(MESSAGES)
    dynamodb = client("dynamodb")
    table.pages = dynamodb.get_paginator("query")
    (first, second) = [table.write("c", number, {"role": "user", "content": [number]}) for number in (3, 4)]
    items = []
    for write in (*first, *second):
        assert isinstance(write, Put)
        items.append({"pk": {"S": "c"}, "sk": {"N": str(write.item["sk"])}, "message": {"S": write.item["message"]}})
    asked: dict[str, Any] = {
        "TableName": MESSAGES,
        "KeyConditionExpression": "pk = :pk AND sk BETWEEN :first AND :last",
        "ExpressionAttributeValues": {":pk": {"S": "c"}, ":first": {"N": "3"}, ":last": {"N": "4"}},
        "ConsistentRead": True,
    }
    place = {"pk": {"S": "c"}, "sk": {"N": "3"}}
    with Stubber(dynamodb) as stub:
        stub.add_response("query", {"Items": items[:1], "LastEvaluatedKey": place}, asked)
        stub.add_response("query", {"Items": items[1:]}, {**asked, "ExclusiveStartKey": place})
        assert table.read("c", 3, 5) == [{"role": "user", "content": [3]}, {"role": "user", "content": [4]}]
    assert table.read("c", 3, 3) == []


def test_a_topic_gets_the_question_and_the_links() -> None:
    """The stub holds the request to the service's model."""
    topic = Topic("arn:aws:sns:us-east-1:000000000000:people")
    topic.client = client("sns")
    expected = {
        "TopicArn": topic.arn,
        "Message": "Go on?\n  yes: https://a",
        "MessageAttributes": {
            "person": {"DataType": "String", "StringValue": "ann"},
            "question": {"DataType": "String", "StringValue": "key"},
        },
    }
    with Stubber(topic.client) as stub:
        stub.add_response("publish", {"MessageId": "1"}, expected)
        topic.ask("ann", "Go on?", {"yes": "https://a"}, "key")
        stub.assert_no_pending_responses()


def test_on_this_machine_it_needs_no_aws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """Messages are files, and questions are printed."""
    world = World(monkeypatch, demo)
    monkeypatch.setattr(services, "transcript", Folder(tmp_path))
    monkeypatch.setattr(services, "people", Screen())
    assert world.start().status == "waiting"
    assert "For ann:\nMay refund be called" in capsys.readouterr().out
    world.local.advance(timedelta(days=2))
    assert world.shown.output["state"] == "answered"
    assert len(list(tmp_path.rglob("*.json"))) == 6


def client(service: str) -> Any:
    """A client that reaches nothing."""
    keys = {"aws_access_key_id": "x", "aws_secret_access_key": "x"}
    return boto3.client(service, region_name="us-east-1", **keys)  # type: ignore[call-overload]  # any service
