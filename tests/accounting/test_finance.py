"""Finance reads the ledger: every figure is the ledger's, sums are exact, and nobody is named."""

import csv
import io
import random
import re
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import text
from stripe.params import RefundCreateParams

from payments.accounting import daily_totals, mrr_rollforward
from payments.accounting.mrr_rollforward import MrrMonth
from payments.accounting.reports import (
    monthly,
    recurring,
    transactions,
    variance,
)
from payments.accounting.reports.period import month_period
from payments.accounting.reports.sources import CampaignTotal, group_small
from payments.accounting.reports.transaction_filters import Filters
from payments.core.frequency import BOOKED_FREQUENCIES
from payments.ledger.posting_rules import LedgerAccount, TransactionType
from payments.web.finance import filters
from tests.support.colleague import sees, signs_in
from tests.support.database_owner import tampering
from tests.support.newsroom import Newsroom
from tests.support.page import Page
from tests.support.past import has_given
from tests.support.snapshot import Snapshot, restore_newsroom, take_snapshot
from tests.support.stripe_dashboard import pay_once, subscribe, update, with_card

pytestmark = pytest.mark.anyio

WEB = Path(__file__).parent.parent / "web"
PAGES = (
    *("", "/months", "/why", "/transactions", "/recurring", "/payouts", "/refunds", "/sources"),
    *("/exports", "/periods", "/periods/2026-06", "/reminders"),
)


@pytest.fixture(scope="module")
def half_a_year(cluster: str) -> Iterator[Snapshot]:
    with take_snapshot(cluster, gives_half_a_year, accounting_zone="Europe/Berlin") as snapshot:
        yield snapshot


@pytest.fixture
async def room(cluster: str, half_a_year: Snapshot) -> AsyncIterator[Newsroom]:
    """Half a year: subscriptions, one of them cancelled, one-off gifts, a refund, payouts."""
    async with restore_newsroom(cluster, half_a_year) as room:
        yield room


async def gives_half_a_year(room: Newsroom) -> None:
    chance = random.Random(7)
    room.clock.current = datetime(2026, 5, 20, 12, tzinfo=UTC)
    await room.advances_time(timedelta(0))
    customer, card = with_card(room, "buyer@example.org")
    subscribe(room, customer, card, 1500, product="letters")
    sale = pay_once(room, customer, card, 2900, shop="tshirts")
    for number in range(6):
        for frequency in ("once", "monthly", "annual"):
            if frequency != "annual" or number % 3 == 0:
                currency = chance.choice(("usd", "usd", "eur"))
                amount, email = chance.randrange(500, 9000), f"{frequency}{number}@example.org"
                await has_given(room, amount, frequency, currency, email=email)
        if number == 3:
            await stops_one(room)
        await room.advances_time(timedelta(days=31))
        await room.runs_until_idle()
    ((intent,),) = await room.rows(
        "SELECT stripe_payment_intent_id FROM charges"
        " JOIN payment_intent_links USING (stripe_payment_intent_id)"
        " WHERE contribution_id IS NOT NULL ORDER BY charged_at LIMIT 1"
    )
    refund: RefundCreateParams = {"payment_intent": str(intent), "amount": 123}
    await room.stripe_owner.v1.refunds.create_async(refund)
    update(room, "/v1/refunds", charge=sale, amount=900)
    await room.runs_until_idle()
    await room.runs_sweeps()


async def stops_one(room: Newsroom) -> None:
    ((subscription_id,),) = await room.rows(
        "SELECT stripe_subscription_id FROM subscriptions WHERE frequency = 'monthly'"
        " ORDER BY started_at LIMIT 1"
    )
    await room.stripe_owner.v1.subscriptions.cancel_async(str(subscription_id))
    await room.runs_until_idle()


async def test_every_page_is_whole_and_names_nobody(room: Newsroom) -> None:
    cookie = await signs_in(room)
    ((gift,),) = await room.rows("SELECT id FROM contributions LIMIT 1")
    ((payout,),) = await room.rows("SELECT stripe_payout_id FROM payouts LIMIT 1")
    for place in (*PAGES, f"/contributions/{gift}", f"/payouts/{payout}"):
        answer = await sees(room, cookie, f"/finance{place}")
        assert answer.status_code == 200, place
        page = Page(answer.text)
        assert page.problems == [], place
        assert "All months in Europe/Berlin" in page.text
        assert "reader@" not in answer.text
        assert "cus_" not in answer.text
        assert not re.search(r"[$€£]-|-[$€£]", page.text), "a hyphen for a minus"
        assert not re.search(r"<[^>]+ style=|<script|<style", answer.text)


