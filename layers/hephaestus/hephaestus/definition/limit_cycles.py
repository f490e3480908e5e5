"""Limits of workflows that would wait for each other: what holds one wants another, and the other way round (F.3).

An instance holds its permits while it waits for its children, and these may want others: a limit that is held leads to
each that is wanted below. Where that leads back, some instances could wait for each other for ever, whatever the
numbers. Nothing else can: an instance takes all of its own permits at once, what descends from a holder has its, and
an attempt that has a step's permits waits for none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from hephaestus.definition.child import ChildWorkflow
from hephaestus.engine.graph import find_cycle

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hephaestus.definition.definition import Definition
    from hephaestus.definition.workflow import Workflow

Held: TypeAlias = "Mapping[str, str]"
FIX: Final = "Name all of them in the workflow above: it takes its permits at once, and what it runs has them"


class Wait(NamedTuple):
    """How a limit may be wanted while another is held: the workflow that holds it, and the one below that wants."""

    holder: str
    below: str


def waits(flows: Iterable[type[Workflow]]) -> dict[str, dict[str, Wait]]:
    """By limit that is held, each that may be wanted meanwhile."""
    found: dict[str, dict[str, Wait]] = {}
    seen: set[tuple[type[Workflow], frozenset[str]]] = set()

    def visit(flow: type[Workflow], held: Held) -> None:
        known = flow, frozenset(held)
        if known in seen:
            return
        seen.add(known)
        for definition in flow.definitions.values():
            own = [name for name in definition.graph.limits if name not in held]
            for name, holder in held.items():
                for wanted in own:
                    found.setdefault(name, {}).setdefault(wanted, Wait(holder, flow.name))
            for child in _awaited(definition):
                visit(child, {**held, **dict.fromkeys(own, flow.name)})

    for flow in flows:
        visit(flow, {})
    return found


def cycle_of_limits(flows: Iterable[type[Workflow]]) -> tuple[str, str, str] | None:
    """A cycle of limits: a workflow that is on it, what is wrong, and what to do; ``None`` where there is none."""
    known = waits(flows)
    edges = {name: {"": tuple(wanted)} for name, wanted in known.items()}
    edges.update({name: {} for wanted in known.values() for name in wanted if name not in known})
    cycle = next((found for name in edges if (found := find_cycle(edges, name))), ())
    if not cycle:
        return None
    pairs = list(zip(cycle, (*cycle[1:], cycle[0]), strict=True))
    said = [_said(held, wanted, known[held][wanted]) for held, wanted in pairs]
    path = " → ".join(map(repr, (*cycle, cycle[0])))
    return known[cycle[0]][pairs[0][1]].holder, f"limits would wait for each other, {path}: {'; '.join(said)}", FIX


def _said(held: str, wanted: str, wait: Wait) -> str:
    return f"{wait.holder} has a permit of {held!r} while {wait.below}, which it runs, wants one of {wanted!r}"


def _awaited(definition: Definition) -> list[type[Workflow]]:
    """The workflows that a definition runs and waits for: by steps, rounds and maps."""
    steps = definition.every_step
    return [step.workflow for step in steps if isinstance(step, ChildWorkflow) and not step.detached]
