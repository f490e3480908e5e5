"""Steps hand out links, and a link answers the step that it was made for: once, in time, in its generation."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hephaestus import DONE, Completed, InstanceClosed, Pending, Retry, Step, StepContext, Workflow, step
from hephaestus.adapters.memory import MemoryQueue, MemoryStore, MemoryTimers
from hephaestus.callbacks.link import Link
from hephaestus.callbacks.signer import Signer
from hephaestus.callbacks.signing_keys import FixedKeys
from hephaestus.errors import (
    BadCallback,
    CallerError,
    HephaestusError,
    InstanceNotFound,
    LinkExpired,
    LinkForeign,
    LinkOutdated,
    LinksAreOff,
    LinkUsed,
    StepMovedOn,
    UnexpectedEvent,
)
from hephaestus.runtime.registry import Registry
from hephaestus.runtime.runner import Runner
from hephaestus.steps import Wait, WaitForEvent
from hephaestus.testing import LocalRuntime, VirtualClock, links, signer


def deep(levels: int) -> Any:
    """A list in lists, ``levels`` of them."""
    return [] if levels == 1 else [deep(levels - 1)]


approval = WaitForEvent("approved", "rejected", name="approval", timeout=timedelta(days=2))


@step
def ask(ctx: StepContext) -> dict[str, str]:
    """Hand out what the approver gets."""
    return {"yes": ctx.callback_url("approved", payload={"by": "Ann"}), "no": ctx.callback_token("rejected")}


@step
def ship(ctx: StepContext) -> dict[str, Any]:
    """Say who decided."""
    return {"decided": dict(ctx.steps["approval"])}


class Order(Workflow, key="order"):
    """One question, two answers."""

    start_at = ask
    transitions = {
        ask: {"done": approval},
        approval: {"approved": ship, "rejected": DONE, "timeout": DONE},
        ship: {"done": DONE},
    }


def asked(local: LocalRuntime, value: str = "a") -> tuple[str, str]:
    """An order that waits: the links to approve and to reject it."""
    results = local.start(Order, value).steps["ask"].results
    return results["yes"], results["no"]


def history(local: LocalRuntime, instance_id: str = "order::a") -> list[dict[str, Any]]:
    """Everything that happened."""
    return [dict(event) for entry in local.runner.history(instance_id) for event in entry.events]


class TestAnswers:
    """What becomes of a link that is used."""

    def test_a_link_answers_its_step_with_the_results_that_it_carries(self) -> None:
        local = LocalRuntime(Order)
        yes, _ = asked(local)
        assert yes.startswith("https://local.test/callbacks/")
        order = local.follow(yes)
        assert (order.status, order.steps["ship"].results["decided"]) == ("completed", {"by": "Ann"})

    def test_history_says_that_a_link_was_used_and_which_but_never_its_token(self) -> None:
        local = LocalRuntime(Order)
        _, no = asked(local)
        link = signer().read(no, local.clock.now())
        local.follow(no, {"why": "too dear"})
        (received,) = [event for event in history(local) if event["type"] == "EventReceived"]
        assert (received["by"], received["event_id"]) == (f"callback {link.id}", f"callback {link.id}")
        assert received["payload"] == {"why": "too dear"}
        kept = [event for event in history(local) if event.get("step") != "ask"]
        assert no.split(".")[1] not in str(kept), "only the step that returned it has it in its results"

    def test_results_that_a_link_carries_are_nobodys_to_replace(self) -> None:
        local = LocalRuntime(Order)
        yes, _ = asked(local)
        assert local.follow(yes, {"by": "Eve"}).steps["ship"].results["decided"] == {"by": "Ann"}

    def test_an_answer_wakes_nobody_while_the_instance_is_paused(self) -> None:
        local = LocalRuntime(Order)
        _, no = asked(local)
        local.runner.pause("order::a", "night")
        local.settle()
        local.runner.answer(signer().read(no, local.clock.now()))
        assert local.queue.pop_due(local.clock.now()) == []

    def test_a_link_is_used_once(self) -> None:
        local = LocalRuntime(Order)
        yes, _ = asked(local)
        local.follow(yes)
        before = history(local)
        for _ in range(2):
            with pytest.raises(LinkUsed, match="order::a: this link has been used"):
                local.follow(yes)
        assert history(local) == before

    def test_a_link_is_used_as_soon_as_its_event_is_accepted(self) -> None:
        """While the instance is paused, or its step is still to come."""
        local = LocalRuntime(Order)
        yes, no = asked(local)
        local.runner.pause("order::a", "night")
        local.follow(yes)
        with pytest.raises(LinkUsed):
            local.follow(yes)
        with pytest.raises(StepMovedOn, match="has been given 'approved' already"):
            local.follow(no)
        local.runner.unpause("order::a")
        local.settle()
        assert local.runner.get("order::a").steps["approval"].event == "approved"

    def test_of_two_answers_one_is_taken(self) -> None:
        local = LocalRuntime(Order)
        yes, no = asked(local)
        local.follow(no)
        with pytest.raises(StepMovedOn, match="ended with 'rejected'"):
            local.follow(yes)

    def test_of_sixteen_answers_at_once_one_is_taken(self) -> None:
        """Half by one link, half by the other: judged on the state that the event is appended to."""
        local = LocalRuntime(Order)
        known = [local.runner.signer().read(link.rsplit("/", 1)[-1], local.clock.now()) for link in asked(local)]

        def answer(link: Link) -> str:
            try:
                local.runner.answer(link)
            except (LinkUsed, StepMovedOn) as refused:
                return type(refused).__name__
            return "taken"

        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(answer, known * 8))
        assert answers.count("taken") == 1
        assert sum(event["type"] == "EventReceived" for event in history(local)) == 1

    def test_a_link_comes_too_late_after_the_deadline(self) -> None:
        local = LocalRuntime(Order)
        yes, _ = asked(local)
        local.advance(timedelta(days=3))
        with pytest.raises(StepMovedOn, match="ended with 'timeout'"):
            local.follow(yes)

    def test_a_link_expires_in_a_week_unless_it_says_otherwise(self) -> None:
        local = LocalRuntime(Order)
        _, no = asked(local)
        expires = signer().read(no, local.clock.now()).expires_at
        assert datetime.fromtimestamp(expires, UTC) == datetime(2026, 1, 8, tzinfo=UTC)
        local.advance(timedelta(days=7))
        with pytest.raises(LinkExpired):
            local.follow(no)

    def test_an_instance_that_has_ended_takes_no_link(self) -> None:
        local = LocalRuntime(Order)
        yes, _ = asked(local)
        local.runner.cancel("order::a")
        with pytest.raises(InstanceClosed, match="order::a is cancelled"):
            local.follow(yes)

    def test_an_instance_that_is_gone_takes_no_link(self) -> None:
        yes, _ = asked(LocalRuntime(Order))
        with pytest.raises(InstanceNotFound):
            LocalRuntime(Order).follow(yes)

    def test_a_link_is_for_its_life(self) -> None:
        """The same id, started again, is another question; the new link is another link."""
        local = LocalRuntime(Order)
        yes, no = asked(local)
        local.follow(no)
        again, _ = asked(local)
        assert local.runner.get("order::a").generation == 2
        for old in (yes, no):
            with pytest.raises(LinkOutdated, match="started again"):
                local.follow(old)
        assert local.follow(again).status == "completed"

    def test_a_link_is_for_its_instance(self) -> None:
        local = LocalRuntime(Order)
        yes, _ = asked(local, "a")
        asked(local, "b")
        local.follow(yes)
        assert (local.runner.get("order::a").status, local.runner.get("order::b").status) == ("completed", "waiting")

    def test_a_link_lasts_over_a_redrive_that_waits_on(self) -> None:
        local = LocalRuntime(Order)
        yes, _ = asked(local)
        local.runner.cancel("order::a")
        local.runner.redrive("order::a")
        local.settle()
        assert local.follow(yes).status == "completed"

    def test_a_link_for_what_a_newer_version_does_not_know_is_refused(self) -> None:
        """As a signed link for another event would be."""
        local = LocalRuntime(Order)
        asked(local)
        state = local.store.load("order::a")
        assert state is not None
        with pytest.raises(UnexpectedEvent):
            local.runner.answer(Link("x", "order::a", state.life, "approval", "delayed", 9_999_999_999))

    def test_looking_changes_nothing(self) -> None:
        local = LocalRuntime(Order)
        yes, _ = asked(local)
        known, before = local.runner.signer().read(yes.rsplit("/", 1)[-1], local.clock.now()), history(local)
        assert [local.runner.look(known) for _ in range(3)] == ["Order"] * 3
        assert history(local) == before
        local.follow(yes)
        with pytest.raises(LinkUsed):
            local.runner.look(known)

    @pytest.mark.parametrize("error", [LinkExpired, LinkForeign, LinkOutdated, LinkUsed, StepMovedOn])
    def test_whoever_is_refused_is_told_as_a_caller(self, error: type[HephaestusError]) -> None:
        assert issubclass(error, CallerError)
        assert 400 <= error.status < 500


class TestWhichStep:
    """Which waiting step a link is for."""

    def test_a_step_that_runs_again_hands_out_the_same_links(self) -> None:
        """The mail was sent and the attempt failed: both mails hold one link, by its name."""
        names: list[str] = []

        @step(retry=Retry(max_attempts=2, delay=timedelta(minutes=1)))
        def remind(ctx: StepContext) -> str:
            tokens = [ctx.callback_token("approved", payload={"to": name}) for name in ("Ann", "Bob")]
            names.extend(signer().read(token, 0).id for token in tokens)
            if ctx.attempt == 1:
                raise TimeoutError
            return "done"

        class Reminding(Workflow, key="order"):
            start_at = remind
            transitions = {
                remind: {"done": approval},
                approval: {"approved": DONE, "rejected": DONE, "timeout": DONE},
            }

        local = LocalRuntime(Reminding)
        local.start(Reminding, "a")
        local.advance(timedelta(minutes=2))
        assert names[:2] == names[2:]
        assert len(set(names)) == 2, "what differs in what it says is another link"

    def test_a_step_that_waits_itself_hands_out_links_to_itself(self) -> None:
        class AskBank(Step):
            events = ("confirmed", "approved")

            def execute(self, instance: Any, config: Any, context: StepContext) -> Pending:
                sent.append(context.callback_token("approved"))
                return Pending()

        sent: list[str] = []

        class Asking(Workflow, key="order"):
            start_at = AskBank
            transitions = {
                AskBank: {"confirmed": approval, "approved": approval},
                approval: {"approved": DONE, "rejected": DONE, "timeout": DONE},
            }

        local = LocalRuntime(Asking)
        assert local.start(Asking, "a").status == "waiting"
        assert local.follow(sent[0], {"iban": "DE02"}).steps["ask_bank"].results == {"iban": "DE02"}

    def issuer(self, which: str) -> StepContext:
        """The context of a step in a workflow with several waits."""

        @step(events=("ok", "back"))
        def first(ctx: StepContext) -> str:
            return "ok"

        @step
        def beside(ctx: StepContext) -> str:
            return "done"

        legal, boss, final = (
            WaitForEvent("signed", "refused", name="legal"),
            WaitForEvent("agreed", "refused", name="boss"),
            WaitForEvent("signed", "sent", name="final"),
        )

        class Contract(Workflow, key="contract"):
            start_at = first
            transitions = {
                first: {"ok": [beside, legal, boss], "back": DONE},
                beside: {"done": final},
                legal: {"signed": final, "refused": final},
                boss: {"agreed": final, "refused": final},
                final: {"signed": DONE, "sent": DONE},
            }

        return StepContext(links=links(Contract, which))

    @pytest.mark.parametrize(
        ("which", "event", "target"),
        [
            ("first", "signed", "legal"),  # the next that waits for it, though another does later
            ("first", "sent", "final"),  # however far away
            ("beside", "signed", "final"),  # what follows comes before what is beside
            ("beside", "agreed", "boss"),  # the only one that waits for it, though it is beside
            ("first", "ok", "first"),  # its own
        ],
    )
    def test_the_step_that_is_meant_is_found(self, which: str, event: str, target: str) -> None:
        assert signer().read(self.issuer(which).callback_token(event), 0).step == target

    def test_links_for_two_steps_are_two_links(self) -> None:
        """Though they bring the same event."""
        context = self.issuer("first")
        tokens = [context.callback_token("signed", step=named) for named in ("legal", "final")]
        assert len({signer().read(token, 0).id for token in tokens}) == 2

    def test_a_step_can_be_named_by_key_or_by_itself(self) -> None:
        final = WaitForEvent("signed", name="final")
        for named in ("final", final):
            assert signer().read(self.issuer("first").callback_token("signed", step=named), 0).step == "final"

    @pytest.mark.parametrize(
        ("event", "named", "complaint"),
        [
            ("refused", None, "legal, boss take it: name one with step="),
            ("paid", None, "no waiting step takes it; the waiting steps and their events are legal: signed, refused;"),
            ("signed", "boss", "'boss' and event 'signed'"),
            ("signed", "nobody", "the waiting steps and their events are"),
        ],
    )
    def test_a_link_that_nobody_could_use_is_refused_and_what_could_be_is_told(
        self, event: str, named: str | None, complaint: str
    ) -> None:
        with pytest.raises(BadCallback, match=complaint):
            self.issuer("first").callback_url(event, step=named)

    @pytest.mark.parametrize(
        "lasts", [timedelta(0), timedelta(seconds=-1), timedelta(days=366, microseconds=1), timedelta.max]
    )
    def test_a_link_lasts_for_some_time_and_at_most_366_days(self, lasts: timedelta) -> None:
        with pytest.raises(BadCallback, match="at most 366 days"):
            self.issuer("first").callback_token("agreed", expires_in=lasts)
        token = self.issuer("first").callback_token("agreed", expires_in=timedelta(milliseconds=1))
        assert signer().read(token, VirtualClock().now()).expires_at * 1000 == VirtualClock().now() + 1000
        self.issuer("first").callback_token("agreed", expires_in=timedelta(days=366))

    @pytest.mark.parametrize("payload", [{"x": float("nan")}, object(), {1: 2}, "\ud800", {"x": "y" * 1_024}, deep(64)])
    def test_a_payload_that_a_link_cannot_carry_is_refused(self, payload: Any) -> None:
        with pytest.raises(BadCallback):
            self.issuer("first").callback_token("agreed", payload=payload)
        assert self.issuer("first").callback_token("agreed", payload=deep(63))

    def test_a_mistake_with_links_fails_the_step_at_once(self) -> None:
        """Trying again cannot fix it."""
        attempts = []

        @step
        def wrong(ctx: StepContext) -> dict[str, str]:
            attempts.append(ctx.attempt)
            return {"link": ctx.callback_url("aproved")}

        class Wrong(Workflow, key="order"):
            start_at = wrong
            transitions = {wrong: {"done": DONE}}

        order = LocalRuntime(Wrong).start(Wrong, "a")
        assert (order.status, attempts) == ("failed", [1])
        assert order.error is not None
        assert "no waiting step takes it; the waiting steps and their events are none" in order.error["message"]


class TestWithoutAKey:
    """Who uses no links needs no key, and who does is told what to configure."""

    def test_a_link_without_a_key_fails_the_step_and_says_what_to_configure(self) -> None:
        clock = VirtualClock()
        queue = MemoryQueue(clock)
        runner = Runner(MemoryStore(), MemoryTimers(), queue, Registry([Order]), clock=clock)
        local = LocalRuntime(Order)
        local.runner, local.queue, local.clock = runner, queue, clock
        order = local.start(Order, "a")
        assert order.status == "failed"
        assert order.error is not None
        assert order.error["type"] == "LinksAreOff"
        assert "CallbackKey=generate" in order.error["message"]
        assert "HEPHAESTUS_CALLBACK_KEY" in order.error["message"]

    def test_a_context_made_by_hand_says_how_to_give_it_links(self) -> None:
        with pytest.raises(LinksAreOff, match=r"hephaestus\.testing\.links"):
            StepContext().callback_url("approved")
        assert (
            StepContext(links=links(Order, "ask")).callback_url("approved").startswith("https://local.test/callbacks/")
        )

    def test_a_deployment_with_another_key_takes_no_link_of_ours(self) -> None:
        yes, _ = asked(LocalRuntime(Order))
        other = Signer(FixedKeys((b"x" * 32,)), "there", lambda: "https://there.test")
        with pytest.raises(LinkForeign):
            other.read(yes.rsplit("/", 1)[-1], 0)

    def test_nothing_of_links_is_imported_by_a_run_without_them(self) -> None:
        """The cold path pays nothing."""
        code = (
            "import sys\n"
            "from hephaestus import DONE, Workflow, step\n"
            "from hephaestus.testing import LocalRuntime\n"
            "@step\n"
            "def one(ctx): return 'done'\n"
            "class Flow(Workflow, key='k'):\n"
            "    start_at = one\n"
            "    transitions = {one: {'done': DONE}}\n"
            "assert LocalRuntime(Flow).start(Flow, 'a').status == 'completed'\n"
            "print([name for name in sys.modules if name.startswith('hephaestus.callbacks')])\n"
        )
        here = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=here)
        assert done.stdout.strip() == "[]"


def test_a_compensation_may_hand_out_links_too() -> None:
    """To whoever waits beside it; here nobody can any more, which is said."""

    def undo(ctx: StepContext) -> None:
        told.append(signer().read(ctx.callback_token("approved"), 0).step)

    told: list[str] = []

    @step(compensate=undo)
    def book(ctx: StepContext) -> Completed:
        return Completed("done")

    class Trip(Workflow, key="trip"):
        start_at = book
        transitions = {book: {"done": approval}, approval: {"approved": DONE, "rejected": DONE, "timeout": DONE}}

    local = LocalRuntime(Trip)
    local.start(Trip, "a")
    local.runner.cancel("trip::a", compensate=True)
    local.settle()
    assert (local.runner.get("trip::a").status, told) == ("cancelled", ["approval"])


def test_a_wait_for_a_time_can_be_ended_by_a_link() -> None:
    """``done`` of a ``Wait`` is an event like any other: who wants it ended early asks for it by name."""
    pause = Wait(hours=1, name="pause")

    @step
    def begin(ctx: StepContext) -> dict[str, str]:
        return {"skip": ctx.callback_token("done", step="pause")}

    class Pausing(Workflow, key="p"):
        start_at = begin
        transitions = {begin: {"done": pause}, pause: {"done": DONE}}

    local = LocalRuntime(Pausing)
    token = local.start(Pausing, "a").steps["begin"].results["skip"]
    assert local.follow(token).status == "completed"
