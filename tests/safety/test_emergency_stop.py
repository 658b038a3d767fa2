"""An emergency stop is about everything that can be charged: at Stripe, here, and later."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from payments.core.errors import PaymentsError
from payments.core.settings import Settings
from payments.giving import charges, subscription_changes
from payments.giving.change_log import Actor
from payments.infra import stripe_client, stripe_health
from payments.infra.context import Context
from payments.ops.schedules import SCHEDULES
from payments.risk.emergency_stops import StopGroup, StopMode
from payments.safety import emergency_stop, global_erasure, retention, stop_enforcement
from payments.sandbox import api_keys
from payments.sandbox.hosted_page_client import pay
from tests.support import command_line, database_owner
from tests.support.jobs import make_jobs_due
from tests.support.newsroom import Newsroom
from tests.support.past import has_given
from tests.support.safety_policy import POLICY, RUSSIAN, policy_file
from tests.support.stripe_dashboard import pay_once, with_card

pytestmark = pytest.mark.anyio

ALL, CANCEL, PAUSE = StopGroup.ALL, StopMode.CANCEL, StopMode.PAUSE
OPEN_ALERTS = "SELECT kind, object_id FROM alerts WHERE closed_at IS NULL ORDER BY id"
NOTHING = {
    "checkout_sessions": 0,
    "subscription_schedules": 0,
    "subscriptions": 0,
    "invoices": 0,
    "pending_invoice_items": 0,
}


async def begins_at_stripe(room: Newsroom, card: str = "pm_card_visa", **params: object) -> str:
    """Another program of the account begins a subscription. Returns its id."""
    at_stripe = room.sandbox.dashboard_request
    customer = at_stripe("POST", "/v1/customers", {"email": "other@example.org"})["id"]
    path = f"/v1/payment_methods/{card}/attach"
    method = at_stripe("POST", path, {"customer": customer})["id"]
    price = {
        "currency": "usd",
        "unit_amount": 700,
        "product": "reader_payments_monthly",
        "recurring": {"interval": "month"},
    }
    made = at_stripe(
        "POST",
        "/v1/subscriptions",
        {
            "customer": customer,
            "default_payment_method": method,
            "items": [{"price_data": price}],
            **params,
        },
    )
    return str(made["id"])


def statuses(room: Newsroom, kind: str) -> dict[str, str]:
    """Return the status of each object of a kind at Stripe."""
    return {one["id"]: one["status"] for one in room.sandbox.account.store.of_kind(kind)}


def successful_charges(room: Newsroom) -> int:
    return list(statuses(room, "charge").values()).count("succeeded")


async def stops(
    room: Newsroom, mode: StopMode = CANCEL, *, resume: bool = False, ctx: Context | None = None
) -> emergency_stop.StopReport:
    """Stop all. Stripe's webhooks are not delivered."""
    return await emergency_stop.execute(ctx or room.ctx, ALL, mode, resume=resume)


# --- what is ended --------------------------------------------------------------------------------


async def test_a_page_that_is_open_over_a_stop_is_closed(newsroom: Newsroom) -> None:
    await newsroom.gives(500, "monthly")
    pages = [
        (await newsroom.requests_contribution(900, frequency)).json()["checkout_url"]
        for frequency in ("monthly", "once")
    ]
    report = await stops(newsroom)
    assert report.ended["checkout_sessions"] == 2
    assert report.is_proved
    await newsroom.advances_time(timedelta(minutes=5))
    for page in pages:
        assert (await pay(page)).redirect_url is None
    await newsroom.runs_until_idle()
    await newsroom.advances_time(timedelta(days=40))
    await newsroom.runs_until_idle()
    assert successful_charges(newsroom) == 1
    assert newsroom.mails() == []


