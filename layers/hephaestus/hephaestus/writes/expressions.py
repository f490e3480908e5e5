"""DynamoDB's condition and update expressions, as far as memory's tables know them.

Of conditions: ``attribute_exists``, ``attribute_not_exists``, ``begins_with``, comparisons, ``AND``, ``OR``, ``NOT``
and parentheses. Of updates: ``SET`` (also ``+``, ``-`` and ``if_not_exists``), ``REMOVE`` and ``ADD``.

Paths are attributes of the item itself: no ``a.b``, no ``a[0]``. What is not known raises ``NotInMemory``; moto and
DynamoDB know it all. Items are frozen (``hephaestus.writes.attributes.frozen``).

Source: the DynamoDB Developer Guide on condition and on update expressions; compared with DynamoDB Local in the tests.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Context, Decimal
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from hephaestus.writes.attributes import MAX_DIGITS, NotAnAttribute, frozen
from hephaestus.writes.reserved_words import RESERVED

if TYPE_CHECKING:
    from collections.abc import Sequence

Item: TypeAlias = Mapping[str, Any]
Condition: TypeAlias = Callable[[Item], bool]
Operand: TypeAlias = Callable[[Item], Any]

MISSING: Final = object()
TOKEN: Final = re.compile(r"\s*([#:]\w+|[A-Za-z_]\w*|<>|<=|>=|[-=<>(),+.\[\]]|[0-9]+|\S)")
COMPARISONS: Final = ("=", "<>", "<", "<=", ">", ">=")
ORDERED: Final = (str, Decimal, bytes)
UNKNOWN: Final = ("contains", "size", "attribute_type", "list_append", "IN", "BETWEEN", "DELETE", ".", "[")
ARITHMETIC: Final = Context(prec=MAX_DIGITS)


class BadExpression(ValueError):
    """An expression that DynamoDB refuses, or cannot apply to the item that is there."""


class NotInMemory(NotImplementedError):
    """An expression that DynamoDB takes and memory's tables do not know."""

    def __init__(self, what: str) -> None:
        super().__init__(f"memory's tables do not know {what!r} in an expression: test this write with moto")


def holds(condition: str, names: Mapping[str, str], values: Item, item: Item) -> bool:
    """Whether ``condition`` holds of ``item``; an item that is not there is empty.

    Raises:
        BadExpression: DynamoDB would refuse it.
        NotInMemory: memory's tables do not know it.
    """
    reader = _Reader(condition, names, values)
    found = reader.disjunction()
    reader.end()
    return found(item)


def updated(update: str, names: Mapping[str, str], values: Item, item: Item, key: Sequence[str]) -> dict[str, Any]:
    """``item`` as ``update`` leaves it; ``key`` are the attributes that must stay.

    Raises:
        BadExpression: DynamoDB would refuse it, or cannot apply it to the item.
        NotInMemory: memory's tables do not know it.
    """
    changes = _Reader(update, names, values).changes()
    for name, _ in changes:
        if name in key:
            message = f"it changes {name}, which is part of the key"
            raise BadExpression(message)
        if [other for other, _ in changes].count(name) > 1:
            message = f"it changes {name} twice"
            raise BadExpression(message)
    after = dict(item)
    for name, change in changes:
        value = change(item)
        if value is MISSING:
            after.pop(name, None)
        else:
            after[name] = value
    return after


