"""Dead letters: messages that failed again and again, sent where they belong once what failed is fixed.

``python -m hephaestus.dead_letters --stack NAME`` does it for a deployed stack; ``redrive`` does it for one queue.
Nothing here runs in a Lambda function.
"""

from hephaestus.dead_letters.places import Places, asynchronously, find_stack
from hephaestus.dead_letters.queue import DeadLetterQueue
from hephaestus.dead_letters.sending import Left, Report, redrive, redrive_all

__all__ = ["DeadLetterQueue", "Left", "Places", "Report", "asynchronously", "find_stack", "redrive", "redrive_all"]
