"""How a start is named, so that the same start made twice is one.

A start's commit id is derived: from the instance, from what kind of start it is (a fork under the same id is another
request), and from the caller's start id. After a dot follows a digest of what was asked for, by which a repeat is told
from another start under the same id.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hephaestus.errors import RequestIdReused
from hephaestus.runtime.intake import digest

if TYPE_CHECKING:
    from collections.abc import Iterable


def start_commit(instance_id: str, kind: str, start_id: str, asked: str = "") -> str:
    """The commit id of a start; ``asked`` is the digest of what it asks for, none where nothing can repeat it."""
    name = digest(f"{instance_id} {kind} {start_id}")
    return f"{name}.{asked}" if asked else name


def is_repeated(commit_id: str, known: Iterable[str], instance_id: str) -> bool:
    """Whether a start is one of those that an instance has had.

    Args:
        commit_id: of the start.
        known: the commit ids of the instance's starts, as far as they are remembered.
        instance_id: the instance.

    Raises:
        RequestIdReused: another start had its name.
    """
    starts = tuple(known)
    if commit_id in starts:
        return True
    name, dot, _ = commit_id.partition(".")
    if dot and any(start.partition(".")[0] == name for start in starts):
        raise RequestIdReused.start(instance_id)
    return False
