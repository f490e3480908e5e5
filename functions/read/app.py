"""The function ``read``: see ``hephaestus.handlers.read_function``."""

import gc

gc.disable()  # imports make no garbage: looking for it is a tenth of a cold start

from hephaestus.handlers.read_function import handler

gc.enable()
__all__ = ["handler"]
