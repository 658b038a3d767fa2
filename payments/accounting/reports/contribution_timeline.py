"""The contribution timeline: what was decided, charged, posted, received from Stripe and mailed.

In the order it happened. Nothing in it says who gave.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from payments.core.errors import NotFound

MAX_EVENTS = 500  # on a page


@dataclass(frozen=True, slots=True)
class ContributionSummary:
    """What a contribution is, without its donor. `amount` is in minor units."""

    id: str
    created_at: datetime
    interval_unit: str | None  # None for once
    interval_count: int | None
    amount: int | None  # None where it varies
    currency: str
    status: str
    campaign: str | None
    subscription_status: str | None


@dataclass(frozen=True, slots=True)
class TimelineEvent:
    """One thing that happened. `kind`: decision, charge, posting, event or mail."""

    at: datetime
    kind: str
    description: str
    detail: str  # an id, or empty
    amount: int | None
    currency: str | None


_CONTRIBUTION = text(
    """
    SELECT contribution.id, contribution.created_at, contribution.interval_unit,
           contribution.interval_count, contribution.amount, contribution.currency,
           contribution.status, contribution.campaign,
           s.status
      FROM contributions contribution
      LEFT JOIN subscriptions s ON s.contribution_id = contribution.id
     WHERE contribution.id = :id
     ORDER BY s.ended_at DESC NULLS FIRST, s.started_at DESC
     LIMIT 1
    """
)
# `place` is the order of events that happened at the same moment.
_TIMELINE = text(
    """
    WITH its_subscriptions AS (
        SELECT stripe_subscription_id AS id FROM subscriptions WHERE contribution_id = :id
    ),
    its_payment_intents AS (
        SELECT stripe_payment_intent_id AS id
          FROM payment_intent_links
         WHERE contribution_id = :id
    ),
    its_charges AS (
        SELECT charges.*
          FROM charges
          JOIN its_payment_intents ON its_payment_intents.id = charges.stripe_payment_intent_id
    ),
    timeline AS (
        SELECT created_at AS at, 1 AS place, 'decision' AS kind, 'started' AS description,
               '' AS detail, amount, currency
          FROM contributions
         WHERE id = :id
         UNION ALL
        SELECT coalesce(done_at, decided_at), 2, 'decision',
               kind || ', by ' || actor || CASE WHEN done_at IS NULL THEN ', not done' ELSE '' END,
               '', NULL, NULL
          FROM subscription_changes
          JOIN its_subscriptions ON its_subscriptions.id = subscription_id
         UNION ALL
        SELECT charged_at, 3, 'charge', status, stripe_charge_id, amount, currency
          FROM its_charges
         UNION ALL
        SELECT occurred_at, 4, 'posting',
               credit || ' → ' || debit || coalesce(', late: counted on ' || booked_on, ''),
               balance_transaction, amount, currency
          FROM booked_entries
         WHERE contribution_id = :id
         UNION ALL
        SELECT created, 5, 'event', type, stripe_events.id, NULL, NULL
          FROM stripe_events
          JOIN its_charges ON its_charges.stripe_charge_id = object_id
         UNION ALL
        SELECT coalesce(sent_at, created_at), 6, 'mail', kind || ', ' || status, '', NULL, NULL
          FROM outbox_mails
          JOIN its_subscriptions ON its_subscriptions.id = subscription_id
    )
    SELECT at, kind, description, detail, amount, currency
      FROM timeline
     ORDER BY at, place, detail, description
     LIMIT :limit
    OFFSET :offset
    """
)


async def get(
    session: AsyncSession, contribution_id: str, *, offset: int = 0, size: int = MAX_EVENTS
) -> tuple[ContributionSummary, Sequence[TimelineEvent], int | None]:
    """Return a contribution and a page of what happened to it, oldest first: what is after so many
    events, and after how many the next page begins. Raises NotFound.
    """
    row = (await session.execute(_CONTRIBUTION, {"id": contribution_id})).one_or_none()
    if row is None:
        raise NotFound("There is no contribution with this id.")
    params = {"id": contribution_id, "offset": offset, "limit": size + 1}
    events = [TimelineEvent(*event) for event in await session.execute(_TIMELINE, params)]
    more = offset + size if len(events) > size else None
    return ContributionSummary(*row), events[:size], more
