"""Where botocore finds what it knows of AWS's services, without reading four hundred folders for one of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from botocore.loaders import Loader

if TYPE_CHECKING:
    from botocore.session import Session


class ServiceModels(Loader):
    """botocore's loader, which looks into no folder but the one of the service that is asked for.

    Its own lists every service of AWS for each kind of description before it reads one: a tenth of what a client costs
    on a warm disk, more on the cold one of a new Lambda environment.
    """

    def list_available_services(self, type_name: str) -> list[str]:  # noqa: ARG002 - botocore's signature
        """The names of all folders of services, whether or not such a description is in them.

        One that has none fails when it is read, with ``botocore.exceptions.DataNotFoundError``.
        """
        paths = [path for place in self.search_paths if (path := Path(place)).is_dir()]
        return sorted({found.name for path in paths for found in path.iterdir() if "." not in found.name})


def use_service_models(session: Session) -> None:
    """Let a session load its services' descriptions so; wherever its settings say that they are."""
    paths = session.get_config_variable("data_path")
    session.register_component("data_loader", ServiceModels(paths.split(os.pathsep) if paths else None))
