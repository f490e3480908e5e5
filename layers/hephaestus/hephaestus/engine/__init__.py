"""The pure core: graph, events, state, and what to do next.

Nothing here reads a clock, draws a random number, logs, sleeps or talks to AWS; only the standard library,
``hephaestus.errors`` and ``hephaestus.values`` are imported, and a test reads the imports to prove it. Times are
integers: milliseconds since the Unix epoch.
"""
