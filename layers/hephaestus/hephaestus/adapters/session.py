"""One botocore session a process, shared by PynamoDB and by the few other clients, each made on first use."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from botocore.client import Config
    from botocore.session import Session

CONNECT_TIMEOUT: Final = 2.0  # seconds; inside one region a connection takes milliseconds
READ_TIMEOUT: Final = 5.0  # seconds; an answer takes milliseconds, a lost one is asked for again
MAX_ATTEMPTS: Final = 4  # the first one included
CREATING: Final = threading.RLock()  # held while a client is made: botocore's sessions do not allow two at once


@cache
def shared_session() -> Session:
    """The process's botocore session."""
    import botocore.session  # noqa: PLC0415 - the heaviest import there is: only where AWS is used

    return botocore.session.get_session()


def client_config() -> Config:
    """Timeouts and retries that fit a Lambda invocation: short, and few."""
    from botocore.config import Config  # noqa: PLC0415 - only where AWS is used

    return Config(
        connect_timeout=CONNECT_TIMEOUT,
        read_timeout=READ_TIMEOUT,
        retries={"total_max_attempts": MAX_ATTEMPTS, "mode": "standard"},
    )


@dataclass(slots=True)
class LazyClient:
    """A client made when it is first used.

    Attributes:
        service: the service's name.
        region: where; by default as the environment says.
        endpoint_url: another endpoint than AWS's own.
        session: whose credentials and settings; by default the process's.
        config: timeouts and retries; by default those that fit a Lambda invocation.
    """

    service: str
    region: str | None = None
    endpoint_url: str | None = None
    session: Session | None = None
    config: Config | None = None
    _client: Any = field(default=None, repr=False, compare=False)

    def get(self) -> Any:
        """The client."""
        if self._client is not None:
            return self._client
        with CREATING:
            if self._client is None:
                # botocore's own client: the same operations as boto3's, without its import and its second session.
                self._client = (self.session or shared_session()).create_client(
                    self.service,
                    region_name=self.region,
                    endpoint_url=self.endpoint_url,
                    config=self.config or client_config(),
                )
        return self._client


@dataclass(frozen=True, slots=True)
class Account:
    """Whose AWS is meant, and where; by default as the environment says.

    Attributes:
        session: whose credentials and settings; by default the process's.
        region: the region.
        endpoint_url: another endpoint than AWS's own, for every service.
    """

    session: Session | None = None
    region: str | None = None
    endpoint_url: str | None = None

    def client(self, service: str, config: Config | None = None) -> LazyClient:
        """A client of one of its services."""
        return LazyClient(service, self.region, self.endpoint_url, self.session, config)
