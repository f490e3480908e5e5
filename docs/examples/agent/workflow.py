"""The workflows of the agent: a conversation is stretches of turns.

    Conversation ─ Stretch ─ Turn    compact ─ think ─┬─ approvals ─┬─ use_tool (a map) ─ remember
        │             │   └─ Turn …                   └─────────────┘
        │             └─ go_on: a person is asked, as the budget is spent or nothing goes on
        └─ Stretch …

What goes from turn to turn (``Talk``) does not grow: it has the number of the messages, and the transcript has them.
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import BaseModel, Field, ValidationError

from agent.model import ModelBusy
from agent.services import services
from agent.tools import ToolError
from hephaestus import DONE, Choice, Completed, Pending, Retry, Rounds, Step, StepContext, Workflow, step
from hephaestus.steps import Map, Repeat

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.model import Message, Reply
    from hephaestus import Write

SYSTEM: Final = "You are the assistant of a shop. Use the tools; never guess what a tool can say."
SUMMARIZE: Final = (
    "Sum this conversation up for yourself: what was asked, what was found out and done, what is left to do."
)
MOST_CALLS: Final = 100  # of one turn
MOST_TURNS: Final = 20  # until a person is asked
MOST_STRETCHES: Final = 50
ATTEMPTS: Final = 3  # of a tool
LARGEST_RESULTS: Final = 200_000  # characters that the tools of one turn say, all together


class Task(BaseModel):
    """What starts a conversation."""

    task: str = Field(min_length=1, max_length=100_000)
    person: str = Field(description="who allows dangerous calls, and says whether to go on")
    budget: int = Field(default=200_000, gt=0, description="tokens until the person is asked")
    window: int = Field(
        default=100_000, gt=0, description="tokens that the model reads before older messages are summed up"
    )


class Talk(BaseModel):
    """What a turn leaves to the next: of bounded size, however long the conversation is.

    Attributes:
        conversation: the key of its messages.
        person: who decides.
        budget: tokens until the person is asked.
        window: tokens that the model reads before older messages are summed up.
        say: what is sent to the model next; empty once it is kept as a message.
        since: the number of the first message that the model still reads.
        messages: how many there are.
        context: tokens that the model has read in the last turn.
        spent: tokens since the person was last asked.
        total: all tokens.
        turns: how many turns there were.
        state: ``working`` until there is an answer, nothing goes on, or the person has stopped it.
        text: the answer, or why nothing goes on.
    """

    conversation: str
    person: str
    budget: int
    window: int
    say: str = ""
    since: int = 0
    messages: int = 0
    context: int = 0
    spent: int = 0
    total: int = 0
    turns: int = 0
    state: Literal["working", "answered", "stuck", "stopped"] = "working"
    text: str = ""


def plain(text: str) -> dict[str, Any]:
    """A message of the user."""
    return {"role": "user", "content": [{"text": text}]}


def joined(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same messages, those of one role that follow each other as one: models want roles to alternate."""
    whole: list[dict[str, Any]] = []
    for message in messages:
        if whole and whole[-1]["role"] == message["role"]:
            whole[-1] = {**message, "content": [*whole[-1]["content"], *message["content"]]}
        else:
            whole.append(message)
    return whole


patient: Final = Retry(
    max_attempts=8, delay=timedelta(seconds=2), max_delay=timedelta(minutes=5), retry_on=(ModelBusy,)
)


def so_far(ctx: StepContext[Talk]) -> Talk:
    """What the turn has begun with, and what its steps have changed."""
    known = [ctx.steps[key] for key in ("compact", "think", "remember") if key in ctx.steps]
    return Talk.model_validate({name: value for one in (ctx.initial, *known) for name, value in one.items()})


def read(talk: Talk) -> list[Message]:
    """The messages that the model reads."""
    return services.transcript.read(talk.conversation, talk.since, talk.messages)


def keep(talk: Talk, *messages: Message) -> list[Write]:
    """The writes that keep them behind the others."""
    numbered = enumerate(messages, talk.messages)
    return [write for number, one in numbered for write in services.transcript.write(talk.conversation, number, one)]


@step(retry=patient, timeout=150, checkpoint=False)
def compact(ctx: StepContext[Talk]) -> Completed:
    """Have a long conversation summed up. It costs nothing where there is nothing to do: not even a write."""
    talk = ctx.input
    if talk.context <= talk.window:
        return Completed("done")
    said = "\n".join(json.dumps(message) for message in read(talk))
    reply = services.model.converse(SYSTEM, [plain(f"{SUMMARIZE}\n\n{said}")], ())
    summary = plain(f"The conversation until here, in short: {text_of(reply.message)}")
    changed = {"since": talk.messages, "messages": talk.messages + 1, **spend(talk, reply)}
    return Completed("done", changed, writes=keep(talk, summary))


