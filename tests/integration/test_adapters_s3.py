"""Large values in S3: what is there, what is not, and what S3 does not say."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from hephaestus.adapters.s3 import S3Blobs
from hephaestus.adapters.session import LazyClient
from hephaestus.errors import EngineError, StoreUnavailable


@pytest.fixture
def blobs(moto_in_process: None) -> S3Blobs:
    """An empty bucket."""
    client = LazyClient("s3")
    client.get().create_bucket(Bucket="values", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    return S3Blobs("values", client)


def test_a_value_comes_back(blobs: S3Blobs) -> None:
    blobs.put("i/1", b"large")
    assert blobs.get("i/1") == b"large"


def test_nothing_is_where_nothing_was_put(blobs: S3Blobs) -> None:
    assert blobs.get("i/2") is None


@pytest.mark.parametrize("code", ["AccessDenied", "403", "Forbidden"])
def test_what_is_denied_is_not_taken_for_missing_and_says_what_to_check(blobs: S3Blobs, code: str) -> None:
    """S3 answers 403 for a missing object to a role without s3:ListBucket."""
    with Stubber(blobs.client.get()) as stub:
        stub.add_client_error("get_object", code, "Access Denied", 403)
        with pytest.raises(EngineError, match=r"i/1 .* s3:GetObject .* s3:ListBucket .* kms:Decrypt") as raised:
            blobs.get("i/1")
    assert isinstance(raised.value.__cause__, ClientError)


@pytest.mark.parametrize("code", ["SlowDown", "ServiceUnavailable"])
def test_a_passing_condition_is_one(blobs: S3Blobs, code: str) -> None:
    with Stubber(blobs.client.get()) as stub:
        stub.add_client_error("get_object", code, "later", 503)
        with pytest.raises(StoreUnavailable):
            blobs.get("i/1")
