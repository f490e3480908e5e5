"""Children that could not undo what they did: their root says so, and one redrive goes on with all that is left."""

from __future__ import annotations

from base64 import b64encode
from random import Random
from typing import Any

import pytest

from hephaestus import DONE, Choice, NonRetryable, Retry, Rounds, Workflow, step
from hephaestus.steps import ChildWorkflow, Map, Repeat, WaitForEvent
from hephaestus.testing import LocalRuntime
from tests.unit.test_children import Book, line, shown


def redrive(local: LocalRuntime) -> None:
    """Redrive the root, and all that follows."""
    local.runner.redrive("p::1")
    local.settle()


def net(book: Book) -> dict[str, int]:
    """Of each step how often it was done and not undone, over all instances and epochs."""
    found: dict[str, int] = {}
    for one in book.done:
        name = one.lstrip("-").partition("~")[0].partition("!")[0]
        found[name] = found.get(name, 0) + (-1 if one.startswith("-") else 1)
    found.pop("z", None)  # each parent has one
    return found


def stuck(book: Book, *, depth: int = 1, first: bool = True, routed: bool = False, **of_child: Any) -> LocalRuntime:
    """A root that does ``a`` and a child, which does ``b`` and fails at ``c``, and cannot undo ``b``.

    Args:
        book: what is done.
        depth: how many children below each other there are.
        first: whether the root does ``a`` before.
        routed: whether each parent routes ``error``, and then fails at ``z``.
        of_child: what the step of the root has.
    """
    book.refuses |= {"c", "undo b", *(["z"] if routed else [])}
    flows = [line("lowest", book.step("b"), book.step("c"))]
    for number in range(depth):
        member = ChildWorkflow(flows[-1], name=f"kid{number}", **(of_child if number == depth - 1 else {}))
        last = book.step("z")
        routes: dict[Any, Any] = {member: {"done": last, **({"error": last} if routed else {})}, last: {"done": DONE}}
        begin: Any = member
        if first and number == depth - 1:
            begin = book.step("a")
            routes[begin] = {"done": member}
        key = "p" if number == depth - 1 else f"m{number}"
        flows.append(type(key.title(), (Workflow,), {"start_at": begin, "transitions": routes}, key=key))
    local = LocalRuntime(*flows)
    local.start(flows[-1], "1", {})
    local.settle()
    return local


@pytest.mark.parametrize("routed", [False, True])
@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("own", [False, True])
def test_what_a_child_could_not_undo_is_undone_by_one_redrive_of_the_root(
    *, routed: bool, first: bool, depth: int, own: bool
) -> None:
    """Rule D.9: wherever it is, whatever came before it; then another redrive begins with other children."""
    book = Book()
    if own:
        book.refuses.add("undo a")
    local = stuck(book, routed=routed, first=first, depth=depth)
    story = shown(local).error or {}
    assert (shown(local).status, story["type"]) == ("failed", "CompensationFailed")
    assert book.done.count("b") == 1
    redrive(local)  # the reason is still there
    assert (shown(local).status, (shown(local).error or {})["type"]) == ("failed", "CompensationFailed")
    assert book.done.count("b") == 1, "its work was done twice"
    book.refuses -= {"undo a", "undo b"}
    redrive(local)
    assert (shown(local).status, set(net(book).values())) == ("failed", {0}), book.done
    book.refuses.clear()
    redrive(local)
    assert shown(local).status == "completed"
    assert set(net(book).values()) == {1}, book.done


def test_a_redrive_of_what_was_only_cancelled_goes_on_with_a_child_that_could_not_undo_itself() -> None:
    """Rule D.6: a plain cancellation undoes nothing; the child undoes the rest, and its parent then fails with it."""
    book = Book()
    book.refuses |= {"c", "undo b"}
    held = WaitForEvent("go", name="held")
    below = line("below", book.step("b"), book.step("c"))
    child, other = ChildWorkflow(below, name="kid"), book.step("begin")
    both = book.step("both")
    routes: Any = {other: {"done": [child, held]}, child: {"done": both, "error": both}, held: {"go": both}}
    top = type("P", (Workflow,), {"start_at": other, "transitions": {**routes, both: {"done": DONE}}}, key="p")
    local = LocalRuntime(top, below)
    local.start(top, "1", {})
    local.settle()
    local.runner.cancel("p::1")
    local.settle()
    assert shown(local).status == "cancelled"
    redrive(local)
    assert shown(local).status == "waiting"
    local.runner.cancel("p::1", compensate=True)
    local.settle()
    assert (shown(local).status, (shown(local).error or {})["type"]) == ("failed", "CompensationFailed")
    book.refuses.clear()
    redrive(local)
    assert (shown(local).status, net(book)) == ("cancelled", {"begin": 0, "b": 0})


