"""Another address, by the donor: whoever has the old mailbox and the new one, and a session.

A code is mailed to each, and both are entered on the page that asked for them. So neither a session
somebody got hold of nor a mistyped address moves anything, and nothing needs to be taken back. The
new address is stored nowhere: the form carries it, the mails are sent within the request, and a
code is an HMAC over the session, the address and the time, so that it is of no use to another
session, for another address, or later. It is used up because the session ends with the change.

Nothing is looked up about the new address before its owner has entered its code: no answer tells
whether it is a donor's. If it is, what both gave stands together afterwards, as when the address is
changed at Stripe, and by the same code (`donor_address.sync_address`). Reminders and the newsletter
are separate sign-ups and stay as they are.
"""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import aiosmtplib
import stripe
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from payments.core import i18n
from payments.core.email import normalise_email
from payments.core.errors import InvalidField, LinkInvalid, PaymentsError, StripeUnavailable
from payments.core.identifiers import new_row_id
from payments.donors import donors, sign_in
from payments.giving import donor_address
from payments.giving.contributions import Contribution
from payments.giving.subscriptions import Subscription
from payments.infra import signing, stripe_client
from payments.infra.context import Context
from payments.mail import delivery, render, smtp
from payments.mail.refusals import EverybodyRefused
from payments.mail.render import DirectMailKind
from payments.mail.smtp import Envelope
from payments.risk import account_limit
from payments.signups import suppression

PURPOSE = "address change"
CODES_LIFETIME = timedelta(minutes=10)  # as long as a link to sign in


class AddressNotChangeable(PaymentsError):
    """Stripe has no customer of this donor whose address could be changed."""

    status = 409
    code = "address-not-changeable"
    title = "This address can't be changed"


class AddressCodesInvalid(PaymentsError):
    """The page that asked for the codes is too old, or is not one of ours."""

    status = 410
    code = "address-codes-invalid"
    title = "These codes no longer work"


class CodesNotSent(PaymentsError):
    """The mail server took no mail."""

    status = 503
    code = "address-codes-not-sent"
    title = "We could not send the codes"
    retry_after = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class AddressRequest:
    """Who asked for which address: a form carries the address and the signed `token`."""

    donor_id: str
    session_token: str
    address: str
    token: str


async def require_changeable(ctx: Context, donor_id: str) -> None:
    """Raise AddressNotChangeable for a donor who gave once only: Stripe has no customer of them."""
    async with ctx.sessions() as session:
        if not await donors.customers_of(session, donor_id):
            raise _not_changeable()


async def send_codes(
    ctx: Context, donor_id: str, session_token: str, address: str, *, language: str
) -> AddressRequest:
    """Mail a code to the donor's mailbox and one to another address. Returns what the form carries.

    Raises InvalidField for what is no address, AddressNotChangeable, TooManyAddressChanges,
    CodesNotSent and StripeUnavailable.
    """
    address = normalise_email(address)  # one that is none uses up nothing
    await require_changeable(ctx, donor_id)
    await account_limit.use_address_codes(ctx, donor_id)
    token = signing.sign_token(ctx.settings.hmac_keys, PURPOSE, new_row_id(), now=ctx.now())
    request = AddressRequest(donor_id, session_token, address, token)
    async with ctx.sessions() as session:
        donor = await donors.get_or_none(session, donor_id)
    present = None if donor is None else await donor_address.of_donor(ctx, donor)
    if present is None:
        raise _not_changeable()
    if not smtp.is_configured(ctx.settings):
        raise _not_sent()
    await _mail_code(ctx, request, "address_change_old", present, language=language)
    hashes = await donors.address_hashes(ctx.settings, address)
    async with ctx.sessions() as session:
        is_suppressed = await suppression.is_suppressed(session, hashes, now=ctx.now())
    if not is_suppressed:  # whose owner asked never to be written to; the answer does not tell
        await _mail_code(ctx, request, "address_change_new", address, language=language)
    return request


