"""Donor attribution: whose a contribution is, attached once, detached, or cut off for good.

Attaching a donor and anonymising a contribution exclude each other by one advisory lock of the
contribution. A protected contribution never has a donor again.
"""

from collections.abc import Sequence

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from payments.core import i18n
from payments.giving.contributions import Contribution
from payments.infra import db


async def lock(session: AsyncSession, contribution_id: str) -> None:
    """Let nobody else attach a donor to a contribution, or cut one off, until this transaction
    ends.
    """
    await db.advisory_lock(session, contribution_id)


async def lock_and_check_protected(session: AsyncSession, contribution_id: str) -> bool:
    """Whether no donor may be attached to a contribution. The answer holds until the transaction
    ends: an anonymisation under way is waited for, and none begins.
    """
    await lock(session, contribution_id)
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


async def detach_donors(session: AsyncSession, donor_ids: Sequence[str]) -> None:
    """Detach donors from every contribution of theirs. The contributions stay."""
    await session.execute(
        update(Contribution).where(Contribution.donor_id.in_(donor_ids)).values(donor_id=None)
    )


async def anonymise(session: AsyncSession, contribution_id: str) -> None:
    """Cut a contribution from whoever gave it, for good. Only what the books need is left."""
    row = await session.get_one(
        Contribution, contribution_id, with_for_update=True, populate_existing=True
    )
    row.protected, row.donor_id, row.language = True, None, i18n.DEFAULT_LOCALE
    row.campaign, row.variant = None, None
    row.idempotency_key_hash, row.request_digest, row.checkout_session_params = None, None, None
    row.checkout_url, row.stripe_session_id = None, None
    await session.flush()
