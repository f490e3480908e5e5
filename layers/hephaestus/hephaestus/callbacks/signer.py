"""Signs links and verifies them: HMAC-SHA256 (RFC 2104) over what the link says, compared in constant time.

A token is ``<claims>.<signature>``, both in base64url without padding (RFC 4648, section 5): letters, digits, ``-``,
``_`` and one dot, so it survives in a URL and in a mail. The text is signed, not what it decodes to, and the signature
is compared as text: no other spelling of a token is the same token.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from typing import TYPE_CHECKING, Final

from hephaestus.callbacks.link import decode, encode
from hephaestus.errors import LinkAltered, LinkExpired, LinkForeign, NotConfirmed
from hephaestus.values.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hephaestus.callbacks.link import Link
    from hephaestus.callbacks.signing_keys import Keys

MAX_TOKEN: Final = 4_096  # characters; API Gateway takes 10,240 bytes of request line and headers
CONFIRM_SECONDS: Final = 60 * 60  # how long an opened page may be left before its button is pressed
SIGNATURE: Final = 43  # characters
TOKEN: Final = re.compile(rf"([A-Za-z0-9_-]{{1,{MAX_TOKEN - 1 - SIGNATURE}}})\.([A-Za-z0-9_-]{{{SIGNATURE}}})")
CONFIRMATION: Final = re.compile(rf"([0-9]{{1,12}})\.([A-Za-z0-9_-]{{{SIGNATURE}}})")
# What is signed begins with what it is for, so that nothing signed for one purpose serves for the other.
LINK: Final = b"hephaestus link 1\n"
CONFIRM: Final = b"hephaestus confirmation 1\n"


def audience_of(deployment: str) -> str:
    """What stands for a deployment in its links: 12 hexadecimal digits, as its name is no one's business."""
    return hashlib.sha256(deployment.encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Signer:
    """Makes and reads the tokens of one deployment.

    Attributes:
        keys: what they are signed with.
        audience: which deployment it is; its links are no one else's, even where two share a key.
        base: gives the address that ``/callbacks/<token>`` is appended to.
    """

    keys: Keys
    audience: str
    base: Callable[[], str]

    def token(self, link: Link) -> str:
        """The link, signed with the current key.

        Raises:
            NoCallbackKey: there is no key, or it cannot be used.
            StoreUnavailable: the key store is unavailable.
        """
        claims = _text(encode(link, self.audience))
        return f"{claims}.{_signature(self.keys.known()[0], LINK, claims)}"

    def url(self, token: str) -> str:
        """Where a person opens a link.

        Raises:
            NoCallbackKey: the address of the API is not known.
            StoreUnavailable: the store of the address is unavailable.
        """
        return f"{self.base().rstrip('/')}/callbacks/{token}"

    def read(self, token: str, now: int) -> Link:
        """The link that a token holds, if this deployment signed it and its time is not over.

        Args:
            token: what somebody presented.
            now: the time, in milliseconds since the epoch.

        Raises:
            LinkAltered: it is damaged, or no one that is known signed it.
            LinkForeign: it says that it belongs to another deployment.
            LinkExpired: its time is over.
            NoCallbackKey: there is no key to verify it with.
            StoreUnavailable: the key store is unavailable.
        """
        parts = TOKEN.fullmatch(token)
        if parts is None:
            raise _altered()
        claims, signature = parts.groups()
        found = _claims(claims)
        if not self._signed(LINK, claims, signature):
            # Whose it claims to be is believed only to tell its holder more.
            raise _foreign() if found is not None and found[0] != self.audience else _altered()
        if found is None or found[0] != self.audience:
            raise _foreign()
        link = found[1]
        if now >= link.expires_at * 1000:
            message = (
                f"this link for instance {link.instance_id} has expired: ask for a new one, "
                "or have the event delivered by somebody with access"
            )
            raise LinkExpired(message)
        return link

    def confirmation(self, token: str, now: int) -> str:
        """What the form of a link's page carries: proof that the page was opened, and when (``now`` in ms)."""
        seconds = str(now // 1000)
        return f"{seconds}.{_signature(self.keys.known()[0], CONFIRM, f'{seconds}.{token}')}"

    def check_confirmation(self, token: str, confirmation: str, now: int) -> None:
        """Refuse a form that does not come from this link's own page, opened within the last hour.

        Raises:
            NotConfirmed: it does not.
            NoCallbackKey: there is no key to verify it with.
            StoreUnavailable: the key store is unavailable.
        """
        parts = CONFIRMATION.fullmatch(confirmation)
        if parts is not None:
            seconds, signature = parts.groups()
            opened = int(seconds)
            if (
                self._signed(CONFIRM, f"{seconds}.{token}", signature)
                and opened <= now // 1000 < opened + CONFIRM_SECONDS
            ):
                return
        message = "the confirmation is missing or too old: open the link again and press its button"
        raise NotConfirmed(message)

    def _signed(self, purpose: bytes, text: str, signature: str) -> bool:
        """Whether one of the keys made the signature; one that is newer than what is known, too."""
        return _made_by(self.keys.known(), purpose, text, signature) or _made_by(
            self.keys.newer(), purpose, text, signature
        )


def _made_by(keys: Sequence[bytes], purpose: bytes, text: str, signature: str) -> bool:
    # Every key is tried, whichever fits, and each comparison takes the same time however much of it is right.
    fits = [hmac.compare_digest(_signature(key, purpose, text), signature) for key in keys]
    return any(fits)


def _signature(key: bytes, purpose: bytes, text: str) -> str:
    return _text(hmac.digest(key, purpose + text.encode("ascii"), hashlib.sha256))


def _claims(text: str) -> tuple[str, Link] | None:
    try:
        return decode(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError):
        return None


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def _altered() -> LinkAltered:
    return LinkAltered(
        "this is not a valid link: it was altered or cut off on its way, or its key is no longer in use; "
        "open it again from where you got it, or ask for a new one"
    )


def _foreign() -> LinkForeign:
    return LinkForeign("this link belongs to another deployment: open it at the address that it was sent with")
