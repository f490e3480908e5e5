"""What can be wrong with a link, each thing said so that whoever holds it knows what to do."""

from __future__ import annotations

from typing import NoReturn

from hephaestus.errors import CallerError, EngineError, NonRetryable


class LinkAltered(CallerError):
    """The token is damaged, cut off, or was signed by nobody that this deployment knows."""

    status = 403
    title = "Link not valid"


class LinkForeign(CallerError):
    """The token belongs to another deployment."""

    status = 403
    title = "Link of another deployment"


class LinkExpired(CallerError):
    """Its time is over."""

    status = 410
    title = "Link expired"


class LinkOutdated(CallerError):
    """The instance has been started again since: the link is for an earlier generation."""

    status = 410
    title = "Link of an earlier run"


class LinkUsed(CallerError):
    """It has been used: its event is in the instance's history."""

    status = 409
    title = "Link already used"


class StepMovedOn(CallerError):
    """The step does not wait any more: somebody else, or the deadline, has decided."""

    status = 409
    title = "Already decided"


class NotConfirmed(CallerError):
    """A form without the confirmation that the link's own page gives."""

    status = 403
    title = "Not confirmed"


class BadCallback(NonRetryable, ValueError):
    """A step asks for a link that cannot be: an unknown step or event, a payload or an expiry out of bounds."""


class NoCallbackKey(EngineError, NonRetryable):
    """This deployment has no key to sign links with, or one that cannot be used."""

    title = "No key for links"


class LinksAreOff(NoCallbackKey):
    """This deployment was given no key: it makes no links and takes none."""


def no_signer() -> NoReturn:
    """Say that nothing can be signed, and what to do about it.

    Raises:
        LinksAreOff: always.
    """
    message = (
        "this deployment signs no links: it has no key for them. Deploy with CallbackKey=generate (or secret or "
        "parameter, with CallbackKeyName), which sets HEPHAESTUS_CALLBACK_KEY. In tests, LocalRuntime has a key, and a "
        "StepContext made by hand takes links=hephaestus.testing.links(MyWorkflow, 'my_step')"
    )
    raise LinksAreOff(message)