async def test_whatever_can_be_charged_at_stripe_is_ended_though_no_webhook_reported_it(
    newsroom: Newsroom,
) -> None:
    room = newsroom
    room.sandbox.set_billing(status_after_retries="unpaid", retry_days=[1])
    failing = await begins_at_stripe(room)
    method = room.sandbox.account.store.objects[failing]["default_payment_method"]
    room.sandbox.fail_card(method, "insufficient_funds")
    for _ in range(3):
        await room.advances_time(timedelta(days=31))
    assert statuses(room, "subscription")[failing] == "unpaid"
    room.sandbox.set_billing(status_after_retries="unpaid", retry_days=[30])
    past_due = await begins_at_stripe(room)
    method = room.sandbox.account.store.objects[past_due]["default_payment_method"]
    room.sandbox.fail_card(method, "insufficient_funds")
    await room.advances_time(timedelta(days=32))
    paused = await begins_at_stripe(room)
    room.sandbox.dashboard_request(
        "POST",
        f"/v1/subscriptions/{paused}/pause",
        {"type": "subscription", "bill_for": {"unused_time_from": {"type": "none"}}},
    )
    await begins_at_stripe(room, payment_behavior="default_incomplete")
    await begins_at_stripe(room, trial_period_days="30")
    await begins_at_stripe(room)
    written_off = next(id_ for id_, its in statuses(room, "invoice").items() if its == "open")
    room.sandbox.dashboard_request("POST", f"/v1/invoices/{written_off}/mark_uncollectible")
    item = {
        "customer": room.sandbox.account.store.objects[past_due]["customer"],
        "amount": "900",
        "currency": "usd",
    }
    room.sandbox.dashboard_request("POST", "/v1/invoiceitems", item)
    found = statuses(room, "subscription").values()
    assert set(found) == {"unpaid", "past_due", "paused", "incomplete", "trialing", "active"}
    assert {"open", "draft", "uncollectible"} <= set(statuses(room, "invoice").values())
    assert await room.count("subscriptions") == 0  # webhooks are dark
    charges = successful_charges(room)

    preview = await emergency_stop.preview(room.ctx, ALL, CANCEL)
    assert preview.counts["subscriptions"] == 6
    assert not set(statuses(room, "subscription").values()) & {"canceled"}
    report = await stops(room)
    assert (report.subscriptions, report.done, report.unfinished) == (6, 6, ())
    assert report.ended["invoices"] == preview.counts["invoices"] >= 4
    assert report.ended["pending_invoice_items"] == preview.counts["pending_invoice_items"] == 1
    assert report.left == NOTHING
    assert report.is_proved
    assert set(statuses(room, "subscription").values()) == {"canceled"}
    assert set(statuses(room, "invoice").values()) == {"paid", "void"}
    assert await room.rows("SELECT proved_at IS NOT NULL, left_at_stripe FROM emergency_stops") == [
        (True, NOTHING)
    ]
    await room.advances_time(timedelta(days=70))
    assert successful_charges(room) == charges
    # what is no contribution here is not remembered for long
    assert await room.count("emergency_stop_items") == await room.count("muted_subscriptions") == 6
    await retention.purge_expired(room.ctx)
    assert await room.count("emergency_stop_items") == await room.count("muted_subscriptions") == 0
    await room.runs_until_idle()
    assert room.mails() == []


