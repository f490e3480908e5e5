"""How a start is named, so that the same start made twice is one.

A start's commit id is derived: from the instance, from what kind of start it is (a fork under the same id is another
request), and from the caller's start id. After a dot follows a digest of what was asked for, by which a repeat is told
from another start under the same id.
"""

from __future__ import annotations

from hephaestus.runtime.intake import digest


def start_commit(instance_id: str, kind: str, start_id: str, asked: str = "") -> str:
    """The commit id of a start; ``asked`` is the digest of what it asks for, none where nothing can repeat it."""
    name = digest(f"{instance_id} {kind} {start_id}")
    return f"{name}.{asked}" if asked else name
