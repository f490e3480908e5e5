"""A client for other services: ``hephaestus.connect("shop")`` starts, steers and shows the instances of a deployment.

It sends the commands of the catalogue to the deployed functions, and answers with the views and the errors of the
library. It needs boto3 and neither the workflows' code nor the table. It is not in the functions' own layer.

>>> import hephaestus
>>> shop = hephaestus.connect("shop")  # doctest: +SKIP
>>> order = shop.start("OrderFlow", "abc123", {"items": [{"price": 5}]})  # doctest: +SKIP
>>> order.wait(timeout=60).status  # doctest: +SKIP
'completed'
"""

from hephaestus.client.asynchronous import AsyncClient, AsyncHandle, connect_async
from hephaestus.client.synchronous import Client, Handle, connect
from hephaestus.operations import AwsRefused, NoCredentials, NoSuchStack, Unreachable

__all__ = [
    "AsyncClient",
    "AsyncHandle",
    "AwsRefused",
    "Client",
    "Handle",
    "NoCredentials",
    "NoSuchStack",
    "Unreachable",
    "connect",
    "connect_async",
]
