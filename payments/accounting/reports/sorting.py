"""The order of a list that is read page by page: one of its columns, and its id for what is equal.

A page begins after a row of the list, which is found by its id, so no page skips or repeats a line.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Order:
    """A column of a list as its page names it, and whether the largest stand first."""

    column: str
    is_descending: bool = False


@dataclass(frozen=True, slots=True)
class SortableList:
    """What can be sorted: SQL of each column, none of which is ever null, and of the id.

    `source` is the table or view, under the name that the expressions use.
    """

    source: str
    id: str
    columns: Mapping[str, str]

    def order_by(self, order: Order) -> str:
        """Return the terms of ORDER BY."""
        direction = "DESC" if order.is_descending else "ASC"
        return f"{self.columns[order.column]} {direction}, {self.id} {direction}"

    def after(self, order: Order, parameter: str = "before") -> str:
        """Return the condition on the rows of later pages, after the row whose id is given."""
        key = f"{self.columns[order.column]}, {self.id}"
        comparison = "<" if order.is_descending else ">"
        return f"""({key}) {comparison} (
           SELECT {key} FROM {self.source} WHERE {self.id} = :{parameter})"""  # noqa: S608 - constants only
