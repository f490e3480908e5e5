"""How a start is named, so that the same start made twice is one.

A start's commit id is derived: from the instance, from what kind of start it is (a fork under the same id is another
request), and from the caller's start id. After a dot follows a digest of what was asked for, by which a repeat is told
from another start under the same id.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hephaestus.definition.raised import called_for_a_start
from hephaestus.runtime.intake import digest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hephaestus.definition.workflow import Workflow


def start_commit(instance_id: str, kind: str, start_id: str, asked: str = "") -> str:
    """The commit id of a start; ``asked`` is the digest of what it asks for, none where nothing can repeat it."""
    name = digest(f"{instance_id} {kind} {start_id}")
    return f"{name}.{asked}" if asked else name


def version_for(flow: type[Workflow], opts: Mapping[str, Any]) -> int:
    """The version that a workflow starts with for ``opts``.

    Raises:
        UnknownVersion: what its ``version_for`` gave is no number.
    """
    versions = dict(flow.versions)  # its own: it could change them for all
    chosen = called_for_a_start(lambda: flow.version_for(versions, opts), f"workflow {flow.name}: its version_for")
    if chosen is None:
        return flow.current
    return chosen if type(chosen) is int else flow.definition(chosen).version