class _Reader:
    """Reads one expression from left to right, one method a rule of its grammar."""

    def __init__(self, expression: str, names: Mapping[str, str], values: Item) -> None:
        self.tokens = TOKEN.findall(expression)
        self.names = names
        self.values = values

    @property
    def next(self) -> str:
        """What comes next; empty at the end."""
        return self.tokens[0] if self.tokens else ""

    def is_next(self, *words: str) -> bool:
        """Whether one of ``words`` comes next; keywords are the same in small letters."""
        return self.next.upper() in words

    def take(self) -> str:
        """Go on by one."""
        token = self.next
        self.tokens = self.tokens[1:]
        return token

    def expect(self, token: str) -> None:
        """Go on over ``token``."""
        if self.next != token:
            raise self.unexpected()
        self.take()

    def end(self) -> None:
        """Nothing may be left."""
        if self.tokens:
            raise self.unexpected()

    def unexpected(self) -> BadExpression | NotInMemory:
        """The error for what comes next."""
        token = self.next
        if token in UNKNOWN or token.upper() in UNKNOWN:
            return NotInMemory(token)
        return BadExpression(f"syntax error at {token!r}" if token else "the expression ends too early")

    def disjunction(self) -> Condition:
        """``a OR b``."""
        parts = [self.conjunction()]
        while self.is_next("OR"):
            self.take()
            parts.append(self.conjunction())
        return lambda item: any(part(item) for part in parts)

    def conjunction(self) -> Condition:
        """``a AND b``."""
        parts = [self.negation()]
        while self.is_next("AND"):
            self.take()
            parts.append(self.negation())
        return lambda item: all(part(item) for part in parts)

    def negation(self) -> Condition:
        """``NOT a``, ``(a)``, or a condition without parts."""
        if self.is_next("NOT"):
            self.take()
            inner = self.negation()
            return lambda item: not inner(item)
        if self.next == "(":
            self.take()
            inner = self.disjunction()
            self.expect(")")
            return inner
        if self.next in ("attribute_exists", "attribute_not_exists", "begins_with"):
            return self.function(self.take())
        return self.comparison()

    def function(self, name: str) -> Condition:
        """A function that says yes or no."""
        self.expect("(")
        path = self.path()
        if name == "begins_with":
            self.expect(",")
            self.distinct(path)
            prefix = self.operand((str, bytes))
            self.expect(")")
            return lambda item: _begins(item.get(path, MISSING), prefix(item))
        self.expect(")")
        wanted = name == "attribute_exists"
        return lambda item: (path in item) == wanted

    def comparison(self) -> Condition:
        """``a < b``."""
        first, literal = self.names.get(self.next, self.next), self.values.get(self.next)
        left = self.operand(None)
        if self.next not in COMPARISONS:
            raise self.unexpected()
        operator = self.take()
        kinds = None if operator in ("=", "<>") else ORDERED
        if kinds and literal is not None:
            _check_kind(literal, kinds)
        self.distinct(first)
        right = self.operand(kinds)
        return lambda item: _compare(operator, left(item), right(item))

    def distinct(self, first: str) -> None:
        """What comes next must be another operand than the first."""
        if self.names.get(self.next, self.next) == first:
            message = "an operator or function compares an operand with itself"
            raise BadExpression(message)

    def operand(self, kinds: tuple[type, ...] | None) -> Operand:
        """An attribute or a value; ``kinds`` are the types that a value may have."""
        if self.next[:1] != ":":
            path = self.path()
            return lambda item: item.get(path, MISSING)
        name = self.take()
        if name not in self.values:
            message = f"{name} has no value"
            raise BadExpression(message)
        value = self.values[name]
        if kinds is not None:
            _check_kind(value, kinds)
        return lambda _item: value

    def path(self) -> str:
        """An attribute's name."""
        token = self.next
        if token[:1] == "#":
            if token not in self.names:
                message = f"{token} has no name"
                raise BadExpression(message)
        elif not token[:1].isalpha() or token in UNKNOWN:
            raise self.unexpected()
        elif token.upper() in RESERVED:
            message = f"{token} is a reserved word: write #{token}, with names={{'#{token}': '{token}'}}"
            raise BadExpression(message)
        self.take()
        if self.next in (".", "["):
            raise NotInMemory(self.next)
        return self.names[token] if token[0] == "#" else token

    def changes(self) -> list[tuple[str, Operand]]:
        """What a whole update does: attributes, and what becomes of them (``MISSING``: removed)."""
        rules = {"SET": self.assignment, "REMOVE": self.removal, "ADD": self.addition}
        seen: list[str] = []
        found: list[tuple[str, Operand]] = []
        while self.tokens:
            section = self.next.upper()
            if section not in rules or section in seen:
                raise self.unexpected()
            seen.append(section)
            self.take()
            found.append(rules[section]())
            while self.next == ",":
                self.take()
                found.append(rules[section]())
        return found

    def assignment(self) -> tuple[str, Operand]:
        """``a = b``, ``a = b + c`` or ``a = b - c``."""
        path = self.path()
        self.expect("=")
        first = self.value(None)
        if self.next not in ("+", "-"):
            return path, lambda item: _present(first(item))
        sign = 1 if self.take() == "+" else -1
        second = self.value((Decimal,))
        return path, lambda item: _sum(_present(first(item)), _present(second(item)), sign)

    def value(self, kinds: tuple[type, ...] | None) -> Operand:
        """An operand, or ``if_not_exists(a, b)``."""
        if self.next != "if_not_exists":
            return self.operand(kinds)
        self.take()
        self.expect("(")
        path = self.path()
        self.expect(",")
        self.distinct(path)
        otherwise = self.value(None)  # its type matters only where it is used
        self.expect(")")
        # DynamoDB asks for an attribute that is named as the second operand even where the first is there.
        return lambda item: item.get(path, _present(otherwise(item)))

    def removal(self) -> tuple[str, Operand]:
        """``a``."""
        return self.path(), lambda _item: MISSING

    def addition(self) -> tuple[str, Operand]:
        """``a :number`` or ``a :set``."""
        path = self.path()
        amount = self.operand((Decimal, frozenset))
        return path, lambda item: _add(item.get(path, MISSING), amount(item))


