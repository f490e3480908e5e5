"""Walks an event's POST up to its commit, and prints every call of the library's on the way.

    python benchmarks/walk.py [--print]

The request is the sample event of the API, an approval that its instance waits for; the store is in memory. A call is
one of a function of the library or of the Lambda function; a switch is a call in another module than the one before.
Another instance was sent the same event before, so that nothing is imported or made for the first time. It fails where
there are more of them than ``MOST``.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "layers/hephaestus"), str(ROOT / "layers/workflows"), str(ROOT)]

from hephaestus import aws
from hephaestus.store.store import Store
from hephaestus.testing import LocalRuntime
from workflows.orders import OrderFlow

if TYPE_CHECKING:
    from types import FrameType

INSIDE: Final = (str(ROOT / "layers" / "hephaestus"), str(ROOT / "functions"))
BEFORE: Final = (279, 113)
"""Calls and switches before issue 10, as it counted them."""
MOST: Final = (195, 126)
"""Calls and switches that there may be; decision 39 says why not fewer."""


class Context:
    """Lambda's context object."""

    function_name = "walk"
    memory_limit_in_mb = 512
    invoked_function_arn = "arn:aws:lambda:eu-central-1:123456789012:function:walk"
    aws_request_id = "4f2c9a1e-0000-4000-8000-000000000001"

    def get_remaining_time_in_millis(self) -> int:
        """Half a minute."""
        return 30_000


def walk() -> list[tuple[str, str]]:
    """The module and function of each call, from the handler's to that which commits the event."""
    local = LocalRuntime(OrderFlow)
    context = json.loads((ROOT / "events/direct-start.json").read_text())["context"]
    for value in ("sample-0", "sample-1"):
        local.start(OrderFlow, value, context)
    setattr(aws, "runner_from_environment", lambda: local.runner)  # noqa: B010 - the function takes its runner from there
    function = importlib.import_module("hephaestus.handlers.resume_function")
    event = json.loads((ROOT / "events/api-resume.json").read_text())
    event["headers"] = {name: value for name, value in event["headers"].items() if name != "Prefer"}
    event["multiValueHeaders"].pop("Prefer", None)
    warm = json.loads(json.dumps(event).replace("sample-1", "sample-0"))
    function.handler(warm, Context())  # what is imported, compiled and made on first use
    seen: list[tuple[str, str]] = []

    def note(frame: FrameType, kind: str, _argument: Any) -> None:
        code = frame.f_code
        if kind != "call" or not code.co_filename.startswith(INSIDE) or code.co_name.startswith("<"):
            return  # of a comprehension, its function is a part
        seen.append((frame.f_globals["__name__"], code.co_qualname))
        if code is Store.commit.__code__:
            sys.setprofile(None)

    sys.setprofile(note)
    try:
        function.handler(event, Context())
    finally:
        sys.setprofile(None)
    return seen


def main() -> int:
    """Print what was seen.

    Returns:
        The exit status: 1 where there are more than there may be.
    """
    seen = walk()
    switches = sum(one[0] != other[0] for one, other in pairwise(seen))
    if "--print" in sys.argv:
        for module, name in seen:
            print(f"{module}  {name}")
    for module, calls in Counter(module for module, _ in seen).most_common():
        print(f"{calls:>5}  {module}")
    found = (len(seen), switches)
    for what, number, before, most in zip(("calls", "switches of module"), found, BEFORE, MOST, strict=True):
        print(f"{number} {what}: {number / before:.0%} of {before} (at most {most})")
    return int(any(number > most for number, most in zip(found, MOST, strict=True)))


if __name__ == "__main__":
    sys.exit(main())
