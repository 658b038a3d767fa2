"""Refusals: what a mail server's "no" is about, by its enhanced status code (RFC 3463).

Only a few codes say that a mailbox does not exist. Any other refusal is about us, our mail server
or this hour: a password that was changed, a quota, a block, a full mailbox, greylisting. Then the
mail waits and is tried again, and a person is asked to look: at once where it is about us, else
once several mails are refused alike or one for a day. Where very many mailboxes in a row are said
not to exist, that is a mail server that refuses everybody.

A row is a mail that was refused and has not been accepted since, by a hash of its id, or a status
that was reported; it is deleted after eight days. An alert is closed when a mail is accepted and no
row of its status is left: time alone says of no mail server that it accepts.
"""

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime, timedelta

import aiosmtplib
from sqlalchemy import String, delete, func, or_, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.infra import alerts, db
from payments.infra.alerts import AlertKind

ENHANCED_STATUS = re.compile(r"([245])\.(\d{1,3})\.(\d{1,3})(?!\S)")
# Bad mailbox, bad system, bad syntax, ambiguous, moved, a domain that takes no mail. Not 5.1.0,
# which may be about anything, nor 5.1.7 and 5.1.8, which are about the sender.
NO_MAILBOX_STATUSES = frozenset({"5.1.1", "5.1.2", "5.1.3", "5.1.4", "5.1.6", "5.1.10"})
ABOUT_US = re.compile(r"5\.(1\.[789]|[34567]\.\d+)|5\d\d")
# Plain 5xx codes that may be about the mailbox: unavailable, not local, full, not allowed.
UNCLEAR_CODES = frozenset({"550", "551", "552", "553"})
REFUSED_ALIKE = 3  # mails; with so many, a person looks
REFUSED_FOR = timedelta(days=1)  # or so long
# So many mailboxes are missing, with no mail accepted in between: it is not about the mailboxes.
MISSING_MAILBOXES, MISSING_WITHIN = 10, timedelta(hours=1)
RETENTION = timedelta(days=8)  # a mail is tried for seven

