"""Forks instances: a new one begins at a point in another one's history."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from hephaestus.caller import read_caller
from hephaestus.definition.business_key import check_id
from hephaestus.definition.definition import FORKS
from hephaestus.definition.durations import shown
from hephaestus.definition.references import step_key
from hephaestus.definition.steps import DONE
from hephaestus.engine.events import (
    Forked,
    InstanceStarted,
    Replacement,
    StepCompleted,
)
from hephaestus.engine.fold import begin, fold
from hephaestus.errors import BadRequest, CallerError, ForkNotAllowed, UnknownStep
from hephaestus.runtime.instances import Instances
from hephaestus.runtime.intake import (
    MAX_NUMBER,
    check_input,
    check_number,
    check_text,
    digest,
    read_context,
    read_value,
    request_digest,
)
from hephaestus.runtime.sizes import check_size
from hephaestus.values import FrozenDict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hephaestus.caller import Caller
    from hephaestus.definition.definition import Definition
    from hephaestus.definition.workflow import Workflow
    from hephaestus.engine.state import State
    from hephaestus.foreign import Model
    from hephaestus.runtime.dispatch import Dispatch

HISTORY_PAGE: Final = 200


class Forks(Instances):
    """Starts instances from others' histories."""

    def fork(  # noqa: PLR0913 - a start, and where it begins
        self,
        instance_id: str,
        at: int | None = None,
        *,
        new_id: str,
        generation: int | None = None,
        context: Mapping[str, Any] | Model | None = None,
        results: Mapping[Any, Mapping[str, Any] | Model] | None = None,
        version: int | None = None,
        start_id: str | None = None,
        by: Caller | str | None = None,
        dispatch: Dispatch | None = None,
    ) -> str:
        """Start a new instance from a point in another one's history.

        It takes over every step that had completed or was skipped by then. What waited, ran, failed or was compensated
        runs anew, and events that were kept for later steps are not taken over: send them again.

        Args:
            instance_id: the instance to fork; it is left as it is.
            at: the number of the log entry after which the fork begins; by default the newest.
            new_id: the business key's value of the new instance.
            generation: which of the old instance's generations; by default the newest.
            context: other start data than the old instance's.
            results: other results of steps that had completed by then, by step: its key, the step or its class.
            version: another version than the old instance's.
            start_id: a name for this very fork; made twice, it is one.
            by: who asks for it; a text of up to 256 characters is a claim. Kept in the new instance's history.
            dispatch: run in place or leave it to the queue.

        Returns:
            The new instance's id.

        Raises:
            InstanceNotFound: there is no such instance or generation.
            BadRequest: its history has no such entry, a step in ``results`` had not completed, or the other version
                lacks a step that is taken over, or leads from one of them to other steps.
            UnknownStep: ``results`` names a step that the workflow has not.
            ForkNotAllowed: the workflow's ``forks=`` allows no fork, or none that replaces start data or results.
            AlreadyRunning: an instance with the new id is active.
            RequestIdReused: another fork to the new id had this ``start_id``.
            InvalidInput, UnknownVersion, PayloadTooLarge: as for a start.
        """
        instance_id, who = check_id(instance_id), read_caller(by)
        if at is not None and (isinstance(at, bool) or not isinstance(at, int) or not 1 <= at <= MAX_NUMBER):
            message = f"instance {instance_id}: its history has no entry {shown(at)}; entries count from 1"
            raise BadRequest(message)
        if generation is not None:
            generation = check_number("generation", generation)
        other = None if context is None else read_context(context)
        others = self._results({} if results is None else results)
        source = self._at(instance_id, generation, at)
        flow = self.registry.get(source.workflow)
        if version is not None and type(version) is not int:
            version = flow.definition(version).version
        asked = ""
        if start_id is not None:
            start_id = check_text("start_id", start_id)
            asked = request_digest(instance_id, at, generation, other, others, version)
        suffix = digest(start_id)[:20] if start_id else self.clock.unique()
        chosen = source.version if version is None else version
        fork_id = flow.business_key.instance_id(new_id, chosen, suffix)
        initial = source.initial if other is None else other
        try:
            definition = flow.definition(chosen)
            replaced = ["start data"] if other is not None else []
            replaced += [f"results of {step}" for step in others]
            _check_allowed(flow, definition, source, replaced)
            check_input(context, definition, initial)
            check_size(initial, self.store.max_value_bytes, "the context")
            forked = _fork(source, definition, others, by=who, replaced=other is not None)
        except CallerError:
            if self._is_repeat(fork_id, Forked, start_id, asked):
                return fork_id
            raise
        name = start_id or self.clock.unique()
        started = InstanceStarted(flow.name, definition.version, initial, source.tags, source.metadata, name)
        self._create(fork_id, definition, (started, forked), asked, dispatch or self.dispatch)
        return fork_id

    def _results(self, results: Mapping[Any, Mapping[str, Any] | Model]) -> Mapping[str, FrozenDict]:
        if not isinstance(results, Mapping):
            message = f"results is a {type(results).__name__}: it must be a mapping (a JSON object) of results by step"
            raise BadRequest(message)
        frozen: dict[str, FrozenDict] = {}
        for named, given in results.items():
            step = check_text("a step in results", step_key(named))
            if step in frozen:
                message = f"results names the step {step!r} twice: give its results once"
                raise BadRequest(message)
            kept = read_value(given, f"results.{step}")
            if not isinstance(kept, FrozenDict):
                message = f"the results of step {step!r} must be a mapping (a JSON object)"
                raise BadRequest(message)
            frozen[step] = kept
            check_size(frozen[step], self.store.max_value_bytes, f"the results of step {step}")
        return frozen

    def _at(self, instance_id: str, generation: int | None, at: int | None) -> State:
        """The instance as it was after log entry ``at``, folded from its history."""
        state: State | None = None
        while at is None or state is None or state.sequence < at:
            after = state.sequence if state else 0
            limit = HISTORY_PAGE if at is None else min(HISTORY_PAGE, at - after)
            number, entries = self._history(instance_id, generation, after, limit)
            if not entries:
                break
            state = fold(state, entries) if state else fold(begin(instance_id, number, entries[0]), entries[1:])
        if state is None or (at is not None and state.sequence < at):
            last = state.sequence if state else 0
            message = f"instance {instance_id}: its history has no entry {at}; the last is {last}"
            raise BadRequest(message)
        return state


