"""The comparisons of a reconciliation: for each type of object, how Stripe lists it, where it is
stored, and which values must be the same. Addresses are compared by their hashes.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import stripe
from sqlalchemy.ext.asyncio import AsyncSession

from payments.core.calendar import from_unix
from payments.donors import donors
from payments.giving import (
    adoption,
    contributions,
    current_card,
    import_unknown,
    subscription_sync,
    subscription_terms,
)
from payments.giving.subscriptions import LIVE_STATUSES
from payments.infra import stripe_client
from payments.infra.context import Context

BALANCE_TRANSACTION, CUSTOMER = "balance_transaction", "customer"
ComparedValues = tuple[object, ...]  # of one object, in the order of its comparison


@dataclass(frozen=True, slots=True, eq=False)
class OneOf:
    """A value at Stripe that ours equals if it is one of these; any value, if there are none."""

    values: tuple[object, ...] = ()

    def __eq__(self, other: object) -> bool:
        """Whether ours is the same."""
        return not self.values or other in self.values

    __hash__ = None  # type: ignore[assignment]  # it equals many

    def __str__(self) -> str:
        """Say that it differs, and nothing of it."""
        return "another"


NOT_SETTLED = OneOf()  # what Stripe will charge is not settled yet


@dataclass(frozen=True, slots=True)
class AskedValues:
    """The values of an object for which Stripe, or the settings, may have to be asked."""

    ask: Callable[[Context, Any], Awaitable[ComparedValues | None]]


@dataclass(frozen=True, slots=True)
class Comparison:
    """How one type of object is listed at Stripe, and what of it our row must equal."""

    list_service: Callable[[Context], Any]  # the SDK's services share no type
    # None for what we would not store
    stripe_values: Callable[[Any], ComparedValues | None] | AskedValues
    table: str
    id_column: str
    columns_sql: str
    list_params: Mapping[str, object] = field(default_factory=dict)
    object_type: str = ""  # Stripe's, where it is not the name of the comparison
    # Which of our rows Stripe must have; None where it may list less than we hold.
    held_sql: str | None = None
    # whether what has no row here should have one; the others all should
    is_ours: Callable[[Context, str], Awaitable[bool]] | None = None
    lists_all_held: bool = False  # Stripe is asked for all of them, whenever they were created

    async def values_of(self, ctx: Context, listed: Any) -> ComparedValues | None:  # noqa: ANN401 - the SDK's objects share no type
        """Return what of an object at Stripe our row must equal. Raises StripeUnavailable."""
        if isinstance(self.stripe_values, AskedValues):
            return await self.stripe_values.ask(ctx, listed)
        return self.stripe_values(listed)


async def _subscription_values(ctx: Context, fetched: stripe.Subscription) -> ComparedValues:
    """Return what donors are shown. Stripe is asked where no price says the amount."""
    item, card = fetched["items"].data[0], current_card.from_subscription(fetched)
    terms = await subscription_terms.fetch_terms(ctx, fetched)
    end = fetched.cancel_at
    if end is None and fetched.cancel_at_period_end:
        end = item.current_period_end
    is_paused = fetched.pause_collection is not None or fetched.status == "paused"
    return (
        fetched.status,
        item.price.id,
        None if card is None else card.id,
        is_paused,
        end,
        terms.amount if terms.is_settled else NOT_SETTLED,
        fetched.currency,
        f"every {terms.interval.count} {terms.interval.unit}",
    )


async def _customer_values(ctx: Context, fetched: stripe.Customer) -> ComparedValues:
    """Return the hashes that the donor of a customer may have: one under each key."""
    if not fetched.email:
        return (None,)
    return (OneOf(tuple(await donors.lenient_address_hashes(ctx.settings, fetched.email))),)


async def _leads_to_nobody(_ctx: Context, _customer_id: str) -> bool:
    """Whether a customer without a donor here should have one: they have given nothing."""
    return False


async def _is_session_due(ctx: Context, session_id: str) -> bool:
    """Whether a session without a row should have one: it is for a contribution, and whoever gave
    was not erased.
    """
    with stripe_client.translate_errors():
        fetched = await ctx.stripe.v1.checkout.sessions.retrieve_async(
            session_id, {"expand": ["payment_intent", "subscription"]}
        )
    root_id = stripe_client.id_of(fetched.subscription)
    root_id = root_id or stripe_client.id_of(fetched.payment_intent)
    if await _is_erased(ctx, fetched, root_id, fetched.created):
        return False
    return await adoption.includes_session(ctx, fetched)


async def _is_subscription_due(ctx: Context, subscription_id: str) -> bool:
    """Whether a subscription without a row should have one. An erased donor's is missed while it
    may be charged: then a repair cancels it. One that was dropped before is not.
    """
    with stripe_client.translate_errors():
        fetched = await ctx.stripe.v1.subscriptions.retrieve_async(subscription_id)
    if fetched.ended_at is not None:
        is_left_out = await _is_erased(ctx, fetched, fetched.id, fetched.start_date)
    else:
        async with ctx.sessions() as session:
            erased_id = await _find_erased(ctx, session, fetched, fetched.id)
            is_left_out = await contributions.was_dropped(session, erased_id)
    return not is_left_out and await adoption.includes_subscription(ctx, fetched)


async def _is_erased(
    ctx: Context, fetched: adoption.Holder, root_id: str | None, given_at: int
) -> bool:
    async with ctx.sessions() as session:
        if await donors.all_erased_since(session, from_unix(given_at)):
            return True
        return await _find_erased(ctx, session, fetched, root_id) is not None


async def _find_erased(
    ctx: Context, session: AsyncSession, fetched: adoption.Holder, root_id: str | None
) -> str | None:
    claimed_id = stripe_client.metadata_value(fetched, "contribution_id")
    return await import_unknown.find_erased(session, ctx.settings, root_id, claimed_id)


LIVE_SQL = ", ".join(f"'{status}'" for status in LIVE_STATUSES)
AMOUNT_COLUMNS = "amount, currency, status"
COMPARISONS = {
    "checkout.session": Comparison(
        lambda ctx: ctx.stripe.v1.checkout.sessions,
        lambda s: ("paid",) if s.mode != "setup" and s.payment_status == "paid" else None,
        "contributions",
        "stripe_session_id",
        "CASE status WHEN 'returned' THEN 'paid' ELSE status END",
        {"status": "complete"},
        is_ours=_is_session_due,
    ),
    "subscription": Comparison(
        lambda ctx: ctx.stripe.v1.subscriptions,
        AskedValues(_subscription_values),
        "subscriptions",
        "stripe_subscription_id",
        "status, stripe_price_id, stripe_payment_method_id, is_paused,"
        " CAST(extract(epoch FROM scheduled_end_at) AS bigint), amount, currency,"
        " 'every ' || interval_count || ' ' || interval_unit",
        {"expand": [f"data.{path}" for path in subscription_sync.SUBSCRIPTION_EXPAND]},
        held_sql=f"status IN ({LIVE_SQL})",
        is_ours=_is_subscription_due,
        lists_all_held=True,
    ),
    "ended_subscription": Comparison(
        lambda ctx: ctx.stripe.v1.subscriptions,
        lambda s: (s.status,),
        "subscriptions",
        "stripe_subscription_id",
        "status",
        {"status": "canceled"},
        object_type="subscription",
        is_ours=_is_subscription_due,
    ),
    CUSTOMER: Comparison(
        lambda ctx: ctx.stripe.v1.customers,
        AskedValues(_customer_values),
        "donor_customers",
        "stripe_customer_id",
        "(SELECT address_hash FROM donors WHERE id = donor_id)",
        is_ours=_leads_to_nobody,
        held_sql="true",
        lists_all_held=True,
    ),
    "charge": Comparison(
        lambda ctx: ctx.stripe.v1.charges,
        lambda c: (c.amount, c.currency, c.balance_transaction) if c.paid else None,
        "charges",
        "stripe_charge_id",
        "amount, currency, balance_transaction",
        held_sql="charged_at BETWEEN :since AND :until",
    ),
    "refund": Comparison(
        lambda ctx: ctx.stripe.v1.refunds,
        lambda r: (r.amount, r.currency, r.status),
        "refunds",
        "stripe_refund_id",
        AMOUNT_COLUMNS,
        held_sql="requested_at BETWEEN :since AND :until",
    ),
    "dispute": Comparison(
        lambda ctx: ctx.stripe.v1.disputes,
        lambda d: (d.amount, d.currency, d.status),
        "disputes",
        "stripe_dispute_id",
        AMOUNT_COLUMNS,
        held_sql="opened_at BETWEEN :since AND :until",
    ),
    "radar.early_fraud_warning": Comparison(
        lambda ctx: ctx.stripe.v1.radar.early_fraud_warnings,
        lambda w: (w.actionable,),
        "fraud_warnings",
        "stripe_warning_id",
        "actionable",
        held_sql="warned_at BETWEEN :since AND :until",
    ),
    "payout": Comparison(
        lambda ctx: ctx.stripe.v1.payouts,
        lambda p: (p.amount, p.currency, p.status),
        "payouts",
        "stripe_payout_id",
        AMOUNT_COLUMNS,
        held_sql="created_at BETWEEN :since AND :until",
    ),
    BALANCE_TRANSACTION: Comparison(
        lambda ctx: ctx.stripe.v1.balance_transactions,
        lambda bt: (bt.type, bt.amount, bt.fee, bt.net, bt.currency, bt.created),
        "balance_transactions",
        "id",
        "type, amount, fee, net, currency, CAST(extract(epoch FROM occurred_at) AS bigint)",
        held_sql="occurred_at BETWEEN :since AND :until",
    ),
}
