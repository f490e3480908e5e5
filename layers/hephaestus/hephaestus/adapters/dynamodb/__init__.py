"""The port ``Table`` on DynamoDB."""

from hephaestus.adapters.dynamodb.table import DynamoTable

__all__ = ["DynamoTable"]
