"""Refunds that the donor safety policy requires without a colleague's decision.

By default there are none: a refund is a second line at a bank that may be asked.
"""

from payments.core.safety_policy import RefundRule
from payments.infra.context import Context
from payments.settlement import refund_requests
from payments.settlement.refund_requests import RefundNotPossible
from payments.settlement.refunds import RefundReason


def are_required(ctx: Context) -> bool:
    """Whether the policy of today has such payments refunded at once."""
    policy = ctx.settings.safety_policy
    return policy is not None and policy.refunds is RefundRule.AUTO


async def request(ctx: Context, charge_id: str, *, cause: str) -> None:
    """Refund a charge whole, once for each cause. Raises StripeUnavailable.

    One that is refunded or disputed already is left to the person whose alert is open.
    """
    try:
        await refund_requests.request(
            ctx,
            charge_id,
            reason=RefundReason.REQUESTED_BY_CUSTOMER,
            staff_id=None,
            idempotency_key=f"{cause}:{charge_id}"[:64],
        )
    except RefundNotPossible:
        return
