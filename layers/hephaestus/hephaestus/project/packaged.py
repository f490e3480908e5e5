"""The packaged stack: template, functions and the library's layer, as a team's own template nests them.

The wheel holds them as they stand in this repository. For nesting, the stack's name and the workflows' layer become
parameters: the team's template has both.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

FOLDER: Final = "hephaestus-stack"
FILES: Final = (
    "template.yaml",
    "functions/*/app.py",
    "layers/hephaestus/Makefile",
    "layers/hephaestus/requirements.txt",
)
LAYER: Final = re.compile(r"^  WorkflowsLayer:\n(?:    .*\n)+\n", re.MULTILINE)
PARAMETERS: Final = """
Parameters:
  StackName:
    Type: String
    AllowedPattern: "[A-Za-z][A-Za-z0-9-]{0,54}"
    Description: What functions, log groups and the dashboard are named after. Give it the name of your own stack.
  WorkflowsLayer:
    Type: String
    Description: The version of the layer that holds your workflows and what they need.
"""
HEADER: Final = f"""\
# The packaged stack of Hephaestus {{version}}. Set its parameters in ../template.yaml; `hephaestus upgrade` replaces
# what is in {FOLDER}/.
"""


def sources() -> dict[str, str]:
    """The files that the stack is made of, by their paths: from the wheel, or from the repository around this file."""
    packed = Path(__file__).parent / "stack"
    root = packed if packed.exists() else Path(__file__).parents[4]
    found = [path for pattern in FILES for path in sorted(root.glob(pattern))]
    return {path.relative_to(root).as_posix(): path.read_text("utf-8") for path in found}


def stack_files(version: str) -> dict[str, str]:
    """The files of the stack in a team's repository, by their paths."""
    files = {f"{FOLDER}/{path}": text for path, text in sources().items()}
    template, makefile = f"{FOLDER}/template.yaml", f"{FOLDER}/layers/hephaestus/Makefile"
    return files | {
        template: HEADER.format(version=version) + nested(files[template]),
        makefile: f"RELEASE := {version}\n{files[makefile]}",
    }


def nested(template: str) -> str:
    """The stack's template with its name and the layer of the workflows as parameters."""
    own, layers = LAYER.subn("", template)
    named, names = re.subn(r"\bAWS::StackName\b", "StackName", own)
    whole, sections = re.subn(r"^\nParameters:\n", PARAMETERS, named, count=1, flags=re.MULTILINE)
    if not (layers == sections == 1 and names):
        message = "template.yaml has no WorkflowsLayer, Parameters or AWS::StackName where they were"
        raise ValueError(message)
    return whole
