"""How the permits of a limit of many are named: more than a few are in shards, each with a line of its own (F.6).

A shard's name has its number, and how many permits the limit had when it was named: ``2/20|stripe`` is the third of
20 permits. Names of limits begin with a letter or ``_``, so no limit has the name of a shard. The first shard is
stored as the limit is that has no others; each other one has a copy of the limit's numbers.
"""

from __future__ import annotations

from typing import Final

MOST: Final = 8  # permits of one shard


def shard_of(limit: str, number: int, shard: int) -> str:
    """The name of a shard of a limit with ``number`` permits."""
    return f"{shard}/{number}|{limit}"


def is_shard(limit: str) -> bool:
    """Whether a name is a shard's."""
    return limit[:1].isdigit()


def is_copy(limit: str) -> bool:
    """Whether a name is that of another shard than the first."""
    return is_shard(limit) and place_of_shard(limit)[0] > 0


def limit_of(limit: str) -> str:
    """The name of the limit, with the value of its ``per``, of which a name may be a shard's."""
    return limit.partition("|")[2] if is_shard(limit) else limit


def stored_as(limit: str) -> str:
    """The name under which a shard is stored: it stays where it is when the limit's number changes."""
    return f"{place_of_shard(limit)[0]}|{limit_of(limit)}" if is_copy(limit) else limit_of(limit)


def place_of_shard(limit: str) -> tuple[int, int]:
    """Which shard it is, and of how many permits; of a stored name 0."""
    if not is_shard(limit):
        return 0, 0
    which, _, number = limit.partition("|")[0].partition("/")
    return int(which), int(number or 0)


def shards_of(number: int) -> int:
    """How many shards so many permits have."""
    return -(-number // MOST)


def share_of(number: int, shard: int) -> int:
    """How many of so many permits a shard has."""
    return max(min(MOST, number - MOST * shard), 0)
