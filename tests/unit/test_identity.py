"""Whose credentials an account has."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import EndpointConnectionError

from hephaestus.operations.identity import Identity

ARN = "arn:aws:iam::123456789012:user/ann"


class Sts:
    """Of the account, too: answers when it can be reached, and counts."""

    def __init__(self, *, reached: bool) -> None:
        self.reached, self.asked = reached, 0

    def client(self, _: str) -> Sts:
        return self

    def get(self) -> Any:
        return self

    def get_caller_identity(self) -> dict[str, str]:
        self.asked += 1
        if not self.reached:
            raise EndpointConnectionError(endpoint_url="https://sts.eu-west-1.amazonaws.com")
        return {"Arn": ARN}


def test_an_answer_is_asked_for_once_and_no_answer_is_not_kept() -> None:
    """A console that was opened without a network names its person once there is one."""
    sts = Sts(reached=False)
    identity = Identity(sts)  # type: ignore[arg-type]  # all of an account that is used
    assert identity.arn() is None
    sts.reached = True
    assert [identity.arn() for _ in range(3)] == [ARN] * 3
    assert sts.asked == 2
