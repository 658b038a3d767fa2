"""The finance API: every figure of the finance pages as JSON, for programs with a token.

access       who may call, and how often
answers      what every answer has: how fresh it is
cursors      where the next page of a list begins
description  the OpenAPI document, for those with a token
movements    transactions, one contribution, payouts, refunds and disputes
parameters   the filters, as on the pages
reports      sums: overview, months, why, sources, reminders

It reads the functions that the pages read and computes nothing. Nothing in it is about a person,
and nothing changes anything. A program shows a token; a cookie counts for nothing here, and a
token for nothing on a page.
"""

from litestar import Router
from litestar.types import ControllerRouterHandler

from payments.web.finance_api.description import make_handler
from payments.web.finance_api.movements import MovementsApi
from payments.web.finance_api.reports import ReportsApi

HANDLERS: tuple[ControllerRouterHandler, ...] = (ReportsApi, MovementsApi)


def routes() -> list[ControllerRouterHandler]:
    """Return the operations of the API, which the public description does not name."""
    handlers = [*HANDLERS, make_handler(HANDLERS)]
    return [Router("/", route_handlers=handlers, include_in_schema=False)]
