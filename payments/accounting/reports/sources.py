"""Sources: net by campaign, renewals included: a renewal counts for the campaign that began it.

A campaign that fewer than five contributions paid for is not told apart, and neither is a campaign
whose figures would follow from the total: what is small goes together as "other".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from payments.accounting.reports.period import (
    LATE_ENTRIES_JOIN_SQL,
    Period,
    booked_before,
    booked_from,
)

MIN_GROUP_SIZE = 5
OTHER_CAMPAIGNS = "other"


@dataclass(frozen=True, slots=True)
class CampaignTotal:
    """One campaign in one currency. `campaign` is None for gifts without one."""

    campaign: str | None
    currency: str
    payers: int
    payments: int
    first_payments: int  # gross of first payments
    renewals: int  # gross of later ones
    fees: int
    reversals: int  # refunds and disputes
    is_other: bool = False

    @property
    def net(self) -> int:
        return self.first_payments + self.renewals - self.fees - self.reversals


# What each contribution brought, and then the campaigns: whether the first of its payments was its
# first of all is asked once, not of each of them.
_BY_CAMPAIGN_SQL = """
    WITH brought AS (
        SELECT e.contribution_id, e.currency,
               count(*) FILTER (WHERE e.credit LIKE 'income:%') AS payments,
               min(ARRAY[e.seq, e.amount]) FILTER (WHERE e.credit LIKE 'income:%') AS earliest,
               sum(CASE WHEN e.credit LIKE 'income:%' THEN e.amount
                        WHEN e.debit LIKE 'income:%' THEN -e.amount ELSE 0 END) AS gross,
               sum(CASE WHEN e.debit LIKE 'expense:%' THEN e.amount
                        WHEN e.credit LIKE 'expense:%' THEN -e.amount ELSE 0 END) AS fees,
               sum(CASE WHEN e.debit IN ('refunds', 'disputes') THEN e.amount
                        WHEN e.credit IN ('refunds', 'disputes') THEN -e.amount ELSE 0 END)
                 AS returned
          FROM ledger_entries e {late}
         WHERE e.contribution_id IS NOT NULL AND {where}
         GROUP BY 1, 2),
    told AS (
        SELECT *, CASE WHEN EXISTS (
                   SELECT FROM ledger_entries x
                    WHERE x.contribution_id = brought.contribution_id AND x.seq < earliest[1]
                      AND x.credit LIKE 'income:%')
                  THEN 0 ELSE coalesce(earliest[2], 0) END AS first
          FROM brought)
    SELECT n.campaign, t.currency, count(*) AS payers, CAST(sum(t.payments) AS bigint) AS payments,
           CAST(sum(t.first) AS bigint) AS first, CAST(sum(t.gross - t.first) AS bigint)
             AS renewals,
           CAST(sum(t.fees) AS bigint) AS fees, CAST(sum(t.returned) AS bigint) AS returned
      FROM told t JOIN contributions n ON n.id = t.contribution_id
     GROUP BY 1, 2
     ORDER BY currency, campaign
     LIMIT 2000
"""


async def by_campaign(
    session: AsyncSession, zone: ZoneInfo, period: Period, *, currency: str | None = None
) -> list[CampaignTotal]:
    """The campaigns of each currency, most net first, "other" and none last."""
    parts: list[str] = []
    params: dict[str, Any] = {"zone": zone.key}  # of any type
    for name, condition, value in (
        ("since", booked_from("e.occurred_at"), period.since),
        ("until", booked_before("e.occurred_at"), period.until),
        ("currency", "e.currency = :currency", currency),
    ):
        if value is not None:
            parts.append(condition)
            params[name] = value
    query = _BY_CAMPAIGN_SQL.format(late=LATE_ENTRIES_JOIN_SQL, where=" AND ".join(parts) or "true")
    rows = await session.execute(text(query), params)
    found: dict[str, list[CampaignTotal]] = {}
    for row in rows:
        found.setdefault(row.currency, []).append(CampaignTotal(*row))
    told = []
    for _, sources in sorted(found.items()):
        told += group_small(sources)
    return told


def group_small(sources: Sequence[CampaignTotal]) -> list[CampaignTotal]:
    """The sources of one currency with the small ones put together.

    One small campaign alone would follow from the total: the next smallest keeps it company.
    """
    named = sorted((s for s in sources if s.campaign is not None), key=lambda s: s.payers)
    small = [source for source in named if source.payers < MIN_GROUP_SIZE]
    large = named[len(small) :]
    while small and large and sum(source.payers for source in small) < MIN_GROUP_SIZE:
        small.append(large.pop(0))
    told = sorted(large, key=lambda source: (-source.net, source.campaign))
    if small:
        told.append(_merge(small))
    return told + [source for source in sources if source.campaign is None]


def _merge(small: Sequence[CampaignTotal]) -> CampaignTotal:
    return CampaignTotal(
        OTHER_CAMPAIGNS,
        small[0].currency,
        payers=sum(source.payers for source in small),
        payments=sum(source.payments for source in small),
        first_payments=sum(source.first_payments for source in small),
        renewals=sum(source.renewals for source in small),
        fees=sum(source.fees for source in small),
        reversals=sum(source.reversals for source in small),
        is_other=True,
    )
