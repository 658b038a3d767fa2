"""A refund above the limit of one colleague is made when another approves it, and not before."""

import asyncio
from datetime import datetime, timedelta
from http import HTTPStatus

import pytest
from stripe.params import RefundCreateParams

from payments.infra import audit_log, second_person
from payments.infra.audit_log import AuditAction
from payments.infra.second_person import Actor, DecisionOutcome, DecisionRefused
from payments.settlement import refund_proposals
from payments.staff.accounts import Role
from tests.support.colleague import Colleague, open_colleague_browser
from tests.support.newsroom import Newsroom, open_newsroom

pytestmark = pytest.mark.anyio
LIMITS = {"usd": 1000, "eur": 500}
WAITS = "It waits for a second colleague"


def page_of(charge: object) -> str:
    return f"/finance/refund/{charge}"


def sent_to_stripe(room: Newsroom) -> int:
    return sum(one.method == "POST" and one.path == "/v1/refunds" for one in room.sandbox.requests)


async def asks(colleague: Colleague, charge: object, amount: str) -> str:
    """Fill the form in and send it. Returns what the page says then."""
    form = (await colleague.opens(page_of(charge))).form(page_of(charge))
    answer = await colleague.sends(
        page_of(charge), **form.submission(amount=amount, reason="duplicate")
    )
    assert answer.status_code == HTTPStatus.SEE_OTHER, answer.text
    return (await colleague.opens(answer.headers["location"])).text


async def approves(colleague: Colleague, charge: object, proposal: object, shown: int) -> int:
    fields = {"proposal": str(proposal), "shown": str(shown)}
    return (await colleague.sends(f"{page_of(charge)}/approve", **fields)).status_code


async def charges_of(room: Newsroom) -> list[object]:
    for amount, currency in ((2500, "usd"), (2600, "usd"), (2700, "eur"), (2800, "gbp")):
        await room.gives(amount, "once", currency)
    await room.runs_until_idle()
    rows = await room.rows("SELECT stripe_charge_id FROM charges ORDER BY amount")
    return [charge for (charge,) in rows]


