"""The API's document is what the code makes, and says what the code does."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from datetime import timedelta
from functools import partial
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # it brings no types
import pydantic
import pytest

from hephaestus import DONE, FAIL, Concurrency, StepContext, Workflow, errors, step
from hephaestus.definition.views import InstanceView, to_json_object
from hephaestus.errors import BadRequest
from hephaestus.handlers.http.api import ROUTES
from hephaestus.handlers.http.describe import describe
from hephaestus.handlers.http.document import read_document
from hephaestus.runtime.commands import ROUTED
from hephaestus.runtime.commands.command import in_path
from hephaestus.steps import WaitForEvent
from hephaestus.testing import LocalRuntime
from hephaestus.triggers import On, Start
from hephaestus.values import to_json
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
PATHS = {"instance_id": "k::1", "workflow": "OrderFlow", "schedule": "Report.nightly"}
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


class Receipt(pydantic.BaseModel):
    """Start data of ``Everything``."""

    a: int = 1


@step(compensate=lambda ctx: None)
def begin(ctx: StepContext) -> str:
    """Can be undone."""
    return "done"


gate = WaitForEvent("go", "no", name="gate", timeout=60)


class Everything(Workflow, key="everything", tags=("all",), limits=[Concurrency("everything", 2)]):
    """Says of itself all that a workflow can say."""

    Input = Receipt
    start_at = begin
    output = begin
    on_failure = step(key="tell")(lambda ctx: "done")
    timeout = timedelta(days=1)
    triggers = [On.s3(lambda event: Start(event.key), bucket="inbox", prefix="a", suffix=".json")]
    transitions = {begin: {"done": gate}, gate: {"go": DONE, "no": FAIL("no"), "timeout": FAIL}}


def test_what_is_shown_of_a_workflow_is_documented_whatever_it_has() -> None:
    shown = describe(Everything)
    version = DOCUMENT["components"]["schemas"]["Workflow"]["properties"]["versions"]["items"]
    assert set(shown["versions"][0]) == set(version["properties"]), "this workflow has all there is"
    _check(shown, "Workflow")


@pytest.mark.parametrize("event", [None, "go", "no"])
def test_what_is_shown_of_an_instance_is_documented_in_every_state(event: str | None) -> None:
    local = LocalRuntime(Everything)
    local.start(Everything, "1", {}, tags=("b",), metadata={"by": "a"})
    if event is None:
        local.runner.pause("everything::1", "wait")
    else:
        local.resume("everything::1", event, {"x": 1})
    _check(json.loads(to_json(to_json_object(local.runner.get("everything::1")))), "Instance")


def _check(shown: Any, schema: str) -> None:
    jsonschema.validate(shown, {"$ref": f"#/components/schemas/{schema}", "components": DOCUMENT["components"]})
