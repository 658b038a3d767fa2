"""Covering the fee: a reader may add what Stripe keeps, so that the whole of a gift arrives.

The operator says what Stripe keeps; nothing is offered in a currency whose fee is not known. It is
the usual fee: a card from abroad may cost more, and the page says so.
"""

from collections.abc import Mapping

from payments.core import money
from payments.core.money import Money

BASIS_POINTS = 10_000  # hundredths of a percent

FeeSchedule = Mapping[str, tuple[int, int]]


def fee_to_add(gift: Money, fees: FeeSchedule) -> Money | None:
    """What to add to a gift so that after Stripe's fee it is whole; None where nobody knows."""
    if gift.currency not in fees:
        return None
    share, fixed = fees[gift.currency]
    step = money.smallest_unit(gift.currency)
    # The fee is taken from the sum, so the sum is what leaves the gift when the fee is gone.
    needed = -(-(gift.amount + fixed) * BASIS_POINTS // (BASIS_POINTS - share))
    return Money(-(-needed // step) * step, gift.currency) - gift
