"""Events from outside: read in every form, taken once, and lost in no case."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, computed_field, field_serializer

from hephaestus import DONE, DefinitionError, Step, StepContext, Workflow, step
from hephaestus.errors import InstanceNotFound, NotTaken, RetryLater
from hephaestus.handlers.http.describe import describe
from hephaestus.runtime.ingest import events_in, ingest
from hephaestus.runtime.registry import Registry
from hephaestus.steps import WaitForEvent
from hephaestus.testing import LocalRuntime
from hephaestus.triggers import EventBridgeEvent, On, QueueMessage, Resume, S3Event, SnsMessage, Start

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TOPIC = "arn:aws:sns:eu-west-1:123456789012:payments"


def eventbridge(source: str = "shop", kind: str = "OrderPlaced", **detail: Any) -> dict[str, Any]:
    """As a rule sends it."""
    known = {
        "version": "0",
        "id": "e-1",
        "account": "123456789012",
        "time": "2026-01-01T00:00:00Z",
        "region": "eu-west-1",
    }
    return {**known, "source": source, "detail-type": kind, "resources": [], "detail": detail}


def s3(*keys: str, bucket: str = "inbox", version: str | None = None) -> dict[str, Any]:
    """As a bucket's notification has it."""
    more = {"versionId": version} if version else {}
    return {
        "Records": [
            {
                "eventSource": "aws:s3",
                "eventName": "ObjectCreated:Put",
                "eventTime": "2026-01-01T00:00:00Z",
                "s3": {
                    "bucket": {"name": bucket},
                    "object": {"key": key, "size": 3, "eTag": "abc", "sequencer": f"0{place}", **more},
                },
            }
            for place, key in enumerate(keys)
        ]
    }


def sns(message: Any, message_id: str = "m-1") -> dict[str, Any]:
    """As a topic sends it without raw message delivery."""
    text = message if isinstance(message, str) else json.dumps(message)
    given = {"kind": {"Type": "String", "Value": "paid"}}
    known = {"Type": "Notification", "MessageId": message_id, "TopicArn": TOPIC, "Message": text}
    return {**known, "Subject": "Paid", "MessageAttributes": given}


def flow(*triggers: Any, **header: Any) -> type[Workflow]:
    """A workflow with triggers: it shows what it was started with, and waits for ``paid``."""

    @step
    def show(ctx: StepContext) -> dict[str, Any]:
        return dict(ctx.initial)

    waits = WaitForEvent("paid", name="waits")
    body = {"start_at": show, "transitions": {show: {"done": waits}, waits: {"paid": DONE}}, "triggers": list(triggers)}
    return type("Order", (Workflow,), body, key=header.pop("key", "orderid"), **header)


def taken(local: LocalRuntime, event: Any, **more: Any) -> tuple[tuple[str, ...], tuple[str, ...], int]:
    """What became of it."""
    done = local.ingest(event, **more)
    return done.started, done.resumed, done.matched


# --- The forms ---


def test_an_event_of_eventbridge() -> None:
    (event,) = events_in(json.dumps(eventbridge(number=7)), "m", {})
    assert event == EventBridgeEvent(
        "e-1", "shop", "OrderPlaced", {"number": 7}, "123456789012", "eu-west-1", "2026-01-01T00:00:00Z"
    )


def test_a_change_in_s3_is_the_same_event_however_it_comes() -> None:
    """By the bucket's own notification, by a topic, or by EventBridge; a key is decoded where it was encoded."""
    direct = events_in(json.dumps(s3("a+b%2B.csv", version="v1")), "m", {})
    by_topic = events_in(json.dumps(sns(s3("a+b%2B.csv", version="v1"))), "m", {})
    told = {"bucket": {"name": "inbox"}, "object": {"key": "a b+.csv", "size": 3, "etag": "abc", "version-id": "v1"}}
    by_rule = events_in(json.dumps(eventbridge("aws.s3", "Object Created", **told)), "m", {})
    assert [type(event) for event in (*by_topic, *by_rule)] == [SnsMessage, S3Event, EventBridgeEvent, S3Event]
    found = [*direct, by_topic[1], by_rule[1]]
    assert {(it.id, it.bucket, it.key, it.version, it.etag, it.size) for it in found if isinstance(it, S3Event)} == {
        ("ObjectCreated|inbox|a b+.csv|v1", "inbox", "a b+.csv", "v1", "abc", 3)
    }


