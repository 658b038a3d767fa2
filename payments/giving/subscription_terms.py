"""Subscription terms: how much a subscription charges and how often, as Stripe will charge it.

The amount is the sum of the items where their prices say it: a fixed amount for each unit. Where
they do not (tiers, a package of units, a discount, a tax) Stripe is asked for its next invoice, or
for the last one. What depends on usage, or on items of different intervals, has no amount that is
the same each time: it is unknown, and shown as that.
"""

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

import stripe

from payments.core.errors import StripeRejected
from payments.core.frequency import Interval
from payments.infra import stripe_client, stripe_objects
from payments.infra.context import Context


@dataclass(frozen=True, slots=True)
class SubscriptionTerms:
    """What a subscription charges. `amount` is in minor units; None where it is not known."""

    interval: Interval
    amount: int | None
    stripe_price_id: str  # of its first item
    is_settled: bool = True  # False while what Stripe invoices does not show a fixed amount


def interval_of(fetched: stripe.Subscription) -> Interval:
    """Return the interval of a subscription: the shortest of its items."""
    return min(_intervals(fetched), key=lambda interval: -interval.charges_per_month)


def _intervals(fetched: stripe.Subscription) -> set[Interval]:
    prices = [item.price for item in fetched["items"].data]
    return {Interval.of(one.recurring.interval, one.recurring.interval_count) for one in prices}


async def fetch_terms(ctx: Context, fetched: stripe.Subscription) -> SubscriptionTerms:
    """Return the terms of a subscription as fetched. Raises StripeUnavailable."""
    amount: int | None = None
    if _is_fixed(fetched):
        if _is_in_prices(fetched):
            amount = sum(map(_item_amount, fetched["items"].data))
        else:
            amount = await _invoiced_amount(ctx, fetched)
    is_settled = amount is not None or not _is_fixed(fetched)
    price_id = fetched["items"].data[0].price.id
    return SubscriptionTerms(interval_of(fetched), amount, price_id, is_settled)


def _is_fixed(fetched: stripe.Subscription) -> bool:
    """Whether each charge is of the same amount: no usage is counted, and all is due at once."""
    recurring = [item.price.recurring for item in fetched["items"].data]
    is_metered = any(getattr(one, "usage_type", "licensed") != "licensed" for one in recurring)
    return len(_intervals(fetched)) == 1 and not is_metered


def is_changed_by_discount_or_tax(fetched: stripe.Subscription) -> bool:
    """Whether a subscription charges another total than the price of its first item would.

    Its customer must be expanded: a discount of theirs is of every subscription without its own.
    """
    tax = getattr(fetched, "automatic_tax", None)
    first = fetched["items"].data[0]
    holders = (
        (fetched.customer, "discount"),
        (fetched, "discounts"),
        (fetched, "default_tax_rates"),
        (first, "discounts"),
        (first, "tax_rates"),
    )
    is_taxed = tax is not None and bool(tax.enabled)
    return is_taxed or any(getattr(one, name, None) for one, name in holders)


def _is_in_prices(fetched: stripe.Subscription) -> bool:
    """Whether the prices of the items say all that is charged."""
    if is_changed_by_discount_or_tax(fetched) or getattr(fetched["items"], "has_more", False):
        return False
    return all(
        item.price.billing_scheme == "per_unit"
        and item.price.unit_amount_decimal is not None
        and getattr(item.price, "transform_quantity", None) is None
        and not getattr(item, "discounts", None)
        and not getattr(item, "tax_rates", None)
        for item in fetched["items"].data
    )


def _item_amount(item: stripe.SubscriptionItem) -> int:
    """Return the amount of one item, rounded once, half up, as a line of Stripe's invoice is."""
    unit_amount = Decimal(str(item.price.unit_amount_decimal))
    quantity = 1 if (given := getattr(item, "quantity", None)) is None else given
    return int((unit_amount * quantity).to_integral_value(ROUND_HALF_UP))


async def _invoiced_amount(ctx: Context, fetched: stripe.Subscription) -> int | None:
    """Return what Stripe's next invoice charges, or the last one did; None if it has neither."""
    try:
        with stripe_client.translate_errors():
            preview = await ctx.stripe.v1.invoices.create_preview_async(
                {"subscription": fetched.id}
            )
        return _recurring_total(preview)
    except (stripe.InvalidRequestError, StripeRejected):
        pass  # an ended subscription has no next invoice
    invoice_id = stripe_client.id_of(fetched.latest_invoice)
    if invoice_id is None:
        return None
    try:
        with stripe_client.translate_errors():
            invoice = await ctx.stripe.v1.invoices.retrieve_async(invoice_id)
    except stripe.InvalidRequestError as error:
        if not stripe_objects.is_missing_error(error):
            raise
        return None  # a draft was deleted
    if fetched.trial_end is not None and invoice.created < fetched.trial_end:
        return None  # a trial is free, and says nothing of what comes after it
    return _recurring_total(invoice)


def _recurring_total(invoice: stripe.Invoice) -> int | None:
    """Return what an invoice charges for its period, without what is charged once beside it, such
    as the rest of a period after a change. None where a tax or a discount is of both.
    """
    beside = [line.amount for line in invoice.lines.data if not _is_for_its_period(line)]
    if beside and invoice.total != invoice.subtotal:
        return None
    return invoice.total - sum(beside)


def _is_for_its_period(line: stripe.InvoiceLineItem) -> bool:
    details = line.parent.subscription_item_details if line.parent is not None else None
    return details is not None and not details.proration
