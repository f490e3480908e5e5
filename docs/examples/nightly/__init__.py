"""A report for each tenant, each night: at most five at once, and fifty calls a minute of the service that they ask.

``hephaestus dev docs/examples/nightly`` runs it on this machine, and ``hephaestus --stack dev schedules trigger
Nightly.every-night`` does not wait for the night.
"""

from nightly.workflow import Nightly, TenantReport

__all__ = ["Nightly", "TenantReport"]
