"""A customer's balance: a credit, below zero, lowers the next invoices in its currency.

An invoice whose total is below zero is paid at once, and what is over is credited. Finalizing an
invoice uses the balance, voiding it gives that back. Its transactions are not listed.
https://docs.stripe.com/billing/customer/balance
"""

from typing import Final

from payments.sandbox.account import StripeAccount
from payments.sandbox.form_encoding import JsonObject

_CURRENCY: Final = "balance_currency"  # a private fact of the customer
_IGNORED: Final = "ignores_balance"  # a private fact of the invoice


def draft_amounts(
    account: StripeAccount, customer: JsonObject, currency: str, total: int
) -> JsonObject:
    """Return what a draft over a total would ask for, in minor units."""
    balance = _balance(account, customer, currency)
    due = max(total + balance, 0)
    return {"amount_due": due, "amount_remaining": due, "starting_balance": balance}


def ignore(account: StripeAccount, invoice: JsonObject) -> None:
    """Ask for a draft's whole total: it has been paid, on a page that showed the total."""
    account.store.private(invoice["id"])[_IGNORED] = True
    total = invoice["total"]
    invoice |= {"amount_due": total, "amount_remaining": total, "starting_balance": 0}


def apply(account: StripeAccount, invoice: JsonObject) -> None:
    """Use the balance for an invoice that is being finalized, and credit what is over."""
    customer = account.store.get("customer", invoice["customer"])
    if customer is None or account.store.private(invoice["id"]).get(_IGNORED):
        return
    currency, total = invoice["currency"], invoice["total"]
    invoice |= draft_amounts(account, customer, currency, total)
    ending = min(total + invoice["starting_balance"], 0)
    invoice["ending_balance"] = ending
    _set_balance(account, customer, currency, ending)


def give_back(account: StripeAccount, invoice: JsonObject) -> None:
    """Give back what an invoice that is voided has used of the balance."""
    customer = account.store.get("customer", invoice["customer"])
    if customer is None or invoice["ending_balance"] is None:
        return
    used = invoice["starting_balance"] - invoice["ending_balance"]
    currency = invoice["currency"]
    _set_balance(account, customer, currency, _balance(account, customer, currency) + used)


def _balance(account: StripeAccount, customer: JsonObject, currency: str) -> int:
    has_balance = account.store.private(customer["id"]).get(_CURRENCY) == currency
    return int(customer["balance"]) if has_balance else 0


def _set_balance(account: StripeAccount, customer: JsonObject, currency: str, balance: int) -> None:
    if balance != _balance(account, customer, currency):
        account.store.private(customer["id"])[_CURRENCY] = currency
        account.update_and_emit(customer, "customer.updated", balance=balance)
