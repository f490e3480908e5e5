"""The runner that ``OrderFlow.start(...)`` and its siblings use."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hephaestus.runtime.runner import Runner

_default: Runner | None = None


def use(runner: Runner | None) -> None:
    """Make ``runner`` the one that workflow classes use; ``None`` forgets it."""
    global _default  # noqa: PLW0603 - the facade on a class has nowhere else to look
    _default = runner


def default_runner() -> Runner:
    """The runner given to ``use``, else one made from the environment (``HEPHAESTUS_TABLE`` and the like).

    Raises:
        HephaestusError: neither is there.
    """
    if _default is None:
        from hephaestus.aws import BadSettings, runner_from_environment  # noqa: PLC0415 - only where AWS is the runtime

        try:
            use(runner_from_environment())
        except BadSettings as error:
            message = f"{error}. In a test, name a runner first: hephaestus.use(LocalRuntime(YourWorkflow).runner)"
            raise BadSettings(message) from error
    assert _default is not None  # noqa: S101 - just set
    return _default
