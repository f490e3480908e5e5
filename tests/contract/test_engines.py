"""The engines under the contract suite are worth trusting: they are exact when many threads write at once."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING
from uuid import uuid4

import boto3
import pytest
from botocore.config import Config

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

THREADS = 16


@pytest.fixture(params=["moto_in_process", "moto_server", "dynamodb_local"])
def client(request: pytest.FixtureRequest) -> DynamoDBClient:
    """A client of each engine in turn."""
    endpoint: str | None = request.getfixturevalue(request.param)
    return boto3.client("dynamodb", endpoint_url=endpoint, config=Config(max_pool_connections=THREADS))


@pytest.fixture
def table(client: DynamoDBClient) -> str:
    """A table that no other test knows."""
    name = f"engines-{uuid4()}"
    client.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    return name


def test_one_of_many_threads_wins_a_conditional_put(client: DynamoDBClient, table: str) -> None:
    """What the log relies on: a sequence number goes to one writer, however many try at the same moment."""

    def put(writer: int, number: int) -> bool:
        start.wait()
        try:
            client.put_item(
                TableName=table,
                Item={"id": {"S": f"log#{number}"}, "writer": {"N": str(writer)}},
                ConditionExpression="attribute_not_exists(id)",
            )
        except client.exceptions.ConditionalCheckFailedException:
            return False
        return True

    start = Barrier(THREADS)
    with ThreadPoolExecutor(THREADS) as pool:
        for number in range(5):
            won = list(pool.map(put, range(THREADS), [number] * THREADS))
            assert won.count(True) == 1
            item = client.get_item(TableName=table, Key={"id": {"S": f"log#{number}"}}, ConsistentRead=True)["Item"]
            assert item["writer"] == {"N": str(won.index(True))}


def test_no_update_is_lost_between_threads(client: DynamoDBClient, table: str) -> None:
    """16 threads count to 10 each on one item, and the item says 160."""

    def count(_: int) -> None:
        for _ in range(10):
            client.update_item(
                TableName=table,
                Key={"id": {"S": "counter"}},
                UpdateExpression="ADD hits :one",
                ExpressionAttributeValues={":one": {"N": "1"}},
            )

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(count, range(THREADS)))
    item = client.get_item(TableName=table, Key={"id": {"S": "counter"}}, ConsistentRead=True)["Item"]
    assert item["hits"] == {"N": str(THREADS * 10)}


def test_tests_cannot_reach_a_real_account() -> None:
    """Whatever the shell that started the tests is logged in to, botocore finds the words `testing`, and no profile."""
    credentials = boto3.Session().get_credentials()
    assert credentials is not None
    assert credentials.get_frozen_credentials()[:2] == ("testing", "testing")
    assert boto3.Session().available_profiles == []
    assert not [name for name in os.environ if name.startswith("AWS_ENDPOINT_URL")]
