"""An agent: a model that calls tools until it has an answer, in a workflow that survives everything.

``hephaestus dev docs/examples/agent`` runs it on this machine with a scripted model, without AWS.
"""

from agent.workflow import Conversation, Stretch, Turn

__all__ = ["Conversation", "Stretch", "Turn"]