def test_a_notification_holds_several_changes_and_a_test_of_the_queue_none() -> None:
    assert [it.key for it in events_in(json.dumps(s3("a", "b")), "m", {}) if isinstance(it, S3Event)] == ["a", "b"]
    test = {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "inbox"}
    assert events_in(json.dumps(test), "m", {}) == []


def test_a_message_of_a_topic_and_one_of_the_queue_are_json_or_text() -> None:
    attributes = {"kind": "paid"}
    assert events_in(json.dumps(sns({"n": 1})), "m", {}) == [SnsMessage("m-1", TOPIC, "Paid", {"n": 1}, attributes)]
    assert events_in(json.dumps(sns("hello {")), "m", {}) == [SnsMessage("m-1", TOPIC, "Paid", "hello {", attributes)]
    assert events_in('{"n": 1}', "m-7", {"a": "b"}) == [QueueMessage("m-7", {"n": 1}, {"a": "b"})]
    assert events_in("hello {", "m-7", {}) == [QueueMessage("m-7", "hello {", {})]


@st.composite
def lives(draw: st.DrawFn) -> list[tuple[str, str, dict[str, Any]]]:
    """What happens to an object of a bucket, in order: S3's and EventBridge's names of it, and what both say."""
    told: list[tuple[str, str, dict[str, Any]]] = []
    versions: list[str] = []
    for number in range(draw(st.integers(1, 8))):
        version: str | None
        how = draw(st.sampled_from(["put", "copy", "mark", "remove", "expire", "tag", "untag", "post", "restored"]))
        if how in ("put", "copy", "mark"):
            version = draw(st.sampled_from([f"v{number}", "null", None]))
            versions += [version] if version else []
        else:
            version = draw(st.sampled_from([*versions, None]))
            if how in ("remove", "expire") and version and version != "null":
                versions.remove(version)
        s3_name, rule_name, deletion = {
            "put": ("ObjectCreated:Put", "Object Created", ""),
            "copy": ("ObjectCreated:Copy", "Object Created", ""),
            "mark": ("ObjectRemoved:DeleteMarkerCreated", "Object Deleted", "Delete Marker Created"),
            "remove": ("ObjectRemoved:Delete", "Object Deleted", "Permanently Deleted"),
            "expire": ("LifecycleExpiration:Delete", "Object Deleted", "Permanently Deleted"),
            "tag": ("ObjectTagging:Put", "Object Tags Added", ""),
            "untag": ("ObjectTagging:Delete", "Object Tags Deleted", ""),
            "post": ("ObjectRestore:Post", "Object Restore Initiated", ""),
            "restored": ("ObjectRestore:Completed", "Object Restore Completed", ""),
        }[how]
        sequencer = (
            f"0{number}" if how in ("put", "copy", "mark", "remove", "expire") else draw(st.none() | st.just("0"))
        )
        told.append((s3_name, rule_name, {"version": version, "sequencer": sequencer, "deletion-type": deletion}))
    return told


