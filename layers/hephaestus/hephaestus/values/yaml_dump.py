"""Lets PyYAML dump what steps are given.

PyYAML looks up the exact type of what it dumps, and so does not take a ``FrozenDict`` for the ``dict`` that it is. No
other library that this one knows of does the same.
"""

from __future__ import annotations

import contextlib
import importlib
from functools import cache
from importlib.util import find_spec

from hephaestus.values import FrozenDict, FrozenList
from hephaestus.values.given import GivenResults, NoneGiven


@cache
def teach_yaml() -> None:
    """Have PyYAML's dumpers write frozen mappings and lists as plain ones, where it is installed; once a process."""
    with contextlib.suppress(Exception):  # a PyYAML that does not import is its user's to meet
        if find_spec("yaml") is None:
            return
        dumping = importlib.import_module("yaml.representer")
        for dumper in (dumping.SafeRepresenter, dumping.Representer):
            dumper.add_representer(FrozenDict, dumping.SafeRepresenter.represent_dict)
            dumper.add_representer(GivenResults, dumping.SafeRepresenter.represent_dict)
            dumper.add_representer(NoneGiven, dumping.SafeRepresenter.represent_dict)
            dumper.add_representer(FrozenList, dumping.SafeRepresenter.represent_list)
