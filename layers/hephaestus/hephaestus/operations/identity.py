"""Whose credentials an account has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from hephaestus.adapters.session import Account


class Identity:
    """The caller's ARN; only an answer is kept, so a moment without AWS does not make a caller nameless for good.

    Args:
        account: whose credentials, and where.
    """

    def __init__(self, account: Account) -> None:
        self._account = account
        self._arn: str | None = None

    def arn(self) -> str | None:
        """The ARN; ``None`` where AWS does not say."""
        if self._arn is None:
            try:
                self._arn = str(self._account.client("sts").get().get_caller_identity()["Arn"])
            except (BotoCoreError, ClientError):
                return None
        return self._arn
