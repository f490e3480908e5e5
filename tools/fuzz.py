"""Fuzz the functions with coverage guidance: what ``tests/integration/test_fuzz.py`` draws blindly, libFuzzer steers.

An input is a JSON list of ``[function, event]``. The first inputs are the samples of ``events/``; each further one is
an input that reached new code, damaged again. What breaks a rule of ``tests/fuzzing/functions.py`` ends the run: the
input is kept below ``.local/fuzz/findings``, and is played again when its path is given. It needs atheris, which exists
for Linux: ``make fuzz``, and ``make fuzz FUZZ_ARGS='-max_total_time=3600'``. ``FUZZ_ARGS`` are options of libFuzzer.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from random import Random
from typing import Any, Final

import atheris  # type: ignore[import-untyped]  # in an environment of its own, .venvs/fuzz
import pytest

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "layers" / "hephaestus"), str(ROOT / "layers" / "workflows")]
os.environ |= {"POWERTOOLS_LOG_DEDUPLICATION_DISABLED": "1", "AWS_DEFAULT_REGION": "eu-west-1"}

with atheris.instrument_imports(include=["hephaestus", "workflows"], enable_loader_override=False):
    from tests.fuzzing.damage import damaged, made_up, samples
    from tests.fuzzing.functions import Functions, usual
    from tests.integration.deployment import FUNCTIONS

HOME: Final = ROOT / ".local" / "fuzz"
MOST_EVENTS: Final = 6
LONGEST: Final = 200_000  # bytes of an input
SECONDS: Final = 300  # that a run takes unless it is told otherwise


def read(data: bytes) -> list[tuple[str, Any]]:
    """The events of an input; none where it is no list of them."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return []
    pairs = found if isinstance(found, list) else []
    return [(pair[0], pair[1]) for pair in pairs if isinstance(pair, list) and len(pair) == 2 and pair[0] in FUNCTIONS]  # noqa: PLR2004 - a pair


def play(data: bytes) -> None:
    """Send the events of an input to functions that have some instances, and look at all of these."""
    events = read(data)
    if not events:
        return
    with pytest.MonkeyPatch.context() as patch:
        functions = Functions(patch)
        for function, event in events[:MOST_EVENTS]:
            functions.send(function, event)
        functions.settle()
        functions.check(events)


def mutate(data: bytes, longest: int, seed: int) -> bytes:
    """An input that differs from ``data`` in one event, or in which events there are."""
    random = Random(seed)  # noqa: S311 - inputs, not secrets
    events: list[tuple[str, Any]] = read(data)
    kind = random.choice(sorted(samples()))
    match random.randrange(6) if events else 0:
        case 0:
            events.insert(random.randrange(len(events) + 1), (usual(kind), samples()[kind]))
        case 1:
            events.insert(random.randrange(len(events) + 1), (random.choice(FUNCTIONS), made_up(random)))
        case 2 if len(events) > 1:
            del events[random.randrange(len(events))]
        case place:
            at = random.randrange(len(events))
            function = random.choice(FUNCTIONS) if place == 3 else events[at][0]  # noqa: PLR2004 - one in six
            events[at] = (function, damaged(random, events[at][1]))
    written = json.dumps(events[:MOST_EVENTS]).encode()
    return written if len(written) <= longest else data


def main() -> None:
    """Write the first inputs, then run until the time is up or something is found."""
    corpus, findings = HOME / "corpus", HOME / "findings"
    for folder in (corpus, findings):
        folder.mkdir(parents=True, exist_ok=True)
    for name, event in samples().items():
        (corpus / f"sample-{name}").write_text(json.dumps([[usual(name), event]]), "utf-8")
    logging.getLogger("hephaestus").setLevel(logging.CRITICAL)
    given = sys.argv[1:]
    options = [f"-artifact_prefix={findings}/", f"-max_len={LONGEST}", "-timeout=120"]
    if not any(argument.startswith("-max_total_time") for argument in given):
        options.append(f"-max_total_time={SECONDS}")
    replayed = any(not argument.startswith("-") for argument in given)
    atheris.Setup([sys.argv[0], *options, *given, *([] if replayed else [str(corpus)])], play, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
