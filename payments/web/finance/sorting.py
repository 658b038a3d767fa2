"""The order of the tables of a page: plain links on the headings, the choice in the address.

`sort` is the id of a table, a dot and a column, such as `transactions.before-fee`; with a minus
before it, the largest or last stand first. A table with all its rows on its page is put in order
here, by what its cells say; a list of several pages names what its query can sort
(Table.sorted_by_query).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from payments.accounting.reports.sorting import Order, SortableList
from payments.core.errors import InvalidField
from payments.core.money import MINUS
from payments.web.finance.tables import EMPTY_CELL, Cell, Column, Table
from payments.web.forms import query_string

SORT = "sort"
# Where a page of a list begins: another order begins at its first page.
_BEGINNINGS = frozenset({SORT, "before", "after", "at_risk_after", "disputes_after"})
_MONTH = "%B %Y"
# A count, an amount with its symbol and sign, or a share.
_NUMBER = re.compile(
    r"[^0-9A-Za-z]*[A-Z$]*[^0-9A-Za-z]*([0-9][0-9,]*(?:\.[0-9]+)?)(?:\s?%)?", re.ASCII
)
_ORDER_IN_CAPTION = re.compile(r", (?:the )?(?:newest|oldest|largest|most urgent) first$")

_Key = tuple[bool, str, float, str]


def column_key(label: str) -> str:
    """Return a heading as an address names it."""
    return "-".join(re.findall("[a-z0-9]+", label.lower()))


def order_of(params: Mapping[str, str], table_id: str, columns: SortableList) -> Order | None:
    """Return the order that an address asks of a list, or None for its own."""
    order = _parse(params.get(SORT, ""), table_id)
    return order if order is not None and order.column in columns.columns else None


def with_links(
    context: Mapping[str, object], path: str, params: Mapping[str, str]
) -> dict[str, object]:
    """Return what a template prints with its tables in the order that the address asks.

    Raises InvalidField for an order that no table of the page has.
    """
    chosen = params.get(SORT, "")
    if chosen and not any(_order(table, chosen) for table in _tables(context)):
        raise InvalidField(
            "sort: no table of this page has this column. Sort by the heading of a column.",
            field=SORT,
        )
    rest = {name: params.get(name, "") for name in params if name not in _BEGINNINGS}
    return {
        name: _map_tables(value, f"{path}{query_string(**rest)}", chosen)
        for name, value in context.items()
    }


def _tables(value: object) -> Iterator[Table]:
    if isinstance(value, Table):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _tables(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _tables(one)


def _map_tables(value: object, address: str, chosen: str) -> object:
    if isinstance(value, Table):
        return _sorted(value, address, chosen)
    if isinstance(value, dict):
        return {name: _map_tables(one, address, chosen) for name, one in value.items()}
    if isinstance(value, list):
        return [_map_tables(one, address, chosen) for one in value]
    return value


def _parse(chosen: str, table_id: str) -> Order | None:
    id_, _, column = chosen.removeprefix("-").partition(".")
    return Order(column, chosen.startswith("-")) if id_ == table_id and column else None


def _order(table: Table, chosen: str) -> Order | None:
    """Return the order that is asked of this table, if it has such a column."""
    order = _parse(chosen, table.id)
    if order is None or order.column not in map(column_key, _sortable_labels(table)):
        return None
    return order


def _sortable_labels(table: Table) -> list[str]:
    """Return the headings that a table can be sorted by."""
    if not table.is_sortable:
        return []
    labels = [column.label for column in table.columns]
    if table.sorted_by_query is None:
        return labels
    return [label for label in labels if column_key(label) in table.sorted_by_query.columns]


def _sorted(table: Table, address: str, chosen: str) -> Table:
    """Return a table with links on its headings, in the order that is asked of it."""
    order = _order(table, chosen)
    sortable = _sortable_labels(table)
    columns = [
        _linked(column, table.id, address, order) if column.label in sortable else column
        for column in table.columns
    ]
    if order is None:
        return replace(table, columns=columns)
    index = [column_key(column.label) for column in table.columns].index(order.column)
    label = table.columns[index].label
    caption = _ORDER_IN_CAPTION.sub("", table.caption) + f", by “{label}”"
    caption += ", the other way round" if order.is_descending else ""
    rows = table.rows
    if table.sorted_by_query is None:
        rows = _rows_in_order(table, index, is_descending=order.is_descending)
    return replace(table, columns=columns, caption=caption, rows=rows)


def _linked(column: Column, table_id: str, address: str, order: Order | None) -> Column:
    key = column_key(column.label)
    direction, is_descending = "", column.numeric
    if order is not None and order.column == key:
        direction = "descending" if order.is_descending else "ascending"
        is_descending = not order.is_descending
    chosen = query_string(**{SORT: f"{'-' if is_descending else ''}{table_id}.{key}"})
    url = address + (chosen.replace("?", "&", 1) if "?" in address else chosen)
    return replace(column, sort_url=f"{url}#{table_id}", sorted=direction)


def _rows_in_order(table: Table, index: int, *, is_descending: bool) -> Sequence[Sequence[Cell]]:
    """Return the rows by what a column says, those where it is empty last.

    Amounts are compared within a currency, where the table has one for each row.
    """
    labels = [column.label for column in table.columns]
    currency = labels.index("Currency") if "Currency" in labels else None

    def key(row: Sequence[Cell]) -> _Key:
        is_amount = table.columns[index].numeric and currency is not None
        return _key(row[index].text, row[currency or 0].text if is_amount else "")

    filled = [row for row in table.rows if not _is_empty(row[index])]
    empty = [row for row in table.rows if _is_empty(row[index])]
    return [*sorted(filled, key=key, reverse=is_descending), *empty]


def _is_empty(cell: Cell) -> bool:
    return cell.text in ("", EMPTY_CELL)


def _key(text: str, currency: str) -> _Key:
    """Return what a text is compared by: a number, a month or itself."""
    number = _NUMBER.fullmatch(text)
    if number is not None:
        size = float(number[1].replace(",", ""))
        return False, currency, -size if MINUS in text else size, ""
    try:
        return False, currency, datetime.strptime(text, _MONTH).timestamp(), ""  # noqa: DTZ007
    except ValueError:
        return True, currency, 0.0, text.casefold()
