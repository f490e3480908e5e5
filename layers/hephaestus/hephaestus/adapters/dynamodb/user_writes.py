"""A log entry and a step's own writes, in one transaction: the writes happen if and only if the entry is written.

The user's expressions go to DynamoDB as they are, which PynamoDB's models cannot express; so this is its client's call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from hephaestus.adapters.aws_errors import error_code, translate
from hephaestus.adapters.dynamodb.table import HELD, HELD_ANSWERS, NOT_WRITTEN, SERVICE, when_free
from hephaestus.attributes import wire_item
from hephaestus.writes import Check, ConditionFailed, Delete, Put, Update, Write, WriteFailed, WriteRefused, told

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hephaestus.adapters.dynamodb.models import LogItem
    from hephaestus.adapters.dynamodb.table import Table

CONDITION_FAILED: Final = "ConditionalCheckFailed"
CANCELLED: Final = "TransactionCanceledException"
REFUSED: Final = frozenset({"AccessDeniedException", "ResourceNotFoundException", "ValidationException"})
MENDS: Final = {
    "AccessDenied": "the function may not do this: give it the permission by StepPolicyArn",
    "DuplicateItem": "another write is on the same item: make one write of them",
    "ResourceNotFound": "there is no such table in this account and region",
}


def put_entry_and_writes(table: Table, entry: LogItem, writes: Sequence[Write], token: str) -> bool:
    """Put a log entry whose number is free, and do ``writes``, all or nothing; whether it was done.

    (``pk``, ``sk = log#g#n``, and the user's items.) Throttled, or held by another transaction, it is tried again.

    Raises:
        ConditionFailed, WriteRefused: the number is free, and one of the writes was refused.
        StoreUnavailable: DynamoDB did not answer, or others held the items all the time.
    """
    number = {
        "TableName": table.name,
        "Item": entry.serialize(),
        "ConditionExpression": "attribute_not_exists(pk) OR created_at < :created",
        "ExpressionAttributeValues": {":created": {"N": str(int(entry.created_at))}},
    }
    request = [{"Put": number}, *map(_request, writes)]

    def attempt() -> bool | None:
        try:
            table.client.transact_write_items(TransactItems=request, ClientRequestToken=token)
        except ClientError as error:
            return None if _written_later(error, writes) else False
        except BotoCoreError as error:
            raise translate(error, SERVICE) from error
        return True

    return when_free(attempt)


def _written_later(error: ClientError, writes: Sequence[Write]) -> bool:
    """Whether the same transaction may succeed in a moment; not so where the entry's number is taken.

    Raises:
        WriteFailed: one of the writes was refused.
        HephaestusError: anything else.
    """
    code = error_code(error)
    if code in NOT_WRITTEN:
        return False
    if code in HELD_ANSWERS:
        return True
    if code in REFUSED:
        mend = MENDS.get(str(code).removesuffix("Exception"), "")
        message = "; ".join(part for part in (mend, told(str(error.response["Error"].get("Message")))) if part)
        raise WriteRefused(message, None, writes) from error
    if code != CANCELLED:
        raise translate(error, SERVICE) from error
    reasons: Sequence[Mapping[str, Any]] = error.response.get("CancellationReasons", [])
    codes = [str(reason.get("Code")) for reason in reasons]
    if codes[:1] == [CONDITION_FAILED]:
        return False
    if (refusal := _refusal(reasons[1:], writes)) is not None:
        raise refusal from error
    if HELD & set(codes):
        return True
    raise translate(error, SERVICE) from error


def _refusal(reasons: Sequence[Mapping[str, Any]], writes: Sequence[Write]) -> WriteFailed | None:
    """What the first write that was refused makes of the step."""
    for index, reason in enumerate(reasons):
        code = str(reason.get("Code"))
        if code == CONDITION_FAILED:
            return ConditionFailed("its condition does not hold", index, writes)
        if code != "None" and code not in HELD:
            mend = MENDS.get(code, "")
            message = "; ".join(part for part in (mend, told(str(reason.get("Message") or code))) if part)
            return WriteRefused(message, index, writes)
    return None


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
