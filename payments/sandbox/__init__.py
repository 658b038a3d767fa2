"""A stateful stand-in for Stripe: API, hosted pages, events, billing clock and faults.

It behaves as Stripe does at API version 2026-10-28.endive, according to the pinned SDK's types and
Stripe's documentation. No money moves, and the only network requests are the webhooks it sends. It
imports no other room of `payments`; only ops, cli and tests import it.

    sandbox        the whole: advancing time, sending deliveries, saving
    simulations    what card holders, banks, networks, the account owner and Stripe do by themselves
    server         listening on a port: api (programs), hosted pages (payers), control (tests)
    api_keys       and the permissions of restricted ones
    routes         which handler answers what, and reads which parameters: declared_params;
                   request_checks refuses the others; route_table writes them down
    request_params parsing of single ones; recorded_params finds those that a handler drops
    account        one account's store, clock, scheduled tasks, events and billing settings
    external_accounts    the bank accounts that payouts go to
    empty_collections    lists that are asked for and have nothing; reference_data never changes
    catalog        products and prices; plans are what prices were called before
    customers      with their payment_methods: cards, sepa_debit bank accounts, legacy_sources
    checkout       sessions; checkout_payment completes them, payment_form parses the page's form;
                   payment_links open them
    payment_intents, setup_intents, charges, refunds, three_d_secure
    cards          and card_tokens: the test cards and their names
    sepa_debit_payments, async_payments: payments that take days
    subscriptions  and subscription_items, _endpoints, _updates, _pauses, renewals
    invoices       and their lines and items; invoice_collection retries; invoice_endpoints;
                   customer_balance: credits
    balance        transactions; payouts; balance_adjustments are Stripe's own; currencies
    disputes       and fraud_warnings
    events         and webhook endpoints; webhook_deliveries; api_versions renders old versions
    dashboard      changes made in Stripe's dashboard or customer portal
    contract       checks requests, responses and events against the SDK's types, of which
                   contract_parameters are the leaf parameters
    expansion      replaces ids by objects where a request asks; what it may ask follows from types
    documents      receipts, mandates and invoices (pdf) that links lead to
    hosted_page_client   a payer without JavaScript, for tests and demonstrations
"""

from payments.sandbox.account import BillingSettings
from payments.sandbox.api import LoggedRequest
from payments.sandbox.api_keys import ApiKey
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
    "ApiKey",
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
