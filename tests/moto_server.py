"""moto's server as a process of its own: loopback, any free port, exact under threads. Ends when its stdin is closed.

A process of its own because ``mock_aws`` empties the backends of the process it starts in, also a server's.
"""

from __future__ import annotations

import logging
import sys

from moto.server import ThreadedMotoServer

from tests.engines import one_dynamodb_call_at_a_time


def main() -> None:
    """Print the port once it listens, then serve until whoever started it is gone."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    with one_dynamodb_call_at_a_time():
        server.start()
        print(server.get_host_and_port()[1], flush=True)  # noqa: T201 - what its starter reads
        sys.stdin.read()
        server.stop()


if __name__ == "__main__":
    main()
