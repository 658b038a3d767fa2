"""A stateful stand-in for Stripe: API, hosted Checkout page, events, clock, faults.

It knows Stripe and knows nothing of us. What it should be is Stripe at API version
2026-10-28.endive, as the pinned SDK's own types and Stripe's published behaviour have it.

    sandbox        the whole: on a port, its clock turned, its deliveries sent
    server         the doors: api (programs), hosted_page (donors), control (tests)
    account        one account's store, clock, agenda and events
    catalog        products and prices
    customers, payment_methods, cards
    checkout       sessions; paying completes them
    payment_intents, charges, refunds
    subscriptions  and their invoices, in periods
    balance        transactions and payouts, in currencies
    events         and webhook endpoints; outbox delivers
    contract       what the SDK's types say about requests, answers and events
    reader         a donor without JavaScript, for tests and demonstrations
"""

from payments.sandbox.api import RequestSeen
from payments.sandbox.outbox import Deliver, Delivery
from payments.sandbox.reader import PageResult, pay, walk_away
from payments.sandbox.sandbox import Sandbox, run_forever

__all__ = [
    "Deliver",
    "Delivery",
    "PageResult",
    "RequestSeen",
    "Sandbox",
    "pay",
    "run_forever",
    "walk_away",
]
