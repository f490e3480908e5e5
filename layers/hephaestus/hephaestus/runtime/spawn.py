"""What a step that is a workflow starts its child with: checked as a start from outside is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hephaestus.definition.raised import name_of
from hephaestus.runtime.attempt import InvalidResult, Spawned
from hephaestus.runtime.intake import check_input, read_tags, read_value
from hephaestus.runtime.sizes import check_size
from hephaestus.runtime.starts import version_for
from hephaestus.values import FrozenDict, freeze
from hephaestus.values.foreign import by_alias
from hephaestus.values.given import own

if TYPE_CHECKING:
    from collections.abc import Callable

    from hephaestus.definition.results import Spawn
    from hephaestus.definition.workflow import Workflow


def spawned(
    step: Any,
    asked: Spawn,
    limit: int | None,
    deployed: Callable[[str | type[Workflow]], type[Workflow]],
    version: int = 0,
) -> Spawned:
    """The start of a child.

    Args:
        step: the ``ChildWorkflow``.
        asked: what its function gave.
        limit: of a value's size, in bytes.
        deployed: raises where a workflow is not deployed.
        version: of the child, where that is decided; 0 where it is not.

    Raises:
        CallerError, NotSerializable, InvalidResult: the child cannot start so.
    """
    flow: type[Workflow] = step.workflow
    deployed(flow)
    initial = freeze(by_alias(asked.context), f"step {step.key}: the context of its child")
    if not isinstance(initial, FrozenDict):
        given = name_of(type(asked.context))
        message = f"step {step.key}: the context of its child is a {given}: give a mapping, a model or a data class"
        raise InvalidResult(message)
    chosen = version or version_for(flow, {"context": own(initial), "id": "", "tags": list(flow.tags)})
    definition = flow.definition(chosen)
    check_input(asked.context, definition, initial)
    check_size(initial, limit, f"step {step.key}: the context of its child")
    tags = read_tags(flow.versions[chosen].tags, flow.tags, ())
    metadata = read_value({**flow.versions[chosen].metadata, **flow.metadata}, "metadata")
    key = flow.business_key

    def value(name: str) -> str:
        return f"{key.name}::{name}"  # of any scope: no other activation has the name

    known = (flow.name, definition.version, value, initial, tags, metadata, definition.graph.fingerprint)
    return Spawned(*known, definition.timeout_ms, step.child_timeout, step.detached)
