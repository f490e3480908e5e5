"""The runtime on AWS, put together from environment variables.

A function asks for what it does: ``runner_from_environment`` runs steps, ``answerer_from_environment`` takes links,
``reader_from_environment`` shows, ``sweeper_from_environment`` sweeps. Each checks the variables that it needs and no
others, so that a wrong one stops only what depends on it. Those of links are checked when a link is made or read.

Importing this is cheap, and making a runner touches no network. The client of DynamoDB is made with the runner, because
every invocation needs it; boto3 and the clients of Scheduler, SQS and S3 come with the first call that needs them, the
workflows with the first instance that runs.
"""

from __future__ import annotations

import os
from dataclasses import field
from functools import cache, partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from hephaestus.errors import HephaestusError, NoCallbackKey, no_signer
from hephaestus.runtime.dispatch import Enqueue
from hephaestus.runtime.names import MAX_PREFIX, PREFIX
from hephaestus.runtime.registry import Registry
from hephaestus.runtime.runner import Runner
from hephaestus.values.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hephaestus.adapters.session import Account
    from hephaestus.adapters.sqs import SqsMessages, SqsQueue
    from hephaestus.callbacks.signer import Signer
    from hephaestus.runtime.ports import EventBus
    from hephaestus.runtime.sources import Sources
    from hephaestus.runtime.sweeper import Sweeper
    from hephaestus.store.store import Store

MAX_SHARDS: Final = 64
MOST_DIGITS: Final = 15  # of a deployment's number
NUMBERS: Final = ("wake_shards", "list_shards", "retention_days")
RUNS: Final = (
    *("table", "queue_url", "schedule_group", "schedule_prefix", "schedule_role_arn", "resume_arn"),
    *("step_variables", *NUMBERS),
)
ANSWERS: Final = ("table", "queue_url", *NUMBERS)
READS: Final = ("table", "list_shards")
SWEEPS: Final = ("table", "queue_url", "wake_shards")
LINKS: Final = ("callback_key", "callback_url")
TAKEN: Final = ("AWS_", "HEPHAESTUS_", "LAMBDA_", "POWERTOOLS_")  # what the functions' own variables begin with


