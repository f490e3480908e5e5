"""The function ``callback``: see ``hephaestus.handlers.callback_function``."""

import gc

gc.disable()  # imports make no garbage: looking for it is a tenth of a cold start

from hephaestus.handlers.callback_function import handler

gc.enable()
__all__ = ["handler"]
