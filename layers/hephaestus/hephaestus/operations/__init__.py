"""A deployed Hephaestus from outside, with a person's own credentials: what the command line and the console stand on.

``connect(stack="hephaestus")`` finds everything by the stack's name. What is read comes straight from the table; what
changes something is asked of the deployed functions, so that the deployed code decides. Nothing here runs in a Lambda
function.
"""

from hephaestus.operations.advice import AwsRefused, NoCredentials, NoSuchStack, Unreachable, explained
from hephaestus.operations.deployed import Connection, account_of, connect, deployed_api
from hephaestus.operations.local import local_account
from hephaestus.operations.stack import Stack, find_stack

__all__ = [
    "AwsRefused",
    "Connection",
    "NoCredentials",
    "NoSuchStack",
    "Stack",
    "Unreachable",
    "account_of",
    "connect",
    "deployed_api",
    "explained",
    "find_stack",
    "local_account",
]
