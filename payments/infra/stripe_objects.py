"""Whether Stripe has an object: what a "no such object" in the midst of a job does not say.

Such an answer may be about something that the object only names, and with the key of another
account nothing of ours is there. So an object is missing only when it is asked for by itself, by a
key whose account is known to be the one of this database.
"""

from collections.abc import Awaitable, Callable, Mapping

import stripe

from payments.infra import stripe_account, stripe_client
from payments.infra.context import Context

Retrieve = Callable[[stripe.StripeClient, str], Awaitable[stripe.StripeObject]]
RETRIEVE: Mapping[str, Retrieve] = {
    "balance_transaction": lambda s, id_: s.v1.balance_transactions.retrieve_async(id_),
    "charge": lambda s, id_: s.v1.charges.retrieve_async(id_),
    "checkout.session": lambda s, id_: s.v1.checkout.sessions.retrieve_async(id_),
    "customer": lambda s, id_: s.v1.customers.retrieve_async(id_),
    "dispute": lambda s, id_: s.v1.disputes.retrieve_async(id_),
    "invoice": lambda s, id_: s.v1.invoices.retrieve_async(id_),
    "payout": lambda s, id_: s.v1.payouts.retrieve_async(id_),
    "radar.early_fraud_warning": lambda s, id_: s.v1.radar.early_fraud_warnings.retrieve_async(id_),
    "refund": lambda s, id_: s.v1.refunds.retrieve_async(id_),
    "setup_intent": lambda s, id_: s.v1.setup_intents.retrieve_async(id_),
    "subscription": lambda s, id_: s.v1.subscriptions.retrieve_async(id_),
}


def is_missing_error(error: BaseException) -> bool:
    """Whether Stripe says that it has no such object, whichever one was asked for."""
    return isinstance(error, stripe.InvalidRequestError) and error.code == "resource_missing"


async def is_missing(ctx: Context, object_type: str, object_id: str) -> bool:
    """Ask Stripe for one object, and return whether it does not have it, or has it no more.

    Of a type that is not asked for by id nothing is missing. Raises WrongStripeAccount,
    AccountNotVerified and StripeUnavailable.
    """
    if object_type not in RETRIEVE:
        return False
    try:
        with stripe_client.translate_errors():
            fetched = await RETRIEVE[object_type](ctx.stripe, object_id)
    except stripe.InvalidRequestError as error:
        if not is_missing_error(error):
            raise
    else:
        if not getattr(fetched, "deleted", False):
            return False
    await stripe_account.require_verified(ctx)
    return True
