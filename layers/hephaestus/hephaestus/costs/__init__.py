"""What an instance of a workflow costs, from its graph, beside Step Functions and Lambda durable functions.

Nothing is guessed about the engine: a workflow of the same shape, whose steps do nothing, is played in memory, and what
the engine asks of its store, its queue and its schedules is counted by DynamoDB's published rule.
"""

from hephaestus.costs.estimate import Estimate, Line, estimate
from hephaestus.costs.play import Counts, Plan, plan_of, play
from hephaestus.costs.prices import PRICES, Prices

__all__ = ["PRICES", "Counts", "Estimate", "Line", "Plan", "Prices", "estimate", "plan_of", "play"]
