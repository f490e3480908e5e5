"""Continue instances: events by API or directly, timeouts by Scheduler, wake-ups by the work queue.

Who is told: an API caller gets a problem document, a direct caller the error itself (Lambda's ``errorType``), and a
message that fails goes back to the queue alone. A fired schedule has nobody to tell: what repeating cannot fix is
logged and dropped, the rest is raised so that Lambda repeats it. What only some triggers need is imported with them.
"""

from __future__ import annotations

import logging
from functools import cache
from typing import TYPE_CHECKING, Any

from hephaestus.aws import runner_from_environment
from hephaestus.errors import CallerError
from hephaestus.handlers.observability import begin, note, observed
from hephaestus.handlers.triggers import budget, read_timeout, trigger
from hephaestus.runtime.names import said_id

if TYPE_CHECKING:
    from hephaestus.handlers.http.api import Api
from hephaestus.handlers.triggers import Invocation

_logger = logging.getLogger("hephaestus.handlers.resume")
begin()
runner = runner_from_environment()


@observed
def handler(event: dict[str, Any], context: Invocation) -> dict[str, Any]:
    """Send the event to who reads it."""
    match trigger(event):
        case "api":
            return _api()(event, context)
        case "queue":
            from hephaestus.handlers.batch import wake_each  # noqa: PLC0415 - see above

            return wake_each(event, context, runner)
        case "timer":
            return _time_out(event, context)
        case "direct":
            from hephaestus.handlers.commands import do_directly  # noqa: PLC0415 - see above

            return do_directly(runner, "resume", event, context)


@cache
def _api() -> Api:
    from hephaestus.handlers.commands import serve  # noqa: PLC0415 - see above
    from hephaestus.handlers.http.api import Api  # noqa: PLC0415 - see above

    api = Api(runner)
    serve(api, "resume")
    return api


def _time_out(event: dict[str, Any], context: Invocation) -> dict[str, Any]:
    try:
        timeout = read_timeout(event)
        note(instance_id=said_id(timeout.instance_id), step=timeout.step)
        runner.timeout(timeout, budget=budget(context, runner.clock))
    except CallerError as error:
        _logger.exception("timeout dropped: repeating it cannot help")
        return {"dropped": str(error)}
    return {"id": timeout.instance_id}
