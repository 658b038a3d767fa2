"""While an emergency stop stands, nothing of ours asks Stripe for money of those it is about.

The calls are derived from the code: each call that changes something at Stripe either cannot take
money, or is listed with the request that it makes. Each is gone down twice: under a stop that was
decided and has not come to anything at Stripe yet, and after it is lifted.
"""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from payments.core.frequency import Frequency
from payments.core.money import Money
from payments.giving import (
    contribution_start,
    debts,
    payment_day,
    payment_methods,
    scheduled_ends,
    subscription_sync,
    subscriptions,
)
from payments.giving import subscription_changes as changes
from payments.giving.change_log import Actor
from payments.giving.payment_day import PaymentDay
from payments.giving.subscriptions import Subscription
from payments.infra.context import Context
from payments.risk.emergency_stops import StopGroup, StopMode, StopStands
from payments.safety import emergency_stop
from payments.sandbox.hosted_page_client import pay
from tests.support.donor import (
    card_page_of,
    months_pass,
    open_donor_browser,
    subscription_id_of,
)
from tests.support.newsroom import Newsroom
from tests.support.safety_policy import policy_file
from tests.support.stripe_writes import writes

pytestmark = pytest.mark.anyio

# What can take money, now or by letting Stripe take it later, and the request it is made by.
DAY = PaymentDay(17)
CHARGING_CALLS = {
    "giving/contribution_start:open_checkout:create": r"/v1/checkout/sessions",
    "giving/payment_methods:start_card_update:create": r"/v1/checkout/sessions",
    "giving/payment_methods:_set_default_at_stripe:update": r"/v1/(subscriptions|customers)/\w+",
    "giving/debts:_finalize_draft:finalize_invoice": r"/v1/invoices/\w+/finalize",
    "giving/debts:_pay:pay": r"/v1/invoices/\w+/pay",
    "giving/change_requests:update_call:update": r"/v1/subscriptions/\w+",
    "giving/change_requests:resume_call:resume": r"/v1/subscriptions/\w+/resume",
}
NEVER_CHARGES = {
    "it answers a bank, which may give back what was paid": """
        settlement/dispute_evidence:_change:update settlement/dispute_evidence:accept:close""",
    "it closes connections": """
        infra/stripe_client:connect:close ops/worker:open_connector:close""",
    "it ends something, or gives money back": """
        giving/cancellations:perform:cancel giving/debts:_void:void_invoice
        giving/card_testing:_expire_session:expire safety/stop_actions:stop_subscription:cancel
        safety/stop_actions:stop_subscription:update safety/stop_actions:expire_session:expire
        safety/stop_actions:end_schedule:cancel safety/stop_actions:end_schedule:release
        safety/stop_actions:void_invoice:finalize_invoice
        safety/stop_actions:void_invoice:void_invoice safety/stop_actions:delete_invoice_item:delete
        settlement/refund_requests:_create_at_stripe:create""",
    "it changes an address and nothing else": """
        safety/address_change:_change_at_stripe:update""",
    "it is about no donor": """
        infra/stripe_permissions::expire infra/stripe_permissions::pay
        infra/stripe_health:_answers:raw_request infra/stripe_permissions::update
        ops/stripe_setup:_ensure_product:create
        ops/stripe_setup:_unarchive_product:update
        ops/stripe_setup:_create_webhook_endpoint:create
        ops/stripe_setup:_ensure_webhook_endpoint:update""",
}


def test_every_call_that_may_take_money_is_listed() -> None:
    found = {f"{one.module}:{one.function}:{one.verb}" for one in writes()}
    named = {call for calls in NEVER_CHARGES.values() for call in calls.split()}
    assert found - named == set(CHARGING_CALLS)
    assert named - found == set()


@dataclass
class Subscriptions:
    """One of each kind whose donor, or whose new card, could have it charged."""

    active: str
    unpaid: str  # with a draft, and a card that its donor has given on Stripe's page
    paused: str  # by Stripe, for want of a card
    ending: str  # at the end of its period

    def ids(self) -> tuple[str, ...]:
        return (self.active, self.unpaid, self.paused, self.ending)


