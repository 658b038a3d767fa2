"""Files that accounting programs take: read as each program reads them, and by other people's
programs, and added up again from what Stripe says, without the product.
"""

import io
import zipfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import httpx
import pytest

from payments.staff.accounts import Role
from tests.support import accounting_programs as programs
from tests.support.colleague import Colleague, open_colleague_browser
from tests.support.donor import SAME_ORIGIN_HEADERS
from tests.support.newsroom import Newsroom
from tests.support.page import Page
from tests.support.snapshot import Snapshot, restore_newsroom

pytestmark = pytest.mark.anyio

ZONE = ZoneInfo("Europe/Amsterdam")
MAP = Path(__file__).parent.parent / "support" / "account_map.csv"
PAGE = "/finance/accounts"
BANK_CODES = {"090"}


@pytest.fixture
async def room(cluster: str, two_months: Snapshot) -> AsyncIterator[Newsroom]:
    async with restore_newsroom(cluster, two_months) as room:
        yield room


@pytest.fixture
async def ada(room: Newsroom) -> AsyncIterator[Colleague]:
    async with open_colleague_browser(room, "Ada", Role.FINANCE) as ada:
        await ada.opens_link()
        yield ada


def names_of(program: str) -> dict[str, str]:
    """The names of a program in the map of these tests."""
    heads, *rows = [line.split(",") for line in MAP.read_text().splitlines()]
    return {row[0]: row[heads.index(program)] for row in rows if row[heads.index(program)]}


async def uploads(ada: Colleague, data: bytes) -> httpx.Response:
    files = {"file": ("map.csv", data, "text/csv")}
    return await ada.web.post(f"{PAGE}/file", files=files, headers=SAME_ORIGIN_HEADERS)


@dataclass(frozen=True)
class Moved:
    """What the balance at Stripe moved, from Stripe's own list, by currency and local day."""

    net: dict[tuple[str, str], Decimal]
    gross: dict[tuple[str, str], Decimal]  # of charges alone


async def moved_at_stripe(room: Newsroom, month: str) -> Moved:
    net: dict[tuple[str, str], Decimal] = {}
    gross: dict[tuple[str, str], Decimal] = {}
    listed = await room.stripe_owner.v1.balance_transactions.list_async({"limit": 100})
    async for one in listed.auto_paging_iter():
        day = datetime.fromtimestamp(one.created, UTC).astimezone(ZONE).date().isoformat()
        if day.startswith(month):
            key = one.currency, day
            net[key] = net.get(key, Decimal()) + Decimal(one.net) / 100
            if one.type in {"charge", "payment"}:
                gross[key] = gross.get(key, Decimal()) + Decimal(one.amount) / 100
    return Moved({key: value for key, value in net.items() if value}, gross)


def of_account(booked: programs.Booked, *accounts: str) -> dict[str, Decimal]:
    """What the accounts moved on each day."""
    sums: dict[str, Decimal] = {}
    for (account, day), amount in booked.items():
        if account in accounts:
            sums[day] = sums.get(day, Decimal()) + amount
    return {day: amount for day, amount in sums.items() if amount}


def of_currency(moved: dict[tuple[str, str], Decimal], currency: str) -> dict[str, Decimal]:
    return {day: amount for (code, day), amount in moved.items() if code == currency}


async def takes(ada: Colleague, query: str) -> httpx.Response:
    answer = await ada.web.get(f"/finance/journal?{query}")
    assert answer.status_code == 200, answer.text[-600:]
    return answer


