"""An item of the engine and a step's own writes, in one transaction: both happen or neither does.

The user's expressions go to DynamoDB as they are, which PynamoDB's models cannot express; so this is its client's call.

What DynamoDB refuses is the step's failure only where it is about the step's writes. What it refuses of the engine's
own table is the deployment's: it is raised as such, and the instance goes on once that is fixed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from hephaestus.adapters.aws_errors import error_code, translate
from hephaestus.adapters.dynamodb.answers import HELD, HELD_ANSWERS, NOT_WRITTEN, SERVICE, when_free
from hephaestus.writes import (
    Check,
    ConditionFailed,
    Delete,
    Put,
    Update,
    Write,
    WriteFailed,
    WriteRefused,
    table_name,
    told,
)
from hephaestus.writes.attributes import wire_item

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


CONDITION_FAILED: Final = "ConditionalCheckFailed"
CANCELLED: Final = "TransactionCanceledException"
CONDITION_FAILED_ALONE: Final = "ConditionalCheckFailedException"
NEVER: Final = "attribute_exists(pk) AND attribute_not_exists(pk)"
REFUSED: Final = frozenset({"AccessDeniedException", "ResourceNotFoundException", "ValidationException"})
TABLE_ARN: Final = re.compile(r":table/([A-Za-z0-9_.-]+)")
MENDS: Final = {
    "AccessDenied": "the function may not do this: give it the permission by StepPolicyArn",
    "DuplicateItem": "another write is on the same item: make one write of them",
    "ResourceNotFound": "there is no such table in this account and region",
}


def put_with_writes(client: Any, put: Mapping[str, Any], writes: Sequence[Write], token: str) -> bool:
    """Put an item if its condition holds, and do ``writes``, all or nothing; whether it was done.

    Throttled, or held by another transaction, it is tried again.

    Args:
        client: botocore's.
        put: the item of the engine's own table, as ``TransactWriteItems`` takes a ``Put``.
        writes: on the user's tables.
        token: names the transaction.

    Raises:
        ConditionFailed, WriteRefused: the item's condition holds, and one of the writes was rejected.
        StoreUnavailable: DynamoDB did not answer, or others held the items all the time.
    """
    request = [{"Put": put}, *map(_request, writes)]

    def attempt() -> bool | None:
        try:
            client.transact_write_items(TransactItems=request, ClientRequestToken=token)
        except ClientError as error:
            if error_code(error) in REFUSED:
                _check_own(client, put, error, writes)
            return None if _written_later(error, writes) else False
        except BotoCoreError as error:
            raise translate(error, SERVICE) from error
        return True

    return when_free(attempt)


def _check_own(client: Any, put: Mapping[str, Any], error: ClientError, writes: Sequence[Write]) -> None:
    """Make sure that a request rejected as a whole was not rejected because of the engine's own part in it.

    Some messages name the table. Where none is named, DynamoDB is asked to put the item's key alone, on a
    condition that never holds: that needs the same permission on the same table, and changes nothing.

    Raises:
        HephaestusError: it was; the permissions and settings of the engine's own table are to be fixed.
    """
    own_table = put["TableName"]
    named = set(TABLE_ARN.findall(str(error.response["Error"].get("Message"))))
    if own_table not in named and named & {table_name(write.table) for write in writes}:
        return
    if own_table in named:
        raise translate(error, SERVICE) from error
    try:
        key = {name: put["Item"][name] for name in ("pk", "sk")}
        client.put_item(TableName=own_table, Item=key, ConditionExpression=NEVER)
    except (BotoCoreError, ClientError) as own:
        if error_code(own) != CONDITION_FAILED_ALONE:
            raise translate(own, SERVICE) from own


def _written_later(error: ClientError, writes: Sequence[Write]) -> bool:
    """Whether the same transaction may succeed in a moment; not so where the entry's number is taken.

    Raises:
        WriteFailed: one of the writes was rejected.
        HephaestusError: anything else.
    """
    code = error_code(error)
    if code in NOT_WRITTEN:
        return False
    if code in HELD_ANSWERS:
        return True
    if code in REFUSED:
        raise WriteRefused(_mend(str(code), error.response["Error"].get("Message")), None, writes) from error
    if code != CANCELLED:
        raise translate(error, SERVICE) from error
    reasons: Sequence[Mapping[str, Any]] = error.response.get("CancellationReasons", [])
    codes = [str(reason.get("Code")) for reason in reasons]
    match codes[:1]:
        case ["ConditionalCheckFailed"]:
            return False
        case [own] if own in HELD:
            return True  # another writer may be taking the number: that comes before what is wrong with the writes
        case ["None"]:
            if (refusal := _refusal(reasons[1:], writes)) is not None:
                raise refusal from error
            if HELD & set(codes):
                return True
        case _:
            pass  # the engine's own part was rejected
    raise translate(error, SERVICE) from error


def _refusal(reasons: Sequence[Mapping[str, Any]], writes: Sequence[Write]) -> WriteFailed | None:
    """What the first write that was rejected makes of the step."""
    for index, reason in enumerate(reasons):
        code = str(reason.get("Code"))
        if code == CONDITION_FAILED:
            return ConditionFailed("its condition does not hold", index, writes)
        if code != "None" and code not in HELD:
            return WriteRefused(_mend(code, reason.get("Message")), index, writes)
    return None


def _mend(code: str, message: str | None) -> str:
    """How to fix a refusal, and what DynamoDB said."""
    parts = MENDS.get(code.removesuffix("Exception")), told(message or code)
    return "; ".join(part for part in parts if part)


def _request(write: Write) -> dict[str, Any]:
    """A write as ``TransactWriteItems`` takes it."""
    details: dict[str, Any] = {"TableName": write.table}
    if write.condition is not None:
        details["ConditionExpression"] = write.condition
    if write.names:
        details["ExpressionAttributeNames"] = dict(write.names)
    if write.values:
        details["ExpressionAttributeValues"] = wire_item(write.values)
    match write:
        case Put(item=item):
            return {"Put": {**details, "Item": wire_item(item)}}
        case Update(key=key, update=update):
            return {"Update": {**details, "Key": wire_item(key), "UpdateExpression": update}}
        case Delete(key=key):
            return {"Delete": {**details, "Key": wire_item(key)}}
        case Check(key=key):
            return {"ConditionCheck": {**details, "Key": wire_item(key)}}