async def begins(room: Newsroom, name: str) -> str:
    async with open_donor_browser(room, f"{name}@example.org") as donor:
        return await subscription_id_of(room, await donor.gives(500))


async def one_of_each(room: Newsroom) -> Subscriptions:
    at_stripe, objects = room.sandbox.dashboard_request, room.sandbox.account.store.objects
    ids = Subscriptions(*[await begins(room, kind) for kind in ("a", "b", "c", "d")])
    room.sandbox.set_billing(status_after_retries="unpaid", retry_days=[3, 7])
    unpaid = objects[ids.unpaid]
    method = unpaid["default_payment_method"]
    # the failing card is its customer's default
    at_stripe("POST", f"/v1/subscriptions/{ids.unpaid}", {"default_payment_method": ""})
    settings = {"default_payment_method": method}
    at_stripe("POST", f"/v1/customers/{unpaid['customer']}", {"invoice_settings": settings})
    room.sandbox.fail_card(method, "insufficient_funds")
    await months_pass(room, 2)
    assert unpaid["status"] == "unpaid"
    assert objects[unpaid["latest_invoice"]]["status"] == "draft"
    await pay(await card_page_of(room, ids.unpaid), card="5555555555554444", email="b@example.org")
    objects[ids.paused]["status"] = "paused"
    objects[ids.paused]["status_details"] = {
        "paused": {
            "subscription": {"type": "trial_end_without_payment_method"},
            "transitioned_at": int(room.clock().timestamp()),
            "type": "subscription",
        }
    }
    ending = {"cancel_at_period_end": "true"}
    at_stripe("POST", f"/v1/subscriptions/{ids.ending}", ending)
    room.sandbox.take_deliveries()
    for id_ in (ids.paused, ids.ending):
        await subscription_sync.sync(room.ctx, id_)
    return ids


def charging_requests(room: Newsroom, since: int) -> set[str]:
    """Return the calls whose requests were made."""
    paths = [one.path for one in room.sandbox.requests[since:] if one.method == "POST"]
    return {
        call
        for call, pattern in CHARGING_CALLS.items()
        if any(re.fullmatch(pattern, path) for path in paths)
    }


def donors_actions(ctx: Context, ids: Subscriptions) -> list[Callable[[], Awaitable[object]]]:
    """Return what a donor may ask for, or a colleague for them."""
    who = Actor.DONOR

    async def stored() -> Subscription:
        async with ctx.sessions() as session:
            return await subscriptions.get(session, ids.active)

    async def move() -> None:
        subscription, zone = await stored(), ctx.settings.accounting_zone
        next_on = payment_day.next_payment_on(subscription, DAY, now=ctx.now(), zone=zone)
        due = subscription.current_period_end
        await payment_day.change_day(
            ctx, ids.active, DAY, actor=who, shown_next=f"{next_on}", shown_due=f"{due:%Y-%m-%d}"
        )

    async def end() -> None:
        first = scheduled_ends.choices(await stored(), now=ctx.now())[0].value
        await scheduled_ends.set_end(ctx, ids.active, first, shown_end="", actor=who)

    return [
        lambda: scheduled_ends.undo_scheduled_end(ctx, ids.ending, actor=who),
        move,
        lambda: changes.change_amount(ctx, ids.active, Money(900, "usd"), actor=who),
        lambda: changes.change_frequency(
            ctx, ids.active, Frequency.ANNUAL, Money(900, "usd"), actor=who
        ),
        lambda: changes.skip(ctx, ids.active, actor=who),
        lambda: changes.pause(ctx, ids.active, 1, actor=who),
        lambda: changes.resume(ctx, ids.paused, actor=who),
        lambda: payment_methods.start_card_update(
            ctx, ids.active, actor=who, return_path="/manage"
        ),
        lambda: debts.plan_for(ctx, ids.active),
        end,
    ]


async def new_cards_are_taken(room: Newsroom, ctx: Context, ids: Subscriptions) -> None:
    """What follows from a card that was given on Stripe's page, in each order that can be."""
    for setup_intent_id in await payment_methods.unused_setup_intents(ctx):
        await payment_methods.sync_setup_intent(ctx, setup_intent_id)
    await new_cards_are_settled(room, ctx, ids)


