"""Finance closes a month on its page, takes its pack away, and may open it again for a reason."""

import csv
import hashlib
import io
import json
import re
import zipfile
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from http import HTTPStatus

import httpx
import pytest

from payments.accounting import accounting_zone, close_pack, daily_totals
from payments.core.errors import InvalidField
from payments.core.money import MINUS
from payments.sandbox import balance as sandbox_balance
from payments.settlement import importer
from payments.staff.accounts import Role
from payments.web.finance.tables import EMPTY_CELL
from tests.support.colleague import Colleague, open_colleague_browser
from tests.support.command_line import run
from tests.support.donor import SAME_ORIGIN_HEADERS
from tests.support.newsroom import Newsroom
from tests.support.packs import PUBLIC_KEY, files_of, find_problems
from tests.support.page import Page
from tests.support.past import has_given
from tests.support.snapshot import Snapshot, restore_newsroom, take_snapshot

pytestmark = pytest.mark.anyio

LIST = "/finance/periods"
NOVEMBER = f"{LIST}/2026-11"
NOTHING = (EMPTY_CELL,)


@pytest.fixture(scope="module")
def november(cluster: str) -> Iterator[Snapshot]:
    with take_snapshot(cluster, gives_in_november) as snapshot:
        yield snapshot


@pytest.fixture
async def room(cluster: str, november: Snapshot) -> AsyncIterator[Newsroom]:
    """November is over: gifts, a subscription, and everything imported."""
    async with restore_newsroom(cluster, november) as room:
        yield room
        await room.proves_itself()


async def gives_in_november(room: Newsroom) -> None:
    await room.gives(2500)
    await has_given(room, 500, "monthly")
    await passes(room, datetime(2026, 12, 1, 8, tzinfo=UTC))


@pytest.fixture
async def ada(room: Newsroom) -> AsyncIterator[Colleague]:
    async with open_colleague_browser(room, "Ada", Role.FINANCE) as ada:
        await ada.opens_link()
        yield ada


async def passes(room: Newsroom, until: datetime) -> None:
    await room.advances_time(until - room.clock())
    await room.runs_until_idle()
    await daily_totals.import_and_refresh(room.ctx)


async def presses(one: Colleague, action: str, **typed: str) -> httpx.Response:
    """Press a button of the month's page, as its form has it."""
    page = await one.opens(action.rpartition("/")[0])
    sent = page.form(action).submission(**typed)
    return await one.web.post(action, data=sent, headers=SAME_ORIGIN_HEADERS)


async def closes(one: Colleague) -> Page:
    answer = await presses(one, f"{NOVEMBER}/close")
    assert (answer.status_code, answer.headers["location"]) == (303, f"{NOVEMBER}?done=closed")
    return await one.opens(answer.headers["location"])


async def held(one: Colleague, month: str) -> dict[str, int]:
    """What a month's page says Stripe held, and what moved it, in cents."""
    rows = [row for row in (await one.opens(f"{LIST}/{month}")).cells if len(row) == 2]
    return {
        words: int(re.sub(r"[$.,+]", "", figure).replace(MINUS, "-"))
        for words, figure in rows
        if "$" in figure
    }


async def test_a_month_shows_what_stripe_held_all_that_moved_it_and_what_is_left(
    room: Newsroom, ada: Colleague
) -> None:
    room.sandbox.charge_fee("billing", 120)
    await daily_totals.import_and_refresh(room.ctx)
    november, december = await held(ada, "2026-11"), await held(ada, "2026-12")
    assert (november["When the month began"], november["Gifts"]) == (0, 3000)
    for month, end in ((november, "When it ended"), (december, "Now")):
        assert sum(month.values()) == 2 * month[end]
    assert december["When the month began"] == november["When it ended"]
    assert december["Fees"] <= -120
    at_stripe = await importer.stripe_balance(room.ctx)
    assert december["Now"] == at_stripe.get("usd", 0)


