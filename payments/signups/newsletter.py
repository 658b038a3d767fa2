"""The newsletter box: an address and consent, proved by its mailbox, and on their way out of here.

A sign-up is asked for, with the version of the privacy policy that was agreed to; proved, by a
button behind a link that only the mailbox has; and handed over once to the newsroom's own mailing
system (`handing`), which sends the letters and takes people off its lists. Here the address is
sealed under a key of its own, and the key is destroyed when the address is handed over, when two
days pass without proof, or when its owner wants no mail.

Nothing leads from a sign-up to a gift or a reminder: a table of its own, keys in a folder of their
own, and a hash made for another purpose than a donor's, so that the two cannot be compared. One
thing is read of the reminders, and kept nowhere: whether an address is suppressed. What they share
is how many unproved addresses may be written to in an hour.
"""

from datetime import datetime, timedelta
from enum import StrEnum

import structlog
from sqlalchemy import CheckConstraint, Index, String, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.core import i18n
from payments.core.errors import InvalidField, LinkInvalid, NotFound
from payments.core.identifiers import new_row_id
from payments.core.settings import Settings
from payments.infra import alerts, db, job_queue, signing
from payments.infra.alerts import AlertKind
from payments.infra.context import Context
from payments.mail import render, smtp
from payments.mail.smtp import Envelope, SendResult
from payments.signups import address_vault, reminder_sender
from payments.signups.address_vault import AssociatedData, SuppressionReason

log = structlog.get_logger("payments.signups.newsletter")
HMAC_PURPOSE = "newsletter"  # the purpose of the keyed hash: none like it is made of a donor
CONFIRM_PURPOSE, UNSUBSCRIBE_PURPOSE = (
    "newsletter-confirm",
    "newsletter-never",
)  # the purposes of links
CONFIRMATION_LIFETIME = timedelta(hours=48)  # from the moment it was asked for
UNSUBSCRIBE_LIFETIME = timedelta(days=400)
CONFIRMATIONS_JOB = ("newsletter", "asked")  # the bell for those who wait for their confirmation
DELIVERY_JOB = "newsletter_signup"  # the object type of one sign-up's bell
BATCH_SIZE = 100
DEPRIORITISED_DIVISOR = (
    2  # what asks from a crowd gets this part of an hour, so that others get the rest
)


class SignupState(StrEnum):
    UNCONFIRMED = "unconfirmed"  # nobody has proved that the mailbox is theirs
    CONFIRMED = "confirmed"  # it is being handed over
    STUCK = "stuck"  # nobody took it for three days: it waits for a person
    DELIVERED = "delivered"
    SUPPRESSED = "suppressed"  # its owner, or the newsroom's system, wants none
    UNDELIVERED = "undelivered"  # nobody took it in time, or its key is gone


ACTIVE_STATES = (SignupState.UNCONFIRMED, SignupState.CONFIRMED, SignupState.STUCK)


class NewsletterSignup(db.Base):
    """One sign-up. Once it is over it holds nothing by which anybody could be known."""

    __tablename__ = "newsletter_signups"
    __table_args__ = (
        CheckConstraint(
            "(state IN ('unconfirmed', 'confirmed', 'stuck')) = (address_ciphertext IS NOT NULL)",
            name="ciphertext_while_active",
        ),
        CheckConstraint(
            "(address_ciphertext IS NULL) = (address_hash IS NULL)", name="hash_with_ciphertext"
        ),
        CheckConstraint(
            "(address_ciphertext IS NULL) = (ended_at IS NOT NULL)", name="ended_when_erased"
        ),
        CheckConstraint(
            "(state = 'confirmed') = (next_attempt_at IS NOT NULL)",
            name="next_attempt_while_confirmed",
        ),
        CheckConstraint(
            "state NOT IN ('confirmed', 'stuck', 'delivered') OR confirmed_at IS NOT NULL",
            name="confirmed_before_delivered",
        ),
        Index(
            "uq_newsletter_signups_unconfirmed",
            "address_hash",
            unique=True,
            postgresql_where="state = 'unconfirmed'",
        ),
        Index(
            "ix_newsletter_signups_next_attempt_at",
            "next_attempt_at",
            postgresql_where="state = 'confirmed'",
        ),
    )

    id: Mapped[db.Id] = mapped_column(primary_key=True)
    state: Mapped[SignupState] = mapped_column(db.enum_column(SignupState, "state_is_known"))
    address_hash: Mapped[bytes | None] = mapped_column(index=True)
    address_ciphertext: Mapped[bytes | None]
    privacy_version: Mapped[str] = mapped_column(String(64))  # what was agreed to
    language: Mapped[str] = mapped_column(String(8))
    deprioritised: Mapped[bool]  # its network asked for many: it waits behind the others
    attempts: Mapped[int]  # of the confirmation, then of handing over
    signed_up_at: Mapped[db.Timestamp] = mapped_column(index=True)
    consented_at: Mapped[db.Timestamp]
    confirmation_sent_at: Mapped[db.Timestamp | None]
    confirmed_at: Mapped[db.Timestamp | None]
    delivery_started_at: Mapped[db.Timestamp | None]
    next_attempt_at: Mapped[db.Timestamp | None]
    ended_at: Mapped[db.Timestamp | None]


