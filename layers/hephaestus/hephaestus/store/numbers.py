"""How many permits a limit has (F.8): an operator's number until it is unset, else that of the newest deployment.

Both stand in the limit's item, so that who takes a permit needs no other request: the write that takes it also declares
the number of its own deployment, on condition that no newer one has, and that no operator's number is there. Else it is
rejected, and done again by the number that was read. Nothing but ``given`` writes an operator's number, and the item
that has one does not expire.

attribute   is
----------  ----------------------------------------------------------------------------------------
n, of       the number that the newest deployment declares, and the number of that deployment
set         an operator's number; not there where there is none
sets        how often operators have set or unset it
most        the greatest number, where it was ever more than one item has: so many shards there are
changed     there where the number of one with shards has changed: places in lines may be of another number's shards
by, at      who has set it last, or taken it back, and when (ms); ``by_source`` is how that is known
why         the reason that was given

A shard's item has a copy of ``n``, ``of``, ``set`` and ``sets``, which is not older than the newest that has answered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hephaestus.engine import shards
from hephaestus.engine.shards import is_copy, limit_of, place_of_shard, share_of
from hephaestus.store import items
from hephaestus.store.items import FORMAT, list_key, shard_of, whole
from hephaestus.store.table import EXPIRES, Condition

if TYPE_CHECKING:
    from hephaestus.engine.records import Need
    from hephaestus.store.table import Item, Value

IDLE: Final = 400 * 24 * 3600  # seconds after its last use, a limit is forgotten
LISTED_AS: Final = "limit"
RATES_LISTED_AS: Final = "rate"
NUMBERS: Final = ("n", "of", "set")


def number_of(item: Item | None, need: Need) -> int:
    """How many permits an item has, its share of the number that is in force."""
    return share_of(in_force(item, need), place_of_shard(need.limit)[0])


def in_force(item: Item | None, need: Need) -> int:
    """How many permits a limit has, for one who needs ``need.number`` of them by its own deployment."""
    given = operators(item)
    if given is not None:
        return given
    if is_copy(need.limit):
        return known_number(item) or 0
    return need.number if item is None or is_newest(item, need) else whole(item, "n")


def operators(item: Item | None) -> int | None:
    """An operator's number; ``None`` where there is none."""
    given = None if item is None else item.get("set")
    return given if isinstance(given, int) else None


def known_number(item: Item | None) -> int | None:
    """How many permits a limit has, as far as its item says."""
    given, declared = operators(item), None if item is None else item.get("n")
    return given if given is not None else declared if isinstance(declared, int) else None


def known_share(item: Item | None, shard: str) -> int:
    """How many permits a shard has, as far as its item says, or the limit's own."""
    return share_of(known_number(item) or 0, place_of_shard(shard)[0])


def is_newest(item: Item, need: Need) -> bool:
    """Whether no newer deployment has declared another number; of one and the same, what comes last counts."""
    return need.of >= whole(item, "of")


def declared(item: Item | None, need: Need) -> dict[str, Value | None]:
    """What a use of a limit writes of its number; a newer deployment's stays, and a shard's is a copy."""
    if is_copy(need.limit):
        return {}
    return {"n": need.number, "of": need.of} if item is None or is_newest(item, need) else {}


def kept(item: Item | None, now: int) -> dict[str, Value | None]:
    """Until when a limit is kept that is used at ``now`` (ms); one with an operator's number has no end."""
    return {EXPIRES: idle(now)} if operators(item) is None else {}


def idle(now: int) -> int:
    """Until when (s) a limit is kept that is used at ``now`` (ms)."""
    return now // 1000 + IDLE


def in_list(limit: str, shards: int, kind: str = LISTED_AS) -> dict[str, Value | None]:
    """The keys by which a limit is listed. They never change, so that only the first use pays for them.

    Shards are not listed: the first one is the limit's own item.
    """
    if is_copy(limit):
        return {}
    name = limit_of(limit)
    return {"list_key": list_key(kind, "", shard_of(name, shards)), "list_at": name}


def stands(item: Item | None, need: Need | None = None) -> Condition:
    """That a limit's number is as it was read; given a ``need``, that no newer deployment has declared another."""
    given = operators(item)
    equal: dict[str, Value] = {} if given is None else {"set": given}
    missing = ("set",) if given is None else ()
    if need is not None and not is_copy(need.limit) and (item is None or is_newest(item, need)):
        newest = (Condition(missing=("of",)), Condition(at_most={"of": need.of}))
        return Condition(equal=equal, missing=missing, any_of=newest)
    return together(Condition(equal=equal, missing=missing), items.as_read(item, ("n", "of")))


def together(one: Condition, other: Condition) -> Condition:
    """Two conditions on one item, of which one has alternatives at most."""
    return Condition(
        equal={**one.equal, **other.equal},
        missing=tuple(dict.fromkeys((*one.missing, *other.missing))),
        any_of=(*one.any_of, *other.any_of),
    )


def given(item: Item | None, number: int | None, by: tuple[str, str], now: int, why: str) -> dict[str, Value | None]:
    """The attributes of an operator's number, or of its end."""
    found: dict[str, Value | None] = {"set": number, "at": now, "format": FORMAT}
    found |= {
        "sets": whole(item, "sets") + 1,
        **_spread(item, whole(item, "n") if number is None else number),
    }
    found |= {"by": by[0] or None, "by_source": by[1] or None, "why": why or None}
    return {**found, EXPIRES: None if number is not None else idle(now)}


def spread(item: Item | None, need: Need) -> dict[str, Value | None]:
    """What is written, where it is not there yet, before a limit has more permits than one item: see ``most``."""
    return _spread(item, in_force(item, need))


def _spread(item: Item | None, number: int) -> dict[str, Value | None]:
    most = max(whole(item, "most"), number)
    if most <= shards.MOST:
        return {}
    changed = item is not None and known_number(item) not in {None, number}
    return {"most": most, **({"changed": 1} if changed or (item or {}).get("changed") else {})}


def shards_there(item: Item | None) -> int:
    """How many shards a limit has, or ever had; one where all of its permits were in its own item."""
    return max(shards.shards_of(whole(item, "most")), 1)


def is_moved(item: Item | None) -> bool:
    """Whether places in line may be of another number's shards."""
    return item is not None and ("changed" in item or known_number(item) != whole(item, "most"))


def copied(of: Item, to: Item | None) -> dict[str, Value | None]:
    """What a shard's item is to have of the limit's own; nothing where it is as new already."""
    if any(whole(to, name, -1) > whole(of, name, -1) for name in ("sets", "of")):
        return {}  # it was copied from a newer one than ``of`` is
    found = {name: of.get(name) for name in (*NUMBERS, "sets")}
    if to is not None and all(to.get(name) == value for name, value in found.items()):
        return {}
    return {**found, "format": FORMAT, EXPIRES: of.get(EXPIRES)}


def as_read(item: Item | None) -> Condition:
    """That all of a limit's numbers are as they were read."""
    return items.as_read(item, (*NUMBERS, "sets", "most", "changed"))
