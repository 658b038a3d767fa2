"""The monthly mail of the contribution report: figures only, to colleagues who asked for it.

A row is a colleague and the address they typed, sealed under the secret keys: the database alone
does not give it away. From the third day of a month on, whoever asked for it is sent the report of
the month before, once: the mail is claimed after the server has taken the recipient and before it
has the text, so that two workers send one. A worker that was dead for days sends it late; what is a
month late is not sent. A month that is not closed says that it is provisional. Like every mail it
names no newsroom, and no line of it is about a person. Whoever may no longer read the books is
forgotten.
"""

import base64
from datetime import date, datetime
from typing import Final

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from sqlalchemy import ForeignKey, delete, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.accounting import contribution_report
from payments.accounting.contribution_report import ContributionReport, CurrencyReport
from payments.accounting.reports.period import Period, month_period
from payments.core import i18n, money
from payments.core.calendar import local_date, months_before
from payments.core.money import Money
from payments.core.settings import Settings
from payments.infra import audit_log, db, isolation, retries, signing
from payments.infra.audit_log import AuditAction
from payments.infra.context import Context
from payments.mail import delivery, render, smtp
from payments.mail.delivery import Claim
from payments.mail.render import RenderedMail
from payments.mail.smtp import Envelope, SendResult
from payments.signups.address_vault import validated_email
from payments.staff.accounts import Role, Staff

SEND_DAY = 3  # of a month, in the accounting zone
SEAL_PURPOSE: Final = "report-mail"
SCHEDULE: Final = "send_monthly_reports"
REPORT_ROLES = (Role.FINANCE, Role.ADMIN)


class ReportRecipient(db.Base):
    """A colleague who is sent the monthly report. `sent_month` is the newest that is done with."""

    __tablename__ = "report_recipients"

    staff_id: Mapped[db.Id] = mapped_column(
        ForeignKey("staff.id", ondelete="CASCADE"), primary_key=True
    )
    address_sealed: Mapped[bytes]
    asked_at: Mapped[db.Timestamp]
    sent_month: Mapped[date]  # its first day


# --- asking for it --------------------------------------------------------------------------------


async def subscribe(ctx: Context, session: AsyncSession, staff: Staff, address: str) -> None:
    """Send the report to a colleague from the next month on. Raises InvalidField."""
    sealed = _fernet(ctx.settings).encrypt(validated_email(address).encode())
    today = local_date(ctx.now(), ctx.settings.accounting_zone)
    changing = {"address_sealed": sealed, "asked_at": ctx.now()}
    await session.execute(
        insert(ReportRecipient)
        .values(staff_id=staff.id, sent_month=months_before(today, 1), **changing)
        .on_conflict_do_update(index_elements=["staff_id"], set_=changing)
    )


async def unsubscribe(session: AsyncSession, staff_id: str) -> None:
    """Send a colleague no report any more, and forget the address."""
    await session.execute(delete(ReportRecipient).where(ReportRecipient.staff_id == staff_id))


async def address_of(ctx: Context, session: AsyncSession, staff_id: str) -> str | None:
    """Return where a colleague's report goes; None where they did not ask for it."""
    row = await session.get(ReportRecipient, staff_id)
    return None if row is None else _unsealed(ctx.settings, row)


def _unsealed(settings: Settings, row: ReportRecipient) -> str | None:
    try:
        return _fernet(settings).decrypt(row.address_sealed).decode()
    except InvalidToken:
        return None


def _fernet(settings: Settings) -> MultiFernet:
    keys = signing.hmac_digests(settings.hmac_keys, SEAL_PURPOSE, "")
    return MultiFernet([Fernet(base64.urlsafe_b64encode(key)) for key in keys])


# --- sending it -----------------------------------------------------------------------------------


async def send_due(ctx: Context) -> int:
    """Send last month's report to whoever was not sent it yet. Returns how many were tried."""
    today = local_date(ctx.now(), ctx.settings.accounting_zone)
    month = months_before(today, 1)
    async with ctx.sessions.begin() as session:
        await _forget_former_readers(session, now=ctx.now())
        due = list(
            await session.scalars(
                select(ReportRecipient.staff_id)
                .where(ReportRecipient.sent_month < month)
                .order_by(ReportRecipient.staff_id)
            )
        )
    if not due or today.day < SEND_DAY or not smtp.is_configured(ctx.settings):
        return 0
    async with ctx.sessions() as session:
        report = await contribution_report.build(
            session, ctx.settings.accounting_zoneinfo, month_period(month)
        )
    mail = compose(ctx, report)

    async def send(staff_id: str) -> None:
        await _send(ctx, staff_id, month, mail)

    return await isolation.for_each(ctx, due, send, job=retries.schedule_job(SCHEDULE))


