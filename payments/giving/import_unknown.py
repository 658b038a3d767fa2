"""Imports: a payment at Stripe without a row here becomes a contribution, and an alert is raised.

A payment link, the dashboard or a restored backup can cause that. Nothing paid is ever dropped: it
is a contribution like any other, with origin `imported`.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from payments.core.frequency import Interval
from payments.core.identifiers import is_row_id
from payments.giving import interval_columns
from payments.giving.contributions import (
    OUTCOME_PENDING,
    Contribution,
    ContributionOrigin,
    ContributionStatus,
)
from payments.infra import alerts, stripe_account
from payments.infra.alerts import AlertKind


@dataclass(frozen=True, slots=True)
class ImportedTerms:
    """What is given: minor units, None where the amount varies; an interval, None for once."""

    amount: int | None
    currency: str
    interval: Interval | None


async def import_from_stripe(
    session: AsyncSession,
    root_object_id: str,
    *,
    claimed_id: str | None,
    terms: ImportedTerms,
    given_at: datetime,
    now: datetime,
    status: ContributionStatus = ContributionStatus.PAID,
) -> str:
    """Insert a contribution for a payment without one, and raise an alert. Returns its id.

    `given_at` is when it was given, from which its row is dated. None is raised about what the
    account has from before it was bound: that is its history.
    `root_object_id` is the subscription or, for a single contribution, the payment intent.
    `claimed_id` is the contribution's id in Stripe's metadata, if any. The new id is the claimed
    one, or follows from the root, so the same row is made whichever object is fetched first.
    """
    contribution_id = (
        claimed_id
        if claimed_id is not None and is_row_id(claimed_id)
        else hashlib.sha256(root_object_id.encode()).hexdigest()[:32]
    )
    inserted_id = await session.scalar(
        insert(Contribution)
        .values(
            id=contribution_id,
            created_at=given_at,
            **interval_columns.column_values(terms.interval),
            amount=terms.amount,
            currency=terms.currency,
            status=status,
            outcome_known_at=None if status in OUTCOME_PENDING else given_at,
            origin=ContributionOrigin.IMPORTED,
        )
        .on_conflict_do_nothing()
        .returning(Contribution.id)
    )
    if inserted_id is not None and not await stripe_account.is_history(session, given_at):
        await alerts.raise_alert(session, AlertKind.IMPORTED, object_id=contribution_id, now=now)
    return contribution_id
