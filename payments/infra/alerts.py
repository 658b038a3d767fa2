"""Alerts: what a person must look at. Nothing odd is dropped, guessed or only logged.

An alert is open or closed, and at most one of a kind is open about one object and, where a job can
do once more what failed, that job: several jobs are about the same object, and the success of one
says nothing of the others. `object_id` is the id of a Stripe object or a row, or the name of a
check; it is never anything about a person.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import ColumnElement, Index, String, and_, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.infra import db


class AlertKind(StrEnum):
    """What an alert is about. MESSAGES says what each means."""

    IMPORTED = "imported"
    ADOPTION_MISMATCH = "adoption_mismatch"
    SUSPENSE = "suspense"
    UNATTRIBUTED = "unattributed"
    INTEGRITY_CHECK_FAILED = "integrity_check_failed"
    RETRIES_EXHAUSTED = "retries_exhausted"
    MAIL_UNDELIVERABLE = "mail_undeliverable"
    MAIL_REFUSED = "mail_refused"
    MISSING_AT_STRIPE = "missing_at_stripe"
    CARD_TESTING = "card_testing"
    CHARGED_AFTER_CANCELLATION = "charged_after_cancellation"
    CHANGE_NOT_MADE = "change_not_made"
    DEBT_LEFT = "debt_left"
    INVOICE_LEFT = "invoice_left"
    ACTIVITY_DURING_STOP = "activity_during_stop"
    STOP_INCOMPLETE = "stop_incomplete"
    CONFIRMATION_LIMIT_REACHED = "confirmation_limit_reached"
    SIGN_IN_LINK_LIMIT_REACHED = "sign_in_link_limit_reached"
    NEWSLETTER_DELIVERY_FAILED = "newsletter_delivery_failed"
    APPROVAL_WAITS = "approval_waits"
    REFUND_FAILED = "refund_failed"
    DISPUTE_OPENED = "dispute_opened"
    EVIDENCE_DUE = "evidence_due"
    DISPUTE_LOST = "dispute_lost"
    FRAUD_WARNING = "fraud_warning"
    PAYOUT_FAILED = "payout_failed"
    WEBHOOK_ENDPOINT_DRIFT = "webhook_endpoint_drift"
    QUARANTINED = "quarantined"
    STATEMENT_DESCRIPTOR = "statement_descriptor"
    PASSKEY_CLONED = "passkey_cloned"
    DONOR_VIEW_LIMIT_REACHED = "donor_view_limit_reached"
    DESCRIPTOR_REVIEW_DUE = "descriptor_review_due"
    STRIPE_UNAVAILABLE = "stripe_unavailable"
    STRIPE_ROUTE_UNAVAILABLE = "stripe_route_unavailable"
    STRIPE_KEY_REFUSED = "stripe_key_refused"
    STRIPE_PERMISSION_MISSING = "stripe_permission_missing"
    WRONG_STRIPE_ACCOUNT = "wrong_stripe_account"
    STRIPE_VALUE_UNKNOWN = "stripe_value_unknown"
    OBJECT_FAILED = "object_failed"
    SCHEDULE_FAILED = "schedule_failed"
    ADDRESS_KEYS_UNREADABLE = "address_keys_unreadable"
    IMPORT_STALLED = "import_stalled"
    WEBHOOKS_MISSING = "webhooks_missing"
    READERS_HIDDEN = "readers_hidden"
    ERASE_AT_STRIPE = "erase_at_stripe"
    EVENT_ENDPOINT_DISABLED = "event_endpoint_disabled"


MESSAGES = {
    AlertKind.CARD_TESTING: "Cards are being tried on our form; it asks for more, and takes less.",
    AlertKind.IMPORTED: "Stripe had a payment or subscription we had no record of; it is imported.",
    AlertKind.ADOPTION_MISMATCH: (
        "Contributions that were imported do not fit PAYMENTS_ADOPT any more. They stay."
    ),
    AlertKind.SUSPENSE: "Money moved in a way the books do not know yet; it waits in suspense.",
    AlertKind.UNATTRIBUTED: "A charge could not be tied to a contribution.",
    AlertKind.INTEGRITY_CHECK_FAILED: "A check of the books failed.",
    AlertKind.CHARGED_AFTER_CANCELLATION: "A subscription that had ended was charged again.",
    AlertKind.CHANGE_NOT_MADE: (
        "Stripe accepted a change and did not make it, or refused what should have been done."
    ),
    AlertKind.ACTIVITY_DURING_STOP: (
        "While an emergency stop stands something was begun, resumed or paid."
    ),
    AlertKind.STOP_INCOMPLETE: "An emergency stop stands, and something can still be charged.",
    AlertKind.DEBT_LEFT: (
        "A donor replaced the card, and Stripe still does not charge the contribution by itself."
    ),
    AlertKind.INVOICE_LEFT: (
        "Stripe did not void or take an open payment as it was asked; it may still be charged."
    ),
    AlertKind.CONFIRMATION_LIMIT_REACHED: (
        "So many unknown addresses asked to be written to in an hour that the others wait."
    ),
    AlertKind.SIGN_IN_LINK_LIMIT_REACHED: ("Very many sign-in links were sent within an hour."),
    AlertKind.NEWSLETTER_DELIVERY_FAILED: (
        "For three days nobody took the addresses of readers who want the newsletter; they wait."
    ),
    AlertKind.APPROVAL_WAITS: "A refund or a correction waits for a second colleague.",
    AlertKind.REFUND_FAILED: "A refund did not reach its donor; the money is with us again.",
    AlertKind.DISPUTE_OPENED: "A donor's bank disputes a payment; Stripe waits for an answer.",
    AlertKind.EVIDENCE_DUE: "A dispute that is not answered within three days is lost.",
    AlertKind.DISPUTE_LOST: "A bank took a gift back for good; its subscription is still charged.",
    AlertKind.FRAUD_WARNING: "A bank warns of fraud; a refund now may prevent a dispute.",
    AlertKind.PAYOUT_FAILED: "A payout did not reach the bank, or came back from it.",
    AlertKind.WEBHOOK_ENDPOINT_DRIFT: (
        "Stripe does not send its webhooks as this service needs them."
    ),
    AlertKind.QUARANTINED: (
        "A payment came from a protected country; its subscription ends and nobody is written to."
    ),
    AlertKind.STATEMENT_DESCRIPTOR: (
        "A bank statement may differ from what readers were shown, or name us: gifts are refused."
    ),
    AlertKind.DESCRIPTOR_REVIEW_DUE: (
        "For a hundred days nobody has compared a bank's statement with what readers are shown."
    ),
    AlertKind.PASSKEY_CLONED: "A colleague's passkey counted backwards; it may have been copied.",
    AlertKind.DONOR_VIEW_LIMIT_REACHED: (
        "A colleague looked at so many donors in an hour that no more are shown."
    ),
    AlertKind.STRIPE_UNAVAILABLE: (
        "Stripe does not answer. The work waits, nothing is lost, and it goes on by itself."
    ),
    AlertKind.STRIPE_ROUTE_UNAVAILABLE: (
        "Stripe does not answer one kind of request. What needs it waits; the rest goes on."
    ),
    AlertKind.STRIPE_KEY_REFUSED: (
        "Stripe does not accept our API key: nobody can give, and no donor can change anything."
    ),
    AlertKind.STRIPE_PERMISSION_MISSING: (
        "Our API key lacks a permission at Stripe. What needs it waits."
    ),
    AlertKind.WRONG_STRIPE_ACCOUNT: (
        "Our API key belongs to another Stripe account or mode: nobody can give, and no donor can "
        "change anything."
    ),
    AlertKind.STRIPE_VALUE_UNKNOWN: (
        "Stripe says something of an object that this version does not know."
    ),
    AlertKind.OBJECT_FAILED: "One object could not be processed. The others were.",
    AlertKind.ADDRESS_KEYS_UNREADABLE: (
        "Addresses of reminders or the newsletter cannot be read here. They wait; nothing is lost."
    ),
    AlertKind.SCHEDULE_FAILED: "Something that runs by schedule failed twice in a row.",
    AlertKind.IMPORT_STALLED: (
        "The balance was not imported for an hour; reports and books are behind."
    ),
    AlertKind.WEBHOOKS_MISSING: (
        "For an hour none of Stripe's webhooks was accepted. We learn of payments by looking."
    ),
    AlertKind.ERASE_AT_STRIPE: "Somebody was erased here; Stripe still holds who they are.",
    AlertKind.READERS_HIDDEN: (
        "A proxy before this service is not trusted: all readers share the limits of one network."
    ),
    AlertKind.EVENT_ENDPOINT_DISABLED: (
        "Another program of ours has not taken our events for three days, or refuses them for "
        "good; nothing is sent to it until a colleague turns it on again."
    ),
    AlertKind.MISSING_AT_STRIPE: "Stripe does not have something that we have.",
    AlertKind.MAIL_UNDELIVERABLE: (
        "A donor was owed a mail about their gift, and it could not be delivered."
    ),
    AlertKind.MAIL_REFUSED: (
        "The mail server refuses mails with this code. They wait and are tried again."
    ),
    AlertKind.RETRIES_EXHAUSTED: (
        "Something at Stripe was not read, or a mail not sent, after many attempts."
    ),
}


# Stripe's objects that lead to a person, by the beginnings of their ids.
PERSONAL_IDS = "^(card|cs|cus|in|pi|pm|seti|src|sub)_"
# A charge is an object of the books. Where it is named here, it says who is in danger.
ABOUT_ENDANGERED = (AlertKind.QUARANTINED, AlertKind.ACTIVITY_DURING_STOP)
ALERT_RETENTION = timedelta(days=730)  # of closed ones
PERSONAL_ALERT_RETENTION = timedelta(days=30)


class Alert(db.Base):
    """One alert. Open until `closed_at` is set.

    `job` is the kind of job, or the schedule, that does once more what failed; null where nothing
    can be done again.
    """

    __tablename__ = "alerts"
    __table_args__ = (
        Index(
            "uq_alerts_open",
            "kind",
            "object_id",
            "job",
            unique=True,
            postgresql_nulls_not_distinct=True,
            postgresql_where="closed_at IS NULL",
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[AlertKind] = mapped_column(db.enum_column(AlertKind, "kind_is_known"))
    object_id: Mapped[str] = mapped_column(String(255))
    job: Mapped[str | None] = mapped_column(String(64))
    opened_at: Mapped[db.Timestamp]
    closed_at: Mapped[db.Timestamp | None]


async def raise_alert(
    session: AsyncSession,
    kind: AlertKind,
    *,
    object_id: str,
    now: datetime,
    job: str | None = None,
) -> None:
    """Open an alert, unless one of this kind is already open about the object and the job."""
    await session.execute(
        insert(Alert)
        .values(kind=kind, object_id=object_id, job=job, opened_at=now)
        .on_conflict_do_nothing()
    )


async def close(session: AsyncSession, kind: AlertKind, *, object_id: str, now: datetime) -> None:
    """Close the open alert about the object, if there is one."""
    await close_all(session, kind, object_ids=[object_id], now=now)


async def close_all(
    session: AsyncSession,
    *kinds: AlertKind,
    object_ids: Sequence[str],
    now: datetime,
    job: str | None = None,
) -> None:
    """Close every open alert of these kinds about these objects, or those of one job alone."""
    closed = (
        update(Alert)
        .where(Alert.kind.in_(kinds), Alert.object_id.in_(object_ids), Alert.closed_at.is_(None))
        .values(closed_at=now)
    )
    await session.execute(closed if job is None else closed.where(Alert.job == job))


async def close_kind(session: AsyncSession, kind: AlertKind, *, now: datetime) -> None:
    """Close every open alert of a kind."""
    await session.execute(
        update(Alert).where(Alert.kind == kind, Alert.closed_at.is_(None)).values(closed_at=now)
    )


async def is_open(session: AsyncSession, kind: AlertKind, *, object_id: str) -> bool:
    """Whether an alert of this kind is open about the object."""
    query = select(Alert.id).where(
        Alert.kind == kind, Alert.object_id == object_id, Alert.closed_at.is_(None)
    )
    return await session.scalar(query) is not None


async def was_raised(session: AsyncSession, kind: AlertKind, *, object_id: str) -> bool:
    """Whether an alert of this kind was ever opened about the object, closed or not."""
    query = select(Alert.id).where(Alert.kind == kind, Alert.object_id == object_id)
    return await session.scalar(query.limit(1)) is not None


async def acknowledge(session: AsyncSession, alert_id: int, *, now: datetime) -> Alert | None:
    """Close an alert that a person has looked at, and return it. None if it is not open."""
    closed: Alert | None = await session.scalar(
        update(Alert)
        .where(Alert.id == alert_id, Alert.closed_at.is_(None))
        .values(closed_at=now)
        .returning(Alert)
    )
    return closed


async def forget(session: AsyncSession, object_ids: Sequence[str]) -> None:
    """Delete every alert about these objects, open or not: whoever they lead to is erased."""
    await session.execute(delete(Alert).where(Alert.object_id.in_(object_ids)))


async def forget_persons(session: AsyncSession) -> None:
    """Delete every alert that leads to a person. Those about the books and the service stay."""
    await session.execute(delete(Alert).where(_leads_to_a_person()))


async def purge(session: AsyncSession, now: datetime) -> None:
    """Delete closed alerts: soon those that lead to a person, and much later the others."""
    is_over = and_(_leads_to_a_person(), Alert.closed_at < now - PERSONAL_ALERT_RETENTION)
    await session.execute(
        delete(Alert).where(or_(is_over, Alert.closed_at < now - ALERT_RETENTION))
    )


def _leads_to_a_person() -> ColumnElement[bool]:
    return or_(Alert.object_id.regexp_match(PERSONAL_IDS), Alert.kind.in_(ABOUT_ENDANGERED))


async def list_open(session: AsyncSession, *, after_id: int = 0, limit: int = 50) -> list[Alert]:
    """Return the open alerts, oldest first, from the one after an id on."""
    query = select(Alert).where(Alert.closed_at.is_(None), Alert.id > after_id)
    return list(await session.scalars(query.order_by(Alert.id).limit(limit)))


async def list_open_of(session: AsyncSession, *kinds: AlertKind) -> list[Alert]:
    """Return the open alerts of these kinds, oldest first."""
    query = select(Alert).where(Alert.kind.in_(kinds), Alert.closed_at.is_(None))
    return list(await session.scalars(query.order_by(Alert.id)))


async def count_open(session: AsyncSession) -> int:
    """Return how many alerts are open."""
    query = select(func.count()).select_from(Alert).where(Alert.closed_at.is_(None))
    return int(await session.scalar(query) or 0)


async def list_about(session: AsyncSession, object_ids: Sequence[str]) -> list[Alert]:
    """Return the open alerts about these objects, oldest first."""
    query = (
        select(Alert)
        .where(Alert.object_id.in_(object_ids), Alert.closed_at.is_(None))
        .order_by(Alert.id)
    )
    return list(await session.scalars(query))


async def get_open(session: AsyncSession, alert_id: int) -> Alert | None:
    """Return an alert, if it is open."""
    query = select(Alert).where(Alert.id == alert_id, Alert.closed_at.is_(None))
    alert: Alert | None = await session.scalar(query)
    return alert


async def open_object_ids(
    session: AsyncSession, kind: AlertKind, *, job: str | None = None
) -> set[str]:
    """Return what the open alerts of a kind, or those of one job alone, are about."""
    query = select(Alert.object_id).where(Alert.kind == kind, Alert.closed_at.is_(None))
    return set(await session.scalars(query if job is None else query.where(Alert.job == job)))
