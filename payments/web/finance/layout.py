"""What the finance pages have in common: the filters of an address, figures ready to print, tables,
and the words that say how old and how whole a figure is.

The address is the state of a page. Money is printed with its currency and a real minus; a month is
a month of the accounting zone, which every page names.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any
from urllib.parse import urlencode

from litestar import Response

from payments.accounting.daily_totals import NO_FREQUENCY
from payments.accounting.reports import freshness
from payments.accounting.reports.freshness import Freshness
from payments.accounting.reports.transactions import FILTER_RULES
from payments.core import i18n, money
from payments.core.errors import InvalidField
from payments.core.frequency import Frequency
from payments.core.money import Money
from payments.infra import alerts
from payments.infra.context import Context
from payments.staff.accounts import Staff
from payments.web import rendering
from payments.web.donate.form import FREQUENCY_LABELS

NOT_A_GIFT = "Stripe's own fees"  # lines that belong to no contribution
MINUS = "\N{MINUS SIGN}"
EMPTY_CELL = "\N{EN DASH}"
ALERTS_SHOWN = 3  # told on each page; their own page has all
NAVIGATION = (
    ("/finance", "Overview"),
    ("/finance/months", "Months"),
    ("/finance/lines", "Ledger lines"),
    ("/finance/recurring", "Recurring"),
    ("/finance/payouts", "Payouts"),
    ("/finance/refunds", "Refunds and disputes"),
    ("/finance/sources", "Sources"),
    ("/finance/exports", "Exports"),
    ("/finance/funnel", "Reminders"),
    ("/finance/periods", "Periods"),
    ("/finance/audit", "Audit"),
    ("/staff/campaigns", "Campaigns"),
    ("/staff/alerts", "Alarms"),
    ("/staff", "You"),
)


# --- tables ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cell:
    """What stands in one place of a table. `tone` is a class of the stylesheet."""

    text: str
    url: str = ""
    tone: str = ""
    code: bool = False  # an id


@dataclass(frozen=True, slots=True)
class Column:
    """A heading; figures stand to the right."""

    label: str
    numeric: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table ready to print: the first cell of a row is its heading."""

    id: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    footer: Sequence[Sequence[Cell]] = ()
    empty: str = "Nothing to show."


def table(
    id_: str,
    caption: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str | Cell]],
    *,
    footer: Sequence[Sequence[str | Cell]] = (),
    empty: str = "Nothing to show.",
) -> Table:
    """A table from words; a column whose heading begins with # is of figures."""

    def cells(row: Sequence[str | Cell]) -> list[Cell]:
        return [cell if isinstance(cell, Cell) else Cell(cell) for cell in row]

    return Table(
        id_,
        caption,
        [Column(label.removeprefix("#"), label.startswith("#")) for label in columns],
        [cells(row) for row in rows],
        [cells(row) for row in footer],
        empty,
    )


# --- figures and times ----------------------------------------------------------------------------


def format_money(minor: int, currency: str) -> str:
    """An amount with its symbol, and a real minus."""
    return money.format(Money(minor, currency)).replace("-", MINUS)


def format_deduction(minor: int, currency: str) -> str:
    """What was taken off, as what it did to the money."""
    return format_money(-minor, currency)


def format_signed(minor: int, currency: str) -> str:
    return ("+" if minor > 0 else "") + format_money(minor, currency)


def format_count(number: int) -> str:
    return f"{number:,}".replace("-", MINUS)


def format_share(part: int, of: int) -> str:
    """A percentage without decimals, never 100 % or 0 % unless it is."""
    if of == 0:
        return EMPTY_CELL
    return f"{min(max(round(100 * part / of), int(part > 0)), 99 if part < of else 100)} %"


def frequency_label(word: str) -> str:
    return NOT_A_GIFT if word == NO_FREQUENCY else FREQUENCY_LABELS[Frequency(word)]


def format_datetime(ctx: Context, at: datetime) -> str:
    return at.astimezone(ctx.settings.accounting_zoneinfo).strftime("%-d %B %Y, %H:%M")


def format_minute(ctx: Context, at: datetime) -> str:
    """For tables: sorts as it reads."""
    return at.astimezone(ctx.settings.accounting_zoneinfo).strftime("%Y-%m-%d %H:%M")


