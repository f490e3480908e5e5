"""``hephaestus dev``: everything on this machine, for who writes workflows.

The table is a SQLite file, queue and schedules are threads of this process, and a small HTTP server stands in front of
the routes and handlers that are deployed. It must not hold a second implementation of anything that is deployed.
"""
