"""A stack as CloudFormation describes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from hephaestus.adapters.aws_errors import error_code

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hephaestus.adapters.session import LazyClient


def describe_stack(client: LazyClient, name: str) -> Mapping[str, Any] | None:
    """What CloudFormation says of the stack; ``None`` where there is none of that name.

    Raises:
        ClientError, BotoCoreError: CloudFormation rejected the request, or did not answer.
    """
    try:
        described = client.get().describe_stacks(StackName=name)["Stacks"]
    except ClientError as error:
        if error_code(error) != "ValidationError":
            raise
        return None
    return described[0] if described else None
