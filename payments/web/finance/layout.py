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
from payments.accounting.reports.transactions import WORDS
from payments.core import i18n, money
from payments.core.errors import InvalidField
from payments.core.money import Money
from payments.giving.checkout_session import Frequency
from payments.infra import alerts
from payments.infra.context import Runtime
from payments.staff.accounts import Staff
from payments.web import templates
from payments.web.donate.form import LABELS

NOT_A_GIFT = "Stripe's own fees"  # lines that belong to no contribution
MINUS = "\N{MINUS SIGN}"
NOTHING = "\N{EN DASH}"
ALARMS = 3  # told on each page; their own page has all
PAGES = (
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
    ("/staff/alarms", "Alarms"),
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
    num: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table ready to print: the first cell of a row is its heading."""

    id: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    foot: Sequence[Sequence[Cell]] = ()
    empty: str = "Nothing to show."


def table(
    id_: str,
    caption: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str | Cell]],
    *,
    foot: Sequence[Sequence[str | Cell]] = (),
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
        [cells(row) for row in foot],
        empty,
    )


# --- figures and times ----------------------------------------------------------------------------


def show(minor: int, currency: str) -> str:
    """An amount with its symbol, and a real minus."""
    return money.format(Money(minor, currency)).replace("-", MINUS)


def taken(minor: int, currency: str) -> str:
    """What was taken off, as what it did to the money."""
    return show(-minor, currency)


def signed(minor: int, currency: str) -> str:
    return ("+" if minor > 0 else "") + show(minor, currency)


def whole(number: int) -> str:
    return f"{number:,}".replace("-", MINUS)


def share(part: int, of: int) -> str:
    """A percentage without decimals, never 100 % or 0 % unless it is."""
    if of == 0:
        return NOTHING
    return f"{min(max(round(100 * part / of), int(part > 0)), 99 if part < of else 100)} %"


def frequency(word: str) -> str:
    return NOT_A_GIFT if word == NO_FREQUENCY else LABELS[Frequency(word)]


def moment(rt: Runtime, at: datetime) -> str:
    return at.astimezone(rt.settings.zone).strftime("%-d %B %Y, %H:%M")


def minute(rt: Runtime, at: datetime) -> str:
    """For tables: sorts as it reads."""
    return at.astimezone(rt.settings.zone).strftime("%Y-%m-%d %H:%M")


def day(at: date) -> str:
    return i18n.day(at, i18n.SOURCE)


def month(first: date) -> str:
    return first.strftime("%B %Y")


def today(rt: Runtime) -> date:
    return rt.now().astimezone(rt.settings.zone).date()


# --- filters --------------------------------------------------------------------------------------


def word(asked: Mapping[str, str], name: str) -> str | None:
    """One filter of an address. Raises InvalidField for one that makes no sense."""
    value = asked.get(name, "")
    if not value:
        return None
    allowed, words = WORDS[name]
    if not (value in allowed if isinstance(allowed, tuple) else allowed.fullmatch(value)):
        raise InvalidField(f"{name}: {words}.", field=name)
    return value


def query(**filters: object) -> str:
    """The filters that are set, as an address has them."""
    said = urlencode({name: value for name, value in filters.items() if value})
    return f"?{said}" if said else ""


def select(options: Sequence[tuple[str, str]], chosen: str) -> list[dict[str, Any]]:
    """The options of a choice, ready to print; one that is not among them is kept."""
    if chosen not in dict(options):
        options = [*options, (chosen, chosen.upper())]
    return [{"value": v, "label": label, "selected": v == chosen} for v, label in options]


def currencies(chosen: str | None, *, every: str = "All currencies") -> list[dict[str, Any]]:
    listed = [(code, code.upper()) for code in money.BOUNDS]
    return select([("", every), *listed] if every else listed, chosen or "")


def frequencies(chosen: str | None) -> list[dict[str, Any]]:
    listed = [(f.value, LABELS[f]) for f in Frequency]
    return select([("", "All"), *listed, (NO_FREQUENCY, NOT_A_GIFT)], chosen or "")


# --- the frame ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that is not as it should be, and how bad that is."""

    text: str
    tone: str = "mild"
    items: Sequence[tuple[str, str]] = field(default_factory=tuple)  # what it says, and of what
    more: int = 0


async def notices(rt: Runtime, *, until: date | None = None) -> list[Notice]:
    """What a reader of figures must know: they are old, incomplete, or of a time not over."""
    async with rt.sessions() as session:
        fresh = await freshness.read(session, rt.now())
        open_alarms = await alerts.unattended(session)
    told = _of_figures(rt, fresh)
    if until is not None and until > today(rt):
        told.append(Notice(f"This period is not over: figures up to {moment(rt, rt.now())}.",
                           "plain"))  # fmt: skip
    if open_alarms:
        told.append(
            Notice(
                "Needs attention",
                "",
                [(alerts.SENTENCES[one.kind], one.subject) for one in open_alarms[:ALARMS]],
                max(0, len(open_alarms) - ALARMS),
            )
        )
    return told


def _of_figures(rt: Runtime, fresh: Freshness) -> list[Notice]:
    told = []
    if fresh.imported_at is None:
        told.append(Notice("Stripe's balance has never been imported in full."))
    elif fresh.is_stale:
        told.append(
            Notice(
                "These figures are old. Stripe's balance was last imported on "
                f"{moment(rt, fresh.imported_at)}."
            )
        )
    if fresh.waiting:
        are = "movement waits" if fresh.waiting == 1 else "movements wait"
        told.append(
            Notice(f"{fresh.waiting} {are} for a contribution; no figure here includes them.")
        )
    return told


async def page(
    rt: Runtime,
    template: str,
    person: Staff,
    *,
    title: str,
    here: str,
    until: date | None = None,
    **context: Any,  # noqa: ANN401 - whatever its template prints
) -> Response[str]:
    """A page of the books for a colleague. `here` is its place among the pages."""
    return templates.page(
        rt,
        template,
        title=title,
        person=person.name,
        nav=[{"url": url, "label": label, "here": url == here} for url, label in PAGES],
        zone=f"All months in {rt.settings.accounting_zone}",
        generated_at=moment(rt, rt.now()),
        notices=await notices(rt, until=until),
        **context,
    )