async def test_a_month_is_closed_and_its_pack_taken_away(room: Newsroom, ada: Colleague) -> None:
    before = await ada.opens(LIST)
    assert ["November 2026", "Open, next to close", *NOTHING] in before.cells
    assert ["December 2026", "Open, not over", *NOTHING] in before.cells
    ready = await ada.opens(NOVEMBER)
    assert "OK: The month is over" in ready.text
    assert "Problem:" not in ready.text
    closed = await closes(ada)
    assert "It is closed." in closed.text
    assert "by Ada" in closed.text
    taken = await ada.web.get(f"{NOVEMBER}/pack")
    assert taken.headers["content-type"] == "application/zip"
    name = taken.headers["content-disposition"]
    assert name.startswith('attachment; filename="payments-2026-11-')
    assert find_problems(taken.content, keys=(close_pack.public_key(room.settings),)) == []
    with zipfile.ZipFile(io.BytesIO(taken.content)) as pack:
        manifest = pack.read("manifest.json")
    assert json.loads(manifest)["month"] == "2026-11"
    digest = hashlib.sha256(manifest).hexdigest()
    assert digest in closed.text
    row, pack_row = [row for row in (await ada.opens(LIST)).cells if row[0] == "November 2026"]
    assert row[1] == "Closed"
    assert row[2].endswith("Ada")
    assert pack_row[1:4] == ["Pack 1", "Yes", row[2]]
    await has_given(room, 900)
    assert (await ada.web.get(f"{NOVEMBER}/pack")).content == taken.content
    actions = [(action, object_id) for action, object_id, _ in await ada.audit_actions()]
    assert ("period_closed", "2026-11") in actions
    assert actions.count(("data_exported", f"{NOVEMBER}/pack")) == 2


async def test_a_month_is_not_closed_twice(room: Newsroom, ada: Colleague) -> None:
    await closes(ada)
    with pytest.raises(InvalidField, match="2026-11 is closed by the days of UTC"):
        await accounting_zone.change(room.ctx, "Asia/Kolkata", reason="Moved", by="Ada")
    again = await ada.web.post(f"{NOVEMBER}/close", headers=SAME_ORIGIN_HEADERS)
    assert again.status_code == HTTPStatus.CONFLICT
    assert "2026-11 is closed already. Nothing was closed." in Page(again.text).text
    assert await room.count("period_closings") == 1


async def test_a_month_with_an_unexplained_cent_is_closed_by_two_on_their_pages(
    room: Newsroom, ada: Colleague
) -> None:
    cent = sandbox_balance.create_transaction(
        room.sandbox.account, {"type": "tax_fund", "amount": -1, "currency": "usd"}
    )
    cent["created"] = int(datetime(2026, 11, 30, 12, tzinfo=UTC).timestamp())
    await daily_totals.import_and_refresh(room.ctx)
    page = await ada.opens(NOVEMBER)
    assert "Problem: Nothing is in suspense · 1 of them" in page.text
    assert "cannot be closed while there is a problem" in page.text
    assert f"{NOVEMBER}/close" not in [form.action for form in page.forms]
    forced = await ada.web.post(f"{NOVEMBER}/close", headers=SAME_ORIGIN_HEADERS)
    assert forced.status_code == HTTPStatus.CONFLICT
    assert "Nothing was closed." in forced.text
    assert await room.count("period_closings") == 0
    balance = {row[0]: row[1] for row in page.cells if len(row) == 2}
    assert balance["In suspense"] == f"{MINUS}$0.01"

    url = f"/finance/corrections/{cent['id']}"
    assert url in (await ada.opens("/finance/transactions?account=suspense")).html
    form = (await ada.opens(url)).form(url)
    said = {"to_account": "unexplained", "reason": "Asked Stripe twice"}
    assert form.submission()["booked_on"] == "2026-11-30"
    for day, words in (("2026-11-29", "when it happened"), ("2026-12-02", "until today"),
                       ("soon", "Choose a day such as")):  # fmt: skip
        wrong = await ada.sends(url, **form.submission(**said, booked_on=day))
        assert wrong.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
        assert words in wrong.text
        assert Page(wrong.text).field("booked_on")["value"] == day
    assert (await ada.sends(url, **form.submission(**said))).status_code in {200, 303}
    page = await ada.opens(NOVEMBER)
    assert "Problem: No correction of it waits for a second colleague · 1 of them" in page.text

    async with open_colleague_browser(room, "Boris", Role.FINANCE) as boris:
        await boris.opens_link()
        waiting = (await boris.opens(url)).form(f"{url}/approve").submission()
        assert (await boris.sends(f"{url}/approve", **waiting)).status_code in {200, 303}
    page = await closes(ada)
    balance = {row[0]: row[1] for row in page.cells if len(row) == 2}
    assert "In suspense" not in balance
    assert balance["A difference nobody could explain"] == f"{MINUS}$0.01"
    pack = (await ada.web.get(f"{NOVEMBER}/pack")).content
    assert find_problems(pack, keys=(PUBLIC_KEY,)) == []
    files = {name: data.decode() for name, data in files_of(pack).items()}
    (row,) = csv.DictReader(io.StringIO(files["corrections.csv"]))
    assert (row["proposed_by"], row["decided_by"], row["reason"]) == (
        "Ada",
        "Boris",
        said["reason"],
    )
    statuses = {
        line["type"]: line["status"]
        for line in csv.DictReader(io.StringIO(files["transactions.csv"]))
        if line["provider_balance_transaction_id"] == cent["id"]
    }
    assert statuses.pop("correction") == "posted"
    assert list(statuses.values()) == ["corrected"]
    listed = await run(room.settings, "corrections", "list")
    assert listed.stdout.decode() == (
        f"2026-11-30  {cent['id']}  1 usd  suspense to unexplained  booked"
        "  Ada, decided by Boris: Asked Stripe twice\n"
    )
    listed = await run(room.settings, "corrections", "list", "--json")
    (found,) = json.loads(listed.stdout)
    assert [found[name] for name in ("status", "to", "amount_minor", "decided_by")] == [
        "booked", "unexplained", 1, "Boris"
    ]  # fmt: skip


