"""A step for each of several items: what a user writes, and what its ``over`` gave, checked before anything runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from hephaestus.definition.child import ChildWorkflow, is_workflow
from hephaestus.definition.durations import shown
from hephaestus.definition.item_sources import InvalidItems, Items
from hephaestus.definition.mistakes import Mistakes
from hephaestus.definition.rates import RateLimit
from hephaestus.definition.signatures import call_problem
from hephaestus.definition.step import Done, Fail, Step
from hephaestus.engine.graph import WHOLE_SHARE, Spread
from hephaestus.engine.records import NOTHING
from hephaestus.values import FrozenDict, FrozenList, NotSerializable, freeze
from hephaestus.values.lazy_dataclass import dataclass
from hephaestus.values.scalars import is_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hephaestus.definition.context import Instance, StepContext
    from hephaestus.definition.definition import Declared
    from hephaestus.definition.retries import Retry
    from hephaestus.definition.step import StepLike
    from hephaestus.definition.workflow import Workflow
    from hephaestus.engine.records import Plan, Received

MOST_ITEMS: Final = 100_000
MOST_CHUNK: Final = 100  # items of one instance
FAN: Final = 100  # instances below one
MOST_AT_ONCE: Final = 10_000
LONGEST_KEY: Final = 128  # characters
GIVE_ITEMS: Final = "give a list, or anything else that its items can be read from one by one"


@dataclass(frozen=True, slots=True)
class Spreads:
    """What a map's functions gave, as it is stored.

    Attributes:
        items: what the map runs its step for.
        keys: their keys, where they are not the indexes.
        initial: the start data that the items read; ``None`` for those of the instance.
        source: the object whose lines the items are; they are not read yet.
        plan: how the items are spread over instances, in place of the items themselves; their values are stored.
        config: the configuration of the map, where it is another instance's.
        child, version: where it runs a workflow, the key of the instances' ids, and its version.
        received: by key, the events that were accepted for them before the map began anew.
        malformed: by key, what is wrong with the lines that cannot be read as items.
    """

    items: FrozenList
    keys: tuple[str, ...] = ()
    initial: FrozenDict | None = None
    source: Items | None = None
    plan: Plan | None = None
    config: Mapping[str, Any] = NOTHING
    child: str = ""
    version: int = 0
    received: Mapping[str, Received] = NOTHING
    malformed: Mapping[str, str] = NOTHING


class Map(Step):
    """Run a step, or a workflow, for each of several items; it emits ``"done"`` when all of them have ended.

    An item has failed when its step has failed for good; the events that its step emits are outcomes, and are counted.
    An item of a workflow is an instance, which has completed or has failed; it starts with the item, a mapping.
    With more failures than ``tolerate`` no other item begins; the map emits ``"error"`` if that is routed, or fails.
    Its results are ``{total, completed, failed, cancelled, not_started, events, reason}``.

    Args:
        target: the step, a ``ChildWorkflow`` or a workflow; its code reads ``ctx.item``, ``ctx.item_key`` and
            ``ctx.index``, and ``ctx.steps`` is empty.
        over: takes the context and gives the items, at most 100,000: a list, or what can be read one by one. Or
            ``Items``, or what gives them.
        key: takes an item and gives its key, 1 to 128 printable characters, each once; by default its index.
        tolerate: how many items may fail, as a number or as a share of all (``"5%"``).
        concurrency: how many items run or wait at a time at most: 1 to 10,000.
        chunk: how many items share an instance and a Lambda, 1 to 100; more items than that are run by several.
        collect: whether what the items leave is kept, for ``ctx.results``; without, only what a compensation reads.
        retry: how failed attempts of ``over`` are repeated; the items are repeated as their step says.
        context: takes the context and gives what the items read as ``ctx.initial``; by default the start data.
        name: the map's key; by default that of its step.

    Raises:
        DefinitionError: there is no step that can be mapped, or a bound or a function is none.
    """

    events = ("done",)

    def __init__(  # noqa: PLR0913 - what is run for what, and how
        self,
        target: StepLike | type[Workflow],
        *,
        over: Callable[[StepContext], Iterable[Any] | Items] | Items,
        key: Callable[[Any], str] | None = None,
        tolerate: int | str = 0,
        concurrency: int = 100,
        chunk: int = MOST_CHUNK,
        collect: bool = True,
        retry: Retry | None = None,
        context: Callable[[StepContext], Mapping[str, Any]] | None = None,
        name: str | None = None,
    ) -> None:
        made = _made(target)
        self.step_key = name if name is not None else made.key if isinstance(made, Step) else "map"
        wrong = Mistakes(self.step_key)
        for problem, fix in _target_wrong(target, made):
            wrong.add(problem, fix)
        given = (("over", over, "context"), ("key", key, "item"), ("context", context, "context"))
        for what, function, argument in given:
            needed = function is not None or what == "over"
            if (
                needed
                and not (what == "over" and isinstance(function, Items))
                and (unfit := call_problem(function, argument, coroutines=False))
            ):
                wrong.add(f"its {what} {unfit}", f"Give a plain function that takes the {argument}")
        if not is_whole(concurrency) or not 1 <= concurrency <= MOST_AT_ONCE:
            wrong.add(f"concurrency is {shown(concurrency)}", f"Give a whole number from 1 to {MOST_AT_ONCE:,}")
        if not is_whole(chunk) or not 1 <= chunk <= MOST_CHUNK:
            wrong.add(f"chunk is {shown(chunk)}", f"Give a whole number from 1 to {MOST_CHUNK}")
        if isinstance(over, Items) and key is not None:
            wrong.add("has a key and the lines of an object as its items", "Drop key: their keys are their indexes")
        if (tolerated := read_tolerated(tolerate)) is None:
            wrong.add(f"tolerate is {shown(tolerate)}", 'Give a number of items, or a share from "0%" to "100%"')
        if not isinstance(collect, bool):
            wrong.add(f"collect is {shown(collect)}", "Give True or False")
        wrong.report("map")
        assert isinstance(made, Step)  # noqa: S101 - as checked
        self.target, self.over, self.key_of, self.initial_of = made, over, key, context
        self.tolerate, self.share = tolerated or (0, None)
        self.concurrency, self.chunk, self.collect, self.retry = int(concurrency), int(chunk), collect, retry

    @property
    def compensates(self) -> bool:
        """Whether its items can be undone."""
        return self.target.compensates

    def spread(self, item: Declared) -> Spread:
        """How it runs its items, as the engine reads it; ``item`` is what its step declares."""
        workflows = isinstance(self.target, ChildWorkflow)
        return Spread(self.concurrency, self.tolerate, self.share, item.events, workflows)

    def execute(self, instance: Instance, config: Mapping[str, Any], context: StepContext) -> Spreads:  # noqa: ARG002 - the signature of every step
        """Ask for the items.

        Raises:
            NonRetryable: they cannot be run.
        """
        given = self.over if isinstance(self.over, Items) else self.over(context)
        if isinstance(given, Items):
            if self.key_of is not None:
                message = f"step {self.key}: over gave {given!r}, whose items have their indexes as keys: drop key="
                raise InvalidItems(message)
            return Spreads(FrozenList(), initial=self._initial(context), source=given)
        items = _items_of(given, f"step {self.key}: over")
        frozen = FrozenList(_stored(item, f"step {self.key}: item {place}") for place, item in enumerate(items))
        keys = () if self.key_of is None else tuple(map(self.key_of, items))
        for problem in _keys_wrong(keys):
            message = f"step {self.key}: {problem}"
            raise InvalidItems(message)
        return Spreads(frozen, keys, self._initial(context))

    def _initial(self, context: StepContext) -> FrozenDict | None:
        """What the items read as start data, where that is not the instance's.

        Raises:
            InvalidItems: it is no mapping, or cannot be stored.
        """
        if self.initial_of is None:
            return None
        initial = self.initial_of(context)
        if not isinstance(initial, Mapping):
            message = f"step {self.key}: context gave {shown(initial)}: give a mapping"
            raise InvalidItems(message)
        return FrozenDict(_stored(dict(initial), f"step {self.key}: context"))

    def __repr__(self) -> str:
        """``<map resize>``."""
        return f"<map {self.key}>"


def _made(target: object) -> object:
    """The step that a target stands for; what cannot be made stays as it is."""
    if is_workflow(target):
        return ChildWorkflow(target, context=_as_start_data)
    if isinstance(target, type) and issubclass(target, Step):
        try:
            return target()
        except Exception:  # noqa: BLE001 - a user's constructor may raise anything
            return target
    return target


def _as_start_data(context: StepContext) -> Mapping[str, Any]:
    """The item, with which its workflow starts."""
    if not isinstance(context.item, Mapping):
        message = (
            f"item {context.item_key} is {shown(context.item)}, and a workflow starts with a mapping: give the map a "
            "ChildWorkflow(..., context=lambda ctx: {...}) that makes one of it"
        )
        raise InvalidItems(message)
    return context.item


def _target_wrong(given: object, made: object) -> Iterator[tuple[str, str]]:
    """Why a step cannot be run for each item."""
    if isinstance(made, Map):
        yield ("is a map of a map", "Put the inner one into a workflow of its own")
    elif isinstance(made, (Done, Fail)):
        yield (f"is a map of {made.key}, which never runs", "Give a step")
    elif isinstance(made, type) and issubclass(made, Step):
        yield (f"is a map of {made.__name__}, which cannot be made without arguments", "Give an instance of it")
    elif not isinstance(made, Step):
        yield (f"is a map of {shown(given)}, which is no step", "Give a function with @step, or a Step class")
    elif isinstance(made, ChildWorkflow) and made.detached:
        yield (f"is a map of {made.key}, which is detached", "Drop detached=True: a map waits for its items")
    elif made.rounds is not None:
        yield (f"is a map of {made.key}, which has rounds", "Give a step that runs once for an item")
    elif made.checkpoint is False:
        fix = "Drop checkpoint=False: what items end together is one commit"
        yield (f"is a map of {made.key}, which has checkpoint=False", fix)
    elif len({isinstance(limit, RateLimit) for limit in made.limits or ()}) > 1:
        fix = (
            "Give the map a concurrency in place of the limit; or make the step a workflow, and run that for each item"
        )
        yield (f"is a map of {made.key}, which names a rate and a limit that has permits", fix)


def read_tolerated(given: object) -> tuple[int, int | None] | None:
    """How many items may fail: a number, or a share in hundredths of a per cent; ``None`` for neither."""
    if is_whole(given):
        return (int(given), None) if given >= 0 else None
    if not isinstance(given, str) or not given.endswith("%"):
        return None
    try:
        share = Decimal(given[:-1]) * 100
    except InvalidOperation:
        return None
    whole = share.is_finite() and share == share.to_integral_value() and 0 <= share <= WHOLE_SHARE
    return (0, int(share)) if whole else None


def _stored(value: object, place: str) -> Any:
    """A value as it is stored.

    Raises:
        InvalidItems: it cannot be.
    """
    try:
        return freeze(value, place)
    except NotSerializable as error:
        raise InvalidItems(str(error)) from error


def _items_of(given: object, place: str) -> list[Any]:
    """The items, not one more than there may be.

    Raises:
        InvalidItems: there are none to be read, or too many.
    """
    if isinstance(given, (str, bytes, bytearray, Mapping)) or not isinstance(given, Iterable):
        message = f"{place} gave {shown(given)}, which is no list of items: {GIVE_ITEMS}"
        raise InvalidItems(message)
    items = list(islice(given, MOST_ITEMS + 1))
    if len(items) > MOST_ITEMS:
        message = f"{place} gave more than {MOST_ITEMS:,} items, and a map runs at most so many of a list"
        raise InvalidItems(message)
    return items


def _keys_wrong(keys: tuple[Any, ...]) -> Iterator[str]:
    """What is wrong with the keys of items."""
    places: dict[str, int] = {}
    for place, key in enumerate(keys):
        if not isinstance(key, str) or not 1 <= len(key) <= LONGEST_KEY or not key.isprintable():
            yield f"the key of item {place} is {shown(key)}: give a text of 1 to {LONGEST_KEY} printable characters"
        elif key in places:
            yield f"items {places[key]} and {place} have the key {key!r}: give each its own"
        else:
            places[key] = place
