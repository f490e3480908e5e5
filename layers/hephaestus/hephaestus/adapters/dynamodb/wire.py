"""Items, conditions and filters of the port ``Table`` as DynamoDB and PynamoDB have them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pynamodb.expressions.operand import Path, Value

from hephaestus.errors import CorruptLog

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pynamodb.expressions.condition import Condition as Expression
    from pynamodb.expressions.update import Action

    from hephaestus.store.table import Condition, Filter, Item
    from hephaestus.store.table import Value as Plain


def to_wire(value: Plain) -> dict[str, Any]:
    """A value as DynamoDB takes it."""
    if isinstance(value, str):
        return {"S": value}
    if isinstance(value, int):
        return {"N": str(int(value))}
    if isinstance(value, bytes):
        return {"B": value}
    return {"L": [{"S": element} for element in value]}


def item_to_wire(item: Item) -> dict[str, Any]:
    """An item as DynamoDB takes it."""
    return {name: to_wire(value) for name, value in item.items()}


def read_item(raw: Mapping[str, Any]) -> Item:
    """An item as DynamoDB gave it.

    Raises:
        CorruptLog: an attribute is of a type that the port does not store.
    """
    try:
        return {name: _from_wire(value) for name, value in raw.items()}
    except (TypeError, ValueError, KeyError) as error:
        key = [raw.get(name, {}).get("S") for name in ("pk", "sk")]
        message = f"instance {key[0]}: the stored item {key[1]} cannot be read ({type(error).__name__})"
        raise CorruptLog(message) from error


def read_sound(raw: Mapping[str, Any]) -> Item:
    """An item as DynamoDB gave it, without the attributes that are damaged: one of them does not stop a listing."""
    item = {}
    for name, value in raw.items():
        try:
            item[name] = _from_wire(value)
        except (TypeError, ValueError, KeyError):
            continue
    return item


def condition_expression(condition: Condition) -> Expression | None:
    """A condition as PynamoDB takes it; ``None`` where it always holds."""
    expressions: list[Expression] = []
    if condition.absent:
        expressions.append(Path(["pk"]).does_not_exist())
    if condition.present:
        expressions.append(Path(["pk"]).exists())
    expressions += [Path([name]) == to_wire(value) for name, value in condition.equal.items()]
    expressions += [Path([name]) < to_wire(bound) for name, bound in condition.below.items()]
    expressions += [Path([name]) <= to_wire(bound) for name, bound in condition.at_most.items()]
    expressions += [Path([name]) >= to_wire(bound) for name, bound in condition.at_least.items()]
    expressions += [Path([name]).does_not_exist() for name in condition.missing]
    if condition.any_of:
        alternatives = [condition_expression(one) for one in condition.any_of]
        expressions += _any(alternatives)
    return _all(expressions)


def condition_of_request(condition: Condition) -> dict[str, Any]:
    """A condition as DynamoDB's own client takes it."""
    names: dict[str, str] = {}
    values: dict[str, Any] = {}
    expression = condition_expression(condition)
    if expression is None:
        return {}
    text = expression.serialize(names, values)
    request: dict[str, Any] = {
        "ConditionExpression": text,
        "ExpressionAttributeNames": {placeholder: name for name, placeholder in names.items()},
    }
    return {**request, "ExpressionAttributeValues": values} if values else request


def filter_expression(where: Filter) -> Expression | None:
    """A filter as PynamoDB takes it; ``None`` where it shows everything."""
    expressions: list[Expression] = [Path([name]) == to_wire(value) for name, value in where.equal.items()]
    expressions += [Path([name]).contains(to_wire(element)) for name, element in where.contains.items()]
    expressions += [Path([name]).is_in(*map(to_wire, values)) for name, values in where.one_of.items()]
    expressions += [~Path([name]).is_in(*map(to_wire, values)) for name, values in where.none_of.items()]
    return _all(expressions)


def update_actions(changes: Mapping[str, Plain | None]) -> list[Action]:
    """Changes of an item as PynamoDB takes them."""
    return [
        Path([name]).remove() if value is None else Path([name]).set(Value(to_wire(value)))
        for name, value in changes.items()
    ]


def _all(expressions: list[Expression]) -> Expression | None:
    whole: Expression | None = None
    for expression in expressions:
        whole = expression if whole is None else whole & expression
    return whole


def _any(alternatives: list[Expression | None]) -> list[Expression]:
    """One expression that holds where one of ``alternatives`` does; none where one of them always holds."""
    whole: Expression | None = None
    for expression in alternatives:
        if expression is None:
            return []
        whole = expression if whole is None else whole | expression
    return [] if whole is None else [whole]


def _from_wire(value: Mapping[str, Any]) -> Plain:
    ((kind, content),) = value.items()
    if kind == "S":
        return str(content)
    if kind == "N":
        return int(content)
    if kind == "B":
        return bytes(content)
    if kind == "L":
        return tuple(element["S"] for element in content)
    raise TypeError(kind)
