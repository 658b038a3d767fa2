"""How a reader can pay on Stripe's page: what the account's owner has switched on there.

Named is only what Checkout offers for once and for renewals alike, in a currency that the method
takes; the others may be there too. Stripe is asked once in a quarter of an hour by each process, by
one request at a time. Where it does not answer, or refuses to, the last answer stands; without one
nothing is named.
"""

import asyncio
from contextlib import suppress
from datetime import datetime, timedelta
from weakref import WeakKeyDictionary

import stripe

from payments.core.errors import PaymentsError
from payments.infra import stripe_client
from payments.infra.context import Context

LIFETIME = timedelta(minutes=15)
RETRY_AFTER = timedelta(minutes=1)
PATIENCE_SECONDS = 3  # a reader's page waits no longer
ANY_CURRENCY: frozenset[str] = frozenset()
# By Stripe's name, in the order they are shown: the brands that a reader knows, the currencies.
METHODS: dict[str, tuple[tuple[str, ...], frozenset[str]]] = {
    "card": (("visa", "mastercard", "amex"), ANY_CURRENCY),
    "apple_pay": (("apple_pay",), ANY_CURRENCY),
    "google_pay": (("google_pay",), ANY_CURRENCY),
    "link": (("link",), ANY_CURRENCY),
    "sepa_debit": (("sepa_debit",), frozenset({"eur"})),
    "bancontact": (("bancontact",), frozenset({"eur"})),
    "ideal": (("ideal",), frozenset({"eur"})),
    "bacs_debit": (("bacs_debit",), frozenset({"gbp"})),
    "us_bank_account": (("us_bank_account",), frozenset({"usd"})),
    "cashapp": (("cashapp",), frozenset({"usd"})),
}
_read: WeakKeyDictionary[stripe.StripeClient, tuple[datetime, frozenset[str]]] = WeakKeyDictionary()


async def brands(ctx: Context) -> dict[str, list[str]]:
    """Return the brands that the account takes, in their order, by currency; "" is any other."""
    now = ctx.now()
    known = _read.get(ctx.stripe)
    if known is None or not known[0] - LIFETIME <= now < known[0]:
        # One request asks, and the others have the last answer meanwhile.
        known = _read[ctx.stripe] = (now + RETRY_AFTER, frozenset() if known is None else known[1])
        with suppress(PaymentsError, stripe.InvalidRequestError, TimeoutError):
            switched_on = await asyncio.wait_for(_switched_on(ctx), PATIENCE_SECONDS)
            known = _read[ctx.stripe] = (now + LIFETIME, switched_on)
    return _by_currency(known[1])


async def _switched_on(ctx: Context) -> frozenset[str]:
    """Return the methods that are available and on in the account's own configuration."""
    with stripe_client.translate_errors():
        page = await ctx.stripe.v1.payment_method_configurations.list_async(
            {"limit": stripe_client.MAX_PAGE_SIZE}
        )
        configurations = [one async for one in page.auto_paging_iter()]
    default = next((one for one in configurations if one.is_default and one.active), None)
    if default is None:
        return frozenset()
    return frozenset(
        name
        for name in METHODS
        if (method := getattr(default, name, None)) is not None
        and method.available
        and method.display_preference.value == "on"
    )


def _by_currency(switched_on: frozenset[str]) -> dict[str, list[str]]:
    currencies = {""}.union(*(currencies for _, currencies in METHODS.values()))
    return {
        code: [
            brand
            for name, (brand_names, takes) in METHODS.items()
            if name in switched_on and (takes == ANY_CURRENCY or code in takes)
            for brand in brand_names
        ]
        for code in sorted(currencies)
    }
