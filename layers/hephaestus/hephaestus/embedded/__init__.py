"""A whole runtime in one process, in real time: a runner, and threads that serve its queue, schedules and sweeps.

What is queued and scheduled ends with the process. Nothing depends on it: it follows from what is stored, so that a
sweep, or ``Embedded.recover``, brings it back.
"""

from hephaestus.embedded.serving import Embedded

__all__ = ["Embedded"]