def forms(number: int, life: tuple[str, str, dict[str, Any]]) -> list[str]:
    """One of these as a notification, as the same by a topic, and as an event of EventBridge: the ids that it has."""
    name, rule_name, said = life
    known = {"key": "k"} | ({"sequencer": said["sequencer"]} if said["sequencer"] else {})
    record = {
        "eventSource": "aws:s3",
        "eventName": name,
        "eventTime": f"2026-01-01T00:00:{number // 2:02}.000Z",  # two at a time, told apart by their requests
        "responseElements": {"x-amz-request-id": f"r-{number}"},
        "s3": {"bucket": {"name": "b"}, "object": known | ({"versionId": said["version"]} if said["version"] else {})},
    }
    ruled = {
        "bucket": {"name": "b"},
        "object": known | ({"version-id": said["version"]} if said["version"] else {}),
        "deletion-type": said["deletion-type"],
    }
    bodies = [{"Records": [record]}, sns({"Records": [record]}, f"m-{number}")]
    bodies.append(eventbridge("aws.s3", rule_name, **ruled) | {"id": f"e-{number}"})
    return [events_in(json.dumps(body), "m", {})[-1].id for body in bodies]


@settings(max_examples=60)
@given(lives())
def test_all_that_happens_to_an_object_are_events_of_their_own(life: list[tuple[str, str, dict[str, Any]]]) -> None:
    """In each form; a repeat is the same one, and so is a creation or a removal in another form."""
    told = [forms(number, each) for number, each in enumerate(life)]
    assert told == [forms(number, each) for number, each in enumerate(life)]
    for in_one_form in zip(*told, strict=True):
        assert len(set(in_one_form)) == len(life), in_one_form
    for (name, *_), ids in zip(life, told, strict=True):
        assert len(set(ids)) == (1 if name.startswith(("ObjectCreated", "ObjectRemoved", "Lifecycle")) else 2)


def test_changes_that_nothing_tells_apart_are_those_of_their_messages() -> None:
    record = {"eventSource": "aws:s3", "eventName": "ObjectTagging:Put"}
    body = json.dumps({"Records": [{**record, "s3": {"bucket": {"name": "b"}, "object": {"key": "k"}}}] * 2})
    assert len({event.id for name in ("m", "n", "n") for event in events_in(body, name, {})}) == 4


@settings(max_examples=30)
@given(st.text(min_size=1, max_size=5))
def test_a_file_of_any_name_is_taken(name: str) -> None:
    """Who asked is shown in history without what a terminal cannot show."""
    local = LocalRuntime(flow(On.s3(lambda event: Start("1", {"key": event.key}))))
    body = s3(quote_plus(name.encode("utf-8", "surrogatepass")))
    local.ingest(body)
    assert local.runner.history("orderid::1").items[0].events[0]["by"].startswith("S3Event ")


FORMS = [eventbridge(), s3("a"), sns("x"), eventbridge("aws.s3", bucket={"name": "b"}, object={"key": "k"})]


@given(st.sampled_from(FORMS), st.data())
def test_whatever_is_wrong_with_a_form_the_message_is_read(form: dict[str, Any], data: st.DataObject) -> None:
    """Any member may be missing or be anything: then it is a message as any other."""
    anything = st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
        max_leaves=4,
    )
    changed = json.loads(json.dumps(form))
    at = changed
    while True:
        place = data.draw(st.sampled_from(sorted(at) if isinstance(at, dict) else range(len(at))))
        inner = at[place]
        if not (isinstance(inner, (dict, list)) and inner) or data.draw(st.booleans()):
            break
        at = inner
    at[place] = data.draw(anything)
    for event in events_in(json.dumps(changed), "m", {}):
        assert isinstance(event.id, str)
        assert event.id
        assert isinstance(On.s3(lambda _: None, prefix="a").takes(event), bool)


# --- Triggers ---


