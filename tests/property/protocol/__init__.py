"""Models of the storage protocol, explored state by state (``docs/architecture.md`` has its rules).

In all of them: every write is applied by the network at any later time, or never, or twice; an actor that is not
scheduled again has crashed; from every reachable state the sweeper alone must bring the instance to rest.
"""