def format_date(at: date) -> str:
    return i18n.format_day(at, i18n.DEFAULT_LOCALE)


def format_month(first: date) -> str:
    return first.strftime("%B %Y")


def today(ctx: Context) -> date:
    return ctx.now().astimezone(ctx.settings.accounting_zoneinfo).date()


# --- filters --------------------------------------------------------------------------------------


def filter_value(params: Mapping[str, str], name: str) -> str | None:
    """One filter of an address. Raises InvalidField for one that makes no sense."""
    value = params.get(name, "")
    if not value:
        return None
    allowed, words = FILTER_RULES[name]
    if not (value in allowed if isinstance(allowed, tuple) else allowed.fullmatch(value)):
        raise InvalidField(f"{name}: {words}.", field=name)
    return value


def query_string(**filters: object) -> str:
    """The filters that are set, as an address has them."""
    said = urlencode({name: value for name, value in filters.items() if value})
    return f"?{said}" if said else ""


def select_options(choices: Sequence[tuple[str, str]], chosen: str) -> list[dict[str, Any]]:
    """The options of a choice, ready to print; one that is not among them is kept."""
    if chosen not in dict(choices):
        choices = [*choices, (chosen, chosen.upper())]
    return [{"value": v, "label": label, "selected": v == chosen} for v, label in choices]


def currency_options(chosen: str | None, *, every: str = "All currencies") -> list[dict[str, Any]]:
    listed = [(code, code.upper()) for code in money.GIFT_LIMITS]
    return select_options([("", every), *listed] if every else listed, chosen or "")


def frequency_options(chosen: str | None) -> list[dict[str, Any]]:
    listed = [(f.value, FREQUENCY_LABELS[f]) for f in Frequency]
    return select_options([("", "All"), *listed, (NO_FREQUENCY, NOT_A_GIFT)], chosen or "")


# --- the frame ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Banner:
    """Something that is not as it should be, and how bad that is."""

    text: str
    tone: str = "mild"
    items: Sequence[tuple[str, str]] = field(default_factory=tuple)  # what it says, and of what
    more: int = 0


async def data_banners(ctx: Context, *, until: date | None = None) -> list[Banner]:
    """What a reader of figures must know: they are old, incomplete, or of a time not over."""
    async with ctx.sessions() as session:
        fresh = await freshness.get(session, ctx.now())
        open_alarms = await alerts.list_open(session)
    told = _freshness_banners(ctx, fresh)
    if until is not None and until > today(ctx):
        told.append(Banner(f"This period is not over: figures up to {format_datetime(ctx, ctx.now())}.",
                           "plain"))  # fmt: skip
    if open_alarms:
        told.append(
            Banner(
                "Needs attention",
                "",
                [(alerts.MESSAGES[one.kind], one.object_id) for one in open_alarms[:ALERTS_SHOWN]],
                max(0, len(open_alarms) - ALERTS_SHOWN),
            )
        )
    return told


def _freshness_banners(ctx: Context, freshness: Freshness) -> list[Banner]:
    told = []
    if freshness.imported_at is None:
        told.append(Banner("Stripe's balance has never been imported in full."))
    elif freshness.is_stale:
        told.append(
            Banner(
                "These figures are old. Stripe's balance was last imported on "
                f"{format_datetime(ctx, freshness.imported_at)}."
            )
        )
    if freshness.unposted:
        are = "movement waits" if freshness.unposted == 1 else "movements wait"
        told.append(
            Banner(f"{freshness.unposted} {are} for a contribution; no figure here includes them.")
        )
    return told


async def render(
    ctx: Context,
    template: str,
    colleague: Staff,
    *,
    title: str,
    active_url: str,
    until: date | None = None,
    **context: Any,  # noqa: ANN401 - whatever its template prints
) -> Response[str]:
    """A page of the books for a colleague. `here` is its place among the pages."""
    return rendering.render(
        ctx,
        template,
        title=title,
        person=colleague.name,
        nav=[{"url": url, "label": label, "here": url == active_url} for url, label in NAVIGATION],
        zone=f"All months in {ctx.settings.accounting_zone}",
        generated_at=format_datetime(ctx, ctx.now()),
        notices=await data_banners(ctx, until=until),
        **context,
    )
