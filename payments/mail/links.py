"""Links in mails: signed, for one purpose and one promise, good for days and without signing in.

Whoever holds one can do that one thing and see nothing. Opening it changes nothing, for mail
programs open links to look at them; only the button of the page behind it does.
"""

from datetime import timedelta

from payments.infra import signing
from payments.infra.context import Context

CARD_UPDATE_PURPOSE, CARD_UPDATE_LIFETIME = "card-update", timedelta(days=14)
CANCEL_PURPOSE, CANCEL_LIFETIME = "cancel-subscription", timedelta(days=30)


def card_update_link(ctx: Context, contribution_id: str) -> str:
    """Where the card of one promise is replaced."""
    return (
        f"{ctx.settings.mail_links_base_url}/fix/{_sign(ctx, CARD_UPDATE_PURPOSE, contribution_id)}"
    )


def cancel_link(ctx: Context, contribution_id: str) -> str:
    """Where one promise is stopped."""
    return f"{ctx.settings.mail_links_base_url}/stop/{_sign(ctx, CANCEL_PURPOSE, contribution_id)}"


def manage_link(ctx: Context) -> str:
    """Where a donor asks to be let in."""
    return f"{ctx.settings.mail_links_base_url}/manage"


def sign_in_link(ctx: Context, token: str) -> str:
    """Where a donor is let in."""
    return f"{ctx.settings.mail_links_base_url}/manage/enter/{token}"


def contribution_for_card_link(ctx: Context, signed: str) -> str:
    """The contribution whose card a link replaces. Raises LinkSpent."""
    return _verify(ctx, CARD_UPDATE_PURPOSE, signed, lifetime=CARD_UPDATE_LIFETIME)


def contribution_for_cancel_link(ctx: Context, signed: str) -> str:
    """The contribution that a link stops. Raises LinkSpent."""
    return _verify(ctx, CANCEL_PURPOSE, signed, lifetime=CANCEL_LIFETIME)


def _sign(ctx: Context, purpose: str, contribution_id: str) -> str:
    return signing.sign_token(ctx.settings.hmac_keys, purpose, contribution_id, now=ctx.now())


def _verify(ctx: Context, purpose: str, signed: str, *, lifetime: timedelta) -> str:
    return signing.verify_token(
        ctx.settings.hmac_keys, purpose, signed, str, now=ctx.now(), max_age=lifetime
    )
