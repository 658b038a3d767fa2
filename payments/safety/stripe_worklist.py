"""The worklist at Stripe: what an operator deletes or has redacted there, before the numbers by
which it is found are destroyed here.

The pinned version of Stripe's API has no redaction. A customer can be deleted in the dashboard;
payments, and the sessions of guests, are redacted by Stripe on request.

Before everybody is erased the list is read from what is stored. Of one donor who is erased the
numbers go at once from wherever they lead to a gift, and stand in a table of their own, for seven
days at most, in which an operator works them off.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.infra import alerts, db
from payments.infra.alerts import AlertKind

DELETE, REDACT = "delete", "redact"
RETENTION = timedelta(days=7)  # of the numbers of a donor who was erased
ALERT_OBJECT_ID = "erased-at-stripe"


class ErasedAtStripe(db.Base):
    """An object of Stripe's that names a donor who was erased here."""

    __tablename__ = "erased_at_stripe"

    stripe_object_id: Mapped[db.StripeId] = mapped_column(primary_key=True)
    erased_at: Mapped[db.Timestamp] = mapped_column(index=True)


_WORKLIST_SQL = text("""
    SELECT id
      FROM (SELECT stripe_customer_id AS id FROM donor_customers
             UNION
            SELECT stripe_customer_id FROM subscriptions
             UNION
            SELECT stripe_session_id FROM contributions
             UNION
            SELECT stripe_payment_intent_id FROM payment_intent_links
             UNION
            SELECT stripe_payment_intent_id FROM charges
             UNION
            SELECT stripe_object_id FROM erased_at_stripe) every
     WHERE id ~ '^(cus|cs|pi)_'
     ORDER BY id
""")
_NOTE_DONOR_SQL = text("""
    INSERT INTO erased_at_stripe (stripe_object_id, erased_at)
    SELECT id, :now
      FROM (SELECT stripe_customer_id AS id FROM donor_customers WHERE donor_id = :donor_id
             UNION
            SELECT s.stripe_customer_id
              FROM subscriptions s
              JOIN contributions c ON c.id = s.contribution_id
             WHERE c.donor_id = :donor_id
             UNION
            SELECT stripe_session_id FROM contributions WHERE donor_id = :donor_id
             UNION
            SELECT i.stripe_payment_intent_id
              FROM payment_intent_links i
              JOIN contributions c ON c.id = i.contribution_id
             WHERE c.donor_id = :donor_id) own
     WHERE id ~ '^(cus|cs|pi)_'
        ON CONFLICT DO NOTHING
""")


@dataclass(frozen=True, slots=True)
class WorklistItem:
    """One object of Stripe's that names a person, and what is to be done with it there."""

    action: str
    object_id: str


async def list_items(session: AsyncSession) -> list[WorklistItem]:
    """Return all that Stripe holds of persons and that is known by its number here."""
    return _items(await session.scalars(_WORKLIST_SQL))


async def list_erased(session: AsyncSession) -> list[WorklistItem]:
    """Return what Stripe holds of donors who were erased here."""
    query = select(ErasedAtStripe.stripe_object_id).order_by(ErasedAtStripe.stripe_object_id)
    return _items(await session.scalars(query))


def _items(ids: Iterable[str]) -> list[WorklistItem]:
    return [WorklistItem(DELETE if id_.startswith("cus_") else REDACT, id_) for id_ in ids]


async def note_donor(session: AsyncSession, donor_id: str, *, now: datetime) -> None:
    """List what Stripe holds of a donor who is about to be erased, and raise an alert."""
    await session.flush()
    await session.execute(_NOTE_DONOR_SQL, {"donor_id": donor_id, "now": now})
    if await session.scalar(select(ErasedAtStripe.stripe_object_id).limit(1)) is not None:
        await alerts.raise_alert(
            session, AlertKind.ERASE_AT_STRIPE, object_id=ALERT_OBJECT_ID, now=now
        )


async def forget_erased(session: AsyncSession, object_ids: Iterable[str], *, now: datetime) -> None:
    """Destroy numbers that were worked off."""
    gone = ErasedAtStripe.stripe_object_id.in_(list(object_ids))
    await session.execute(delete(ErasedAtStripe).where(gone))
    await _close_alert_if_empty(session, now)


async def purge_erased(session: AsyncSession, now: datetime) -> None:
    """Destroy numbers that nobody worked off in time."""
    await session.execute(delete(ErasedAtStripe).where(ErasedAtStripe.erased_at < now - RETENTION))
    await _close_alert_if_empty(session, now)


async def _close_alert_if_empty(session: AsyncSession, now: datetime) -> None:
    if await session.scalar(select(ErasedAtStripe.stripe_object_id).limit(1)) is None:
        await alerts.close(session, AlertKind.ERASE_AT_STRIPE, object_id=ALERT_OBJECT_ID, now=now)
