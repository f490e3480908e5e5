"""Answers the browser that has the address that the command printed, and no other.

Other pages in the same browser can send requests to loopback, so that being on this machine proves nothing:

* ``Host`` must be this server's own, which ends DNS rebinding: a foreign name that resolves to 127.0.0.1.
* ``Origin`` and ``Sec-Fetch-Site``, where sent, must be this server's own: no other page's script, form or frame.
* A session is asked for twice: a cookie that scripts cannot read, and a key that the page keeps and sends as a header.
  Browsers send a cookie to every port of a host, so a cookie alone would be known to any other server on this
  machine that is visited; the key is kept per origin, port included. No form and no link can send the header.

Nothing here allows CORS, so that no other page can read an answer.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from email.message import Message

KEY_HEADER: Final = "X-Hephaestus-Key"
TICKET_SECONDS: Final = 300.0  # a browser may be slow to start
NAMES: Final = ("127.0.0.1", "localhost")


class Refused(Exception):
    """The request is not answered; the text says what to do."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class UsedAgain(Refused):
    """A one-time address was opened once more: one of the two who opened it may be somebody else."""


class Guard:
    """Checks every request against one server's address and one token.

    Args:
        port: where the server listens.
        token: the secret in the address that is opened first; by default a new one of 256 bits.
        monotonic: seconds of a clock that never goes back.
    """

    def __init__(self, port: int, token: str | None = None, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.token = token or secrets.token_urlsafe(32)
        self.cookie_name = f"hephaestus-console-{port}"
        self._cookie = self._derive("cookie")
        self.key = self._derive("key")
        self._monotonic = monotonic
        self._tickets: dict[str, float] = {}
        self._used: set[str] = set()
        self._hosts = frozenset(f"{name}:{port}" for name in NAMES)
        self._origins = frozenset(f"http://{host}" for host in self._hosts)

    def _derive(self, use: str) -> str:
        return hmac.new(self.token.encode(), use.encode(), hashlib.sha256).hexdigest()

    @property
    def cookie(self) -> str:
        """The header that starts a session in the browser."""
        return f"{self.cookie_name}={self._cookie}; Path=/; HttpOnly; SameSite=Strict"

    def check_host(self, headers: Message) -> None:
        """Reject a foreign name that resolves to this machine.

        Raises:
            Refused: the host is not this server's.
        """
        if headers.get("Host", "") not in self._hosts:
            raise Refused(421, "This is not this server's address.")

    def check_source(self, headers: Message) -> None:
        """Reject what another page may have sent.

        Raises:
            Refused: the host, the origin or the site is not this server's.
        """
        self.check_host(headers)
        origin = headers.get("Origin")
        if origin is not None and origin not in self._origins:
            raise Refused(403, "Another page sent this request.")
        # "none" is the person: the address bar or a bookmark.
        if headers.get("Sec-Fetch-Site", "none") not in {"same-origin", "none"}:
            raise Refused(403, "Another page sent this request.")

    def ticket(self) -> str:
        """A token that lets in once, within ``TICKET_SECONDS``: for the address in the file that a browser opens."""
        ticket = secrets.token_urlsafe(32)
        self._tickets[ticket] = self._monotonic() + TICKET_SECONDS
        return ticket

    def is_ticket(self, token: str) -> bool:
        """Whether ``ticket`` made this token, whatever has become of it."""
        return token in self._tickets or token in self._used

    def check_navigation(self, headers: Message) -> None:
        """Reject what is not a browser that opens a page for a person, from whichever page or file it comes.

        Browsers say of a page that is opened from a file that it comes from another site.

        Raises:
            Refused: the host is not this server's, or a script, a form or a frame sent it.
        """
        self.check_host(headers)
        sent = (
            headers.get("Origin"),
            headers.get("Sec-Fetch-Mode", "navigate"),
            headers.get("Sec-Fetch-Dest", "document"),
        )
        if sent != (None, "navigate", "document"):
            raise Refused(403, "Another page sent this request.")

    def redeem(self, token: str) -> None:
        """Let in anyone who has the token of an address: the printed one as often as it comes, a ticket once.

        Raises:
            Refused: it is not this server's, or was not used in time.
            UsedAgain: it is a ticket that was used before.
        """
        if hmac.compare_digest(token.encode(), self.token.encode()):
            return
        until = self._tickets.pop(token, None)
        if until is not None:
            self._used.add(token)
            if self._monotonic() <= until:
                return
            raise Refused(401, "This address was not opened in time: open the one that `hephaestus console` printed.")
        if token in self._used:
            raise UsedAgain(401, "This address has been opened before: open the one that `hephaestus console` printed.")
        raise Refused(401, "This address is of another run of `hephaestus console`: open the one it printed last.")

    def check_session(self, headers: Message) -> None:
        """Refuse who has not opened the printed address in this browser.

        Raises:
            Refused: the cookie is missing, or another server's.
        """
        try:
            cookies = SimpleCookie(headers.get("Cookie", ""))
        except CookieError:
            cookies = SimpleCookie()
        sent = cookies[self.cookie_name].value if self.cookie_name in cookies else ""
        if not hmac.compare_digest(sent.encode(), self._cookie.encode()):
            raise Refused(401, "Open the address that `hephaestus console` printed: it lets this browser in.")

    def check_key(self, headers: Message) -> None:
        """Refuse what this server's own page did not send.

        Raises:
            Refused: the key is missing or wrong.
        """
        if not hmac.compare_digest(headers.get(KEY_HEADER, "").encode(), self.key.encode()):
            raise Refused(401, "Open the address that `hephaestus console` printed: it lets this page in.")
