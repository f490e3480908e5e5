"""The workflows that are deployed: every ``Workflow`` that this module holds can be started."""

from workflows.onboarding import Onboarding
from workflows.orders import OrderFlow

__all__ = ["Onboarding", "OrderFlow"]
