"""The pages of finance as a colleague uses them: what they ask, refuse and lead to."""

import csv
import io
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from html import unescape
from urllib.parse import urlencode

import pytest

from payments.accounting.reports import payouts, refunds_and_disputes, transactions
from payments.accounting.reports.period import ALL_TIME
from payments.accounting.reports.sorting import Order
from payments.accounting.reports.transaction_filters import Filters
from payments.web.finance.definitions import DEFINITIONS
from payments.web.finance.refusals import FILTER_LABELS, PLACES
from payments.web.finance.tables import EMPTY_CELL
from payments.web.staff import guards
from tests.support.colleague import sees, signs_in
from tests.support.figures import (
    leads_to_its_figures,
    lines_add_up,
    months_are_their_lines,
    rows_with_links,
)
from tests.support.http import app_of
from tests.support.newsroom import Newsroom
from tests.support.page import Page
from tests.support.snapshot import Snapshot, restore_newsroom

pytestmark = pytest.mark.anyio

NONSENSE = "½!"  # no filter can be this
LEADS_TO_FIGURES = ("/finance", "/finance/transactions", "/finance/why")
RIGHT = {"format": "csv"}  # a filter that must be set


@pytest.fixture
async def room(cluster: str, two_months: Snapshot) -> AsyncIterator[Newsroom]:
    async with restore_newsroom(cluster, two_months) as room:
        yield room


def finance_addresses(room: Newsroom) -> Iterator[str]:
    """Every page and file of finance that can be asked for without the id of anything."""
    for rule in guards.access_rules(app_of(room)):
        method, path = str(rule.route).split()
        if method == "GET" and path.startswith("/finance") and "{" not in path:
            yield path


async def test_a_wrong_filter_keeps_what_was_typed_and_stays_with_finance(room: Newsroom) -> None:
    cookie = await signs_in(room)
    refused = []
    for address in finance_addresses(room):
        typed = dict.fromkeys([*FILTER_LABELS, *PLACES - {"lang"}], NONSENSE)
        while True:
            answer = await room.web.get(address, params=typed, headers={"cookie": cookie})
            if answer.status_code != 422:
                break
            page = Page(answer.text)
            assert page.problems == [], address
            assert [found["aria-label"] for tag, found in page.attributes if tag == "nav"] == [
                "Finance"
            ]
            assert len(page.alerts) == 1, address
            form = next((form for form in page.forms if form.method == "get"), None)
            if form is None:  # a place in a list: only links have it
                (wrong,) = [name for name in PLACES if page.alerts[0].startswith(f"{name}:")]
            else:
                (wrong,) = (
                    found["name"]
                    for tag, found in page.attributes
                    if tag in ("input", "select") and "aria-invalid" in found
                )
                assert form.action == address
                left = {name: value for name, value in typed.items() if name not in PLACES}
                assert form.submission() == left, address
            refused.append((address, wrong))
            typed |= {wrong: RIGHT.get(wrong, "")}
        assert answer.status_code == 200, (address, answer.status_code)
        kinds = answer.headers.get_list("content-type")
        assert len(kinds) == 1
        assert kinds[0].count("charset") <= 1, (address, kinds)
    assert len({address for address, _ in refused}) > 12
    assert {("/finance/journal", "format"), ("/finance/transactions", "sort")} <= {*refused}


async def test_a_colleague_never_gets_the_readers_error_page(room: Newsroom) -> None:
    cookie = await signs_in(room)
    for address, status in (
        ("/finance/nowhere", 404),
        ("/finance/contributions/none", 404),
        ("/finance/payouts/po_none", 404),
        ("/finance/periods/2026", 422),
        ("/finance/corrections/txn_none", 404),
        ("/finance/refund/ch_none", 404),
        ("/staff/nowhere", 404),
    ):
        answer = await sees(room, cookie, address)
        page = Page(answer.text)
        assert answer.status_code == status, address
        assert page.problems == [], address
        assert len(page.alerts) == 1, address
        assert "/donate" not in answer.text, address
        assert ("/finance/transactions" in answer.text) is ("nowhere" not in address), address


async def test_totals_are_the_sum_of_the_lines_whatever_the_filter(room: Newsroom) -> None:
    cookie = await signs_in(room)
    for query in ("type=payout", "period=2026-11", "currency=usd", "account=refunds", "id=txn_no"):
        await lines_add_up(room, cookie, f"?{query}")
    everything = await lines_add_up(room, cookie)
    assert everything["USD", "net"] > everything["USD", "balance_change"]  # payouts are among it
    await months_are_their_lines(room, cookie)


SELF_EVIDENT = re.compile(  # a currency, a year, a frequency or other of a drawing, an age, a rate
    r"[A-Z]{3}|20[0-9]{2}|\+[0-9]+|Monthly|Annual|Once|One-off|Other intervals|.*rate"
)


