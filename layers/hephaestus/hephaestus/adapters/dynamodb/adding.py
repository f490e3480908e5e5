"""Adding to a number of an item: DynamoDB's own client does it, as PynamoDB does not hand on the item of a failure.

The item comes with the answer also where the condition did not hold (API Reference, UpdateItem:
ReturnValuesOnConditionCheckFailure), so that nothing has to be read to know why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from hephaestus.adapters.aws_errors import error_code, translate
from hephaestus.adapters.dynamodb.answers import HELD_ANSWERS, NOT_WRITTEN, SERVICE, when_free
from hephaestus.adapters.dynamodb.wire import condition_of_request, read_item, to_wire

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hephaestus.store.table import Condition, Item, Value


def add_to(
    client: Any,
    request: Mapping[str, Any],
    sums: Mapping[str, int],
    changes: Mapping[str, Value | None],
    condition: Condition,
) -> tuple[bool, Item | None]:
    """Add to numbers of an item, and set other attributes; see ``Table.add``.

    Args:
        client: botocore's.
        request: the table and the key.
        sums: what is added to which number.
        changes: the other attributes.
        condition: what must be true of the item.

    Raises:
        StoreUnavailable: DynamoDB did not answer, or others held the item all the time.
        EngineError: it rejected the request.
    """
    found: list[Item | None] = [None]
    asked = {**request, **_update(sums, changes, condition_of_request(condition))}

    def attempt() -> bool | None:
        try:
            answer = client.update_item(**asked, ReturnValues="ALL_NEW", ReturnValuesOnConditionCheckFailure="ALL_OLD")
        except ClientError as error:
            code = error_code(error)
            if code in NOT_WRITTEN:
                known: Mapping[str, Any] = error.response
                found[0] = read_item(known["Item"]) if "Item" in known else None
                return False
            if code in HELD_ANSWERS:
                return None
            raise translate(error, SERVICE) from error
        except BotoCoreError as error:
            raise translate(error, SERVICE) from error
        found[0] = read_item(answer["Attributes"])
        return True

    return when_free(attempt), found[0]


def _update(sums: Mapping[str, int], changes: Mapping[str, Value | None], asked: dict[str, Any]) -> dict[str, Any]:
    """A request's condition, with what it changes; its own placeholders are of digits only."""
    names: dict[str, str] = dict(asked.get("ExpressionAttributeNames", {}))
    values: dict[str, Any] = dict(asked.get("ExpressionAttributeValues", {}))
    sets: list[str] = []
    removes: list[str] = []
    for number, (name, value) in enumerate({**changes, **sums}.items()):
        names[f"#a{number}"] = name
        if value is None:
            removes.append(f"#a{number}")
            continue
        values[f":a{number}"] = to_wire(value)
        sets.append(f"#a{number} = #a{number} + :a{number}" if name in sums else f"#a{number} = :a{number}")
    text = f"SET {', '.join(sets)}" + (f" REMOVE {', '.join(removes)}" if removes else "")
    return {
        **asked,
        "UpdateExpression": text,
        "ExpressionAttributeNames": names,
        "ExpressionAttributeValues": values,
    }