# --- where, and under which keys ------------------------------------------------------------------


def is_enabled(settings: Settings) -> bool:
    """Whether there is anybody to hand an address to. The settings saw to the rest."""
    return settings.newsletter_webhook_url != "" or settings.newsletter_file != ""


def address_hashes(settings: Settings, address: str) -> list[bytes]:
    """The keyed hashes of an address, the newest key's first."""
    return signing.hmac_digests(
        settings.hmac_keys, HMAC_PURPOSE, address_vault.validated_email(address)
    )


def key_settings(settings: Settings) -> Settings:
    """The settings with a key store for sign-ups alone, within the one of all addresses."""
    return settings.model_copy(update={"address_key_dir": f"{settings.address_key_dir}/newsletter"})


def decrypt_address(settings: Settings, row: NewsletterSignup) -> str | None:
    """The address of a sign-up, while its key exists."""
    return address_vault.decrypt(
        key_settings(settings), _associated_data(row.id), row.address_ciphertext
    )


def _associated_data(row_id: str) -> AssociatedData:
    return AssociatedData("newsletter_signups", "address_ciphertext", row_id)


# --- asking ---------------------------------------------------------------------------------------


def require_enabled(settings: Settings) -> None:
    """Raises NotFound where no newsletter is offered."""
    if not is_enabled(settings):
        raise NotFound("There is nothing at this address.")


def require_consent(settings: Settings, *, agreed: bool, privacy_version: str) -> None:
    """Consent is the reader's own, and to the policy as it stands. Raises InvalidField."""
    if not agreed:
        raise InvalidField(
            "Please agree to the privacy policy, or we may not keep your address. Nothing was "
            "noted.",
            field="consent",
        )
    if privacy_version != settings.privacy_version:
        raise InvalidField(
            "The privacy policy is a newer one by now. Please read it and agree again. Nothing was "
            "noted.",
            field="privacy_version",
        )


async def sign_up(
    session: AsyncSession,
    settings: Settings,
    *,
    address: str,
    deprioritised: bool,
    now: datetime,
    locale: str,
) -> None:
    """Note that somebody wants the newsletter, in this language. The same work for every address.

    Of several for one address that nobody has proved, there is one.
    """
    known = address_hashes(settings, address)
    await _lock_address(session, known[0])
    before = await session.scalar(
        select(NewsletterSignup.id).where(
            NewsletterSignup.address_hash.in_(known),
            NewsletterSignup.state == SignupState.UNCONFIRMED,
        )
    )
    row_id = before or new_row_id()
    said = {
        "address_ciphertext": address_vault.encrypt(
            key_settings(settings), _associated_data(row_id), address
        ),
        "privacy_version": settings.privacy_version,
        "language": locale,
        "consented_at": now,
    }
    await session.execute(
        insert(NewsletterSignup)
        .values(
            id=row_id,
            state=SignupState.UNCONFIRMED,
            address_hash=known[0],
            deprioritised=deprioritised,
            attempts=0,
            signed_up_at=now,
            **said,
        )
        .on_conflict_do_update(index_elements=["id"], set_=said)
    )
    await job_queue.enqueue_sync(session, *CONFIRMATIONS_JOB)


async def _lock_address(session: AsyncSession, address_hash: bytes) -> None:
    """One at a time for an address, until this transaction ends."""
    await db.advisory_lock(session, address_hash)


# --- the links of its mail ------------------------------------------------------------------------


def confirm_link(ctx: Context, row_id: str) -> str:
    signed = signing.sign_token(ctx.settings.hmac_keys, CONFIRM_PURPOSE, row_id, now=ctx.now())
    return f"{ctx.settings.mail_links_base_url}/mailbox/confirm/{signed}"


