"""The workflows' modules: where they are, whether a file of them has changed, and a registry of them as they are now.

They are imported again in this process: what runs goes on with the code that it began with, and what is begun
afterwards has the new one. Only modules beside the workflows' own are imported again, never installed ones.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from hephaestus.runtime.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Sequence

Signature: TypeAlias = "dict[str, tuple[int, int]]"


class Modules:
    """The modules that hold the workflows, by name; see ``hephaestus.cli.modules.locate``.

    Args:
        names: their names, as they are imported.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._roots = {root for name in names for root in _root_of(name)}
        places = [root.joinpath(*name.split(".")) for name in names for root in _root_of(name)]
        self._folders = {folder for place in places for folder in (place, place.parent)}
        self._seen: Signature = {}
        sys.dont_write_bytecode = True  # it is checked by whole seconds: an edit within one would be missed

    def load(self) -> Registry:
        """A registry of the modules as they are now; what is wrong with one is logged, see ``Registry``."""
        before = self._signature()
        for name in self._own():
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        registry = Registry.load(self.names, time.time_ns() // 1_000_000)
        registry.reloaded = True
        registry.names()
        self._folders |= {Path(str(sys.modules[name].__file__)).parent for name in self._own()}
        self._seen = {**self._signature(), **before}  # what was changed meanwhile counts as changed
        return registry

    def changed(self) -> list[str]:
        """The files that have changed, come or gone since ``load``."""
        now = self._signature()
        paths = sorted(path for path in {*now, *self._seen} if now.get(path) != self._seen.get(path))
        return [Path(path).name for path in paths]

    def _own(self) -> list[str]:
        """The imported modules that are the project's own."""
        files = {name: getattr(module, "__file__", None) for name, module in list(sys.modules.items())}
        return [
            name
            for name, file in files.items()
            if name.partition(".")[0] not in ("hephaestus", "__main__") and self._is_own(file)
        ]

    def _is_own(self, file: str | None) -> bool:
        if not isinstance(file, str) or not file.endswith(".py"):
            return False
        path = Path(file)
        within = next((path.relative_to(root) for root in self._roots if path.is_relative_to(root)), None)
        return within is not None and not {"site-packages", "dist-packages"}.intersection(within.parts)

    def _signature(self) -> Signature:
        """Every Python file beside a module of the project, with the time of its change and its size."""
        found: Signature = {}
        for folder in self._folders:
            try:
                with os.scandir(folder) as entries:
                    for entry in entries:
                        if entry.name.endswith(".py"):
                            known = entry.stat()
                            found[entry.path] = (known.st_mtime_ns, known.st_size)
            except OSError:
                continue  # it comes or goes while it is looked at; the next look sees it
        return found


def _root_of(name: str) -> list[Path]:
    """The folder that a module is imported from, unless it is installed."""
    found = PathFinder.find_spec(name.partition(".")[0])
    place = found and (found.origin or next(iter(found.submodule_search_locations or ()), None))
    if not found or not place:
        return []
    root = Path(place).parent if found.submodule_search_locations is None else Path(place).parent.parent
    if found.origin is None:
        root = Path(place).parent  # a folder without __init__.py
    return [] if {"site-packages", "dist-packages"}.intersection(root.parts) else [root]
