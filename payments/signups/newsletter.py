"""Newsletter sign-ups: an address with consent, confirmed by its mailbox, and handed on.

A sign-up is stored with the version of the privacy policy that was agreed to; confirmed, by a
button behind a link that only the mailbox has; and delivered once to the newsroom's own mailing
system (`newsletter_delivery`), which sends the newsletter and takes people off its lists. The
address is encrypted under a key of its own, which is destroyed when the address is delivered, when
it is not confirmed in time, or when its owner unsubscribes.

Nothing leads from a sign-up to a contribution or a reminder: it has a table and a key directory of
its own, and a hash for another purpose than a donor's, so that the two cannot be compared. One
thing is read of the reminders, and stored nowhere: whether an address is suppressed.
"""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

from sqlalchemy import CheckConstraint, Index, String, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.core.errors import InvalidField, NotFound
from payments.core.identifiers import new_row_id
from payments.core.settings import Settings
from payments.infra import address_hash, db, job_queue, signing
from payments.infra.context import Context
from payments.signups import address_vault, confirmation, signup, suppression
from payments.signups.confirmation import SignupKind
from payments.signups.signup import CONFIRMATION_LIFETIME, UNSUBSCRIBE_LINK_LIFETIME, Signup
from payments.signups.suppression import SuppressionReason

HASH_PURPOSE = "newsletter"
CONFIRM_PURPOSE, UNSUBSCRIBE_PURPOSE = "newsletter-confirm", "newsletter-unsubscribe"
# One job sends them all, after every mail to somebody who is known.
CONFIRMATIONS_JOB = f"{job_queue.AFTER_OTHERS_PREFIX}newsletter_confirmations"
ALL_CONFIRMATIONS = "all"
DELIVERY_JOB = "newsletter_delivery"  # the object type of one sign-up's job


class SignupState(StrEnum):
    """How far a sign-up has come."""

    UNCONFIRMED = "unconfirmed"
    CONFIRMED = "confirmed"  # it is being delivered
    STUCK = "stuck"  # not accepted for three days: it waits for a person
    DELIVERED = "delivered"
    SUPPRESSED = "suppressed"  # by its owner, or by the newsroom's mailing system
    UNDELIVERED = "undelivered"  # not accepted in time, or its key is lost


ACTIVE_STATES = (SignupState.UNCONFIRMED, SignupState.CONFIRMED, SignupState.STUCK)


class NewsletterSignup(Signup):
    """One sign-up, and its delivery. `attempts` count from zero again when it is confirmed."""

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

    state: Mapped[SignupState] = mapped_column(db.enum_column(SignupState, "state_is_known"))
    privacy_version: Mapped[str] = mapped_column(String(64))  # of the policy that was agreed to
    consented_at: Mapped[db.Timestamp]
    confirmed_at: Mapped[db.Timestamp | None]
    delivery_started_at: Mapped[db.Timestamp | None]
    next_attempt_at: Mapped[db.Timestamp | None]


# --- where, and under which keys ------------------------------------------------------------------


def is_enabled(settings: Settings) -> bool:
    """Whether there is a mailing system to deliver to. The settings are then complete."""
    return settings.newsletter_webhook_url != "" or settings.newsletter_file != ""


def require_enabled(settings: Settings) -> None:
    """Raise NotFound where no newsletter is offered."""
    if not is_enabled(settings):
        raise NotFound("There is nothing at this address.")


async def address_hashes(settings: Settings, address: str) -> list[bytes]:
    """Return the keyed hashes of an address, the newest key's first. Raises InvalidField."""
    return await address_hash.digests(
        settings, HASH_PURPOSE, address_vault.validated_email(address)
    )


def key_settings(settings: Settings) -> Settings:
    """Return the settings with the key directory of newsletter sign-ups, inside the common one."""
    return settings.model_copy(update={"address_key_dir": f"{settings.address_key_dir}/newsletter"})


def decrypt_address(settings: Settings, row: NewsletterSignup) -> str | None:
    """Return the address of a sign-up; None if its key is destroyed. Raises KeyUnreadable."""
    return address_vault.decrypt(
        key_settings(settings), row.associated_data, row.address_ciphertext
    )


# --- signing up -----------------------------------------------------------------------------------


def require_consent(settings: Settings, *, agreed: bool, privacy_version: str) -> None:
    """Raise InvalidField unless the reader agreed to the privacy policy in its current version."""
    if not agreed:
        raise InvalidField(
            "Please agree to the privacy policy; otherwise we may not keep your address. "
            "Nothing was saved.",
            field="consent",
        )
    if privacy_version != settings.privacy_version:
        raise InvalidField(
            "The privacy policy has changed in the meantime. Please read it and agree "
            "again. Nothing was saved.",
            field="privacy_version",
        )


async def sign_up(
    session: AsyncSession,
    settings: Settings,
    *,
    address: str,
    hashes: Sequence[bytes],
    deprioritised: bool,
    now: datetime,
    locale: str,
) -> None:
    """Store a sign-up whose address, with these hashes, is to be confirmed. The same work for every
    address.

    Of several of one address that nobody has confirmed, the last is stored. Raises InvalidField.
    """
    await db.advisory_lock(session, hashes[0])
    unconfirmed_id = await session.scalar(
        select(NewsletterSignup.id).where(
            NewsletterSignup.address_hash.in_(hashes),
            NewsletterSignup.state == SignupState.UNCONFIRMED,
        )
    )
    row_id = unconfirmed_id or new_row_id()
    updated = {
        "address_ciphertext": address_vault.encrypt(
            key_settings(settings), signup.associated_data(NewsletterSignup, row_id), address
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
            address_hash=hashes[0],
            deprioritised=deprioritised,
            attempts=0,
            signed_up_at=now,
            **updated,
        )
        .on_conflict_do_update(index_elements=["id"], set_=updated)
    )
    await job_queue.enqueue_sync(session, CONFIRMATIONS_JOB, ALL_CONFIRMATIONS)


