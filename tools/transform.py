"""Transform ``template.yaml`` as AWS does, for several sets of parameters, by SAM's own translator (``.venvs/sam``).

Reads ``{"set": {"Parameter": "value"}}`` as JSON from standard input and writes ``{"set": template}``, with intrinsic
functions still in place. Every set is transformed a second after the one before, as two deployments are. Calls no AWS.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from pathlib import Path
from typing import Any, Final

TEMPLATE: Final = Path(__file__).resolve().parent.parent / "template.yaml"
REGION: Final = "eu-west-1"


class NoPolicies:
    """SAM's own managed policies, of which the template uses none."""

    def load(self) -> dict[str, str]:
        """Every policy by name."""
        return {}


def transformed(parameters: dict[str, str], second: int) -> Any:
    """The template after the transform, ``second`` being the time."""
    from samtranslator.translator.transform import (  # type: ignore[import-not-found]  # only SAM's environment has it
        transform,
    )
    from samtranslator.yaml_helper import yaml_parse  # type: ignore[import-not-found]  # as above

    template = yaml_parse(TEMPLATE.read_text("utf-8"))
    for resource in template["Resources"].values():  # as `sam package` does
        for name in ("CodeUri", "ContentUri"):
            if name in resource.get("Properties", {}):
                resource["Properties"][name] = f"s3://artifacts/{resource['Properties'][name]}"
    defaults = {name: str(it.get("Default", "")) for name, it in template["Parameters"].items()}
    time.time = lambda: float(second)  # what a deployment of an API that is always deployed is named by
    return transform(template, {**defaults, **parameters, "AWS::Region": REGION}, NoPolicies())


def main() -> None:
    """Transform every set that is asked for."""
    logging.disable(logging.WARNING)
    import os

    os.environ["AWS_DEFAULT_REGION"] = REGION
    asked: dict[str, dict[str, str]] = json.load(sys.stdin)
    json.dump({name: transformed(given, number) for number, (name, given) in enumerate(asked.items(), 1)}, sys.stdout)


if __name__ == "__main__":
    main()