async def test_a_month_that_is_not_over_or_has_not_begun_is_not_closed(
    room: Newsroom, ada: Colleague
) -> None:
    page = await ada.opens(f"{LIST}/2026-12")
    assert "Problem: The month is over" in page.text
    early = await ada.web.post(f"{LIST}/2026-12/close", headers=SAME_ORIGIN_HEADERS)
    assert early.status_code == HTTPStatus.CONFLICT
    for month, words in (("2027-01", "has not begun"), ("2026-13", "a month such as"),
                         ("november", "a month such as"), ("2026", "a month such as")):  # fmt: skip
        for answer in (
            await ada.web.get(f"{LIST}/{month}"),
            await ada.web.get(f"{LIST}/{month}/pack"),
            await ada.web.post(f"{LIST}/{month}/close", headers=SAME_ORIGIN_HEADERS),
            await ada.web.post(f"{LIST}/{month}/reopen", headers=SAME_ORIGIN_HEADERS),
        ):
            assert answer.status_code == HTTPStatus.UNPROCESSABLE_ENTITY, month
            assert words in Page(answer.text).text
    assert (await ada.web.get(f"{NOVEMBER}/pack")).status_code == HTTPStatus.NOT_FOUND
    assert await room.count("period_closings") == 0


async def test_the_last_closed_month_is_opened_again_for_a_reason(
    room: Newsroom, ada: Colleague
) -> None:
    await closes(ada)
    first = (await ada.web.get(f"{NOVEMBER}/pack")).content
    for reason, words in (("", "Say why"), ("x" * 201, "at most 200"),
                          ("ask reader@example.org", "no address")):  # fmt: skip
        answer = await presses(ada, f"{NOVEMBER}/reopen", reason=reason)
        assert answer.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
        page = Page(answer.text)
        assert page.problems == []
        assert words in page.text
        assert page.field("reason")["aria-invalid"] == "true"
    assert await room.rows("SELECT reopen_reason FROM period_closings") == [(None,)]
    answer = await presses(ada, f"{NOVEMBER}/reopen", reason="A refund was missing")
    opened = await ada.opens(answer.headers["location"])
    assert "It is open again." in opened.text
    assert "A refund was missing" in opened.text
    assert ["November 2026", "Open again, next to close", *NOTHING] in (await ada.opens(LIST)).cells
    twice = await ada.web.post(
        f"{NOVEMBER}/reopen", data={"reason": "x"}, headers=SAME_ORIGIN_HEADERS
    )
    assert twice.status_code == HTTPStatus.UNPROCESSABLE_ENTITY
    assert "only the last closed month can be opened again" in Page(twice.text).text
    await closes(ada)
    again = (await ada.web.get(f"{NOVEMBER}/pack")).content
    assert find_problems(again, first) == []
    # both are listed, on the month's page too, and taken away by their number
    why = "No: Ada reopened the month 2026-12-01 08:00: A refund was missing"
    for url in (LIST, NOVEMBER):
        page = await ada.opens(url)
        rows = [row for row in page.cells if row[1:2] in (["Pack 1"], ["Pack 2"])]
        assert [(row[1], row[2]) for row in rows] == [("Pack 2", "Yes"), ("Pack 1", why)]
        for number, pack in (("1", first), ("2", again)):
            assert f"{NOVEMBER}/packs/{number}" in page.html
            taken = await ada.web.get(f"{NOVEMBER}/packs/{number}")
            assert taken.content == pack
            assert f"payments-2026-11-pack-{number}.zip" in taken.headers["content-disposition"]
    exported = [one for action, one, _ in await ada.audit_actions() if action == "data_exported"]
    assert exported.count(f"{NOVEMBER}/packs/1") == 2
    for wrong in (f"{NOVEMBER}/packs/3", f"{NOVEMBER}/packs/x", f"{LIST}/2026-12/packs/1"):
        assert (await ada.web.get(wrong)).status_code == HTTPStatus.NOT_FOUND


