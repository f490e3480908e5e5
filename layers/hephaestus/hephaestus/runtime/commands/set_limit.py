"""What operators do to limits: set their number, and take it back (F.8)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from hephaestus import errors
from hephaestus.definition.concurrency import MOST_PERMITS
from hephaestus.runtime.commands import members
from hephaestus.runtime.commands.command import Command
from hephaestus.runtime.limit_pages import NAMED, read_limit
from hephaestus.runtime.lines import wake
from hephaestus.store.numbers import RATES_LISTED_AS

if TYPE_CHECKING:
    from hephaestus.runtime.caller import Caller
    from hephaestus.runtime.dispatch import Dispatch
    from hephaestus.runtime.instances import Instances


def _read_number(name: str, given: Any) -> int:
    if type(given) is int and 0 <= given <= MOST_PERMITS:
        return given
    message = f"{name} must be a whole number from 0 to {MOST_PERMITS}"
    raise errors.BadRequest(message)


LIMIT: Final = members.Rule(
    str, read_limit, {"type": "string", "format": "printable", "pattern": f"^{NAMED.pattern}$", "examples": ["stripe"]}
)
NUMBER: Final = members.Rule(int, _read_number, {"type": "integer", "minimum": 0, "maximum": MOST_PERMITS})


def _limit() -> Any:
    return members.required(LIMIT, "The limit's name, with the value of its per if it has one, as stripe#acme.")


class SetLimit(Command):
    """Set how many permits a limit has, whatever the code says; with 0, nothing that names it runs."""

    action = "set_limit"
    operation = "setLimit"
    route = "/limits/set"
    raises = (errors.UnknownLimit,)
    named_by = ""
    answers = "limit"
    logged = ("limit", "number")
    said = "set"

    limit: members.Text = _limit()
    number: members.Number = members.required(NUMBER, "How many attempts may run at once, 0 to stop them all.")
    by: members.By = members.caller(default=None)

    def perform(self, instances: Instances, going: Dispatch) -> str:
        """Set it, and call who may run now; return its name."""
        del going  # who is called is woken
        check_known_limit(instances, self.limit)
        return _give(instances, self.limit, self.number, self.by)


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
        check_known_limit(instances, self.limit)
        return _give(instances, self.limit, None, self.by)


def _give(instances: Instances, limit: str, number: int | None, who: Caller) -> str:
    now, unique = instances.clock.now(), instances.clock.unique()
    wake(instances.store.permits.give(limit, number, (who.name, who.source), now, unique), instances.queue)
    return limit


def check_known_limit(instances: Instances, limit: str) -> None:
    """Reject a name that no deployed workflow has, and that was never used: it is misspelt.

    Raises:
        UnknownLimit: it is one.
    """
    if instances.store.permits.usage(limit, 1).is_known:
        return
    declared = {one.name: one for one in instances.registry.limits()}
    name, _, value = limit.partition("#")
    known = declared.get(name)
    if known is not None and (known.per is not None) is bool(value):
        return
    if known is not None:
        message = f"limit {name} has permits for each value of its per: name one, as {name}#acme"
        if known.per is None:
            message = f"limit {name} has no per: name it without what is behind the #"
        raise errors.UnknownLimit(message)
    if limit in instances.store.permits.known(limit, 1, kind=RATES_LISTED_AS):
        message = f"limit {limit} is a rate, and has no permits: how many start in a time is for the code to say"
        raise errors.UnknownLimit(message)
    if instances.registry.unavailable():
        return  # it may be in a module that cannot be loaded
    message = f"there is no limit {limit[:80]!r}; the deployed workflows name: {', '.join(sorted(declared)) or 'none'}"
    raise errors.UnknownLimit(message)
