"""Mail: what the outbox owes, rendered late, addressed late, handed over by SMTP at least once.

A mail is written from what is true when it leaves, and is dropped when it is no longer true. The
address is Stripe's to keep: it is fetched for one mail, put on its envelope and forgotten, never
stored and never logged. A row is marked sent once the mail server has taken the mail; when its
answer is lost the mail goes out again under the same Message-ID.
"""

import functools
from datetime import UTC, datetime, timedelta

import stripe
import structlog
from sqlalchemy import select, update

from payments.core import i18n, money
from payments.core.errors import InvalidField
from payments.core.money import Money
from payments.donors import donors, sign_in
from payments.donors.donors import Donor
from payments.donors.sign_in import SignIn
from payments.giving import change_log, subscriptions
from payments.giving.checkout_session import Frequency
from payments.giving.contributions import Contribution
from payments.giving.payment_methods import EXPIRY_NOTICE
from payments.giving.subscriptions import Subscription
from payments.infra import alerts, job_queue, stripe_client
from payments.infra.alerts import AlarmKind
from payments.infra.context import Runtime
from payments.mail import links, outbox, render, smtp
from payments.mail.outbox import Message, MessageKind, MessageStatus

log = structlog.get_logger("payments.giving.subscription_mail")
OVERDUE = timedelta(minutes=10)  # a mail that waits longer is taken up again
OF_INVOICE = (MessageKind.PAYMENT_FAILED, MessageKind.ACTION_NEEDED)
OF_END = (MessageKind.LAPSED, MessageKind.STOPPED)
CODE_HALF = sign_in.CODE_LENGTH // 2


async def send(rt: Runtime, message_id: str) -> None:
    """Send one mail of the outbox, or drop it. Raises when the mail server does not take it."""
    message = await _waiting(rt, message_id)
    if message is None:
        return
    if message.expires_at <= rt.now():
        await _mark(rt, message, MessageStatus.DROPPED)
        return
    if not smtp.is_configured(rt.settings):
        _say_not_configured()
        return
    if message.kind is MessageKind.SIGN_IN:
        outcome = await _send_link(rt, message)
    else:
        outcome = await _send_word(rt, message)
    await _mark(rt, message, outcome)


async def take_up_waiting(rt: Runtime, *, limit: int = 500) -> int:
    """Ring again for mails that still wait: after an outage, or once mail is configured.

    Gives how many.
    """
    if not smtp.is_configured(rt.settings):
        return 0
    async with rt.sessions.begin() as session:
        waiting = await session.scalars(
            select(Message.id)
            .where(Message.status == MessageStatus.WAITING, Message.created_at < rt.now() - OVERDUE)
            .order_by(Message.created_at)
            .limit(limit)
        )
        ids = list(waiting)
        for message_id in ids:
            await job_queue.ring(session, outbox.JOB, message_id)
    return len(ids)


@functools.cache
def _say_not_configured() -> None:
    log.warning("mail_not_configured")


async def _waiting(rt: Runtime, message_id: str) -> Message | None:
    async with rt.sessions() as session:
        return await session.scalar(
            select(Message).where(Message.id == message_id, Message.status == MessageStatus.WAITING)
        )


async def _mark(rt: Runtime, message: Message, outcome: MessageStatus) -> None:
    sent_at = rt.now() if outcome is MessageStatus.SENT else None
    async with rt.sessions.begin() as session:
        await session.execute(
            update(Message)
            .where(Message.id == message.id, Message.status == MessageStatus.WAITING)
            .values(status=outcome, sent_at=sent_at)
        )
        await alerts.close(session, AlarmKind.STUCK, subject=message.id, now=rt.now())


# --- about a promise ------------------------------------------------------------------------------


async def _send_word(rt: Runtime, message: Message) -> MessageStatus:
    """Send a mail about a promise, if what it says is true."""
    async with rt.sessions() as session:
        promise = await subscriptions.find(session, message.subscription_id or "")
        is_stopping = await change_log.owed_stops(session, [message.subscription_id or ""])
    if promise is None or (is_stopping and promise.is_live):
        return MessageStatus.DROPPED
    if not _is_true(message.kind, promise, now=rt.now()):
        return MessageStatus.DROPPED
    invoice = None
    if message.kind in OF_INVOICE:
        invoice = await _open_invoice(rt, message.subject or "")
        if invoice is None:
            return MessageStatus.DROPPED
    address = await _address_of_customer(rt, promise.stripe_customer_id)
    if address is None:
        return MessageStatus.DROPPED
    tongue = i18n.negotiate(message.language)
    letter = render.compose(message.kind, tongue, _facts(rt, promise, invoice, tongue))
    async with smtp.connection(rt.settings) as server:
        return await _hand_over(rt, server, message, address, letter)


def _is_true(kind: MessageKind, promise: Subscription, *, now: datetime) -> bool:
    """Whether what a mail says is so."""
    ends, due = promise.card_expires_on, subscriptions.next_charge(promise)
    truths = {
        MessageKind.NEEDS_CARD: promise.needs_card,
        MessageKind.CARD_CHANGED: not promise.needs_card,
        MessageKind.CARD_EXPIRING: ends is not None and ends <= now.date() + EXPIRY_NOTICE,
        MessageKind.RENEWS_SOON: due is not None and due > now and not promise.pauses,
        MessageKind.SKIPPED: promise.pauses,
        MessageKind.PAUSED: promise.pauses,
        MessageKind.RESUMED: not promise.pauses,
        MessageKind.ENDING: promise.ends_at is not None,
        MessageKind.KEPT: promise.ends_at is None,
    }
    return promise.is_live is not (kind in OF_END) and truths.get(kind, True)


