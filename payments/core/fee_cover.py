"""Fee cover: a reader may add Stripe's fee to a gift, so that the whole gift arrives.

The fee is what the operator sets in PAYMENTS_STRIPE_FEES; without one, nothing is offered in that
currency. It is the usual fee: a card from abroad may cost more, and the page says so.
"""

from collections.abc import Mapping

from payments.core import money
from payments.core.money import Money

BASIS_POINTS = 10_000  # hundredths of a percent

Fee = tuple[int, int]  # a share in basis points, and a fixed part in minor units
FeeSchedule = Mapping[str, Fee]  # by currency


def fee_to_add(gift: Money, fees: FeeSchedule) -> Money | None:
    """Return what to add to a gift so that it is whole after the fee.

    None where the currency's fee is not known. Rounded up to the currency's smallest unit.
    """
    if gift.currency not in fees:
        return None
    share, fixed = fees[gift.currency]
    step = money.smallest_unit(gift.currency)
    # The fee is taken from the total, and total - fee = gift; both divisions round up.
    total = -(-(gift.amount + fixed) * BASIS_POINTS // (BASIS_POINTS - share))
    return Money(-(-total // step) * step, gift.currency) - gift
