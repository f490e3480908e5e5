"""The console: a page on loopback that shows a deployed table's instances and steers them.

It runs on the person's own machine with the person's own credentials, so nothing is exposed in the account. It must
never listen beyond loopback, never answer whoever has not its token, and never run anything that an instance holds.

| module       | is                                                                          |
|--------------|-----------------------------------------------------------------------------|
| `source`     | what the console needs of a deployed (or local) Hephaestus, as a protocol   |
| `guard`      | who is answered: host, origin, token                                        |
| `handover`   | gives the one-time address to a browser, by a file of this user's           |
| `loopback`   | a threaded HTTP server on loopback                                          |
| `server`     | HTTP: routes, the page's files, headers                                     |
| `service`    | what the routes answer, in JSON's own types                                 |
| `counts`     | how many instances there are, by workflow and status                        |
| `remote`     | the connection to a deployed stack                                          |
| `embedded`   | the connection to a runner in this process                                  |
| `demo`       | a Hephaestus in memory, to look around in                                   |
"""

from hephaestus.console.loopback import PortTaken
from hephaestus.console.server import ConsoleServer
from hephaestus.console.source import Connection

__all__ = ["Connection", "ConsoleServer", "PortTaken"]
