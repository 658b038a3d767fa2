"""Sources: net by campaign, renewals included: a renewal counts for the campaign that began it.

A campaign that fewer than five contributions paid for is not told apart, and neither is a campaign
whose figures would follow from the total: what is small goes together as "other".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from payments.reports.period import Period

SMALLEST = 5
OTHER = "other"


@dataclass(frozen=True, slots=True)
class Source:
    """One campaign in one currency. `campaign` is None for gifts without one."""

    campaign: str | None
    currency: str
    givers: int
    payments: int
    first: int  # gross of first payments
    renewals: int  # gross of later ones
    fees: int
    returned: int  # refunds and disputes
    is_other: bool = False

    @property
    def net(self) -> int:
        return self.first + self.renewals - self.fees - self.returned


_SOURCES = text(
    """
    WITH flows AS (
        SELECT n.campaign, e.currency, e.contribution_id, e.debit, e.credit, e.amount,
               e.credit LIKE 'income:%' AND EXISTS (
                   SELECT FROM ledger_entries x
                    WHERE x.contribution_id = e.contribution_id AND x.seq < e.seq
                      AND x.credit LIKE 'income:%') AS renewal
          FROM ledger_entries e
          JOIN contributions n ON n.id = e.contribution_id
         WHERE (CAST(:since AS date) IS NULL
                OR e.occurred_at >= CAST(:since AS timestamp) AT TIME ZONE :zone)
           AND (CAST(:until AS date) IS NULL
                OR e.occurred_at < CAST(:until AS timestamp) AT TIME ZONE :zone)
           AND (CAST(:currency AS text) IS NULL OR e.currency = :currency))
    SELECT campaign, currency, count(DISTINCT contribution_id) AS givers,
           count(*) FILTER (WHERE credit LIKE 'income:%') AS payments,
           CAST(coalesce(sum(amount) FILTER (
               WHERE credit LIKE 'income:%' AND NOT renewal), 0) AS bigint) AS first,
           CAST(coalesce(sum(amount) FILTER (WHERE renewal), 0)
             - coalesce(sum(amount) FILTER (WHERE debit LIKE 'income:%'), 0) AS bigint)
             AS renewals,
           CAST(coalesce(sum(amount) FILTER (WHERE debit LIKE 'expense:%'), 0)
             - coalesce(sum(amount) FILTER (WHERE credit LIKE 'expense:%'), 0) AS bigint) AS fees,
           CAST(coalesce(sum(amount) FILTER (WHERE debit IN ('refunds', 'disputes')), 0)
             - coalesce(sum(amount) FILTER (WHERE credit IN ('refunds', 'disputes')), 0)
             AS bigint) AS returned
      FROM flows
     GROUP BY 1, 2
     ORDER BY currency, campaign
     LIMIT 2000
    """
)


async def by_campaign(
    session: AsyncSession, zone: ZoneInfo, period: Period, *, currency: str | None = None
) -> list[Source]:
    """The campaigns of each currency, most net first, "other" and none last."""
    rows = await session.execute(
        _SOURCES,
        {
            "zone": zone.key,
            "since": period.since,
            "until": period.until,
            "currency": currency,
        },
    )
    found: dict[str, list[Source]] = {}
    for row in rows:
        found.setdefault(row.currency, []).append(Source(*row))
    told = []
    for _, sources in sorted(found.items()):
        told += with_other(sources)
    return told


def with_other(sources: Sequence[Source]) -> list[Source]:
    """The sources of one currency with the small ones put together.

    One small campaign alone would follow from the total: the next smallest keeps it company.
    """
    named = sorted((s for s in sources if s.campaign is not None), key=lambda s: s.givers)
    small = [source for source in named if source.givers < SMALLEST]
    large = named[len(small) :]
    while small and large and sum(source.givers for source in small) < SMALLEST:
        small.append(large.pop(0))
    told = sorted(large, key=lambda source: (-source.net, source.campaign))
    if small:
        told.append(_together(small))
    return told + [source for source in sources if source.campaign is None]


def _together(small: Sequence[Source]) -> Source:
    return Source(
        OTHER,
        small[0].currency,
        givers=sum(source.givers for source in small),
        payments=sum(source.payments for source in small),
        first=sum(source.first for source in small),
        renewals=sum(source.renewals for source in small),
        fees=sum(source.fees for source in small),
        returned=sum(source.returned for source in small),
        is_other=True,
    )