class BadSettings(HephaestusError):
    """The environment does not say what a runtime on AWS needs; the message names every variable that is wrong."""

    title = "Bad settings"


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment says; the variable's name is in brackets.

    Attributes:
        table: the DynamoDB table [HEPHAESTUS_TABLE].
        queue_url: the work queue [HEPHAESTUS_QUEUE_URL].
        bulk_queue_url: the queue for work of maps' trees; without it, it goes with all other work
            [HEPHAESTUS_BULK_QUEUE_URL].
        schedule_group: the group of the one-shot schedules [HEPHAESTUS_SCHEDULE_GROUP].
        schedule_prefix: what the names of the schedules begin with, so that stacks can share a group
            [HEPHAESTUS_SCHEDULE_PREFIX].
        schedule_role_arn: the role that Scheduler assumes to call the resume function [HEPHAESTUS_SCHEDULE_ROLE_ARN].
        resume_arn: the resume function [HEPHAESTUS_RESUME_ARN].
        schedule_dlq_arn: where a schedule's call goes that cannot be delivered [HEPHAESTUS_SCHEDULE_DLQ_ARN].
        workflows: the modules that hold the workflows, separated by commas [HEPHAESTUS_WORKFLOWS].
        deployment: the number at the end of what the deployment is named by, as the ARN of its workflows' layer: an
            older one's schedules never take the place of a newer one's [HEPHAESTUS_DEPLOYMENT].
        step_variables: environment variables of the steps, one ``NAME=value`` a line [HEPHAESTUS_STEP_VARIABLES].
        bucket: where large values go; without it they are refused [HEPHAESTUS_BUCKET].
        wake_shards: shards of the index of alarms, 1 to 64 [HEPHAESTUS_WAKE_SHARDS].
        list_shards: shards of the listing index, 1 to 64 [HEPHAESTUS_LIST_SHARDS].
        retention_days: how long an ended instance is kept; ``None`` for ever [HEPHAESTUS_RETENTION_DAYS].
        tracing: whether X-Ray traces are made [HEPHAESTUS_TRACING].
        callback_key: where the key is that signs links, as ``secret:<name or ARN>`` in Secrets Manager or
            ``parameter:<name>`` in Parameter Store; without it there are no links [HEPHAESTUS_CALLBACK_KEY].
        callback_url: the API's address as people reach it, or ``parameter:<name>`` that holds it
            [HEPHAESTUS_CALLBACK_URL].
        callback_audience: what tells this deployment's links from any other's; by default the table's name
            [HEPHAESTUS_CALLBACK_AUDIENCE].
        event_bus: the bus of EventBridge that takes status events; without it there are none [HEPHAESTUS_EVENT_BUS].
        stack: the stack's name, which status events show [HEPHAESTUS_STACK].
        ingest_dlq_url: where events go that can never be taken [HEPHAESTUS_INGEST_DLQ_URL].
        problems: what is wrong with a setting, by its name here; such a setting has its default.
    """

    table: str
    queue_url: str
    schedule_group: str
    schedule_role_arn: str
    resume_arn: str
    schedule_dlq_arn: str | None = None
    workflows: tuple[str, ...] = ("workflows",)
    bucket: str | None = None
    wake_shards: int = 4
    list_shards: int = 4
    retention_days: int | None = None
    tracing: bool = False
    callback_key: str | None = None
    callback_url: str | None = None
    callback_audience: str | None = None
    schedule_prefix: str = ""
    event_bus: str | None = None
    stack: str = ""
    ingest_dlq_url: str | None = None
    bulk_queue_url: str | None = None
    deployment: int = 0
    step_variables: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    problems: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Settings:
        """The settings in ``environment``; ``check`` tells of those that are missing or malformed."""
        reader = _Reader(environment)
        return cls(
            table=reader.text("TABLE"),
            queue_url=reader.text("QUEUE_URL"),
            schedule_group=reader.text("SCHEDULE_GROUP"),
            schedule_role_arn=reader.text("SCHEDULE_ROLE_ARN"),
            resume_arn=reader.text("RESUME_ARN"),
            schedule_dlq_arn=reader.optional("SCHEDULE_DLQ_ARN"),
            workflows=tuple(
                name.strip() for name in (reader.optional("WORKFLOWS") or "workflows").split(",") if name.strip()
            ),
            deployment=reader.ending("DEPLOYMENT"),
            bucket=reader.optional("BUCKET"),
            wake_shards=reader.number("WAKE_SHARDS", MAX_SHARDS) or 4,
            list_shards=reader.number("LIST_SHARDS", MAX_SHARDS) or 4,
            retention_days=reader.number("RETENTION_DAYS", 36_500),
            tracing=is_on(reader.optional("TRACING")),
            callback_key=reader.reference("CALLBACK_KEY", ("secret:", "parameter:")),
            callback_url=reader.reference("CALLBACK_URL", ("https://", "http://", "parameter:")),
            callback_audience=reader.optional("CALLBACK_AUDIENCE"),
            schedule_prefix=reader.prefix("SCHEDULE_PREFIX"),
            event_bus=reader.optional("EVENT_BUS"),
            stack=reader.optional("STACK") or "",
            ingest_dlq_url=reader.optional("INGEST_DLQ_URL"),
            bulk_queue_url=reader.optional("BULK_QUEUE_URL"),
            step_variables=MappingProxyType(reader.variables("STEP_VARIABLES")),
            problems=MappingProxyType(reader.problems),
        )

    def check(self, *needed: str) -> Settings:
        """These settings, if each of ``needed`` can be used.

        Raises:
            BadSettings: naming the variable of each that is missing or malformed.
        """
        found = [self.problems[name] for name in needed if name in self.problems]
        if found:
            message = f"the environment is incomplete: {'; '.join(found)}"
            raise BadSettings(message)
        return self


class _Reader:
    """Reads variables one by one and keeps what is wrong with them."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self.problems: dict[str, str] = {}

    def optional(self, name: str) -> str | None:
        return self._environment.get(f"HEPHAESTUS_{name}", "").strip() or None

    def text(self, name: str) -> str:
        value = self.optional(name)
        if value is None:
            self._wrong(name, "is not set")
        return value or ""

    def prefix(self, name: str) -> str:
        value = self.optional(name) or ""
        if PREFIX.fullmatch(value):
            return value
        self._wrong(name, f"is {value[:40]!r}: it must be at most {MAX_PREFIX} letters, digits, '-', '_' and '.'")
        return ""

    def reference(self, name: str, beginnings: tuple[str, ...]) -> str | None:
        value = self.optional(name)
        if value is not None and not any(value.startswith(known) and value != known for known in beginnings):
            known = " or ".join(f"{beginning}…" for beginning in beginnings)
            self._wrong(name, f"is {value[:40]!r}: it must be {known}")
            return None
        return value

    def number(self, name: str, most: int) -> int | None:
        value = self.optional(name)
        if value is None:
            return None
        if value.isascii() and value.isdigit() and len(value) <= len(str(most)) and 1 <= int(value) <= most:
            return int(value)
        self._wrong(name, f"is {value[:40]!r}: it must be a whole number from 1 to {most}")
        return None

    def ending(self, name: str) -> int:
        """The number after the last colon of what a variable says; 0 where there is none."""
        number = (self.optional(name) or "").rpartition(":")[2]
        return int(number) if number.isascii() and number.isdigit() and len(number) <= MOST_DIGITS else 0

    def variables(self, name: str) -> dict[str, str]:
        found: dict[str, str] = {}
        for line in filter(None, map(str.strip, (self.optional(name) or "").splitlines())):
            variable, equals, value = line.partition("=")
            if not (equals and variable.isascii() and variable.isidentifier()) or variable.startswith(TAKEN):
                taken = ", ".join(f"{beginning}…" for beginning in TAKEN)
                self._wrong(name, f"has the line {line[:40]!r}: it must be NAME=value, and not one of {taken}")
                return {}
            found[variable] = value
        return found

    def _wrong(self, name: str, what: str) -> None:
        self.problems[name.lower()] = f"HEPHAESTUS_{name} {what}"


