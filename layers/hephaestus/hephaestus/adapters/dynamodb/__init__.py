"""The table: models, one named function an access pattern, and the store made of them.

| item      | sort key                      | holds                                                            |
|-----------|-------------------------------|------------------------------------------------------------------|
| head      | ``head``                      | who, what, status, owner, alarm, the first log entry, a snapshot |
| log entry | ``log#<generation>#<number>`` | the events of one commit, from number 2 on                       |
"""

from hephaestus.adapters.dynamodb.store import DynamoStore
from hephaestus.adapters.dynamodb.table import Table

__all__ = ["DynamoStore", "Table"]