async def test_a_drawing_says_in_words_what_it_shows(room: Newsroom) -> None:
    cookie = await signs_in(room)
    text_ = (await sees(room, cookie, "/finance?period=2026-10")).text
    drawings = re.findall(r'<svg role="img" aria-labelledby="(\S+) (\S+)"', text_)
    assert len(drawings) == 2
    for title, description in drawings:
        assert re.search(rf'<title id="{title}">Net [^<]+</title>', text_)
        assert re.search(rf'<desc id="{description}">[^<]+\d[^<]+</desc>', text_)
    assert text_.count("The same in figures") == 2


async def test_the_causes_of_a_change_add_up_to_the_cent(room: Newsroom) -> None:
    zone = room.settings.accounting_zoneinfo
    async with room.ctx.sessions() as session:
        for currency in ("usd", "eur"):
            for earlier in range(5, 11):
                for later in range(earlier + 1, 12):
                    first, second = (
                        month_period(date(2026, number, 1)) for number in (earlier, later)
                    )
                    found = await variance.net_variance(
                        session, zone, currency=currency, earlier=first, later=second
                    )
                    parts = {part.cause: part.amount for part in found.components}
                    assert sum(parts.values()) == found.after - found.before
                    assert variance.VarianceCause.OTHER not in parts
                    for month, net in ((first, found.before), (second, found.after)):
                        totals = await monthly.by_month(
                            session, zone, since=month.since, until=month.until, currency=currency
                        )
                        assert net == sum(line.net for line in totals)
    cookie = await signs_in(room)
    page = Page((await sees(room, cookie, "/finance/why?period=2026-09&currency=usd")).text)
    assert re.search(r"Net (rose|fell) by \$[\d.,]+ to \$[\d.,]+ in September 2026", page.text)


async def test_opening_and_movements_are_closing(room: Newsroom) -> None:
    async with room.ctx.sessions() as session:
        forward = await recurring.mrr_by_month(
            session,
            room.settings.accounting_zoneinfo,
            since=date(2026, 4, 1),
            until=date(2026, 11, 1),
        )
    assert {line.currency for line in forward} == {"usd", "eur"}
    before: dict[str, int] = {}
    for line in sorted(forward, key=lambda line: line.month):
        moved = sum(getattr(line, name) for name in mrr_rollforward.MRR_MOVEMENTS)
        assert line.opening + moved == line.closing
        assert line.opening == before.get(line.currency, 0)
        before[line.currency] = line.closing
    assert sum(line.churn_voluntary for line in forward) < 0
    cookie = await signs_in(room)
    file = (await sees(room, cookie, "/finance/recurring.csv")).text
    for row in csv.DictReader(io.StringIO(file)):
        moved_ = sum(Decimal(row[name]) for name in ("opening", *mrr_rollforward.MRR_MOVEMENTS))
        assert moved_ == Decimal(row["closing"])
    months = {row.month for row in forward if row.currency == "usd"}
    for asked, expected in (
        ("period=2026-Q3", {month for month in months if 7 <= month.month <= 9}),
        ("from=2026-07-15&to=2026-07-16", {date(2026, 7, 1)}),
        ("period=all", months),
    ):
        address = f"/finance/recurring.csv?currency=usd&{asked}"
        rows = csv.DictReader(io.StringIO((await sees(room, cookie, address)).text))
        assert {date.fromisoformat(f"{row['month'][:7]}-01") for row in rows} == expected, asked
    page = Page((await sees(room, cookie, "/finance/recurring?period=2026-07&currency=usd")).text)
    assert [row[0] for row in page.cells if len(row) == 13] == ["Month", "July 2026"]
    assert '" selected>Last 13 months' in (await sees(room, cookie, "/finance/recurring")).text
    refused = await sees(room, cookie, f"/finance/recurring.csv?period={room.clock():%Y-%m}")
    assert (refused.status_code, "no month of it is over" in refused.text) == (422, True)


