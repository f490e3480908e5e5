"""What one instance has to say to another: how a child of it has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hephaestus.values.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hephaestus.engine.records import Failure


@dataclass(frozen=True, slots=True)
class Mail:
    """The end of a child, as its parent is told. Its name is made of ``life``, ``activation`` and ``number``.

    Attributes:
        to: the parent.
        life: of the parent.
        activation: of the parent's step that started the child.
        number: of the log entry that closed the child; 0 where there is no such child, as its id was taken.
        child: the child.
        child_life: the child's life.
        status: how it ended.
        output: what it left; ``None`` where that is too large for mail, and to be read of the child itself.
        error: why it failed.
        stuck: whether it could not undo all that it did.
        ended_at: when it ended (ms).
    """

    to: str
    life: str
    activation: str
    number: int
    child: str
    child_life: str
    status: str
    output: Mapping[str, Any] | None = None
    error: Failure | None = None
    stuck: bool = False
    ended_at: int = 0