async def test_above_the_limit_two_colleagues_refund_and_each_ending_is_in_the_audit(
    database: str,
) -> None:
    async with (
        open_newsroom(database, refund_limit=LIMITS) as room,
        open_colleague_browser(room, "Ada", Role.FINANCE) as ada,
        open_colleague_browser(room, "Bea", Role.ADMIN) as bea,
        open_colleague_browser(room, "Kim", Role.AUDITOR) as kim,
        open_colleague_browser(room, "Sue", Role.SUPPORT) as sue,
        open_colleague_browser(room, "Ned", Role.FINANCE) as ned,
        open_colleague_browser(room, "Pia", Role.FINANCE) as pia,
    ):
        one, two, euros, pounds = await charges_of(room)
        for colleague in (ada, bea, kim, sue):
            await colleague.opens_link()
        # two at once, each below the limit and both together above it: one is made, one waits
        answers = await asyncio.gather(asks(ada, one, "6.00"), asks(ada, two, "6.00"))
        assert sorted(WAITS in answer for answer in answers) == [False, True]
        assert sent_to_stripe(room) == 1
        ((first, first_charge, _),) = await waiting(room)
        # so do parts of it in another currency, and all in one that has no limit
        assert WAITS in await asks(ada, euros, "2.01")
        assert WAITS in await asks(ada, pounds, "0.50")
        assert "The refund has been requested" in await asks(ada, euros, "2.00")
        assert sent_to_stripe(room) == 2
        page = await ada.opens(page_of(first_charge))
        assert not [form for form in page.forms if form.action.endswith("/approve")]
        assert "waits for a second colleague" in (await ada.opens("/finance")).text
        listed = await kim.opens("/finance/approvals")
        assert "$6.00" in listed.text
        assert "£0.50" in listed.text
        await kim.opens(page_of(first_charge))
        assert "Approvals" in (await ada.opens("/staff/alerts")).text

        # not by whoever asked, an auditor or support, not another amount, not of another payment
        assert await approves(ada, first_charge, first, 600) == HTTPStatus.CONFLICT
        assert await approves(kim, first_charge, first, 600) == HTTPStatus.FORBIDDEN
        assert await approves(sue, first_charge, first, 600) == HTTPStatus.FORBIDDEN
        assert await approves(bea, first_charge, first, 601) == HTTPStatus.CONFLICT
        assert await approves(bea, euros, first, 600) == HTTPStatus.NOT_FOUND
        assert await approves(bea, first_charge, "x", 600) == HTTPStatus.NOT_FOUND
        assert sent_to_stripe(room) == 2
        form = (await bea.opens(page_of(first_charge))).form(f"{page_of(first_charge)}/approve")
        twice = await asyncio.gather(
            *(bea.sends(form.action, **form.submission()) for _ in range(2))
        )
        assert sorted(answer.status_code for answer in twice) == [303, HTTPStatus.CONFLICT]
        assert sent_to_stripe(room) == 3
        made = "SELECT r.amount, status FROM refunds r JOIN refund_proposals ON refund_id = r.id"
        assert await room.rows(made) == [(600, "succeeded")]

        await _ends_otherwise(room, ada, bea, euros, pounds)
        await _not_by_whom_one_let_in(room, bea, ned, pia, one)
        await _not_what_has_changed(room, ada, bea, two)
        room.clock.advance(refund_proposals.LIFETIME)
        await refund_proposals.expire(room.ctx)
        assert await waiting(room) == []
        assert await room.rows("SELECT 1 FROM alerts WHERE closed_at IS NULL") == []
        actions = (
            "SELECT name, action FROM audit_entries WHERE action LIKE 'refund%'"
            " AND (name = 'Stripe') = :of_stripe ORDER BY seq"
        )
        outcomes = await room.rows(actions, of_stripe=True)
        succeeded = await room.count("refunds WHERE status = 'succeeded' AND requested_by <> ''")
        assert outcomes == [("Stripe", "refund_succeeded")] * succeeded
        done = [
            (name, str(action).removeprefix("refund_"))
            for name, action in await room.rows(actions, of_stripe=False)
        ]
        assert sorted(done[:2]) == [("Ada", "proposed"), ("Ada", "requested")]
        assert done[2:] == [
            ("Ada", "proposed"), ("Ada", "proposed"), ("Ada", "requested"), ("Bea", "approved"),
            ("Bea", "refused"), ("Ada", "withdrawn"), ("Bea", "proposed"), ("Ned", "refused"),
            ("Ned", "proposed"), ("Pia", "refused"), ("Ada", "proposed"), ("Ada", "expired"),
        ]  # fmt: skip


async def waiting(room: Newsroom) -> list[tuple[object, ...]]:
    return await room.rows(
        "SELECT id, stripe_charge_id, amount FROM refund_proposals WHERE outcome IS NULL"
        " ORDER BY proposed_at, id"
    )


async def _ends_otherwise(
    room: Newsroom, ada: Colleague, bea: Colleague, euros: object, pounds: object
) -> None:
    """What is refused or withdrawn is free again, and nothing was sent."""
    before = sent_to_stripe(room)
    for colleague, charge, words in ((bea, euros, "Refuse it"), (ada, pounds, "Withdraw it")):
        page = await colleague.opens(page_of(charge))
        assert words in page.text
        form = page.form(f"{page_of(charge)}/refuse")
        none = await colleague.sends(form.action, **form.submission(why=" "))
        assert none.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
        assert "Say why" in none.text
        done = await colleague.sends(form.action, **form.submission(why="It was a mistake"))
        assert "It is not refunded" in (await colleague.opens(done.headers["location"])).text
    assert "Can be refunded £28.00" in (await ada.opens(page_of(pounds))).text
    assert sent_to_stripe(room) == before


