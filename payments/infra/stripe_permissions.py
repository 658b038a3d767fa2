"""The permissions that our API key needs at Stripe, and none besides.

The list is held against the requests of the whole test run (`tests/conftest.py`), README and
`.env.example`. A permission is a resource and an access, as in Stripe's errors without `rak_`;
write includes read. What another one implies is not listed:
https://docs.stripe.com/keys/restricted-api-keys

Probing changes nothing. A read lists one object; a write asks to change an object that nobody has:
Stripe looks at the key before it looks for the object, and answers 403 or 404.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import stripe

from payments.core.errors import StripePermissionMissing
from payments.infra import stripe_client
from payments.infra.context import Context

NOBODYS: Final = "permissionprobe"  # the end of an id that no object has
ONE: Final[Any] = MappingProxyType({"limit": 1})


@dataclass(frozen=True, slots=True)
class Permission:
    """One permission. `row` is what Stripe's dashboard calls it, `reason` is for the operator."""

    resource: str
    access: str
    row: str
    reason: str
    call: Callable[[stripe.StripeClient], Awaitable[object]]

    @property
    def name(self) -> str:
        """The permission as Stripe's errors name it."""
        return f"rak_{self.resource}_{self.access}"


# fmt: off
PERMISSIONS: tuple[Permission, ...] = (
    Permission("checkout_session", "write", "Checkout Sessions",
        "opens payment pages, and closes them in an attack or an emergency stop",
        lambda s: s.v1.checkout.sessions.expire_async(f"cs_test_{NOBODYS}")),
    Permission("customer", "write", "Customers",
        "sets the card that a donor gives; reads where to write to",
        lambda s: s.v1.customers.update_async(f"cus_{NOBODYS}", {})),
    Permission("dispute", "write", "Disputes",
        "answers a dispute, or accepts it, when a colleague says so; reads their deadlines",
        lambda s: s.v1.disputes.update_async(f"dp_{NOBODYS}", {})),
    Permission("invoice", "write", "Invoices",
        "settles a debt with a new card, or voids it; says which gift a payment is for",
        lambda s: s.v1.invoices.pay_async(f"in_{NOBODYS}")),
    Permission("product", "write", "Products",
        "`payments stripe setup` makes the three Products",
        lambda s: s.v1.products.update_async(f"prod_{NOBODYS}", {})),
    Permission("refund", "write", "Charges and Refunds",
        "gives money back when a colleague says so",
        lambda s: s.v1.refunds.update_async(f"re_{NOBODYS}", {})),
    Permission("subscription", "write", "Subscriptions",
        "changes, skips, pauses, resumes and ends recurring contributions",
        lambda s: s.v1.subscriptions.update_async(f"sub_{NOBODYS}", {})),
    Permission("webhook", "write", "Webhook Endpoints",
        "`payments stripe setup` makes the endpoint; the schedule looks whether it is as it was",
        lambda s: s.v1.webhook_endpoints.update_async(f"we_{NOBODYS}", {})),
    Permission("accounts_kyc_basic", "read", "Account (KYC basics)",
        "whose account it is, and what a bank statement shows",
        lambda s: s.v1.accounts.retrieve_current_async()),
    Permission("balance_transaction_source", "read", "Balance transaction sources",
        "the books: every movement of the balance, and the balance itself",
        lambda s: s.v1.balance_transactions.list_async(ONE)),
    Permission("charge", "read", "Charges and Refunds",
        "payments, and warnings of fraud",
        lambda s: s.v1.charges.list_async(ONE)),
    Permission("payment_method_configuration", "read", "Payment Method Configurations",
        "shows readers in articles how they can pay",
        lambda s: s.v1.payment_method_configurations.list_async(ONE)),
    Permission("event", "read", "Events",
        "finds webhooks that did not arrive",
        lambda s: s.v1.events.list_async(ONE)),
    Permission("payment_method", "read", "Payment Methods",
        "whether a card is about to expire; nothing of it is stored but the month",
        lambda s: s.v1.customers.payment_methods.list_async(f"cus_{NOBODYS}", ONE)),
    Permission("payout", "read", "Payouts",
        "what arrived at the bank, and what was in it",
        lambda s: s.v1.payouts.list_async(ONE)),
)
# fmt: on
# A read of what a listed permission lets the key read as well: the write of the same resource, or
# another that implies it. Stripe's refusal of a read names the read.
READS: Mapping[str, Callable[[stripe.StripeClient], Awaitable[object]]] = {
    "balance": lambda s: s.v1.balance.retrieve_async(),
    "checkout_session": lambda s: s.v1.checkout.sessions.list_async(ONE),
    "customer": lambda s: s.v1.customers.list_async(ONE),
    "dispute": lambda s: s.v1.disputes.list_async(ONE),
    "invoice": lambda s: s.v1.invoices.list_async(ONE),
    "payment_intent": lambda s: s.v1.payment_intents.list_async(ONE),
    "product": lambda s: s.v1.products.list_async(ONE),
    "refund": lambda s: s.v1.refunds.list_async(ONE),
    "setup_intent": lambda s: s.v1.setup_intents.list_async(ONE),
    "subscription": lambda s: s.v1.subscriptions.list_async(ONE),
    "webhook": lambda s: s.v1.webhook_endpoints.list_async(ONE),
}


def scopes() -> Mapping[str, str]:
    """Return the access by resource, as a restricted key has them."""
    return {one.resource: one.access for one in PERMISSIONS}


def in_words() -> str:
    """Return the whole list as one line, by the names that Stripe's dashboard has."""
    rows = {
        access: sorted({one.row for one in PERMISSIONS if one.access == access})
        for access in ("write", "read")
    }
    read = [row for row in rows["read"] if row not in rows["write"]]
    return f"write: {', '.join(rows['write'])}; read: {', '.join(read)}"


async def has(ctx: Context, name: str) -> bool:
    """Ask Stripe whether our key has a permission, by the name that a refusal of Stripe's has.

    Of a name that is none of ours, whether it has all that are listed. Raises StripeUnavailable.
    """
    resource, _, access = name.removeprefix("rak_").rpartition("_")
    if access == "read" and resource in READS:
        return await _is_allowed(ctx, READS[resource])
    listed = [one for one in PERMISSIONS if one.name == name]
    return not [one for one in listed or PERMISSIONS if not await is_granted(ctx, one)]


async def is_granted(ctx: Context, permission: Permission) -> bool:
    """Ask Stripe whether our key has a permission, without effect. Raises StripeUnavailable."""
    return await _is_allowed(ctx, permission.call)


async def _is_allowed(
    ctx: Context, call: Callable[[stripe.StripeClient], Awaitable[object]]
) -> bool:
    try:
        with stripe_client.translate_errors():
            await call(ctx.stripe)
    except StripePermissionMissing:
        return False
    except stripe.InvalidRequestError:  # nobody has such an object: the key may do it
        return True
    return True


async def missing(ctx: Context) -> list[Permission]:
    """Return the permissions that our key lacks. Raises StripeUnavailable."""
    return [one for one in PERMISSIONS if not await is_granted(ctx, one)]
