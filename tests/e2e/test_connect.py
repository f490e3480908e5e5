"""``hephaestus.connect`` on the deployed stack: by its name, and by the API's address."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

import hephaestus
from hephaestus.client import AwsRefused
from tests.e2e.orders import PATIENCE, context, eventually, fresh
from tools.emulator import REGION, STACK

if TYPE_CHECKING:
    from botocore.credentials import Credentials

    from tests.e2e.deployment import Deployment


def test_an_order_from_another_service(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """The deployer invokes the functions; the API lets in who may call it, and no one else."""

    def become(who: Credentials | None) -> None:
        for name, value in (("ACCESS_KEY_ID", "access_key"), ("SECRET_ACCESS_KEY", "secret_key")):
            monkeypatch.setenv(f"AWS_{name}", getattr(who, value) if who else "test")

    for name in ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)
    become(None)
    shop = hephaestus.connect(STACK, region=REGION, endpoint_url=deployment.emulator.endpoint)
    order = shop.start("OrderFlow", fresh(), context())
    eventually(lambda: order.get().status == "waiting", f"{order.id} does not wait")
    become(deployment.stranger)
    with pytest.raises(AwsRefused):
        hephaestus.connect(deployment.url, region=REGION).get(order.id)
    become(deployment.caller)
    outside = hephaestus.connect(deployment.url, region=REGION).handle(order.id)
    outside.resume("approved", {"by": "ann"})
    assert outside.wait(PATIENCE).status == "completed"
