"""What can go wrong in a simulated run, and how it is with one of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, get_args

if TYPE_CHECKING:
    from collections.abc import Collection

    from hephaestus.simulation.choices import Choices

Fault: TypeAlias = Literal[
    "crash before a call",
    "crash after a call",
    "call refused",
    "answer lost",
    "write late",
    "crash in a step",
    "step too long",
    "zombie",
    "clocks differ",
    "message lost",
    "message twice",
    "message late",
    "schedule late",
    "schedule twice",
    "schedule lost",
    "sweep missed",
    "index stale",
    "version undeployed",
    "instance unreadable",
]
FAULTS: Final[tuple[Fault, ...]] = get_args(Fault)


@dataclass(frozen=True, slots=True)
class Faults:
    """What may go wrong, and how often.

    Every run takes about half of ``kinds`` and one of ``rates``: runs in which everything goes wrong at once hide what
    two faults alone would show (Groce et al., "Swarm Testing", 2012).

    Attributes:
        kinds: the faults.
        rates: the probabilities, from 0 to 1, that the next call, message, step or schedule meets one.
    """

    kinds: Collection[Fault] = FAULTS
    rates: tuple[float, ...] = (0.02, 0.1, 0.5)

    def __post_init__(self) -> None:
        """Refuse what would silently never happen."""
        unknown = sorted(set(self.kinds) - set(FAULTS))
        if unknown:
            message = f"unknown fault(s) {', '.join(map(repr, unknown))}: there are {', '.join(map(repr, FAULTS))}"
            raise ValueError(message)
        if not self.rates or not all(0 <= rate <= 1 for rate in self.rates):
            message = f"rates are probabilities from 0 to 1, at least one, not {self.rates}"
            raise ValueError(message)


NO_FAULTS: Final = Faults(kinds=())


class Weather:
    """The faults of one run; they stop when the storm is over.

    Attributes:
        stormy: whether there are faults at all, now.
        struck: how often each has struck.
    """

    def __init__(self, choices: Choices, faults: Faults) -> None:
        self._choices = choices
        self.kinds = {kind for kind in FAULTS if kind in faults.kinds and choices.chance(0.5)}
        self._rate = faults.rates[choices.below(len(faults.rates))]
        self._known: dict[tuple[Fault, ...], list[Fault]] = {}
        self.stormy = bool(self.kinds)
        self.struck: Counter[Fault] = Counter()

    def strikes(self, *kinds: Fault) -> Fault | None:
        """Which of these faults strikes now, if any."""
        if not self.stormy:
            return None
        possible = self._known.get(kinds)
        if possible is None:
            possible = self._known[kinds] = [kind for kind in kinds if kind in self.kinds]
        if not possible or not self._choices.chance(self._rate):
            return None
        kind = possible[self._choices.below(len(possible))]
        self.struck[kind] += 1
        return kind
