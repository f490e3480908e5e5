"""Reads an umbrella: several versions of one workflow under one name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hephaestus.definition.bodies import WORKFLOW, body_of
from hephaestus.definition.business_key import BusinessKey
from hephaestus.definition.definition import CHECKPOINTS, FORKS
from hephaestus.definition.durations import is_one_of, shown
from hephaestus.definition.header import FIRST, MAX_TAGS, tags_problem
from hephaestus.errors import Problem
from hephaestus.values.scalars import is_whole, plain_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hephaestus.definition.definition import Definition
    from hephaestus.definition.workflow import Workflow


def read_umbrella(  # noqa: PLR0913 - a header's arguments
    cls: type[Workflow], key: str | None, scope: str, versions: Any, current: int | None, *, sound: bool
) -> list[Problem]:
    """What is wrong with an umbrella; without mistakes, and with the rest of its header ``sound``, the class is one."""
    problems = [Problem(cls.__name__, problem, fix) for problem, fix in _own_wrong(cls)]
    if not isinstance(versions, Mapping) or not versions or not all(map(_is_version, versions.values())):
        fix = "Give a dict of version numbers and workflow classes, none of them an umbrella itself"
        return [*problems, Problem(cls.__name__, f"its versions are {shown(versions)}", fix)]
    members: list[type[Workflow]] = list(versions.values())
    problems += _keys_wrong(cls, key, scope, members)
    own_tags = () if tags_problem(cls.tags) else cls.tags
    for number, member in versions.items():
        if not is_whole(number) or number != member.version:
            problem = f"is version {member.version} but stands under {shown(number)}"
            fix = f"Define it with version={number}" if is_whole(number) else f"Write the key as {member.version}"
            problems.append(Problem(member.__name__, problem, fix))
        together = dict.fromkeys((*member.tags, *own_tags))
        if len(together) > MAX_TAGS:
            problem = f"has {len(together)} tags together with the umbrella"
            problems.append(Problem(member.__name__, problem, f"Leave at most {MAX_TAGS}"))
    numbers = [number for number in versions if is_whole(number)]
    newest = max(numbers, default=0) if current is None else current
    if numbers and (not is_whole(newest) or newest not in numbers):
        problem = f"current is {shown(newest)}, which is not among the versions"
        problems.append(Problem(cls.__name__, problem, "Name one of them"))
    if not problems and sound:
        cls.business_key = members[0].business_key
        cls.version = cls.current = plain_name(newest)
        cls.versions = {member.version: member for member in members}
        cls.definitions = {number: _under(cls, member.definition(number)) for number, member in cls.versions.items()}
    return problems


def _own_wrong(cls: type[Workflow]) -> Iterator[tuple[str, str]]:
    """What belongs into a version, or is no way to choose one."""
    if cls.version is not FIRST:
        yield (f"has version={shown(cls.version)} beside versions=", "Drop it: each version has its own")
    if is_one_of(cls.checkpoint, CHECKPOINTS[1:]):
        yield (f"has checkpoint={shown(cls.checkpoint)} beside versions=", "Drop it: each version has its own")
    if type(cls.limits) is not tuple or cls.limits:
        yield ("has limits= beside versions=", "Drop it: each version has its own")
    from hephaestus.definition.workflow import Workflow  # noqa: PLC0415 - which imports this module

    body = body_of(cls, Workflow)
    for name in WORKFLOW:
        if name in body:
            yield (f"sets {name}, but an umbrella has no graph of its own", "Move it into the versions")


def _keys_wrong(cls: type[Workflow], key: object, scope: object, members: list[type[Workflow]]) -> Iterator[Problem]:
    keys = {member.business_key for member in members}
    shared = members[0].business_key
    other = isinstance(key, str) and key != shared.name
    if len(keys) > 1 or other or not is_one_of(scope, (BusinessKey("").scope, shared.scope)):
        problem = "its versions have different business keys"
        yield Problem(cls.__name__, problem, "Give every version the same key and scope")


def _is_version(member: object) -> bool:
    """Whether ``member`` is one version of a workflow."""
    from hephaestus.definition.workflow import Workflow  # noqa: PLC0415 - which imports this module

    if not isinstance(member, type) or not issubclass(member, Workflow) or member is Workflow:
        return False
    return member.__dict__.get("versions") == {member.version: member}


def _under(cls: type[Workflow], definition: Definition) -> Definition:
    """A version's definition under its umbrella's name; of what forks may do, the stricter counts."""
    return replace(definition, name=cls.name, forks=max(definition.forks, cls.forks, key=FORKS.index))
