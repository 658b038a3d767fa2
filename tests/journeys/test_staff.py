"""A colleague signs in by a one-time link and sees what the ledger says, and nobody else does."""

import asyncio
import csv
import io
import itertools
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from stripe.params import RefundCreateParams

from payments import books, contributions, money, staff, worker
from payments.money import Money
from payments.staff import Role
from tests.newsroom import BASE, Newsroom, opened
from tests.page import Page

pytestmark = pytest.mark.anyio

HTTPS = "https://give.example.org"
PRIVATE = ("/finance", "/finance/monthly.csv", "/finance?year=2026")


async def invited(room: Newsroom, name: str = "Ada") -> str:
    """What `payments staff invite` does. Gives the path of the link."""
    async with room.rt.sessions.begin() as session:
        token = await staff.invite(session, name, role=Role.FINANCE, now=room.clock())
    return f"/staff/enter/{token}"


async def signs_in(room: Newsroom, base_url: str = "") -> str:
    """A colleague follows a new link and presses the button. Gives the cookie they hold."""
    answer = await room.web.post(base_url + await invited(room))
    assert (answer.status_code, answer.headers["location"]) == (303, "/finance")
    room.web.cookies.clear()
    cookie: str = answer.headers["set-cookie"].partition(";")[0]
    return cookie


async def sees(room: Newsroom, cookie: str, address: str = "/finance") -> httpx.Response:
    return await room.web.get(address, headers={"cookie": cookie})


# --- coming in ------------------------------------------------------------------------------------


async def test_a_link_is_opened_often_and_used_once(newsroom: Newsroom) -> None:
    link = await invited(newsroom, "Ada <Lovelace>")
    for _ in range(3):
        shown = await newsroom.web.get(link)
        assert shown.status_code == 200
        page = Page(shown.text)
        assert page.faults == []
        assert "Hello, Ada <Lovelace>" in page.text
    form = page.form("")
    entered = await newsroom.web.post(link, data=form.filled())
    assert entered.status_code == 303
    cookie = entered.headers["set-cookie"].partition(";")[0]
    assert (await sees(newsroom, cookie)).status_code == 200
    for again in (await newsroom.web.post(link), await newsroom.web.get(link)):
        assert again.status_code == 410
        assert "set-cookie" not in again.headers
        assert "This link no longer works" in Page(again.text).text
    assert (await sees(newsroom, cookie)).status_code == 200