def is_on(value: str | None) -> bool:
    """Whether a variable switches something on."""
    return (value or "").strip().lower() in ("1", "true", "on", "yes")


@cache
def settings_from_environment() -> Settings:
    """The settings of this process, read once; the variables of its steps are then in its environment."""
    settings = Settings.read(os.environ)
    os.environ.update(settings.step_variables)
    return settings


@cache
def runner_from_environment() -> Runner:
    """The runner of this process, made once; handlers whose functions run steps ask for it when they are imported.

    Raises:
        BadSettings: naming every variable that is missing or malformed, those of links aside.
    """
    settings = settings_from_environment().check(*RUNS)
    return build_runner(
        settings, Registry.load(settings.workflows, settings.deployment), signer=signer_from_environment
    )


@cache
def answerer_from_environment() -> Runner:
    """A runner that takes the answers of links, for a function that may make and remove no schedules.

    Raises:
        BadSettings: naming every variable that this needs and that is missing or malformed, those of links aside.
    """
    from hephaestus.adapters.queued_timers import QueuedBus, QueuedTimers  # noqa: PLC0415 - settings are checked before AWS is imported
    from hephaestus.adapters.session import Account  # noqa: PLC0415 - as above

    settings, place = settings_from_environment().check(*ANSWERS), Account()
    queue = _queue(settings, place)
    registry = Registry.load(settings.workflows, settings.deployment)
    store, timers = _store(settings, place), QueuedTimers(queue)
    runner = Runner(store, timers, queue, registry, signer=signer_from_environment)
    runner.bus = QueuedBus(queue) if settings.event_bus else None
    return runner


@cache
def reader_from_environment() -> Runner:
    """A runner for reading.

    Raises:
        BadSettings: naming every variable that reading needs and that is missing or malformed.
    """
    settings = settings_from_environment().check(*READS)
    return build_runner(settings, Registry.load(settings.workflows, settings.deployment))


def build_runner(
    settings: Settings,
    registry: Registry,
    account: Account | None = None,
    *,
    signer: Callable[[], Signer] | None = None,
) -> Runner:
    """A runner on what ``settings`` name, in an account (by default the environment's); only a signer makes links."""
    from hephaestus.adapters.scheduler import SchedulerTimers  # noqa: PLC0415 - settings are checked before AWS is imported
    from hephaestus.adapters.session import Account  # noqa: PLC0415 - as above

    place = account or Account()
    timers = SchedulerTimers(
        group=settings.schedule_group,
        role_arn=settings.schedule_role_arn,
        target_arn=settings.resume_arn,
        dlq_arn=settings.schedule_dlq_arn,
        client=place.client("scheduler"),
        prefix=settings.schedule_prefix,
    )
    queue = _queue(settings, place)
    store = _store(settings, place)
    runner = Runner(store, timers, queue, registry, dispatch=Enqueue(), signer=signer or no_signer)
    runner.bus = _bus(settings, place)
    runner.heed_pauses()
    runner.sources = cache(partial(_sources, place))
    return runner


def sweeper_from_environment() -> Sweeper:
    """A sweeper of this process's table and queue; it knows no workflows and no schedules.

    Raises:
        BadSettings: naming every variable that a sweep needs and that is missing or malformed.
    """
    from hephaestus.adapters.session import Account  # noqa: PLC0415 - settings are checked before AWS is imported
    from hephaestus.runtime.clock import SystemClock  # noqa: PLC0415 - as above
    from hephaestus.runtime.sweeper import Sweeper  # noqa: PLC0415 - only the sweep function needs it

    settings, place = settings_from_environment().check(*SWEEPS), Account()
    return Sweeper(_store(settings, place), _queue(settings, place), SystemClock())


