"""What stands in a class's body and would be ignored: arguments of its first line, and misspelt attributes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

HEADER: Final = (
    *("key", "scope", "version", "tags", "metadata", "name", "forks", "versions", "current", "checkpoint"),
    *("limits", "if_running"),
)
WORKFLOW: Final = ("start_at", "transitions", "retry", "Input", "output", "on_failure", "timeout", "example")
SHARED: Final = ("triggers", "schedules")  # which an umbrella has, too
STEP: Final = ("events", "step_key", "retry", "timeout", "semantics", "compensate_retry", "rounds", "checkpoint")
OF_STEP: Final = (*(name for name in STEP if name != "step_key"), "compensate", "key", "limits")
STEP_METHODS: Final = ("execute", "compensate")


def body_of(workflow: type, root: type) -> dict[str, object]:
    """What a workflow's body sets, and those of the plain classes that it is derived from; ``root`` is ``Workflow``."""
    kinds = [kind for kind in workflow.__mro__ if kind is workflow or not (issubclass(kind, root) or kind is object)]
    return {name: value for kind in reversed(kinds) for name, value in vars(kind).items()}


def body_wrong(workflow: type, root: type) -> Iterator[tuple[str, str]]:
    """Arguments of a workflow's header, which have no effect in its body, and misspelt attributes."""
    body = body_of(workflow, root)
    for name in body:
        if name in HEADER:
            fix = f"Give it in the first line, as in class {workflow.__name__}(Workflow, {name}=...)"
            yield (f"sets {name} in its body, where it has no effect", fix)
    if "start" in body and not hasattr(workflow, "start_at"):
        yield ("sets start, which is what starts an instance", "Write start_at")
    yield from _misspelt(body, root, (*WORKFLOW, *SHARED))


def step_body_wrong(step: type, root: type) -> Iterator[tuple[str, str]]:
    """Misspelt attributes and methods of a step's class; ``root`` is ``Step``."""
    kinds = [kind for kind in step.__mro__ if kind not in root.__mro__]
    body = {name: value for kind in kinds for name, value in vars(kind).items()}
    methods = {name: value for name, value in body.items() if callable(value)}
    yield from _misspelt(body, root, STEP)
    yield from _misspelt(methods, root, STEP_METHODS)


def unknown_wrong(given: Iterable[str], known: Collection[str]) -> Iterator[tuple[str, str]]:
    """Arguments that there are not, each with the one that is meant, if it is known."""
    for name in given:
        meant = next((one for one in known if _alike(_plain(name), _plain(one))), None)
        fix = f"Did you mean {meant}?" if meant else f"Give one of {', '.join(known)}"
        yield (f"is given {name}, which is no argument", fix)


def _misspelt(body: Iterable[str], root: type, known: Collection[str]) -> Iterator[tuple[str, str]]:
    """The names that are a known one, but in the plural, with other underscores or capitals, or one letter wrong."""
    for name in body:
        if name.startswith("_") or hasattr(root, name) or name in known:
            continue
        for meant in known:
            if _alike(_plain(name), _plain(meant)):
                yield (f"sets {name}, which has no effect", f"Write {meant}, or give {name} another name")
                break


def _plain(name: str) -> str:
    """A name in the singular, without what writers differ in."""
    plain = name.casefold().replace("_", "")
    return f"{plain[:-3]}y" if plain.endswith("ies") else plain.removesuffix("s")


def _alike(one: str, other: str) -> bool:
    """Whether one letter is wrong, missing, too much, or in the place of the next; or none."""
    if abs(len(one) - len(other)) > 1:
        return False
    start = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    one, other = one[start:], other[start:]
    return one[1:] == other[1:] or one[1:] == other or one == other[1:] or one[:2] + one[2:] == other[1::-1] + other[2:]
