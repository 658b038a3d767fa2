"""Links in mails: signed for one purpose and one contribution, valid for days, without signing in.

Whoever has a link can do that one thing and see nothing else. Opening it changes nothing, because
mail programs open links to check them; the button of the page behind it does. A link is worth
nothing once the contribution is another donor's: then its mailbox was given up.
"""

import hashlib
from dataclasses import dataclass
from datetime import timedelta

from payments.core import i18n
from payments.infra import signing
from payments.infra.context import Context

CARD_UPDATE_PURPOSE, CARD_UPDATE_LIFETIME = "card-update", timedelta(days=14)
CANCEL_PURPOSE, CANCEL_LIFETIME = "cancel-subscription", timedelta(days=30)


@dataclass(frozen=True, slots=True)
class LinkedContribution:
    """The contribution of a link, and whose it was when the mail was sent."""

    contribution_id: str
    owner: str

    def is_of(self, donor_id: str | None) -> bool:
        """Whether the contribution is still the same donor's."""
        return self.owner == _owner(donor_id)


def _owner(donor_id: str | None) -> str:
    """Return a short word for a donor, which says nothing of them."""
    return hashlib.sha256(f"link:{donor_id}".encode()).hexdigest()[:8]


def card_update_link(ctx: Context, contribution_id: str, donor_id: str | None) -> str:
    """Return the address at which the card of a donor's contribution is replaced."""
    signed = _sign(ctx, CARD_UPDATE_PURPOSE, contribution_id, donor_id)
    return f"{ctx.settings.mail_links_base_url}/fix/{signed}"


def cancel_link(ctx: Context, contribution_id: str, donor_id: str | None) -> str:
    """Return the address at which the subscription of a donor's contribution is cancelled."""
    signed = _sign(ctx, CANCEL_PURPOSE, contribution_id, donor_id)
    return f"{ctx.settings.mail_links_base_url}/stop/{signed}"


def manage_link(ctx: Context) -> str:
    """Return the address at which a donor requests a sign-in link."""
    return f"{ctx.settings.mail_links_base_url}/manage"


def sign_in_link(ctx: Context, token: str) -> str:
    """Return the address at which a donor signs in."""
    return f"{ctx.settings.mail_links_base_url}/manage/enter/{token}"


def localised(link: str, locale: str) -> str:
    """Return a link to a page in the language of its mail.

    A mail in the default language may be to somebody who chose none, so its links choose none.
    """
    return i18n.with_lang(link, None if locale == i18n.DEFAULT_LOCALE else locale)


def contribution_for_card_link(ctx: Context, signed: str) -> LinkedContribution:
    """Return the contribution whose card a link replaces. Raises LinkInvalid."""
    return _verify(ctx, CARD_UPDATE_PURPOSE, signed, lifetime=CARD_UPDATE_LIFETIME)


def contribution_for_cancel_link(ctx: Context, signed: str) -> LinkedContribution:
    """Return the contribution whose subscription a link cancels. Raises LinkInvalid."""
    return _verify(ctx, CANCEL_PURPOSE, signed, lifetime=CANCEL_LIFETIME)


def _sign(ctx: Context, purpose: str, contribution_id: str, donor_id: str | None) -> str:
    payload = f"{contribution_id}.{_owner(donor_id)}"
    return signing.sign_token(ctx.settings.hmac_keys, purpose, payload, now=ctx.now())


def _verify(ctx: Context, purpose: str, signed: str, *, lifetime: timedelta) -> LinkedContribution:
    payload = signing.verify_token(
        ctx.settings.hmac_keys, purpose, signed, str, now=ctx.now(), max_age=lifetime
    )
    contribution_id, _, owner = payload.partition(".")
    return LinkedContribution(contribution_id, owner)