@pytest.mark.parametrize("refuses", [False, True])
def test_a_compensation_of_the_step_runs_once_the_newest_child_has_undone_itself(*, refuses: bool) -> None:
    """Rule D.9: it undoes the rounds that have completed; the one that failed undoes itself."""
    book = Book()
    undone: list[int] = []

    def undo(ctx: Any) -> None:
        if "rounds" in book.refuses:
            raise NonRetryable
        undone.append(ctx.round)

    @step(key="b", compensate=book.undo("b"))
    def begin(ctx: Any) -> dict[str, int]:
        book.done.append("b")
        return {"n": ctx.initial.get("n", 0) + 1}

    @step(key="c")
    def ends(ctx: Any) -> dict[str, int]:
        if ctx.steps["b"]["n"] == 3:
            raise NonRetryable
        return dict(ctx.steps["b"])

    below = line("below", begin, ends)
    again = Repeat(below, until=lambda ctx: False, rounds=Rounds(5), compensate=undo, name="kid")
    top = line("p", again)
    book.refuses |= {"undo b", *(["rounds"] if refuses else [])}
    local = LocalRuntime(top, below)
    local.start(top, "1", {})
    local.settle()
    assert (shown(local).status, (shown(local).error or {})["type"]) == ("failed", "CompensationFailed")
    assert undone == []
    book.refuses.discard("undo b")
    redrive(local)
    assert (book.done.count("-b!undo"), len(undone)) == (1, 0 if refuses else 1)
    assert shown(local).steps["kid"].status == ("compensation_failed" if refuses else "compensated")
    book.refuses.clear()
    if refuses:
        redrive(local)
        assert (book.done.count("-b!undo"), len(undone)) == (1, 1)
        assert shown(local).steps["kid"].status == "compensated"


def test_a_child_that_completed_before_its_step_failed_is_undone() -> None:
    """Rule D.9: as the ``Choice`` of what follows raises."""
    book = Book()
    wrong = [True]
    last = book.step("last")

    def chosen(ctx: Any) -> Any:
        if wrong:
            raise LookupError
        return last

    below = line("below", book.step("b"))
    kid_ = ChildWorkflow(below, name="kid")
    routes: Any = {kid_: {"done": Choice(chosen, [last])}, last: {"done": DONE}}
    top = type("P", (Workflow,), {"start_at": kid_, "transitions": routes}, key="p")
    local = LocalRuntime(top, below)
    local.start(top, "1", {})
    local.settle()
    assert (shown(local).status, net(book)) == ("failed", {"b": 0})
    wrong.clear()
    redrive(local)
    assert (shown(local).status, net(book)) == ("completed", {"b": 1, "last": 1})


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("repeats", [False, True])
def test_a_child_that_completed_and_has_nothing_to_undo_is_not_repeated(*, large: bool, repeats: bool) -> None:
    """Rules D.1 and D.9: its step goes on with the end that it had, whether the ``Choice`` or ``until`` has failed."""
    done: list[str] = []
    wrong = [True]
    last = step(key="last")(lambda ctx: dict(ctx.steps["kid"]))
    left = {"text": b64encode(Random(3).randbytes(5_000)).decode() if large else "short"}

    def act(ctx: Any) -> dict[str, str]:
        done.append(ctx.instance_id)
        return left

    def asked(ctx: Any) -> Any:
        if wrong:
            raise NonRetryable
        return True if repeats else last

    below = line("below", step(key="b")(act))
    kid_ = Repeat(below, until=asked, rounds=Rounds(3), name="kid") if repeats else ChildWorkflow(below, name="kid")
    routes: Any = {kid_: {"done": last if repeats else Choice(asked, [last])}, last: {"done": DONE}}
    top = type("P", (Workflow,), {"start_at": kid_, "transitions": routes}, key="p")
    local = LocalRuntime(top, below)
    local.start(top, "1", {})
    local.settle()
    assert shown(local).status == "failed"
    redrive(local)
    assert shown(local).status == "failed"
    wrong.clear()
    redrive(local)
    assert (shown(local).status, dict(shown(local).output or {})) == ("completed", left)
    assert len(done) == 1


def test_a_fork_from_where_a_child_was_being_undone_starts_another() -> None:
    """Rule D.9: what was undone, or is about to be, runs anew."""
    book = Book()
    book.refuses.add("z")
    below = line("below", book.step("b"))
    top = line("p", ChildWorkflow(below, name="kid"), book.step("z"))
    local = LocalRuntime(top, below)
    local.start(top, "1", {})
    local.settle()
    entries = local.runner.history("p::1").items
    at = next(one.sequence for one in entries if any(event["type"] == "ChildUndoing" for event in one.events))
    assert net(book) == {"b": 0}
    book.refuses.clear()
    local.runner.fork("p::1", at, new_id="2")
    local.settle()
    assert (local.runner.get("p::2").status, net(book)) == ("completed", {"b": 1})


def test_a_fork_of_a_map_that_is_being_undone_has_no_tries_of_that() -> None:
    """Its own compensations begin with their first attempt."""
    tries: list[tuple[str, int]] = []

    def undo(ctx: Any) -> None:
        tries.append((ctx.instance_id, ctx.attempt))
        if ctx.attempt < 3:
            raise ValueError

    twice = Retry(max_attempts=3, delay=3_600, jitter="none", backoff="constant")
    act = step(key="act", compensate=undo, compensate_retry=twice)(lambda ctx: "done")
    every = Map(act, over=lambda ctx: [1])

    @step
    def fails(ctx: Any) -> str:
        raise NonRetryable

    routes: Any = {every: {"done": fails}, fails: {"done": DONE}}
    top = type("P", (Workflow,), {"start_at": every, "transitions": routes}, key="p")
    local = LocalRuntime(top)
    local.start(top, "1", {})
    local.settle()
    assert tries == [("p::1", 1)]
    local.runner.fork("p::1", new_id="2")
    local.settle()
    assert tries == [("p::1", 1), ("p::2", 1)]
