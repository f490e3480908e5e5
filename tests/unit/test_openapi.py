"""The API's document is what the code makes, and says what the code does."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from functools import partial
from typing import Any

import pytest

from hephaestus import errors
from hephaestus.definition.views import InstanceView
from hephaestus.errors import BadRequest
from hephaestus.handlers.http.api import ROUTES
from hephaestus.handlers.http.document import read_document
from hephaestus.runtime.commands import ROUTED
from hephaestus.runtime.commands.command import in_path
from tools.openapi import document as made
from tools.openapi.__main__ import WHERE
from tools.openapi.operations import OPERATIONS

DOCUMENT: dict[str, Any] = made.document()
BODIES = [
    (path, operation)
    for path, methods in DOCUMENT["paths"].items()
    for operation in methods.values()
    if "requestBody" in operation and operation.get("security") != []  # what a link takes is any JSON
]
PATHS = {"instance_id": "k::1", "workflow": "OrderFlow"}
READERS: dict[str, Any] = {
    command.operation: partial(
        command.read, **{name: PATHS[name] for name in in_path(command)}, **{command.named_by or "by": None, "by": None}
    )
    for command in ROUTED
}


def test_the_document_that_is_served_is_the_one_that_the_code_makes() -> None:
    """Run `python -m tools.openapi` after a change of the API, and commit what it writes."""
    assert WHERE.read_text() == made.text()
    assert read_document("/v1") == DOCUMENT


def test_every_route_is_in_the_document() -> None:
    """A new one appears by itself; what it promises has to be written down."""
    paths = {re.sub(r"<(?:instance_)?(\w+)>", r"{\1}", rule): methods for rule, methods in ROUTES.items()}
    assert {path: {method.upper() for method in it} for path, it in DOCUMENT["paths"].items()} == {
        path: set(methods) for path, methods in paths.items()
    }
    assert OPERATIONS.keys() <= {(method, path) for path, methods in paths.items() for method in methods}
    assert made.operation("GET", "/new/{token}") == {
        "parameters": [{"name": "token", "in": "path", "required": True, "schema": {"type": "string"}}],
        "responses": {"default": {"description": "An answer.", "content": made.ANYTHING}},
    }


@pytest.mark.parametrize("operation", [operation for _, operation in BODIES], ids=lambda it: it["operationId"])
def test_the_body_is_what_the_reader_reads(operation: dict[str, Any]) -> None:
    """Each member that the document has is known to the reader, required where it is, and no other is taken."""
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    read = READERS[operation["operationId"]]
    with pytest.raises(BadRequest) as refused:
        read({"no such member": 1})
    listed = str(refused.value).rpartition("Its members are: ")[2]
    assert set(filter(None, listed.split(", "))) == set(schema["properties"])
    missing = set(re.findall(r"'(\w+)' is missing", str(refused.value)))
    assert missing == set(schema.get("required", ()))
    assert schema["additionalProperties"] is False


def test_the_examples_are_the_sample_events() -> None:
    """What a reader of the document tries is what the tests try."""
    start = DOCUMENT["paths"]["/workflows/{workflow}/instances"]["post"]
    examples = start["requestBody"]["content"]["application/json"]["examples"]
    assert set(examples) == {"start", "start-wait"}
    for _, operation in BODIES:
        for example in operation["requestBody"]["content"]["application/json"].get("examples", {}).values():
            READERS[operation["operationId"]](example["value"])


def test_every_error_that_a_caller_can_make_is_documented_somewhere() -> None:
    """By its type, under its status; a new one must be given to the operations that can meet it."""
    described = json.dumps(DOCUMENT)
    for error in errors.CallerError.__subclasses__():
        if error.__module__ == "hephaestus.errors":
            assert error.problem_type() in described
    for operation in (it for methods in DOCUMENT["paths"].values() for it in methods.values()):
        statuses = {"400", "403", "500", "503"} if "operationId" in operation else {"default"}
        assert statuses <= operation["responses"].keys()


def test_a_link_is_its_own_permission_and_everything_else_is_signed() -> None:
    """As the deployed API has it; a person who opens a link gets a page, whatever comes of it."""
    for path, methods in DOCUMENT["paths"].items():
        for operation in methods.values():
            linked = path == "/callbacks/{token}"
            assert operation.get("security", DOCUMENT["security"]) == ([] if linked else [{"signature": []}])
            pages = ["text/html" in answer["content"] for answer in operation["responses"].values()]
            assert pages == [linked] * len(pages)


def test_an_instance_has_the_members_of_its_view() -> None:
    """And no other: what is added to the view is in the document by itself."""
    shown = DOCUMENT["components"]["schemas"]["Instance"]["properties"]
    assert set(shown) == {field.name for field in fields(InstanceView)} | {"left_out"}
