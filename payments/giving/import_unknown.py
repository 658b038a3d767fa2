"""Adoption: what Stripe has and we hold no row for is taken in, and a person is called.

A payment link, the dashboard or a restored backup can do that. Nothing paid is ever dropped: it
becomes a contribution like any other, and says that it was adopted.
"""

import hashlib
from datetime import datetime

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from payments.core.frequency import Frequency
from payments.core.identifiers import is_row_id
from payments.core.money import Money
from payments.giving.contributions import (
    OUTCOME_PENDING,
    Contribution,
    ContributionOrigin,
    ContributionStatus,
)
from payments.infra import alerts
from payments.infra.alerts import AlertKind


async def import_from_stripe(
    session: AsyncSession,
    root_object_id: str,
    *,
    claimed_id: str | None,
    money: Money,
    frequency: Frequency,
    now: datetime,
    status: ContributionStatus = ContributionStatus.PAID,
) -> str:
    """Take in what Stripe has and we have no row for, and call a person. Gives the contribution's
    id.

    `root` is the subscription or, for a single gift, the payment intent. The id is the one Stripe
    was once given by us, or follows from the root, so whichever object comes first the same row is
    made.
    """
    adopted_id = (
        claimed_id
        if claimed_id is not None and is_row_id(claimed_id)
        else hashlib.sha256(root_object_id.encode()).hexdigest()[:32]
    )
    made = await session.scalar(
        insert(Contribution)
        .values(
            id=adopted_id,
            created_at=now,
            frequency=frequency,
            amount=money.amount,
            currency=money.currency,
            status=status,
            outcome_known_at=None if status in OUTCOME_PENDING else now,
            origin=ContributionOrigin.IMPORTED,
        )
        .on_conflict_do_nothing()
        .returning(Contribution.id)
    )
    if made is not None:
        await alerts.raise_alert(session, AlertKind.IMPORTED, object_id=adopted_id, now=now)
    return adopted_id
