"""The function ``resume``: see ``hephaestus.handlers.resume_function``."""

import gc

gc.disable()  # imports make no garbage: looking for it is a tenth of a cold start

from hephaestus.handlers.resume_function import handler

gc.enable()
__all__ = ["handler"]