def unsubscribe_link(ctx: Context, address_hash: bytes) -> str:
    signed = signing.sign_token(
        ctx.settings.hmac_keys, UNSUBSCRIBE_PURPOSE, address_hash.hex(), now=ctx.now()
    )
    return f"{ctx.settings.mail_links_base_url}/mailbox/never/{signed}"


async def get_confirmable(ctx: Context, signed: str) -> NewsletterSignup:
    """The sign-up that a link proves, or has proved. Raises LinkSpent."""
    row_id = _verify_link(ctx, CONFIRM_PURPOSE, signed, lifetime=CONFIRMATION_LIFETIME)
    async with ctx.sessions() as session:
        return _require_confirmable(await session.get(NewsletterSignup, row_id), now=ctx.now())


def _require_confirmable(row: NewsletterSignup | None, *, now: datetime) -> NewsletterSignup:
    waits = (
        row is not None
        and row.state is SignupState.UNCONFIRMED
        and now - row.signed_up_at <= CONFIRMATION_LIFETIME
    )
    if row is None or not (waits or (row.confirmed_at and row.state is not SignupState.SUPPRESSED)):
        raise LinkInvalid("It has expired, or is not complete. You can ask again.")
    return row


async def confirm(ctx: Context, signed: str) -> NewsletterSignup:
    """The mailbox is proved, and the address goes out. Twice is once. Raises LinkSpent."""
    row_id = _verify_link(ctx, CONFIRM_PURPOSE, signed, lifetime=CONFIRMATION_LIFETIME)
    async with ctx.sessions.begin() as session:
        found = await session.get(NewsletterSignup, row_id, with_for_update=True)
        row = _require_confirmable(found, now=ctx.now())
        if row.state is SignupState.UNCONFIRMED:
            row.state, row.attempts = SignupState.CONFIRMED, 0
            row.confirmed_at = row.delivery_started_at = row.next_attempt_at = ctx.now()
            await job_queue.enqueue_sync(session, DELIVERY_JOB, row.id)
    return row


def parse_unsubscribe_link(ctx: Context, signed: str) -> bytes:
    """The hash of an address that is never to be written to again. Raises LinkSpent."""
    return bytes.fromhex(
        _verify_link(ctx, UNSUBSCRIBE_PURPOSE, signed, lifetime=UNSUBSCRIBE_LIFETIME)
    )


async def unsubscribe(ctx: Context, address_hash: bytes) -> None:
    """Its owner wants no such mail again, whoever types the address."""
    await suppress_address(ctx, [address_hash], SuppressionReason.UNSUBSCRIBED)


async def suppress_address(ctx: Context, hashes: list[bytes], reason: SuppressionReason) -> None:
    """Suppress an address and end what waits for it."""
    async with ctx.sessions.begin() as session:
        await address_vault.suppress(session, hashes[0], reason, now=ctx.now())
        query = (
            select(NewsletterSignup)
            .where(NewsletterSignup.address_hash.in_(hashes))
            .order_by(NewsletterSignup.id)
        )
        for row in await session.scalars(query.with_for_update()):
            address_vault.destroy_key(key_settings(ctx.settings), row.id)
            close(row, SignupState.SUPPRESSED, now=ctx.now())


def close(row: NewsletterSignup, state: SignupState, *, now: datetime) -> None:
    """It is over, and the row forgets whose it was. Its key is the caller's to destroy."""
    row.state, row.address_ciphertext, row.address_hash = state, None, None
    row.delivery_started_at, row.next_attempt_at, row.ended_at = None, None, now


def _verify_link(ctx: Context, purpose: str, signed: str, *, lifetime: timedelta) -> str:
    return signing.verify_token(
        ctx.settings.hmac_keys, purpose, signed, str, now=ctx.now(), max_age=lifetime
    )


# --- the confirmation -----------------------------------------------------------------------------


async def send_confirmations(ctx: Context, _object_id: str = "") -> int:
    """Write to those who wait for a confirmation, as many as an hour allows. Gives how many."""
    if not (is_enabled(ctx.settings) and smtp.is_configured(ctx.settings)):
        return 0
    invited = 0
    for row_id, crowded in await _next_unconfirmed(ctx):
        if await _is_hourly_limit_reached(ctx, deprioritised=crowded):
            break
        invited += await _try_send_confirmation(ctx, row_id)
    return invited


async def _next_unconfirmed(ctx: Context) -> list[tuple[str, bool]]:
    """Those of a crowd last, and before them the ones that failed."""
    query = (
        select(NewsletterSignup.id, NewsletterSignup.deprioritised)
        .where(
            NewsletterSignup.state == SignupState.UNCONFIRMED,
            NewsletterSignup.confirmation_sent_at.is_(None),
        )
        .order_by(
            NewsletterSignup.deprioritised,
            NewsletterSignup.attempts,
            NewsletterSignup.signed_up_at,
            NewsletterSignup.id,
        )
        .limit(BATCH_SIZE)
    )
    async with ctx.sessions() as session:
        return [(row_id, crowded) for row_id, crowded in await session.execute(query)]


