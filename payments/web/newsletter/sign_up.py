"""Signing up for the newsletter, the same from the page and from a program."""

from payments.infra.context import Context
from payments.risk import form_limit
from payments.risk.request_context import RequestContext
from payments.signups import address_vault, newsletter


async def sign_up(
    ctx: Context,
    request_context: RequestContext,
    *,
    address: str,
    agreed: bool,
    privacy_version: str,
    locale: str,
) -> None:
    """Store a sign-up that is to be confirmed.

    Raises InvalidField for an address that is none, or without consent to the current policy, and
    what `form_limit.use_share` raises.
    """
    normal_address = address_vault.validated_email(address)
    newsletter.require_consent(ctx.settings, agreed=agreed, privacy_version=privacy_version)
    is_past = await form_limit.use_share(ctx, request_context)
    hashes = await newsletter.address_hashes(ctx.settings, normal_address)
    async with ctx.sessions.begin() as session:
        await newsletter.sign_up(
            session,
            ctx.settings,
            address=normal_address,
            hashes=hashes,
            deprioritised=is_past,
            now=ctx.now(),
            locale=locale,
        )