async def change(ctx: Context, request: AddressRequest, *, old_code: str, new_code: str) -> None:
    """Give every customer of a donor the new address, and what they gave to whoever has it.

    The donor's sessions end. Raises AddressCodesInvalid, InvalidField for a wrong code,
    AddressNotChangeable, StripeUnavailable where Stripe has not confirmed all of it, and
    TooManyChanges.
    """
    await account_limit.use(ctx, request.donor_id)
    address = normalise_email(request.address)
    _require_codes(ctx, request, {"address_change_old": old_code, "address_change_new": new_code})
    hashes = await donors.address_hashes(ctx.settings, address)
    async with ctx.sessions() as session:
        customer_ids = await donors.customers_of(session, request.donor_id)
    try:
        for customer_id in customer_ids:
            await _change_at_stripe(ctx, request.donor_id, customer_id, address)
            await donor_address.sync_address(ctx, customer_id)
    except StripeUnavailable as error:
        raise StripeUnavailable(
            "Our payment provider has not confirmed the new address yet. Please try again in a few "
            "minutes. If you are signed out by then, sign in and start again."
        ) from error
    async with ctx.sessions.begin() as session:
        await donors.lock(session, request.donor_id)
        owner = await donors.find_by_hashes(session, hashes)
        if owner is None:
            raise _not_changeable()
        await donors.prove_mailbox(session, hashes)
        await sign_in.end_access(session, request.donor_id)
        if owner.id != request.donor_id:
            await _move_given_once(session, request.donor_id, owner.id)
            await donor_address.delete_if_empty(session, request.donor_id)


async def _change_at_stripe(ctx: Context, donor_id: str, customer_id: str, address: str) -> None:
    """Have Stripe store the new address, unless the customer was moved or erased meanwhile."""
    async with ctx.sessions() as session:
        donor = await donors.of_customer(session, customer_id)
    if donor is None or donor.id != donor_id:
        return
    try:
        with stripe_client.translate_errors():
            await ctx.stripe.v1.customers.update_async(customer_id, {"email": address})
    except stripe.InvalidRequestError as error:
        if error.code != "resource_missing":  # deleted at Stripe: nobody is written to by it
            raise _not_changeable() from error


async def _move_given_once(session: AsyncSession, old_id: str, new_id: str) -> None:
    """Move what has no customer at Stripe, and so was not moved with one."""
    remaining = select(Subscription.contribution_id).where(
        Subscription.stripe_customer_id.in_(await donors.customers_of(session, old_id))
    )
    await session.execute(
        update(Contribution)
        .where(Contribution.donor_id == old_id, Contribution.id.not_in(remaining))
        .values(donor_id=new_id)
    )


# --- codes ----------------------------------------------------------------------------------------


def _codes(ctx: Context, request: AddressRequest, kind: str) -> Sequence[str]:
    """Return the code for a mailbox under each key, the newest key's first."""
    parts = (kind, request.token, request.donor_id, request.session_token)
    text = "\0".join((*parts, normalise_email(request.address)))
    return [
        sign_in.code_of(one) for one in signing.hmac_digests(ctx.settings.hmac_keys, PURPOSE, text)
    ]


def _require_codes(ctx: Context, request: AddressRequest, typed: dict[str, str]) -> None:
    """Raise AddressCodesInvalid for an old or a forged page, InvalidField for a wrong code."""
    try:
        signing.verify_token(
            ctx.settings.hmac_keys,
            PURPOSE,
            request.token,
            str,
            now=ctx.now(),
            max_age=CODES_LIFETIME,
        )
    except LinkInvalid as error:
        raise AddressCodesInvalid(
            "They are too old, or were asked for on another page. Nothing was changed. "
            "You can ask for new ones."
        ) from error
    for kind, text in typed.items():
        code = sign_in.typed_code(text).encode()
        if not any(hmac.compare_digest(code, one.encode()) for one in _codes(ctx, request, kind)):
            raise InvalidField("That is not the code. Nothing was changed.", field=kind)


async def _mail_code(
    ctx: Context, request: AddressRequest, kind: DirectMailKind, recipient: str, *, language: str
) -> None:
    """Mail a code. A mailbox that does not exist is not reported. Raises CodesNotSent."""
    locale = i18n.negotiate_locale(language)
    variables = {
        "minutes": int(CODES_LIFETIME.total_seconds()) // 60,
        "code": sign_in.printed_code(_codes(ctx, request, kind)[0]),
    }
    envelope = Envelope(new_row_id(), recipient, language=locale, written_at=ctx.now())
    try:
        await delivery.send(ctx, render.render(kind, locale, variables), envelope)
    except (aiosmtplib.SMTPException, OSError, EverybodyRefused) as error:
        raise _not_sent() from error


def _not_changeable() -> AddressNotChangeable:
    return AddressNotChangeable(
        "Stripe lets nobody change the address of a payment that was made once. "
        "Nothing was changed."
    )


def _not_sent() -> CodesNotSent:
    return CodesNotSent("Nothing was changed. Please try again later.")
