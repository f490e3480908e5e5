"""A client's description is found without reading the folders of all of AWS's services."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import botocore.session
import pytest
from botocore.exceptions import UnknownServiceError

from hephaestus.adapters.service_models import use_service_models

if TYPE_CHECKING:
    from botocore.session import Session


@pytest.fixture
def session() -> Session:
    """A session of botocore's own, with these models."""
    session = botocore.session.get_session()
    use_service_models(session)
    return session


def test_a_client_reads_no_folder_of_another_service(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    read: set[str] = set()
    listdir = os.listdir

    def noting(path: Any) -> list[str]:
        read.add(Path(path).name)
        return listdir(path)

    monkeypatch.setattr(os, "listdir", noting)
    session.create_client("dynamodb", "eu-west-1")
    assert "dynamodb" in read
    assert read <= {"data", "models", "dynamodb"}


@pytest.mark.parametrize("service", ["dynamodb", "s3", "sqs"])
def test_clients_are_those_that_botocore_makes_alone(service: str, session: Session) -> None:
    ours = session.create_client(service, "eu-west-1")
    plain = botocore.session.get_session().create_client(service, "eu-west-1")
    assert ours.meta.endpoint_url == plain.meta.endpoint_url
    assert dir(ours) == dir(plain)
    assert ours.waiter_names == plain.waiter_names
    for operation in plain.meta.method_to_api_mapping:
        assert ours.can_paginate(operation) == plain.can_paginate(operation), operation


def test_what_is_no_service_is_rejected_as_always(session: Session) -> None:
    with pytest.raises(UnknownServiceError, match="dynamo"):
        session.create_client("dynamo", "eu-west-1")


def test_services_are_named_as_always_and_found_where_the_settings_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "forge" / "2026-01-01").mkdir(parents=True)
    (tmp_path / "forge" / "2026-01-01" / "service-2.json").write_text('{"metadata": {"serviceId": "Forge"}}')
    monkeypatch.setenv("AWS_DATA_PATH", str(tmp_path))
    session = botocore.session.get_session()
    use_service_models(session)
    assert set(session.get_available_services()) == {
        "forge",
        *botocore.session.Session().get_available_services(),
    }
    assert session.get_service_model("forge").metadata["serviceId"] == "Forge"
