"""``hephaestus dev``: everything on this machine, for who writes workflows.

The table is a SQLite file, queue and schedules are threads of this process, and a small HTTP server stands in front of
the routes and handlers that are deployed. It must not hold a second implementation of anything that is deployed.

| module         | is                                                                         |
|----------------|----------------------------------------------------------------------------|
| `folder`       | the folder `.hephaestus`: the state's file, its lock, the links' key       |
| `reloading`    | the workflows' modules: found, watched, imported again                     |
| `front`        | HTTP in front of the deployed handlers                                     |
| `readable_log` | what happens, for a person                                                 |
| `serving_all`  | all of it, started and stopped                                             |
"""
