"""While Stripe answers nobody, or not us, work waits and spends no attempt; then it goes on."""

import contextlib
from datetime import timedelta

import pytest

from payments.core.errors import StripeBusy, StripeKeyRefused
from payments.giving import cancellations, change_log, charges, payment_methods
from payments.giving.change_log import Actor
from payments.giving.subscriptions import CANCEL_JOB
from payments.infra import isolation, job_queue, retries, stripe_health
from payments.infra.context import Context
from payments.ops import schedules
from payments.ops.schedules import SCHEDULES
from payments.sandbox.webhook_deliveries import Delivery
from payments.staff.accounts import Role
from tests.support.colleague import open_colleague_browser
from tests.support.donor import subscription_id_of
from tests.support.jobs import hours_pass_for_jobs, jobs, open_alerts, runs_schedule
from tests.support.newsroom import Newsroom
from tests.support.past import has_given
from tests.support.stripe_keys import key_without, restrict_key

pytestmark = pytest.mark.anyio
EVERYTHING, FOR_EVER = "^/v1/", 10_000


async def fails_by_schedule(room: Newsroom, name: str) -> None:
    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever it is
        await runs_schedule(room, name)


def breaks(room: Newsroom, how: str) -> None:
    """From now on nothing is answered: by the key, by Stripe, or by the network."""
    if how == "expired":
        room.sandbox.expire_key(room.settings.stripe_api_key.get_secret_value())
    elif how == "no_permissions":
        restrict_key(room, {})
    else:
        room.sandbox.faults.add("*", EVERYTHING, how, FOR_EVER)


def mends(room: Newsroom) -> None:
    room.sandbox.faults.clear()
    key_without(room)


@pytest.mark.parametrize(
    ("how", "alert"),
    [
        ("expired", ("stripe_key_refused", "stripe_api_key")),
        ("no_permissions", ("stripe_key_refused", "stripe_api_key")),
        ("status_500", ("stripe_unavailable", "stripe")),
        ("drop_before", ("stripe_unavailable", "stripe")),
    ],
)
async def test_a_card_replaced_while_nothing_is_answered_is_in_use_afterwards(
    newsroom: Newsroom, how: str, alert: tuple[str, str]
) -> None:
    await has_given(newsroom, 500, "monthly")
    subscription_id = await subscription_id_of(newsroom)
    ((before,),) = await newsroom.rows("SELECT stripe_payment_method_id FROM subscriptions")
    page = await payment_methods.start_card_update(
        newsroom.ctx, subscription_id, actor=Actor.DONOR, return_path="/manage"
    )
    await newsroom.pays(page)
    deliveries = newsroom.sandbox.take_deliveries()
    breaks(newsroom, how)
    assert set(await newsroom.deliver(deliveries)) == {200}
    await newsroom.runs_due_jobs()
    assert await open_alerts(newsroom) == [alert]
    asked = len(newsroom.sandbox.requests)
    await hours_pass_for_jobs(newsroom)
    waiting = await jobs(newsroom)
    assert waiting
    assert {job[1:] for job in waiting} == {("todo", 1)}
    assert len(newsroom.sandbox.requests) == asked  # nobody knocks while the queue is paused
    for _ in range(2):
        await fails_by_schedule(newsroom, "import_balance")
        await runs_schedule(newsroom, "resume_after_outage")
    assert await open_alerts(newsroom) == [alert]

    mends(newsroom)
    await runs_schedule(newsroom, "resume_after_outage")
    await newsroom.runs_until_idle()
    assert await open_alerts(newsroom) == []
    assert {job[0] for job in await jobs(newsroom)} <= {"outbox_mail"}  # it waits for its time
    ((after,),) = await newsroom.rows("SELECT stripe_payment_method_id FROM subscriptions")
    assert after != before


async def test_stripe_that_is_busy_for_hours_is_no_outage_and_loses_nothing(
    newsroom: Newsroom,
) -> None:
    """A 429 answers: it did nothing, and one probe more would only make it busier."""
    await newsroom.gives(500)
    breaks(newsroom, "rate_limited")
    await newsroom.deliver(newsroom.sandbox.take_deliveries())
    before = len(newsroom.sandbox.requests)
    await newsroom.runs_due_jobs()
    probes = [one.path for one in newsroom.sandbox.requests[before:] if "/balance" in one.path]
    assert probes == []
    ids = [f"ch_{number}" for number in range(50)]
    before = len(newsroom.sandbox.requests)
    with pytest.raises(StripeBusy):
        await isolation.for_each(
            newsroom.ctx, ids, lambda id_: charges.sync(newsroom.ctx, id_), job="charge"
        )
    assert len(newsroom.sandbox.requests) - before < 50  # the next run goes on
    await hours_pass_for_jobs(newsroom, 14)
    waiting = await jobs(newsroom)
    assert waiting
    assert {job[1:] for job in waiting} == {("todo", 1)}
    assert await open_alerts(newsroom) == []
    mends(newsroom)
    await hours_pass_for_jobs(newsroom, 2)
    await newsroom.runs_until_idle()
    ((status,),) = await newsroom.rows("SELECT status FROM contributions")
    assert status == "paid"


