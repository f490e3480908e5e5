"""Starts an instance."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from hephaestus import errors
from hephaestus.engine.events import InstanceStarted
from hephaestus.runtime.commands import members
from hephaestus.runtime.commands.command import Command, Used
from hephaestus.runtime.intake import check_input, digest, read_tags, read_value
from hephaestus.runtime.sizes import check_size
from hephaestus.runtime.starts import version_for
from hephaestus.runtime.telemetry import START_USED, tell
from hephaestus.values import FrozenDict
from hephaestus.values.given import own

if TYPE_CHECKING:
    from hephaestus.runtime.dispatch import Dispatch
    from hephaestus.runtime.instances import Instances

TRIES: Final = 5

_logger = logging.getLogger("hephaestus.start")


class Start(Command):
    """Start an instance."""

    action = "start"
    operation = "startInstance"
    route = "/workflows/<workflow>/instances"
    served_by = "start"
    raises = (
        errors.UnknownWorkflow,
        errors.UnknownVersion,
        errors.AlreadyRunning,
        errors.NotRoot,
        errors.InvalidInput,
        errors.PayloadTooLarge,
        errors.RequestIdReused,
    )
    named_by = "start_id"
    logged = ("workflow",)

    workflow: members.AWorkflow = members.required(members.WORKFLOW, "The workflow's name.")
    id: members.Text = members.required(
        members.KEY, "The value of the workflow's business key. A whole id of that key is taken, too."
    )
    context: members.Data = members.member(
        members.DATA,
        "The start data: any JSON object that fits the workflow's `Input`.",
        default=None,
        kept=FrozenDict(),
    )
    version: members.MaybeNumber = members.member(members.NUMBER, "Another version than the current one.", default=None)
    tags: members.Tags = members.member(
        members.TAGS, "The workflow's own tags are added; together they may be 20.", default=()
    )
    metadata: members.Metadata = members.member(
        members.METADATA, "Added to the workflow's own metadata.", default=None, kept=FrozenDict()
    )
    start_id: members.MaybeText = members.request_id(default=None)
    by: members.By = members.caller(default=None)

    def accepted(self) -> dict[str, Any]:
        """Nothing has run yet."""
        return {"status": "pending"}

    def perform(self, instances: Instances, going: Dispatch) -> str:
        """Start it; see ``Runner.start_instance``."""
        flow, initial, who = instances.registry.deployed(self.workflow), self.context, self.by
        # What the caller gave, and nothing of what follows from what is deployed: that may change before a repeat.
        asked = self.digest(flow.name, initial, self.version, self.tags, self.metadata)
        suffix = digest(self.start_id)[:20] if self.start_id else instances.clock.unique()
        opts = {"context": own(initial), "id": self.id, "tags": read_tags(flow.tags, self.tags)}
        chosen = self.version if self.version is not None else version_for(flow, opts)
        made = flow.business_key.instance_id(self.id, chosen, suffix)
        try:
            definition = flow.definition(chosen)
            tags = read_tags(flow.versions[chosen].tags, flow.tags, self.tags)
            metadata = read_value({**flow.versions[chosen].metadata, **flow.metadata, **self.metadata}, "metadata")
            check_input(self.given("context"), definition, initial)
            check_size(initial, instances.store.max_value_bytes, "the context")
            check_size(metadata, instances.store.max_value_bytes, "the metadata")
        except errors.CallerError:
            if instances.is_repeat(made, InstanceStarted, self.start_id, asked):
                return made
            raise
        name = self.start_id or instances.clock.unique()
        known = (flow.name, definition.version, initial, tags, metadata, name, who.name, who.source)
        started = InstanceStarted(*known, graph=definition.graph.fingerprint, timeout_ms=definition.timeout_ms)
        for _ in range(TRIES):
            try:
                instances.create(made, definition, (started,), asked, going)
            except errors.AlreadyRunning:
                other = instances.store.load(made)
                if flow.if_running != "use" or (other is not None and other.workflow != flow.name):
                    raise
                if other is not None and not other.closed:
                    _logger.info("instance %s: a start of it by %s used the one that is open", made, who.name or "-")
                    tell(START_USED, other, {}, by=who.name)
                    return Used(made)
            else:
                return made
        message = f"instance {made} ends and begins all the time; this call changed nothing, try again"
        raise errors.TooBusy(message)
