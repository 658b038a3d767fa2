"""Donor attribution: whose a contribution is, attached once, detached, or cut off for good.

Attaching a donor and anonymising a contribution exclude each other by one advisory lock of the
contribution. A protected contribution never has a donor again.
"""

from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from payments.giving import erased_contributions
from payments.giving.contributions import Contribution


async def lock_and_check_protected(session: AsyncSession, contribution_id: str) -> bool:
    """Whether no donor may be attached to a contribution. The answer holds until the transaction
    ends: an anonymisation under way is waited for, and none begins.
    """
    await erased_contributions.lock(session, contribution_id)
    query = select(Contribution.protected).where(Contribution.id == contribution_id)
    return bool(await session.scalar(query))


async def attach_donor(session: AsyncSession, contribution_id: str, donor_id: str) -> None:
    """Note whose contribution it is, unless it has a donor or is protected."""
    await session.execute(
        update(Contribution)
        .where(
            Contribution.id == contribution_id,
            Contribution.donor_id.is_(None),
            Contribution.protected.is_(False),
        )
        .values(donor_id=donor_id)
    )


async def protect(session: AsyncSession, contribution_id: str, *, now: datetime) -> None:
    """Cut a contribution from whoever gave it, for good, and never give it a donor again. Only what
    the books need is left.
    """
    row = await session.get_one(
        Contribution, contribution_id, with_for_update=True, populate_existing=True
    )
    row.protected, row.campaign, row.variant = True, None, None
    await session.flush()
    await erased_contributions.erase(session, [contribution_id], now=now)
