"""A stateful stand-in for Stripe: API, hosted Checkout page, events, clock, faults.

It knows Stripe and knows nothing of us. What it should be is Stripe at API version
2026-10-28.endive, as the pinned SDK's own types and Stripe's published behaviour have it.

    sandbox        the whole: on a port, its clock turned, its deliveries sent
    server         the doors: api (programs), hosted_page, hosted_invoice (donors), control (tests)
    account        one account's store, clock, agenda, events and billing settings
    catalog        products and prices
    customers, payment_methods, cards, debits
    checkout       sessions; paying completes them, typed reads what donors type
    payment_intents, setup_intents, charges, refunds; debiting and delayed take days
    subscriptions  subscribing begins them, amending and pausing change them, renewals carry them on
    invoices       and their lines; collecting gets them paid, invoice_verbs and invoice_items are
                   what the API does with them
    balance        transactions and payouts, in currencies
    disputes       banks that take money back, and warnings before; movements of Stripe's own
    events         and webhook endpoints; outbox delivers, versions renders as of old
    dashboard      what people do at Stripe with no request of ours
    contract       what the SDK's types say about requests, answers and events
    reader         a donor without JavaScript, for tests and demonstrations
"""

from payments.sandbox.account import BillingSettings
from payments.sandbox.api import LoggedRequest
from payments.sandbox.hosted_page_client import (
    PageResult,
    confirm_invoice_payment,
    follow_cancel_link,
    pay,
)
from payments.sandbox.sandbox import Sandbox
from payments.sandbox.server import listen, run_forever
from payments.sandbox.webhook_deliveries import Delivery, DeliveryTransport

__all__ = [
    "BillingSettings",
    "Delivery",
    "DeliveryTransport",
    "LoggedRequest",
    "PageResult",
    "Sandbox",
    "confirm_invoice_payment",
    "follow_cancel_link",
    "listen",
    "pay",
    "run_forever",
]
