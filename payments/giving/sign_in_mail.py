"""The sign-in mail: a link and a code for a donor who requested them."""

from payments.core import i18n
from payments.donors import sign_in
from payments.giving import donor_address
from payments.infra.context import Context
from payments.mail import links, render
from payments.mail.outbox import OutboxMail
from payments.mail.render import AddressedMail


async def compose(ctx: Context, mail: OutboxMail) -> AddressedMail | None:
    """Return the mail and its address; None for an address nobody gave with, or an unusable link.

    Raises LinkPostponed for a mailbox that was sent several lately. The link and its code are
    created here, so that they are stored nowhere but in the mail.
    """
    async with ctx.sessions.begin() as session:
        donor = await sign_in.donor_of_link(session, mail.object_id or "")
    address = None if donor is None else await donor_address.of_donor(ctx, donor)
    if address is None:
        return None
    async with ctx.sessions.begin() as session:
        credentials = await sign_in.issue_credentials(
            session, ctx.settings, mail.object_id or "", now=ctx.now()
        )
    if credentials is None:
        return None
    locale = i18n.negotiate_locale(mail.language)
    variables = {
        "minutes": int(sign_in.LINK_LIFETIME.total_seconds()) // 60,
        "sign_in_link": links.localised(links.sign_in_link(ctx, credentials.token), locale),
        "code": sign_in.printed_code(credentials.code),
    }
    return AddressedMail(address, render.render(mail.kind, locale, variables))
