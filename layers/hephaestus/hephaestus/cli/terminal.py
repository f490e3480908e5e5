"""What every command has: where the person is, and where to write."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from rich.console import Console

from hephaestus.cli.modules import load
from hephaestus.cli.text import dump
from hephaestus.errors import BadRequest
from hephaestus.operations import Connection, account_of, connect, local_account

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hephaestus.adapters.session import Account


@dataclass(frozen=True)
class Place:
    """Which deployment is meant, as the person said it; what is ``None`` comes from the environment."""

    stack: str | None = None
    table: str | None = None
    api: str | None = None
    region: str | None = None
    profile: str | None = None
    endpoint_url: str | None = None
    local: bool = False
    modules: Sequence[str] = ()


@dataclass
class Session:
    """One run of the command.

    Attributes:
        place: which deployment is meant.
        json: whether a program reads the answer.
        out: standard output; ``err`` is standard error.
    """

    place: Place = field(default_factory=Place)
    json: bool = False
    color: bool = True
    out: Console = field(init=False)
    err: Console = field(init=False)

    def __post_init__(self) -> None:
        """Open the consoles. What is not a terminal is as wide as what is written, and has no colours."""
        width = None if sys.stdout.isatty() else max(Console().width, 80)
        self.out = Console(highlight=False, no_color=not self.color or None, width=width, soft_wrap=False)
        self.err = Console(stderr=True, highlight=False, no_color=not self.color or None)

    @cached_property
    def account(self) -> Account:
        """Whose AWS it is."""
        if self.place.local:
            if self.place.profile or self.place.endpoint_url:
                message = "--local is a place of its own: leave out --profile and --endpoint-url"
                raise BadRequest(message)
            return local_account()
        return account_of(self.place.region, self.place.profile, self.place.endpoint_url)

    @cached_property
    def connection(self) -> Connection:
        """The deployment; found when it is first needed."""
        here = self.place
        modules = [load(name).__name__ for name in here.modules]  # first: what is wrong with them is said well there
        return connect(here.stack, table=here.table, api_url=here.api, modules=modules, account=self.account)

    @property
    def interactive(self) -> bool:
        """Whether a person can be asked."""
        return sys.stdin.isatty() and sys.stdout.isatty() and not self.json

    def write_json(self, value: Any) -> None:
        """Write JSON for a program: never wrapped, never coloured, whole whatever the encoding."""
        self.write_line(dump(value))

    def write_line(self, text: str) -> None:
        """Write JSON text; letters that the encoding has not are escaped."""
        try:
            text.encode(sys.stdout.encoding or "utf-8")
        except UnicodeEncodeError:
            text = json.dumps(json.loads(text), indent=2 if "\n" in text else None)
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    def say(self, *lines: Any) -> None:
        """Write for a person."""
        for line in lines:
            self.out.print(line)
