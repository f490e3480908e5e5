"""Workflows of one's own beside what is deployed: which open instances could not go on after a deployment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from hephaestus.operations.catalog import read_workflow
from hephaestus.store.filters import ListFilter

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hephaestus.operations.deployed import Connection

Json = dict[str, Any]
OPEN: Final = ("pending", "running", "waiting", "compensating")


@dataclass(frozen=True, slots=True)
class Difference:
    """A version that is deployed otherwise than it would be.

    Attributes:
        workflow: its name; ``version`` is its number.
        what: the difference, and what to do about it.
        open: whether instances of the version are open, which it would park.
    """

    workflow: str
    version: int
    what: str
    open: bool


def differences(own: Sequence[Json], connection: Connection) -> Iterator[Difference]:
    """What a deployment would change of versions that are deployed.

    Args:
        own: the workflows that are to be deployed, as ``describe`` has them.
        connection: the deployment.

    Raises:
        CallerError, RetryLater: the deployment was not to be asked.
    """
    mine = {each["name"]: read_workflow(each) for each in own}
    for deployed in connection.workflows():
        theirs = read_workflow(deployed)
        for version, definition in theirs.definitions.items():
            new = mine[theirs.name].definitions.get(version) if theirs.name in mine else None
            graph = definition.graph
            if new is None:
                what = "is deployed and missing here; keep it until no instance of it is open"
            elif changed := new.graph.changed(
                graph.fingerprint, new.graph.order, new.graph.order, ending=True
            ) or _gone(graph.order, new.graph.order):
                steps = ", ".join(changed)
                what = f"is deployed with another graph ({steps}); give the new one another version, beside this one"
            else:
                continue
            yield Difference(theirs.name, version, what, _is_open(connection, theirs.name, version))


def _gone(before: Sequence[str], after: Sequence[str]) -> list[str]:
    return [step for step in before if step not in after]


def _is_open(connection: Connection, workflow: str, version: int) -> bool:
    """Whether an instance of a version is open; pages may be short, and empty ones lead on."""
    cursor = None
    while True:
        page = connection.list(ListFilter([workflow], OPEN, version, children=True), cursor=cursor)
        cursor = page["cursor"]
        if page["items"] or cursor is None:
            return bool(page["items"])