@step(events=("answered", "calls", "dangerous", "stuck"), retry=patient, timeout=150)
def think(ctx: StepContext[Talk]) -> Completed:
    """Ask the model, and keep what it says in the transaction that records this step."""
    talk = so_far(ctx)
    asked = [plain(talk.say)] if talk.say else []
    specs = [tool.spec(name) for name, tool in services.tools.items()]
    reply = services.model.converse(SYSTEM, joined([*read(talk), *asked]), specs)
    wanted = calls_of(reply.message)
    event = "stuck"  # what was cut off, blocked or malformed is not kept
    if reply.stop == "tool_use" and wanted:
        event = "dangerous" if any(call["dangerous"] for call in wanted) else "calls"
    elif reply.stop in {"end_turn", "stop_sequence"}:
        event = "answered"
    new = asked if event == "stuck" else [*asked, reply.message]
    state = event if event in {"answered", "stuck"} else "working"
    text = {"answered": text_of(reply.message), "stuck": f"the model stopped: {reply.stop}"}.get(event, "")
    changed = {"say": "", "state": state, "text": text, "turns": talk.turns + 1, "context": reply.context}
    results = {**spend(talk, reply), **changed, "messages": talk.messages + len(new), "calls": wanted}
    return Completed(event, results, writes=keep(talk, *new))


def spend(talk: Talk, reply: Reply) -> dict[str, int]:
    """What has been spent with a reply."""
    tokens = reply.context + reply.output
    return {"spent": talk.spent + tokens, "total": talk.total + tokens}


def text_of(message: Message) -> str:
    """What it says in words."""
    return "\n".join(block["text"] for block in message["content"] if "text" in block)


def calls_of(message: Message) -> list[dict[str, Any]]:
    """The calls that it asks for, each with a key for people and links, such as ``1-refund``."""
    uses = [block["toolUse"] for block in message["content"] if "toolUse" in block]
    return [
        {
            "key": f"{place}-{use['name']}" if use["name"] in services.tools else str(place),
            "id": use["toolUseId"],
            "name": use["name"],
            "arguments": use["input"],
            "dangerous": use["name"] in services.tools and services.tools[use["name"]].dangerous,
        }
        for place, use in enumerate(uses)
    ]


@step(events=("decided", "timeout"))
def approve(ctx: StepContext[Talk]) -> Pending:
    """Ask a person about one call, and wait for a day. The payload of a link is what the item leaves."""
    call, person = ctx.item, ctx.input.person
    question = f"May {call['name']} be called with {json.dumps(call['arguments'])}?"
    links = {
        answer: ctx.callback_url("decided", payload={"allowed": allowed, "by": person, "question": question[:300]})
        for answer, allowed in (("allow", True), ("deny", False))
    }
    services.people.ask(person, question, links, ctx.idempotency_key)
    return Pending(timeout=timedelta(days=1))


def dangerous_calls(ctx: StepContext) -> list[dict[str, Any]]:
    """Those of them that a person has to allow."""
    return [call for call in ctx.steps["think"]["calls"][:MOST_CALLS] if call["dangerous"]]


def decided_calls(ctx: StepContext) -> list[dict[str, Any]]:
    """All that are run, each with what was decided: ``None`` where no one has."""
    asked = dangerous_calls(ctx)
    left = ctx.results("approve") if asked else ()
    allowed = {call["key"]: (one or {}).get("allowed") for call, one in zip(asked, left, strict=True)}
    return [
        {**call, "allowed": allowed.get(call["key"]) if call["dangerous"] else True}
        for call in ctx.steps["think"]["calls"][:MOST_CALLS]
    ]


def by_key(call: dict[str, Any]) -> str:
    """The key of a call."""
    return str(call["key"])


@step(retry=Retry(max_attempts=ATTEMPTS), timeout=60)
def use_tool(ctx: StepContext[Talk]) -> dict[str, Any]:
    """Run one call. What is wrong with it is said to the model, which may do better; only an outage is tried again."""
    call = ctx.item
    tool = services.tools.get(call["name"])
    if tool is None:
        return failed(f"there is no tool {call['name']!r}; there are: {', '.join(services.tools)}")
    if not call["allowed"]:
        return failed("a person denied it" if call["allowed"] is False else "no one has allowed it in time")
    try:
        arguments = tool.arguments.model_validate(call["arguments"])
    except ValidationError as error:
        wrong = [f"{'.'.join(map(str, one['loc'])) or 'arguments'}: {one['msg']}" for one in error.errors()]
        return failed("; ".join(wrong))
    try:
        return {"status": "success", "text": tool.run(arguments, ctx.idempotency_key)}
    except ToolError as error:
        return failed(str(error))
    except Exception as error:
        if ctx.attempt < ATTEMPTS:
            raise
        return failed(f"{type(error).__name__}: {error}")


def failed(why: str) -> dict[str, Any]:
    """What a call leaves that did not work."""
    return {"status": "error", "text": why}


approvals: Final = Map(approve, over=dangerous_calls, key=by_key)
uses: Final = Map(use_tool, over=decided_calls, key=by_key, tolerate="100%")


