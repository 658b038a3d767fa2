"""Stripe's lists of what a group can still be charged by. An emergency stop begins and ends here.

What is charged at Stripe is decided by Stripe: a page that is open there, a subscription that no
webhook reported, or an invoice that is left is found in its lists, and only there.

The group `protected` is decided by the card that a subscription would be charged to now: Stripe
lists its country, a hundred subscriptions a call, and we store none. Subscriptions of contributions
that were in quarantine belong to it whatever their card is now. A page that is open belongs to
nobody yet, so those are of the group `all`; a protected card on one is quarantined.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import stripe
from sqlalchemy import select

from payments.core.errors import PaymentsError
from payments.core.safety_policy import Policy
from payments.giving.contributions import Contribution
from payments.giving.subscriptions import Subscription
from payments.infra import stripe_client
from payments.infra.context import Context
from payments.risk import quarantine
from payments.risk.emergency_stops import StopGroup, StopItem, StopMode

SUBSCRIPTIONS, CHECKOUT_SESSIONS = "subscriptions", "checkout_sessions"
SCHEDULES, INVOICES = "subscription_schedules", "invoices"
INVOICE_ITEMS = "pending_invoice_items"
# in the order they are ended
LISTS = (CHECKOUT_SESSIONS, SCHEDULES, SUBSCRIPTIONS, INVOICES, INVOICE_ITEMS)
ENDED_STATUSES = ("canceled", "incomplete_expired")
ENDED_SCHEDULE_STATUSES = ("canceled", "completed", "released")
PAYABLE_INVOICE_STATUSES = ("open", "draft", "uncollectible")
PAYMENT_METHOD_EXPAND = [
    "data.default_payment_method",
    "data.customer.invoice_settings.default_payment_method",
]


class NoProtectedGroup(PaymentsError):
    """The group `protected` was asked for without a safety policy, which says who is in it."""

    status = 409
    code = "no-protected-group"
    title = "There is no protected group"


@dataclass(frozen=True, slots=True)
class Scope:
    """Whom a stop is about, and what it does to them."""

    group: StopGroup
    mode: StopMode
    policy: Policy | None  # None for the group of all
    emergency_stop_id: str = ""

    @property
    def lists(self) -> tuple[str, ...]:
        """The lists that hold something of the group."""
        of_nobody_yet = () if self.group is StopGroup.ALL else (CHECKOUT_SESSIONS,)
        return tuple(name for name in LISTS if name not in of_nobody_yet)


@dataclass(slots=True)
class Chargeable:
    """What of a group can still be charged: Stripe's ids by list, and why a list was not read."""

    ids: dict[str, list[str]] = field(default_factory=dict)
    unread: dict[str, str] = field(default_factory=dict)

    @property
    def counts(self) -> dict[str, int]:
        """Return how many objects were found, by the name of their list."""
        return {name: len(ids) for name, ids in self.ids.items()}

    @property
    def is_nothing(self) -> bool:
        """Whether every list was read and is empty."""
        return not self.unread and not any(self.ids.values())


def scope_of(ctx: Context, group: StopGroup, mode: StopMode, emergency_stop_id: str = "") -> Scope:
    """Return the scope of a stop. Raises NoProtectedGroup."""
    if group is StopGroup.ALL:
        return Scope(group, mode, None, emergency_stop_id)
    if ctx.settings.safety_policy is None:
        raise NoProtectedGroup(
            "PAYMENTS_DONOR_SAFETY_POLICY names no policy, so nobody is in the group “protected”."
        )
    return Scope(group, mode, ctx.settings.safety_policy, emergency_stop_id)


async def read_all(ctx: Context, scope: Scope) -> Chargeable:
    """Read every list of a scope. One that cannot be read is named, and the others are read."""
    found = Chargeable()
    for name in scope.lists:
        await read_list(ctx, scope, name, found)
    return found


async def read_list(ctx: Context, scope: Scope, name: str, into: Chargeable) -> list[str]:
    """Read one list into what was found. Returns its ids, none where it cannot be read."""
    into.ids[name] = []
    into.unread.pop(name, None)
    try:
        with stripe_client.translate_errors():
            into.ids[name] = [object_id async for object_id in _READERS[name](ctx, scope)]
    except (PaymentsError, stripe.StripeError) as error:
        into.unread[name] = explain(error)
    return into.ids[name]


def explain(error: PaymentsError | stripe.StripeError) -> str:
    """Return why Stripe did not do something, without anything of the object."""
    if isinstance(error, stripe.StripeError):
        return error.code or type(error).__name__
    return getattr(error, "operator_detail", None) or error.title


# --- the lists ------------------------------------------------------------------------------------


