"""What importing the adapters costs a cold start."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("hephaestus.adapters.memory", ("botocore", "pynamodb", "boto3", "sqlite3")),
        ("hephaestus.adapters.memory.table", ("botocore", "pynamodb", "boto3", "sqlite3")),
        ("hephaestus.adapters.sqlite", ("botocore", "pynamodb", "boto3")),
        ("hephaestus.adapters.dynamodb.table", ("boto3", "sqlite3")),
        ("hephaestus.adapters.dynamodb", ("boto3", "sqlite3", "s3transfer", "concurrent.futures.thread")),
        ("hephaestus.adapters.scheduler", ("boto3", "pynamodb")),
        ("hephaestus.adapters.sqs", ("boto3", "pynamodb")),
        ("hephaestus.adapters.s3_objects", ("boto3", "pynamodb")),
        ("hephaestus.adapters.memory.objects", ("botocore", "pynamodb", "boto3", "sqlite3")),
        ("hephaestus.aws, hephaestus.runtime.runner", ("hephaestus.runtime.sources", "hephaestus.runtime.item_lines")),
    ],
)
def test_importing_an_adapter_brings_nothing_it_can_do_without(module: str, unwanted: tuple[str, ...]) -> None:
    code = f"import sys, {module}; print([name for name in {unwanted!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