def test_each_trigger_takes_what_it_names_and_nothing_else() -> None:
    (bridged,), (object_,) = (
        events_in(json.dumps(eventbridge()), "m", {}),
        events_in(json.dumps(s3("in/a.csv")), "m", {}),
    )
    (topic,), (message,) = events_in(json.dumps(sns("x")), "m", {}), events_in("x", "m", {})
    everything: list[tuple[Callable[..., Any], Any, dict[str, Any], dict[str, Any]]] = [
        (On.eventbridge, bridged, {"source": "shop"}, {"source": "other"}),
        (On.eventbridge, bridged, {"detail_type": ["No", "OrderPlaced"]}, {"source": "shop", "detail_type": "No"}),
        (On.s3, object_, {"bucket": "inbox", "prefix": "in/", "suffix": ".csv"}, {"prefix": "out/"}),
        (On.s3, object_, {"bucket": ["inbox", "x"]}, {"suffix": ".json"}),
        (On.sns, topic, {"topic": TOPIC}, {"topic": f"{TOPIC}-other"}),
        (On.message, message, {}, {}),
    ]
    events = [bridged, object_, topic, message]
    for on, event, meant, other in everything:
        assert on(lambda _: None).takes(event)
        assert on(lambda _: None, **meant).takes(event)
        assert not other or not on(lambda _: None, **other).takes(event)
        assert not any(on(lambda _: None).takes(it) for it in events if it is not event)


def test_an_event_starts_once_however_often_it_comes() -> None:
    """Also where the function that reads it was changed meanwhile, or another message brings it."""
    local = LocalRuntime(flow(On.s3(lambda event: Start(event.key, {"key": event.key}))))
    for _ in range(3):
        assert taken(local, s3("a.csv")) == (("orderid::a.csv",), (), 1)
    assert local.runner.get("orderid::a.csv").steps["show"].results == {"key": "a.csv"}
    with pytest.raises(NotTaken, match=r"On\.s3.*orderid::a\.csv"):
        local.ingest(s3("other", "a.csv"))
    assert local.runner.get("orderid::other").status == "waiting", "the rest is done"


def test_an_event_resumes_once_and_waits_for_its_instance() -> None:
    orders = flow(On.sns(lambda it: Resume(it.message["order"], "paid", {"by": it.subject})))
    local = LocalRuntime(orders)
    with pytest.raises(InstanceNotFound, match="orderid::7"):
        local.ingest(sns({"order": "7"}))
    local.start(orders, "7")
    assert taken(local, sns({"order": "7"})) == ((), ("orderid::7",), 1)
    shown = local.runner.get("orderid::7")
    assert (shown.status, shown.steps["waits"].results) == ("completed", {"by": "Paid"})
    assert taken(local, sns({"order": "7"})) == ((), ("orderid::7",), 1), "a repeat is a success, also after the end"
    with pytest.raises(NotTaken, match="completed"):
        local.ingest(sns({"order": "7"}, "m-2"))


def test_one_event_may_do_several_things_and_what_nobody_wants_is_told() -> None:
    def both(event: EventBridgeEvent) -> list[Start | Resume]:
        return [Start("1", event.detail), Resume("1", "paid")]

    triggers = [On.eventbridge(both, source="shop"), On.eventbridge(both, detail_type="OrderPlaced")]
    local = LocalRuntime(flow(*triggers, On.eventbridge(lambda _: None)))
    for _ in range(2):
        assert taken(local, eventbridge(n=1)) == (("orderid::1",), ("orderid::1",), 3), (
            "a shared function is asked once"
        )
    assert taken(local, eventbridge("other", "x")) == ((), (), 1)
    assert taken(local, "nobody's") == ((), (), 0)


def answering(asked: Sequence[Start | Resume]) -> Callable[[Any], Any]:
    """A function that answers with these."""
    return lambda _: asked


DOINGS: dict[str, Start | Resume] = {
    "start": Start("new"),
    "resume": Resume("there", "paid"),
    "unexpected": Resume("there", "flown"),
    "malformed": Start("a b"),
    "early": Resume("late", "paid"),
}


