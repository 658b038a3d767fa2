"""Adoption: what Stripe has and we hold no row for is taken in, and a person is called.

A payment link, the dashboard or a restored backup can do that. Nothing paid is ever dropped: it
becomes a contribution like any other, and says that it was adopted.
"""

import hashlib
from datetime import datetime

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from payments.core.money import Money
from payments.giving.checkout_session import Frequency
from payments.giving.contributions import OUR_ID, UNSETTLED, Contribution, Origin, Status
from payments.infra import alerts
from payments.infra.alerts import AlarmKind


async def adopt(
    session: AsyncSession,
    root: str,
    *,
    claimed_id: str | None,
    money: Money,
    frequency: Frequency,
    now: datetime,
    status: Status = Status.PAID,
) -> str:
    """Take in what Stripe has and we have no row for, and call a person. Gives the contribution's
    id.

    `root` is the subscription or, for a single gift, the payment intent. The id is the one Stripe
    was once given by us, or follows from the root, so whichever object comes first the same row is
    made.
    """
    adopted_id = (
        claimed_id
        if claimed_id is not None and OUR_ID.fullmatch(claimed_id)
        else hashlib.sha256(root.encode()).hexdigest()[:32]
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
            settled_at=None if status in UNSETTLED else now,
            origin=Origin.ADOPTED,
        )
        .on_conflict_do_nothing()
        .returning(Contribution.id)
    )
    if made is not None:
        await alerts.sound(session, AlarmKind.ADOPTED, subject=adopted_id, now=now)
    return adopted_id
