"""Signing up for the newsletter, the same from the page and from a program."""

from payments.infra.context import Context
from payments.signups import address_vault, confirmation, newsletter
from payments.web import signup_limit
from payments.web.forms import AnyRequest


async def sign_up(
    ctx: Context,
    request: AnyRequest,
    *,
    address: str,
    agreed: bool,
    privacy_version: str,
    locale: str,
) -> bool:
    """Store a sign-up that is to be confirmed. Returns whether its confirmation will be delayed.

    Raises InvalidField for an address that is none, or without consent to the current policy.
    """
    normal_address = address_vault.validated_email(address)
    newsletter.require_consent(ctx.settings, agreed=agreed, privacy_version=privacy_version)
    async with ctx.sessions.begin() as session:
        await newsletter.sign_up(
            session,
            ctx.settings,
            address=normal_address,
            deprioritised=await signup_limit.is_exceeded(ctx, session, request),
            now=ctx.now(),
            locale=locale,
        )
        return await confirmation.is_delayed(session, ctx.now())
