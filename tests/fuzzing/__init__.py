"""Damaged events for every function, and what must hold whatever arrives; for Hypothesis and for ``tools/fuzz.py``."""