async def test_what_comes_late_is_listed_with_the_month_it_belongs_to(
    room: Newsroom, ada: Colleague
) -> None:
    assert "No entry came too late" in (await ada.opens(LIST)).text
    await closes(ada)
    fee_id = room.sandbox.charge_fee("billing", 150)
    fee = room.sandbox.account.store.get("balance_transaction", fee_id)
    assert fee is not None
    fee["created"] = int(datetime(2026, 11, 30, 23, 50, tzinfo=UTC).timestamp())
    await daily_totals.import_and_refresh(room.ctx)
    (row,) = (row for row in (await ada.opens(LIST)).cells if row[0] == fee_id)
    assert row[1:4] == ["2026-11-30 23:50", "belongs to November 2026 by its time", "December 2026"]
    assert row[5] == "$1.50"
    december = await ada.opens("/finance/transactions?period=2026-12")
    (line,) = (row for row in december.cells if row[0].startswith("2026-11-30 23:50"))
    assert line[0] == "2026-11-30 23:50, late: counts in December 2026"
    assert ", late:" not in (await ada.opens("/finance/transactions?period=2026-11")).text
    mark = "belong to months that were closed before they came: 1"
    assert mark in (await ada.opens("/finance?period=2026-12")).text
    assert "closed before they came" not in (await ada.opens("/finance?period=2026-11")).text


async def test_closing_and_taking_away_ask_for_a_fresh_proof(
    room: Newsroom, ada: Colleague
) -> None:
    room.clock.advance(timedelta(minutes=6))
    for answer in (
        await ada.web.post(f"{NOVEMBER}/close", headers=SAME_ORIGIN_HEADERS),
        await ada.web.post(f"{NOVEMBER}/reopen", data={"reason": "x"}, headers=SAME_ORIGIN_HEADERS),
        await ada.web.get(f"{NOVEMBER}/pack"),
        await ada.web.get(f"{NOVEMBER}/packs/1"),
    ):
        assert answer.status_code == HTTPStatus.SEE_OTHER
        assert answer.headers["location"].startswith("/staff/confirm?back=%2Ffinance%2Fperiods")
    assert (await ada.web.get(NOVEMBER)).status_code == HTTPStatus.OK  # reading goes on
    assert await room.count("period_closings") == 0


async def test_support_and_strangers_close_nothing(room: Newsroom) -> None:
    async with open_colleague_browser(room, "Sam", Role.SUPPORT) as sam:
        for status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            for answer in (
                await sam.web.get(LIST),
                await sam.web.get(NOVEMBER),
                await sam.web.get(f"{NOVEMBER}/pack"),
                await sam.web.get(f"{NOVEMBER}/packs/1"),
                await sam.web.post(f"{NOVEMBER}/close", headers=SAME_ORIGIN_HEADERS),
                await sam.web.post(f"{NOVEMBER}/reopen", headers=SAME_ORIGIN_HEADERS),
            ):
                assert answer.status_code == status
            await sam.opens_link()
    assert await room.count("period_closings") == 0


async def test_a_form_of_another_site_closes_nothing(room: Newsroom, ada: Colleague) -> None:
    for foreign in ({"sec-fetch-site": "cross-site"}, {"origin": "https://evil.example"}):
        for action in ("close", "reopen"):
            answer = await ada.web.post(
                f"{NOVEMBER}/{action}", data={"reason": "x"}, headers=foreign
            )
            assert answer.status_code == HTTPStatus.FORBIDDEN
            assert "Nothing was changed." in answer.text
    assert await room.count("period_closings") == 0


async def test_without_a_key_to_sign_with_nothing_is_closed(room: Newsroom, ada: Colleague) -> None:
    object.__setattr__(room.ctx.settings, "close_pack_signing_key", None)
    assert "Problem: There is a key to sign the pack with" in (await ada.opens(NOVEMBER)).text
    answer = await ada.web.post(f"{NOVEMBER}/close", headers=SAME_ORIGIN_HEADERS)
    assert answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE
    assert "PAYMENTS_CLOSE_PACK_SIGNING_KEY is not set" in answer.text
    assert await room.count("period_closings") == 0