async def test_every_program_takes_its_file_and_books_what_stripe_moved(
    room: Newsroom, ada: Colleague
) -> None:
    saved = await uploads(ada, MAP.read_bytes())
    assert saved.status_code == 303, saved.text
    moved = await moved_at_stripe(room, "2026-11")
    xero, qbo, datev = (names_of(name) for name in ("xero", "qbo", "datev"))
    income = ("income:once", "income:monthly", "income:annual")
    ours = "period=2026-11&currency"

    data = (await takes(ada, f"format=xero&{ours}=eur")).content
    booked = programs.read_xero_journals(
        data, codes=set(xero.values()) | BANK_CODES, bank_codes=BANK_CODES, rates={"No VAT"}
    )
    assert of_account(booked, xero["stripe:balance"]) == of_currency(moved.net, "eur")
    received = {day: -amount for day, amount in of_currency(moved.gross, "eur").items()}
    assert of_account(booked, *(xero[name] for name in income)) == received

    for currency in ("usd", "gbp"):
        data = (await takes(ada, f"format=qbo&{ours}={currency}")).content
        booked = programs.read_qbo_journals(
            data, names=set(qbo.values()), home="EUR", multicurrency=True, dates="%d/%m/%Y"
        )
        assert of_account(booked, qbo["stripe:balance"]) == of_currency(moved.net, currency)
        received = {day: -amount for day, amount in of_currency(moved.gross, currency).items()}
        assert of_account(booked, *(qbo[name] for name in income)) == received

    answer = await takes(ada, f"format=datev&{ours}=eur")
    name = answer.headers["content-disposition"].partition('"')[2].rstrip('"')
    booked = programs.read_datev(name, answer.content)
    assert of_account(booked, datev["stripe:balance"]) == of_currency(moved.net, "eur")

    for currency in ("usd", "eur", "gbp"):
        data = (await takes(ada, f"format=xero-statement&{ours}={currency}")).content
        lines = programs.read_xero_statement(data)
        by_day: dict[str, Decimal] = {}
        for day, amount, _, _ in lines:
            by_day[day] = by_day.get(day, Decimal()) + amount
        assert {day: amount for day, amount in by_day.items() if amount} == of_currency(
            moved.net, currency
        )
        payouts = [reference for _, _, label, reference in lines if label == "Payout to the bank"]
        assert len(payouts) == len(set(payouts)) > 0
        for payout in payouts:  # a payout is all that is in it
            assert sum(amount for _, amount, _, reference in lines if reference == payout) == 0
        data = (await takes(ada, f"format=qbo-statement&{ours}={currency}")).content
        assert programs.read_qbo_statement(data, dates="%d/%m/%Y") == [
            (day, amount) for day, amount, _, _ in lines
        ]


async def unpacks(ada: Colleague, query: str, folder: Path) -> None:
    answer = await takes(ada, query)
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        archive.extractall(folder)


async def test_plain_text_is_read_month_by_month_and_several_together(
    room: Newsroom, ada: Colleague, tmp_path: Path
) -> None:
    moved = {month: (await moved_at_stripe(room, month)).net for month in ("2026-11", "2026-12")}
    held: dict[str, Decimal] = {}
    for of_month in moved.values():
        for (currency, _), amount in of_month.items():
            held[currency] = held.get(currency, Decimal()) + amount
    for kind, suffix in (("beancount", "beancount"), ("hledger", "journal")):
        if kind == "hledger" and programs.HLEDGER is None:
            pytest.skip("hledger is not here: what it reads was not checked")
        check = programs.check_beancount if kind == "beancount" else programs.check_hledger
        together = tmp_path / kind / "together"
        for month in moved:
            alone = tmp_path / kind / month
            await unpacks(ada, f"format={kind}&period={month}", alone)
            assert await check(alone) == ""
            await unpacks(ada, f"format={kind}&period={month}", together)
        assert (together / f"opening-2026-12.{suffix}").exists()
        assert not (together / f"opening-2026-11.{suffix}").exists()
        names = [f"{name}.{suffix}" for name in ("accounts", *moved)]
        quote = '"' if kind == "beancount" else ""
        both = together / f"both.{suffix}"
        both.write_text("".join(f"include {quote}{name}{quote}\n" for name in names))
        assert await check(together, both.name) == ""
        # Whoever leaves a month out, or reads it twice, learns it: the balances are absolute.
        both.write_text(f"include {quote}{names[0]}{quote}\ninclude {quote}{names[2]}{quote}\n")
        assert "balance" in (await check(together, both.name)).lower()
        await unpacks(ada, f"format={kind}&period=2026", tmp_path / kind / "year")
        assert await check(tmp_path / kind / "year") == ""
    # One name for an account with a balance and for one without: that balance cannot be stated.
    renamed = MAP.read_text().replace("Income:Donations:Monthly", "Assets:In-Transit")
    assert (await uploads(ada, renamed.encode())).status_code == 303
    shared = tmp_path / "shared"
    for month in moved:
        await unpacks(ada, f"format=beancount&period={month}", shared)
        assert await programs.check_beancount(shared) == ""
    months = ("accounts", *moved)
    shared.joinpath("both").write_text("".join(f'include "{n}.beancount"\n' for n in months))
    assert await programs.check_beancount(shared, "both") == ""
    sums = await programs.hledger_balances(tmp_path / "hledger" / "year")
    for currency, amount in held.items():
        shown = sums.get(f"Assets:Stripe:Balance {currency.upper()}", "0")
        assert Decimal(shown) == amount, currency