async def test_one_request_too_many_spends_no_attempt_and_what_was_postponed_is_spread(
    newsroom: Newsroom,
) -> None:
    await newsroom.gives(500)
    await newsroom.sandbox.advance_to_captures()
    (charge,) = newsroom.sandbox.account.store.of_kind("charge")
    newsroom.sandbox.faults.add("GET", f"/v1/charges/{charge['id']}", "rate_limited", FOR_EVER)
    await newsroom.deliver(newsroom.sandbox.take_deliveries())
    await hours_pass_for_jobs(newsroom, 14)
    assert await jobs(newsroom) == [("charge", "todo", 1)]
    assert (
        await isolation.for_each(
            newsroom.ctx,
            [charge["id"]],
            lambda id_: charges.sync(newsroom.ctx, id_),
            job="charge",
        )
        == 0
    )
    assert await open_alerts(newsroom) == []
    waits = "SELECT scheduled_at > now() + interval '4 minutes' FROM procrastinate_jobs"
    assert await newsroom.rows(waits) == [(True,)]

    # an outage ends: what waits for its own time goes on waiting, and not all knock at once
    async with newsroom.ctx.sessions.begin() as session:
        await job_queue.enqueue_sync(session, "mail", "later", delay=timedelta(hours=1))
        await job_queue.enqueue_sync(session, "mail", "again", attempt=2, delay=timedelta(hours=1))
        for number in range(250):
            await job_queue.postpone(
                session, "charge", f"ch_{number}", attempt=1, delay=timedelta(minutes=9)
            )
        await job_queue.postpone(session, "mail", "later", attempt=1, delay=timedelta(minutes=9))
    assert await stripe_health.is_outage(newsroom.ctx, StripeKeyRefused("refused"))
    await runs_schedule(newsroom, "resume_after_outage")
    seconds = await newsroom.rows(
        "SELECT round(extract(epoch FROM max(scheduled_at) - min(scheduled_at))), count(*)"
        "  FROM procrastinate_jobs WHERE args ->> 'object_type' = 'charge'"
    )
    assert seconds == [(20, 251)]
    due = "SELECT count(*) FROM procrastinate_jobs WHERE scheduled_at <= now()"
    assert await newsroom.rows(due) == [(100,)]
    mails = (
        "SELECT count(*) FROM procrastinate_jobs WHERE args ->> 'object_type' = 'mail'"
        " AND scheduled_at > now() + interval '59 minutes'"
    )
    assert await newsroom.rows(mails) == [(2,)]
    async with newsroom.ctx.sessions.begin() as session:
        await job_queue.forget_all(session)
    newsroom.sandbox.faults.clear()


@pytest.mark.parametrize(
    ("method", "path", "alert"),
    [
        ("DELETE", "^/v1/subscriptions/", "DELETE /v1/subscriptions/{}"),
        ("WRITES", EVERYTHING, "every change"),
    ],
)
async def test_one_kind_of_request_that_nobody_is_answered_is_one_alert_and_spends_no_attempt(
    newsroom: Newsroom, method: str, path: str, alert: str
) -> None:
    room, ids = newsroom, []
    for number in range(3):
        gift = await has_given(room, 500, "monthly", email=f"reader{number}@example.org")
        ids.append(await subscription_id_of(room, gift))
    room.sandbox.faults.add(method, path, "status_503", FOR_EVER)
    for id_ in ids[:2]:
        assert not await cancellations.cancel(room.ctx, id_, actor=Actor.DONOR)
    await hours_pass_for_jobs(room, 14)
    assert [job[1:] for job in await jobs(room) if job[0] == CANCEL_JOB] == [("todo", 1)] * 2
    assert await open_alerts(room) == [("stripe_route_unavailable", alert)]
    async with room.ctx.sessions.begin() as session:
        await change_log.record_cancellation(session, ids[2], actor=Actor.DONOR, now=room.clock())
    done = await isolation.for_each(
        room.ctx, ids, lambda id_: cancellations.perform(room.ctx, id_), job=CANCEL_JOB
    )
    assert done == 0
    await runs_schedule(room, "import_balance")  # what is answered goes on
    assert not await stripe_health.resume_if_well(room.ctx)
    assert await open_alerts(room) == [("stripe_route_unavailable", alert)]

    room.sandbox.faults.clear()
    await runs_schedule(room, "resume_after_outage")
    await runs_schedule(room, "resume_cancellations")
    await room.runs_until_idle()
    assert await open_alerts(room) == []
    states = await room.rows("SELECT DISTINCT status FROM subscriptions")
    assert states == [("canceled",)]