async def _not_by_whom_one_let_in(
    room: Newsroom, bea: Colleague, ned: Colleague, pia: Colleague, charge: object
) -> None:
    """An administrator does not approve through an account that they just made, nor through two."""
    await _lets_in(room, bea, ned)
    assert WAITS in await asks(bea, charge, "10.01")
    ((proposal, _, amount),) = await waiting(room)
    form = (await ned.opens(page_of(charge))).form(f"{page_of(charge)}/approve")
    refused = await ned.sends(form.action, **form.submission())
    assert refused.status_code == HTTPStatus.CONFLICT
    assert "One of you two let the other in" in refused.text
    assert amount == 1001
    fields = {"proposal": str(proposal), "why": "No"}
    assert (await ned.sends(f"{page_of(charge)}/refuse", **fields)).is_redirect

    await _lets_in(room, bea, pia)
    assert WAITS in await asks(ned, charge, "10.02")
    ((proposal, _, _),) = await waiting(room)
    assert await approves(pia, charge, proposal, 1002) == HTTPStatus.CONFLICT
    fields = {"proposal": str(proposal), "why": "No"}
    assert (await pia.sends(f"{page_of(charge)}/refuse", **fields)).is_redirect
    await _not_along_a_chain(room)


async def _not_along_a_chain(room: Newsroom) -> None:
    """Whoever was let in by a colleague who was let in: for a week, and not by the command line."""
    ids = {str(name): str(id_) for id_, name in await room.rows("SELECT id, name FROM staff")}
    bea, pia = Actor(ids["Bea"], "Bea"), Actor(ids["Pia"], "Pia")
    zoe, eve = Actor("z" * 32, "Zoe"), Actor("e" * 32, "Eve")
    now = room.clock()

    async def refuses(asked_by: Actor, by: Actor, at: datetime) -> bool:
        try:
            await second_person.decide(
                session, DecisionOutcome.APPROVED,
                asked_by=asked_by, by=by, is_waiting=True, now=at,
            )  # fmt: skip
        except DecisionRefused:
            return True
        return False

    async with room.ctx.sessions() as session:
        invited = AuditAction.COLLEAGUE_INVITED
        by_pia = {"staff_id": pia.id, "name": pia.name}
        await audit_log.record(session, invited, object_id=zoe.name, now=now, **by_pia)
        await audit_log.record(session, invited, object_id=eve.name, now=now)
        for one, other in ((bea, zoe), (zoe, bea), (Actor(ids["Ned"], "Ned"), zoe)):
            assert await refuses(one, other, now)
            assert not await refuses(one, other, now + second_person.LET_IN_LATELY)
        assert not await refuses(bea, eve, now)
        assert not await refuses(Actor(ids["Ada"], "Ada"), zoe, now)
        await session.rollback()


async def _lets_in(room: Newsroom, bea: Colleague, other: Colleague) -> None:
    """Bea invites a colleague, who opens the link."""
    made = await bea.sends("/staff/colleagues", name=other.name, role=other.role.value)
    link = made.text.partition('<code class="once">')[2].partition("<")[0]
    await other.opens_link(link.removeprefix(room.settings.base_url))


async def _not_what_has_changed(
    room: Newsroom, ada: Colleague, bea: Colleague, charge: object
) -> None:
    """What is no longer left of the payment is not refunded, whoever approved it."""
    left = 2600 - 600
    assert WAITS in await asks(ada, charge, f"{left / 100:.2f}")
    at_stripe: RefundCreateParams = {"charge": str(charge), "amount": 1}
    await room.stripe_owner.v1.refunds.create_async(at_stripe)
    await room.runs_until_idle()
    ((proposal, _, _),) = await waiting(room)
    before = sent_to_stripe(room)
    assert await approves(bea, charge, proposal, left) == HTTPStatus.UNPROCESSABLE_ENTITY
    assert sent_to_stripe(room) == before
    room.clock.advance(timedelta(minutes=5))
    late = await bea.sends(f"{page_of(charge)}/approve", proposal=str(proposal), shown=str(left))
    assert late.headers["location"].startswith("/staff/confirm?back=%2Ffinance%2Frefund")
