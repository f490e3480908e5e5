"""What SAM's own translator makes of the template, where its rules are not the text's."""

from __future__ import annotations

from typing import Any, Final

import pytest

from tests.transformed import transformed

OPEN: Final = {"ApiAuthorization": "NONE"}


@pytest.fixture(scope="module")
def templates() -> dict[str, Any]:
    """The template of a stack that is closed, opened and closed again."""
    return transformed({"closed": {}, "open": OPEN, "closed again": {}})


def deployment(template: dict[str, Any]) -> str:
    """The logical id of the API's deployment, which the stage refers to."""
    (found,) = [name for name, it in template["Resources"].items() if it["Type"] == "AWS::ApiGateway::Deployment"]
    (stage,) = [it for it in template["Resources"].values() if it["Type"] == "AWS::ApiGateway::Stage"]
    assert stage["Properties"]["DeploymentId"] == {"Ref": found}
    return str(found)


def test_closing_an_open_api_makes_a_new_deployment(templates: dict[str, Any]) -> None:
    """An API serves its last deployment: with the same name, CloudFormation would make none."""
    assert len({deployment(template) for template in templates.values()}) == len(templates)


def test_the_rules_reach_cloudformation(templates: dict[str, Any]) -> None:
    """The transform leaves them as they are."""
    assert "CallbackKeyHasAName" in templates["closed"]["Rules"]
