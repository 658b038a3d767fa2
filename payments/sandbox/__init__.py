"""A stateful stand-in for Stripe: API, hosted pages, events, billing clock and faults.

It behaves as Stripe does at API version 2026-10-28.endive, according to the pinned SDK's types and
Stripe's documentation. No money moves, and the only network requests are the webhooks it sends. It
imports no other room of `payments`; only ops, cli and tests import it.

sandbox                     the whole: advancing time, sending deliveries, saving
server                      listening on a port: the API, the hosted pages, control
__main__                    the program
control                     `/_control`: the clock, faults, what owners, banks and payers do
control_input               its JSON bodies
simulations                 what banks, networks, the owner and Stripe do by themselves
dashboard                   changes made in Stripe's dashboard or customer portal
unknown_values              objects with values that no SDK knows yet
faults                      dropped connections, errors, hanging requests
state_file                  everything in a file

api                         one request in, one response out
api_keys                    secret, restricted and publishable keys
permissions                 which one a restricted key needs for what
api_versions                older versions: their parameters, and how they show objects
routes                      which handler answers what, and reads which parameters
declared_params             what a route declares to read, and what a request sends beside it
recorded_params             finds what a handler declares and drops
request_checks              refuses the others, before the handler runs
request_params              parsing of single parameters
route_table                 writes docs/sandbox-routes.md
form_encoding               forms with brackets in their names
listing                     lists and their pages
expansion                   ids replaced by objects where a request asks
errors                      Stripe's errors
contract                    checks requests, responses and events against the types of Stripe's SDK
contract_annotations        reads those types
contract_types              makes checks of them
contract_parameters         the leaf parameters of an endpoint
contract_expansion          which properties can be expanded

account                     one account's store, clock, scheduled tasks, events and billing settings
account_settings            the account's own object, and what its owner set
store                       all objects by id
clock                       wall time, billing time and their tasks
events                      events and webhook endpoints
webhook_deliveries          the queue, signatures and retries
external_accounts           the bank accounts that payouts go to
empty_collections           lists that are asked for and have nothing
reference_data              what is the same in every account

catalog                     products and prices
pricing                     what a quantity of a price costs
custom_amounts              prices whose amount the payer chooses
plans                       what prices were called before
currencies                  exponents, smallest charges, rates, fees
customers                   who pays
customer_balance            their credit, which lowers the next invoices
payment_methods             cards and bank accounts, and who may use which
payment_method_configurations  which methods the owner has switched on
payment_method_creation     making one through the API
payment_method_params       what requests say of one
cards                       the test cards: what each number does
card_tokens                 and its names, `pm_card_…` and `tok_…`
sepa_debit                  test bank accounts and mandates
legacy_sources              `card_…` and `src_…`

checkout                    Checkout sessions
checkout_defaults           the fields of a new one
checkout_items              what it sells
checkout_payment            completes it
payment_links               pages that open sessions
hosted_page                 the page of a session
hosted_invoice_page         the page of an invoice
hosted_authentication_page  3-D Secure of what the API confirmed
payment_form                parses the pages' form
hosted_page_client          a payer without JavaScript, for tests and demonstrations
documents                   receipts, mandates and invoices that links lead to
pdf                         a page as PDF

payment_intents             each collects one amount
setup_intents               each saves a card or bank account
three_d_secure              where an intent that needs it leads
charges                     attempts to take money
async_payments              what a debit pays, once its outcome is known
sepa_debit_payments         debits: days of waiting, and returns
refunds                     money given back
disputes                    a bank takes a charge back, or asks first
fraud_warnings              a network reports a charge

subscriptions               what is charged each period
subscription_endpoints      made and cancelled through the API
subscription_items          read one by one
subscription_updates        changed
subscription_pauses         paused, in Stripe's two ways
subscription_schedules      beginning on a later day
renewals                    the end of a period, and a preview of the next invoice
billing_periods             periods counted from an anchor
invoices                    invoices and their payments
invoice_lines               their lines
invoice_items               manual invoices, and what waits for the next one
invoice_endpoints           pay, finalize, void
invoice_collection          attempts, retries, and what follows the last one

balance                     a transaction for each movement of money
balance_adjustments         Stripe's own: fees, reserves, conversions
payouts                     what goes to the bank
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
