"""The function ``control``: see ``hephaestus.handlers.control_function``."""

import gc

gc.disable()  # imports make no garbage: looking for it is a tenth of a cold start

from hephaestus.handlers.control_function import handler

gc.enable()
__all__ = ["handler"]
