"""The deployed workflows, by name."""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING

from hephaestus.definition.concurrency import Concurrency, Named, clashes, limits_of
from hephaestus.definition.containment import watched_console
from hephaestus.definition.limit_cycles import cycle_of_limits
from hephaestus.definition.rates import RateLimit
from hephaestus.definition.workflow import Workflow
from hephaestus.engine.advance import changed, missing
from hephaestus.errors import (
    DefinitionError,
    EngineSignal,
    Problem,
    UnknownVersion,
    UnknownWorkflow,
    WorkflowUnavailable,
)
from hephaestus.runtime.names import SCHEDULE_KEY

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from hephaestus.definition.concurrency import Limit
    from hephaestus.definition.definition import Definition
    from hephaestus.engine.state import State

_logger = logging.getLogger("hephaestus.registry")


class Registry:
    """Workflows by name. A version that belongs to an umbrella is reached through the umbrella.

    A module that cannot be imported, or whose workflows clash with those of a module before it, is broken: it takes
    down its own workflows and no others. It is tried again whenever a workflow is asked for that is not there.

    Args:
        workflows: workflows.
        modules: modules of workflows, imported on first use.
        deployment: the number of the deployment: what an older one declares never takes the place of what a newer did.

    Attributes:
        reloaded: whether the modules may be imported again in this process. A step that began before names the class
            of then, in whose place the one of the same module and name is deployed.

    Raises (any method):
        DefinitionError: two of ``workflows`` have one name, or share a business key without ``scope="global"``.
    """

    def __init__(
        self, workflows: Iterable[type[Workflow]] = (), *, modules: Sequence[str] = (), deployment: int = 0
    ) -> None:
        self.deployment = deployment
        self.reloaded = False
        self._given = tuple(workflows)
        self._unloaded = tuple(modules)
        self._by_name: dict[str, type[Workflow]] | None = None

    @classmethod
    def load(cls, modules: Sequence[str], deployment: int = 0) -> Registry:
        """All workflows that ``modules`` hold; the modules are imported on first use."""
        return cls(modules=modules, deployment=deployment)

    def get(self, name: str) -> type[Workflow]:
        """The workflow of that name.

        Raises:
            UnknownWorkflow: none is deployed.
            WorkflowUnavailable: it may be in a module that is broken; the log says what is wrong with it.
        """
        found = self._find(name)
        if found is None and name == SCHEDULE_KEY:
            from hephaestus.runtime.recurring import ScheduleWorkflow  # noqa: PLC0415 - only where schedules are

            return ScheduleWorkflow
        if found is None:
            deployed = ", ".join(self.names()) or "none"
            message = f"there is no workflow {str(name)[:64]!r}; deployed workflows: {deployed}"
            if self._unloaded:
                message = (
                    f"{message}. Others could not be loaded: the log of the function, or of `hephaestus dev`, says why"
                )
                raise WorkflowUnavailable(message)
            raise UnknownWorkflow(message)
        return found

    def deployed(self, workflow: str | type[Workflow]) -> type[Workflow]:
        """The deployed workflow that a caller names, by its name or as the class itself.

        Raises:
            UnknownWorkflow: it is not deployed: another class of that name is, or an umbrella of which it is a version.
        """
        if not isinstance(workflow, type):
            if workflow == SCHEDULE_KEY:
                message = f"{workflow} is the library's: declare schedules in a workflow's class, or create them"
                raise UnknownWorkflow(message)
            return self.get(workflow)
        found = self._find(getattr(workflow, "name", ""))
        if found is workflow:
            return found
        if self.reloaded and found is not None and _place(found) == _place(workflow):
            return found
        named = f"{workflow.__module__}.{workflow.__qualname__}"[:200]
        for flow in self:
            for version, member in flow.versions.items():
                if member is workflow:
                    message = f"{named} is version {version} of {flow.name}: start {flow.name} with version={version}"
                    raise UnknownWorkflow(message)
        deployed = ", ".join(self.names()) or "none"
        if not issubclass(workflow, Workflow) or workflow is Workflow:
            message = f"{named} is no workflow: deployed workflows: {deployed}"
        elif found is not None:
            message = f"{named} is not deployed: {found.__module__}.{found.__qualname__} is, under the same name"
        else:
            message = f"{named} is not deployed; deployed workflows: {deployed}. Add it to them"
        raise UnknownWorkflow(message)

    def definition(self, state: State) -> Definition:
        """The definition that an instance runs on.

        Raises:
            UnknownWorkflow, UnknownVersion: it is not deployed (any more).
        """
        found = self.get(state.workflow).definition(state.version)
        part = state.part
        if part is None:
            return found
        if part.step not in found.items:
            message = (
                f"instance {part.owner}: version {state.version} of workflow {state.workflow} is deployed without "
                f"the map {part.step!r}, whose items are under way: it was renamed or removed under the same version"
            )
            raise UnknownVersion(message)
        return found.of_part(part.step)

    def runnable(self, state: State) -> Definition:
        """The definition that an instance goes on by.

        Raises:
            UnknownWorkflow, UnknownVersion: it is not deployed (any more), or without a step that the instance needs,
                or with one that the instance may still run and that leads elsewhere now.
        """
        definition = self.definition(state)
        if lacking := missing(definition.graph, state):
            steps = ", ".join(map(repr, lacking))
            message = (
                f"instance {state.public_id}: version {state.version} of workflow {state.workflow} is deployed "
                f"without {steps}, which the instance needs: steps were renamed or removed under the same version"
            )
            raise UnknownVersion(message)
        if others := changed(definition.graph, state):
            steps = ", ".join(map(repr, others))
            message = (
                f"instance {state.public_id}: version {state.version} of workflow {state.workflow} is deployed with "
                f"another graph than the instance was started with, at {steps}: the new one needs a version of its own"
            )
            raise UnknownVersion(message)
        return definition

    def limits(self) -> list[Concurrency]:
        """The limits that workflows name and that have permits; one of a name, which has one number."""
        return list({limit.name: limit for limit in self._limits() if isinstance(limit, Concurrency)}.values())

    def rates(self) -> list[RateLimit]:
        """The rates that workflows name; one of a name."""
        return list({limit.name: limit for limit in self._limits() if isinstance(limit, RateLimit)}.values())

    def _limits(self) -> list[Limit]:
        versions = [flow.definition(version) for flow in self for version in flow.versions]
        every: list[Limit] = [limit for one in versions for limit in one.limits]
        return every + [limit for one in versions for _, step in one.all_declared for limit in limits_of(step)]

    def unavailable(self) -> list[str]:
        """The modules that cannot be loaded; the log says why."""
        self._workflows()
        return list(self._unloaded)

    def names(self) -> list[str]:
        """The names of all workflows, sorted."""
        return sorted(self._workflows())

    def __iter__(self) -> Iterator[type[Workflow]]:
        """Every workflow, by name."""
        return iter([self._workflows()[name] for name in self.names()])

    def _find(self, name: object) -> type[Workflow] | None:
        if not isinstance(name, str):
            return None
        known = self._by_name
        if known is None:
            return self._workflows().get(name)
        found = known.get(name)
        return self._load(known).get(name) if found is None and self._unloaded else found

    def _workflows(self) -> dict[str, type[Workflow]]:
        return self._load(_index(self._given)) if self._by_name is None else self._by_name

    def _load(self, by_name: dict[str, type[Workflow]]) -> dict[str, type[Workflow]]:
        """``by_name`` with what the modules hold that are not loaded yet."""
        broken = []
        for module in self._unloaded:
            try:
                with watched_console():
                    by_name = _index(list(dict.fromkeys([*by_name.values(), *workflows_in(module)])))
            except EngineSignal:  # Ctrl-C was pressed
                raise
            except BaseException:  # whatever it raises: the others have nothing to do with it
                _logger.exception("the workflows of module %s are not available: it cannot be loaded", module)
                broken.append(module)
        self._unloaded, self._by_name = tuple(broken), by_name
        return by_name


