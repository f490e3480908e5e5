"""The keys of links in Secrets Manager and in Parameter Store: found, rotated, missing, refused; a life with them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import boto3
import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError

from hephaestus import aws
from hephaestus.adapters import secrets
from hephaestus.callbacks.link import Link
from hephaestus.callbacks.signing_keys import AGAIN_MS, KEPT_MS
from hephaestus.errors import EngineError, LinkAltered, LinksAreOff, NoCallbackKey, StoreUnavailable
from hephaestus.runtime.clock import SystemClock
from tests.integration.deployment import sample
from tests.integration.stack import REGION

if TYPE_CHECKING:
    from hephaestus.callbacks.signer import Signer
    from tests.integration.stack import Stack

ONE, TWO, THREE = ("1" * 40, "2" * 40, "3" * 40)
LINK: Final = Link("0" * 20, "orderid::a", "e64892557ff76543210", "approval", "approved", 99_999_999_999)


class Secret:
    """A key in Secrets Manager."""

    kind = "secret"

    def __init__(self) -> None:
        self.client: Any = boto3.client("secretsmanager", region_name=REGION)

    def create(self, key: str) -> None:
        """Store the first key."""
        self.client.create_secret(Name="/key", SecretString=key)

    def rotate(self, key: str) -> None:
        """Store the next."""
        self.client.put_secret_value(SecretId="/key", SecretString=key)


class Parameter:
    """A key in Parameter Store."""

    kind = "parameter"

    def __init__(self) -> None:
        self.client: Any = boto3.client("ssm", region_name=REGION)

    def create(self, key: str) -> None:
        """Store the first key."""
        self.client.put_parameter(Name="/key", Value=key, Type="SecureString")

    def rotate(self, key: str) -> None:
        """Store the next."""
        self.client.put_parameter(Name="/key", Value=key, Type="SecureString", Overwrite=True)


@pytest.fixture(params=[Secret, Parameter], ids=["secret", "parameter"])
def vault(request: pytest.FixtureRequest, stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Secret | Parameter:
    """Where the key is to be; the functions are told."""
    kept: Secret | Parameter = request.param()
    monkeypatch.setenv("HEPHAESTUS_CALLBACK_KEY", f"{kept.kind}:/key")
    monkeypatch.setenv("HEPHAESTUS_CALLBACK_URL", "https://links.test/v1")
    return kept


def test_a_key_comes_with_the_one_before_it_and_no_other(vault: Secret | Parameter) -> None:
    vault.create(ONE)
    assert secrets.read_keys(vault.kind, "/key") == (ONE.encode(),)
    vault.rotate(TWO)
    assert secrets.read_keys(vault.kind, "/key") == (TWO.encode(), ONE.encode())
    vault.rotate(THREE)
    assert secrets.read_keys(vault.kind, "/key") == (THREE.encode(), TWO.encode())


def test_links_live_through_one_rotation_and_not_through_two(
    vault: Secret | Parameter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen by an environment that has the old keys, and by one that is new."""
    vault.create(ONE)
    now = SystemClock().now()
    monkeypatch.setattr(SystemClock, "now", lambda _: now)

    def fresh() -> Signer:
        aws.signer_from_environment.cache_clear()
        return aws.signer_from_environment()

    running = fresh()
    first = running.token(LINK)
    vault.rotate(TWO)
    second = fresh().token(LINK)
    assert first != second
    assert fresh().read(first, now) == LINK
    monkeypatch.setattr(SystemClock, "now", lambda _: now + AGAIN_MS)
    assert running.read(second, now) == LINK, "a signature that it does not know has it look for a newer key"
    vault.rotate(THREE)
    monkeypatch.setattr(SystemClock, "now", lambda _: now + AGAIN_MS + KEPT_MS)
    for signer in (running, fresh()):
        assert signer.read(second, now) == LINK
        with pytest.raises(LinkAltered):
            signer.read(first, now)


def test_a_key_that_is_not_there_is_named(vault: Secret | Parameter) -> None:
    with pytest.raises(NoCallbackKey, match=f"the {vault.kind} /key that should hold the key for links is not there"):
        aws.signer_from_environment().token(LINK)


def test_a_key_that_is_too_short_signs_nothing_and_is_not_shown(vault: Secret | Parameter) -> None:
    vault.create("s3cr3t-4111")
    with pytest.raises(NoCallbackKey, match="shorter than 32 bytes") as raised:
        aws.signer_from_environment().token(LINK)
    assert "s3cr3t" not in str(raised.value)


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (ClientError({"Error": {"Code": "AccessDeniedException"}}, "GetSecretValue"), EngineError),
        (ClientError({"Error": {"Code": "ThrottlingException"}}, "GetSecretValue"), StoreUnavailable),
        (ConnectTimeoutError(endpoint_url="https://secrets.test"), StoreUnavailable),
    ],
)
def test_a_service_that_refuses_or_is_silent_is_told_apart(
    vault: Secret | Parameter, monkeypatch: pytest.MonkeyPatch, failure: Exception, expected: type[Exception]
) -> None:
    """A function without the permission is fixed by somebody; silence passes."""

    class Failing:
        def __getattr__(self, operation: str) -> Any:
            def fail(**_request: Any) -> None:
                raise failure

            return fail

    client = secrets._secrets if vault.kind == "secret" else secrets._parameters  # noqa: SLF001 - botocore's edge
    monkeypatch.setattr(client, "_client", Failing())
    with pytest.raises(expected):
        aws.signer_from_environment().token(LINK)


