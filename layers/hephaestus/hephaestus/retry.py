"""How a failed step is tried again."""

from hephaestus.definition.retries import Retry

__all__ = ["Retry"]