def _check_kind(value: Any, kinds: tuple[type, ...]) -> None:
    if not isinstance(value, kinds):
        message = "a value has a type that the operator or function does not take"
        raise BadExpression(message)


def _begins(value: Any, prefix: Any) -> bool:
    return type(value) is type(prefix) and isinstance(value, (str, bytes)) and value.startswith(prefix)


def _compare(operator: str, left: Any, right: Any) -> bool:
    """What is not there equals nothing; only two texts, two numbers or two bytes have an order."""
    if operator in ("=", "<>"):
        equal = left is not MISSING and type(left) is type(right) and bool(left == right)
        return equal == (operator == "=")
    if type(left) is not type(right) or not isinstance(left, ORDERED):
        return False
    if isinstance(left, str):
        left, right = left.encode(), right.encode()
    match operator:
        case "<":
            return bool(left < right)
        case "<=":
            return bool(left <= right)
        case ">":
            return bool(left > right)
        case _:
            return bool(left >= right)


def _present(value: Any) -> Any:
    if value is MISSING:
        message = "it refers to an attribute that is not in the item"
        raise BadExpression(message)
    return value


def _sum(first: Any, second: Any, sign: int) -> Decimal:
    if not isinstance(first, Decimal) or not isinstance(second, Decimal):
        message = "it adds or subtracts something that is not a number"
        raise BadExpression(message)
    total = ARITHMETIC.add(first, second) if sign > 0 else ARITHMETIC.subtract(first, second)
    try:
        number: Decimal = frozen(total, "the sum")
    except NotAnAttribute as error:
        raise BadExpression(str(error)) from error
    return number


def _add(value: Any, amount: Any) -> Any:
    if value is MISSING:
        return amount
    if isinstance(value, Decimal) and isinstance(amount, Decimal):
        return _sum(value, amount, 1)
    if isinstance(value, frozenset) and isinstance(amount, frozenset) and _kind(value) is _kind(amount):
        return value | amount
    message = "ADD takes a number to a number, or a set to a set of the same type"
    raise BadExpression(message)


def _kind(values: frozenset[Any]) -> type:
    return type(next(iter(values)))
