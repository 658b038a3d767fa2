"""Covered amounts: which part of a subscription's amount its donor added for the payment fee.

Stripe's subscription says it in its metadata, together with the amount that it was a part of: where
another is charged by now, as after a change in the dashboard, no part is known.
"""

import re
from collections.abc import Mapping

from payments.core import fee_cover
from payments.core.money import Money
from payments.giving.subscriptions import Subscription
from payments.infra.context import Context

KEY = "fee_cover"  # in the metadata: the part and the whole, in minor units, such as 45/545


def metadata(cover: Money | None, total: Money) -> dict[str, str]:
    """Return what the metadata says of an amount; an empty value takes it out."""
    return {KEY: "" if cover is None else f"{cover.amount}/{total.amount}"}


def part_in(fields: Mapping[str, str] | None, amount: int | None) -> int | None:
    """Return the part of an amount that metadata says, in minor units; None where it says none."""
    said = re.fullmatch(r"([0-9]{1,12})/([0-9]{1,12})", (fields or {}).get(KEY, ""))
    if said is None or int(said[2]) != amount or not 0 < int(said[1]) < amount:
        return None
    return int(said[1])


def gift_of(subscription: Subscription) -> Money | None:
    """Return what a donor gives without the fee that they added; None where it varies."""
    total, cover = subscription.money, subscription.fee_cover
    return total if total is None or cover is None else total - Money(cover, total.currency)


def stays_covered(ctx: Context, subscription: Subscription) -> bool:
    """Whether another amount gets the fee added, as this one has: if it is known."""
    return subscription.fee_cover is not None and subscription.currency in ctx.settings.stripe_fees


def with_fee(ctx: Context, gift: Money, *, covers: bool) -> tuple[Money, Money | None]:
    """Return what a gift takes, and the part of it that is for the fee, if it is to be covered."""
    cover = fee_cover.fee_to_add(gift, ctx.settings.stripe_fees) if covers else None
    return (gift, None) if cover is None else (gift + cover, cover)
