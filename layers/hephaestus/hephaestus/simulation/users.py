"""The world outside: who starts an instance, sends it events and steers it, and asks again when a call fails."""

from __future__ import annotations

import traceback
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from hephaestus.callbacks.link import Link
from hephaestus.definition.maps import FAN
from hephaestus.engine.activation import parse, step_of
from hephaestus.engine.events import TimerSet
from hephaestus.engine.inbox import accepted_events, far_maps, items_open, takers
from hephaestus.engine.requests import repeats
from hephaestus.engine.state import is_paused_alone
from hephaestus.errors import CallerError, EngineError, RetryLater
from hephaestus.runtime.commands.set_limit import SetLimit, UnsetLimit
from hephaestus.runtime.dispatch import Budget, Enqueue, InPlace
from hephaestus.values import freeze

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from hephaestus.definition.workflow import Workflow
    from hephaestus.engine.graph import Graph
    from hephaestus.engine.state import State
    from hephaestus.runtime.commands.command import Command
    from hephaestus.runtime.dispatch import Dispatch
    from hephaestus.runtime.runner import Runner
    from hephaestus.simulation.checks import Generation
    from hephaestus.simulation.ledger import Ledger
    from hephaestus.simulation.subject import Subject
    from hephaestus.simulation.world import World
    from hephaestus.values.foreign import Model

API_MS: Final = 29_000
AGAIN_MS: Final = 20_000
PAUSES_MS: Final = (0, 0, 3, 40, 1_000, 30_000, 15 * 60_000)
LONG_MS: Final = (60_000, 15_000, 15 * 60_000, 4 * 3_600_000)  # that a workflow is paused
EXPIRY_MS: Final = 3 * 24 * 3600 * 1000
NUMBERS: Final = (0, 1, 1, 2, 3, None)
ACTS: Final = 8
A_LINE: Final = 3  # events
PARTS: Final = 4  # of so many acts one may be done to a part of a map
NOT_SENT: Final = ("timeout", "error", "exhausted")