async def test_every_page_and_file_takes_a_period_or_says_why_not(room: Newsroom) -> None:
    reviewed = dict(
        line.split(": ", 1)
        for line in (WEB / "finance_periods.txt").read_text().splitlines()
        if not line.startswith("#")
    )
    routes = [line.split(": ")[0] for line in (WEB / "staff_access.txt").read_text().splitlines()]
    cookie = await signs_in(room)
    without = set()
    for route in routes:
        method, address = route.split(" ")
        if method != "GET" or not address.startswith("/finance"):
            continue
        asked = f"{re.sub(r'{[^}]*}', '2026-06', address)}?format=csv&period="
        refused = await sees(room, cookie, f"{asked}2026-13")
        if refused.status_code != 422 or "period: a month such as" not in Page(refused.text).text:
            without.add(route)
            continue
        assert (await sees(room, cookie, f"{asked}2026-Q3")).status_code == 200, route
    assert sorted(without) == sorted(reviewed), "\n".join(sorted(without))
    assert all(reason.strip() for reason in reviewed.values())


async def test_pages_of_lines_show_every_line_once(room: Newsroom) -> None:
    async with room.ctx.sessions() as session:
        seen: list[str] = []
        before = None
        for _ in range(100):
            found, before = await transactions.list_page(
                session, room.settings.accounting_zoneinfo, Filters(), before=before, size=7
            )
            seen += [line.id for line in found]
            if before is None:
                break
        newest_first = await session.scalars(
            text("SELECT id FROM balance_transactions ORDER BY occurred_at DESC, id DESC")
        )
        assert seen == list(newest_first)


FIELDS = {  # what an account counts as, and whether a credit adds to it
    **{account: ("gross", 1) for account in LedgerAccount if account.startswith("income:")},
    **{account: ("fees", -1) for account in LedgerAccount if account.startswith("expense:")},
    LedgerAccount.REFUNDS: ("refunds", -1),
    LedgerAccount.DISPUTES: ("disputes", -1),
    LedgerAccount.OTHER_INCOME: ("gross", 1),
    LedgerAccount.OTHER_FEES: ("fees", -1),
    LedgerAccount.OTHER_REFUNDS: ("refunds", -1),
    LedgerAccount.OTHER_DISPUTES: ("disputes", -1),
}


async def every_filter(room: Newsroom, share: int) -> list[Filters]:
    """Each value of each filter by itself, and of each frequency with each of some others, one in
    `share`.
    """
    ((contribution, subscription),) = await room.rows(
        "SELECT contribution_id, stripe_subscription_id FROM subscriptions LIMIT 1"
    )
    ((charge, intent, transaction),) = await room.rows(
        "SELECT stripe_charge_id, stripe_payment_intent_id, balance_transaction FROM charges"
        " JOIN payment_intent_links USING (stripe_payment_intent_id)"
        " WHERE contribution_id IS NULL LIMIT 1"
    )
    months = [Filters(month_period(date(2026, month, 1))) for month in range(5, 12)]
    others = [
        *months,
        *(Filters(type=type_) for type_ in TransactionType),
        *(Filters(currency=currency) for currency in ("usd", "eur", "gbp")),
        *(Filters(account=account) for account in LedgerAccount),
    ]
    by_frequency = [Filters(frequency=frequency) for frequency in BOOKED_FREQUENCIES]
    ids = (contribution, subscription, charge, intent, transaction)
    pairs = [replace(other, frequency=one.frequency) for other in others for one in by_frequency]
    return [
        Filters(),
        *others,
        *by_frequency,
        *(Filters(id=str(id_)) for id_ in ids),
        *pairs[::share],
    ]