async def new_cards_are_settled(room: Newsroom, ctx: Context, ids: Subscriptions) -> None:
    """What follows where the card is the default already."""
    objects = room.sandbox.account.store.objects
    for id_ in (ids.unpaid, ids.paused):
        methods = room.sandbox.account.store.linked(
            "payment_method", "customer", objects[id_]["customer"]
        )
        await debts.collect_newest(
            ctx, id_, methods[-1], shown_invoice_id=objects[id_]["latest_invoice"]
        )


async def test_no_call_leads_to_a_charge_while_a_stop_stands_and_each_does_when_it_is_lifted(
    newsroom: Newsroom, tmp_path: Path
) -> None:
    room, ctx = newsroom, newsroom.ctx
    ids = await one_of_each(room)
    room.sandbox.faults.add("POST", "/v1/checkout/sessions", "status_500", remaining=3)
    key = "0123456789abcdef" * 2
    assert (await room.requests_contribution(500, "once", key=key)).status_code == 503
    await room.advances_time(timedelta(minutes=10))
    charges = await room.count("charges")

    async def is_refused() -> None:
        since = len(room.sandbox.requests)
        for act in donors_actions(ctx, ids):
            with pytest.raises(StopStands):
                await act()
        await new_cards_are_taken(room, ctx, ids)
        assert charging_requests(room, since) == set()

    # All are stopped, and nothing has come of it at Stripe yet.
    await decides(room, "all")
    since = len(room.sandbox.requests)
    assert (await room.requests_contribution(500, "once", key=key)).status_code == 503
    assert await contribution_start.resume_started(ctx) == 0
    assert charging_requests(room, since) == set()
    await is_refused()
    await emergency_stop.lift(ctx, StopGroup.ALL, StopMode.PAUSE)
    # The protected are: by their rows, and before there are any by the card.
    await decides(room, "protected", *ids.ids())
    await is_refused()
    await lifts(room)
    await decides(room, "protected")
    policy = policy_file(
        tmp_path, 'protected_countries = ["US"]\nforbidden_descriptor_words = []\n'
    )
    settings = ctx.settings.model_copy(update={"donor_safety_policy": policy})
    assert settings.safety_policy is not None
    since = len(room.sandbox.requests)
    await new_cards_are_settled(room, replace(ctx, settings=settings), ids)
    assert charging_requests(room, since) == set()
    await lifts(room)
    await room.runs_due_jobs()
    assert await room.count("charges") == charges

    since = len(room.sandbox.requests)
    assert (await room.requests_contribution(500, "once", key=key)).status_code == 201
    await new_cards_are_taken(room, ctx, ids)
    for act in donors_actions(ctx, ids):
        await act()
    assert charging_requests(room, since) == set(CHARGING_CALLS)
    await room.runs_until_idle()
    objects = room.sandbox.account.store.objects
    # a trial lasts until the payment that was due anyway: the interval was changed
    assert [objects[id_]["status"] for id_ in ids.ids()] == ["trialing", *["active"] * 3]


async def decides(room: Newsroom, group: str, *subscription_ids: str) -> None:
    """A stop is decided, and about these subscriptions as far as our rows say."""
    async with room.ctx.sessions.begin() as session:
        stop = text(
            'INSERT INTO emergency_stops (id, "group", mode, decided_at)'
            " VALUES (:id, :group, 'pause', :now)"
        )
        id_ = f"{await room.count('emergency_stops'):032x}"
        await session.execute(stop, {"id": id_, "group": group, "now": room.clock()})
        for subscription_id in subscription_ids:
            await session.execute(
                text("INSERT INTO emergency_stop_items VALUES (:stop, :id, 'pending', 0)"),
                {"stop": id_, "id": subscription_id},
            )


async def lifts(room: Newsroom) -> None:
    await emergency_stop.lift(room.ctx, StopGroup.PROTECTED, StopMode.PAUSE)
