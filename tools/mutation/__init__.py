"""`make mutate`: change the engine, the store and the commit path in one place at a time; a test must fail.

``mutmut`` makes the mutants. Its own runner changes neither constants, fields nor properties, and runs a package only
from a copy at the top, so this one runs them: pytest collects once, each mutant is a fork of that process whose
functions are given the changed code, and only tests that reach the changed lines run in it, those first that found
other mutants of the module. A mutant outside functions gets a process of its own that imports the changed module.

A survivor must stand in ``equivalent.txt`` with the reason why no test can tell it from the right code; what stands
there and is found, or is gone, fails the run as well.
"""
