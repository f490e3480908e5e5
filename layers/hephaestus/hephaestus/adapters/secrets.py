"""Reads the keys that sign links, from Secrets Manager or from Parameter Store, each with the one before it.

From the services' API references: a secret's version that was current before is labelled ``AWSPREVIOUS``
(GetSecretValue: VersionStage); a parameter's versions are numbered from 1, ``name:number`` reads one (GetParameter).
Rotating a key is storing a new value there; links signed with the value before it still work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from hephaestus.adapters.aws_errors import error_code, translate
from hephaestus.adapters.session import LazyClient
from hephaestus.errors import NoCallbackKey

if TYPE_CHECKING:
    from collections.abc import Sequence

SECRETS: Final = "Secrets Manager"
PARAMETERS: Final = "Parameter Store"
MISSING: Final = frozenset({"ResourceNotFoundException", "ParameterNotFound", "ParameterVersionNotFound"})

_secrets: Final = LazyClient("secretsmanager")
_parameters: Final = LazyClient("ssm")


def read_keys(kind: str, name: str) -> Sequence[bytes]:
    """The current key and, if there is one, the key before it.

    Args:
        kind: ``secret`` or ``parameter``.
        name: of the secret (or its ARN) or of the parameter, which should be a SecureString.

    Raises:
        NoCallbackKey: there is no such secret or parameter.
        StoreUnavailable: the service throttled or did not answer.
        EngineError: the service rejected.
    """
    current, previous = _secret(name) if kind == "secret" else _parameter(name)
    if current is None:
        message = f"the {kind} {name} that should hold the key for links is not there, or has no value: create it"
        raise NoCallbackKey(message)
    return tuple(key.encode() for key in (current, previous) if key is not None)


def read_parameter(name: str) -> str:
    """The value of a parameter that is no secret.

    Raises:
        NoCallbackKey: there is no such parameter.
        StoreUnavailable: the service throttled or did not answer.
        EngineError: the service rejected.
    """
    found = _call(_parameters, PARAMETERS, "get_parameter", Name=name)
    if found is None:
        message = f"the parameter {name} that should hold the API's address is not there: set HEPHAESTUS_CALLBACK_URL"
        raise NoCallbackKey(message)
    return str(found["Parameter"]["Value"])


def _secret(name: str) -> tuple[str | None, str | None]:
    found = [
        _call(_secrets, SECRETS, "get_secret_value", SecretId=name, VersionStage=stage)
        for stage in ("AWSCURRENT", "AWSPREVIOUS")
    ]
    current, previous = (answer.get("SecretString") if answer else None for answer in found)
    return current, previous


def _parameter(name: str) -> tuple[str | None, str | None]:
    found = _call(_parameters, PARAMETERS, "get_parameter", Name=name, WithDecryption=True)
    if found is None:
        return None, None
    before = found["Parameter"]["Version"] - 1
    older = (
        _call(_parameters, PARAMETERS, "get_parameter", Name=f"{name}:{before}", WithDecryption=True)
        if before
        else None
    )
    return found["Parameter"]["Value"], older["Parameter"]["Value"] if older else None


def _call(client: LazyClient, service: str, operation: str, **request: Any) -> Any:
    """An operation's answer; ``None`` for what is not there."""
    try:
        return getattr(client.get(), operation)(**request)
    except (BotoCoreError, ClientError) as error:
        if error_code(error) in MISSING:
            return None
        raise translate(error, service) from error
