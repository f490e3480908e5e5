"""What a cold start costs: the resume handler with its DynamoDB client, beside ``boto3`` with its own.

    python benchmarks/cold_start.py [--runs 15] [--limit 1.3] [--function resume]

Every figure is the median of fresh processes, taken in turns so that a busy machine slows both alike. Nothing is
called: no credentials and no network are needed. With ``--limit`` the exit status says whether the ratio holds, by the
clock or by the processor's time, which a machine that does other things as well disturbs less.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {
    "AWS_DEFAULT_REGION": "eu-central-1",
    "AWS_ACCESS_KEY_ID": "none",
    "AWS_SECRET_ACCESS_KEY": "none",
    "HEPHAESTUS_TABLE": "hephaestus",
    "HEPHAESTUS_QUEUE_URL": "https://sqs.eu-central-1.amazonaws.com/123456789012/hephaestus",
    "HEPHAESTUS_BULK_QUEUE_URL": "https://sqs.eu-central-1.amazonaws.com/123456789012/hephaestus-bulk",
    "HEPHAESTUS_SCHEDULE_GROUP": "hephaestus",
    "HEPHAESTUS_SCHEDULE_ROLE_ARN": "arn:aws:iam::123456789012:role/hephaestus",
    "HEPHAESTUS_RESUME_ARN": "arn:aws:lambda:eu-central-1:123456789012:function:resume",
}
BASELINE = 'import boto3; boto3.client("dynamodb")'
HANDLER = "import app, sys; assert sys.modules[app.handler.__module__].runner.store.table.connection._client"
TIMED = """
import time
wall, processor = time.perf_counter(), time.process_time()
{}
print((time.perf_counter() - wall) * 1000, (time.process_time() - processor) * 1000)
"""
LINE = re.compile(r"import time:\s+(\d+) \|\s+(\d+) \|\s*(\S+)")
OURS = "hephaestus"
SHOWN = 12


def main() -> int:
    """Measure, print, and judge."""
    arguments = _arguments()
    environment = _environment(arguments.function)
    times: dict[str, list[list[float]]] = {BASELINE: [], HANDLER: []}
    for _ in range(arguments.runs + 1):  # the first round warms the disk's cache and writes the bytecode
        for code, measured in times.items():
            measured.append(
                [float(figure) for figure in _python(["-c", TIMED.format(code)], environment).stdout.split()]
            )
    baseline, handler = (
        [statistics.median(column) for column in zip(*runs[1:], strict=True)] for runs in times.values()
    )
    ratios = [slow / fast for slow, fast in zip(handler, baseline, strict=True)]
    print(f"{f'median of {arguments.runs} processes (ms)':<40}{'elapsed':>8}{'processor':>11}")
    print(f"{'boto3 and its DynamoDB client':<40}{baseline[0]:8.0f}{baseline[1]:11.0f}")
    print(f"{f'{arguments.function} handler and its DynamoDB client':<40}{handler[0]:8.0f}{handler[1]:11.0f}")
    print(f"{'ratio':<40}{ratios[0]:8.2f}{ratios[1]:11.2f}")
    print("\nwhere the handler's time goes (ms, own time of modules by package):")
    for package, spent in _packages(environment).most_common(SHOWN):
        print(f"  {package:<32}{spent / 1000:7.1f}")
    return int(arguments.limit is not None and min(ratios) > arguments.limit)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=15, help="fresh processes for each figure")
    parser.add_argument("--limit", type=float, help="fail above this ratio")
    parser.add_argument("--function", default="resume", choices=("start", "resume", "control", "read"))
    return parser.parse_args()


def _environment(function: str) -> dict[str, str]:
    places = [ROOT / "functions" / function, ROOT / "layers" / "hephaestus", ROOT / "layers" / "workflows"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "HEPHAESTUS_", "PYTHON"))}
    return {**kept, **ENVIRONMENT, "PYTHONPATH": os.pathsep.join(str(place) for place in places)}


def _packages(environment: dict[str, str]) -> Counter[str]:
    """Microseconds by package; this library's own by module."""
    spent: Counter[str] = Counter()
    for own, _, module in LINE.findall(_python(["-X", "importtime", "-c", HANDLER], environment).stderr):
        parts = module.split(".") if module != "app" else ["app, wiring and client"]
        spent[".".join(parts[:2]) if parts[0] == OURS else parts[0]] += int(own)
    return spent


def _python(arguments: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, check=True)


if __name__ == "__main__":
    sys.exit(main())