async def test_a_pause_holds_what_has_begun_and_ends_what_has_not(newsroom: Newsroom) -> None:
    room = newsroom
    active, trialing = (
        await begins_at_stripe(room),
        await begins_at_stripe(room, trial_period_days="30"),
    )
    incomplete = await begins_at_stripe(room, payment_behavior="default_incomplete")
    await has_given(room, 500, "monthly")
    (ours,) = set(statuses(room, "subscription")) - {active, trialing, incomplete}
    room.sandbox.dashboard_request("DELETE", f"/v1/subscriptions/{ours}")
    room.sandbox.take_deliveries()  # webhooks are dark: our row says it is live
    report = await stops(room, PAUSE)
    assert report.is_proved
    assert (report.done, report.already_ended) == (3, 1)
    await room.runs_due_jobs()
    ended = "SELECT status FROM subscriptions WHERE stripe_subscription_id = :id"
    assert await room.rows(ended, id=ours) == [("canceled",)]
    found = statuses(room, "subscription")
    assert (found[active], found[trialing], found[incomplete]) == ("active", "trialing", "canceled")
    await room.advances_time(timedelta(days=70))
    assert successful_charges(room) == 2
    await room.runs_until_idle()
    await retention.purge_expired(room.ctx)
    assert await room.count("emergency_stop_items") == await room.count("muted_subscriptions") == 4
    with pytest.raises(PaymentsError, match="stopped all charges"):
        await subscription_changes.resume(room.ctx, active, actor=Actor.DONOR)
    with pytest.raises(PaymentsError, match="stopped all charges"):
        await subscription_changes.pause(room.ctx, active, 1, actor=Actor.DONOR)
    # Somebody resumes it at Stripe, and once more: it is paused, and logged, each time.
    path = f"/v1/subscriptions/{active}"
    for _ in range(2):
        room.sandbox.dashboard_request("POST", path, {"pause_collection": ""})
        await room.runs_until_idle()
        assert room.sandbox.account.store.objects[active]["pause_collection"] is not None
    assert ("activity_during_stop", active) in await room.rows(OPEN_ALERTS)
    log = "SELECT kind, actor FROM subscription_changes WHERE subscription_id = :id ORDER BY kind"
    paused, resumed = ("paused", "staff"), ("resumed", "stripe")
    assert await room.rows(log, id=active) == [paused] * 3 + [resumed] * 2
    await emergency_stop.lift(room.ctx, ALL, PAUSE)
    await subscription_changes.resume(room.ctx, active, actor=Actor.DONOR)
    await room.advances_time(timedelta(days=32))
    await room.runs_until_idle()
    assert successful_charges(room) == 3


@pytest.mark.parametrize(
    ("mode", "begun"), [(CANCEL, False), (CANCEL, True), (PAUSE, False), (PAUSE, True)]
)
async def test_a_schedule_that_begins_a_subscription_later_begins_none(
    newsroom: Newsroom, mode: StopMode, *, begun: bool
) -> None:
    room = newsroom
    first = room.sandbox.account.store.objects[await begins_at_stripe(room)]
    customer = first["customer"]
    monthly = {
        "currency": "usd",
        "unit_amount": "700",
        "product": "reader_payments_monthly",
        "recurring": {"interval": "month"},
    }
    price = room.sandbox.dashboard_request("POST", "/v1/prices", monthly)["id"]
    settings = {"default_payment_method": first["default_payment_method"]}
    path = f"/v1/customers/{customer}"
    room.sandbox.dashboard_request("POST", path, {"invoice_settings": settings})
    start = room.clock() + timedelta(days=3)
    schedule = room.sandbox.dashboard_request(
        "POST",
        "/v1/subscription_schedules",
        {
            "customer": customer,
            "start_date": str(int(start.timestamp())),
            "phases": [{"items": [{"price": price}]}],
        },
    )
    if begun:
        await room.advances_time(timedelta(days=4))
        assert len(statuses(room, "subscription")) == 2
    charges = successful_charges(room)
    assert charges == 1 + begun
    report = await stops(room, mode)
    assert report.is_proved
    assert report.ended["subscription_schedules"] == 1
    # to pause, what it has begun goes on
    ended = "released" if begun and mode is PAUSE else "canceled"
    assert statuses(room, "subscription_schedule") == {schedule["id"]: ended}
    await room.advances_time(timedelta(days=40))
    assert successful_charges(room) == charges
    status = "active" if mode is PAUSE else "canceled"
    assert list(statuses(room, "subscription").values()) == [status] * (1 + begun)