async def _is_hourly_limit_reached(ctx: Context, *, deprioritised: bool) -> bool:
    """Whether an hour's worth was sent, so that a person is called."""
    share = DEPRIORITISED_DIVISOR if deprioritised else 1
    async with ctx.sessions.begin() as session:
        sent = await address_vault.confirmations_sent_since(
            session, ctx.now() - reminder_sender.AN_HOUR
        )
        if sent < reminder_sender.CONFIRMATIONS_PER_HOUR // share:
            return False
        subject = reminder_sender.ALERT_OBJECT_ID
        await alerts.raise_alert(
            session, AlertKind.CONFIRMATION_LIMIT_REACHED, object_id=subject, now=ctx.now()
        )
    return True


async def _try_send_confirmation(ctx: Context, row_id: str) -> bool:
    """Send one confirmation. One that fails does not stop the others."""
    try:
        return await _send_confirmation(ctx, row_id)
    except Exception:  # whatever is wrong with one row, the next is somebody else's
        log.warning("confirmation_failed", exc_info=True)
    async with ctx.sessions.begin() as session:
        more = (
            update(NewsletterSignup)
            .where(NewsletterSignup.id == row_id)
            .values(attempts=NewsletterSignup.attempts + 1)
        )
        await session.execute(more)
    return False


async def _send_confirmation(ctx: Context, row_id: str) -> bool:
    async with ctx.sessions.begin() as session:
        row = await session.get(NewsletterSignup, row_id, with_for_update=True)
        if row is None or row.state is not SignupState.UNCONFIRMED:
            return False
        address = decrypt_address(ctx.settings, row)
        if address is None or not await _may_send_confirmation(ctx, session, address):
            address_vault.destroy_key(key_settings(ctx.settings), row.id)
            await session.delete(row)  # nothing may be sent, so nothing is kept
            return False
    letter = render.render(
        "newsletter_confirm", row.language, _confirmation_context(ctx, row, address)
    )
    envelope = Envelope(f"{row_id}.0", address, row.language, written_at=ctx.now())

    async def claim() -> bool:
        return await _mark_confirmation_sent(ctx, row_id, address)

    async with smtp.connection(ctx.settings) as server:
        handed = await smtp.send_at_most_once(server, ctx.settings, letter, envelope, claim)
    if handed is SendResult.NO_SUCH_MAILBOX:
        await suppress_address(
            ctx, address_hashes(ctx.settings, address), SuppressionReason.BOUNCED
        )
    return handed is SendResult.ACCEPTED


async def _mark_confirmation_sent(ctx: Context, row_id: str, address: str) -> bool:
    """Mark its confirmation as sent, if nobody else did, and the mailbox as written to."""
    async with ctx.sessions.begin() as session:
        marked = await session.scalar(
            update(NewsletterSignup)
            .where(
                NewsletterSignup.id == row_id,
                NewsletterSignup.state == SignupState.UNCONFIRMED,
                NewsletterSignup.confirmation_sent_at.is_(None),
            )
            .values(confirmation_sent_at=ctx.now())
            .returning(NewsletterSignup.id)
        )
        known = address_hashes(ctx.settings, address)
        return marked is not None and await address_vault.claim_confirmation(
            session, known, now=ctx.now()
        )


async def _may_send_confirmation(ctx: Context, session: AsyncSession, address: str) -> bool:
    """Not if it was lately, nor if its owner said never, here or to a reminder, or it bounced."""
    ours = address_hashes(ctx.settings, address)
    either = [*ours, *address_vault.address_hashes(ctx.settings, address)]
    if await address_vault.is_suppressed(session, either, now=ctx.now()):
        return False
    return await address_vault.may_send_confirmation(session, ours, now=ctx.now())


def _confirmation_context(ctx: Context, row: NewsletterSignup, address: str) -> dict[str, object]:
    until = (row.signed_up_at + CONFIRMATION_LIFETIME).astimezone(ctx.settings.accounting_zoneinfo)
    return {
        "until": i18n.format_day(until.date(), row.language),
        "confirm_link": confirm_link(ctx, row.id),
        "unsubscribe_link": unsubscribe_link(ctx, address_hashes(ctx.settings, address)[0]),
    }