async def _subscriptions(ctx: Context, scope: Scope) -> AsyncIterator[str]:
    """Yield the subscriptions that have not ended, and for a pause are not paused for good."""
    protected = await _protected_subscriptions(ctx) if scope.policy is not None else set()
    page = await ctx.stripe.v1.subscriptions.list_async(
        {
            "limit": stripe_client.MAX_PAGE_SIZE,
            "expand": [] if scope.policy is None else PAYMENT_METHOD_EXPAND,
        }
    )
    async for fetched in page.auto_paging_iter():
        if fetched.status in ENDED_STATUSES:
            continue
        if scope.mode is StopMode.PAUSE and is_paused_for_good(fetched):
            continue
        if (
            scope.policy is None
            or fetched.id in protected
            or scope.policy.protects(quarantine.subscription_country(fetched))
        ):
            yield fetched.id


def is_paused_for_good(fetched: stripe.Subscription) -> bool:
    """Whether a subscription is not charged until somebody resumes it."""
    pause = fetched.pause_collection
    return fetched.status == "paused" or (pause is not None and pause.resumes_at is None)


async def _checkout_sessions(ctx: Context, _scope: Scope) -> AsyncIterator[str]:
    """Yield the pages of Stripe on which a reader can still pay."""
    page = await ctx.stripe.v1.checkout.sessions.list_async(
        {"limit": stripe_client.MAX_PAGE_SIZE, "status": "open"}
    )
    async for fetched in page.auto_paging_iter():
        yield fetched.id


async def _schedules(ctx: Context, scope: Scope) -> AsyncIterator[str]:
    """Yield the schedules that begin a subscription later, or change one. We make none."""
    members = await _members(ctx, scope)
    page = await ctx.stripe.v1.subscription_schedules.list_async(
        {"limit": stripe_client.MAX_PAGE_SIZE}
    )
    async for fetched in page.auto_paging_iter():
        subscription_id = stripe_client.id_of(fetched.subscription)
        if fetched.status not in ENDED_SCHEDULE_STATUSES and _is_member(members, subscription_id):
            yield fetched.id


async def _invoices(ctx: Context, scope: Scope) -> AsyncIterator[str]:
    """Yield the invoices that are open, or will be, and those that were written off: Stripe still
    takes a payment of one.
    """
    members = await _members(ctx, scope)
    for status in PAYABLE_INVOICE_STATUSES:
        page = await ctx.stripe.v1.invoices.list_async(
            {"limit": stripe_client.MAX_PAGE_SIZE, "status": status}
        )
        async for fetched in page.auto_paging_iter():
            details = fetched.parent.subscription_details if fetched.parent is not None else None
            subscription_id = (
                stripe_client.id_of(details.subscription) if details is not None else None
            )
            if _is_member(members, subscription_id):
                yield fetched.id


async def _invoice_items(ctx: Context, scope: Scope) -> AsyncIterator[str]:
    """Yield what would be added to somebody's next invoice. We make none."""
    members = await _members(ctx, scope)
    page = await ctx.stripe.v1.invoice_items.list_async(
        {"limit": stripe_client.MAX_PAGE_SIZE, "pending": True}
    )
    async for fetched in page.auto_paging_iter():
        details = fetched.parent.subscription_details if fetched.parent is not None else None
        if _is_member(members, None if details is None else details.subscription):
            yield fetched.id


_READERS: Mapping[str, Callable[[Context, Scope], AsyncIterator[Any]]] = {
    SUBSCRIPTIONS: _subscriptions,
    CHECKOUT_SESSIONS: _checkout_sessions,
    SCHEDULES: _schedules,
    INVOICES: _invoices,
    INVOICE_ITEMS: _invoice_items,
}


# --- the group ------------------------------------------------------------------------------------


async def _members(ctx: Context, scope: Scope) -> set[str] | None:
    """Return the subscriptions of a group, ended ones too; None where everybody is in it."""
    if scope.policy is None:
        return None
    items = select(StopItem.stripe_subscription_id).where(
        StopItem.emergency_stop_id == scope.emergency_stop_id
    )
    async with ctx.sessions() as session:
        return set(await session.scalars(items)) | await _protected_subscriptions(ctx)


def _is_member(members: set[str] | None, subscription_id: str | None) -> bool:
    return members is None or subscription_id in members


async def _protected_subscriptions(ctx: Context) -> set[str]:
    """Return the subscriptions of contributions that were in quarantine."""
    query = (
        select(Subscription.stripe_subscription_id)
        .join(Contribution, Contribution.id == Subscription.contribution_id)
        .where(Contribution.protected)
    )
    async with ctx.sessions() as session:
        return set(await session.scalars(query))
