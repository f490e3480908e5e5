"""Checks what stands in a workflow class's first line: name, business key, version, tags, metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from hephaestus.definition.business_key import NAME, SCOPES
from hephaestus.definition.concurrency import limits_wrong
from hephaestus.definition.definition import CHECKPOINTS, FORKS, IF_RUNNING
from hephaestus.definition.durations import Unfit, is_one_of, read_duration, shown
from hephaestus.definition.retries import Retry
from hephaestus.definition.signatures import call_problem
from hephaestus.engine.state import RESERVED
from hephaestus.errors import Problem
from hephaestus.values import NotSerializable, freeze

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hephaestus.definition.workflow import Workflow

MAX_VERSION: Final = 99_999_999  # as many digits as callers may send
MAX_TAGS: Final = 20
MAX_TAG_LENGTH: Final = 64


class _First(int):
    """The version of a workflow that names none, told apart from one that names 1."""


FIRST: Final = _First(1)


def check_header(cls: type[Workflow], key: object, scope: object, current: object) -> list[Problem]:
    """What is wrong with the names and values that a workflow class is defined with; its metadata is frozen.

    ``current`` is that of a class without ``versions``, for which it means nothing.
    """
    names_none = type(cls.limits) is tuple and not cls.limits  # what else it may be might not answer
    limits = () if names_none else limits_wrong(cls.limits, of_workflow=True)
    found = [*_names_wrong(cls, key, scope, current), *_values_wrong(cls), *limits]
    return [Problem(cls.__name__, problem, fix) for problem, fix in found]


def _names_wrong(  # noqa: C901 - one rule after the other
    cls: type[Workflow], key: object, scope: object, current: object
) -> Iterator[tuple[str, str]]:
    fix = "Use up to 64 letters, digits, '_' and '-', a letter first"
    own = cls.__module__.startswith("hephaestus.")
    if not isinstance(cls.name, str) or not NAME.fullmatch(cls.name):
        yield (f"the name {shown(cls.name)} is invalid", fix)
    elif cls.name.startswith(RESERVED) and not own:
        yield (f"the name {shown(cls.name)} is reserved", f"Names that begin with '{RESERVED}' are the library's")
    if key is not None and (not isinstance(key, str) or not NAME.fullmatch(key)):
        yield (f"the business key {shown(key)} is invalid", fix)
    elif key is not None and key.startswith(RESERVED) and not own:
        yield (f"the business key {shown(key)} is reserved", f"Keys that begin with '{RESERVED}' are the library's")
    if not is_one_of(scope, SCOPES):
        yield (f"the scope {shown(scope)} is unknown", f"Use one of {', '.join(SCOPES)}")
    if not is_one_of(cls.forks, FORKS):
        yield (f"forks is {shown(cls.forks)}", f"Use one of {', '.join(FORKS)}")
    if not is_one_of(cls.checkpoint, CHECKPOINTS):
        yield (f"checkpoint is {shown(cls.checkpoint)}", f"Use one of {', '.join(CHECKPOINTS)}")
    if not is_one_of(cls.if_running, IF_RUNNING):
        yield (f"if_running is {shown(cls.if_running)}", f"Use one of {', '.join(IF_RUNNING)}")
    elif cls.if_running == "use" and scope == "none":
        yield ('has if_running="use" and scope="none"', "Drop one of them: each start has an id of its own")
    if isinstance(cls.version, bool) or not isinstance(cls.version, int) or not 1 <= cls.version <= MAX_VERSION:
        yield (f"the version {shown(cls.version)} is invalid", "Use a whole number of at least 1")
    if problem := call_problem(cls.version_for, "versions", "opts", coroutines=False):
        yield (f"version_for {problem}", "Write @classmethod def version_for(cls, versions, opts)")
    if current is not None:
        yield (f"has current={shown(current)} without versions=", "Drop it: only an umbrella has a current version")


def _values_wrong(cls: type[Workflow]) -> Iterator[tuple[str, str]]:
    if problem := tags_problem(cls.tags):
        yield (problem, TAGS_MEND)
    if isinstance(cls.metadata, Mapping):
        try:
            cls.metadata = freeze(dict(cls.metadata), "metadata")
        except NotSerializable as error:
            yield (str(error), "Metadata holds JSON-safe values only")
    else:
        yield ("the metadata is not a mapping", "Give a dict of JSON-safe values")
    if cls.example is not None:
        try:
            json.dumps(dict(cls.example), allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            yield (f"example is {shown(cls.example)}", "Give a dict of JSON's own values, to be pasted")
    if not isinstance(cls.retry, Retry):
        yield (f"retry is {shown(cls.retry)}", "Give a Retry(...)")
    if cls.timeout is not None:
        try:
            read_duration(cls.timeout, "timeout")
        except Unfit as error:
            yield (error.problem, error.fix)
    if cls.Input is not None and not hasattr(cls.Input, "model_validate"):
        yield (f"Input is {shown(cls.Input)}", "Give a class derived from pydantic.BaseModel")


TAGS_MEND: Final = f"Give a list of at most {MAX_TAGS} printable strings of 1 to {MAX_TAG_LENGTH} characters"


def tags_problem(tags: object) -> str | None:
    """What is wrong with a list of tags, or ``None``; one tag is a list, too."""
    if not isinstance(tags, (list, tuple)):
        return f"the tags are {shown(tags)}, which is no list"
    if len(tags) > MAX_TAGS:
        return f"there are {len(tags)} tags"
    for tag in tags:
        if not isinstance(tag, str) or not 1 <= len(tag) <= MAX_TAG_LENGTH or not tag.isprintable():
            return f"the tag {shown(tag)} is invalid"
    return None
