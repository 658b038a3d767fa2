"""What every answer of the finance API has: how fresh its figures are, and where its list goes on.

Amounts are whole numbers of minor units of the currency beside them, times are UTC (RFC 3339),
months and days are of the accounting zone. An object of an answer is made from a row of a report:
its fields have the names of the row's.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from typing import Any, TypeVar

import msgspec
from litestar.openapi.datastructures import ResponseSpec
from sqlalchemy.ext.asyncio import AsyncSession

from payments.accounting.reports import freshness
from payments.accounting.reports.period import Period
from payments.infra.context import Context
from payments.web import errors

Answer = TypeVar("Answer", bound=msgspec.Struct)


class About(msgspec.Struct, frozen=True):
    """What a reader of figures must know: when they were read, the zone of their months, when
    Stripe's balance was last imported in full, whether that is too long ago, and how many movements
    wait for a contribution and are in no figure.
    """

    read_at: datetime
    accounting_zone: str
    imported_at: datetime | None
    is_stale: bool
    unposted: int


class Days(msgspec.Struct, frozen=True):
    """Days of the accounting zone, from `since` up to and without `until`; null where it is open.
    `label` may be sent as `period`.
    """

    label: str
    since: date | None
    until: date | None


def days(period: Period) -> Days:
    """Return a period for an answer."""
    return Days(period.label, period.since, period.until)


class CurrencySum(msgspec.Struct, frozen=True):
    """Sums of one currency. `net` = `gross` - `fees` - `refunds` - `disputes`. `payers` are
    contributions that paid, each once in a month; `first_time_payers` those of them that paid for
    the first time.
    """

    currency: str
    payments: int
    payers: int
    first_time_payers: int
    gross: int
    fees: int
    refunds: int
    disputes: int
    net: int


class StripeBalance(msgspec.Struct, frozen=True):
    """What Stripe held in one currency: `closing` is `opening` and every movement, below zero for
    what left.
    """

    opening: int
    gross: int
    fees: int
    refunds: int
    disputes: int
    other: int
    fx: int
    reserved: int
    bank: int
    suspense: int
    closing: int


async def about(ctx: Context, session: AsyncSession) -> About:
    """Return what is to be known of figures that are read now."""
    fresh = await freshness.get(session, ctx.now())
    return About(
        read_at=utc(ctx.now()),
        accounting_zone=ctx.settings.accounting_zone,
        imported_at=None if fresh.imported_at is None else utc(fresh.imported_at),
        is_stale=fresh.is_stale,
        unposted=fresh.unposted,
    )


def utc(at: datetime) -> datetime:
    """Return a moment in UTC."""
    return at.astimezone(UTC)


def month(first: date) -> str:
    """Return a month as it stands in an answer and in a filter, such as 2026-10."""
    return f"{first:%Y-%m}"


def shape(kind: type[Answer], row: Any, **given: Any) -> Answer:  # noqa: ANN401 - a row of a report
    """Return an object of an answer with the fields of a row; `given` fields are other than its."""
    fields = {
        name: given[name] if name in given else _value(getattr(row, name))
        for name in kind.__struct_fields__
    }
    return kind(**fields)


def shape_all(
    kind: type[Answer],
    rows: Sequence[Any],
    **given: Callable[[Any], Any],
) -> list[Answer]:
    """Return an object for each row; a `given` field is what its function says of the row."""
    return [shape(kind, row, **{name: say(row) for name, say in given.items()}) for row in rows]


def month_of(row: Any) -> str:  # noqa: ANN401 - any row with a month
    """Return the month of a row."""
    return month(row.month)


def _value(value: Any) -> Any:  # noqa: ANN401 - what a field may hold
    return utc(value) if isinstance(value, datetime) else value


def refusals(*more: int) -> dict[int, ResponseSpec]:
    """Return the OpenAPI description of the refusals of an operation, and those of all others."""
    return errors.problem_responses(*sorted({401, 403, 422, 429, 503, *more}))
