"""One botocore session a process, shared by PynamoDB and by the few other clients, each made on first use.

Its settings are chosen for Lambda: a call is short, tried again a few times, and over before its invocation is
(``hephaestus.adapters.bounds``; ``docs/decisions/0015-calls-are-bounded-by-the-invocation.md`` says why these numbers).
"""

from __future__ import annotations

import threading
from dataclasses import field
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from hephaestus.values.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from botocore.client import Config
    from botocore.session import Session

CONNECT_TIMEOUT: Final = 1.1  # seconds; what AWS's SDKs take inside one region (their defaults mode ``in-region``)
READ_TIMEOUT: Final = 3.0  # seconds; an answer takes milliseconds, a lost one is asked for again
MAX_ATTEMPTS: Final = 4  # of what an execution waits for, the first one included
EFFECT_ATTEMPTS: Final = 2  # of schedules and messages, which the sweeper makes up for
POOL: Final = 32  # connections kept; as many as steps that run side by side, and then some
CREATING: Final = threading.RLock()  # held while a client is made: botocore's sessions do not allow two at once


@cache
def shared_session() -> Session:
    """The process's botocore session."""
    import botocore.session  # noqa: PLC0415 - the heaviest import there is: only where AWS is used

    from hephaestus.adapters.service_models import use_service_models  # noqa: PLC0415 - it imports botocore

    session = botocore.session.get_session()
    use_service_models(session)
    session.set_default_client_config(client_config())
    return session


def client_config(max_attempts: int = MAX_ATTEMPTS) -> Config:
    """Timeouts and retries that fit a Lambda invocation: short, and few."""
    from botocore.config import Config  # noqa: PLC0415 - only where AWS is used

    return Config(
        connect_timeout=CONNECT_TIMEOUT,
        read_timeout=READ_TIMEOUT,
        retries={"total_max_attempts": max_attempts, "mode": "standard"},
        max_pool_connections=POOL,
        tcp_keepalive=True,  # a NAT gateway forgets a silent connection after 350 s, and tells no one
    )


@dataclass(slots=True)
class LazyClient:
    """A client made when it is first used.

    Attributes:
        service: the service's name.
        region: where; by default as the environment says.
        endpoint_url: another endpoint than AWS's own.
        max_attempts: of a request that is throttled or not answered, the first one included.
        session: whose credentials and settings; by default the process's.
        config: timeouts and retries; by default those that fit a Lambda invocation.
    """

    service: str
    region: str | None = None
    endpoint_url: str | None = None
    max_attempts: int = EFFECT_ATTEMPTS
    session: Session | None = None
    config: Config | None = None
    _client: Any = field(default=None, repr=False, compare=False)

    def get(self) -> Any:
        """The client."""
        if self._client is not None:
            return self._client
        from hephaestus.adapters.bounds import keep_within_invocations  # noqa: PLC0415 - it imports botocore

        with CREATING:
            if self._client is None:
                config = self.config or client_config(self.max_attempts)
                # botocore's own client: the same operations as boto3's, without its import and its second session.
                session = self.session or shared_session()
                client = session.create_client(
                    self.service, region_name=self.region, endpoint_url=self.endpoint_url, config=config
                )
                keep_within_invocations(client)
                self._client = client
        return self._client


@dataclass(frozen=True, slots=True)
class Account:
    """Whose AWS is meant, and where; by default as the environment says, from within Lambda.

    Attributes:
        session: whose credentials and settings; by default the process's.
        region: the region.
        endpoint_url: another endpoint than AWS's own, for every service.
        connect_timeout, read_timeout: in seconds; by default those that fit a Lambda invocation.
    """

    session: Session | None = None
    region: str | None = None
    endpoint_url: str | None = None
    connect_timeout: float = CONNECT_TIMEOUT
    read_timeout: float = READ_TIMEOUT

    def client(self, service: str, max_attempts: int = EFFECT_ATTEMPTS, read_timeout: float = 0) -> LazyClient:
        """A client of one of its services, if need be with more patience (in seconds) than the account has."""
        from botocore.config import Config  # noqa: PLC0415 - only where AWS is used

        patience = max(read_timeout, self.read_timeout)
        own = Config(connect_timeout=self.connect_timeout, read_timeout=patience)
        config = client_config(max_attempts).merge(own)
        return LazyClient(service, self.region, self.endpoint_url, max_attempts, self.session, config)
