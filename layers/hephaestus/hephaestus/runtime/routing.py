"""Where a step's event leads: the targets of its transition, or those that a ``Choice`` picks among them."""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from hephaestus.definition.context import context_after
from hephaestus.definition.durations import shown
from hephaestus.definition.step import DONE, FAIL, Configured, Done, Fail, Step, fail_reason
from hephaestus.engine.events import NOTHING
from hephaestus.errors import NonRetryable
from hephaestus.runtime.error_text import MAX_MESSAGE
from hephaestus.values import NotSerializable, freeze, to_json
from hephaestus.values.scalars import clean_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hephaestus.definition.context import StepContext
    from hephaestus.definition.definition import Definition, Route

MAX_CONFIG_BYTES: Final = 64 * 1024  # of JSON; it stands in the log and in the snapshot


class InvalidChoice(NonRetryable):
    """What a ``Choice`` returned is none of its targets; asking it again would not help."""


class Taken(NamedTuple):
    """The live targets of an event, and the configurations that a ``Choice`` returned with them, by target.

    ``fail`` is the reason where it leads to ``FAIL``, ``""`` without one; ``None`` elsewhere.
    """

    steps: tuple[str, ...] = ()
    configs: Mapping[str, Mapping[str, Any]] = NOTHING
    fail: str | None = None


def route(definition: Definition, key: str, event: str, results: Mapping[str, Any], context: StepContext) -> Taken:
    """The steps that ``event`` of step ``key`` leads to; none where it ends, or where a ``Choice`` chose nothing.

    Raises:
        InvalidChoice: a ``Choice`` picked something that is not among its targets, one target with two configurations,
            or a configuration that cannot be stored.
    """
    found = definition.routes[key][event]
    if found.choice is None:
        return Taken(found.targets, fail=None if found.fail is None else clean_text(found.fail, MAX_MESSAGE))
    seen = context_after(context, key, event, results)
    place = f"step {key}: the Choice of {event!r}"
    configs: dict[str, Mapping[str, Any] | None] = {}
    reason: str | None = None
    for picked in _listed(found.choice.function(seen), place):
        target, config = _read(picked, definition, found, place)
        if configs.setdefault(target, config) != config:
            message = f"{place} picked {target} twice with different configurations: pick it once"
            raise InvalidChoice(message)
        if target == FAIL.key:
            first, reason = reason, _reason(picked, found, place)
            if first not in {None, reason}:
                message = f"{place} picked FAIL twice with different reasons: pick it once"
                raise InvalidChoice(message)
    if reason is not None and len(configs) > 1:
        message = f"{place} picked FAIL together with {', '.join(configs.keys() - {FAIL.key})}: return FAIL alone"
        raise InvalidChoice(message)
    own = {target: config for target, config in configs.items() if config is not None and target in found.targets}
    return Taken(tuple(target for target in configs if target in found.targets), _stored(own, place), reason)


def _reason(picked: object, found: Route, place: str) -> str:
    """The reason of a ``FAIL`` that was picked: without one of its own, that of the ``FAIL`` in the targets."""
    reason = fail_reason(picked.step if isinstance(picked, Configured) else picked) or found.fail
    if reason is not None and not isinstance(reason, str):
        message = f'{place} picked FAIL({shown(reason)}): give the reason as a text, as in FAIL("reason")'
        raise InvalidChoice(message)
    return clean_text(reason, MAX_MESSAGE) if reason else ""


def _listed(picked: Any, place: str) -> Iterable[object]:
    """What was picked, one by one."""
    if picked is None:
        return ()
    if isinstance(picked, Awaitable):
        if isinstance(picked, Coroutine):
            picked.close()
        message = f"{place} returned a {type(picked).__name__}: its function must be a plain one, not async"
        raise InvalidChoice(message)
    return picked if isinstance(picked, (list, tuple)) else (picked,)


def _read(picked: object, definition: Definition, found: Route, place: str) -> tuple[str, Mapping[str, Any] | None]:
    """The key of a target, and the configuration that it was returned with, if it was."""
    config = None
    target = picked
    if isinstance(picked, Configured):
        target, config = picked.step, picked.config
        if not isinstance(config, Mapping):
            message = f"{place} picked the configuration {shown(config)}: give a mapping"
            raise InvalidChoice(message)
    key = _key(target, definition, found)
    ends = {DONE.key: found.ends, FAIL.key: found.fail is not None}
    if config and ends.get(key):
        message = f"{place} picked {key} with a configuration: return {key} alone, it never runs"
        raise InvalidChoice(message)
    if key in found.targets or ends.get(key):
        return key, config
    targets = ", ".join((*found.targets, *(key for key in ends if ends[key])))
    message = f"{place} picked {shown(picked)}, which is not among its targets ({targets}): return one, or a list"
    raise InvalidChoice(message)


def _key(target: object, definition: Definition, found: Route) -> str:
    """The key of a step, given as the step, its class or its key; empty for what is no step."""
    if isinstance(target, str):
        return str.__str__(target)
    if isinstance(target, Step):
        return target.key
    if not isinstance(target, type) or not issubclass(target, Step):
        return ""
    if issubclass(target, (Done, Fail)):
        return str(target.step_key)
    made = [key for key in found.targets if type(definition.steps[key]) is target]
    return made[0] if len(made) == 1 else ""


def _stored(configs: Mapping[str, Mapping[str, Any]], place: str) -> Mapping[str, Mapping[str, Any]]:
    """The configurations as they are stored.

    Raises:
        InvalidChoice: they cannot be.
    """
    if not configs:
        return NOTHING
    try:
        frozen: Mapping[str, Mapping[str, Any]] = freeze({key: dict(own) for key, own in configs.items()}, "config")
    except NotSerializable as error:
        message = f"{place} picked a configuration that cannot be stored: {error}"
        raise InvalidChoice(message) from error
    size = len(to_json(frozen).encode())
    if size > MAX_CONFIG_BYTES:
        message = f"{place} picked configurations of {size} bytes; at most {MAX_CONFIG_BYTES} are stored"
        raise InvalidChoice(message)
    return frozen
