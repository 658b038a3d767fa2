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

import secrets
from datetime import datetime, timedelta
from enum import StrEnum

import structlog
from sqlalchemy import CheckConstraint, Index, String, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.core import i18n
from payments.core.errors import InvalidField, LinkSpent, NotFound
from payments.core.settings import Settings
from payments.infra import alerts, db, job_queue, signing
from payments.infra.alerts import AlarmKind
from payments.infra.context import Runtime
from payments.mail import render, smtp
from payments.mail.smtp import Envelope, Handed
from payments.signups import address_vault, reminder_sender
from payments.signups.address_vault import Cell, Unwanted

log = structlog.get_logger("payments.signups.newsletter")
INDEX = "newsletter"  # the purpose of the keyed hash: none like it is made of a donor
CONFIRM, NEVER = "newsletter-confirm", "newsletter-never"  # the purposes of links
PROOF_LASTS = timedelta(hours=48)  # from the moment it was asked for
NEVER_LASTS = timedelta(days=400)
INVITING = ("newsletter", "asked")  # the bell for those who wait for their confirmation
ONE = "newsletter_signup"  # the object type of one sign-up's bell
AT_A_TIME = 100
CROWDS_SHARE = 2  # what asks from a crowd gets this part of an hour, so that others get the rest


class State(StrEnum):
    ASKED = "asked"  # nobody has proved that the mailbox is theirs
    PROVED = "proved"  # it is being handed over
    STUCK = "stuck"  # nobody took it for three days: it waits for a person
    HANDED = "handed"
    UNWANTED = "unwanted"  # its owner, or the newsroom's system, wants none
    LOST = "lost"  # nobody took it in time, or its key is gone


LIVE = (State.ASKED, State.PROVED, State.STUCK)


class Signup(db.Base):
    """One sign-up. Once it is over it holds nothing by which anybody could be known."""

    __tablename__ = "newsletter_signups"
    __table_args__ = (
        CheckConstraint(
            "(state IN ('asked', 'proved', 'stuck')) = (sealed IS NOT NULL)",
            name="sealed_while_live",
        ),
        CheckConstraint("(sealed IS NULL) = (address_hash IS NULL)", name="hashed_while_sealed"),
        CheckConstraint("(sealed IS NULL) = (ended_at IS NOT NULL)", name="ended_when_over"),
        CheckConstraint("(state = 'proved') = (next_at IS NOT NULL)", name="next_while_proved"),
        CheckConstraint(
            "state NOT IN ('proved', 'stuck', 'handed') OR proved_at IS NOT NULL",
            name="proved_before_handed",
        ),
        Index(
            "uq_newsletter_signups_asked",
            "address_hash",
            unique=True,
            postgresql_where="state = 'asked'",
        ),
        Index("ix_newsletter_signups_next_at", "next_at", postgresql_where="state = 'proved'"),
    )

    id: Mapped[db.OurId] = mapped_column(primary_key=True)
    state: Mapped[State] = mapped_column(db.words(State, "state_is_known"))
    address_hash: Mapped[bytes | None] = mapped_column(index=True)
    sealed: Mapped[bytes | None]
    privacy_version: Mapped[str] = mapped_column(String(64))  # what was agreed to
    language: Mapped[str] = mapped_column(String(8))
    crowded: Mapped[bool]  # its network asked for many: it waits behind the others
    tries: Mapped[int]  # of the confirmation, then of handing over
    asked_at: Mapped[db.Moment] = mapped_column(index=True)
    agreed_at: Mapped[db.Moment]
    invited_at: Mapped[db.Moment | None]
    proved_at: Mapped[db.Moment | None]
    trying_since: Mapped[db.Moment | None]
    next_at: Mapped[db.Moment | None]
    ended_at: Mapped[db.Moment | None]


# --- where, and under which keys ------------------------------------------------------------------


def is_offered(settings: Settings) -> bool:
    """Whether there is anybody to hand an address to. The settings saw to the rest."""
    return settings.newsletter_webhook_url != "" or settings.newsletter_file != ""


def hashes(settings: Settings, address: str) -> list[bytes]:
    """The keyed hashes of an address, the newest key's first."""
    return signing.keyed_hashes(settings.keys, INDEX, address_vault.normal(address))


def keys(settings: Settings) -> Settings:
    """The settings with a key store for sign-ups alone, within the one of all addresses."""
    return settings.model_copy(update={"key_store": f"{settings.key_store}/newsletter"})


def opened(settings: Settings, row: Signup) -> str | None:
    """The address of a sign-up, while its key exists."""
    return address_vault.opened(keys(settings), _cell(row.id), row.sealed)


def _cell(row_id: str) -> Cell:
    return Cell("newsletter_signups", "sealed", row_id)


# --- asking ---------------------------------------------------------------------------------------


def check_offered(settings: Settings) -> None:
    """Raises NotFound where no newsletter is offered."""
    if not is_offered(settings):
        raise NotFound("There is nothing at this address.")


