"""Checks what stands in a workflow class's first line: name, business key, version, tags, metadata."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from hephaestus.definition.business_key import NAME, SCOPES
from hephaestus.errors import Problem
from hephaestus.retry import Retry
from hephaestus.values import NotSerializable, freeze

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hephaestus.definition.workflow import Workflow

MAX_TAGS: Final = 20
MAX_TAG_LENGTH: Final = 64


def check_header(cls: type[Workflow], key: str | None, scope: str) -> list[Problem]:
    """What is wrong with the names and values that a workflow class is defined with; its metadata is frozen."""
    found = [*_names_wrong(cls, key, scope), *_values_wrong(cls)]
    return [Problem(cls.__name__, problem, mend) for problem, mend in found]


def _names_wrong(cls: type[Workflow], key: str | None, scope: str) -> Iterator[tuple[str, str]]:
    if not isinstance(cls.name, str) or not NAME.fullmatch(cls.name):
        yield (f"the name {cls.name!r} is invalid", "Use up to 64 letters, digits, '_' and '-', a letter first")
    if "versions" not in cls.__dict__ and key is not None and not NAME.fullmatch(str(key)):
        yield (f"the business key {key!r} is invalid", "Use up to 64 letters, digits, '_' and '-', a letter first")
    if scope not in SCOPES:
        yield (f"the scope {scope!r} is unknown", f"Use one of {', '.join(SCOPES)}")
    if isinstance(cls.version, bool) or not isinstance(cls.version, int) or cls.version < 1:
        yield (f"the version {cls.version!r} is invalid", "Use a whole number of at least 1")


def _values_wrong(cls: type[Workflow]) -> Iterator[tuple[str, str]]:
    problem = tags_problem(cls.tags)
    if problem:
        yield (problem, f"Use at most {MAX_TAGS} strings of 1 to {MAX_TAG_LENGTH} characters")
    if isinstance(cls.metadata, Mapping):
        try:
            cls.metadata = freeze(dict(cls.metadata), "metadata")
        except NotSerializable as error:
            yield (str(error), "Metadata holds JSON-safe values only")
    else:
        yield ("the metadata is not a mapping", "Give a dict of JSON-safe values")
    if not isinstance(cls.retry, Retry):
        yield (f"retry is {cls.retry!r}", "Give a Retry(...)")
    if cls.Input is not None and not hasattr(cls.Input, "model_validate"):
        yield (f"Input is {cls.Input!r}", "Give a class derived from pydantic.BaseModel")


def tags_problem(tags: Sequence[object]) -> str | None:
    """What is wrong with a list of tags, or ``None``."""
    if len(tags) > MAX_TAGS:
        return f"there are {len(tags)} tags"
    for tag in tags:
        if not isinstance(tag, str) or not 1 <= len(tag) <= MAX_TAG_LENGTH or not tag.isprintable():
            return f"the tag {str(tag)[:MAX_TAG_LENGTH]!r} is invalid"
    return None
