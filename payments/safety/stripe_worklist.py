"""The worklist at Stripe: what an operator deletes or has redacted there, before the numbers by
which it is found are destroyed here.

The pinned version of Stripe's API has no redaction. A customer can be deleted in the dashboard;
payments, and the sessions of guests, are redacted by Stripe on request.
"""

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

DELETE, REDACT = "delete", "redact"
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
            SELECT stripe_payment_intent_id FROM charges) every
     WHERE id ~ '^(cus|cs|pi)_'
     ORDER BY id
""")


@dataclass(frozen=True, slots=True)
class WorklistItem:
    """One object of Stripe's that names a person, and what is to be done with it there."""

    action: str
    object_id: str


async def list_items(session: AsyncSession) -> list[WorklistItem]:
    """Return all that Stripe holds of persons and that is known by its number here."""
    ids = await session.scalars(_WORKLIST_SQL)
    return [WorklistItem(DELETE if id_.startswith("cus_") else REDACT, id_) for id_ in ids]