async def test_what_fails_for_one_object_alone_spends_its_attempts_and_can_be_retried(
    newsroom: Newsroom,
) -> None:
    poison = await newsroom.gives(500)
    await newsroom.sandbox.advance_to_captures()
    (charge,) = newsroom.sandbox.account.store.of_kind("charge")
    newsroom.sandbox.faults.add("GET", f"/v1/charges/{charge['id']}", "status_500", FOR_EVER)
    deliveries = newsroom.sandbox.take_deliveries()
    await newsroom.deliver(deliveries)
    await hours_pass_for_jobs(newsroom)
    assert await jobs(newsroom) == [("charge", "failed", job_queue.MAX_ATTEMPTS)]
    assert await open_alerts(newsroom) == [("retries_exhausted", charge["id"])]
    assert not await stripe_health.resume_if_well(newsroom.ctx)  # there was no outage

    # by a colleague, while it still fails: the alert stays open
    async with open_colleague_browser(newsroom, "Ada", Role.FINANCE) as ada:
        await ada.opens_link()
        page = await ada.opens("/staff/alerts")
        (action,) = (form.action for form in page.forms if form.action.endswith("/retry"))
        answer = await ada.sends(action)
        assert answer.status_code == 303
        assert "being retried" in (await ada.opens(answer.headers["location"])).text
        assert ("alert_retried", f"retries_exhausted: {charge['id']}", "") in (
            await ada.audit_actions()
        )
        assert (await ada.sends("/staff/alerts/" + "9" * 30 + "/retry")).status_code == 303
    await newsroom.runs_due_jobs()
    assert await jobs(newsroom) == [
        ("charge", "aborted", job_queue.MAX_ATTEMPTS),
        ("charge", "todo", 2),
    ]
    await hours_pass_for_jobs(newsroom)
    assert await open_alerts(newsroom) == [("retries_exhausted", charge["id"])]

    # and once more, when it is mended, by Stripe's “resend”
    newsroom.sandbox.faults.clear()
    (event,) = (one for one in deliveries if b'"charge.updated"' in one.body)
    assert await sent_again(newsroom, event) == [200]
    assert await newsroom.count("charges") == 0  # at once it is a copy, which any webhook may have
    newsroom.clock.advance(timedelta(minutes=2))
    assert await sent_again(newsroom, event) == [200]
    assert await newsroom.count("charges") == 1
    assert await open_alerts(newsroom) == []
    assert (await newsroom.contribution(poison.id)).status == "paid"
    assert "failed" not in str(await jobs(newsroom))


async def sent_again(room: Newsroom, event: Delivery) -> list[int]:
    room.sandbox.redeliver(event.event_id)
    answers = await room.deliver(room.sandbox.take_deliveries())
    await room.runs_due_jobs()
    return answers


async def test_a_schedule_that_fails_twice_in_a_row_raises_an_alert_and_closes_it_when_well_again(
    newsroom: Newsroom,
) -> None:
    outcomes = [ValueError, None, ValueError, ValueError, ValueError, None]

    async def task(_ctx: Context) -> None:
        outcome = outcomes.pop(0)
        if outcome is not None:
            raise outcome

    schedule = schedules.Schedule("import_balance", schedules.EVERY_MINUTE, task)
    seen = []
    while outcomes:
        with contextlib.suppress(ValueError):
            await schedules.run(newsroom.ctx, schedule)
        seen.append(len(await open_alerts(newsroom)))
        if outcomes == [None]:
            assert await open_alerts(newsroom) == [("schedule_failed", "import_balance")]
            # whatever failed can be retried: here the real one runs
            async with newsroom.ctx.sessions.begin() as session:
                counts = await retries.retry_objects(session, ["import_balance", "other"])
            assert counts == {"import_balance": 1, "other": 0}
            await newsroom.runs_due_jobs()
            assert await open_alerts(newsroom) == []
    assert seen == [0, 0, 0, 1, 1, 0]


def test_whatever_is_looked_at_once_more_names_a_schedule_that_exists() -> None:
    assert set(retries.SCHEDULE_OF_KIND.values()) <= {one.name for one in SCHEDULES}