@settings(max_examples=30)
@given(st.permutations(list(DOINGS)), st.sets(st.sampled_from(list(DOINGS))), st.integers(0, 5), st.booleans())
def test_each_action_is_tried_whatever_becomes_of_the_others(
    order: list[str], without: set[str], cut: int, fails: bool
) -> None:
    """In any order, by one trigger or by two; then what can come again decides before what never can."""
    asked = [name for name in order if name not in without]
    triggers = [On.message(answering([DOINGS[it] for it in some])) for some in (asked[:cut], asked[cut:])]
    if fails:
        triggers.insert(cut % 3, On.message(failing(ValueError("x"))))
    orders = flow(*triggers)
    local = LocalRuntime(orders)
    local.start(orders, "there")
    never = fails or not {"unexpected", "malformed"}.isdisjoint(asked)
    for early in ("early" in asked, False):
        if early or never:
            with pytest.raises(InstanceNotFound if early else NotTaken):
                ingest(local.runner, "go", "m-1", {})
        else:
            ingest(local.runner, "go", "m-1", {})
        local.settle()
        assert local.runner.get("orderid::there").status == ("completed" if "resume" in asked else "waiting")
        assert ("orderid::new" in {each.id for each in local.runner.list()}) is ("start" in asked)
        if early:
            local.start(orders, "late")
    assert "early" not in asked or local.runner.get("orderid::late").status == "completed"


STARTS = st.lists(st.tuples(st.sampled_from(["x", "orderid::x", "y"]), st.integers(0, 1)), max_size=4)


@settings(max_examples=40)
@given(st.lists(STARTS, max_size=3))
def test_each_start_of_an_answer_is_one_of_its_own_where_ids_are_not_unique(asked: list[list[tuple[str, int]]]) -> None:
    """And one however often the event comes, also where the function then lists them in another order."""
    answers = [[Start(value, {"n": n}) for value, n in each] for each in asked]
    local = LocalRuntime(flow(*(On.message(answering(own)) for own in answers), scope="none"))
    for _ in range(2):
        found = ingest(local.runner, "go", "m-1", {})
        assert len(found.started) == sum(map(len, asked))
        for own in answers:  # another order of those that differ in their key
            own.sort(key=lambda each: each.value.endswith("x"))
    wanted = sorted(n for each in asked for _, n in each)
    assert sorted(local.runner.get(each.id).context["n"] for each in local.runner.list()) == wanted


@pytest.mark.parametrize("triggers", [1, 2])
def test_two_events_of_an_answer_are_two(triggers: int) -> None:
    """One step takes the first, another the second."""
    first, second = WaitForEvent("paid", name="first"), WaitForEvent("paid", name="second")
    asked = [Resume("1", "paid", {"n": 0}), Resume("orderid::1", "paid", {"n": 1})]
    some = [asked] if triggers == 1 else [asked[:1], asked[1:]]
    body = {
        "start_at": first,
        "transitions": {first: {"paid": second}, second: {"paid": DONE}},
        "triggers": [On.message(answering(own)) for own in some],
    }
    orders = type("Order", (Workflow,), body, key="orderid")
    local = LocalRuntime(orders)
    local.start(orders, "1")
    for _ in range(2):
        assert ingest(local.runner, "go", "m-1", {}).resumed == ("orderid::1",)
    local.settle()
    steps = local.runner.get("orderid::1").steps
    assert [steps[name].results["n"] for name in ("first", "second")] == [0, 1]


class Exits:
    """Whatever is asked of it, it exits, or raises what it is made with."""

    def __init__(self, raised: BaseException) -> None:
        vars(self)["raised"] = raised

    def _raise(self, *_: object) -> Any:
        raise vars(self)["raised"]

    __eq__ = __hash__ = __str__ = __repr__ = __bool__ = __len__ = __iter__ = __getattr__ = _raise


class ExitingMapping(Mapping[str, Any]):
    """A mapping that cannot be read."""

    def __init__(self, raised: BaseException) -> None:
        self.raised = raised

    def __getitem__(self, _key: str) -> Any:
        raise self.raised

    def __iter__(self) -> Iterator[str]:
        raise self.raised

    def __len__(self) -> int:
        raise self.raised