async def test_of_two_who_press_at_once_one_comes_in(newsroom: Newsroom) -> None:
    link = await invited(newsroom)
    answers = await asyncio.gather(*(newsroom.web.post(link) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [303] + [410] * 7
    assert await newsroom.count("staff_sessions") == 1


async def test_an_hour_later_a_link_is_spent(newsroom: Newsroom) -> None:
    link, later = await invited(newsroom), await invited(newsroom)
    newsroom.clock.turn(timedelta(minutes=59, seconds=59))
    assert (await newsroom.web.post(link)).status_code == 303
    newsroom.clock.turn(timedelta(seconds=1))
    assert (await newsroom.web.get(later)).status_code == 410
    assert (await newsroom.web.post(later)).status_code == 410
    assert await newsroom.rows("SELECT name FROM staff") == [("Ada",)]


async def test_a_guessed_link_opens_nothing_and_learns_nothing(newsroom: Newsroom) -> None:
    link = await invited(newsroom)
    spent = await invited(newsroom)
    assert (await newsroom.web.post(spent)).status_code == 303
    newsroom.web.cookies.clear()
    guesses = [
        link[:-1],
        link + "A",
        link.swapcase().replace("/STAFF/ENTER", "/staff/enter"),
        spent,
    ]
    guesses += [f"/staff/enter/{word}" for word in ("x", "%00", "%ff", "a" * 5000, "%F0%9F%94%91")]
    told = set()
    for guess in guesses:
        for answer in (await newsroom.web.get(guess), await newsroom.web.post(guess)):
            assert answer.status_code == 410, guess
            assert "set-cookie" not in answer.headers
            told.add(answer.text)
    assert len(told) == 1
    assert (await newsroom.web.post(link)).status_code == 303


async def test_without_a_session_nobody_sees_the_books(newsroom: Newsroom) -> None:
    await newsroom.gives(98765)
    await newsroom.settles()
    link = await invited(newsroom)
    token = link.rsplit("/", 1)[1]
    key = await signs_in(newsroom)
    forged = ["", "staff=", "staff=x", f"staff={token}", key[:-1], f"{key}A", f"other{key[5:]}"]
    forged += [f"__Host-{key}", "staff=" + "a" * 3000, "staff=%00", f'staff="{token}"']
    for cookie, address in itertools.product(forged, PRIVATE):
        answer = await sees(newsroom, cookie, address)
        assert answer.status_code == 401, cookie
        page = Page(answer.text)
        assert page.faults == []
        assert "This page is for staff" in page.text
        assert "987" not in answer.text.replace(answer.headers["x-request-id"], "")
    for address in PRIVATE:
        assert (await sees(newsroom, key, address)).status_code == 200


async def test_a_session_lasts_a_working_day(newsroom: Newsroom) -> None:
    cookie = await signs_in(newsroom)
    newsroom.clock.turn(timedelta(hours=7, minutes=59))
    assert (await sees(newsroom, cookie)).status_code == 200
    newsroom.clock.turn(timedelta(minutes=1))
    assert (await sees(newsroom, cookie)).status_code == 401


async def test_what_no_longer_opens_anything_is_removed_at_night(newsroom: Newsroom) -> None:
    await signs_in(newsroom)
    await invited(newsroom)
    newsroom.clock.turn(timedelta(hours=9))
    cookie = await signs_in(newsroom)
    async with worker.opened(newsroom.rt) as engine:
        await engine.tasks["tidy"].defer_async(timestamp=0)
        await engine.run_worker_async(
            queues=["schedule"],
            wait=False,
            listen_notify=False,
            install_signal_handlers=False,
            additional_context={"rt": newsroom.rt},
        )
    assert await newsroom.count("staff_sessions") == 1
    assert await newsroom.count("staff_links") == 0
    assert (await sees(newsroom, cookie)).status_code == 200


async def test_the_database_holds_no_key_to_anything(newsroom: Newsroom) -> None:
    link = await invited(newsroom)
    cookie = await signs_in(newsroom)
    keys = [link.rsplit("/", 1)[1], cookie.partition("=")[2]]
    assert all(len(key) == 43 for key in keys)
    tables = await newsroom.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    for (table,) in tables:
        everything = str(await newsroom.rows(f"SELECT t::text FROM {table} AS t"))  # noqa: S608 - our tables
        for key in keys:
            assert key not in everything, table
            assert key.encode().hex() not in everything, table


async def test_the_cookie_is_for_the_browser_and_this_place_only(newsroom: Newsroom) -> None:
    answer = await newsroom.web.post(await invited(newsroom))
    assert cookie_of(answer) == (
        "staff",
        {"httponly", "path=/", "samesite=strict", "max-age=28800"},
    )


def cookie_of(answer: httpx.Response) -> tuple[str, set[str]]:
    """The name and the flags of the one cookie that is set."""
    pair, _, flags = answer.headers["set-cookie"].partition("; ")
    return pair.partition("=")[0], set(flags.lower().split("; "))


async def test_over_https_the_cookie_never_leaves_it(database: str) -> None:
    async with opened(database, base_url=HTTPS) as room:
        answer = await room.web.post(HTTPS + await invited(room))
        assert cookie_of(answer) == (
            "__Host-staff",
            {"httponly", "path=/", "samesite=strict", "max-age=28800", "secure"},
        )
        cookie = await signs_in(room, HTTPS)
        assert (await sees(room, cookie, f"{HTTPS}/finance")).status_code == 200
        plain = cookie.removeprefix("__Host-")
        assert (await sees(room, plain, f"{HTTPS}/finance")).status_code == 401


# --- the figures ----------------------------------------------------------------------------------

LEDGER = """
    SELECT upper(e.currency), c.frequency, count(*) FILTER (WHERE e.credit LIKE 'income:%'),
           coalesce(sum(e.amount) FILTER (WHERE e.credit LIKE 'income:%'), 0)::int,
           coalesce(sum(e.amount) FILTER (WHERE e.debit LIKE 'expense:%'), 0)::int,
           coalesce(sum(e.amount) FILTER (WHERE e.debit = 'refunds'), 0)::int
      FROM ledger_entries e JOIN contributions c ON c.id = e.contribution_id
     GROUP BY 1, 2 ORDER BY 1, 2
"""


def figures(page: Page) -> list[tuple[str, ...]]:
    """The lines of the page's table: currency, frequency, payments and amounts."""
    lines = [row for row in page.cells if len(row) == 7 and row[0] not in ("Total", "Frequency")]
    return sorted((row[1], row[0].lower(), *row[2:]) for row in lines)


async def test_finance_sees_what_the_ledger_says_to_the_cent(newsroom: Newsroom) -> None:
    for currency, frequency, amount in (
        ("usd", "once", 2500),
        ("usd", "monthly", 700),
        ("usd", "annual", 5000),
        ("eur", "once", 1999),
        ("eur", "monthly", 200),
        ("eur", "annual", 123_456),
        ("usd", "once", 10_01),
    ):
        await newsroom.gives(amount, frequency, currency)
    await newsroom.settles()
    ((intent,),) = await newsroom.rows(
        "SELECT stripe_payment_intent_id FROM charges WHERE amount = 2500"
    )
    refund: RefundCreateParams = {"payment_intent": str(intent), "amount": 333}
    await newsroom.rt.stripe.v1.refunds.create_async(refund)
    await newsroom.settles()
    await newsroom.sweeps()

    cookie = await signs_in(newsroom)
    page = Page((await sees(newsroom, cookie)).text)
    assert page.faults == []
    expected: list[tuple[str, ...]] = []
    totals: dict[str, tuple[int, ...]] = dict.fromkeys(("EUR", "USD"), (0, 0, 0, 0))
    for line in await newsroom.rows(LEDGER):
        code, frequency, count = map(str, line[:3])
        gross, fees, refunds = (int(str(amount)) for amount in line[3:])
        sums = (gross, fees, refunds, gross - fees - refunds)
        expected.append((code, frequency, count, *shown(code, sums)))
        totals[code] = tuple(a + b for a, b in zip(totals[code], sums, strict=True))
    assert len(expected) == 6
    assert figures(page) == expected
    assert ("USD", "once", "2", "$35.01", "$1.62", "$3.33", "$30.06") in expected
    assert [row[1:] for row in page.cells if row[0] == "Total"] == [
        [currency, "", *shown(currency, totals[currency])] for currency in ("EUR", "USD")
    ]

    file = await sees(newsroom, cookie, "/finance/monthly.csv")
    assert file.headers["content-type"] == "text/csv; charset=utf-8"
    assert file.headers["content-disposition"] == 'attachment; filename="monthly_UTC.csv"'
    lines = list(csv.DictReader(io.StringIO(file.text)))
    assert {row["month"] for row in lines} == {"2026-11"}
    names = ("gross", "fees", "refunds", "net")
    assert expected == sorted(
        (
            row["currency"].upper(),
            row["frequency"],
            row["payments"],
            *shown(row["currency"], [int(row[f"{name}_minor"]) for name in names]),
        )
        for row in lines
    )
    for row in lines:
        for name in names:
            assert money.plain(Money(int(row[f"{name}_minor"]), row["currency"])) == row[name]


def shown(currency: str, sums: Sequence[int]) -> list[str]:
    return [money.format(Money(amount, currency.lower())) for amount in sums]


async def test_before_the_first_gift_finance_is_told_there_is_none(newsroom: Newsroom) -> None:
    cookie = await signs_in(newsroom)
    page = Page((await sees(newsroom, cookie)).text)
    assert page.faults == []
    assert "No payments match" in page.text
    assert page.cells == []
    file = await sees(newsroom, cookie, "/finance/monthly.csv")
    assert len(file.text.splitlines()) == 1


async def test_every_filter_is_in_the_address_and_on_the_page(newsroom: Newsroom) -> None:
    for currency, frequency in (("usd", "once"), ("eur", "monthly"), ("eur", "once")):
        await newsroom.gives(2000, frequency, currency)
    await newsroom.settles()
    cookie = await signs_in(newsroom)
    for query, lines in (
        ("", 3),
        ("currency=eur", 2),
        ("currency=eur&frequency=once", 1),
        ("frequency=annual", 0),
        ("frequency=none", 0),
        ("year=2026", 3),
        ("year=2025&currency=&frequency=", 0),
        ("year=2019", 0),
        ("year=2099&currency=zzz", 0),
    ):
        page = Page((await sees(newsroom, cookie, f"/finance?{query}")).text)
        assert page.faults == []
        assert len(figures(page)) == lines, query
        chosen = page.form("", "get").filled()
        asked = dict(part.split("=") for part in query.split("&") if part)
        assert chosen == {"year": "", "currency": "", "frequency": "", **asked}
        export = page.links["Export this view (CSV)"]
        file = await sees(newsroom, cookie, export)
        assert len(file.text.splitlines()) == lines + 1


async def test_a_filter_that_makes_no_sense_is_refused_in_words(newsroom: Newsroom) -> None:
    cookie = await signs_in(newsroom)
    for query, words in (
        ("year=1999", "a year from 2000 to 2099"),
        ("year=26", "a year from 2000 to 2099"),
        ("year=%D9%A2%D9%A0%D9%A2%D9%A6", "a year from 2000 to 2099"),
        ("year=2026%0A", "a year from 2000 to 2099"),
        ("year=2026'--", "a year from 2000 to 2099"),
        ("currency=USD", "three letters"),
        ("currency=us", "three letters"),
        ("currency=%00%00%00", "three letters"),
        ("frequency=weekly", "once, monthly, annual or none"),
        ("frequency=Once", "once, monthly, annual or none"),
    ):
        for address in ("/finance", "/finance/monthly.csv"):
            answer = await sees(newsroom, cookie, f"{address}?{query}")
            assert answer.status_code == 422, query
            page = Page(answer.text)
            assert page.faults == []
            assert words in page.text


async def test_what_needs_attention_is_on_the_page_and_so_is_the_proof(newsroom: Newsroom) -> None:
    cookie = await signs_in(newsroom)
    await newsroom.gives(2000)
    await newsroom.settles()
    page = Page((await sees(newsroom, cookie)).text)
    assert "Needs attention" not in page.text
    made = await newsroom.rt.stripe.v1.checkout.sessions.create_async(
        {
            "mode": "payment",
            "success_url": f"{BASE}/",
            "line_items": [
                {
                    "quantity": 1,
                    "price_data": {
                        "currency": "usd",
                        "unit_amount": 4200,
                        "product": contributions.product_id(contributions.Frequency.ONCE),
                    },
                }
            ],
        }
    )
    assert made.url is not None
    await newsroom.pays(made.url)
    await newsroom.settles()
    await newsroom.turns(timedelta(hours=2))
    await newsroom.sweeps()
    await books.check_and_alarm(newsroom.rt)
    page = Page((await sees(newsroom, cookie)).text)
    assert page.faults == []
    assert "Needs attention" in page.text
    assert "it was taken in" in page.text
    assert page.text.count("Holds:") == 7
    assert "Does not hold" not in page.text
    assert "reader@example.org" not in page.html


# --- months ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("zone", "moment", "month"),
    [
        ("Europe/Amsterdam", datetime(2026, 12, 31, 23, 30, tzinfo=UTC), "January 2027"),
        ("Europe/Amsterdam", datetime(2026, 12, 31, 22, 30, tzinfo=UTC), "December 2026"),
        ("Europe/Amsterdam", datetime(2027, 3, 31, 22, 30, tzinfo=UTC), "April 2027"),
        ("UTC", datetime(2026, 12, 31, 23, 30, tzinfo=UTC), "December 2026"),
        ("America/New_York", datetime(2027, 1, 1, 3, 30, tzinfo=UTC), "December 2026"),
    ],
)
async def test_a_gift_at_the_end_of_a_month_counts_where_finance_lives(
    database: str, zone: str, moment: datetime, month: str
) -> None:
    async with opened(database, accounting_zone=zone) as room:
        room.clock.at = moment
        await room.gives(2000)
        await room.settles()
        cookie = await signs_in(room)
        page = Page((await sees(room, cookie)).text)
        assert [row for row in page.cells if len(row) == 1] == [[month]]
        assert f"All months in {zone}" in page.text
        year = re.sub(r"\D", "", month)
        for asked in (2026, 2027):
            shown_lines = figures(Page((await sees(room, cookie, f"/finance?year={asked}")).text))
            assert len(shown_lines) == (str(asked) == year)
        file = await sees(room, cookie, "/finance/monthly.csv")
        assert file.headers["content-disposition"].endswith(f'_{zone.replace("/", "-")}.csv"')
        assert await room.wrong_books() == []