_UNMUTE_SQL = text(
    "DELETE FROM suppressed_addresses WHERE reason = 'bounced' AND suppressed_at > :since"
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """One refusal: an enhanced status such as `5.7.1` or, without one, a code such as `554`."""

    status: str

    @property
    def is_no_mailbox(self) -> bool:
        """Whether it says that the mailbox does not exist."""
        return self.status in NO_MAILBOX_STATUSES

    @property
    def is_about_us(self) -> bool:
        """Whether it is about us or our mail server, whoever the mail is to."""
        return ABOUT_US.fullmatch(self.status) is not None and self.status not in UNCLEAR_CODES


class EverybodyRefused(Exception):
    """The mail server says of everybody that their mailbox does not exist. Nobody is believed."""


class MailRefusal(db.Base):
    """A mail that was refused and has not been accepted since."""

    __tablename__ = "mail_refusals"

    mail_hash: Mapped[str] = mapped_column(String(64), primary_key=True)  # SHA-256 of its id
    status: Mapped[str] = mapped_column(String(16), index=True)
    first_at: Mapped[db.Timestamp]
    last_at: Mapped[db.Timestamp]


def refusal_of(error: BaseException) -> Refusal | None:
    """Return the refusal that an error is; None for what is no answer of the server."""
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
        error = error.recipients[0]
    if not isinstance(error, aiosmtplib.SMTPResponseException):
        return None
    return parse(error.code, error.message)


def parse(code: int, message: str) -> Refusal:
    """Return the refusal of an answer. An enhanced status of another class is not believed."""
    found = ENHANCED_STATUS.match(message.strip())
    if found is not None and int(found[1]) == code // 100:
        return Refusal(".".join(str(int(part)) for part in found.groups()))
    return Refusal(str(code))


def parse_status(status: str) -> Refusal | None:
    """Return the refusal of an enhanced status alone, as a mail server reports it; else None."""
    found = ENHANCED_STATUS.fullmatch(status.strip())
    return None if found is None else Refusal(".".join(str(int(n)) for n in found.groups()))


async def record(session: AsyncSession, mail_id: str, refusal: Refusal, *, now: datetime) -> None:
    """Record a refusal, and raise an alert where a person should look."""
    row = insert(MailRefusal).values(
        mail_hash=_hashed(mail_id), status=refusal.status, first_at=now, last_at=now
    )
    first_at = await session.scalar(
        row.on_conflict_do_update(
            index_elements=["mail_hash"], set_={"status": refusal.status, "last_at": now}
        ).returning(MailRefusal.first_at)
    )
    is_alert = refusal.is_about_us or (first_at is not None and now - first_at >= REFUSED_FOR)
    if not is_alert and not refusal.is_no_mailbox:
        is_alert = await _count(session, MailRefusal.status == refusal.status) >= REFUSED_ALIKE
    if is_alert:
        await _raise_alert(session, refusal, now=now)


async def record_report(session: AsyncSession, refusal: Refusal, *, now: datetime) -> None:
    """Record a refusal about us that a mail server reports of a mail it had accepted, and raise an
    alert. Which mail is not said: it stays until none like it was reported for `RETENTION`.
    """
    await record(session, f"report:{refusal.status}", refusal, now=now)


async def _raise_alert(session: AsyncSession, refusal: Refusal, *, now: datetime) -> None:
    """Have a person look at refusals of one status."""
    await alerts.raise_alert(session, AlertKind.MAIL_REFUSED, object_id=refusal.status, now=now)


async def record_missing_mailbox(
    session: AsyncSession, mail_id: str, refusal: Refusal, *, now: datetime
) -> bool:
    """Record that a mailbox is said not to exist. Returns whether that is believed: not where so
    many are that it is the server, about which an alert is raised. Then those before are not
    believed any more either, and may be written to.
    """
    await record(session, mail_id, refusal, now=now)
    missing = await _count(
        session,
        MailRefusal.status.in_(NO_MAILBOX_STATUSES),
        MailRefusal.last_at > now - MISSING_WITHIN,
    )
    if missing < MISSING_MAILBOXES:
        return True
    await session.execute(_UNMUTE_SQL, {"since": now - MISSING_WITHIN})
    await _raise_alert(session, refusal, now=now)
    return False


async def record_acceptance(session: AsyncSession, mail_id: str, *, now: datetime) -> None:
    """Forget the refusals of a mail that is accepted, and close alerts that nothing is left of.

    A server that accepts a mail does not refuse everybody: mailboxes it missed are believed.
    """
    await session.execute(
        delete(MailRefusal).where(
            or_(
                MailRefusal.mail_hash == _hashed(mail_id),
                MailRefusal.status.in_(NO_MAILBOX_STATUSES),
                MailRefusal.last_at < now - RETENTION,
            )
        )
    )
    opened = await alerts.open_object_ids(session, AlertKind.MAIL_REFUSED)
    if not opened:
        return
    left = set(await session.scalars(select(MailRefusal.status).distinct()))
    over = sorted(opened - left)
    await alerts.close_all(session, AlertKind.MAIL_REFUSED, object_ids=over, now=now)


async def purge(session: AsyncSession, now: datetime) -> None:
    """Delete refusals of mails that were given up. Their alerts stay open until one is accepted."""
    await session.execute(delete(MailRefusal).where(MailRefusal.last_at < now - RETENTION))


async def _count(session: AsyncSession, *conditions: object) -> int:
    query = select(func.count()).select_from(MailRefusal).where(*conditions)  # type: ignore[arg-type]
    return int(await session.scalar(query) or 0)


def _hashed(mail_id: str) -> str:
    return hashlib.sha256(mail_id.encode()).hexdigest()