def undefined_labels(markup: str) -> set[str]:
    """The headings of figures on a page that no definition explains."""
    heads = re.findall(r'<th scope="col" class="num"[^>]*>(?:<a[^>]*>)?(.*?)(?:</a>)?</th>', markup)
    cards = "".join(re.findall(r'<section aria-labelledby="total-.*?</section>', markup, re.DOTALL))
    labels = {unescape(one) for one in [*heads, *re.findall("<dt>(.*?)</dt>", cards)]}
    return {one for one in labels - DEFINITIONS.keys() if not SELF_EVIDENT.fullmatch(one)}


def headings_given_twice(markup: str) -> set[str]:
    """What two columns of one table are both called."""
    found = set()
    for row in re.findall(r"<thead><tr>(.*?)</tr></thead>", markup, re.DOTALL):
        labels = Counter(re.findall(r'<th scope="col"[^>]*>(.*?)</th>', row))
        found |= {label for label, count in labels.items() if count > 1}
    return found


def links_of_navigation(markup: str) -> tuple[str, ...]:
    nav = markup.partition('<nav class="pages"')[2].partition("</nav>")[0]
    return tuple(re.findall(r'href="([^"]+)"', nav))


async def test_every_figure_leads_to_lines_that_add_up_to_it(room: Newsroom) -> None:
    cookie = await signs_in(room)
    compared: Counter[tuple[str, str]] = Counter()
    followed = set()
    undefined: set[str] = set()
    navigations = set()
    for query in ("", "?period=2026-12&currency=usd", "?from=2026-11-10&to=2026-12-27"):
        for address in finance_addresses(room):
            answer = await sees(room, cookie, f"{address}{query}")
            if not answer.headers["content-type"].startswith("text/html"):
                continue
            navigations.add(links_of_navigation(answer.text))
            assert headings_given_twice(answer.text) == set(), address
            if address != "/finance/deferred":  # it defines its figures itself
                undefined |= undefined_labels(answer.text)
            if address == "/finance/recurring":  # a month of it is no sum of that month's lines
                continue
            for row in rows_with_links(answer.text):
                path = row.url.partition("?")[0]
                if path in LEADS_TO_FIGURES and row.url not in followed:
                    followed.add(row.url)
                    count = await leads_to_its_figures(room, cookie, row)
                    assert count, f"{address}{query}: nothing of {row} can be compared"
                    compared[address, path] += count
    [navigation] = navigations  # the same on every page
    assert {"/finance/approvals", "/finance/periods", "/staff/tokens"} <= {*navigation}
    assert undefined == set(), "a word above figures means one thing: definitions.py"
    assert compared.keys() >= {
        ("/finance", "/finance"),
        ("/finance", "/finance/transactions"),
        ("/finance/months", "/finance/transactions"),
        ("/finance/why", "/finance/transactions"),
        ("/finance/why", "/finance/why"),
    }


async def test_ids_and_amounts_are_found_as_pages_show_them(room: Newsroom) -> None:
    cookie = await signs_in(room)
    addresses = ["/finance/transactions", "/finance/payouts", "/finance/refunds"]
    for table in ("contributions", "payouts"):
        name = "id" if table == "contributions" else "stripe_payout_id"
        ((id_,),) = await room.rows(f"SELECT {name} FROM {table} LIMIT 1")  # noqa: S608 - ours
        addresses.append(f"/finance/{table}/{id_}")
    shown = set()
    for address in addresses:
        markup = (await sees(room, cookie, address)).text
        codes = re.findall(r"<code>(?:<a [^>]*>)?([^<]+)", markup)
        shown |= {code for code in codes if not re.search(r"[:\s→-]|^(refunds|bank)$", code)}
    assert len({re.split(r"_|(?<=…)", code)[0] for code in shown if "_" in code}) > 4
    for code in shown:
        answer = await room.web.get(
            "/finance/transactions", params={"id": f" {code} "}, headers={"cookie": cookie}
        )
        assert answer.status_code == 200, code
        assert "No transaction matches" not in answer.text, code
    for typed, found in (
        ("12.34", {"12.34"}), ("12,34", {"12.34"}), ("$12.34", {"12.34"}), ("-3.33", {"-3.33"}),
        ("\N{MINUS SIGN}$3.33", {"-3.33"}), ("3.33", {"-3.33"}), ("25", {"25.00"}), ("-25", set()),
        ("999,999.99", set()),
    ):  # fmt: skip
        params = {"amount": typed, "type": "refund"} if "3.33" in typed else {"amount": typed}
        answer = await room.web.get(
            "/finance/transactions.csv", params=params, headers={"cookie": cookie}
        )
        amounts = {row["amount"] for row in csv.DictReader(io.StringIO(answer.text))}
        assert amounts == found, typed
        await lines_add_up(room, cookie, f"?{urlencode(params)}")
    for typed in ("ten", "1e3", "--1", "\N{FULLWIDTH DIGIT ONE}"):
        answer = await room.web.get(
            "/finance/transactions", params={"amount": typed}, headers={"cookie": cookie}
        )
        assert answer.status_code == 422, typed
        assert f'value="{typed}"' in answer.text
    assert (await sees(room, cookie, "/finance/months?currency=USD")).status_code == 200