def test_the_address_may_be_kept_in_a_parameter(vault: Secret | Parameter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEPHAESTUS_CALLBACK_URL", "parameter:/address")
    aws.settings_from_environment.cache_clear()
    with pytest.raises(NoCallbackKey, match="the parameter /address"):
        aws.signer_from_environment().url("token")
    boto3.client("ssm", region_name=REGION).put_parameter(Name="/address", Value="https://kept.test/v1", Type="String")
    assert aws.signer_from_environment().url("token") == "https://kept.test/v1/callbacks/token"


def test_without_an_address_there_are_tokens_and_no_links(
    vault: Secret | Parameter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HEPHAESTUS_CALLBACK_URL")
    vault.create(ONE)
    assert aws.signer_from_environment().token(LINK)
    with pytest.raises(NoCallbackKey, match="HEPHAESTUS_CALLBACK_URL"):
        aws.signer_from_environment().url("token")


def test_two_deployments_that_share_a_key_do_not_take_each_others_links(
    vault: Secret | Parameter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the name of their tables, where they are told nothing else."""
    vault.create(ONE)
    here = aws.signer_from_environment().audience
    monkeypatch.setenv("HEPHAESTUS_TABLE", "another")
    for cached in (aws.settings_from_environment, aws.signer_from_environment):
        cached.cache_clear()
    assert aws.signer_from_environment().audience != here


def test_an_order_is_approved_by_the_link_in_its_mail(stack: Stack, vault: Secret | Parameter) -> None:
    """From the environment alone: signed in one function, used in another."""
    vault.create(ONE)
    event = sample("direct-start")
    event["context"].update(approver="boss@example.com", show_links=True)
    started = stack.invoke("start", event)
    shown = stack.call("read", "api-get", f"/instances/{started['id']}")[1]
    link = shown["steps"]["send_receipt"]["results"]["links"]["approved"]
    assert link.startswith("https://links.test/v1/callbacks/")
    answer = sample("api-callback-answer")
    taken = stack.invoke("callback", {**answer, "path": f"/callbacks/{link.rsplit('/', 1)[-1]}", "body": None})
    assert taken["statusCode"] == 202, taken
    stack.deliver()
    assert stack.status(started["id"]) == "completed"


def test_who_has_to_do_with_no_link_asks_for_no_key(stack: Stack, vault: Secret | Parameter) -> None:
    """The key is not even there, and an order runs to its approval."""
    assert stack.invoke("start", sample("direct-start"))["status"] == "waiting"


def test_a_deployment_without_a_key_says_what_to_configure(stack: Stack) -> None:
    with pytest.raises(LinksAreOff, match="CallbackKey=generate"):
        aws.signer_from_environment()
    token = sample("api-callback-show")["pathParameters"]["token"]
    for name in ("api-callback-show", "api-callback-answer"):
        answer = stack.invoke("callback", sample(name))
        assert (answer["statusCode"], token in json.dumps(answer["body"])) == (404, False)


WRONG: Final = {
    "no name of a secret": ("HEPHAESTUS_CALLBACK_KEY", "secret:"),
    "no name of a parameter": ("HEPHAESTUS_CALLBACK_KEY", "parameter:"),
    "a key in place": ("HEPHAESTUS_CALLBACK_KEY", "hunter2"),
    "no address": ("HEPHAESTUS_CALLBACK_URL", "parameter:"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_setting_of_links_stops_links_and_nothing_else(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    """Every function is imported, an order is started, steered and swept; a link is answered with a problem."""
    monkeypatch.setenv(*WRONG[wrong])
    started = stack.invoke("start", sample("direct-start"))
    assert (started["status"], stack.status(started["id"])) == ("waiting", "waiting")
    assert stack.invoke("sweep", sample("sweep"))["found"] == 0
    approve = {"instance_id": started["id"], "event": "approved"}
    assert stack.invoke("resume", approve)["status"] == "completed"
    with pytest.raises(NoCallbackKey, match=f"{WRONG[wrong][0]} is"):
        aws.signer_from_environment()
    for name in ("api-callback-show", "api-callback-answer"):
        answer = stack.invoke("callback", sample(name))
        assert (answer["statusCode"], "HEPHAESTUS" in answer["body"]) == (500, False)


def test_a_function_that_makes_no_schedules_needs_none_of_their_settings(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading, sweeping and links go on where the schedules' settings are missing; steps do not run half."""
    for name in ("HEPHAESTUS_SCHEDULE_GROUP", "HEPHAESTUS_SCHEDULE_ROLE_ARN", "HEPHAESTUS_RESUME_ARN"):
        monkeypatch.delenv(name)
    assert stack.call("read", "api-list")[0] == 200
    assert stack.invoke("sweep", sample("sweep"))["found"] == 0
    assert stack.invoke("callback", sample("api-callback-show"))["statusCode"] == 404
    with pytest.raises(aws.BadSettings, match="SCHEDULE_GROUP is not set; HEPHAESTUS_SCHEDULE_ROLE_ARN is not set"):
        stack.invoke("start", sample("direct-start"))
