"""Forms that have us mail somebody cost whoever asks, and nobody whose address is typed."""

import itertools
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from payments.ops import schedules
from payments.risk import form_limit
from payments.risk.request_context import Clearance, RequestContext
from payments.signups import address_vault, newsletter_delivery, reminder_links
from tests.support.mail import ADDRESS, GOOD_CARD, subscribe_monthly
from tests.support.newsroom import Newsroom
from tests.support.onlooker import with_every_form
from tests.support.page import Page
from tests.support.risk import open_with_limits, seconds_of, solved, work_of

pytestmark = pytest.mark.anyio
LONELY = "198.51.100.9"
addresses = (f"victim{number}@example.org" for number in itertools.count())


@pytest.fixture
async def room(database: str, tmp_path: Path) -> AsyncIterator[Newsroom]:
    more = {**with_every_form(tmp_path), "trusted_proxies": "127.0.0.0/8"}
    async with open_with_limits(database, **more) as room:
        yield room


async def posts(
    room: Newsroom, path: str, ip: str, *, accept: str = "*/*", **fields: str
) -> httpx.Response:
    """Send a form from a network, for an address never typed before unless it is given."""
    fields = {"address": next(addresses), "when": "week", "consent": "yes"} | fields
    headers = {"x-forwarded-for": ip, "sec-fetch-site": "same-origin", "accept": accept}
    fields |= {"privacy_version": "1"}
    return await room.web.post(path, data=fields, headers=headers)


@pytest.mark.parametrize("path", ["/manage", "/remind", "/newsletter"])
async def test_past_a_few_each_form_costs_work_or_a_wait(room: Newsroom, path: str) -> None:
    for _ in range(3):
        assert (await posts(room, path, "203.0.113.7")).status_code == 200
    asks = await posts(room, path, "203.0.113.200")  # the same network
    assert asks.status_code == 428
    assert "e-mails are being requested" in Page(asks.text).text
    form = Page(asks.text).form(path).submission()
    proof = solved(work_of(asks))
    leads = await posts(room, path, "203.0.113.7", accept="text/html")  # Back finds this page, too
    assert leads.status_code == 303
    assert (await room.web.get(leads.headers["location"])).status_code == 428
    assert (await posts(room, path, "203.0.113.7", **form | {"proof": proof})).status_code == 200
    assert (await posts(room, path, "203.0.113.7", **form | {"proof": proof})).status_code == 428, (
        "once"
    )
    waits = await posts(room, path, "203.0.113.7")
    form = Page(waits.text).form(path).submission()
    assert (await posts(room, path, "203.0.113.7", **form)).status_code == 428, "too early"
    room.clock.advance(timedelta(seconds=seconds_of(waits)))
    assert (await posts(room, path, "203.0.113.7", **form)).status_code == 200
    assert (await posts(room, path, LONELY)).status_code == 200, "others are not asked"


async def test_a_program_is_asked_for_the_same(room: Newsroom) -> None:
    bodies: dict[str, dict[str, object]] = {
        "/api/reminders": {"on": "2026-12-24"},
        "/api/newsletter": {"consent": True, "privacy_version": "1"},
    }
    for path, more in bodies.items():
        room.clock.advance(timedelta(days=1))
        body: dict[str, object] = {"address": next(addresses), **more}
        statuses = [(await room.web.post(path, json=body)).status_code for _ in range(4)]
        assert statuses == [202, 202, 202, 428]
        proof = solved((await room.web.get("/api/challenge")).json())
        assert (await room.web.post(path, json=body | {"proof": proof})).status_code == 202


async def test_a_sign_in_has_a_price_and_no_wall_and_a_sign_up_has_both(room: Newsroom) -> None:
    for path, last in (("/manage", 200), ("/remind", 429)):
        for _ in range(14):
            answer = await posts(room, path, "203.0.113.7")
            if answer.status_code == 428:
                form = Page(answer.text).form(path).submission()
                proof = solved(work_of(answer))
                answer = await posts(room, path, "203.0.113.7", **form | {"proof": proof})
        assert answer.status_code == last, path
    assert "Retry-After" in answer.headers
    limited = await posts(room, "/remind", "203.0.113.7", **form, accept="text/html")
    assert (limited.status_code, await room.count("shown_pages")) == (429, 0)


async def test_whose_mailbox_it_is_pays_as_for_a_sign_in(room: Newsroom) -> None:
    hashes = await address_vault.address_hashes(room.settings, ADDRESS)
    mine = {"address": ADDRESS, "code": reminder_links.sign_code(room.ctx, "0" * 32, hashes[0])}
    for _ in range(3):
        assert "We will remind you" in (await posts(room, "/remind", LONELY, **mine)).text
    for _ in range(12):  # as often as they like
        asks = await posts(room, "/remind", LONELY, **mine)
        assert asks.status_code == 428
        form = Page(asks.text).form("/remind").submission() | {"proof": solved(work_of(asks))}
        answer = await posts(room, "/remind", LONELY, **form)
    assert "We will remind you" in answer.text


async def test_in_a_flood_honest_mail_leaves_at_once(room: Newsroom) -> None:
    await subscribe_monthly(room, card=GOOD_CARD)
    taken = 0
    for number in range(120):  # from as many networks as it likes, and from one
        ip = "203.0.113.7" if number % 2 else f"100.{number}.1.1"
        answer = await posts(room, ("/remind", "/newsletter")[number % 3 % 2], ip)
        taken += answer.status_code == 200
    assert taken <= form_limit.UNPROVED_CAPACITY
    await posts(room, "/manage", LONELY, address=ADDRESS)
    asks = await posts(room, "/remind", LONELY, address="honest@example.org")
    form = Page(asks.text).form("/remind").submission()
    proof = solved(work_of(asks))
    assert (await posts(room, "/remind", LONELY, **form | {"proof": proof})).status_code == 200
    await room.runs_due_jobs()
    sent = [mail.to for mail in room.mails()]
    assert sent[0] == [ADDRESS], "who is known goes before who is not"
    assert ["honest@example.org"] in sent
    assert len(sent) == taken + 2


async def test_what_strangers_have_us_keep_is_bounded_and_gone_in_two_days(
    room: Newsroom,
) -> None:
    async def signs_up(number: int) -> None:
        """From a network of its own, with a proof."""
        proof = Clearance(digest=number.to_bytes(32), lifetime=timedelta(minutes=20))
        request = RequestContext(
            client_ip=f"100.{number % 250}.{number // 250}.1",
            purpose=form_limit.SIGN_UP,
            attempt_id=str(number),
            clearance=proof,
        )
        await form_limit.use_share(room.ctx, request)

    for number in range(form_limit.SIGN_UP_CAPACITY):
        await signs_up(number)
    with pytest.raises(form_limit.SignUpsLimited) as refused:
        await signs_up(9999)
    answer = await posts(room, "/newsletter", LONELY)
    assert (answer.status_code, await room.count("newsletter_signups")) == (503, 0)
    room.clock.advance(refused.value.retry_after or timedelta(0))
    assert (await posts(room, "/newsletter", LONELY)).status_code == 200
    room.clock.advance(timedelta(hours=48, seconds=1))
    await newsletter_delivery.purge(room.ctx)
    await schedules.purge_requests(room.ctx)
    for table in ("newsletter_signups", "rate_limit_buckets", "used_tokens"):
        assert await room.count(table) == 0, table
