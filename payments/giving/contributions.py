"""Contributions: what a reader decided to give, once or every month or year.

`contribution_start` writes the row and opens its Checkout Session. Its outcome comes from that
session (`checkout`) and, where a bank takes days, from its charges (`charges`); never from a return
address. Whose it is stands in `donor_attribution`.
"""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    ColumnElement,
    ForeignKey,
    Index,
    String,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from payments.core import i18n
from payments.core.errors import NotFound
from payments.core.identifiers import is_row_id
from payments.core.money import Money
from payments.giving import interval_columns
from payments.giving.interval_columns import IntervalColumns
from payments.infra import db


class ContributionStatus(StrEnum):
    """What became of a contribution."""

    STARTED = "started"  # our row exists; Stripe may not know it yet
    OPEN = "open"  # the reader is at Checkout
    PROCESSING = "processing"  # a bank has yet to confirm
    TRIAL = "trial"  # begun at Stripe: nothing is charged before the trial ends
    PAID = "paid"
    FAILED = "failed"
    EXPIRED = "expired"
    RETURNED = "returned"  # paid, and taken back by the reader's bank later


class ContributionOrigin(StrEnum):
    """Where a contribution's row comes from."""

    READER = "reader"
    IMPORTED = "imported"  # found at Stripe, without a row here


OUTCOME_PENDING = (
    ContributionStatus.STARTED,
    ContributionStatus.OPEN,
    ContributionStatus.PROCESSING,
    ContributionStatus.TRIAL,
)


class Contribution(IntervalColumns, db.Base):
    """One decision to give. `amount` is what the reader saw, in minor units of `currency`."""

    __tablename__ = "contributions"
    __table_args__ = (
        CheckConstraint("amount >= 0", name="amount_is_not_negative"),
        interval_columns.interval_check(),
        db.currency_check(),
        Index("ix_contributions_started", "created_at", postgresql_where="status = 'started'"),
        Index(
            "ix_contributions_variant",
            "campaign",
            "created_at",
            postgresql_where="variant IS NOT NULL",
        ),
    )

    id: Mapped[db.Id] = mapped_column(primary_key=True)
    created_at: Mapped[db.Timestamp] = mapped_column(index=True)
    amount: Mapped[db.MinorUnits | None]  # null for an imported one whose amount varies
    currency: Mapped[db.Currency]
    status: Mapped[ContributionStatus] = mapped_column(
        db.enum_column(ContributionStatus, "status_is_known")
    )
    origin: Mapped[ContributionOrigin] = mapped_column(
        db.enum_column(ContributionOrigin, "origin_is_known")
    )
    campaign: Mapped[str | None] = mapped_column(String(64))
    variant: Mapped[str | None] = mapped_column(String(32))  # of the campaign, drawn at random
    # from which it began: only where the newsroom keeps articles with gifts (PAYMENTS_ARTICLES)
    article: Mapped[str | None] = mapped_column(String(64))
    language: Mapped[str] = mapped_column(String(8), server_default=i18n.DEFAULT_LOCALE)  # of mails
    donor_id: Mapped[db.Id | None] = mapped_column(ForeignKey("donors.id"), index=True)
    # Keyed hash of the caller's network and Idempotency-Key; SHA-256 of what it asked for
    idempotency_key_hash: Mapped[bytes | None] = mapped_column(unique=True)
    request_digest: Mapped[bytes | None]
    # stored until Stripe has answered, so that a repeated call is the same call
    checkout_session_params: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    checkout_url: Mapped[str | None]
    stripe_session_id: Mapped[db.StripeId | None] = mapped_column(unique=True)
    outcome_known_at: Mapped[db.Timestamp | None]  # since when the outcome is known
    # paid from a protected country: no donor is stored, and no mail is sent
    protected: Mapped[bool] = mapped_column(server_default=text("false"))
    # whoever gave was erased: see `erased_contributions`
    erased: Mapped[bool] = mapped_column(server_default=text("false"))
    # a person said that its subscription is no contribution: see `adoption_review`
    dropped: Mapped[bool] = mapped_column(server_default=text("false"))

    @property
    def money(self) -> Money | None:
        """Return the amount with its currency; None where it varies."""
        return None if self.amount is None else Money(self.amount, self.currency)


# --- outcome --------------------------------------------------------------------------------------


async def apply_charge_outcome(
    session: AsyncSession, contribution_id: str, *, still_paid: bool, now: datetime
) -> None:
    """Write the outcome that charges give: paid, after days, or returned by the donor's bank.

    `still_paid` is whether any payment of the contribution has not been returned.
    """
    if not still_paid:
        await set_status(session, contribution_id, ContributionStatus.RETURNED, now=now)
        return
    row = await session.get(Contribution, contribution_id)
    if row is not None and row.status in (
        ContributionStatus.PROCESSING,
        ContributionStatus.TRIAL,
        ContributionStatus.FAILED,
        ContributionStatus.RETURNED,
    ):
        await set_status(session, contribution_id, ContributionStatus.PAID, now=now)


async def mark_paid(session: AsyncSession, contribution_id: str, *, now: datetime) -> None:
    """Write that a first payment came after all. What its bank has taken back stays returned."""
    row = await session.get(Contribution, contribution_id)
    if row is not None and row.status is not ContributionStatus.RETURNED:
        await apply_charge_outcome(session, contribution_id, still_paid=True, now=now)


async def set_status(
    session: AsyncSession, contribution_id: str, status: ContributionStatus, *, now: datetime
) -> None:
    """Write a status, and since when the outcome is known; the same status changes nothing."""
    outcome_known_at = None if status in OUTCOME_PENDING else now
    await session.execute(
        update(Contribution)
        .where(Contribution.id == contribution_id, Contribution.status != status)
        .values(status=status, outcome_known_at=outcome_known_at)
    )


# --- read -----------------------------------------------------------------------------------------


async def list_for_donor(
    session: AsyncSession,
    donor_id: str,
    *conditions: ColumnElement[bool],
    limit: int | None = None,
    offset: int = 0,
) -> list[Contribution]:
    """Return a donor's contributions that meet the conditions, the newest first: all, or a page."""
    query = (
        select(Contribution)
        .where(Contribution.donor_id == donor_id, *conditions)
        .order_by(Contribution.created_at.desc(), Contribution.id)
        .limit(limit)
        .offset(offset)
    )
    return list(await session.scalars(query))


async def get_owned(session: AsyncSession, donor_id: str, contribution_id: str) -> Contribution:
    """Return a donor's own contribution. Raises NotFound, for another's too."""
    row = await get(session, contribution_id)
    if row.donor_id is None or row.donor_id != donor_id:
        raise NotFound("There is no such contribution.")
    return row


async def exists(session: AsyncSession, contribution_id: str | None) -> bool:
    """Whether this is the id of a contribution."""
    return (
        contribution_id is not None and await session.get(Contribution, contribution_id) is not None
    )


async def was_dropped(session: AsyncSession, contribution_id: str | None) -> bool:
    """Whether it is there, and a person said of its subscription that it is no contribution."""
    query = select(Contribution.dropped).where(Contribution.id == contribution_id)
    return bool(await session.scalar(query))


async def get(session: AsyncSession, contribution_id: str) -> Contribution:
    """Return the contribution with this id. Raises NotFound."""
    row = await session.get(Contribution, contribution_id) if is_row_id(contribution_id) else None
    if row is None:
        raise NotFound("There is no such contribution.")
    return row