@pytest.mark.parametrize("share", [7, pytest.param(1, marks=pytest.mark.storm)])
async def test_lines_and_totals_agree_under_every_filter(room: Newsroom, share: int) -> None:
    zone = room.settings.accounting_zoneinfo
    entries = defaultdict(list)
    for transaction, *entry in await room.rows(
        "SELECT balance_transaction, debit, credit, amount, currency FROM ledger_entries"
    ):
        entries[transaction].append(entry)
    found_as: Counter[bool] = Counter()
    async with room.ctx.sessions() as session:
        for filters in await every_filter(room, share):
            lines, more = await transactions.list_page(session, zone, filters, size=1000)
            assert more is None
            found = await transactions.totals(session, zone, filters)
            sums = {
                (total.currency, total.is_other_income, name): getattr(total, name)
                for total in found
                for name in ("gross", "fees", "refunds", "disputes", "payments", "balance_change")
            }
            expected: Counter[object] = Counter()
            for line in lines:
                is_other = line.frequency == "other"
                expected[line.currency, is_other, "payments"] += line.type == "charge"
                expected[line.currency, is_other, "balance_change"] += line.balance_change
                for debit, credit, amount, currency in entries[line.id]:
                    assert isinstance(amount, int)
                    for account, sign in ((credit, 1), (debit, -1)):
                        if account in FIELDS:
                            name, way = FIELDS[LedgerAccount(str(account))]
                            expected[currency, is_other, name] += sign * way * amount
            assert +Counter(sums) == +expected, filters.describe()
            assert -Counter(sums) == -expected, filters.describe()
            found_as.update(total.is_other_income for total in found)
    assert found_as[True] > 20
    cookie = await signs_in(room)
    page = Page((await sees(room, cookie, "/finance/transactions?frequency=other")).text)
    (total, *rest) = [row for row in page.cells if row[0].startswith("USD")]
    assert (total[:2], rest) == (["USD, other income", "8"], [])
    months = csv.DictReader(io.StringIO((await sees(room, cookie, "/finance/monthly.csv")).text))
    of_other = [row for row in months if row["frequency"] == "other"]
    assert sum(int(row["gross_minor"]) for row in of_other) == 7 * 1500 + 2900
    assert sum(int(row["refunds_minor"]) for row in of_other) == 900
    assert sum(int(row["payments"]) for row in of_other) == 8
    for frequency, count in (("other", len(of_other)), ("monthly", 0)):
        answer = await sees(room, cookie, f"/finance/monthly.csv?frequency={frequency}")
        assert answer.text.count(",other,") == count
    assert all(row[2] == "Other income" for row in page.cells if row[1:2] == ["Payment"])


async def test_the_timeline_of_a_contribution_is_in_order(room: Newsroom) -> None:
    cookie = await signs_in(room)
    ((gift,),) = await room.rows(
        "SELECT contribution_id FROM subscriptions WHERE ended_at IS NOT NULL LIMIT 1"
    )
    page = Page((await sees(room, cookie, f"/finance/contributions/{gift}")).text)
    events = [row for row in page.cells if len(row) == 5 and row[1] != "Kind"]
    assert events == sorted(events, key=lambda row: row[0])
    kinds = {row[1] for row in events}
    assert {"Decision", "Charge", "Posting", "Webhook", "Mail"} <= kinds
    assert "cancelled, by stripe" in page.text
    for other in ("0" * 32, "x", str(gift).upper() + "0"):
        assert (await sees(room, cookie, f"/finance/contributions/{other}")).status_code == 404


async def test_a_payout_is_proved_line_by_line_and_a_wrong_cent_is_seen(room: Newsroom) -> None:
    cookie = await signs_in(room)
    ((payout,),) = await room.rows(
        "SELECT stripe_payout_id FROM payouts WHERE transactions_listed_at IS NOT NULL LIMIT 1"
    )
    page = Page((await sees(room, cookie, f"/finance/payouts/{payout}")).text)
    assert "Equals its transactions" in page.text
    with tampering(room.settings.database_url.get_secret_value()) as owner:
        owner.execute(
            "UPDATE payout_transactions SET net = net + 1 WHERE (stripe_payout_id,"
            " balance_transaction) = (SELECT t.stripe_payout_id, t.balance_transaction"
            " FROM payout_transactions t JOIN payouts p USING (stripe_payout_id)"
            " WHERE t.stripe_payout_id = %s AND t.balance_transaction <> p.balance_transaction"
            " LIMIT 1)",
            [str(payout)],
        )
    page = Page((await sees(room, cookie, f"/finance/payouts/{payout}")).text)
    assert "Does not equal its transactions" in page.text
    assert (
        "Does not equal its transactions"
        in Page((await sees(room, cookie, "/finance/payouts")).text).text
    )
    for unknown in ("po_unknown", "%00", "po_" + "x" * 300):
        assert (await sees(room, cookie, f"/finance/payouts/{unknown}")).status_code == 404


