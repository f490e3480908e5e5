"""How pytest runs here."""

from __future__ import annotations

from typing import Final

KILLED, SURVIVED, TIMEOUT = "killed", "survived", "timeout"
EXAMPLES: Final = 40  # of a property
OPTIONS: Final = (
    *("-q", "--capture=no", "-p", "no:cacheprovider", "-p", "no:terminalreporter"),
    *("-o", "python_files=test_*.py few_runs.py"),
)


def load_profile() -> None:
    """Examples are the same in every run, and none is made smaller."""
    from hypothesis import Phase, settings  # after the tests' own profiles

    phases = (Phase.explicit, Phase.reuse, Phase.generate)
    settings.register_profile(
        "mutate", settings.default, max_examples=EXAMPLES, derandomize=True, database=None, phases=phases
    )
    settings.load_profile("mutate")