async def test_what_a_program_would_refuse_is_not_written(room: Newsroom, ada: Colleague) -> None:
    for query, words in (
        ("format=xero&currency=eur", "the account map has no setting:base_currency, setting:tax"),
        ("format=datev&currency=eur", "the account map has no setting:adviser, setting:client"),
        ("format=qbo&currency=usd", "the account map has no setting:base_currency"),
    ):
        answer = await ada.web.get(f"/finance/journal?period=2026-11&{query}")
        assert answer.status_code == 422, query
        assert words in answer.text, query
    links = (await ada.opens("/finance/exports?period=2026-11")).text
    assert "Xero manual journals: name its accounts first" in links
    assert "Xero bank statement of the balance at Stripe, EUR" in links
    text = MAP.read_text()
    for old, new, words in (
        ("income:once,200,", "income:once,200 - Sales x,", "a code has at most 10"),
        ("bank,,", "bank,090,", "cannot touch a bank account"),
        ("income:once,200,", "income:once,=200,", "begins as a formula"),
        (",8200,Income:Donations:Once", ",82000,Income:Donations:Once", "accounts have 4"),
        ("Income:Donations:Once", "4000", "does not begin with one of Assets"),
        ("Income:Donations:Once", "Income:Once/Gifts", "each part begins with a capital"),
        (",Donations:Once,", ",Donations::Once,", "has an empty part"),
        ("No VAT", "", "Nothing was saved"),
        ("suspense,", "suspens,", "is no account or setting"),
        ("account,xero", "account,sage", "the first line must be"),
    ):
        assert old in text
        answer = await uploads(ada, text.replace(old, new, 1).encode())
        if new:
            assert answer.status_code == 422, words
            assert words in answer.text, answer.text
    saved = await uploads(ada, text.replace("income:monthly,210", "income:monthly,").encode())
    assert saved.status_code == 303
    for query, words in (
        ("format=xero&currency=eur", "the account map has no name for income:monthly"),
        ("format=xero&currency=usd", "base currency, EUR: those of USD would be taken for it"),
        ("format=datev&currency=usd", "a row of USD needs the rate"),
        ("format=qbo", "Choose one of eur, gbp, usd"),
        ("format=xero-statement", "Choose one of eur, gbp, usd"),
    ):
        answer = await ada.web.get(f"/finance/journal?period=2026-11&{query}")
        assert answer.status_code == 422, query
        assert words in answer.text, answer.text
    assert await room.count("account_maps") == 2


def typed(page: Page) -> dict[str, str]:
    """What stands in the fields of the page's form."""
    return page.form(PAGE).submission()


@pytest.mark.usefixtures("room")
async def test_names_are_edited_on_a_page_and_every_version_stays(ada: Colleague) -> None:
    page = await ada.opens(PAGE)
    fields = typed(page)
    assert fields["plain|income:once"] == "Income:Donations:Once"
    fields |= {"qbo|income:once": "Gifts", "qbo|setting:base_currency": "EUR"}
    saved = await ada.sends(PAGE, **fields)
    assert (saved.status_code, saved.headers["location"]) == (303, f"{PAGE}?saved=1")
    # Two tabs: the second learns it, and what it typed is there still.
    late = await ada.sends(PAGE, **fields | {"qbo|income:once": "Donations"})
    assert late.status_code == 409
    assert "Somebody saved another version" in late.text
    assert typed(Page(late.text))["qbo|income:once"] == "Donations"
    for number in ("9" * 5000, "²", ""):  # no version has it
        assert (await ada.sends(PAGE, **fields | {"based_on": number})).status_code == 409
    wrong = {**typed(await ada.opens(PAGE)), "xero|income:once": "200 - Sales and more"}
    refused = await ada.sends(PAGE, **wrong)
    assert refused.status_code == 422
    assert "has 20 characters, and a code has at most 10" in Page(refused.text).text
    assert typed(Page(refused.text))["xero|income:once"] == "200 - Sales and more"
    again = await ada.sends(PAGE, **typed(await ada.opens(PAGE)) | {"qbo|income:once": "Gifts 2"})
    assert again.status_code == 303
    for version, name in (("1", "Gifts"), ("2", "Gifts 2"), ("", "Gifts 2")):
        file = await ada.web.get(f"{PAGE}/file?version={version}")
        assert f"\nincome:once,,{name},," in file.text.replace("\r", "")
    assert (await ada.web.get(f"{PAGE}/file?version=3")).status_code == 404
    changes = [("account_map_changed", f"version {n}", "") for n in (1, 2)]
    assert [one for one in await ada.audit_actions() if one[0] == changes[0][0]] == changes
    versions = (await ada.opens(PAGE)).text
    assert "Versions, the newest first" in versions
    empty = await uploads(ada, b"")
    assert empty.status_code == 422
