"""The function ``start``: see ``hephaestus.handlers.start_function``."""

import gc

gc.disable()  # imports make no garbage: looking for it is a tenth of a cold start

from hephaestus.handlers.start_function import handler

gc.enable()
__all__ = ["handler"]
