"""Imports: a payment at Stripe without a row here becomes a contribution, and an alert is raised.

A payment link, the dashboard or a restored backup can cause that. Nothing paid is ever dropped: it
is a contribution like any other, with origin `imported`.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from payments.core.frequency import Interval
from payments.core.identifiers import is_row_id
from payments.core.settings import Settings
from payments.giving import erased_contributions, interval_columns
from payments.giving.contributions import (
    OUTCOME_PENDING,
    Contribution,
    ContributionOrigin,
    ContributionStatus,
)
from payments.infra import alerts, signing, stripe_account
from payments.infra.alerts import AlertKind

HMAC_PURPOSE = "imported"


@dataclass(frozen=True, slots=True)
class ImportedTerms:
    """What is given: minor units, None where the amount varies; an interval, None for once."""

    amount: int | None
    currency: str
    interval: Interval | None


def _ids(settings: Settings, root_object_id: str) -> list[str]:
    """Return the ids that the contribution of a payment may have, the newest key's first.

    They are keyed, so that nobody finds a payment by its contribution.
    """
    digests = signing.hmac_digests(settings.hmac_keys, HMAC_PURPOSE, root_object_id)
    return [digest.hex()[:32] for digest in digests]


async def _find(session: AsyncSession, settings: Settings, root_object_id: str) -> str | None:
    query = select(Contribution.id).where(Contribution.id.in_(_ids(settings, root_object_id)))
    found: str | None = await session.scalar(query.limit(1))
    return found


async def find_erased(
    session: AsyncSession, settings: Settings, root_object_id: str | None, claimed_id: str | None
) -> str | None:
    """Return the erased contribution of what has no row, because Stripe's ids of it are gone.

    It is the one that was imported for the root, or the one that the metadata claims.
    """
    imported_id = None
    if root_object_id is not None:
        imported_id = await _find(session, settings, root_object_id)
    for one in (imported_id, claimed_id):
        if await erased_contributions.is_erased(session, one):
            return one
    return None


async def import_from_stripe(
    session: AsyncSession,
    settings: Settings,
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
        else await _find(session, settings, root_object_id) or _ids(settings, root_object_id)[0]
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
    if inserted_id is None:  # one that was dropped is taken in again
        await session.execute(
            update(Contribution).where(Contribution.id == contribution_id).values(dropped=False)
        )
    elif not await stripe_account.is_history(session, given_at):
        await alerts.raise_alert(session, AlertKind.IMPORTED, object_id=contribution_id, now=now)
    return contribution_id
