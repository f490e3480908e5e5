"""Forks instances: a new one begins at a point in another one's history."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from hephaestus import errors
from hephaestus.definition.definition import FORKS
from hephaestus.definition.step import DONE
from hephaestus.engine.activation import step_of
from hephaestus.engine.events import Forked, InstanceStarted, ItemCompleted, Replacement, StepCompleted
from hephaestus.engine.fold import begin, fold
from hephaestus.engine.map_items import mapped_of
from hephaestus.engine.nodes import tree_of
from hephaestus.engine.records import COMPLETED, NOT_UNDONE, NOTHING, UNDONE
from hephaestus.engine.state import evolve
from hephaestus.runtime.commands import members
from hephaestus.runtime.commands.command import Command, check_root
from hephaestus.runtime.intake import check_input, digest
from hephaestus.runtime.items_left import items_left
from hephaestus.runtime.sizes import check_size
from hephaestus.values import FrozenDict, FrozenList

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hephaestus.definition.definition import Definition
    from hephaestus.definition.workflow import Workflow
    from hephaestus.engine.state import State, StepState
    from hephaestus.runtime.caller import Caller
    from hephaestus.runtime.dispatch import Dispatch
    from hephaestus.runtime.instances import Instances

HISTORY_PAGE: Final = 200


class Fork(Command):
    """Start an instance from a point of another."""

    action = "fork"
    operation = "forkInstance"
    route = "/instances/<instance_id>/fork"
    raises = (
        errors.ForkNotAllowed,
        errors.NotRoot,
        errors.InstanceNotFound,
        errors.AlreadyRunning,
        errors.UnknownWorkflow,
        errors.UnknownVersion,
        errors.InvalidInput,
        errors.PayloadTooLarge,
        errors.RequestIdReused,
    )
    named_by = "start_id"

    instance_id: members.Text = members.instance_id()
    new_id: members.Text = members.required(
        members.KEY, "The value of the workflow's business key. A whole id of that key is taken, too."
    )
    at: members.MaybeNumber = members.member(
        members.NUMBER, "The number of a log entry; without it, the newest.", default=None
    )
    generation: members.MaybeNumber = members.member(members.NUMBER, "An earlier run of it.", default=None)
    context: members.MaybeData = members.member(
        members.DATA, "The start data: any JSON object that fits the workflow's `Input`.", default=None
    )
    results: members.Results = members.member(
        members.RESULTS, "Other results for steps that had completed, by step.", default=None, kept=FrozenDict()
    )
    version: members.MaybeNumber = members.member(members.NUMBER, "Another version than its own.", default=None)
    start_id: members.MaybeText = members.request_id(default=None)
    by: members.By = members.caller(default=None)

    def perform(self, instances: Instances, going: Dispatch) -> str:
        """Start it and return its id; see ``Runner.fork``."""
        limit = instances.store.max_value_bytes
        for step, given in self.results.items():
            check_size(given, limit, f"the results of step {step}")
        source = _at(instances, self.instance_id, self.generation, self.at)
        check_root(source, self.by, instances.store)
        flow = instances.registry.get(source.workflow)
        asked = self.digest(self.instance_id, self.at, self.generation, self.context, self.results, self.version)
        suffix = digest(self.start_id)[:20] if self.start_id else instances.clock.unique()
        chosen = source.version if self.version is None else self.version
        made = flow.business_key.instance_id(self.new_id, chosen, suffix)
        initial = source.initial if self.context is None else self.context
        try:
            definition = flow.definition(chosen)
            replaced = ["start data"] if self.context is not None else []
            replaced += [f"results of {step}" for step in self.results]
            _check_allowed(flow, definition, source, replaced)
            check_input(self.given("context"), definition, initial)
            check_size(initial, limit, "the context")
            source = _with_items(instances, source)
            forked = _fork(source, definition, self.results, by=self.by, replaced=self.context is not None)
        except errors.CallerError:
            if instances.is_repeat(made, Forked, self.start_id, asked):
                return made
            raise
        name = self.start_id or instances.clock.unique()
        known = (flow.name, definition.version, initial, source.tags, source.metadata, name)
        started = InstanceStarted(*known, graph=definition.graph.fingerprint, timeout_ms=definition.timeout_ms)
        instances.create(made, definition, (started, forked), asked, going)
        return made


def _at(instances: Instances, instance_id: str, generation: int | None, at: int | None) -> State:
    """The instance as it was after log entry ``at``, folded from its history."""
    if at is None and generation is None:
        return instances.load(instance_id)
    state: State | None = None
    while at is None or state is None or state.sequence < at:
        after = state.sequence if state else 0
        limit = HISTORY_PAGE if at is None else min(HISTORY_PAGE, at - after)
        number, entries = instances.history(instance_id, generation, after, limit)
        if not entries:
            break
        if state is None:
            if not (life := instances.store.life(instance_id, number)):
                break  # it was deleted meanwhile
            state, entries = begin(instance_id, number, entries[0], life), entries[1:]
        if entries and entries[0].sequence != state.sequence + 1:
            lost = f"{state.sequence + 1} to {entries[0].sequence - 1}"
            message = f"instance {instance_id}: the entries {lost} of its log have expired; fork it at its newest"
            raise errors.BadRequest(message)
        state = fold(state, entries)
    if state is None:
        instances.load(instance_id)
    if state is None or (at is not None and state.sequence < at):
        last = state.sequence if state else 0
        message = f"instance {instance_id}: its history has no entry {at}; the last is {last}"
        raise errors.BadRequest(message)
    return state


def _with_items(instances: Instances, source: State) -> State:
    """The instance with what the items of its completed maps left: it stands in its log, which the fork does not have.

    What those left that other instances ran stays with these: the fork knows where.

    Raises:
        BadRequest: an entry of the log has expired.
    """
    maps = [key for key, known in source.steps.items() if known.status == "completed" and known.mapped is not None]
    steps = dict(source.steps)
    for key in maps:
        if (mapped := mapped_of(source, key)).in_parts:
            steps[key] = replace(steps[key], mapped=replace(mapped, tree=tree_of(source, key)))
        elif mapped.child:  # the instances stay its source's, as the children of steps do
            try:
                outputs = FrozenList(items_left(instances.store.reader, source, key))
            except errors.NoResults as error:
                raise errors.BadRequest(str(error)) from error
            own = replace(mapped, left=outputs, child="", entries=(0,) * len(mapped.ends))
            steps[key] = replace(steps[key], mapped=own)
    maps = [key for key in maps if not mapped_of(source, key).child]
    maps = [key for key in maps if mapped_of(source, key).left is None and not mapped_of(source, key).in_parts]
    left: dict[str, FrozenDict] = {}
    after = 0 if maps else source.sequence
    while after < source.sequence:
        _, page = instances.history(source.instance_id, source.generation, after, HISTORY_PAGE)
        for event in (event for entry in page for event in entry.events if isinstance(event, ItemCompleted)):
            left[event.activation] = FrozenDict(event.results)
        after = page[-1].sequence if page else source.sequence
    for key in maps:
        mapped, limit = mapped_of(source, key), instances.store.max_value_bytes
        results = [
            left.get(source.item(key, mapped.key(at))) if end == COMPLETED else None
            for at, end in enumerate(mapped.ends)
        ]
        if any(one is None and end == COMPLETED for one, end in zip(results, mapped.ends, strict=True)):
            message = f"instance {source.instance_id}: what the items of {key} left has expired with its log"
            raise errors.BadRequest(message)
        kept = FrozenList(results)
        check_size(kept, limit, f"what the items of {key} left")
        steps[key] = replace(steps[key], mapped=replace(mapped, left=kept))
    return evolve(source, steps=steps)


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
        raise errors.ForkNotAllowed(message)
    if rule == "unchanged" and replaced:
        message = (
            f"instance {source.instance_id} cannot be forked with other {', '.join(replaced[:10])}: {flow.name} is "
            "declared with forks='unchanged'; fork it from an earlier entry, so that its steps run again"
        )
        raise errors.ForkNotAllowed(message)


def _fork(
    source: State, definition: Definition, results: Mapping[str, FrozenDict], *, by: Caller, replaced: bool
) -> Forked:
    """What a fork takes over: every step that was decided, and whose predecessors were; see ``_is_whole``.

    What ``by`` gives instead of what the source had is marked; ``replaced`` says that the start data are among it.
    """
    graph = definition.graph
    taken: dict[str, str] = {}
    for step in graph.order:
        if step == graph.start or all(one in taken for one in graph.predecessors[step]):
            known = source.steps.get(step)
            if known is not None and known.status in ("completed", "skipped") and _is_whole(source, step, known):
                taken[step] = known.status
    _check_results(source, definition, results, taken)
    given = Replacement(by.name, f"{source.instance_id}#{source.generation}#{source.sequence}", by.source)
    completed = [
        StepCompleted(
            source.activation(key),
            known.event or "",
            known.taken,
            results.get(key, known.results),
            started_at=known.started_at,
            attempt=known.attempt,
            failed=known.failed,
            replaced=given if key in results else known.replaced,
            configs=known.configs,
            ended_at=known.ended_at or 0,
            rounds=known.rounds,
            loop=known.loop,
            mapped=known.mapped and replace(known.mapped, open=NOTHING),  # without the tries at undoing it
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


def _is_whole(source: State, step: str, known: StepState) -> bool:
    """Whether what a step did counts in a fork: it did not lead to ``FAIL``, and no item or child of it is undone."""
    undone = known.mapped is not None and not {UNDONE, NOT_UNDONE}.isdisjoint(known.mapped.ends)
    asked = any(child.stopping == "undo" for one, child in source.children.items() if step_of(one) == step)
    return known.fail is None and not undone and not asked


def _check_results(
    source: State, definition: Definition, results: Mapping[str, FrozenDict], taken: Mapping[str, str]
) -> None:
    """Reject other results of steps that are not there, or had not completed.

    Raises:
        UnknownStep, BadRequest.
    """
    strange = [step for step in results if step not in definition.graph.edges]
    if strange:
        named = ", ".join(map(repr, strange[:10]))
        version = f"version {definition.version} of {definition.name}"
        message = f"results: {version} has no step {named}; it has {', '.join(definition.graph.order)}"
        raise errors.UnknownStep(message)
    missing = [step for step in results if taken.get(step) != "completed"]
    if missing:
        done = ", ".join(step for step, status in taken.items() if status == "completed") or "none"
        message = (
            f"instance {source.instance_id}: {', '.join(missing[:10])} had not completed then; completed were {done}"
        )
        raise errors.BadRequest(message)


def _check_fits(definition: Definition, completed: Sequence[StepCompleted], taken: Mapping[str, str]) -> None:
    """Reject a fork whose version would not have gone the way that the steps it takes over went.

    It would never run a step that it has on another way, such as one that it has new between two of them.

    Raises:
        BadRequest: naming each step whose transitions differ.
    """
    edges, live = definition.graph.edges, {target for done in completed for target in done.taken}
    version = f"version {definition.version} of {definition.name}"
    unknown = [f"{done.step}: {done.event}" for done in completed if done.event not in edges[done.step]]
    maps = definition.graph.maps
    far = [one.step for one in completed if one.mapped is not None and one.mapped.in_parts]
    if kept := [step for step in far if step in definition.graph.compensates]:
        message = (
            f"{version} can undo {', '.join(kept)}, whose many items only the instance that ran them can undo: "
            "fork from an earlier entry, so that they run again"
        )
        raise errors.BadRequest(message)
    unknown += [f"{done.step} as a map" for done in completed if done.mapped is not None and done.step not in maps]
    unknown += [f"{done.step} as a step" for done in completed if done.mapped is None and done.step in maps]
    unknown += dict.fromkeys(target for done in completed for target in done.taken if target not in edges)
    if unknown:
        message = f"{version} has no {', '.join(unknown[:10])}: fork from an earlier entry, or on the old version"
        raise errors.BadRequest(message)
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
        raise errors.BadRequest(message)


def _leads_there(definition: Definition, done: StepCompleted) -> bool:
    """Whether the event of a step may lead exactly to the steps that it led to."""
    route = definition.routes[done.step][done.event]
    if route.choice is None:
        return set(done.taken) == set(route.targets) and route.fail is None
    return set(done.taken) <= set(route.targets)


def _other_way(definition: Definition, done: StepCompleted) -> str:
    route = definition.routes[done.step][done.event]
    was, now = ", ".join(done.taken) or DONE.key, ", ".join(route.shown)
    return f"{done.step}: {done.event} led to {was}, and leads to {'a choice of ' if route.choice else ''}{now} there"
