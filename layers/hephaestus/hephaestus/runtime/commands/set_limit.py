"""What operators do to limits: set their number, and take it back (F.8)."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from hephaestus import errors
from hephaestus.definition.concurrency import MOST_PERMITS
from hephaestus.definition.durations import Unfit, read_duration, shown
from hephaestus.definition.rates import LONGEST, MICROSECOND, MOST_A_SECOND, MOST_AT_ONCE, SHORTEST, RateLimit
from hephaestus.runtime import turns
from hephaestus.runtime.commands import members
from hephaestus.runtime.commands.command import Command
from hephaestus.runtime.limit_pages import NAMED, read_limit
from hephaestus.runtime.lines import wake
from hephaestus.store.speeds import Speed

if TYPE_CHECKING:
    from hephaestus.definition.concurrency import Limit
    from hephaestus.definition.durations import Duration
    from hephaestus.runtime.caller import Caller
    from hephaestus.runtime.dispatch import Dispatch
    from hephaestus.runtime.instances import Instances


def _whole(least: int, most: int) -> members.Rule:
    def read(name: str, given: Any) -> int:
        if type(given) is int and least <= given <= most:
            return given
        message = f"{name} must be a whole number from {least} to {most}"
        raise errors.BadRequest(message)

    return members.Rule(int, read, {"type": "integer", "minimum": least, "maximum": most})


def _read_period(name: str, given: Any) -> float:
    try:
        period = read_duration(given, name, longest=LONGEST)
    except Unfit as error:
        raise errors.BadRequest(str(error)) from error
    if period >= SHORTEST:
        return period.total_seconds()
    message = f"{name} is {shown(given)}: give a second or more, and as many more starts"
    raise errors.BadRequest(message)


LIMIT: Final = members.Rule(
    str, read_limit, {"type": "string", "format": "printable", "pattern": f"^{NAMED.pattern}$", "examples": ["stripe"]}
)
NUMBER: Final = _whole(0, MOST_A_SECOND * (LONGEST // SHORTEST))
BURST: Final = _whole(1, MOST_AT_ONCE)
PERIOD: Final = members.Rule(object, _read_period, {"type": "number", "minimum": 1, "maximum": LONGEST.total_seconds()})


def _limit() -> Any:
    return members.required(LIMIT, "The limit's name, with the value of its per if it has one, as stripe#acme.")


class SetLimit(Command):
    """Set how many permits a limit has, or how fast a rate is, whatever the code says; 0 stops what names it."""

    action = "set_limit"
    operation = "setLimit"
    route = "/limits/set"
    raises = (errors.UnknownLimit,)
    named_by = ""
    answers = "limit"
    logged = ("limit", "number", "period_seconds", "burst")
    said = "set"

    limit: members.Text = _limit()
    number: members.Number = members.required(
        NUMBER, "How many attempts may run at once; of a rate, how many may start in its time. 0 stops them all."
    )
    period_seconds: members.Member[Duration | None, float | None] = members.member(
        PERIOD, "Of a rate: in which time (seconds); without it, in that of the code.", default=None
    )
    burst: members.Member[int | None, int | None] = members.member(
        BURST, "Of a rate: how many may start at once after a pause; without it, as many as in the code.", default=None
    )
    reason: members.Text = members.member(members.REASON, "Shown with the limit.", default="")
    by: members.By = members.caller(default=None)

    def perform(self, instances: Instances, going: Dispatch) -> str:
        """Set it, and call who may run now; return its name."""
        del going  # who is called is woken
        if is_rate(instances, self.limit):
            return _give_rate(instances, self.limit, self.speed(instances), self.by, self.reason)
        if self.period_seconds is not None or self.burst is not None:
            message = f"limit {self.limit} is no rate: give a number of permits alone"
            raise errors.BadRequest(message)
        if self.number > MOST_PERMITS:
            message = f"'number' must be a whole number from 0 to {MOST_PERMITS}"
            raise errors.BadRequest(message)
        return _give(instances, self.limit, self.number, self.by, self.reason)

    def speed(self, instances: Instances) -> Speed:
        """How fast the rate is from now on: what is left out is as the code has it.

        Raises:
            BadRequest: it is not known in which time, or it is too fast.
        """
        name = self.limit.partition("#")[0]
        code = next((turns.speed(one) for one in instances.registry.rates() if one.name == name), None)
        code = code or instances.store.rates.queue(self.limit, 1).stands.own
        period = None if self.period_seconds is None else timedelta(seconds=self.period_seconds) // MICROSECOND
        if period is None and code is None and self.number:
            message = f"limit {self.limit} is a rate, and its code is not known: say in which time, as {self.number}/s"
            raise errors.BadRequest(message)
        period = period or (SHORTEST // MICROSECOND if code is None else code.period)
        if self.number * SHORTEST > MOST_A_SECOND * period * MICROSECOND:
            message = f"{self.number} in {period * MICROSECOND / SHORTEST:g} s is more than {MOST_A_SECOND} a second"
            raise errors.BadRequest(message)
        return Speed(self.number, period, self.burst or (1 if code is None else code.burst))


class UnsetLimit(Command):
    """Take back an operator's number of a limit: the newest deployment's counts again."""

    action = "unset_limit"
    operation = "unsetLimit"
    route = "/limits/unset"
    raises = (errors.UnknownLimit,)
    named_by = ""
    answers = "limit"
    logged = ("limit",)
    said = "has its number from the code again:"

    limit: members.Text = _limit()
    by: members.By = members.caller(default=None)

    def perform(self, instances: Instances, going: Dispatch) -> str:
        """Take it back, and call who may run now; return its name."""
        del going  # who is called is woken
        if is_rate(instances, self.limit):
            return _give_rate(instances, self.limit, None, self.by)
        return _give(instances, self.limit, None, self.by)


def _give(instances: Instances, limit: str, number: int | None, who: Caller, why: str = "") -> str:
    now, unique = instances.clock.now(), instances.clock.unique()
    wake(instances.store.permits.give(limit, number, (who.name, who.source), now, unique, why), instances.queue)
    return limit


def _give_rate(instances: Instances, limit: str, speed: Speed | None, who: Caller, why: str = "") -> str:
    due = instances.store.rates.give(limit, speed, (who.name, who.source), why, instances.clock.now())
    turns.call_at(limit, due, instances.clock, instances.queue)
    return limit


def is_rate(instances: Instances, limit: str) -> bool:
    """Whether a limit is a rate; a name that no deployed workflow has, and that was never used, is rejected.

    Raises:
        UnknownLimit: it is misspelt.
    """
    declared: dict[str, Limit] = {one.name: one for one in (*instances.registry.limits(), *instances.registry.rates())}
    name, _, value = limit.partition("#")
    known = declared.get(name)
    if known is not None and (known.per is not None) is bool(value):
        return isinstance(known, RateLimit)
    if instances.store.permits.usage(limit, 1).is_known:
        return False
    if instances.store.rates.queue(limit, 1).is_known:
        return True
    if known is not None:
        message = f"limit {name} has one for each value of its per: name one, as {name}#acme"
        if known.per is None:
            message = f"limit {name} has no per: name it without what is behind the #"
        raise errors.UnknownLimit(message)
    if instances.registry.unavailable():
        return False  # it may be in a module that cannot be loaded
    message = f"there is no limit {limit[:80]!r}; the deployed workflows name: {', '.join(sorted(declared)) or 'none'}"
    raise errors.UnknownLimit(message)