def workflows_in(module: str) -> list[type[Workflow]]:
    """The workflow classes among what a module holds, each as often as it has names there."""
    classes = [value for value in vars(importlib.import_module(module)).values() if isinstance(value, type)]
    return [found for found in classes if issubclass(found, Workflow) and found is not Workflow]


def _index(workflows: Sequence[type[Workflow]]) -> dict[str, type[Workflow]]:
    members = {member for workflow in workflows for member in workflow.versions.values() if member is not workflow}
    by_name: dict[str, type[Workflow]] = {}
    owners: dict[str, type[Workflow]] = {}
    timed: dict[tuple[str, str], type[Workflow]] = {}
    for workflow in workflows:
        if workflow in members:
            continue
        other = by_name.setdefault(workflow.name, workflow)
        if other is not workflow:
            problem = Problem(workflow.name, "two workflows have this name", "Rename one of them: name=...")
            raise DefinitionError(workflow.name, [problem])
        key = workflow.business_key
        sharer = owners.setdefault(key.name, workflow)
        if sharer is not workflow and {key.scope, sharer.business_key.scope} != {"global"}:
            problem = Problem(
                workflow.name,
                f"its business key {key.name!r} belongs to {sharer.name}",
                'Take another key, or share it: scope="global" in both',
            )
            raise DefinitionError(workflow.name, [problem])
        for one in workflow.schedules:
            owner = timed.setdefault((key.name, one.name), workflow)
            if owner is not workflow:
                twice = f"its schedule {one.name!r} has the name of one of {owner.name}, which shares its key"
                fix = "Give each a name of its own: the ids of their occurrences begin alike"
                raise DefinitionError(workflow.name, [Problem(workflow.name, twice, fix)])
    _check_limits(by_name.values())
    return by_name


def _check_limits(workflows: Iterable[type[Workflow]]) -> None:
    """Reject one limit that has two numbers, or is a workflow's and a step's, and those on a cycle (F.3, F.8).

    Raises:
        DefinitionError: there is one.
    """
    workflows = tuple(workflows)
    versions = [(flow.name, flow.definition(version)) for flow in workflows for version in flow.versions]
    every = [Named(name, limit, whole=True) for name, one in versions for limit in one.limits]
    every += [Named(name, limit) for name, one in versions for _, step in one.all_declared for limit in limits_of(step)]
    if problems := [Problem(*clash) for clash in clashes(every)]:
        raise DefinitionError(problems[0].step, problems)
    if (cycle := cycle_of_limits(workflows)) is not None:
        raise DefinitionError(cycle[0], [Problem(*cycle)])


def _place(workflow: type[Workflow]) -> tuple[str, str]:
    """Where a class is declared, which importing its module again does not change."""
    return workflow.__module__, workflow.__qualname__
