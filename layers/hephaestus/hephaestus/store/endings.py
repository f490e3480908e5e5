"""What ends a life for good: an entry behind the one that closed it, which nothing follows.

``superseded``: the id is started again. It holds the whole new head, and what the old head alone holds. Whoever wins
the number has started; its writer, any other start, or the sweep puts the new head in the old one's place.

``deleted``: all that is below the instance is deleted, then everything of itself is removed, the head after all else.
The entry comes before all of it: a redrive that is faster finds its tree whole, and one that is slower no instance. It
has an alarm until all is done. It stays for a day, and so do the numbers of those before it, so that nothing that was
decided before can be added.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hephaestus.engine.state import evolve
from hephaestus.store.descent import delete_children
from hephaestus.store.heads import FAMILY
from hephaestus.store.items import FORMAT, attribute
from hephaestus.store.keys import HEAD, LOG, MAIL, VALUE, end_of, life_name, log_key, read_log_key
from hephaestus.store.reader import LOG_END
from hephaestus.store.start_ids import STARTS_KEPT
from hephaestus.store.table import ABSENT, ALWAYS, EXPIRES, PRESENT, Condition

if TYPE_CHECKING:
    from collections.abc import Callable

    from hephaestus.engine.events import Entry
    from hephaestus.engine.state import State
    from hephaestus.store.reader import Read
    from hephaestus.store.store import Store
    from hephaestus.store.table import Item, Value

NEXT: Final = "next_"  # in front of an attribute of the new head
KEPT: Final = ("generation", "created_at", "first", "first_at", "first_commit", "snapshot", "snapshot_at")
LEFT: Final = ("pk", "sk", "format", "commit_id", "at", "ends", f"{NEXT}life")  # of a deleted entry
EMPTIED: Final = {*LEFT, EXPIRES}
OLD: Final = "old_"  # in front of what the old head alone held
DAY: Final = 24 * 3600
HOUR_MS: Final = 3_600_000


class Endings:
    """Ends lives.

    Args:
        store: the store whose lives they are.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.table = store.table

    def supersede(self, found: Read, old: State, begun: State, first: Entry) -> State | None:
        """Start the next generation over a closed one; its state, or ``None`` where another took the number."""
        store = self.store
        known = found.head.get("earlier", ())
        earlier = (*(known if isinstance(known, tuple) else ()), str(found.head["first_commit"]))[-STARTS_KEPT:]
        head, kept = store.new_head(begun, first, earlier)
        if FAMILY in found.head or old.has_kin:
            head = {**head, FAMILY: 1}  # the children of earlier lives are deleted with this one
        key = log_key(old.life, old.sequence + 1)
        item = self._ending("superseded", old.instance_id, key, first.commit_id, first.at)
        item |= {f"{NEXT}{name}": value for name, value in head.items() if name not in ("pk", "sk")}
        item |= {f"{OLD}{name}": found.head[name] for name in KEPT if name in found.head}
        if (expires := store.expiry(first.at, 366 * DAY)) is not None:
            item[EXPIRES] = expires
        if not store.prolong(old.instance_id, old.life, first.at) or not self._put(item):
            store.values.remove(begun.instance_id, begun.life, kept.values)
            return None
        self._replace(store.settle(old), item)
        return evolve(begun, kept=kept)

    def delete(self, found: Read, now: int, finish: Callable[[State], object], *, related: bool) -> bool:
        """Delete a closed instance at ``now`` (ms); ``False`` where another took the number.

        What is below it goes then, and ``finish`` performs what the ends of those may have left undone. The ending says
        whether it is ``related`` to any: its head may lag, and show no child yet.
        """
        instance_id = str(found.head["pk"])
        item = self._ending("deleted", instance_id, log_key(found.life, found.sequence + 1), "deleted", now)
        item |= {FAMILY: 1} if related else {}
        if not self.store.prolong(instance_id, found.life, now) or not self._put(item):
            return False
        self._remove_all(found._replace(newest=item), str(item["sk"]), now, finish)
        return True

    def complete(self, found: Read, now: int, finish: Callable[[State], object]) -> None:
        """Finish what an ending began; see ``delete``."""
        item = found.newest
        assert item is not None  # noqa: S101 - the ending
        if found.ended == "deleted":
            self._remove_all(found, str(item["sk"]), now, finish)
        else:
            self._replace(self.store.settle(self.store.reader.state(found)), item)

    def clear(self, instance_id: str) -> None:
        """Finish a deletion of which only the head is gone."""
        for item in self.table.query(instance_id, low=LOG, high=LOG_END, limit=1):
            if item.get("ends") == "deleted" and "wake_at" in item:
                self._remove(instance_id, str(item["sk"]))

    def earlier(self, found: Read, generation: int) -> tuple[str, Entry] | None:
        """The life of an earlier generation and its first entry, one query a generation back; ``None`` if unknown."""
        instance_id, life = str(found.head["pk"]), found.life
        number = attribute(found.head, "generation", int)
        while number > generation >= 1:
            items = self.table.query(instance_id, low=end_of(f"{LOG}{life}#"), high=LOG_END, limit=1)
            if not items or items[0].get(f"{NEXT}life") != life:
                return None
            life, _ = read_log_key(str(items[0]["sk"]))
            number = attribute(items[0], f"{OLD}generation", int)
            if number == generation:
                return life, self.store.reader.first_of(items[0], life, OLD)
        return None

    def _ending(self, kind: str, instance_id: str, key: str, commit_id: str, at: int) -> dict[str, Value]:
        told: Item = {"pk": instance_id, "sk": key, "format": FORMAT, "ends": kind, "commit_id": commit_id, "at": at}
        return {**told, **self.store.shards.alarm(instance_id, at)}

    def _put(self, item: Item) -> bool:
        """Put an ending if its number is free; whether it was, or this very ending has taken it."""
        if self.table.put(item, ABSENT):
            return True
        found = self.table.get(str(item["pk"]), str(item["sk"]))
        same = ("commit_id", "ends", f"{NEXT}life")
        return found is not None and all(found.get(name) == item.get(name) for name in same)

    def _replace(self, old: State, item: Item) -> None:
        """Put the new head in the old one's place, if that is still there; then the ending needs no alarm."""
        head: dict[str, Value] = {name[len(NEXT) :]: value for name, value in item.items() if name.startswith(NEXT)}
        self.table.put({"pk": old.instance_id, "sk": HEAD, **head}, Condition(equal={"life": old.life}))
        self.store.strip(old.instance_id, str(item["sk"]))

    def _remove_all(self, found: Read, ending: str, now: int, finish: Callable[[State], object]) -> None:
        """Remove what is below a deleted instance, and then the instance, whose log names the others."""
        if FAMILY in found.head or FAMILY in (found.newest or {}):
            delete_children(self.store, found, now, finish)
        self._remove(str(found.head["pk"]), ending)

    def _remove(self, instance_id: str, ending: str) -> None:
        """Remove everything of a deleted instance but the numbers of its log, which expire.

        A start that meets the deletion may have written values already, and whoever is slow here may meet a whole new
        life: so only the lives that led to this one are removed, and what was left of lives that are much older.
        """
        item = self.table.get(instance_id, ending)
        if item is None:
            return  # it was done more than a day ago
        (life, _), at = read_log_key(ending), attribute(item, "at", int)
        lives, old = {life}, life_name(at - HOUR_MS, ending)
        log = self.table.query(instance_id, low=LOG, high=LOG_END)
        for one in log:  # the newest life first
            if one.get(f"{NEXT}life") in lives:
                lives.add(_life(one))
        for stored in self.table.query(instance_id, low=MAIL, high=end_of(VALUE)):
            if _life(stored) in lives or _life(stored) > old:
                self._drop(stored)
        for one in log:  # the newest first: what is left has no gap
            if _life(one) in lives and one["sk"] != ending:
                if not one.keys() <= EMPTIED:  # by a try that was cut off
                    self._empty(one, at)
            elif _life(one) > old and _life(one) not in lives:
                self.table.delete(instance_id, str(one["sk"]), ALWAYS)
        self.table.delete(instance_id, HEAD, Condition(equal={"life": life}))
        self._empty(item, at)

    def _drop(self, item: Item) -> None:
        """Remove mail, or a value with what of it stands elsewhere."""
        if str(item["sk"]).startswith(MAIL):
            self.table.delete(str(item["pk"]), str(item["sk"]), ALWAYS)
        else:
            self.store.values.drop(item)

    def _empty(self, entry: Item, at: int) -> None:
        """Leave nothing of an entry but its number, for a day: whoever read its life before must not find it free."""
        changes: dict[str, Value | None] = dict.fromkeys(name for name in entry if name not in LEFT)
        changes |= {"ends": "deleted", EXPIRES: at // 1000 + DAY, "wake_shard": None, "wake_at": None}
        self.table.update(str(entry["pk"]), str(entry["sk"]), changes, PRESENT)


def _life(item: Item) -> str:
    """The life of an entry or of a value."""
    return str(item["sk"]).split("#")[1]