def exiting_model(raised: BaseException) -> Any:
    """A model whose JSON cannot be made."""

    class Made(BaseModel):
        there: int = 1

        @field_serializer("there")
        def _there(self, _value: int) -> Any:
            raise raised

        @computed_field  # type: ignore[prop-decorator]  # as pydantic's documentation has it
        @property
        def shown(self) -> Any:
            raise raised

    return Made()


def exiting_text(raised: BaseException) -> Any:
    """A text with methods of its own."""

    def fails(*_: object) -> Any:
        raise raised

    names = ("__len__", "__eq__", "__hash__", "__str__", "__repr__", "__contains__", "isprintable", "startswith")
    return type("Text", (str,), dict.fromkeys(names, fails))("x")


def exiting_step(raised: BaseException) -> Any:
    """A step's class that cannot be made."""

    def fails(_self: object) -> None:
        raise raised

    return type("Bad", (Step,), {"__init__": fails, "execute": lambda _self, _ctx: "done"})


def liar(raised: BaseException) -> Any:
    """What raises as soon as anybody asks for its class."""

    def fails(_self: object) -> Any:
        raise raised

    return type("Liar", (), {"__class__": property(fails)})()


HOSTILE: dict[str, Callable[[BaseException], Any]] = {
    "an answer that lies": liar,
    "an answer with one that lies": lambda error: [liar(error)],
    "a start's value": lambda error: Start(Exits(error)),  # type: ignore[arg-type]  # wrong on purpose
    "a start's value that lies": lambda error: Start(liar(error)),
    "start data": lambda error: Start("1", exiting_model(error)),
    "start data that are a mapping": lambda error: Start("1", ExitingMapping(error)),
    "something in start data": lambda error: Start("1", {"x": {Exits(error) for _ in ()}, "y": Exits(error)}),
    "metadata": lambda error: Start("1", metadata=exiting_model(error)),
    "tags": lambda error: Start("1", tags=[exiting_text(error)]),
    "tags that are no list": lambda error: Start("1", tags=Exits(error)),  # type: ignore[arg-type]  # wrong on purpose
    "a version": lambda error: Start("1", version=Exits(error)),  # type: ignore[arg-type]  # wrong on purpose
    "an id": lambda error: Resume(Exits(error), "paid"),  # type: ignore[arg-type]  # wrong on purpose
    "an event": lambda error: Resume("there", Exits(error)),  # type: ignore[arg-type]  # wrong on purpose
    "a payload": lambda error: Resume("there", "paid", [exiting_model(error)]),
    "a step": lambda error: Resume("there", "paid", step=exiting_step(error)),
    "a start with properties": lambda error: type(
        "Own",
        (Start,),
        {"context": property(lambda _self: Exits(error)._raise())},  # noqa: SLF001 - of this module
    )("1"),
}


@pytest.mark.parametrize("raised", [SystemExit("no config"), KeyboardInterrupt(), ValueError("odd"), GeneratorExit()])
@pytest.mark.parametrize("case", HOSTILE)
def test_an_answer_whose_own_code_raises_keeps_nothing_else_back(case: str, raised: BaseException) -> None:
    """Values are read where the function runs: contained, and each with its reason."""
    orders = flow(On.message(lambda _: HOSTILE[case](raised)))
    other = flow(On.message(lambda _: Start("2")), key="otherid", name="Other")
    local = LocalRuntime(orders, other)
    local.start(orders, "there")
    with pytest.raises(NotTaken, match="workflow Order"):
        local.ingest("go")
    assert local.runner.get("otherid::2").status == "waiting"


