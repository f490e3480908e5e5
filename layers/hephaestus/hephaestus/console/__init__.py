"""The console: a page on loopback that shows a deployed table's instances and steers them.

It runs on the person's own machine with the person's own credentials, so nothing is exposed in the account. It must
never listen beyond loopback, never answer without its token, and never run anything that an instance holds.
"""

from hephaestus.console.server import ConsoleServer, PortTaken
from hephaestus.console.source import Connection

__all__ = ["Connection", "ConsoleServer", "PortTaken"]
