"""The table that tests run on is the table that is deployed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml  # type: ignore[import-untyped]  # it brings no types

if TYPE_CHECKING:
    from tests.contract.conftest import Dynamo

TEMPLATE = Path(__file__).resolve().parents[2] / "template.yaml"


# Reads CloudFormation's short forms (`!Ref`) as plain data.
Loader: Any = type("Loader", (yaml.SafeLoader,), {})
Loader.add_multi_constructor("!", lambda _loader, suffix, node: {suffix: node.value})


def test_the_models_and_the_template_describe_one_table(local: Dynamo) -> None:
    """Keys, indexes, projections and time to live of ``template.yaml`` are what the PynamoDB models make."""
    declared = yaml.load(TEMPLATE.read_text(), Loader)["Resources"]["Table"]["Properties"]  # noqa: S506 - a SafeLoader
    made = local.table.client.describe_table(TableName=local.table.name)["Table"]
    assert by_name(declared["AttributeDefinitions"]) == by_name(made["AttributeDefinitions"])
    assert declared["KeySchema"] == made["KeySchema"]
    assert indexes(declared) == indexes(made)
    alive = local.table.client.describe_time_to_live(TableName=local.table.name)["TimeToLiveDescription"]
    assert declared["TimeToLiveSpecification"]["AttributeName"] == alive["AttributeName"]


def by_name(attributes: list[dict[str, str]]) -> dict[str, str]:
    return {attribute["AttributeName"]: attribute["AttributeType"] for attribute in attributes}


def indexes(table: dict[str, Any]) -> dict[str, Any]:
    return {
        index["IndexName"]: (
            index["KeySchema"],
            index["Projection"]["ProjectionType"],
            sorted(index["Projection"].get("NonKeyAttributes", [])),
        )
        for index in table["GlobalSecondaryIndexes"]
    }
