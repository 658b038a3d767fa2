"""Tables of the finance pages, ready to print: every figure is text already."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from payments.accounting.reports.sorting import SortableList
from payments.web.finance.definitions import definition_of

EMPTY_CELL = "\N{EN DASH}"


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell. `tone` is a class of the stylesheet, `code` marks an id."""

    text: str
    url: str = ""
    tone: str = ""
    code: bool = False


@dataclass(frozen=True, slots=True)
class Column:
    """A heading; a numeric column is set to the right. `definition` says what it means.

    `sort_url` leads to the table sorted by it; `sorted` is how it is: ascending, descending or "".
    """

    label: str
    numeric: bool = False
    definition: str = ""
    sort_url: str = ""
    sorted: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table; the first cell of a row is its heading. `empty` stands in place of no rows.

    A list of several pages is sorted by its query, which names the columns it can; a table whose
    lines are a statement, one leading to the next, is not sortable.
    """

    id: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    footer: Sequence[Sequence[Cell]] = ()
    empty: str = "Nothing to show."
    sorted_by_query: SortableList | None = None
    is_sortable: bool = True


def table(
    id_: str,
    caption: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str | Cell]],
    *,
    footer: Sequence[Sequence[str | Cell]] = (),
    empty: str = "Nothing to show.",
    sorted_by_query: SortableList | None = None,
    is_sortable: bool = True,
) -> Table:
    """Return a table of texts and cells; a column whose heading begins with # is numeric."""

    def cells(row: Sequence[str | Cell]) -> list[Cell]:
        return [cell if isinstance(cell, Cell) else Cell(cell) for cell in row]

    return Table(
        id_,
        caption,
        [_column(label.removeprefix("#"), numeric=label.startswith("#")) for label in columns],
        [cells(row) for row in rows],
        [cells(row) for row in footer],
        empty,
        sorted_by_query,
        is_sortable,
    )


def time_cell(text: str, counted_on: date | None) -> Cell:
    """Return when something happened; of a late entry, also the month that counts it."""
    if counted_on is None:
        return Cell(text)
    return Cell(f"{text}, late: counts in {counted_on:%B %Y}", tone="bad")


def _column(label: str, *, numeric: bool) -> Column:
    return Column(label, numeric, definition_of(label) if numeric else "")


def contribution_cell(contribution_id: str | None) -> Cell:
    """Return a link to a contribution's timeline, or an empty cell."""
    if contribution_id is None:
        return Cell(EMPTY_CELL)
    return Cell(contribution_id[:8], f"/finance/contributions/{contribution_id}", code=True)


def transactions_cell(object_id: str, label: str | None = None) -> Cell:
    """Return a link to the transactions that are about an object of Stripe's."""
    return Cell(label or object_id, f"/finance/transactions?id={object_id}", code=True)