def check_consent(settings: Settings, *, agreed: bool, version: str) -> None:
    """Consent is the reader's own, and to the policy as it stands. Raises InvalidField."""
    if not agreed:
        raise InvalidField(
            "Please agree to the privacy policy, or we may not keep your address. Nothing was "
            "noted.",
            field="consent",
        )
    if version != settings.privacy_version:
        raise InvalidField(
            "The privacy policy is a newer one by now. Please read it and agree again. Nothing was "
            "noted.",
            field="privacy_version",
        )


async def ask(
    session: AsyncSession,
    settings: Settings,
    *,
    address: str,
    crowded: bool,
    now: datetime,
    tongue: str,
) -> None:
    """Note that somebody wants the newsletter, in this language. The same work for every address.

    Of several for one address that nobody has proved, there is one.
    """
    known = hashes(settings, address)
    await _alone(session, known[0])
    before = await session.scalar(
        select(Signup.id).where(Signup.address_hash.in_(known), Signup.state == State.ASKED)
    )
    row_id = before or secrets.token_hex(16)
    said = {
        "sealed": address_vault.seal(keys(settings), _cell(row_id), address),
        "privacy_version": settings.privacy_version,
        "language": tongue,
        "agreed_at": now,
    }
    await session.execute(
        insert(Signup)
        .values(
            id=row_id,
            state=State.ASKED,
            address_hash=known[0],
            crowded=crowded,
            tries=0,
            asked_at=now,
            **said,
        )
        .on_conflict_do_update(index_elements=["id"], set_=said)
    )
    await job_queue.ring(session, *INVITING)


async def _alone(session: AsyncSession, address_hash: bytes) -> None:
    """One at a time for an address, until this transaction ends."""
    number = int.from_bytes(address_hash[:8], signed=True)
    await session.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": number})


# --- the links of its mail ------------------------------------------------------------------------


def confirm_link(rt: Runtime, row_id: str) -> str:
    signed = signing.sign(rt.settings.keys, CONFIRM, row_id, now=rt.now())
    return f"{rt.settings.mailed_url}/mailbox/confirm/{signed}"


def never_link(rt: Runtime, owner: bytes) -> str:
    signed = signing.sign(rt.settings.keys, NEVER, owner.hex(), now=rt.now())
    return f"{rt.settings.mailed_url}/mailbox/never/{signed}"


async def to_prove(rt: Runtime, signed: str) -> Signup:
    """The sign-up that a link proves, or has proved. Raises LinkSpent."""
    row_id = _named(rt, CONFIRM, signed, lasts=PROOF_LASTS)
    async with rt.sessions() as session:
        return _provable(await session.get(Signup, row_id), now=rt.now())


def _provable(row: Signup | None, *, now: datetime) -> Signup:
    waits = row is not None and row.state is State.ASKED and now - row.asked_at <= PROOF_LASTS
    if row is None or not (waits or (row.proved_at and row.state is not State.UNWANTED)):
        raise LinkSpent("It has expired, or is not complete. You can ask again.")
    return row


async def confirm(rt: Runtime, signed: str) -> Signup:
    """The mailbox is proved, and the address goes out. Twice is once. Raises LinkSpent."""
    row_id = _named(rt, CONFIRM, signed, lasts=PROOF_LASTS)
    async with rt.sessions.begin() as session:
        found = await session.get(Signup, row_id, with_for_update=True)
        row = _provable(found, now=rt.now())
        if row.state is State.ASKED:
            row.state, row.tries = State.PROVED, 0
            row.proved_at = row.trying_since = row.next_at = rt.now()
            await job_queue.ring(session, ONE, row.id)
    return row


def owner_who_wants_none(rt: Runtime, signed: str) -> bytes:
    """The hash of an address that is never to be written to again. Raises LinkSpent."""
    return bytes.fromhex(_named(rt, NEVER, signed, lasts=NEVER_LASTS))


async def never(rt: Runtime, owner: bytes) -> None:
    """Its owner wants no such mail again, whoever types the address."""
    await unwanted(rt, [owner], Unwanted.ASKED)


async def unwanted(rt: Runtime, known: list[bytes], reason: Unwanted) -> None:
    """Suppress an address and end what waits for it."""
    async with rt.sessions.begin() as session:
        await address_vault.suppress(session, known[0], reason, now=rt.now())
        query = select(Signup).where(Signup.address_hash.in_(known)).order_by(Signup.id)
        for row in await session.scalars(query.with_for_update()):
            address_vault.destroy(keys(rt.settings), row.id)
            end(row, State.UNWANTED, now=rt.now())


def end(row: Signup, state: State, *, now: datetime) -> None:
    """It is over, and the row forgets whose it was. Its key is the caller's to destroy."""
    row.state, row.sealed, row.address_hash = state, None, None
    row.trying_since, row.next_at, row.ended_at = None, None, now


