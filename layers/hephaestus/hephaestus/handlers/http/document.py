"""The API's OpenAPI document, for ``GET /openapi.json``; it is made by ``tools/openapi`` and checked in."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any


def read_document(base: str) -> dict[str, Any]:
    """The document of an API whose paths have ``base`` in front: ``""`` or ``"/v1"``."""
    document: dict[str, Any] = json.loads(files(__package__).joinpath("openapi.json").read_bytes())
    return {**document, "servers": [{"url": base or "/"}]}