UNSORTABLE = {  # tables without links on their headings, each with the reason
    "t-two-years": "each line is the one before and a month more",
    "nets": "two periods, the earlier one above",
    "causes": "leads from one net to the other",
    "names": "a form",
    "by-month": "grouped by month, the newest first",
    "versions": "every version of the account map, the newest above, beside the form",
    "stripe-balance": "a statement: its lines add up to the last",
    "definitions": "words and their meaning",
    "entries": "the audit log, in the order it was written",
}
REPORT_TABLE = re.compile(r"(contributions|last-year|counts|balance)-[a-z]{3}")  # of a statement
SORTED = re.compile(r'<th scope="col"[^>]* aria-sort="(ascending|descending)"><a [^>]*>(.*?)</a>')


def tables_of(markup: str) -> dict[str, str]:
    """The tables of a page by the ids of their captions."""
    found = re.findall(r"<table.*?</table>", markup, re.DOTALL)
    return {re.findall(r'<caption id="([^"]*)"', one)[0]: one for one in found}


def lines_of(markup: str) -> list[str]:
    body = markup.partition("<tbody>")[2].partition("</tbody>")[0]
    return re.findall(r"<tr.*?</tr>", body, re.DOTALL)


def last_cells(markup: str) -> list[str]:
    """What the last column says, line by line, where it says anything."""
    cells = [line.rpartition("<td")[2].partition(">")[2] for line in lines_of(markup)]
    texts = [re.sub("<[^>]*>", "", cell).strip() for cell in cells]
    return [text for text in texts if text not in ("", EMPTY_CELL)]


async def test_every_table_is_sorted_by_its_headings(room: Newsroom) -> None:
    cookie = await signs_in(room)
    by_heading = set()
    for address in finance_addresses(room):
        answer = await sees(room, cookie, f"{address}?lang=en&currency=usd")
        if not answer.headers["content-type"].startswith("text/html"):
            continue
        for id_, before in tables_of(answer.text).items():
            links = re.findall(r'<th scope="col"[^>]*><a href="([^"]*)">(.*?)</a>', before)
            if not links:
                assert id_ in UNSORTABLE or REPORT_TABLE.fullmatch(id_), (address, id_)
                continue
            url, label = links[-1]
            once = await sees(room, cookie, unescape(url).partition("#")[0])
            after = tables_of(once.text)[id_]
            ((direction, sorted_label),) = SORTED.findall(after)
            assert sorted_label == label
            assert f"currency=usd&amp;sort={'-' if direction == 'descending' else ''}{id_}." in url
            assert sorted(lines_of(after)) == sorted(lines_of(before)), (address, id_)
            onward = re.findall(r'rel="next" href="([^"]*)', once.text)
            assert all("sort=" in page for page in onward)
            if 'name="period"' in once.text:
                assert '<input type="hidden" name="sort"' in once.text, address
            again = re.findall(r'aria-sort="[a-z]*"><a href="([^"]*)"', after)
            twice = await sees(room, cookie, unescape(again[0]).partition("#")[0])
            other = tables_of(twice.text)[id_]
            assert SORTED.findall(other)[0][0] != direction
            assert last_cells(other) == last_cells(after)[::-1], (address, id_)
            by_heading.add(id_)
    assert {"transactions", "payouts", "refunds", "months", "by-year"} <= by_heading


async def test_no_page_of_a_sorted_list_skips_or_repeats_a_line(room: Newsroom) -> None:
    zone = room.ctx.settings.accounting_zoneinfo
    async with room.ctx.sessions() as session:

        async def ids(size: int, order: Order) -> list[str]:
            found: list[str] = []
            cursor = None
            while True:
                page, cursor = await transactions.list_page(
                    session, zone, Filters(), before=cursor, order=order, size=size
                )
                found += [one.id for one in page]
                if cursor is None:
                    return found

        for column in transactions.SORTABLE.columns:
            ascending = await ids(1000, Order(column))
            assert len(ascending) > 10
            for size, is_descending in ((4, False), (7, True)):
                found = await ids(size, Order(column, is_descending=is_descending))
                assert found == (ascending[::-1] if is_descending else ascending), column
        for list_page, sortable in (
            (payouts.list_page, payouts.SORTABLE),
            (refunds_and_disputes.list_refunds, refunds_and_disputes.SORTABLE_REFUNDS),
        ):
            for column in sortable.columns:
                whole, _ = await list_page(session, zone, ALL_TIME, order=Order(column))
                rows: list[object] = []
                before = None
                for _ in whole:
                    page, before = await list_page(
                        session, zone, ALL_TIME, before=before, order=Order(column), size=1
                    )
                    rows += page
                assert rows == list(whole), column
                assert before is None
        for column in refunds_and_disputes.SORTABLE_DISPUTES.columns:
            first, _ = await refunds_and_disputes.list_disputes(
                session, zone, ALL_TIME, order=Order(column)
            )
            last, _ = await refunds_and_disputes.list_disputes(
                session, zone, ALL_TIME, order=Order(column, is_descending=True)
            )
            assert first == list(last)[::-1], column