def test_what_is_no_mistake_of_the_answer_comes_again_and_the_rest_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """A defect, say, or a store that does not answer."""
    orders = flow(On.message(lambda _: [Resume("there", "paid"), Start("2")]))
    local = LocalRuntime(orders)
    local.start(orders, "there")

    def fails(*_: object, **__: object) -> None:
        raise KeyError

    with monkeypatch.context() as patched:
        patched.setattr(local.runner.instances, "change", fails)
        with pytest.raises(KeyError):
            ingest(local.runner, "go", "m-1", {})
    assert local.runner.get("orderid::2").status == "pending"


def failing(error: BaseException) -> Callable[[Any], Any]:
    """A function that raises."""

    def to(_event: Any) -> Any:
        raise error

    return to


@pytest.mark.parametrize(
    ("to", "why"),
    [
        (failing(ValueError("no \ud83d number")), "raised ValueError: no"),
        (failing(SystemExit(3)), "raised SystemExit"),
        (failing(KeyboardInterrupt()), "raised KeyboardInterrupt"),
        (lambda _: "orderid::1", "answered with str"),
        (lambda _: {Start("1")}, "answered with set"),
        (lambda _: [Start("a b")], "business key"),
        (
            lambda _: Start(7),  # type: ignore[arg-type]  # wrong on purpose
            "business key",
        ),
        (lambda _: Start("1", {"x": object()}), "object"),
        (lambda _: Start("1", {"x": "".join(map(str, range(999_999)))}), "bytes"),
        (lambda _: Start("1", version=9), "no version 9"),
        (lambda _: Resume("::", "paid"), "instance id"),
        (lambda _: Resume("other::1", "paid"), "no instance of Order"),
        (lambda _: Resume("there", "flown"), "flown"),
        (lambda _: Resume("there", "paid", step="nobody"), "nobody"),
        (
            lambda _: Resume("there", 7),  # type: ignore[arg-type]  # wrong on purpose
            "event",
        ),
    ],
)
def test_what_can_never_be_done_says_why_and_keeps_nothing_else_back(to: Callable[[Any], Any], why: str) -> None:
    orders = flow(On.message(to), On.message(lambda _: Start("2")))
    local = LocalRuntime(orders)
    local.start(orders, "there")
    with pytest.raises(NotTaken, match=why):
        local.ingest("go")
    assert local.runner.get("orderid::2").status == "waiting"
    assert local.runner.get("orderid::there").status == "waiting"


def test_an_event_waits_for_a_module_that_cannot_be_loaded() -> None:
    """It may have a trigger for it; what others do is done."""
    orders = flow(On.message(lambda _: Start("1")))
    local = LocalRuntime(orders)
    local.runner.registry = Registry([orders], modules=["no_such_module_of_workflows"])
    with pytest.raises(RetryLater, match="no_such_module_of_workflows"):
        local.ingest("go")
    assert local.runner.get("orderid::1").status == "waiting"


def test_a_shared_key_is_no_way_to_anothers_instance() -> None:
    other = flow(scope="global", name="Other")
    orders = flow(On.message(lambda _: Resume("1", "paid")), scope="global")
    local = LocalRuntime(orders, other)
    local.start(other, "1")
    with pytest.raises(InstanceNotFound, match="of Other"):
        local.ingest("go")


def test_an_umbrella_has_its_own_triggers_and_those_of_its_current_version() -> None:
    first = flow(On.message(lambda _: Start("old")), version=1)
    second = flow(On.message(lambda _: Start("new")), version=2)
    umbrella = type(
        "Orders",
        (Workflow,),
        {"triggers": [On.s3(lambda _: Start("own"))]},
        key="orderid",
        versions={1: first, 2: second},
    )
    local = LocalRuntime(umbrella)
    assert taken(local, "go")[0] == ("orderid::new",)
    assert taken(local, s3("x"))[0] == ("orderid::own",)