async def test_a_stop_of_the_protected_leaves_the_others_as_they_are(
    newsroom: Newsroom, tmp_path: Path
) -> None:
    room = newsroom
    settings = room.settings.model_copy(update={"donor_safety_policy": policy_file(tmp_path)})
    ctx = replace(room.ctx, settings=settings)
    room.sandbox.set_billing(retry_days=[40])
    for card in (RUSSIAN, "4242424242424242"):
        asked = await room.requests_contribution(500, "monthly")
        await room.pays(asked.json()["checkout_url"], card, email=f"{card}@example.org")
        await room.runs_until_idle()
    for (method,) in await room.rows("SELECT stripe_payment_method_id FROM subscriptions"):
        room.sandbox.fail_card(str(method), "insufficient_funds")
    await room.advances_time(timedelta(days=32))
    page = (await room.requests_contribution(500, "monthly")).json()["checkout_url"]
    report = await emergency_stop.execute(ctx, StopGroup.PROTECTED, CANCEL)
    assert report.is_proved
    assert (report.subscriptions, report.ended) == (1, {"invoices": 1})
    assert sorted(statuses(room, "subscription").values()) == ["canceled", "past_due"]
    assert sorted(statuses(room, "invoice").values()) == ["open", "paid", "paid", "void"]
    # A protected card comes while the stop stands.
    await room.pays(page, RUSSIAN, email="late@example.org")
    await room.deliver(room.sandbox.take_deliveries())
    protected_room = replace(room, ctx=ctx)
    await protected_room.runs_due_jobs()
    await protected_room.runs_due_jobs()
    found = sorted(statuses(room, "subscription").values())
    assert found == ["canceled", "canceled", "past_due"]


# --- what refuses ---------------------------------------------------------------------------------


# PostgreSQL gives up one statement, about one row.
DEADLOCK = (
    """CREATE OR REPLACE FUNCTION deadlock() RETURNS trigger LANGUAGE plpgsql AS $$
       BEGIN RAISE EXCEPTION USING ERRCODE = 'deadlock_detected'; END $$""",
    """CREATE TRIGGER deadlock BEFORE UPDATE ON emergency_stop_items FOR EACH ROW
       WHEN (NEW.stripe_subscription_id = '{id}') EXECUTE FUNCTION deadlock()""",
)


async def test_one_object_that_refuses_is_named_and_the_others_are_ended(
    newsroom: Newsroom,
) -> None:
    room = newsroom
    ids = [await begins_at_stripe(room) for _ in range(3)]
    path = f"/v1/subscriptions/{ids[1]}"
    room.sandbox.faults.add("DELETE", path, "without_effect", remaining=1000)
    with database_owner.as_owner(room.settings.database_url.get_secret_value()) as owner:
        for statement in DEADLOCK:
            owner.execute(statement.format(id=ids[2]))
    words = ("emergency-stop", "--group", "all", "--mode", "cancel", "--yes")
    finished = await command_line.run(room.settings, *words)
    assert finished.exit_code == 4
    assert f"{ids[1]}: Stripe confirmed it and did not do it" in finished.stderr
    assert f"{ids[2]}: OperationalError" in finished.stderr
    assert b"2 left" in finished.stdout
    found = statuses(room, "subscription")
    assert (found[ids[0]], found[ids[1]], found[ids[2]]) == ("canceled", "active", "active")
    ((stop_id,),) = await room.rows("SELECT id FROM emergency_stops WHERE proved_at IS NULL")
    assert await room.rows(OPEN_ALERTS) == [("stop_incomplete", stop_id)]
    room.sandbox.faults.clear()
    with database_owner.as_owner(room.settings.database_url.get_secret_value()) as owner:
        owner.execute("DROP FUNCTION deadlock CASCADE")
    finished = await command_line.run(room.settings, *words, "--resume")
    assert finished.exit_code == 0, finished.stderr
    assert b"Left by Stripe's lists: 0 checkout sessions" in finished.stdout
    assert b"0 pending invoice items" in finished.stdout
    assert b"Not covered: Payment Links" in finished.stdout
    assert set(statuses(room, "subscription").values()) == {"canceled"}
    assert await room.rows(OPEN_ALERTS) == []
    finished = await command_line.run(room.settings, *words, "--lift")
    assert finished.exit_code == 0
    assert (await command_line.run(room.settings, *words, "--lift")).exit_code == 1


