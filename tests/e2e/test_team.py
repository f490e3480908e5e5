"""A team's way, from an empty folder: install the wheel, init, test, deploy, start, upgrade, and go on.

One test, as each step needs the one before: on the emulator of the other tests, with IAM enforced.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from typing import TYPE_CHECKING, Any

from hephaestus import __version__
from tests.e2e.orders import eventually
from tests.wheels import as_release, build_wheel
from tools.emulator import VENVS, aws_environment

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.e2e.deployment import Deployment

OLD = "0.0.1"
# The emulator's own (see tools/emulator.py), as a team sets parameters.
PARAMETERS = """\
        ScheduleGroupName: default
        SavedQueries: "off"
        TlsOnly: "off"
        BulkConcurrency: 0
        EventBusName: default
        StepPolicyArn"""
SERVICE = """\
import hephaestus

purchase = hephaestus.connect("shop").start("Purchase", "1", {"amount": 20})
purchase.output(timeout=60)
print(purchase.get().status)
"""
NEXT_VERSION = '''

from hephaestus.triggers import On, S3Event, Start


def uploaded(event: S3Event) -> Start:
    return Start(event.key.removeprefix("purchases/"), {"amount": event.size})

class PurchaseV2(Workflow, key="purchaseid", version=2):
    """Every purchase is approved."""

    start_at = approval
    transitions = {
        approval: {"approved": book, "rejected": DONE, "timeout": DONE},
        book: {"done": DONE},
    }
    triggers = [On.s3(uploaded, bucket="inbox", prefix="purchases/")]


class Purchase(Workflow, versions={1: PurchaseV1, 2: PurchaseV2}, current=2):
    """All versions."""
'''


VOYAGE = '''"""A voyage, whose crates a child packs, each when somebody says so."""

from hephaestus import DONE, Rounds, StepContext, Workflow, step
from hephaestus.steps import Map, Repeat, WaitForEvent


class Packing(Workflow, key="packing"):
    """The crates of one day."""

    crates = Map(WaitForEvent("packed", name="pack"), over=lambda ctx: ctx.initial["crates"], key=str)
    start_at = crates
    transitions = {crates: {"done": DONE}}
    output = lambda ctx: {"crates": ctx.initial["crates"][:1], "packed": ctx.steps["pack"]["completed"]}


packing = Repeat(
    Packing,
    until=lambda ctx: ctx.carry["packed"] == 1,
    rounds=Rounds(5),
    context=lambda ctx: ctx.initial,
    name="packing",
)


@step
def sail(ctx: StepContext) -> dict[str, int]:
    """Sail after so many days."""
    return {"packed": ctx.steps["packing"]["packed"]}


class Voyage(Workflow, key="voyage"):
    """One ship."""

    start_at = packing
    transitions = {packing: {"done": sail}, sail: {"done": DONE}}
'''


UPLOADED: dict[str, Any] = {
    "Records": [
        {
            "eventSource": "aws:s3",
            "eventName": "ObjectCreated:Put",
            "s3": {"bucket": {"name": "inbox"}, "object": {"key": "purchases/4", "size": 2000, "sequencer": "0A"}},
        }
    ]
}


class Team:
    """A shell of the team's: its folder, its environment, its credentials."""

    def __init__(self, home: Path, endpoint: str) -> None:
        self.venv = home / "venv"
        self.folder = home / "shop"
        self.environment = aws_environment(endpoint)
        path = [str(self.venv / "bin"), str(VENVS / "sam" / "bin"), os.environ.get("PATH", os.defpath)]
        self.environment |= {"PATH": os.pathsep.join(path), "NO_COLOR": "1"}
        for name in ("PYTHON", "PYTHONPATH", "HEPHAESTUS_STACK"):
            self.environment.pop(name, None)

    def run(self, *command: str, status: int = 0) -> str:
        """Run a command in the folder; it succeeds, or ends with that status."""
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == status, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def develop(self) -> str:
        """Have ``hephaestus dev`` run an instance to its end; returns its status."""
        process = subprocess.Popen(
            [str(self.venv / "bin" / "hephaestus"), "dev", "src/shop", "--port", "0", "--json"],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        with process:
            assert process.stdout is not None
            where = json.loads("".join(iter(process.stdout.readline, "}\n")) + "}")
            body = json.dumps({"id": "dev-1", "context": {"amount": 20}}).encode()
            headers = {"Content-Type": "application/json", "Prefer": "wait=20"}
            request = urllib.request.Request(f"{where['url']}/workflows/Purchase/instances", body, headers)  # noqa: S310 - it printed the address
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(request) as answer:
                shown = json.load(answer)
            process.send_signal(signal.SIGTERM)
        assert process.returncode == 0
        return str(shown["status"])

    def install(self, wheel: Path) -> None:
        """Install a release with what the command needs."""
        uv = str(VENVS / "uv" / "bin" / "uv")
        self.run(
            uv,
            "pip",
            "install",
            "--quiet",
            "--python",
            str(self.venv),
            f"hephaestus-aws[cli] @ {wheel.as_uri()}",
            "pytest",
        )

    def deploy(self) -> None:
        """Build what is there and deploy it."""
        self.run("sam", "build")
        self.run("sam", "deploy", "--no-confirm-changeset", "--no-progressbar")

    def hephaestus(self, *arguments: str) -> Any:
        """What the command answers a program."""
        return json.loads(self.run("hephaestus", *arguments, "--stack", "shop", "--json"))

    def edit(self, path: str, old: str, new: str) -> None:
        """Change a file of the team's."""
        text = (self.folder / path).read_text()
        assert old in text
        (self.folder / path).write_text(text.replace(old, new, 1))


def listening(deployment: Deployment) -> Callable[[], list[tuple[str, str]]]:
    """A queue behind a rule: the instances whose status events have come to it, and their statuses."""
    sqs, events = deployment.client("sqs"), deployment.client("events")
    url = sqs.create_queue(QueueName="team-hears")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    pattern = {"source": ["hephaestus"], "detail": {"workflow": ["Purchase"], "status": ["completed"]}}
    events.put_rule(Name="team-hears", EventPattern=json.dumps(pattern))
    events.put_targets(Rule="team-hears", Targets=[{"Id": "queue", "Arn": arn}])

    def come() -> list[tuple[str, str]]:
        found = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
        details = [json.loads(message["Body"])["detail"] for message in found]
        return [(each["instance_id"], each["status"]) for each in details]

    return come


def sails(team: Team) -> None:
    """A parent and the children of two rounds: each end is mail that wakes the parent, and no sweep is waited for."""
    team.hephaestus("start", "Voyage", "1", "--data", '{"crates": ["a", "b"]}')
    packed: list[tuple[str, str]] = []
    while len(packed) < 3:

        def waiting() -> list[tuple[str, str]]:
            children = team.hephaestus("get", "voyage::1", "--tree").get("children", [])
            items = [
                (child["id"], item["key"])
                for child in children
                for item in team.hephaestus("items", child["id"], "pack", "--status", "waiting")["items"]
            ]
            return [one for one in items if one not in packed]

        eventually(lambda: bool(waiting()), "no item waits")
        child, item = waiting()[0]
        team.hephaestus("resume", child, "packed", "--item", item, "--wait", "20")
        packed.append((child, item))
    eventually(lambda: team.hephaestus("get", "voyage::1")["status"] == "completed", "it does not sail")
    assert team.hephaestus("get", "voyage::1")["output"] == {"packed": 1}
    listed = team.hephaestus("list", "--parent", "voyage::1")["items"]
    assert [one["status"] for one in listed] == ["completed"] * 2
    assert {one["id"] for one in listed} == {child for child, _ in packed}


def test_a_team_inits_tests_deploys_starts_and_upgrades(deployment: Deployment, tmp_path: Path) -> None:
    new = build_wheel(tmp_path)
    team = Team(tmp_path, deployment.emulator.endpoint)
    team.folder.mkdir()
    team.run(str(VENVS / "uv" / "bin" / "uv"), "venv", "--quiet", "--seed", "--python", sys.executable, str(team.venv))

    team.install(as_release(new, OLD))
    team.run("hephaestus", "init")
    assert "3 passed" in team.run("pytest")
    team.run("hephaestus", "check", "src/shop")
    assert team.develop() == "completed"
    (team.folder / "src/shop/voyages.py").write_text(VOYAGE)
    team.edit("src/shop/__init__.py", '__all__ = ["Purchase"]', "from shop.voyages import Packing, Voyage\n")
    team.edit("template.yaml", "        StepPolicyArn", PARAMETERS)
    team.deploy()
    come = listening(deployment)
    assert team.run("python", "-c", SERVICE) == "completed\n"
    eventually(lambda: ("purchaseid::1", "completed") in come(), "no status event came")
    sails(team)
    large = team.hephaestus("start", "Purchase", "2", "--data", '{"amount": 2000}', "--wait", "20")
    assert (large["status"], large["version"]) == ("waiting", 1)

    team.install(new)
    shown = team.run("hephaestus", "upgrade")
    assert f"+RELEASE := {__version__}" in shown
    assert "template.yaml kept" not in shown, "the release has nothing new for the team's own template"
    team.edit("src/shop/purchases.py", '"rejected": DONE', '"rejected": book')
    told = team.run("hephaestus", "check", "src/shop", "--deployed", "--stack", "shop", status=1)
    assert "version 1 is deployed with another graph (approval)" in " ".join(told.split())
    team.edit("src/shop/purchases.py", '"rejected": book', '"rejected": DONE')
    team.edit("src/shop/purchases.py", "class Purchase(", "class PurchaseV1(")
    with (team.folder / "src/shop/purchases.py").open("a") as module:
        module.write(NEXT_VERSION)
    team.run("hephaestus", "check", "src/shop", "--deployed", "--stack", "shop")
    team.deploy()
    went_on = team.hephaestus("resume", "purchaseid::2", "approved", "--wait", "20")
    assert (went_on["status"], went_on["version"]) == ("completed", 1)
    assert team.hephaestus("start", "Purchase", "3", "--data", '{"amount": 20}', "--wait", "20")["version"] == 2

    cloudformation = deployment.client("cloudformation")
    stack = cloudformation.describe_stack_resources(StackName="shop")["StackResources"]
    (nested,) = (it["PhysicalResourceId"] for it in stack if it["ResourceType"] == "AWS::CloudFormation::Stack")
    (inner,) = cloudformation.describe_stacks(StackName=nested)["Stacks"]
    queue = {it["OutputKey"]: it["OutputValue"] for it in inner["Outputs"]}["IngestQueueUrl"]
    for _ in range(2):
        deployment.client("sqs").send_message(QueueUrl=queue, MessageBody=json.dumps(UPLOADED))
    listed = ["list", "--workflow", "Purchase"]
    eventually(lambda: "purchaseid::4" in [it["id"] for it in team.hephaestus(*listed)["items"]], "no event was taken")
    (table,) = (each["PhysicalResourceId"] for each in stack if each["LogicalResourceId"] == "Purchases")
    items = deployment.client("dynamodb").scan(TableName=table)["Items"]
    assert {item["id"]["S"] for item in items} == {"purchaseid::1", "purchaseid::2"}
