"""What requests cost: counted requests, and write units by DynamoDB's published rule.

A write costs one unit a started KB of the item, before or after it, whichever is larger; in a transaction twice that.
Each index entry that is put, deleted or changed costs one unit a started KB of the entry; one that moves costs both.
DynamoDB Local reports the same for single writes (a ``Meter`` compares) and a wrong constant for transactions.
Sources: the DynamoDB Developer Guide on capacity units, on item sizes and on global secondary indexes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from hephaestus.store.items import LISTED, RECENT

if TYPE_CHECKING:
    from hephaestus.adapters.dynamodb import DynamoTable

INDEXES: Final = {
    "wake": (("wake_shard", "wake_at"), ()),
    "listing": (("list_key", "list_at"), LISTED),
    "recent": (("recent_key", "list_at"), RECENT),
}
KB: Final = 1024


@dataclass(frozen=True)
class Request:
    """A request: write units by the rule, and as the database reported them (``None`` in transactions).

    ``pk`` is the partition of a request about one item.
    """

    operation: str
    units: float
    reported: float | None
    sizes: tuple[int, ...] = ()
    pk: str = ""


@dataclass
class Meter:
    """Counts what is asked of a table's client from now on; for one thread."""

    table: DynamoTable
    other: DynamoTable
    requests: list[Request] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Listen to the client."""
        events = self.table.client.meta.events
        events.register("before-parameter-build.dynamodb.*", self._before)
        events.register("after-call.dynamodb.*", self._after)

    @property
    def units(self) -> float:
        """All write units so far, by the rule."""
        return sum(request.units for request in self.requests)

    @property
    def operations(self) -> list[str]:
        """The names of all requests so far."""
        return [request.operation for request in self.requests]

    def clear(self) -> None:
        """Forget what was counted."""
        self.requests.clear()

    def _before(self, params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
        keys = [_key(write) for write in _writes(params)]
        context["metered"] = (keys, [self._get(key) for key in keys], len(params.get("TransactItems", [])) > 0)
        context["metered_pk"] = (params.get("Key") or params.get("Item") or {}).get("pk", {}).get("S", "")

    def _after(self, model: Any, parsed: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
        keys, before, transaction = context["metered"]
        after = [self._get(key) for key in keys]
        pairs = list(zip(before, after, strict=True))
        units = sum(write_units(old, new, twice=transaction) for old, new in pairs)  # a refused write costs as much
        capacity = parsed.get("ConsumedCapacity")
        reported = capacity["CapacityUnits"] if isinstance(capacity, dict) and keys and not transaction else None
        sizes = tuple(max(item_size(old), item_size(new)) for old, new in pairs)
        self.requests.append(Request(model.name, units, reported, sizes, context["metered_pk"]))

    def _get(self, key: dict[str, Any]) -> dict[str, Any]:
        found = self.other.client.get_item(TableName=self.table.name, Key=key, ConsistentRead=True)
        item: dict[str, Any] = found.get("Item", {})
        return item


def write_units(old: dict[str, Any], new: dict[str, Any], *, twice: bool) -> int:
    """The units of one write that turns ``old`` into ``new``, its index writes included."""
    table = _kilobytes(max(item_size(old), item_size(new))) * (2 if twice else 1)
    return table + sum(_index_units(old, new, *index) for index in INDEXES.values())


def item_size(item: dict[str, Any]) -> int:
    """The bytes that count: names and values."""
    return sum(len(name.encode()) + _value_size(value) for name, value in item.items())


def _index_units(old: dict[str, Any], new: dict[str, Any], keys: tuple[str, ...], projected: tuple[str, ...]) -> int:
    names = ("pk", "sk", *keys, *projected)
    was = {name: old[name] for name in names if name in old} if all(key in old for key in keys) else {}
    becomes = {name: new[name] for name in names if name in new} if all(key in new for key in keys) else {}
    if was == becomes:
        return 0
    if was and becomes and all(was[key] == becomes[key] for key in keys):
        return _kilobytes(max(item_size(was), item_size(becomes)))
    return sum(_kilobytes(item_size(entry)) for entry in (was, becomes) if entry)


def _kilobytes(size: int) -> int:
    return max(-(-size // KB), 1)


def _value_size(value: dict[str, Any]) -> int:
    (kind, content), *_ = value.items()
    match kind:
        case "S":
            return len(content.encode())
        case "N":
            return _number_size(content)
        case "B":
            return len(content)
        case "L":
            return 3 + sum(1 + _value_size(element) for element in content)
        case _:
            return 1


def _number_size(number: str) -> int:
    """A byte and one for a minus; and one for every two digits, paired from the point, but for zeros at either end."""
    whole, _, fraction = number.lstrip("-").partition(".")
    digits = whole.zfill(len(whole) + len(whole) % 2) + fraction + "0" * (len(fraction) % 2)
    pairs = [digits[at : at + 2] != "00" for at in range(0, len(digits), 2)]
    counted = len(pairs) - pairs.index(True) - pairs[::-1].index(True) if any(pairs) else 0
    return counted + 1 + number.startswith("-")


def _writes(params: dict[str, Any]) -> list[dict[str, Any]]:
    if "TransactItems" in params:
        return [write for item in params["TransactItems"] for write in item.values()]
    return [params] if "Item" in params or "UpdateExpression" in params else []


def _key(write: dict[str, Any]) -> dict[str, Any]:
    source = write.get("Key") or write["Item"]
    return {"pk": source["pk"], "sk": source["sk"]}