DOCUMENTED = {
    "balance": "read",
    "charge": "read",
    "checkout_session": "write",
    "customer": "write",
    "invoice": "write",
    "payment_method": "read",
    "subscription": "write",
}


@pytest.mark.parametrize("missing", ["invoice", "checkout_session", "subscription"])
async def test_a_key_that_may_not_end_one_thing_ends_the_rest_and_says_what_is_missing(
    newsroom: Newsroom, missing: str
) -> None:
    room = newsroom
    await begins_at_stripe(room)
    await begins_at_stripe(room, payment_behavior="default_incomplete")
    await room.requests_contribution(900, "monthly")
    for scopes, is_proved in ((DOCUMENTED | {missing: "read"}, False), (DOCUMENTED, True)):
        async with stripe_client.connect(with_key(room, scopes)) as stripe:
            ctx = replace(room.ctx, stripe=stripe)
            report = await stops(room, ctx=ctx, resume=is_proved)
        assert report.is_proved is is_proved
        named = {reason for reason in report.refusals.values() if f"rak_{missing}_write" in reason}
        assert bool(named) is not is_proved
        left = {name for name, count in report.left.items() if count}
        expected = {"checkout_session": "checkout_sessions", "subscription": "subscriptions"}
        assert left == (set() if is_proved else {expected.get(missing, "invoices")})


def with_key(room: Newsroom, scopes: Mapping[str, str]) -> Settings:
    secret = api_keys.add(room.sandbox.account, scopes=scopes).secret
    return room.settings.model_copy(update={"stripe_api_key": SecretStr(secret)})


# --- what comes later -----------------------------------------------------------------------------


async def test_while_a_stop_stands_nobody_can_give_until_it_is_lifted(newsroom: Newsroom) -> None:
    await stops(newsroom)
    for frequency in ("once", "monthly"):
        asked = await newsroom.requests_contribution(500, frequency)
        assert asked.status_code == 503
        assert "to keep readers safe" in asked.text
    with pytest.raises(PaymentsError, match="Use --resume"):
        await stops(newsroom)
    await emergency_stop.lift(newsroom.ctx, ALL, CANCEL)
    assert (await newsroom.requests_contribution(500, "once")).status_code == 201
    with pytest.raises(PaymentsError, match="stands"):
        await emergency_stop.lift(newsroom.ctx, ALL, CANCEL)


@pytest.mark.parametrize("webhooks", ["arrive", "are dark"])
async def test_what_begins_while_a_stop_stands_is_ended_and_calls_a_person(
    newsroom: Newsroom, webhooks: str
) -> None:
    room = newsroom
    await stops(room)
    late = await begins_at_stripe(room)
    if webhooks == "arrive":
        # in an outage its job waits, and spends no attempt
        for method, path in (("DELETE", "."), ("GET", "^/v1/(balance|events)")):
            room.sandbox.faults.add(method, path, "status_500", remaining=1000)
        await room.deliver(room.sandbox.take_deliveries())
        await room.runs_due_jobs()
        jobs = (
            "SELECT CAST(args ->> 'attempt' AS int), scheduled_at > now() FROM procrastinate_jobs"
            " WHERE status = 'todo' AND args ->> 'object_type' = 'stop_subscription'"
        )
        assert await room.rows(jobs) == [(1, True)]
        room.sandbox.faults.clear()
        await stripe_health.resume_if_well(room.ctx)
        await room.runs_until_idle()
    else:
        room.sandbox.take_deliveries()
        await stop_enforcement.enforce(room.ctx)
        await room.runs_due_jobs()
    assert statuses(room, "subscription")[late] == "canceled"
    assert ("activity_during_stop", late) in await room.rows(OPEN_ALERTS)
    assert await room.rows("SELECT status FROM subscriptions") == [("canceled",)]
    await room.runs_until_idle()
    assert room.mails() == []


