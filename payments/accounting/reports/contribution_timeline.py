"""The story of one gift: what was decided, what Stripe told, what was posted and what was mailed,
in the order it happened. Nothing in it says who gave.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from payments.core.errors import NotFound

MAX_EVENTS = 500


@dataclass(frozen=True, slots=True)
class ContributionSummary:
    """What a contribution is, without its donor."""

    id: str
    created_at: datetime
    frequency: str
    amount: int
    currency: str
    status: str
    campaign: str | None
    stripe_subscription_id: str | None
    subscription_status: str | None  # the promise's status


@dataclass(frozen=True, slots=True)
class TimelineEvent:
    """One thing that happened. `kind`: decision, charge, posting, event or mail."""

    at: datetime
    kind: str
    description: str
    detail: str  # an id or two accounts
    amount: int | None
    currency: str | None


_CONTRIBUTION = text(
    """
    SELECT n.id, n.created_at, n.frequency, n.amount, n.currency, n.status, n.campaign,
           s.stripe_subscription_id, s.status
      FROM contributions n
      LEFT JOIN subscriptions s ON s.contribution_id = n.id
     WHERE n.id = :id
     ORDER BY s.ended_at DESC NULLS FIRST, s.started_at DESC
     LIMIT 1
    """
)
_TIMELINE = text(
    """
    WITH promises AS (
        SELECT stripe_subscription_id AS id FROM subscriptions WHERE contribution_id = :id),
    intents AS (
        SELECT stripe_payment_intent_id AS id FROM payment_intent_links
         WHERE contribution_id = :id),
    paid AS (SELECT c.* FROM charges c JOIN intents ON intents.id = c.stripe_payment_intent_id),
    objects AS (
        SELECT id FROM promises UNION SELECT id FROM intents
         UNION SELECT stripe_charge_id FROM paid
         UNION SELECT stripe_session_id FROM contributions WHERE id = :id),
    story AS (
        SELECT created_at AS at, 1 AS place, 'decision' AS kind, 'started' AS what, '' AS detail,
               amount, currency FROM contributions WHERE id = :id
         UNION ALL
        SELECT coalesce(done_at, decided_at), 2, 'decision',
               kind || ', actor ' || "by" || CASE WHEN done_at IS NULL THEN ', not done' ELSE '' END,
               subscription_id, NULL, NULL
          FROM subscription_changes JOIN promises ON promises.id = subscription_id
         UNION ALL
        SELECT charged_at, 3, 'charge', status, stripe_charge_id, amount, currency FROM paid
         UNION ALL
        SELECT occurred_at, 4, 'posting', credit || ' → ' || debit, balance_transaction, amount,
               currency FROM ledger_entries WHERE contribution_id = :id
         UNION ALL
        SELECT created, 5, 'event', type, v.id, NULL, NULL
          FROM stripe_events v JOIN objects ON objects.id = v.object_id
         UNION ALL
        SELECT coalesce(sent_at, created_at), 6, 'mail', kind || ', ' || status, '', NULL, NULL
          FROM outbox_mails JOIN promises ON promises.id = subscription_id)
    SELECT at, kind, what, detail, amount, currency FROM story
     ORDER BY at, place, detail, what
     LIMIT 501
    """
)


async def get(
    session: AsyncSession, contribution_id: str
) -> tuple[ContributionSummary, Sequence[TimelineEvent]]:
    """A gift and what happened to it, oldest first. Raises NotFound."""
    row = (await session.execute(_CONTRIBUTION, {"id": contribution_id})).one_or_none()
    if row is None:
        raise NotFound("There is no contribution with this id.")
    story = await session.execute(_TIMELINE, {"id": contribution_id})
    return ContributionSummary(*row), [TimelineEvent(*moment) for moment in story]
