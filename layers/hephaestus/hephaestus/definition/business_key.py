"""Business keys: the caller's value makes the instance's id, and the id makes the instance unique."""

from __future__ import annotations

import re
from typing import Final, Literal, TypeAlias, get_args

from hephaestus.definition.durations import shown
from hephaestus.errors import BadRequest
from hephaestus.values.lazy_dataclass import dataclass
from hephaestus.values.scalars import plain_name

Scope: TypeAlias = Literal["workflow", "version", "global", "none"]
SCOPES: Final[tuple[str, ...]] = get_args(Scope)
NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
VALUE: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")
ID: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}::[A-Za-z0-9._-]{1,128}(::[A-Za-z0-9._-]{1,64})?")


@dataclass(frozen=True, slots=True)
class BusinessKey:
    """How a workflow's ids are made.

    Attributes:
        name: what the value is, as in ``orderid::abc123``.
        scope: where a value is unique: within the ``workflow`` (the key belongs to it alone), within a ``version``
            (the id ends in ``::v2``), ``global`` among all workflows that share the key, or ``none``: every start is a
            new instance (the id ends in a random suffix).
    """

    name: str
    scope: Scope = "workflow"

    def instance_id(self, value: str, version: int, suffix: str) -> str:
        """The id for a value of the key; a whole id of this key is taken as it is.

        Raises:
            BadRequest: the value is not 1 to 128 of letters, digits, ``.``, ``_`` and ``-``.
        """
        value = plain_name(value)  # what it is, not what a subclass shows
        if type(value) is str and value.startswith(f"{self.name}::"):
            value = value.removeprefix(f"{self.name}::")
            if self.scope == "version":
                value = value.removesuffix(f"::v{version}")
        if type(value) is not str or not VALUE.fullmatch(value):
            rule = "it must be 1 to 128 letters, digits, '.', '_' or '-'"
            message = f"the business key {self.name!r} has the value {shown(value)}: {rule}"
            raise BadRequest(message)
        ending = {"version": f"::v{version}", "none": f"::{suffix}"}.get(self.scope, "")
        return f"{self.name}::{value}{ending}"


def key_of(instance_id: str) -> str:
    """The business key's value in an id: ``abc123`` of ``orderid::abc123`` and of ``orderid::abc123::v2``."""
    _, _, rest = instance_id.partition("::")
    return rest.partition("::")[0] or instance_id


def check_id(instance_id: object) -> str:
    """``instance_id`` as a plain string, if it could be one.

    Raises:
        BadRequest: it is not of the form ``key::value``.
    """
    plain = plain_name(instance_id)
    if type(plain) is str and ID.fullmatch(plain):
        return plain
    message = (
        f"{shown(instance_id)} is not an instance id: "
        "ids look like 'orderid::abc123', a key of up to 64 and a value of up to 128 letters, digits, '.', '_' or '-'"
    )
    raise BadRequest(message)
