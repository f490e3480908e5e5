"""Deadlines on the deployed stack, fired by Scheduler alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.orders import SOON, eventually, schedules, start, wait_for

if TYPE_CHECKING:
    from tests.e2e.deployment import Deployment


@pytest.mark.usefixtures("without_sweeps")
def test_a_schedule_fires_when_nobody_approves(deployment: Deployment) -> None:
    """Made with the deadline, delivered by Scheduler, and gone afterwards."""
    order = start(deployment, approval_timeout_seconds=SOON)
    assert len(schedules(deployment, order)) == 1
    assert wait_for(deployment, order, "completed")["steps"]["approval"]["event"] == "timeout"
    eventually(lambda: not schedules(deployment, order), "the schedule is still there")