async def test_old_figures_and_months_not_over_say_so(room: Newsroom) -> None:
    cookie = await signs_in(room)
    page = Page((await sees(room, cookie, "/finance")).text)
    assert "This period is not over" in page.text
    assert "These figures are old" not in page.text
    await room.advances_time(timedelta(minutes=31))
    cookie = await signs_in(room)
    assert "These figures are old" in Page((await sees(room, cookie, "/finance")).text).text
    await room.runs_sweeps()
    page = Page((await sees(room, cookie, "/finance?period=2026-10")).text)
    assert "These figures are old" not in page.text
    assert "not over" not in page.text


async def test_questions_that_make_no_sense_are_refused_in_words(room: Newsroom) -> None:
    cookie = await signs_in(room)
    for place, words in (
        ("?period=2031-01", "has not begun"),
        ("?period=2026-13", "a month such as"),
        ("?period=2027-Q1", "2027-Q1 has not begun"),
        ("?period=FY2031", "FY2031 has not begun"),
        ("/why?period=2026-10&against=2026", "against: one of before, year"),
        ("/why?from=2026-10-01", "two periods of one length"),
        ("/why?from=2024-01-01&to=2026-01-01&against=year", "longer than a year"),
        ("/why?period=2030-01", "has not begun"),
        ("/payouts?from=2026-10-02&to=2026-10-02", "No time lies between"),
        ("/refunds?period=2026-10&from=2026-10-01", "Both were given"),
        ("/months?from=2026-02-30", "a day such as"),
        ("/transactions?before=1.x", "follow the link"),
        ("/payouts?before=1", "follow the link"),
        ("/refunds?before=1", "follow the link"),
        ("/sources?period=2026&from=2026-01-01", "Both were given"),
        ("/journal?format=sage", "one of xero"),
        ("/recurring?currency=US", "three letters"),
    ):
        answer = await sees(room, cookie, f"/finance{place}")
        assert answer.status_code == 422, place
        assert words in Page(answer.text).text, place


async def test_any_period_is_chosen_on_every_page_beside_the_same_a_year_before(
    room: Newsroom,
) -> None:
    cookie = await signs_in(room)
    for place in ("", "/months", "/why", "/transactions", "/payouts", "/refunds", "/sources",
                  "/exports"):  # fmt: skip
        page = Page(
            (await sees(room, cookie, f"/finance{place}?from=2026-06-10&to=2026-07-05")).text
        )
        assert page.problems == [], place
        assert page.field("from")["value"] == "2026-06-10", place
        assert page.field("to")["value"] == "2026-07-05", place
    quarter = Page((await sees(room, cookie, "/finance?period=2026-Q3")).text)
    assert "Overview: July to September 2026" in quarter.text
    assert "The small figures are of July to September 2025." in quarter.text
    months = Page((await sees(room, cookie, "/finance/months?period=2026-Q3")).text)
    assert "June 2026" not in months.text.partition("By month and frequency")[2]
    days = (await sees(room, cookie, "/finance/payouts.csv?to=2026-07-01")).text
    all_days = (await sees(room, cookie, "/finance/payouts.csv")).text
    assert 2 < days.count("\n") < all_days.count("\n")
    july = replace(room.ctx, settings=room.settings.model_copy(update={"fiscal_year_start": 7}))
    picker = filters.period_picker(july, {"period": "FY2027"})
    offered = str(picker["groups"])
    assert "Fiscal year 2027: July 2026 to June 2027" in offered
    assert "Q1 FY2027: July to September 2026" in offered
    params, chosen = filters.period_or_default(july, {"period": "FY2027"})
    assert (params["period"], chosen.label) == ("FY2027", "2026-07-01..2027-07-01")


async def the_rows_say(room: Newsroom, since: date, until: date) -> list[MrrMonth]:
    async with room.ctx.sessions() as session:
        return await mrr_rollforward.compute(
            session, room.settings.accounting_zoneinfo, since=since, until=until
        )


async def is_read(room: Newsroom, since: date, until: date) -> list[MrrMonth]:
    async with room.ctx.sessions() as session:
        return await mrr_rollforward.by_month(
            session, room.settings.accounting_zoneinfo, since=since, until=until
        )


async def snapshot_months(room: Newsroom) -> list[object]:
    query = "SELECT month FROM month_snapshots WHERE kind = 'mrr_rollforward' ORDER BY month"
    return [month for (month,) in await room.rows(query)]


