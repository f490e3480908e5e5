"""Which starts of an id are remembered, so that one that is repeated late is known.

A start's commit id is derived from its name. After a dot follows a digest of what it asked for, by which a repeat is
told from another start of the same name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hephaestus.errors import RequestIdReused

if TYPE_CHECKING:
    from collections.abc import Iterable

STARTS_KEPT: Final = 8  # of the generations before the newest


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
