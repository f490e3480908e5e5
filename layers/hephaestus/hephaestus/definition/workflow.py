"""Workflow classes: read once when the class is defined, with everything that is wrong reported together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Never, cast

from hephaestus.definition.bodies import HEADER, body_wrong, unknown_wrong
from hephaestus.definition.business_key import BusinessKey, Scope, check_id
from hephaestus.definition.default import default_runner
from hephaestus.definition.durations import shown
from hephaestus.definition.graph_reader import Reader
from hephaestus.definition.header import FIRST, check_header
from hephaestus.definition.incoming import read_triggers
from hephaestus.definition.outputs import OfOutput, OutputT, output_type, read_output
from hephaestus.definition.retries import Retry
from hephaestus.definition.schedules import Schedule, read_schedules, schedules_wrong
from hephaestus.definition.umbrella import read_umbrella
from hephaestus.errors import BadRequest, DefinitionError, InstanceNotFound, Problem, UnknownVersion
from hephaestus.values.scalars import plain_name

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

    from hephaestus.definition.concurrency import Concurrency
    from hephaestus.definition.default import Runs
    from hephaestus.definition.definition import Checkpoint, Definition, Forks, IfRunning
    from hephaestus.definition.durations import Duration
    from hephaestus.definition.incoming import Trigger
    from hephaestus.definition.references import StepRef
    from hephaestus.definition.step import Configured, OutputLike, StepLike, Transitions
    from hephaestus.definition.views import HistoryEntry, InstanceView, Page
    from hephaestus.values.foreign import Model


class Workflow(OfOutput[OutputT]):
    """A directed acyclic graph of steps. Derive from it; the class is checked as it is defined.

    ``Workflow[Receipt]`` says what its output is read as: a pydantic model, a data class, or a ``TypedDict``, which a
    type checker then knows (``output_of``, and ``output`` of a client's handle). What an instance leaves is the same.

    Its arguments are the class's own, as in ``class OrderFlow(Workflow, key="orderid", version=2)``; a class that is
    derived from a workflow inherits none of them, ``forks`` included.

    Args:
        key: the name of the business key, as ``orderid`` in ``orderid::abc123``. Those that begin with ``hephaestus-``
            are the library's.
        scope: where a value of the key is unique (see ``BusinessKey``); by default within the workflow.
        version: a positive whole number; by default 1.
        tags: a list of up to 20 strings that every instance carries.
        metadata: JSON-safe data that every instance carries.
        name: the workflow's name; by default the class's.
        forks: what ``fork`` may do with its instances: ``any``, ``unchanged`` (take over start data and results, but
            replace neither) or ``none``.
        versions: make the class an umbrella over versions of one workflow, by their numbers. It has no graph of its
            own; its tags, metadata and ``forks`` are added to those of the version: of ``forks`` the stricter counts.
        current: the version that new instances of an umbrella take; by default the highest.
        checkpoint: ``steps``, or ``boundaries``: a step's result is left to the next commit, unless the step says
            otherwise, has ``compensate`` or ``rounds``, or runs at most once. Cheaper; it may run again instead.
        limits: how many instances of it, and of what else names the same limits, may be under way at once, as in
            ``[Concurrency("sync", 2)]``: an instance has a permit from before its first step until it has ended, and
            runs nothing while it stands in line for one.
        if_running: what a start does whose id another instance of the workflow has that is open: ``reject`` it
            (``AlreadyRunning``), or ``use`` that one: the start gives its id, and its own start data are dropped.

    Attributes:
        start_at: the first step.
        transitions: for every step, where each of its events leads.
        retry: the retry policy of steps without their own.
        Input: a pydantic model that the start data must fit, or ``None``.
        triggers: which events from outside start and resume instances (``hephaestus.triggers``); those of an umbrella
            are its own and its current version's.
        schedules: when instances start by themselves (``hephaestus.Schedule``); those of an umbrella are its own and
            its current version's.
        output: what a completed instance leaves: the results of this step, or what a plain function of the context
            returns (a mapping, a model, a data class, or ``None``); by default the results of the step completed last.
            A function is quick and without effects, as it may be called again; where it raises, the instance fails.
        on_failure: a step that runs before an instance ends as failed, after what was done is undone, with the reason
            in ``ctx.error``. It is retried; its own failure changes nothing. It does not run on cancellation.
        timeout: how long an instance may take from its start, pauses included, in seconds or as a ``timedelta``. Then
            it fails: what runs ends, waits are dropped, what was done is undone. It is noticed within a minute.
        example: start data to try, which ``hephaestus dev`` prints in its first line; nothing else reads it.

    Raises:
        DefinitionError: with every problem, each naming the step and the fix.
    """

    start_at: ClassVar[StepLike | Configured]
    transitions: ClassVar[Transitions]
    retry: ClassVar[Retry] = Retry()
    Input: ClassVar[type[Any] | None] = None
    triggers: ClassVar[Sequence[Trigger]] = ()
    schedules: ClassVar[Sequence[Schedule]] = ()
    output: ClassVar[OutputLike | None] = None
    on_failure: ClassVar[StepLike | Configured | None] = None
    timeout: ClassVar[Duration | None] = None
    example: ClassVar[Mapping[str, Any] | None] = None

    output_type: ClassVar[Any]
    name: ClassVar[str]
    version: ClassVar[int]
    business_key: ClassVar[BusinessKey]
    forks: ClassVar[Forks]
    checkpoint: ClassVar[Checkpoint]
    limits: ClassVar[tuple[Concurrency, ...]]
    if_running: ClassVar[IfRunning]
    tags: ClassVar[tuple[str, ...]]
    metadata: ClassVar[Mapping[str, Any]]
    definitions: ClassVar[Mapping[int, Definition]]
    versions: ClassVar[Mapping[int, type[Workflow]]]
    current: ClassVar[int]

    def __init_subclass__(  # noqa: PLR0913 - a workflow's header
        cls,
        *,
        key: str | None = None,
        scope: Scope = "workflow",
        version: int = FIRST,
        tags: Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
        name: str | None = None,
        forks: Forks = "any",
        versions: Mapping[int, type[Workflow]] | None = None,
        current: int | None = None,
        checkpoint: Checkpoint = "steps",
        limits: Sequence[Concurrency] = (),
        if_running: IfRunning = "reject",
        **unknown: Never,
    ) -> None:
        """Read and check the definition."""
        super().__init_subclass__()
        cls.output_type = output_type(cls)
        ignored = [*unknown_wrong(unknown, HEADER), *body_wrong(cls, Workflow)]  # before it gets attributes of its own
        key, scope, forks = (plain_name(text) for text in (key, scope, forks))
        cls.name = cls.__name__ if name is None else plain_name(name)
        cls.version = version
        cls.forks = forks
        cls.checkpoint = checkpoint
        cls.limits = tuple(limits) if isinstance(limits, list) else limits  # type: ignore[assignment]  # as above
        cls.if_running = if_running
        cls.tags = tuple(map(plain_name, tags)) if isinstance(tags, (list, tuple)) else tags  # type: ignore[assignment]  # reported below
        cls.metadata = {} if metadata is None else metadata
        problems = [Problem(cls.__name__, problem, fix) for problem, fix in ignored]
        problems += check_header(cls, key, scope, current if versions is None else None)
        own_triggers, wrong = read_triggers(cls, cls.triggers)
        problems += wrong
        own_schedules, wrong = read_schedules(cls, cls.schedules)
        problems += wrong
        if versions is not None:
            problems += read_umbrella(cls, key, scope, versions, current, sound=not problems)
        else:
            named = "" if key is None else key if isinstance(key, str) else "invalid"  # which is reported already
            cls._read_graph(BusinessKey(named, scope), problems)
        if problems:
            raise DefinitionError(cls.name, problems)
        current_one = cls.versions[cls.current]
        cls.schedules = own_schedules if current_one is cls else (*own_schedules, *current_one.schedules)
        if problems := list(schedules_wrong(cls, cls.schedules, cls.definitions[cls.current])):
            raise DefinitionError(cls.name, problems)
        cls.triggers = own_triggers if current_one is cls else (*own_triggers, *current_one.triggers)

    @classmethod
    def _read_graph(cls, key: BusinessKey, problems: list[Problem]) -> None:
        """Read the graph of a class that is no umbrella, and add what is wrong with it to ``problems``."""
        cls.business_key = key
        definition = Reader(cls).read(problems)
        if definition is not None:
            cls.version = definition.version
            cls.definitions = {cls.version: definition}
            cls.versions = {cls.version: cls}
            cls.current = cls.version

    @classmethod
    def version_for(cls, versions: Mapping[int, type[Workflow]], opts: Mapping[str, Any]) -> int | None:  # noqa: ARG003 - for overriding
        """The version that a new instance starts with; override it to route on ``opts``.

        Args:
            versions: the deployed versions.
            opts: ``context``, ``id`` and ``tags`` of the start.

        Returns:
            One of ``versions``; ``None`` for the current one. Anything else fails the start as ``UnknownVersion``.
        """
        return cls.current

    @classmethod
    def definition(cls, version: int) -> Definition:
        """The definition of one version.

        Raises:
            UnknownVersion: that version is not deployed.
        """
        found = cls.definitions.get(version) if isinstance(version, int) and not isinstance(version, bool) else None
        if found is None:
            deployed = ", ".join(str(number) for number in sorted(cls.definitions))
            message = f"workflow {cls.name} has no version {shown(version)}: deployed are {deployed}"
            raise UnknownVersion(message)
        return found

    @classmethod
    def start(  # noqa: PLR0913 - as `start_instance` has them
        cls,
        value: str,
        context: Mapping[str, Any] | Model | None = None,
        *,
        version: int | None = None,
        tags: Sequence[str] = (),
        metadata: Mapping[str, Any] | Model | None = None,
        start_id: str | None = None,
    ) -> str:
        """Start an instance for a value of the business key and return its id; see ``Runner.start_instance``."""
        context = {} if context is None else context
        return default_runner().start_instance(
            cls, context, id=value, version=version, tags=tags, telemetry_metadata=metadata, start_id=start_id
        )

    @classmethod
    def resume(  # noqa: PLR0913 - as the runner has it
        cls,
        value: str,
        event: str,
        payload: Any = None,
        *,
        step: StepRef | None = None,
        item: str | None = None,
        event_id: str | None = None,
    ) -> None:
        """Deliver an event to the instance with this id or value; see ``Runner.resume``."""
        runner, instance_id = cls._own(value)
        runner.resume(instance_id, event, payload, step=step, item=item, event_id=event_id)

    @classmethod
    def get(cls, value: str) -> InstanceView:
        """Show the instance with this id or value; see ``Runner.get``."""
        runner, instance_id = cls._own(value)
        return runner.get(instance_id)

    @classmethod
    def output_of(cls, shown: InstanceView) -> OutputT:
        """The output of a completed instance of this workflow, as what the class is derived with.

        Raises:
            NotCompleted: the instance has not completed.
            UnfitOutput: the output does not fit, as of an instance of an older version.
        """
        return cast("OutputT", read_output(shown, cls.output_type))

    @classmethod
    def history(cls, value: str) -> Page[HistoryEntry]:
        """Show the log of the instance with this id or value; see ``Runner.history``."""
        runner, instance_id = cls._own(value)
        return runner.history(instance_id)

    @classmethod
    def list(  # noqa: PLR0913 - a listing's filters
        cls,
        *,
        status: str | Collection[str] | None = None,
        version: int | None = None,
        tag: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[InstanceView]:
        """List this workflow's instances, newest first; see ``Runner.list``."""
        return default_runner().list(
            workflow=cls.name,
            status=status,
            version=version,
            tag=tag,
            since=since,
            until=until,
            limit=limit,
            cursor=cursor,
        )

    @classmethod
    def cancel(cls, value: str, reason: str = "", *, compensate: bool = False) -> None:
        """Cancel the instance with this id or value; see ``Runner.cancel``."""
        runner, instance_id = cls._own(value)
        runner.cancel(instance_id, reason, compensate=compensate)

    @classmethod
    def pause(cls, value: str, reason: str = "") -> None:
        """Pause the instance with this id or value; see ``Runner.pause``."""
        runner, instance_id = cls._own(value)
        runner.pause(instance_id, reason)

    @classmethod
    def unpause(cls, value: str) -> None:
        """Unpause the instance with this id or value; see ``Runner.unpause``."""
        runner, instance_id = cls._own(value)
        runner.unpause(instance_id)

    @classmethod
    def redrive(cls, value: str) -> None:
        """Have the failed, cancelled or parked instance with this id or value go on; see ``Runner.redrive``."""
        runner, instance_id = cls._own(value)
        runner.redrive(instance_id)

    @classmethod
    def fork(
        cls,
        value: str,
        at: int | None = None,
        *,
        new_value: str,
        context: Mapping[str, Any] | Model | None = None,
        results: Mapping[Any, Mapping[str, Any] | Model] | None = None,
    ) -> str:
        """Start a new instance from a point in the history of the one with this id or value; see ``Runner.fork``."""
        runner, instance_id = cls._own(value)
        return runner.fork(instance_id, at, new_id=new_value, context=context, results=results)

    @classmethod
    def heartbeat(cls, value: str, step: StepRef | None = None, *, item: str | None = None) -> None:
        """Say that whoever works for a waiting step is alive; see ``Runner.heartbeat``."""
        runner, instance_id = cls._own(value)
        runner.heartbeat(instance_id, step, item=item)

    @classmethod
    def _own(cls, value: str) -> tuple[Runs, str]:
        """The runner, and the id of this workflow's instance with this id or value; see ``own_instance``."""
        runner = default_runner()
        return runner, own_instance(cls, value, runner)


def own_instance(flow: type[Workflow], value: str, runner: Runs) -> str:
    """The id of a workflow's instance with this id or value.

    Raises:
        BadRequest: it is neither.
        InstanceNotFound: workflows share the key (``scope="global"``), and the instance is another one's, or not there.
    """
    instance_id = _id(flow, value)
    if flow.business_key.scope == "global":
        found = runner.get(instance_id).workflow
        if found not in {flow.name, *(other.name for other in runner.registry if flow in other.versions.values())}:
            message = f"there is no instance {instance_id} of {flow.name}: the one with this id is of {found}"
            raise InstanceNotFound(message)
    return instance_id


def _id(flow: type[Workflow], value: str) -> str:
    key, value = flow.business_key.name, plain_name(value)
    if isinstance(value, str) and "::" in value:
        if check_id(value).startswith(f"{key}::"):
            return value
        message = f"{value} is no instance of {flow.name}, whose ids begin with {key}::"
        raise BadRequest(message)
    if flow.business_key.scope == "none":
        message = f"ids of {flow.name} end in a random suffix: give the whole id, as start returned it, not {value!r}"
        raise BadRequest(message)
    return flow.business_key.instance_id(value, flow.current, "")