@step
def remember(ctx: StepContext[Talk]) -> Completed:
    """Keep the results of all calls as one message: models want one for each."""
    talk = so_far(ctx)
    calls, left = ctx.steps["think"]["calls"], list(ctx.results("use_tool"))
    left += [failed(f"only the first {MOST_CALLS} calls of a message are run")] * (len(calls) - len(left))
    room = LARGEST_RESULTS // len(calls)
    content = [
        result_of(call["id"], one or failed("the tool ended its process, or took too long"), room)
        for call, one in zip(calls, left, strict=True)
    ]
    return Completed("done", {"messages": talk.messages + 1}, writes=keep(talk, {"role": "user", "content": content}))


def result_of(call_id: str, left: Mapping[str, Any], room: int) -> dict[str, Any]:
    """As the model reads it, cut where it is too long."""
    text = left["text"] if len(left["text"]) <= room else f"{left['text'][:room]} … (cut)"
    return {"toolResult": {"toolUseId": call_id, "content": [{"text": text or "(nothing)"}], "status": left["status"]}}


def after_turn(ctx: StepContext[Talk]) -> Talk:
    """What the next turn starts with. After a model has failed for good it is stuck, and nothing is lost."""
    talk = so_far(ctx)
    errors = [ctx.steps[key]["error"]["message"] for key, event in ctx.events.items() if event == "error"]
    return talk.model_copy(update={"state": "stuck", "text": errors[0]}) if errors else talk


class Turn(Workflow, key="turn"):
    """The model is asked once, and what it asks for is done."""

    Input = Talk
    start_at = compact
    transitions = {
        compact: {"done": think, "error": DONE},
        think: {"answered": DONE, "calls": uses, "dangerous": approvals, "stuck": DONE, "error": DONE},
        approvals: {"done": uses},
        uses: {"done": remember},
        remember: {"done": DONE},
    }
    output = after_turn


def is_enough(ctx: StepContext) -> bool:
    """There is an answer, nothing goes on, or the budget is spent."""
    return bool(ctx.carry["state"] != "working" or ctx.carry["spent"] >= ctx.carry["budget"])


turns: Final = Repeat(Turn, until=is_enough, rounds=Rounds(MOST_TURNS), context=lambda ctx: ctx.initial, name="turns")


def after_turns(ctx: StepContext) -> Talk:
    """What the last turn has left, whether it was enough or no round was left."""
    left = ctx.steps["turns"]
    return Talk.model_validate(left["carry"] if ctx.events["turns"] == "exhausted" else left)


@step(events=("yes", "no", "timeout"))
def go_on(ctx: StepContext[Talk]) -> Pending:
    """Ask the person whether to go on. ``yes`` may bring what to say to the model, as ``{"say": "…"}``."""
    talk = after_turns(ctx)
    why = talk.text if talk.state == "stuck" else f"{talk.spent} tokens are spent"
    links = {answer: ctx.callback_url(answer) for answer in ("yes", "no")}
    question = f"After {talk.turns} turns there is no answer: {why}. Go on?"
    services.people.ask(talk.person, question, links, ctx.idempotency_key)
    return Pending(timeout=timedelta(days=7))


def answered_or_ask(ctx: StepContext) -> Step:
    """An answer ends the stretch; else a person is asked."""
    return DONE if after_turns(ctx).state == "answered" else go_on


def after_stretch(ctx: StepContext) -> Talk:
    """With a new budget, if the person says so."""
    talk = after_turns(ctx)
    match ctx.events.get("go_on"):
        case None:
            return talk
        case "yes":
            say = str(ctx.steps["go_on"].get("say", ""))
            return talk.model_copy(update={"state": "working", "text": "", "spent": 0, "say": say or talk.say})
        case _:
            return talk.model_copy(update={"state": "stopped"})


class Stretch(Workflow, key="stretch"):
    """Turns, until there is an answer or a person has to say whether to go on."""

    Input = Talk
    start_at = turns
    transitions = {
        turns: {"done": Choice(answered_or_ask, [DONE, go_on]), "exhausted": go_on},
        go_on: {"yes": DONE, "no": DONE, "timeout": DONE},
    }
    output = after_stretch


def first_talk(ctx: StepContext[Task]) -> Talk:
    """A conversation of its own for each life of the instance."""
    task = ctx.input
    name = f"{ctx.instance_id}.{ctx.instance.life}"
    return Talk(conversation=name, person=task.person, budget=task.budget, window=task.window, say=task.task)


def is_over(ctx: StepContext) -> bool:
    """There is an answer, or the person has stopped it."""
    return ctx.carry["state"] in {"answered", "stopped"}


stretches: Final = Repeat(Stretch, until=is_over, rounds=Rounds(MOST_STRETCHES), context=first_talk, name="stretches")


class Conversation(Workflow, key="conversation"):
    """One task, from its first message to the answer."""

    Input = Task
    example = {"task": "What became of my orders A-1 and A-2?", "person": "ann@example.com"}
    start_at = stretches
    transitions = {stretches: {"done": DONE}}
