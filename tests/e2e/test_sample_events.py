"""The samples of `events/` on what `sam build` made, run as `sam local invoke` does: by Amazon's runtime emulator."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests import engines
from tools.emulator import ROOT, STACK, EmulatorError
from tools.rie import emulator_program, lambda_runtime

if TYPE_CHECKING:
    from tests.e2e.deployment import Deployment

# In the order in which they make sense, by function and the process that it runs in.
SAMPLES = (
    ("start", ("api-start", "api-start-wait", "direct-start")),
    ("read", ("api-get", "api-history", "api-list", "api-workflows")),
    ("control", ("direct-schedule-resume",)),
    ("resume", ("sqs-continue", "scheduler-timeout", "api-resume", "direct-resume")),
    ("control", ("api-cancel", "direct-cancel")),
    ("sweep", ("sweep",)),
)


# As approved and cancelled is more than one instance can be.
CANCELLED = {"api-cancel": "sample-2", "direct-cancel": "sample-3"}


def sample(name: str) -> Any:
    """A file of ``events/``."""
    text = (ROOT / "events" / f"{name}.json").read_text()
    return json.loads(text.replace("sample-1", CANCELLED.get(name, "sample-1")))


@pytest.fixture(scope="module")
def variables(deployment: Deployment) -> dict[str, str]:
    """What `events/env.json` has to say for this deployment."""
    try:
        emulator_program()
    except EmulatorError as missing:
        engines.missing_engine(str(missing))
    outputs = deployment.outputs
    known: dict[str, str] = sample("env")["Parameters"]
    return known | {
        "AWS_ENDPOINT_URL": deployment.emulator.endpoint,
        "HEPHAESTUS_TABLE": outputs["TableName"],
        "HEPHAESTUS_QUEUE_URL": outputs["WorkQueueUrl"],
        "HEPHAESTUS_SCHEDULE_ROLE_ARN": outputs["SchedulerRoleArn"],
    }


def test_the_file_of_variables_names_those_of_the_template(deployment: Deployment) -> None:
    """`sam local invoke` ignores a variable that the template does not have."""
    deployed = deployment.client("lambda").get_function_configuration(FunctionName=f"{STACK}-start")["Environment"][
        "Variables"
    ]
    assert sample("env")["Parameters"].keys() == deployed.keys() | {"AWS_ENDPOINT_URL"}


def test_every_sample_is_run() -> None:
    files = {path.stem for path in (ROOT / "events").glob("*.json")}
    assert files - {"env"} == {name for _, names in SAMPLES for name in names}


@pytest.mark.parametrize(("function", "names"), SAMPLES, ids=lambda value: value if isinstance(value, str) else "")
def test_samples_run_on_the_runtime_emulator(variables: dict[str, str], function: str, names: tuple[str, ...]) -> None:
    with lambda_runtime(function, variables) as invoke:
        for name in names:
            answer = invoke(sample(name))
            if name.startswith("api-"):
                assert answer["statusCode"] < 300, (name, answer)
