"""Lives of instances into which odd values come by every way there is.

After each call that was accepted, the instance can be read in every way, from its snapshot and from its log alike, and
goes on; after each that was rejected, it is as it was, and no id is taken.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from hephaestus import DONE, Completed, Retry, StepContext, Workflow, step
from hephaestus.definition.views import to_json_object, view_entry
from hephaestus.engine.codec import dump_events, dump_state, load_events, load_state
from hephaestus.engine.fold import begin, fold
from hephaestus.errors import CallerError
from hephaestus.steps import WaitForEvent
from hephaestus.testing import LocalRuntime
from hephaestus.values import freeze, to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hephaestus.engine.state import State
    from hephaestus.store.store import Store
    from tests.property.odd_values import Odds

plans: dict[str, dict[str, Any]] = {}
"""What the steps of an instance do, by the instance's id and the step's name: return it, or raise it."""


class OddError(Exception):
    """An error whose text is anything."""


def act(ctx: StepContext, name: str) -> Any:
    """Do what is planned."""
    planned = plans.get(ctx.instance_id, {}).get(name, "done")
    if isinstance(planned, BaseException):
        raise planned
    return planned


def undo(ctx: StepContext) -> Any:
    """Undo ``work``."""
    return act(ctx, "undo")


@step(compensate=undo, compensate_retry=Retry(max_attempts=1))
def work(ctx: StepContext) -> Any:
    """Leave a link, and give whatever is planned."""
    plans.setdefault(ctx.instance_id, {})["link"] = ctx.callback_token("more", step=later)
    return act(ctx, "work")


@step
def risky(ctx: StepContext) -> Any:
    """Fail in whatever way is planned; the failure is routed."""
    return act(ctx, "risky")


@step
def last(ctx: StepContext) -> Any:
    """Fail for good, if that is planned."""
    return act(ctx, "last")


gate = WaitForEvent("go", name="gate")
later = WaitForEvent("more", name="later")


class Life(Workflow, key="life"):
    """An event, a result, a routed error, an event that came early or by a link, and a failure with a compensation."""

    retry = Retry(max_attempts=1)
    start_at = gate
    transitions = {
        gate: {"go": work},
        work: {"done": risky},
        risky: {"done": later, "error": later},
        later: {"more": last},
        last: {"done": DONE},
    }


class Witness:
    """Makes calls on a runtime, and checks what each of them has come to."""

    def __init__(self, store: Store | None = None) -> None:
        self.local = LocalRuntime(Life, store=store)
        self.runner = self.local.runner
        self.accepted = self.rejected = 0
        self.checked: dict[tuple[str, int], int] = {}

    def call(self, instance_id: str, what: str, make: Callable[[], object]) -> bool:
        """Make a call that is about an instance; whether it was accepted. Only a ``CallerError`` may be raised."""
        before = self.load(instance_id)
        try:
            make()
        except CallerError as error:
            self.rejected += 1
            str(error).encode()
            assert self.load(instance_id) == before, f"{what} was rejected, and changed the instance"
            return False
        except BaseException as error:
            error.add_note(f"by {what} of {instance_id}")
            raise
        self.accepted += 1
        self.local.settle()
        try:
            self.check(instance_id)
        except BaseException as error:
            error.add_note(f"after {what} of {instance_id}")
            raise
        return True

    def load(self, instance_id: str) -> State | None:
        """The instance as the store has it."""
        return self.local.store.load(instance_id)

    def check(self, instance_id: str) -> None:
        """It can be read: from the snapshot and from the log, as views, and as an answer of the API."""
        state = self.load(instance_id)
        assert state is not None
        found = self.local.store.history(instance_id, state.generation, 0, 1_000)
        assert found is not None
        log = found[1]
        assert fold(begin(instance_id, state.generation, log[0], state.life), log[1:]) == state
        assert load_state(dump_state(state)) == state
        known = self.checked.get((instance_id, state.generation), 0)  # what is written never changes
        self.checked[instance_id, state.generation] = len(log)
        assert all(load_events(dump_events(entry.events)) == entry.events for entry in log[known:])
        views = (
            self.runner.get(instance_id),
            *(view_entry(entry, traces=True) for entry in log[known:]),
            *self.runner.history(instance_id, limit=1),
            *self.runner.list(workflow="Life"),
        )
        for shown in views:
            json.dumps(to_json_object(shown), ensure_ascii=False, allow_nan=False).encode()


def live(witness: Witness, odds: Odds, number: int) -> None:
    """One life: every way in, each with something odd."""
    ident = f"life::{number}"
    plan = plans[ident] = {}
    try:
        _start(witness, odds, ident)
        _early(witness, odds, ident)
        _event(witness, odds, ident, plan)
        _link(witness, odds, ident, plan)
        _fork(witness, odds, ident)
        _redrive(witness, odds, ident, plan)
    finally:
        plans.clear()


def _names(odds: Odds, *names: str) -> dict[str, Any]:
    """Odd texts for some of the arguments."""
    return {name: odds.text() for name in names if odds.random.random() < 0.4}


def _start(witness: Witness, odds: Odds, ident: str) -> None:
    context, metadata = odds.mapping(), odds.mapping() if odds.random.random() < 0.5 else None
    tags = [odds.text()] if odds.random.random() < 0.3 else []
    names = _names(odds, "start_id", "by")

    def start() -> None:
        witness.runner.start_instance(
            Life, context, id=ident.partition("::")[2], tags=tags, telemetry_metadata=metadata, **names
        )

    if witness.call(ident, "start", start):
        assert to_json(witness.runner.get(ident).context) == to_json(freeze(context))
    else:
        assert witness.load(ident) is None
        assert witness.call(ident, "plain start", lambda: witness.local.start(Life, ident.partition("::")[2], {}))


def _early(witness: Witness, odds: Odds, ident: str) -> None:
    payload, names = odds.value(), _names(odds, "event_id", "by")
    if odds.random.random() < 0.6:
        witness.call(ident, "early event", lambda: witness.runner.resume(ident, "more", payload, **names))
    reason, steered = odds.text(), _names(odds, "request_id", "by")
    if witness.call(ident, "pause", lambda: witness.runner.pause(ident, reason, **steered)):
        assert witness.call(ident, "unpause", lambda: witness.runner.unpause(ident))


def _event(witness: Witness, odds: Odds, ident: str, plan: dict[str, Any]) -> None:
    plan["work"], plan["risky"], plan["last"] = _result(odds), _error(odds), _error(odds)
    plan["undo"] = _result(odds) if odds.random.random() < 0.6 else _error(odds)
    payload, names = odds.value(), _names(odds, "event_id", "by")
    event = odds.text() if odds.random.random() < 0.1 else "go"
    if not witness.call(ident, "event", lambda: witness.runner.resume(ident, event, payload, **names)):
        assert witness.call(ident, "plain event", lambda: witness.runner.resume(ident, "go"))


def _result(odds: Odds) -> Any:
    """Something that a step returns: results, metadata, an event, or what is none of these."""
    shape = odds.random.randrange(6)
    if shape == 0:
        return odds.value()
    if shape == 1:
        return odds.mapping()
    if shape == 2:
        return Completed(odds.text())
    if shape == 3:
        return Completed("done", {"kept": 1}, odds.mapping())
    return Completed("done", odds.mapping())


def _error(odds: Odds) -> Any:
    kind: Any = OddError
    if odds.random.random() < 0.1:  # Python takes any text that UTF-8 can hold, but for NUL
        kind = type(odds.text().encode(errors="replace").decode().replace("\0", "") or "Odd", (OddError,), {})
    return kind(odds.text())


def _link(witness: Witness, odds: Odds, ident: str, plan: Mapping[str, Any]) -> None:
    state = witness.load(ident)
    assert state is not None
    if state.step_status("later") == "waiting":
        payload = odds.value()
        if not witness.call(ident, "link", lambda: witness.local.follow(plan["link"], payload)):
            assert witness.call(ident, "plain link", lambda: witness.local.follow(plan["link"]))


def _fork(witness: Witness, odds: Odds, ident: str) -> None:
    state = witness.load(ident)
    assert state is not None
    given: dict[str, Any] = _names(odds, "start_id", "by")
    if odds.random.random() < 0.7:
        given["context"] = odds.mapping()
    if state.step_status("gate") == "completed" and odds.random.random() < 0.7:
        given["results"] = {"gate": odds.mapping()}
    fork = f"{ident}-fork"
    if witness.call(fork, "fork", lambda: witness.runner.fork(ident, new_id=fork.partition("::")[2], **given)):
        reason, names = odds.text(), _names(odds, "request_id", "by")
        witness.call(fork, "cancel", lambda: witness.runner.cancel(fork, reason, **names))


def _redrive(witness: Witness, odds: Odds, ident: str, plan: dict[str, Any]) -> None:
    """The instance has failed, in most cases; what it does is plain from now on, and it goes on."""
    plan.clear()
    state = witness.load(ident)
    assert state is not None
    names = _names(odds, "request_id", "by")
    if state.status == "failed" and not witness.call(ident, "redrive", lambda: witness.runner.redrive(ident, **names)):
        assert witness.call(ident, "plain redrive", lambda: witness.runner.redrive(ident))
    witness.call(ident, "cancel", lambda: witness.runner.cancel(ident, odds.text()))
