"""How fast a rate is (F.8): as an operator has set it until that is unset, else as the newest deployment declares.

Both stand in the rate's item, so that who reserves needs no other request. What is in force is a condition of each
write, and ``tat`` is in its terms: who writes another speed translates ``tat`` in the same write, see ``translated``.

attribute   is
----------  ----------------------------------------------------------------------------------------
cost        the most places that one attempt has taken; not there where that is 1
own, of     what the newest deployment declares, and the number of that deployment
set         what an operator has set; not there where there is nothing
why         the operator's reason
by, at      who has set it last, or taken it back, and when (ms); ``by_source`` is how that is known
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from hephaestus.store import items
from hephaestus.store.items import FORMAT, whole
from hephaestus.store.numbers import idle
from hephaestus.store.table import EXPIRES, Condition

if TYPE_CHECKING:
    from hephaestus.engine.records import Pace
    from hephaestus.store.table import Item, Value

MS: Final = 1_000  # microseconds
READ: Final = ("tat", "cost", "own", "of", "set")


class Speed(NamedTuple):
    """So many starts in a time.

    Attributes:
        n: how many; 0 for none at all, which only an operator can say.
        period: the time (microseconds).
        burst: how many at once after a pause.
    """

    n: int
    period: int
    burst: int

    @property
    def every(self) -> int:
        """How far apart starts are (microseconds), rounded up: never more than ``n`` in a period."""
        return -(-self.period // max(self.n, 1))

    def text(self) -> str:
        """As it is stored."""
        return f"{self.n} {self.period} {self.burst}"

    def at_once(self, cost: int) -> int:
        """How long it takes until all is free after what may be taken at once (microseconds).

        An attempt of a greater ``cost`` than the burst that an operator has set starts when all is free.
        """
        return self.every * max(self.burst, cost)


def speed_of(pace: Pace) -> Speed:
    """What the code says of a rate that an attempt needs."""
    return Speed(pace.n, pace.period, pace.burst)


class Standing(NamedTuple):
    """How a rate stands.

    Attributes:
        tat: when all its places are free (microseconds), at the speed in force.
        given: an operator's speed.
        own: that of the newest deployment.
        of: the number of that deployment.
        cost: the most places that one attempt has taken.
    """

    tat: int = 0
    given: Speed | None = None
    own: Speed | None = None
    of: int = -1
    cost: int = 1

    @property
    def speed(self) -> Speed | None:
        """The one that is in force; ``None`` before its first use."""
        return self.own if self.given is None else self.given

    @property
    def runs(self) -> bool:
        """Whether anything may start: no operator has set it to 0."""
        return self.speed is None or self.speed.n > 0

    @property
    def next_at(self) -> int | None:
        """When the next may start (ms), if its cost is 1: also a time that has passed; ``None`` while it is stopped."""
        if self.speed is None or not self.speed.n:
            return None
        return -(-(self.tat + self.speed.every - self.speed.at_once(1)) // MS)

    def met(self, speed: Speed, of: int, now: int) -> Standing:
        """As it stands for one whose deployment ``of`` declares ``speed``: a newer one's counts, an older one's not."""
        if self.own is not None and of < self.of:
            return self
        tat = self.tat if self.given is not None else translated(self.tat, self.own, speed, now, self.cost)
        return self._replace(own=speed, of=of, tat=tat)

    def met_by(self, pace: Pace, now: int) -> Standing:
        """The same, for one who needs ``pace``."""
        return self.met(speed_of(pace), pace.of, now)

    def set_to(self, speed: Speed | None, now: int) -> Standing:
        """As it stands once an operator has set it, or taken that back."""
        after = self._replace(given=speed)
        return after._replace(tat=translated(self.tat, self.speed, after.speed, now, self.cost))

    def start(self, cost: int, now: int) -> int:
        """When something may start that takes so many places (microseconds), if the rate is not stopped."""
        assert self.speed is not None  # noqa: S101 - who asks has met it
        return max(now * MS, self.tat + self.taken(cost) - self.speed.at_once(cost))

    def taken(self, cost: int) -> int:
        """By how much ``tat`` grows for so many places (microseconds)."""
        assert self.speed is not None  # noqa: S101 - as above
        return self.speed.every * cost

    def with_taken(self, cost: int, at: int) -> Standing:
        """As it stands once so many places are taken for a start at ``at`` (microseconds)."""
        return self._replace(tat=max(self.tat, at) + self.taken(cost), cost=max(self.cost, cost))

    def written(self, item: Item | None, now: int) -> dict[str, Value | None]:
        """What a write has of it, where ``item`` was read; a rate that an operator has set does not expire."""
        found: dict[str, Value | None] = {"format": FORMAT}
        if self.tat != whole(item, "tat"):
            found["tat"] = self.tat
        if self.cost > 1:
            found["cost"] = self.cost
        if self.own is not None:
            found |= {"own": self.own.text(), "of": self.of}
        return found | ({EXPIRES: idle(now)} if self.given is None else {})


def translated(tat: int, old: Speed | None, new: Speed | None, now: int, cost: int = 1) -> int:
    """``tat`` at another speed: never more start than the greater burst and the greater speed allow, in any window.

    The starts that are reserved stay as they are, and those at the new speed come after the last of them, one after the
    other. Where none is ahead, as many places are taken as were; after a stop, all that may be taken at once, which is
    as many as one attempt takes (``cost``) where that is more than the burst.
    """
    if old == new or not tat:
        return tat
    moment = now * MS
    if old is None or not old.n:
        return tat if new is None or not new.n else max(moment, tat) + new.at_once(cost)
    latest = max(moment, tat - old.at_once(1))
    if new is None or not new.n:
        return latest
    if latest > moment:
        return latest + new.at_once(cost)
    return moment + -(-max(tat - moment, 0) // old.every) * new.every


def standing(item: Item | None) -> Standing:
    """How a rate stands, by its item."""
    return Standing(
        whole(item, "tat"), _speed(item, "set"), _speed(item, "own"), whole(item, "of", -1), whole(item, "cost", 1)
    )


def as_read(item: Item | None, but: str = "") -> Condition:
    """That a rate stands as it was read, except for one attribute."""
    return items.as_read(item, [name for name in READ if name != but])


def _speed(item: Item | None, name: str) -> Speed | None:
    text = None if item is None else item.get(name)
    return Speed(*map(int, text.split())) if isinstance(text, str) else None
