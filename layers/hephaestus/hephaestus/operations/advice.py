"""What a person can do about an AWS error, in their words: other credentials, another region, a permission."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from botocore import exceptions
from botocore.exceptions import BotoCoreError, ClientError

from hephaestus.adapters.aws_errors import error_code
from hephaestus.errors import CallerError, HephaestusError, RetryLater

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hephaestus.adapters.session import Account

CREDENTIALS: Final = (
    exceptions.NoCredentialsError,
    exceptions.PartialCredentialsError,
    exceptions.CredentialRetrievalError,
    exceptions.ProfileNotFound,
    exceptions.SSOError,
    exceptions.TokenRetrievalError,
)
SILENT: Final = (exceptions.ConnectionError, exceptions.HTTPClientError)
BAD_KEYS: Final = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
FORBIDDEN: Final = frozenset({"AccessDenied", "AccessDeniedException", "AuthorizationError", "UnauthorizedOperation"})
MISSING: Final = frozenset({"NoSuchBucket", "ResourceNotFoundException"})


class NoCredentials(CallerError):
    """AWS does not know who asks: there are no credentials, or they are wrong or have expired."""

    status = 401
    title = "No credentials"


class AwsRefused(CallerError):
    """AWS knows who asks, and does not allow it or does not have it."""

    status = 403
    title = "Rejected by AWS"


class Unreachable(RetryLater):
    """No one answers there: no network, no emulator, or a region that does not exist."""

    title = "Unreachable"


class NoSuchStack(CallerError):
    """There is no such stack in this account and region, or it is none of Hephaestus."""

    status = 404
    title = "No such stack"


@contextmanager
def explained(account: Account, url: str = "") -> Iterator[None]:
    """Raise what AWS rejected or left unanswered as an error that says what to do about it.

    Args:
        account: whose AWS, and where.
        url: the address that is called, where it is an API's: its silence is not that of AWS.

    Raises:
        NoCredentials, AwsRefused, Unreachable: instead of botocore's errors and of the library's that stem from them.
    """
    try:
        yield
    except (BotoCoreError, ClientError, HephaestusError) as error:
        known = _explained(error, account, url)
        if known is None:
            raise
        raise known from error


def where(account: Account) -> str:
    """The place in words: ``region eu-central-1``, with the endpoint if it is not AWS's own."""
    region = f"region {account.region}" if account.region else "no region"
    return f"{region} at {account.endpoint_url}" if account.endpoint_url else region


def _explained(error: BaseException, account: Account, url: str) -> HephaestusError | None:
    """What to raise instead of ``error``; ``None`` where it says itself what to do."""
    cause = _from_aws(error)
    if cause is None:
        return None
    code, said = error_code(cause), _sentence(cause)
    known: HephaestusError | None = None
    if isinstance(cause, exceptions.NoRegionError):
        known = AwsRefused("no region is chosen: give region (--region), AWS_REGION or a profile that names one")
    elif isinstance(cause, CREDENTIALS):
        known = NoCredentials(
            f"{said}: give profile (--profile) or AWS_PROFILE, or set keys (aws configure, aws sso login)"
        )
    elif isinstance(cause, SILENT) and url:
        known = Unreachable(f"nothing answers at {url}{_started(url)}: {said}")
    elif isinstance(cause, SILENT):
        known = Unreachable(f"AWS does not answer ({where(account)}): {said}")
    elif code in BAD_KEYS:
        known = NoCredentials(f"AWS does not take the credentials ({code}): {said}")
    elif code in FORBIDDEN:
        known = AwsRefused(f"AWS does not allow it: {said}")
    elif code in MISSING:
        known = AwsRefused(f"AWS has no such thing ({where(account)}): {said}")
    elif not isinstance(error, HephaestusError):
        known = AwsRefused(f"AWS rejected ({code or type(cause).__name__}): {said}")
    return known


def _started(url: str) -> str:
    """What to do about an address of this machine that is silent."""
    here = urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")
    return " (start `hephaestus dev`, or name the port that it prints)" if here else ""


def _from_aws(error: BaseException | None) -> BaseException | None:
    """The error of botocore's behind ``error``, if there is one; PynamoDB keeps it as ``cause``."""
    while error is not None and not isinstance(error, (BotoCoreError, ClientError)):
        error = error.__cause__ or getattr(error, "cause", None)
    return error


def _sentence(error: BaseException) -> str:
    """What AWS says, without botocore's words around it, on one line."""
    said = error.response["Error"].get("Message", "") if isinstance(error, ClientError) else str(error)
    return re.sub(r"\s+", " ", said or str(error)).strip().rstrip(".")
