"""The function ``ingest``: see ``hephaestus.handlers.ingest_function``."""

import gc

gc.disable()  # imports make no garbage: looking for it is a tenth of a cold start

from hephaestus.handlers.ingest_function import handler

gc.enable()
__all__ = ["handler"]