async def _forget_former_readers(session: AsyncSession, *, now: datetime) -> None:
    """Delete the rows of those who were removed, whose access has ended or who have another role.

    Nobody is missed: it runs every hour, over the few colleagues there are.
    """
    staff = await session.scalars(select(Staff).join(ReportRecipient).order_by(Staff.id))
    former = [one.id for one in staff if not (one.has_access(now) and one.role in REPORT_ROLES)]
    await session.execute(delete(ReportRecipient).where(ReportRecipient.staff_id.in_(former)))


async def _send(ctx: Context, staff_id: str, month: date, mail: RenderedMail) -> None:
    async with ctx.sessions() as session:
        row = await session.get(ReportRecipient, staff_id)
        address = None if row is None else _unsealed(ctx.settings, row)
    if row is None or address is None or row.sent_month >= month:
        return  # it was ended, cannot be read, or was sent since the list was made
    before = row.sent_month
    envelope = Envelope(
        f"report.{month:%Y-%m}.{staff_id}", address, i18n.DEFAULT_LOCALE, written_at=ctx.now()
    )

    async def mark(expected: date, new: date) -> bool:
        async with ctx.sessions.begin() as session:
            claimed = await session.scalar(
                update(ReportRecipient)
                .where(ReportRecipient.staff_id == staff_id, ReportRecipient.sent_month == expected)
                .values(sent_month=new)
                .returning(ReportRecipient.staff_id)
            )
        return claimed is not None

    async def take() -> bool:
        return await mark(before, month)

    async def give_back() -> None:
        await mark(month, before)

    result = await delivery.send_at_most_once(ctx, mail, envelope, Claim(take, give_back))
    if result is SendResult.NOT_CLAIMED:
        return
    async with ctx.sessions.begin() as session:
        is_sent = result is SendResult.ACCEPTED
        if not is_sent:
            await unsubscribe(session, staff_id)
        staff = await session.get_one(Staff, staff_id)
        await audit_log.record(
            session,
            AuditAction.REPORT_MAILED if is_sent else AuditAction.REPORT_MAIL_STOPPED,
            staff_id=staff_id,
            name=staff.name,
            object_id=f"{month:%Y-%m}",
            reason="" if is_sent else "there is no such mailbox",
            now=ctx.now(),
        )


# --- what it says ---------------------------------------------------------------------------------


def compose(ctx: Context, report: ContributionReport) -> RenderedMail:
    """Return the mail of a report: figures, whether they are final, and the page's address."""
    state = "provisional" if report.is_provisional else "final"
    month = Period(report.since, report.until)
    explained = (
        "Provisional: the month is not closed, so its figures may still change."
        if report.is_provisional
        else "Final: the month is closed, so its figures do not change."
    )
    parts = [f"Figures of {month.words}, by the books in {report.zone}. {explained}"]
    parts += [_figures(one) for one in report.currencies] or ["No money moved."]
    url = f"{ctx.settings.base_url}/finance/report?period={month.label}"
    parts += [
        f"Every figure with its meaning, and a PDF:\n{url}",
        "You asked for this mail on that page, and can end it there.",
    ]
    subject = f"Monthly report, {month.words}: {state}"
    return render.render_text(subject, "\n\n".join(parts), i18n.DEFAULT_LOCALE)


def _figures(one: CurrencyReport) -> str:
    total, balance = one.total, one.balance
    amounts = [
        ("Gross", total.gross),
        ("Fees", -total.fees),
        ("Refunds", -total.refunds),
        ("Disputes", -total.disputes),
        ("Net", total.net),
        ("Net, the same month a year earlier", one.last_year.net),
        ("Balance at Stripe, opening", balance.opening),
        ("Balance at Stripe, closing", balance.closing),
        ("Paid out to the bank", one.counts.payouts_amount),
    ]
    lines = [f"| {one.currency.upper()}: payments | {total.payments}"]
    lines += [
        f"| {label} | {money.format(Money(amount, one.currency)).replace('-', money.MINUS)}"
        for label, amount in amounts
    ]
    return "\n".join(lines)
