"""The port ``Table`` on DynamoDB."""

from hephaestus.adapters.dynamodb.dynamo_table import DynamoTable

__all__ = ["DynamoTable"]