async def test_stops_that_stand_are_enforced_by_a_schedule(newsroom: Newsroom) -> None:
    (schedule,) = [one for one in SCHEDULES if one.task is stop_enforcement.enforce]
    requests = len(newsroom.sandbox.requests)
    await schedule.task(newsroom.ctx)
    assert len(newsroom.sandbox.requests) == requests  # nothing stands, nothing is asked
    newsroom.sandbox.faults.add("POST", "/expire", "status_500", remaining=1000)
    await newsroom.requests_contribution(900, "once")
    assert not (await stops(newsroom)).is_proved
    newsroom.sandbox.faults.clear()
    await schedule.task(newsroom.ctx)
    assert set(statuses(newsroom, "checkout.session").values()) == {"expired"}
    assert await newsroom.rows("SELECT proved_at IS NOT NULL FROM emergency_stops") == [(True,)]
    assert await newsroom.rows(OPEN_ALERTS) == []


@pytest.mark.parametrize("refunds", ["none", "auto"])
async def test_a_payment_while_a_stop_stands_calls_a_person_and_goes_back_where_the_policy_says(
    newsroom: Newsroom, tmp_path: Path, refunds: str
) -> None:
    policy = f'refunds = "{refunds}"\n{POLICY}'
    settings = newsroom.settings.model_copy(
        update={"donor_safety_policy": policy_file(tmp_path, policy)}
    )
    room = replace(newsroom, ctx=replace(newsroom.ctx, settings=settings))
    gift = await newsroom.requests_contribution(900, "once")
    newsroom.sandbox.faults.add("POST", "/expire", "without_effect", remaining=1000)
    assert not (await stops(newsroom)).is_proved
    await newsroom.advances_time(timedelta(minutes=1))
    await newsroom.pays(gift.json()["checkout_url"])
    await room.sandbox.advance_to_captures()
    (charge,) = room.sandbox.account.store.of_kind("charge")
    await charges.sync(room.ctx, str(charge["id"]))
    room.clock.advance(timedelta(minutes=1))
    # what is owed back is not forgotten
    await global_erasure.erase_everyone(room.ctx, worklist_settled=True)
    waiting = "SELECT args ->> 'object_type' FROM procrastinate_jobs WHERE queue_name = 'sync'"
    assert await room.rows(waiting) == [("stop_payment",)]
    await room.runs_until_idle()
    await room.runs_until_idle()
    ((charge_id,),) = await room.rows("SELECT stripe_charge_id FROM charges")
    assert ("activity_during_stop", charge_id) in await room.rows(OPEN_ALERTS)
    expected = [("succeeded", 900)] if refunds == "auto" else []
    assert await room.rows("SELECT status, amount FROM refunds") == expected
    # A shop of the account goes on selling: one call for all of it, and nothing is given back.
    customer, card = with_card(room, "buyer@example.org")
    sales = [pay_once(room, customer, card, amount, shop="tshirts") for amount in (2900, 1900)]
    await room.runs_until_idle()
    alerts_before = await room.rows(OPEN_ALERTS)
    assert not {("activity_during_stop", sale) for sale in sales} & set(alerts_before)
    await room.advances_time(timedelta(hours=2))
    await room.runs_sweeps()
    await make_jobs_due(room)
    await room.runs_until_idle()
    ((stop_id,),) = await room.rows("SELECT id FROM emergency_stops")
    assert await room.rows(OPEN_ALERTS) == [*alerts_before, ("activity_during_stop", stop_id)]
    assert await room.rows("SELECT status, amount FROM refunds") == expected
    newsroom.sandbox.faults.clear()
