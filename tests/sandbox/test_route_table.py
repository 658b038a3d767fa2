"""The table of routes and parameters in the documentation."""

from pathlib import Path

import pytest

from payments.sandbox import route_table

TABLE = Path(__file__).parents[2] / "docs" / "sandbox-routes.md"


def test_the_table_is_what_the_code_says() -> None:
    assert TABLE.read_text() == route_table.render(), "write it with: make routes"


@pytest.mark.parametrize(
    ("chosen", "shown"),
    [
        ({"a.b", "a.c"}, ["a.*"]),
        ({"a.b"}, ["a.b"]),
        ({"d[].e.f", "d[].e.g", "d[].h"}, ["d[].*"]),
        ({"d[].e.f", "d[].e.g"}, ["d[].e.*"]),
        ({"i"}, ["i"]),
    ],
)
def test_what_is_chosen_as_a_whole_is_shown_as_a_whole(chosen: set[str], shown: list[str]) -> None:
    known = {"a.b", "a.c", "d[].e.f", "d[].e.g", "d[].h", "i", "j"}
    assert route_table.collapsed(chosen, known) == shown