@pytest.mark.parametrize(
    ("triggers", "problem"),
    [
        (7, "its triggers are 7"),
        ([7], "trigger 0 is 7"),
        ([lambda _: None], "trigger 0 is"),
        ([On.message(7)], "trigger 0: to cannot be called"),  # type: ignore[arg-type]  # wrong on purpose
        ([On.message(lambda: None)], "it is called with"),  # type: ignore[arg-type, misc]  # wrong on purpose
        ([On.s3(lambda _: None, bucket=7)], "bucket is 7"),  # type: ignore[arg-type]  # wrong on purpose
        ([On.s3(lambda _: None, prefix=["a"])], "prefix is"),  # type: ignore[arg-type]  # wrong on purpose
        ([On.eventbridge(lambda _: None, source=[])], "source is"),
        ([On.message(lambda _: None)] * 101, "101 triggers"),
    ],
)
def test_a_trigger_that_is_wrong_is_found_when_the_class_is_defined(triggers: Any, problem: str) -> None:
    known = vars(flow())
    body = {name: known[name] for name in ("start_at", "transitions")}
    with pytest.raises(DefinitionError, match=problem):
        type("Order", (Workflow,), {**body, "triggers": triggers}, key="orderid")


def test_a_coroutine_function_is_no_trigger() -> None:
    async def to(_event: QueueMessage) -> None:
        """Nobody awaits it."""

    with pytest.raises(DefinitionError, match="coroutine"):
        flow(On.message(to))  # type: ignore[arg-type]  # wrong on purpose


def test_a_misspelt_trigger_list_is_found() -> None:
    known = vars(flow())
    body = {name: known[name] for name in ("start_at", "transitions")}
    with pytest.raises(DefinitionError, match="triggers"):
        type("Order", (Workflow,), {**body, "trigger": []}, key="orderid")


def test_triggers_are_described_for_people() -> None:
    """In JSON's own types, what is not said left out."""
    several = flow(
        On.s3(start, bucket="inbox", prefix="in/", suffix=".csv"),
        On.eventbridge(start, source=["shop", "web"], detail_type="Placed"),
        On.sns(start),
        On.message(start),
    )
    assert describe(several)["triggers"] == [
        {"on": "s3", "to": "start", "bucket": ["inbox"], "prefix": "in/", "suffix": ".csv"},
        {"on": "eventbridge", "to": "start", "source": ["shop", "web"], "detail_type": ["Placed"]},
        {"on": "sns", "to": "start"},
        {"on": "message", "to": "start"},
    ]


def start(event: Any) -> Start:
    """Start an instance of the event's id."""
    return Start(event.id)


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (s3("a.txt", bucket="other"), "S3 event 'ObjectCreated:Put', bucket 'other', key 'a.txt'"),
        (eventbridge("bank", "Paid"), "EventBridge event, source 'bank', detail type 'Paid'"),
        (sns("paid"), f"SNS message, topic '{TOPIC}'"),
        ({"a": 1}, "plain message"),
        ([1], "plain message"),
        ({**eventbridge(), "id": ""}, "plain message (an EventBridge event has id, too)"),
        ({"source": "shop", "detail-type": "x"}, "plain message (an EventBridge event has id, detail, too)"),
        ({**sns("paid"), "MessageId": None}, "plain message (an SNS message has MessageId, too)"),
        (
            {"Records": [{"eventSource": "aws:s3", "s3": {}}]},
            "plain message (each record of S3 has eventName, s3.bucket.name and s3.object.key)",
        ),
    ],
)
def test_what_no_trigger_takes_is_logged_with_what_it_was_read_as(
    message: Any, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    local = LocalRuntime(flow(On.s3(lambda event: None, bucket="inbox")))
    with caplog.at_level("INFO", "hephaestus.runtime.ingest"):
        done = local.ingest(message if isinstance(message, dict) else json.dumps(message))
    assert (done.matched, done.read_as) == (0, (said,))
    assert f"read as {said}; triggers: Order: On.s3(<lambda>, bucket='inbox')" in caplog.text
