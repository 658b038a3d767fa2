"""Dispute rates by month, beside the thresholds from which card networks fine.

Counted over every payment, for no card's network is stored: where all cards were of one network,
the rates are that network's own. The rules are the networks', change, and are a newsroom's provider
to say; `READ_IN` says when these were read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from payments.accounting import sql_text
from payments.accounting.reports import other_income
from payments.core.calendar import months_before, months_between
from payments.settlement.disputes import INQUIRY_STATUSES, DisputeStatus

READ_IN = "November 2026"


@dataclass(frozen=True, slots=True)
class NetworkRule:
    """A network's rule: both the count and the rate must be reached in one month."""

    name: str
    counts: str  # what is counted
    over: str  # what it is divided by
    min_count: int
    basis_points: int  # of the rate: 150 is 1.5 %
    since: str  # from when on, in words
    source: str


VISA_RULE = NetworkRule(
    name="Visa, Acquirer Monitoring Program (VAMP): excessive",
    counts="early fraud warnings and disputes; a payment with both counts twice",
    over="the month's payments",
    min_count=1500,
    basis_points=150,
    since="1 April 2026, and 2.2 % before that; in the Middle East and North Africa other counts",
    source="support.checkout.com, thresholds under VAMP; docs.antom.com, card monitoring",
)
MASTERCARD_RULE = NetworkRule(
    name="Mastercard, Excessive Chargeback Merchant (ECM)",
    counts="disputes",
    over="the payments of the month before",
    min_count=100,
    basis_points=150,
    since="October 2019; from 300 disputes and 3 % on it is High Excessive",
    source="developer.paypal.com, Braintree: Excessive Chargeback Program; kb.ccbill.com",
)
RULES = (VISA_RULE, MASTERCARD_RULE)


@dataclass(frozen=True, slots=True)
class DisputeMonth:
    """The counts of one month. An inquiry moves no money and is no dispute."""

    month: date
    payments: int
    payments_before: int  # of the month before
    disputes: int
    inquiries: int
    fraud_warnings: int

    def count(self, rule: NetworkRule) -> int:
        """Return what a rule counts."""
        return self.disputes + (self.fraud_warnings if rule is VISA_RULE else 0)

    def divisor(self, rule: NetworkRule) -> int:
        """Return what a rule divides by."""
        return self.payments if rule is VISA_RULE else self.payments_before

    def reaches(self, rule: NetworkRule) -> bool:
        """Whether both the count and the rate of a rule are reached."""
        count, divisor = self.count(rule), self.divisor(rule)
        return count >= rule.min_count and count * 10_000 >= rule.basis_points * divisor


_COUNTS = text(f"""
    WITH counted AS (
        SELECT opened_at AS at,
               CASE WHEN status IN {sql_text.in_list(INQUIRY_STATUSES)} THEN 'inquiry'
                    ELSE 'dispute' END AS kind
          FROM disputes
         WHERE status <> '{DisputeStatus.PREVENTED}'
         UNION ALL
        SELECT warned_at, 'warning'
          FROM fraud_warnings
    )
    SELECT CAST(date_trunc('month', at AT TIME ZONE :zone) AS date) AS month,
           kind,
           count(*) AS found
      FROM counted
     WHERE at >= CAST(:since AS timestamp) AT TIME ZONE :zone
       AND at < CAST(:until AS timestamp) AT TIME ZONE :zone
     GROUP BY month, kind
     ORDER BY month, kind
     LIMIT 5000
    """)  # noqa: S608 - constants only


async def by_month(
    session: AsyncSession, zone: ZoneInfo, *, since: date, until: date
) -> Sequence[DisputeMonth]:
    """Return each month from `since` up to `until`, both first days of a month, newest first."""
    params = {"zone": zone.key, "since": since, "until": until}
    counts = {
        (row.month, row.kind): int(row.found) for row in await session.execute(_COUNTS, params)
    }
    payments: dict[date, int] = {}
    for line in await other_income.beside_contributions(
        session, zone, since=months_before(since, 1), until=until
    ):
        payments[line.month] = payments.get(line.month, 0) + line.payments
    return [
        DisputeMonth(
            month=month,
            payments=payments.get(month, 0),
            payments_before=payments.get(months_before(month, 1), 0),
            disputes=counts.get((month, "dispute"), 0),
            inquiries=counts.get((month, "inquiry"), 0),
            fraud_warnings=counts.get((month, "warning"), 0),
        )
        for month in reversed(list(months_between(since, until)))
    ]
