"""The folder ``.hephaestus`` of a project: what ``hephaestus dev`` keeps there, and that one process at a time does."""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
from typing import TYPE_CHECKING, Any, Final, Self

from hephaestus.errors import BadRequest, CallerError
from hephaestus.operations.local import DEV_FOLDER, DEV_RUNNING

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

STATE: Final = "dev.sqlite"
KEY: Final = "callback-key"
SQLITE: Final = b"SQLite format 3\0"  # what its files begin with; https://sqlite.org/fileformat.html
WRITTEN_BESIDE: Final = ("", "-wal", "-shm")  # the files of a SQLite file


class StateInUse(CallerError):
    """Another ``hephaestus dev`` has the file of the state."""

    status = 409
    title = "State in use"


class Folder:
    """A project's ``.hephaestus``, made with a ``.gitignore`` of its own, and locked until it is closed.

    Args:
        project: the project's folder.
        state: another file for the state than the folder's own.

    Raises:
        StateInUse: another process has the file of the state.
        BadRequest: the folder cannot be written, or the file of the state is none, or in a folder that is not there.
    """

    def __init__(self, project: Path, state: Path | None = None) -> None:
        self.path = project / DEV_FOLDER
        try:
            self.path.mkdir(exist_ok=True)
            (self.path / ".gitignore").write_text("*\n")
        except OSError as error:
            message = f"{self.path} cannot be written: {error.strerror}"
            raise BadRequest(message) from error
        self.state = state or self.path / STATE
        self._check_state()
        self._lock = self._locked()

    def reset(self) -> None:
        """Forget every instance."""
        for end in WRITTEN_BESIDE:
            self.state.with_name(self.state.name + end).unlink(missing_ok=True)

    def key(self) -> bytes:
        """What links are signed with: made once, so that a link outlives this process."""
        path = self.path / KEY
        if not path.exists():
            made = path.with_name(f"{KEY}.{secrets.token_hex(4)}")
            with open(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:  # noqa: PTH123 - a descriptor, with its mode
                file.write(secrets.token_urlsafe(32))
            made.replace(path)
        return path.read_bytes()

    def announce(self, **known: Any) -> None:
        """Note where this process is found, for ``hephaestus.connect("dev")``."""
        text = json.dumps({**known, "pid": os.getpid()})
        made = self.path / f"{DEV_RUNNING}.new"
        made.write_text(text)
        made.replace(self.path / DEV_RUNNING)

    def close(self) -> None:
        """Let another process have it."""
        (self.path / DEV_RUNNING).unlink(missing_ok=True)
        self._lock.close()

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close it."""
        self.close()

    def _check_state(self) -> None:
        """Reject what is no file of a state, before it is opened, or forgotten."""
        if not self.state.parent.is_dir():
            message = (
                f"there is no folder {self.state.parent} for the state: make it, or name another file with --state"
            )
            raise BadRequest(message)
        try:
            with self.state.open("rb") as file:
                begins = file.read(len(SQLITE))
        except FileNotFoundError:
            return
        except OSError as error:
            message = f"{self.state} cannot be read: {error.strerror}"
            raise BadRequest(message) from error
        if begins not in {b"", SQLITE}:
            message = f"{self.state} is no file that `hephaestus dev` keeps instances in: name another with --state"
            raise BadRequest(message)

    def _locked(self) -> sqlite3.Connection:
        """The lock: a transaction on a file beside the state, which ends with its process, whatever ends that."""
        beside = self.state.with_name(f"{self.state.name}.lock")
        try:
            lock = sqlite3.connect(beside, timeout=0, isolation_level=None, check_same_thread=False)
        except sqlite3.OperationalError as error:
            message = f"{beside} cannot be written: the state needs a folder that can be, name another with --state"
            raise BadRequest(message) from error
        try:
            lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            lock.close()
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                message = f"{beside} cannot be locked ({error}): name another file with --state"
                raise BadRequest(message) from error
            message = f"another `hephaestus dev` has {self.state}: stop it, or use another file with --state"
            raise StateInUse(message) from error
        return lock
