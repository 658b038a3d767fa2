"""Sources: net by campaign. A renewal counts for the campaign of its contribution.

The lines of a currency add up to its Overview of the same days to the cent: what belongs to no
contribution, such as Stripe's own fees, is a line of its own.

A campaign that fewer than five contributions paid for is not shown, and neither is one whose
figures would follow from the total: the small ones are merged as "other".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from payments.accounting import booking_day, sql_text
from payments.accounting.reports.period import Period
from payments.signups.reminder_stats import MIN_GROUP_SIZE

OTHER_CAMPAIGNS = "other"


@dataclass(frozen=True, slots=True)
class CampaignTotal:
    """One campaign in one currency, in minor units. `campaign` is None where there was none.

    `is_outside` is what belongs to no contribution: fees of Stripe's for the account.
    """

    campaign: str | None
    currency: str
    payers: int
    payments: int  # how many
    first_payments: int  # gross of first payments
    renewals: int  # gross of later ones
    fees: int
    reversals: int  # refunds and disputes
    is_outside: bool = False
    is_other: bool = False

    @property
    def net(self) -> int:
        """Gross less fees and reversals, in minor units."""
        return self.first_payments + self.renewals - self.fees - self.reversals


# Sums each contribution before each campaign: whether the first of its payments was its first ever
# is looked up once, not for each of them.
_BY_CAMPAIGN_SQL = """
    WITH contribution_sums AS (
        SELECT e.contribution_id,
               e.currency,
               count(*) FILTER (WHERE e.credit LIKE 'income:%') AS payments,
               min(ARRAY[e.seq, e.amount]) FILTER (WHERE e.credit LIKE 'income:%')
                   AS earliest_payment,
               sum(CASE WHEN e.credit LIKE 'income:%' THEN e.amount
                        WHEN e.debit LIKE 'income:%' THEN -e.amount
                        ELSE 0 END) AS gross,
               sum(CASE WHEN e.debit LIKE 'expense:%' THEN e.amount
                        WHEN e.credit LIKE 'expense:%' THEN -e.amount
                        ELSE 0 END) AS fees,
               sum(CASE WHEN e.debit IN ('refunds', 'disputes') THEN e.amount
                        WHEN e.credit IN ('refunds', 'disputes') THEN -e.amount
                        ELSE 0 END) AS reversals
          FROM booked_entries e
         WHERE (e.debit LIKE ANY ('{{income:%,expense:%,refunds,disputes}}')
                OR e.credit LIKE ANY ('{{income:%,expense:%,refunds,disputes}}'))
           AND {conditions}
         GROUP BY e.contribution_id, e.currency
    ),
    with_first_payment AS (
        SELECT *,
               CASE WHEN EXISTS (
                   SELECT
                     FROM ledger_entries earlier
                    WHERE earlier.contribution_id = contribution_sums.contribution_id
                      AND earlier.seq < earliest_payment[1]
                      AND earlier.credit LIKE 'income:%')
               THEN 0
               ELSE coalesce(earliest_payment[2], 0) END AS first_payment
          FROM contribution_sums
    )
    SELECT contribution.campaign,
           paid.currency,
           count(paid.contribution_id) AS payers,
           CAST(sum(paid.payments) AS bigint) AS payments,
           CAST(sum(paid.first_payment) AS bigint) AS first_payments,
           CAST(sum(paid.gross - paid.first_payment) AS bigint) AS renewals,
           CAST(sum(paid.fees) AS bigint) AS fees,
           CAST(sum(paid.reversals) AS bigint) AS reversals,
           paid.contribution_id IS NULL AS is_outside
      FROM with_first_payment paid
      LEFT JOIN contributions contribution ON contribution.id = paid.contribution_id
     GROUP BY contribution.campaign, is_outside, paid.currency
     ORDER BY paid.currency, contribution.campaign, is_outside
"""


async def by_campaign(
    session: AsyncSession, zone: ZoneInfo, period: Period, *, currency: str | None = None
) -> list[CampaignTotal]:
    """Return the campaigns of each currency, most net first, then "other", no campaign, and what
    belongs to no contribution.
    """
    conditions, params = sql_text.where(
        [
            ("since", booking_day.BOOKED_FROM_SQL, period.since),
            ("until", booking_day.BOOKED_BEFORE_SQL, period.until),
            ("currency", "e.currency = :currency", currency),
        ],
        {"zone": zone.key},
    )
    query = _BY_CAMPAIGN_SQL.format(conditions=conditions)
    by_currency: dict[str, list[CampaignTotal]] = {}
    for row in await session.execute(text(query), params):
        by_currency.setdefault(row.currency, []).append(CampaignTotal(*row))
    return [total for _, totals in sorted(by_currency.items()) for total in group_small(totals)]


def group_small(totals: Sequence[CampaignTotal]) -> list[CampaignTotal]:
    """Return the campaigns of one currency with the small ones merged as "other".

    One small campaign alone would follow from the total: the next smallest is merged with it.
    """
    named = sorted((one for one in totals if one.campaign is not None), key=lambda one: one.payers)
    small = [one for one in named if one.payers < MIN_GROUP_SIZE]
    large = named[len(small) :]
    while small and large and sum(one.payers for one in small) < MIN_GROUP_SIZE:
        small.append(large.pop(0))
    shown = sorted(large, key=lambda one: (-one.net, one.campaign))
    if small:
        shown.append(_merge(small))
    return shown + [one for one in totals if one.campaign is None]


def sum_by_currency(totals: Sequence[CampaignTotal]) -> list[CampaignTotal]:
    """Return what the lines of each currency add up to, which is what Overview has."""
    currencies = dict.fromkeys(one.currency for one in totals)
    return [_merge([one for one in totals if one.currency == code]) for code in currencies]


def _merge(small: Sequence[CampaignTotal]) -> CampaignTotal:
    return CampaignTotal(
        OTHER_CAMPAIGNS,
        small[0].currency,
        payers=sum(one.payers for one in small),
        payments=sum(one.payments for one in small),
        first_payments=sum(one.first_payments for one in small),
        renewals=sum(one.renewals for one in small),
        fees=sum(one.fees for one in small),
        reversals=sum(one.reversals for one in small),
        is_other=True,
    )
