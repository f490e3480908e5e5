"""One client for all models of a table, on the process's one botocore session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pynamodb.connection import Connection

from hephaestus.adapters.bounds import keep_within_invocations
from hephaestus.adapters.session import CREATING, shared_session

if TYPE_CHECKING:
    from collections.abc import Iterable

    from botocore.session import Session
    from pynamodb.models import Model


class SharedConnection(Connection):
    """A PynamoDB connection that makes its client once, whichever thread comes first."""

    @property
    def session(self) -> Session:
        """The process's botocore session, instead of one a thread."""
        return shared_session()

    _kept: Any = None

    @property
    def client(self) -> Any:
        """The botocore client, kept within invocations. PynamoDB makes another while it has no credentials."""
        with CREATING:
            client = super().client
            if client is not self._kept:
                keep_within_invocations(client)
                self._kept = client
            return client


def share(connection: Connection, models: Iterable[type[Model]]) -> None:
    """Have ``models``, all of one table, use ``connection``; PynamoDB would make a client for each of them.

    The first model must know the keys of every index.
    """
    known = False
    for model in models:
        own = model._get_connection()  # noqa: SLF001 - the only way to a model's connection
        if not known:
            connection.add_meta_table(own.get_meta_table())
            known = True
        own.connection = connection