async def test_month_snapshots_equal_what_the_rows_say(room: Newsroom) -> None:
    since, until = date(2026, 4, 1), date(2026, 11, 1)
    expected = await the_rows_say(room, since, until)
    assert len(expected) > 6
    assert await snapshot_months(room) == [date(2026, month, 1) for month in range(5, 11)]
    assert await is_read(room, since, until) == expected
    async with room.ctx.sessions.begin() as session:
        await session.execute(text("UPDATE month_snapshots SET figures = '[]'"))
    assert await is_read(room, since, until) == []  # it is read, and not computed
    await daily_totals.rebuild(room.ctx)
    assert await is_read(room, since, until) == expected


async def test_a_change_that_is_seen_late_is_in_its_month(room: Newsroom) -> None:
    ((subscription_id,),) = await room.rows(
        "SELECT h.subscription_id FROM subscription_changes h WHERE h.kind = 'cancelled'"
    )
    expected = await is_read(room, date(2026, 6, 1), date(2026, 11, 1))
    assert sum(one.churn_voluntary for one in expected) < 0
    async with room.ctx.sessions.begin() as session:
        await session.execute(
            text(
                "UPDATE subscription_changes SET kind = 'paused'"
                " WHERE subscription_id = :subscription_id AND kind = 'cancelled'"
            ),
            {"subscription_id": subscription_id},
        )
    assert len(await snapshot_months(room)) < 6
    again = await is_read(room, date(2026, 6, 1), date(2026, 11, 1))
    assert sum(one.churn_voluntary for one in again) == 0
    assert sum(one.paused for one in again) == sum(one.churn_voluntary for one in expected)
    assert again == await the_rows_say(room, date(2026, 6, 1), date(2026, 11, 1))


async def test_a_payment_reported_late_is_read_at_once_and_its_month_snapshotted_again(
    room: Newsroom,
) -> None:
    since, until = date(2026, 6, 1), date(2026, 12, 1)
    await room.advances_time(datetime(2026, 12, 3, 12, tzinfo=UTC) - room.clock())
    await room.runs_until_idle()
    assert await is_read(room, since, until) == await the_rows_say(room, since, until)
    assert len(await snapshot_months(room)) == 6  # November is added with the next import
    await daily_totals.import_and_refresh(room.ctx)
    assert await snapshot_months(room) == [date(2026, month, 1) for month in range(5, 12)]
    expected = await is_read(room, since, until)
    assert expected == await the_rows_say(room, since, until)
    async with room.ctx.sessions.begin() as session:
        mark = text(
            "UPDATE daily_totals_positions"
            " SET last_seq = (SELECT max(seq) - 12 FROM ledger_entries)"
        )
        await session.execute(mark)  # as if the last entries were not added yet
    assert await is_read(room, since, until) == expected


async def test_a_renewal_counts_for_the_campaign_that_began_it(newsroom: Newsroom) -> None:
    await newsroom.creates_campaigns("war-diary", "spring", "autumn")
    for _ in range(5):
        asked = await newsroom.requests_contribution(700, "monthly", campaign="war-diary")
        await newsroom.pays(asked.json()["checkout_url"])
    for campaign in ("spring", "spring", "spring", "autumn", "autumn"):
        asked = await newsroom.requests_contribution(900, campaign=campaign)
        await newsroom.pays(asked.json()["checkout_url"])
    await newsroom.runs_until_idle()
    await newsroom.advances_time(timedelta(days=31))
    await newsroom.runs_until_idle()
    await newsroom.runs_sweeps()
    cookie = await signs_in(newsroom)
    page = Page((await sees(newsroom, cookie, "/finance/sources?from=2026-11-01")).text)
    (diary,) = (row for row in page.cells if row[0] == "war-diary")
    assert diary[2:6] == ["5", "10", "$35.00", "$35.00"]
    assert "spring" not in page.text
    assert "autumn" not in page.text


def test_a_small_campaign_does_not_follow_from_the_rest() -> None:
    def source(campaign: str | None, payers: int) -> CampaignTotal:
        return CampaignTotal(campaign, "usd", payers, payers, payers * 500, 0, 0, 0)

    shown = group_small([source("a", 1), source("b", 9), source("c", 40), source(None, 7)])
    assert [(one.campaign, one.payers) for one in shown] == [("c", 40), ("other", 10), (None, 7)]
    shown = group_small([source("a", 3), source("b", 2), source("c", 40)])
    assert [(one.campaign, one.payers) for one in shown] == [("c", 40), ("other", 5)]