def _named(rt: Runtime, purpose: str, signed: str, *, lasts: timedelta) -> str:
    match signing.opened(rt.settings.keys, purpose, signed, now=rt.now(), lasts=lasts):
        case str(name):
            return name
    raise LinkSpent("This link has expired or is not complete. Nothing was changed.")


# --- the confirmation -----------------------------------------------------------------------------


async def invite(rt: Runtime, _what: str = "") -> int:
    """Write to those who wait for a confirmation, as many as an hour allows. Gives how many."""
    if not (is_offered(rt.settings) and smtp.is_configured(rt.settings)):
        return 0
    invited = 0
    for row_id, crowded in await _uninvited(rt):
        if await _is_enough(rt, crowded=crowded):
            break
        invited += await _invite_one(rt, row_id)
    return invited


async def _uninvited(rt: Runtime) -> list[tuple[str, bool]]:
    """Those of a crowd last, and before them the ones that failed."""
    query = (
        select(Signup.id, Signup.crowded)
        .where(Signup.state == State.ASKED, Signup.invited_at.is_(None))
        .order_by(Signup.crowded, Signup.tries, Signup.asked_at, Signup.id)
        .limit(AT_A_TIME)
    )
    async with rt.sessions() as session:
        return [(row_id, crowded) for row_id, crowded in await session.execute(query)]


async def _is_enough(rt: Runtime, *, crowded: bool) -> bool:
    """Whether an hour's worth was sent, so that a person is called."""
    share = CROWDS_SHARE if crowded else 1
    async with rt.sessions.begin() as session:
        sent = await address_vault.invitations_since(session, rt.now() - reminder_sender.AN_HOUR)
        if sent < reminder_sender.INVITED_IN_AN_HOUR // share:
            return False
        subject = reminder_sender.SUBJECT
        await alerts.sound(session, AlarmKind.MANY_REMINDERS, subject=subject, now=rt.now())
    return True


async def _invite_one(rt: Runtime, row_id: str) -> bool:
    """Send one confirmation. One that fails does not stop the others."""
    try:
        return await _send_confirmation(rt, row_id)
    except Exception:  # whatever is wrong with one row, the next is somebody else's
        log.warning("confirmation_failed", exc_info=True)
    async with rt.sessions.begin() as session:
        more = update(Signup).where(Signup.id == row_id).values(tries=Signup.tries + 1)
        await session.execute(more)
    return False


async def _send_confirmation(rt: Runtime, row_id: str) -> bool:
    async with rt.sessions.begin() as session:
        row = await session.get(Signup, row_id, with_for_update=True)
        if row is None or row.state is not State.ASKED:
            return False
        address = opened(rt.settings, row)
        if address is None or not await _may_be_invited(rt, session, address):
            address_vault.destroy(keys(rt.settings), row.id)
            await session.delete(row)  # nothing may be sent, so nothing is kept
            return False
    letter = render.compose("newsletter_confirm", row.language, _confirmation(rt, row, address))
    envelope = Envelope(f"{row_id}.0", address, row.language, written_at=rt.now())

    async def claim() -> bool:
        return await _claim(rt, row_id, address)

    async with smtp.connection(rt.settings) as server:
        handed = await smtp.hand_over_once(server, rt.settings, letter, envelope, claim)
    if handed is Handed.NO_SUCH_MAILBOX:
        await unwanted(rt, hashes(rt.settings, address), Unwanted.BOUNCED)
    return handed is Handed.TAKEN


async def _claim(rt: Runtime, row_id: str, address: str) -> bool:
    """Mark its confirmation as sent, if nobody else did, and the mailbox as written to."""
    async with rt.sessions.begin() as session:
        marked = await session.scalar(
            update(Signup)
            .where(Signup.id == row_id, Signup.state == State.ASKED, Signup.invited_at.is_(None))
            .values(invited_at=rt.now())
            .returning(Signup.id)
        )
        known = hashes(rt.settings, address)
        return marked is not None and await address_vault.claim_invitation(
            session, known, now=rt.now()
        )


async def _may_be_invited(rt: Runtime, session: AsyncSession, address: str) -> bool:
    """Not if it was lately, nor if its owner said never, here or to a reminder, or it bounced."""
    ours = hashes(rt.settings, address)
    either = [*ours, *address_vault.hashes(rt.settings, address)]
    if await address_vault.is_suppressed(session, either, now=rt.now()):
        return False
    return await address_vault.may_invite(session, ours, now=rt.now())


def _confirmation(rt: Runtime, row: Signup, address: str) -> dict[str, object]:
    until = (row.asked_at + PROOF_LASTS).astimezone(rt.settings.zone)
    return {
        "until": i18n.day(until.date(), row.language),
        "confirm_link": confirm_link(rt, row.id),
        "never_link": never_link(rt, hashes(rt.settings, address)[0]),
    }