def _check_allowed(flow: type[Workflow], definition: Definition, source: State, replaced: Sequence[str]) -> None:
    """Refuse a fork that the workflow does not allow: neither the version it comes from nor the one it goes to.

    Raises:
        ForkNotAllowed: saying what the declaration allows.
    """
    declared = [definition.forks]
    if source.version in flow.definitions:
        declared.append(flow.definition(source.version).forks)
    rule = max(declared, key=FORKS.index)
    if rule == "none":
        message = (
            f"instance {source.instance_id} cannot be forked: {flow.name} is declared with forks='none'; "
            "start a new instance instead"
        )
        raise ForkNotAllowed(message)
    if rule == "unchanged" and replaced:
        message = (
            f"instance {source.instance_id} cannot be forked with other {', '.join(replaced[:10])}: {flow.name} is "
            "declared with forks='unchanged'; fork it from an earlier entry, so that its steps run again"
        )
        raise ForkNotAllowed(message)


def _fork(
    source: State, definition: Definition, results: Mapping[str, FrozenDict], *, by: Caller, replaced: bool
) -> Forked:
    """What a fork takes over: every step that was decided, and whose predecessors were.

    What ``by`` gives instead of what the source had is marked; ``replaced`` says that the start data are among it.
    """
    graph = definition.graph
    taken: dict[str, str] = {}
    for step in graph.order:
        if step == graph.start or all(one in taken for one in graph.predecessors[step]):
            status = source.step_status(step)
            if status in ("completed", "skipped"):
                taken[step] = status
    strange = [step for step in results if step not in graph.edges]
    if strange:
        named = ", ".join(map(repr, strange[:10]))
        version = f"version {definition.version} of {definition.name}"
        message = f"results: {version} has no step {named}; it has {', '.join(graph.order)}"
        raise UnknownStep(message)
    missing = [step for step in results if taken.get(step) != "completed"]
    if missing:
        done = ", ".join(step for step, status in taken.items() if status == "completed") or "none"
        message = (
            f"instance {source.instance_id}: {', '.join(missing[:10])} had not completed then; completed were {done}"
        )
        raise BadRequest(message)
    given = Replacement(by.name, f"{source.instance_id}#{source.generation}#{source.sequence}", by.source)
    completed = [
        StepCompleted(
            key,
            known.event or "",
            known.taken,
            results.get(key, known.updates),
            started_at=known.started_at,
            attempt=known.attempt,
            failed=known.failed,
            replaced=given if key in results else known.replaced,
            configs=known.configs,
            ended_at=known.ended_at or 0,
        )
        for key, known in source.steps.items()
        if taken.get(key) == "completed"
    ]
    _check_fits(definition, completed, taken)
    return Forked(
        source.instance_id,
        source.generation,
        source.sequence,
        tuple(completed),
        tuple(step for step, status in taken.items() if status == "skipped"),
        by.name,
        by.source,
        given if replaced else source.initial_replaced,
    )


def _check_fits(definition: Definition, completed: Sequence[StepCompleted], taken: Mapping[str, str]) -> None:
    """Reject a fork whose version would not have gone the way that the steps it takes over went.

    It would never run a step that it has on another way, such as one that it has new between two of them.

    Raises:
        BadRequest: naming each step whose transitions differ.
    """
    edges, live = definition.graph.edges, {target for done in completed for target in done.taken}
    version = f"version {definition.version} of {definition.name}"
    unknown = [f"{done.step}: {done.event}" for done in completed if done.event not in edges[done.step]]
    unknown += dict.fromkeys(target for done in completed for target in done.taken if target not in edges)
    if unknown:
        message = f"{version} has no {', '.join(unknown[:10])}: fork from an earlier entry, or on the old version"
        raise BadRequest(message)
    changed = [_other_way(definition, done) for done in completed if not _leads_there(definition, done)]
    changed += [
        f"{step} was {status}, and {'begins it' if step == definition.graph.start else 'nothing leads to it'} there"
        for step, status in taken.items()
        if (status == "completed") is not (step == definition.graph.start or step in live)
    ]
    if changed:
        message = (
            f"{version} goes another way than the steps that the fork takes over: {'; '.join(changed[:10])}; "
            "fork from an earlier entry, or on the old version"
        )
        raise BadRequest(message)


def _leads_there(definition: Definition, done: StepCompleted) -> bool:
    """Whether the event of a step may lead exactly to the steps that it led to."""
    route = definition.routes[done.step][done.event]
    if route.choice is None:
        return set(done.taken) == set(route.targets)
    return set(done.taken) <= set(route.targets)


def _other_way(definition: Definition, done: StepCompleted) -> str:
    route = definition.routes[done.step][done.event]
    was, now = (", ".join(steps) or DONE.key for steps in (done.taken, route.targets))
    return f"{done.step}: {done.event} led to {was}, and leads to {'a choice of ' if route.choice else ''}{now} there"