# --- what its owner decides -----------------------------------------------------------------------


def confirm_link(ctx: Context, row_id: str) -> str:
    """Return the link that confirms a sign-up."""
    token = signing.sign_token(ctx.settings.hmac_keys, CONFIRM_PURPOSE, row_id, now=ctx.now())
    return f"{ctx.settings.mail_links_base_url}/mailbox/confirm/{token}"


def unsubscribe_link(ctx: Context, address_hash: bytes) -> str:
    """Return the link that suppresses an address."""
    token = signing.sign_token(
        ctx.settings.hmac_keys, UNSUBSCRIBE_PURPOSE, address_hash.hex(), now=ctx.now()
    )
    return f"{ctx.settings.mail_links_base_url}/mailbox/never/{token}"


async def get_confirmable(ctx: Context, token: str) -> NewsletterSignup:
    """Return the sign-up of a link if it can be confirmed, or was. Raises LinkInvalid."""
    row_id = _parse_confirm_link(ctx, token)
    async with ctx.sessions() as session:
        return _require_confirmable(await session.get(NewsletterSignup, row_id), now=ctx.now())


async def confirm(ctx: Context, token: str) -> NewsletterSignup:
    """Confirm the sign-up of a link and enqueue its delivery; twice is once. Raises LinkInvalid."""
    row_id = _parse_confirm_link(ctx, token)
    async with ctx.sessions.begin() as session:
        row = _require_confirmable(
            await session.get(NewsletterSignup, row_id, with_for_update=True), now=ctx.now()
        )
        if row.state is SignupState.UNCONFIRMED:
            row.state, row.attempts = SignupState.CONFIRMED, 0
            row.confirmed_at = row.delivery_started_at = row.next_attempt_at = ctx.now()
            await job_queue.enqueue_sync(session, DELIVERY_JOB, row.id)
    return row


def _parse_confirm_link(ctx: Context, token: str) -> str:
    return signing.verify_token(
        ctx.settings.hmac_keys,
        CONFIRM_PURPOSE,
        token,
        str,
        now=ctx.now(),
        max_age=CONFIRMATION_LIFETIME,
    )


def _require_confirmable(row: NewsletterSignup | None, *, now: datetime) -> NewsletterSignup:
    is_waiting = (
        row is not None
        and row.state is SignupState.UNCONFIRMED
        and now - row.signed_up_at <= CONFIRMATION_LIFETIME
    )
    if row is None or not (
        is_waiting or (row.confirmed_at and row.state is not SignupState.SUPPRESSED)
    ):
        raise signup.confirmation_link_invalid()
    return row


def parse_unsubscribe_link(ctx: Context, token: str) -> bytes:
    """Return the hash of the address that a link suppresses. Raises LinkInvalid."""
    address_hash = signing.verify_token(
        ctx.settings.hmac_keys,
        UNSUBSCRIBE_PURPOSE,
        token,
        str,
        now=ctx.now(),
        max_age=UNSUBSCRIBE_LINK_LIFETIME,
    )
    return bytes.fromhex(address_hash)


async def suppress_address(
    session: AsyncSession,
    settings: Settings,
    hashes: Sequence[bytes],
    reason: SuppressionReason,
    *,
    now: datetime,
) -> None:
    """Suppress an address, and close every sign-up of it."""
    await suppression.suppress(session, hashes[0], reason, now=now)
    query = select(NewsletterSignup).where(NewsletterSignup.address_hash.in_(hashes))
    for row in await session.scalars(query.order_by(NewsletterSignup.id).with_for_update()):
        address_vault.destroy_key(key_settings(settings), row.id)
        close(row, SignupState.SUPPRESSED, now=now)


def close(row: NewsletterSignup, state: SignupState, *, now: datetime) -> None:
    """End a sign-up: remove all that could lead to its owner. The caller destroys its key."""
    row.state, row.address_ciphertext, row.address_hash = state, None, None
    row.delivery_started_at, row.next_attempt_at, row.ended_at = None, None, now


# --- its confirmation -----------------------------------------------------------------------------


KIND = SignupKind(
    table=NewsletterSignup,
    is_unconfirmed=NewsletterSignup.state == SignupState.UNCONFIRMED,
    template="newsletter_confirm",
    key_settings=key_settings,
    address_hashes=address_hashes,
    other_hashes=address_vault.address_hashes,  # a reminder's
    suppress_address=suppress_address,
    confirm_link=confirm_link,
    unsubscribe_link=unsubscribe_link,
    zone=lambda ctx, _row: ctx.settings.accounting_zone,
)


async def send_confirmations(ctx: Context, _object_id: str = "") -> int:
    """Send the confirmations of sign-ups that wait. Returns how many were sent."""
    if not is_enabled(ctx.settings):
        return 0
    return await confirmation.send_confirmations(ctx, KIND)