async def _open_invoice(rt: Runtime, invoice_id: str) -> stripe.Invoice | None:
    """An invoice that still waits to be paid."""
    with stripe_client.reachable():
        invoice = await rt.stripe.v1.invoices.retrieve_async(invoice_id)
    return invoice if invoice.status == "open" else None


def _facts(
    rt: Runtime, promise: Subscription, invoice: stripe.Invoice | None, tongue: str
) -> dict[str, object]:
    """What a letter about a promise is written from, ready to print."""

    def day(moment: datetime | None) -> str | None:
        if moment is None:
            return None
        return i18n.day(moment.astimezone(rt.settings.zone).date(), tongue)

    def here(link: str) -> str:
        return _in_tongue(link, tongue)

    ends, annual = promise.card_expires_on, promise.frequency is Frequency.ANNUAL
    amount, retry_at, confirm_link = promise.money, None, None
    if invoice is not None:
        amount = Money(invoice.amount_remaining, invoice.currency)
        confirm_link = invoice.hosted_invoice_url
        if invoice.next_payment_attempt is not None:
            retry_at = datetime.fromtimestamp(invoice.next_payment_attempt, UTC)
    return {
        "annual": annual,
        "amount": money.format(amount, tongue),
        "pledge": render.pledge(money.format(promise.money, tongue), tongue, annual=annual),
        "next_charge": day(subscriptions.next_charge(promise)),
        "skipped_on": day(promise.renews_at),
        "resumes_on": day(promise.resumes_at),
        "ends_on": day(promise.ends_at),
        "ended_on": day(promise.ended_at),
        "card_ends": None if ends is None else i18n.day(ends, tongue),
        "retry_on": day(retry_at),
        "confirm_link": confirm_link,
        "fix_link": here(links.fix_link(rt, promise.contribution_id)),
        "stop_link": here(links.stop_link(rt, promise.contribution_id)),
        "manage_link": here(links.manage_link(rt)),
        "reference": promise.contribution_id[:8].upper(),  # as on the page after paying
    }


def _in_tongue(link: str, tongue: str) -> str:
    """A link to a page in the language of its mail. English is also what nobody asked for."""
    return i18n.in_address(link, None if tongue == i18n.SOURCE else tongue)


# --- a link to sign in ----------------------------------------------------------------------------


async def _send_link(rt: Runtime, message: Message) -> MessageStatus:
    """Send the two ways in to a donor who asked; nothing to an address nobody gave with."""
    async with rt.sessions() as session:
        donor = await session.scalar(
            select(Donor)
            .join(SignIn, SignIn.address_hash == Donor.address_hash)
            .where(SignIn.id == message.subject)
        )
    address = None if donor is None else await _address_of_donor(rt, donor)
    if address is None:
        return MessageStatus.DROPPED
    async with rt.sessions.begin() as session:
        ways = await sign_in.make_ways(session, rt.settings, message.subject or "", now=rt.now())
    if ways is None:
        return MessageStatus.DROPPED
    tongue = i18n.negotiate(message.language)
    facts = {
        "minutes": int(sign_in.LINK_LASTS.total_seconds()) // 60,
        "sign_in_link": _in_tongue(links.sign_in_link(rt, ways.token), tongue),
        "code": f"{ways.code[:CODE_HALF]}-{ways.code[CODE_HALF:]}",
    }
    letter = render.compose(message.kind, tongue, facts)
    async with smtp.connection(rt.settings) as server:
        return await _hand_over(rt, server, message, address, letter)


# --- whom to -------------------------------------------------------------------------------------


async def _address_of_customer(rt: Runtime, customer_id: str) -> str | None:
    """Where Stripe says a customer is written to; None for one who is gone."""
    try:
        with stripe_client.reachable():
            customer = await rt.stripe.v1.customers.retrieve_async(customer_id)
    except stripe.InvalidRequestError as error:
        if error.code != "resource_missing":
            raise
        return None
    return getattr(customer, "email", None)  # a deleted customer has no such field


async def _address_of_donor(rt: Runtime, donor: Donor) -> str | None:
    """The address a donor gave with: a customer's of theirs or, for a guest, their last gift's."""
    async with rt.sessions() as session:
        customers = await donors.customers_of(session, donor.id)
        last = await session.scalar(
            select(Contribution.stripe_session_id)
            .where(Contribution.donor_id == donor.id, Contribution.stripe_session_id.is_not(None))
            .order_by(Contribution.created_at.desc())
            .limit(1)
        )
    for customer_id in customers:
        address = await _address_of_customer(rt, customer_id)
        if _is_of(rt, donor, address):
            return address
    if last is None:
        return None
    with stripe_client.reachable():
        gift = await rt.stripe.v1.checkout.sessions.retrieve_async(last)
    address = gift.customer_details.email if gift.customer_details is not None else None
    return address if _is_of(rt, donor, address) else None


def _is_of(rt: Runtime, donor: Donor, address: str | None) -> bool:
    """Whether an address is the one this donor is known by: a customer's may have been changed."""
    try:
        return address is not None and donor.address_hash in donors.hashes(rt.settings, address)
    except InvalidField:
        return False


async def _hand_over(
    rt: Runtime, server: smtp.Server, message: Message, address: str, letter: render.Letter
) -> MessageStatus:
    tongue = i18n.negotiate(message.language)
    envelope = smtp.Envelope(message.id, address, language=tongue, written_at=rt.now())
    taken = await smtp.hand_over(server, rt.settings, letter, envelope)
    return MessageStatus.SENT if taken else MessageStatus.DROPPED