class Outside:
    """Calls the runner as clients do, each call an invocation of its own."""

    def __init__(  # noqa: PLR0913 - whom they call, and what they may do
        self,
        world: World,
        ledger: Ledger,
        runner: Runner,
        subject: Subject,
        *,
        expiring: bool = False,
        pauses: bool = False,
        numbers: bool = False,
    ) -> None:
        self.world = world
        self.choices = world.choices
        self.ledger = ledger
        self.runner = runner
        self.subject = subject
        self._pauses = (*PAUSES_MS, EXPIRY_MS) if expiring else PAUSES_MS
        self._requests = 0
        self._starts = 0
        self._forks = 0
        self._sent: list[tuple[str, str, str, str | None, str | None]] = []
        self._beside = list(subject.beside)
        self._acts = self.choices.below(ACTS * (1 + len(self._beside)))
        self._steers = subject.steer and bool(world.weather.kinds)
        self._pauses_all = pauses and subject.steer
        self._sets_numbers = numbers and subject.steer
        ledger.standstills.began = self.paused

    def begin(self) -> None:
        """Start the instance, and plan the rest."""
        self.start()
        self._plan()

    def idle(self) -> bool:
        """Nothing happens by itself any more: do what somebody would, and say whether there was anything to do."""
        self.world.weather.stormy = False
        if not self.ledger.newest:
            self.start("s1")
            return True
        if self._takes_back():
            return True
        for known in self.ledger.newest.values():
            state = known.state
            if state.closed or state.part is not None:  # what is for a part of a map is asked of its owner
                continue
            if is_paused_alone(state):
                self.unpause(state)
                return True
            if self.send(state):
                return True
        if self._beside:
            self.start_another()
            return True
        return False

    def _takes_back(self) -> bool:
        """Have workflows and limits go on that operators have stopped; whether there was one."""
        if self.ledger.standstills.since:
            self.unpause_all(next(iter(self.ledger.standstills.since)))
        elif (stopped := self.ledger.numberings.stopped()) is not None:
            self.set_number(stopped, None)
        else:
            return False
        return True

    def act(self) -> None:
        """Do something that a client might."""
        states = [known.state for known in self.ledger.newest.values()]
        if not states:
            return
        whole = [state for state in states if state.part is None]
        if len(whole) < len(states) and self.choices.below(PARTS):
            states = whole
        state = states[self.choices.below(len(states))]
        acts = self._possible(state)
        acts[self.choices.below(len(acts))](state)

    def _possible(self, state: State) -> list[Callable[[State], object]]:
        """What may be done to an instance, or to one that is not there yet, the likeliest most often."""
        another: tuple[Callable[[State], object], ...] = (lambda _: self.start_another(),) * 4 if self._beside else ()
        name = state.workflow
        whole = (lambda _: self.pause_all(name), lambda _: self.unpause_all(name)) * 3 if self._pauses_all else ()
        numbers = (lambda _: self.set_any(),) * 6 if self._sets_numbers else ()
        return [*self._done_to(state), *another, *whole, *numbers]

    def _done_to(self, state: State) -> list[Callable[[State], object]]:
        if not self._steers:
            return [self.send]
        fork: tuple[Callable[[State], object], ...] = () if self._forks else (self.fork,)
        if not state.closed:
            steer = (self.pause, self.unpause, self.pause, self.unpause, self.cancel, self.redrive)
            others = (self.heartbeat, self.schedule, self.reuse, lambda _: self.start())
            return [*(self.send,) * 5, *steer, *others, *fork]
        again: tuple[Callable[[State], object], ...] = (self.redrive,) * 3 if state.status != "completed" else ()
        restart: tuple[Callable[[State], object], ...] = (lambda _: self.restart(),) if self._starts == 1 else ()
        over: tuple[Callable[[State], object], ...] = (self.start_over,) if state.attached else ()
        delete: tuple[Callable[[State], object], ...] = (self.delete,) if self.subject.fan != FAN else ()
        return [lambda _: None, *again, *restart, *fork, *over, *delete]

    # --- Calls ---

    def start(self, name: str = "") -> None:
        """Start an instance; under one name, it is one."""
        if not self._starts:
            self._starts = 1
        self._start(self.subject.workflow, self.subject.context, "x", name or f"s{self._starts}")

    def start_another(self) -> None:
        """Start an instance of another workflow."""
        workflow, context = self._beside.pop(self.choices.below(len(self._beside)))
        self._start(workflow, context, "z", f"z{len(self._beside)}")

    def _start(self, workflow: type[Workflow], context: Mapping[str, Any] | Model, value: str, start_id: str) -> None:
        def call() -> str:
            return self.runner.start_instance(
                workflow.name,
                context,
                id=value,
                start_id=start_id,
                tags=("simulated",),
                telemetry_metadata={"start": start_id},
                dispatch=self._dispatch(),
            )

        self._call(f"start {start_id}", call, lambda instance_id: self._began(instance_id, start_id))

    def restart(self) -> None:
        """Start the next generation."""
        self._starts = 2
        self.start("s2")

    def start_over(self, state: State) -> None:
        """Start an instance by hand under the id of a child."""
        name, where, initial = self._name("o"), self._dispatch(), dict(state.initial)

        def start() -> str:
            return self.runner.start_instance(
                state.workflow, initial, id=state.instance_id, start_id=name, dispatch=where
            )

        self._call(f"start {state.instance_id} by hand", start, lambda _: True)

    def fork(self, state: State) -> None:
        """Start another instance from a point in this one's history."""
        self._forks += 1
        request = self._name("f")
        at = 1 + self.choices.below(state.sequence)

        def call() -> str:
            return self.runner.fork(
                state.instance_id,
                at,
                generation=state.generation,
                new_id="y",
                start_id=request,
                dispatch=self._dispatch(),
            )

        self._call(f"fork at {at} as {request}", call, lambda instance_id: self._began(instance_id, request))

    def send(self, state: State) -> bool:
        """Send an event that is accepted now or soon; whether there is one."""
        graph = self.ledger.definition(state).graph
        lines = [step for step in takers(graph, state) if step in graph.rounds]
        lines = [step for step in lines if len(state.waiting_for(step)) < A_LINE]
        accepted = {**accepted_events(graph, state), **{step: graph.takes[step] for step in lines}}
        items = {line: graph.maps[step].events for step in graph.maps for line in self._items(graph, state, step)}
        accepted = {step: events for step, events in accepted.items() if step not in graph.maps} | items
        found = [(step, event) for step, events in accepted.items() for event in events if event not in NOT_SENT]
        found = found or [(step, event) for step, events in accepted.items() for event in events]
        if state.closed or state.cancel or state.compensation or not found:
            return False
        step, event = found[self.choices.below(len(found))]
        if step in items:
            self._send_item(state, step, event)
            return True
        linked = state.step_status(step) == "waiting" or (step in lines and step in state.steps)
        if linked and self.choices.below(3) == 1:
            self.follow(state, step, event)
            return True
        named = None if self.world.weather.stormy and self.choices.below(3) == 1 else step
        request = self._name("e")
        self._sent.append((state.instance_id, event, request, named, None))
        self._resume(self._sent[-1], self.subject.payloads.get(event), again=True)
        return True

    def _send_item(self, state: State, line: str, event: str) -> None:
        """Send an event to an item, or use its link; of one in a tree, people know the instance that has the map."""
        step, key, owner = step_of(line), parse(line).item, state.public_id
        if state.waits(line) and self.choices.below(3) == 1:
            life = state.life if state.part is None else state.part.life
            link = Link(f"{line} {event}", owner, life, step, event, 0, line)
            self._follow(link, f"follow the link to {event} of {line}")
            return
        self._sent.append((owner, event, self._name("e"), step, key))
        self._resume(self._sent[-1], self.subject.payloads.get(event), again=True)

    def _items(self, graph: Graph, state: State, step: str) -> Iterator[str]:
        """The items of a map that may be sent an event, also of those that other instances run."""
        yield from _items(graph, state, step)
        if step in far_maps(graph, state):
            known = self.ledger.generations[state.instance_id, state.life]
            for leaf in self.ledger.trees.leaves_of(known, step):
                if not (leaf.state.closed or leaf.state.cancel or leaf.state.compensation):
                    yield from _items(leaf.graph, leaf.state, step)

    def reuse(self, _state: State) -> None:
        """Send another event under an id that has been used, or the same again: never is it dropped."""
        if not self._sent:
            return
        sent = self._sent[self.choices.below(len(self._sent))]
        other = {"reused": self._name("p")} if self.choices.below(2) else self.subject.payloads.get(sent[1])
        self._resume(sent, freeze(other), again=False)

    def _resume(self, sent: tuple[str, str, str, str | None, str | None], payload: object, *, again: bool) -> None:
        """Send an event. What is acknowledged is in force; a redrive in the meantime may have set it back."""
        instance_id, event, request, named, item = sent
        redrives = [0]

        def count() -> int:
            return sum(known.redrives for known in self.ledger.generations.values())

        def call() -> None:
            redrives[0] = count()
            where = {"step": named, "item": item}
            self.runner.resume(instance_id, event, payload, **where, event_id=request, dispatch=self._dispatch())

        def heard(_: object) -> bool:
            return self._received(request, payload, ever=count() != redrives[0])

        whom = f"{named or 'whom it may concern'}{'' if item is None else f', item {item},'}"
        self._call(f"send {event} to {whom} as {request}", call, heard, again=again)

    def follow(self, state: State, step: str, event: str) -> None:
        """Use the link to an event of a step; each round of a generation has one to each, and it works once."""
        only = state.activation(step) if step in self.ledger.definition(state).graph.rounds else ""
        if only and (made := parse(only)).round > 1 and self.choices.below(2):
            only = replace(made, round=made.round - 1).text  # it is over, and its link does nothing
        link = Link(f"{only or step} {event}", state.instance_id, state.life, step, event, 0, only)
        self._follow(link, f"follow the link to {event} of {step}")

    def _follow(self, link: Link, what: str) -> None:
        def call() -> None:
            self.runner.answer(link, self.subject.payloads.get(link.event), dispatch=self._dispatch())

        self._call(what, call, lambda _: self._received(link.event_id))

    def cancel(self, state: State) -> None:
        """Cancel, with or without compensation."""
        compensate = bool(self.choices.below(2))
        self._steer(state, "cancel", lambda **by: self.runner.cancel(state.instance_id, compensate=compensate, **by))

    def pause(self, state: State) -> None:
        """Pause."""
        runner = self.runner
        self._steer(state, "pause", lambda request_id, **_: runner.pause(state.instance_id, request_id=request_id))

    def unpause(self, state: State) -> None:
        """Unpause."""
        self._steer(state, "unpause", lambda **by: self.runner.unpause(state.instance_id, **by))

    def pause_all(self, workflow: str) -> None:
        """Pause a workflow."""
        self._call(
            f"pause all of {workflow}", lambda: self.runner.pause_workflow(workflow), lambda _: True, again=False
        )

    def paused(self, workflow: str) -> None:
        """Unpause, some time later, a workflow that was paused: what waits for it is looked at for ever."""
        self.world.at(self.world.now + LONG_MS[self.choices.below(len(LONG_MS))], lambda: self.unpause_all(workflow))

    def unpause_all(self, workflow: str) -> None:
        """Unpause a workflow."""
        self._call(f"unpause all of {workflow}", lambda: self.runner.unpause_workflow(workflow), lambda _: True)

    def set_any(self) -> None:
        """Set the number of some limit that was used, or take it back."""
        limits = sorted(self.ledger.turnstiles.numbers)
        if limits:
            limit = limits[self.choices.below(len(limits))]
            self.set_number(limit, NUMBERS[self.choices.below(len(NUMBERS))])

    def set_number(self, limit: str, number: int | None) -> None:
        """Set the number of a limit, or take it back: once that is acknowledged, it is so, or another has set it."""
        asked = self.ledger.numberings.asked[limit]
        command: Command = UnsetLimit(limit=limit) if number is None else SetLimit(limit=limit, number=number)

        def call() -> None:
            asked.add(number)
            self.runner.do(command)

        self._call(f"set {limit} to {number}", call, lambda _: True)

    def redrive(self, state: State) -> None:
        """Redrive."""
        self._steer(state, "redrive", lambda **by: self.runner.redrive(state.instance_id, **by))

    def delete(self, state: State) -> None:
        """Delete an instance that has ended, with all of its tree."""
        of_tree: list[Generation] = []

        def call() -> None:
            every = self.ledger.generations.items()
            known = [it for (name, _), it in every if state.instance_id in {name, _root_of(it.state)}]
            of_tree[:] = [it for it in known if it.state.closed]
            self.runner.delete(state.instance_id)

        def is_gone(_: object) -> bool:  # of what cannot be read, the children are not known
            return bool(self.ledger.unreadable) or all(it.gone for it in of_tree)

        self._call(f"delete {state.instance_id}", call, is_gone)

    def heartbeat(self, state: State) -> None:
        """Send a heartbeat."""
        items = [one for one in state.timers if "[" in one and any(timer.heartbeat_ms for timer in state.timers[one])]
        named = parse(items[self.choices.below(len(items))]) if items else None
        step, key = (None, None) if named is None else (named.step, named.item)
        beat = partial(self.runner.heartbeat, state.instance_id, step, item=key)
        self._call("heartbeat", beat, lambda _: True, again=False)

    def schedule(self, state: State) -> None:
        """Ask for a timeout."""
        graph = self.ledger.definition(state).graph
        timed = [step for step in graph.rounds if "timeout" in graph.edges[step]]
        waits = sorted({*graph.waits, *timed}) or list(graph.order)
        items = [line for step in graph.maps for line in _items(graph, state, step)]
        step = (waits + items)[self.choices.below(len(waits + items))]
        delay = 1 + self.choices.below(3_600_000)
        request = self._name("d")
        names: set[object] = set()

        def one(name: object) -> bool:
            names.add(name)
            return len(names) == 1 and any(
                (TimerSet, request) in it.requests for it in self.ledger.generations.values()
            )

        self._call(
            f"schedule_resume {step} as {request}",
            lambda: self.runner.schedule_resume(
                state.instance_id,
                step_of(step) if step in items else step,
                delay,
                item=parse(step).item if step in items else None,
                request_id=request,
            ),
            one,
        )

    # --- How ---

    def _plan(self) -> None:
        if self._acts > 0:
            self._acts -= 1
            pause = self._pauses[self.choices.below(len(self._pauses))]
            self.world.at(self.world.now + pause, self._turn)

    def _turn(self) -> None:
        self.act()
        self._plan()

    def _name(self, prefix: str) -> str:
        self._requests += 1
        return f"{prefix}{self._requests}"

    def _dispatch(self) -> Dispatch:
        where = self.choices.below(3)
        if not where:
            return Enqueue()
        now = self.runner.clock.now()
        return InPlace(Budget(now + API_MS, start_until=now + 10_000 if where == 1 else None))

    def _began(self, instance_id: object, start_id: str) -> bool:
        found = [known for (one, _), known in self.ledger.generations.items() if one == instance_id]
        return any(known.state.start_id == start_id for known in found)

    def _steer(self, state: State, action: str, call: Callable[..., object]) -> None:
        request = self._name("r")

        def heard(_: object) -> bool:
            return any(repeats(known.state, action, request, "") for known in self.ledger.generations.values())

        self._call(
            f"{action} {state.instance_id} as {request}",
            lambda: call(request_id=request, dispatch=self._dispatch()),
            heard,
        )

    def _received(self, event_id: str, payload: object = None, *, ever: bool = True) -> bool:
        """Whether an event is in a log, with this very payload if one is given, and is in force unless ``ever``."""
        every = self.ledger.generations.values()
        found = [known.events.get(event_id) if ever else known.in_force(event_id) for known in every]
        return any(event is not None and (payload is None or event.payload == payload) for event in found)

    def _call(
        self, what: str, call: Callable[[], object], known: Callable[[object], bool], *, again: bool = True
    ) -> None:
        """One call from outside; if it fails or dies, it is made again later, and an answer must be true."""
        world = self.world

        def work() -> bool:
            world.note(what)
            answer = attempt(world, call)
            if answer is FAILED or answer is REFUSED:
                return answer is REFUSED
            if not known(answer):
                world.violate("invariant 5", f"{what} was acknowledged, but nothing of it is in the log")
            if again and world.weather.stormy and not self.choices.below(4):  # whoever lost the answer asks again
                world.at(world.now + self.choices.below(AGAIN_MS), lambda: self._call(what, call, known, again=False))
            return True

        def ended(succeeded: bool) -> None:  # noqa: FBT001 - what invocations tell
            if not succeeded and again:
                world.at(world.now + AGAIN_MS, lambda: self._call(what, call, known))

        world.invoke("api", work, ended, API_MS)


def _root_of(state: State) -> str:
    """The root of the tree that an instance goes with."""
    return state.origin.root if state.origin is not None and state.attached else state.instance_id


def _items(graph: Graph, state: State, step: str) -> Iterator[str]:
    """The items of a map that may be sent an event, where the instance has them itself."""
    known = state.steps.get(step)
    if known is not None and known.mapped is not None and not known.mapped.in_parts:
        yield from items_open(graph, state, step)


FAILED: Final = object()
REFUSED: Final = object()


def attempt(world: World, call: Callable[[], object]) -> object:
    """What a call to the engine gives; ``FAILED`` or ``REFUSED`` if it does not."""
    try:
        return call()
    except CallerError as error:
        world.note(f"refused: {type(error).__name__}")
        return REFUSED
    except RetryLater as error:
        world.note(f"failed: {error}")
    except EngineError as error:
        world.note(f"failed: {type(error).__name__}: {error}")
    except Exception:  # noqa: BLE001 - whatever it is, it is a defect
        world.violate("the engine's own rules", f"the engine raised\n{traceback.format_exc()}")
    return FAILED