@cache
def rejected_from_environment() -> SqsMessages:
    """Where events go that can never be taken.

    Raises:
        BadSettings: the environment does not name it.
    """
    from hephaestus.adapters.session import Account  # noqa: PLC0415 - settings are checked before AWS is imported
    from hephaestus.adapters.sqs import SqsMessages  # noqa: PLC0415 - as above

    url = settings_from_environment().ingest_dlq_url
    if url is None:
        message = "the environment is incomplete: HEPHAESTUS_INGEST_DLQ_URL is not set"
        raise BadSettings(message)
    return SqsMessages(url, Account().client("sqs"))


def _queue(settings: Settings, account: Account) -> SqsQueue:
    from hephaestus.adapters.sqs import SqsQueue  # noqa: PLC0415 - settings are checked before AWS is imported

    return SqsQueue(settings.queue_url, account.client("sqs"), settings.bulk_queue_url)


def _sources(account: Account) -> Sources:
    """What reads the items of maps from users' objects: few invocations need it."""
    from hephaestus.adapters.s3_objects import S3Objects  # noqa: PLC0415 - see above
    from hephaestus.adapters.session import MAX_ATTEMPTS  # noqa: PLC0415 - see above
    from hephaestus.runtime.sources import Sources  # noqa: PLC0415 - see above

    return Sources(S3Objects(account.client("s3", MAX_ATTEMPTS)))


def _bus(settings: Settings, account: Account) -> EventBus | None:
    """Where status events go, if they go anywhere."""
    if settings.event_bus is None:
        return None
    from hephaestus.adapters.eventbridge import EventBridgeBus  # noqa: PLC0415 - only where there is a bus

    return EventBridgeBus(settings.event_bus, settings.stack, account.client("events", 1))


def _store(settings: Settings, account: Account) -> Store:
    from hephaestus.adapters.dynamodb import DynamoTable  # noqa: PLC0415 - settings are checked before AWS is imported
    from hephaestus.store.items import INDEXES  # noqa: PLC0415 - as above
    from hephaestus.store.store import Store  # noqa: PLC0415 - as above

    blobs = None
    if settings.bucket:
        from hephaestus.adapters.s3 import S3Blobs  # noqa: PLC0415 - only where there is a bucket
        from hephaestus.adapters.session import MAX_ATTEMPTS  # noqa: PLC0415 - as above

        blobs = S3Blobs(settings.bucket, account.client("s3", MAX_ATTEMPTS))
    table = DynamoTable(
        settings.table,
        INDEXES,
        account.region,
        account.endpoint_url,
        connect_timeout=account.connect_timeout,
        read_timeout=account.read_timeout,
        session=account.session,
    )
    _ = (
        table.connection.client
    )  # made while Lambda initialises: then the processor is faster and the time is not the caller's
    return Store(
        table,
        blobs=blobs,
        wake_shards=settings.wake_shards,
        list_shards=settings.list_shards,
        retention_days=settings.retention_days,
    )


@cache
def signer_from_environment() -> Signer:
    """What signs and reads this process's links, made when the first is wanted.

    Raises:
        NoCallbackKey: the environment names no key, or a variable of links is malformed.
    """
    from hephaestus.adapters.secrets import read_keys, read_parameter  # noqa: PLC0415 - only where there are links
    from hephaestus.callbacks.signer import Signer, audience_of  # noqa: PLC0415 - as above
    from hephaestus.callbacks.signing_keys import CachedKeys  # noqa: PLC0415 - as above
    from hephaestus.runtime.clock import SystemClock  # noqa: PLC0415 - as above

    settings = settings_from_environment()
    try:
        settings.check(*LINKS)
    except BadSettings as error:
        message = f"this deployment makes and reads no links: {error}; correct it and deploy again"
        raise NoCallbackKey(message) from error
    if settings.callback_key is None:
        no_signer()
    kind, _, name = settings.callback_key.partition(":")
    audience = audience_of(settings.callback_audience or settings.table)

    @cache
    def base() -> str:
        where = settings.callback_url
        if where is None:
            message = "the API's address is not known: set HEPHAESTUS_CALLBACK_URL"
            raise NoCallbackKey(message)
        return read_parameter(where.removeprefix("parameter:")) if where.startswith("parameter:") else where

    return Signer(CachedKeys(partial(read_keys, kind, name), SystemClock()), audience, base)
