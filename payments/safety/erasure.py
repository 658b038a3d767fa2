"""Erasure of donors: what says who gave is deleted, what was given stays.

One sequence for a donor who asks, for one whose only contribution was quarantined, and for those
whose retention is over. Contributions, subscriptions and the books stay, without a donor and
without Stripe's numbers that lead to one; what Stripe holds of a donor is not touched.
"""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from payments.core.settings import Settings
from payments.donors import donors, sign_in
from payments.giving import erased_contributions
from payments.safety import stripe_worklist
from payments.signups import reminders


async def erase_donors(session: AsyncSession, donor_ids: Sequence[str], *, now: datetime) -> None:
    """Erase what donors gave but for the books, and delete them, their customers, links, sessions.

    Support cases about them are deleted by cascade. Their reminders have a retention of their own,
    and stay.
    """
    customer_ids = [id_ for one in donor_ids for id_ in await donors.customers_of(session, one)]
    contribution_ids = await erased_contributions.ids_of_donors(session, donor_ids)
    await erased_contributions.erase(session, contribution_ids, now=now)
    await erased_contributions.forget(session, customer_ids)
    await sign_in.delete_links(session, donor_ids)
    await donors.delete_donors(session, donor_ids)


async def erase_with_reminders(
    session: AsyncSession, settings: Settings, donor_id: str, *, now: datetime, keep_hash: bool
) -> None:
    """Erase one donor, whom `donors.lock` locked, and cancel their reminders.

    What Stripe holds of them is listed for an operator, for a few days.

    With `keep_hash` the hash of their address is stored for a while, so that late events of Stripe
    do not create them anew.
    """
    await reminders.cancel_for_donor(session, settings, donor_id, now=now)
    await stripe_worklist.note_donor(session, donor_id, now=now)
    if keep_hash:
        await donors.record_erasure(session, donor_id, now=now)
    await erase_donors(session, [donor_id], now=now)
