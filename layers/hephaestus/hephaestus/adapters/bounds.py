"""Keeps every call of AWS within its invocation (see ``docs/decisions/0015-calls-are-bounded-by-the-invocation.md``).

One rule: neither an attempt nor the pause before another takes more than half of what is left of the invocation.
Whatever a service does, there is time after a call to say what came of it, and to hand over. Outside of an invocation
the client's own settings are all there is.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError, HTTPClientError
from urllib3.util import Timeout

from hephaestus.adapters.aws_errors import is_passing
from hephaestus.adapters.deadline import time_left

if TYPE_CHECKING:
    from botocore.model import OperationModel

LEAST: Final = 0.05  # seconds; with less, no answer would come in time
LONGEST_PAUSE: Final = 20.0  # seconds; botocore's retry mode ``standard``

_logger = logging.getLogger("hephaestus.bounds")


class OutOfTime(HTTPClientError):
    """The invocation ends before an answer could come; the request was not sent."""

    fmt = "The invocation is about to end: {error}"


class HalfOfWhatIsLeft(Timeout):
    """Timeouts that shrink as the invocation nears its end; urllib3 copies them for every request."""

    def clone(self) -> Timeout:
        """The timeouts of one request: to connect, for an answer, and together."""
        left = time_left()
        if left is None:
            return super().clone()
        half = max(left, LEAST) / 2
        return Timeout(connect=_sooner(self.connect_timeout, half), read=_sooner(self.read_timeout, half), total=half)


def keep_within_invocations(client: Any) -> None:
    """Have a client of botocore keep to the rule."""
    events = client.meta.events
    events.register_first("before-send", begin_in_time, unique_id="hephaestus-begin-in-time")
    events.register_first("needs-retry", pause_in_time, unique_id="hephaestus-pause-in-time")
    settings = client.meta.config
    try:
        # No public way leads there, and a timeout of a single request is known to the newest botocores only.
        pools = client._endpoint.http_session._manager.connection_pool_kw  # noqa: SLF001 - see above
    except AttributeError:
        _logger.warning("this botocore is unknown: a call near the end of an invocation may last longer than it")
        return
    pools["timeout"] = HalfOfWhatIsLeft(connect=settings.connect_timeout, read=settings.read_timeout)


def begin_in_time(**_: Any) -> None:
    """Let a request be sent only while an answer can come.

    Raises:
        OutOfTime: nearly nothing is left.
    """
    left = time_left()
    if left is not None and left < LEAST:
        raise OutOfTime(error="the request was not sent")


def pause_in_time(
    response: tuple[Any, Any] | None,
    attempts: int,
    caught_exception: Exception | None,
    operation: OperationModel,
    **_: Any,
) -> None:
    """Let a request be tried again only where the longest pause before that takes no more than half of what is left.

    Raises:
        Exception: what the attempt came to, as it would be raised after the last one.
    """
    left = time_left()
    if left is None or 2 * longest_pause(attempts) <= left:
        return
    if caught_exception is not None:
        raise caught_exception
    if response is not None and "Error" in response[1]:
        error = ClientError(response[1], operation.name)
        if is_passing(error):
            raise error


def longest_pause(attempts: int) -> float:
    """How long botocore pauses at most after so many attempts, in seconds."""
    return min(2.0 ** (attempts - 1), LONGEST_PAUSE)


def _sooner(timeout: object, half: float) -> float:
    return min(timeout, half) if isinstance(timeout, (int, float)) else half
