"""A campaign says its message and suggests its amounts in the reader's language; its gifts and all
their renewals count for it; its variants are drawn by lot and judged by what was kept.
"""

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from payments.core.campaign_parser import InvalidCampaign
from payments.giving import campaigns
from payments.giving.article_counts import COUNT_STEP
from payments.safety import retention
from payments.staff.accounts import Role
from payments.web.donate import embed
from payments.web.staff.campaigns import CAMPAIGNS_URL
from tests.support.colleague import Colleague, open_colleague_browser
from tests.support.newsroom import Newsroom
from tests.support.page import Page

pytestmark = pytest.mark.anyio

SPRING = """
[[campaigns]]
id = "spring"
currency = "eur"
default_frequency = "annual"
[campaigns.message]
en = "Three reporters, one year, one <b>story</b>."
ru = "Три репортёра, один год, одна история."
[campaigns.presets.annual]
eur = [3000, 7000, 15000]
[campaigns.presets.monthly]
eur = [400, 900]
[campaigns.defaults.annual]
eur = 3000
"""
TESTED = """
[[campaigns]]
id = "tested"
message.en = "As always."
[[campaigns.variants]]
name = "a"
[[campaigns.variants]]
name = "b"
preselect = false
default_frequency = "once"
message.en = "A new word."
presets.once.usd = [700, 1400]
"""
CANARY = "<script>alert('canary-5f1')</script><img src=x onerror=canary>"


async def load(room: Newsroom, toml: str = SPRING, **how: Any) -> dict[str, str]:  # noqa: ANN401
    """What `payments campaigns apply` does."""
    return {
        k: v.value for k, v in (await campaigns.apply_file(room.ctx, toml.encode(), **how)).items()
    }


async def opens(room: Newsroom, address: str) -> Page:
    answer = await room.web.get(address)
    assert answer.status_code == 200, answer.text
    page = Page(answer.text)
    assert page.problems == []
    return page


async def gives(room: Newsroom, page: Page, **changes: str) -> str:
    """A reader sends the form and pays. Gives the gift's id."""
    answer = await room.web.post("/donate", data=page.form("/donate").submission(**changes))
    assert answer.status_code == 303, Page(answer.text).text
    await room.pays(answer.headers["location"])
    rows = await room.rows("SELECT id FROM contributions ORDER BY created_at DESC, id LIMIT 1")
    return str(rows[0][0])


async def counts_by_campaign_and_variant(room: Newsroom) -> Counter[tuple[object, ...]]:
    """How many gifts there are of each campaign and lot."""
    return Counter(await room.rows("SELECT campaign, variant FROM contributions"))


# --- what readers see -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spoken", "says", "amount"),
    [
        ("en", "Three reporters, one year, one <b>story</b>.", "€70.00"),
        ("ru", "Три репортёра, один год, одна история.", "70,00\N{NO-BREAK SPACE}€"),
    ],
)
async def test_the_form_says_and_suggests_what_the_campaign_does(
    newsroom: Newsroom, spoken: str, says: str, amount: str
) -> None:
    await load(newsroom)
    page = await opens(newsroom, f"/donate?campaign=spring&lang={spoken}")
    assert says in page.text
    assert amount in page.html
    assert "<b>story" not in page.html
    held = page.form("/donate").submission()
    assert (held["frequency"], held["currency"], held["campaign"]) == ("annual", "eur", "spring")
    assert (held["amount_annual"], held["amount_monthly"]) == ("3000", "900")
    assert held["amount_once"] == "1000"  # as without a campaign
    assert "variant" not in held
    answer = await newsroom.web.post(f"/donate?lang={spoken}", data=held)
    await newsroom.pays(answer.headers["location"])
    assert await counts_by_campaign_and_variant(newsroom) == {("spring", None): 1}
    assert newsroom.sandbox.requests  # nothing of the campaign went to Stripe
    for seen in newsroom.sandbox.requests:
        assert "spring" not in str(seen.params)


async def test_a_link_that_says_how_much_is_followed(newsroom: Newsroom) -> None:
    await load(newsroom)
    page = await opens(
        newsroom, "/donate?campaign=spring&frequency=monthly&amount=900&currency=eur"
    )
    held = page.form("/donate").submission()
    assert (held["frequency"], held["amount_monthly"]) == ("monthly", "900")
    page = await opens(newsroom, "/donate?campaign=spring&frequency=once&amount=501&currency=usd")
    held = page.form("/donate").submission()
    assert (held["currency"], held["amount_once"], held["other_once"]) == ("usd", "other", "5.01")
    assert "Three reporters" in page.text


async def test_an_english_message_stands_as_english_on_a_russian_page(newsroom: Newsroom) -> None:
    await load(newsroom, TESTED)
    html = (await newsroom.web.get("/donate?campaign=tested&lang=ru")).text
    assert '<p class="lede" lang="en" dir="ltr">' in html


async def test_markup_in_a_message_is_text_wherever_it_is_shown(newsroom: Newsroom) -> None:
    await load(newsroom, f"[[campaigns]]\nid = 'x'\nmessage.en = {json.dumps(CANARY)}")
    async with open_colleague_browser(newsroom, "Ada", Role.FINANCE) as ada:
        await ada.opens_link()
        pages = [
            (await newsroom.web.get("/donate?campaign=x")).text,
            (await ada.opens(f"{CAMPAIGNS_URL}/x")).html,
        ]
    for html in pages:
        assert "canary-5f1" in html
        assert CANARY not in html
        assert "<img" not in html
    response = await newsroom.web.get("/api/campaigns/x")
    assert response.headers["content-type"] == "application/json"
    assert response.json()["message"]["en"] == CANARY


@pytest.mark.parametrize(
    "not_shown", ["enabled = false", "starts_on = 2026-11-23", "ends_on = 2026-11-21"]
)
async def test_one_that_is_not_running_says_nothing_and_still_counts(
    newsroom: Newsroom, not_shown: str
) -> None:
    await load(newsroom, SPRING.replace('currency = "eur"', not_shown))
    page = await opens(newsroom, "/donate?campaign=spring")
    assert "Three reporters" not in page.text
    assert page.form("/donate").submission()["frequency"] == "monthly"
    await gives(newsroom, page)
    assert await counts_by_campaign_and_variant(newsroom) == {("spring", None): 1}
    assert (await newsroom.web.get("/api/campaigns/spring")).status_code == 404


async def test_the_last_day_is_a_whole_day(newsroom: Newsroom) -> None:
    await load(newsroom, SPRING.replace('currency = "eur"', "ends_on = 2026-11-22"))
    await newsroom.advances_time(timedelta(hours=11, minutes=59))
    assert "Three reporters" in (await opens(newsroom, "/donate?campaign=spring")).text
    await newsroom.advances_time(timedelta(minutes=1))
    assert "Three reporters" not in (await opens(newsroom, "/donate?campaign=spring")).text


async def test_a_form_with_a_made_up_campaign_is_accepted_and_a_program_gets_an_error(
    newsroom: Newsroom,
) -> None:
    for _ in range(2):  # whether or not one was ever made
        page = await opens(newsroom, "/donate?campaign=ivan-petrov")
        await gives(newsroom, page, frequency="once")
        refused = await newsroom.requests_contribution(campaign="ivan-petrov")
        assert refused.status_code == 422
        await load(newsroom)
    assert (await newsroom.requests_contribution(campaign="spring")).status_code == 201
    assert (await newsroom.requests_contribution(campaign="reminder")).status_code == 201
    assert refused.json()["errors"][0]["pointer"] == "/campaign"
    assert "Nothing was charged." in refused.json()["detail"]
    assert await counts_by_campaign_and_variant(newsroom) == {
        (None, None): 2,
        ("spring", None): 1,
        ("reminder", None): 1,
    }


@pytest.mark.parametrize("label", ["A b", "Ivan@example.org", "<b>", "x" * 65, "\x00"])
async def test_no_gift_is_lost_over_a_label(newsroom: Newsroom, label: str) -> None:
    page = await opens(newsroom, "/donate")
    await gives(newsroom, page, frequency="once", campaign=label, article=label)
    assert await counts_by_campaign_and_variant(newsroom) == {(None, None): 1}


@pytest.mark.parametrize("campaign", ["spring", "tested"])
async def test_who_walks_away_and_comes_back_still_is_the_campaigns(
    newsroom: Newsroom, campaign: str
) -> None:
    await load(newsroom, SPRING + TESTED)
    story = "the-story-nobody-may-know"
    page = await opens(newsroom, f"/donate?campaign={campaign}&article={story}&lang=ru")
    held = page.form("/donate").submission(frequency="once", amount_once="700")
    lot = held.get("variant", "")
    shown = await newsroom.rows("SELECT * FROM campaign_impressions")
    answer = await newsroom.web.post("/donate?lang=ru", data={**held, "other_once": ""})
    assert answer.status_code == 303, Page(answer.text).text
    (asked,) = (
        seen.params
        for seen in newsroom.sandbox.requests
        if (seen.method, seen.path) == ("POST", "/v1/checkout/sessions")
    )
    for ours in (campaign, story, lot or campaign):  # Stripe is told of none of it
        assert ours not in str(asked)
    back = await opens(newsroom, asked["cancel_url"])
    again = back.form("/donate").submission()
    assert (again["campaign"], again.get("variant", ""), again["frequency"]) == (
        campaign, lot, "once",
    )  # fmt: skip
    assert again["article"] == ""  # it has been counted
    assert await newsroom.rows("SELECT * FROM campaign_impressions") == shown  # so has the showing
    await gives(newsroom, back)
    assert await counts_by_campaign_and_variant(newsroom) == {(campaign, lot or None): 2}


async def test_a_gift_that_nobody_remembers_leads_to_the_plain_form(newsroom: Newsroom) -> None:
    await load(newsroom)
    page = await opens(newsroom, "/donate?campaign=spring")
    given = await gives(newsroom, page, frequency="once")
    for forged in ("0" * 32, given[:-1], "x", "%00", given.upper()):
        html = (await opens(newsroom, f"/donate?again={forged}")).html
        assert "Three reporters" not in html
    assert "Three reporters" in (await opens(newsroom, f"/donate?again={given}")).text
    await newsroom.advances_time(timedelta(hours=25))
    assert "Three reporters" not in (await opens(newsroom, f"/donate?again={given}")).text


async def test_programs_read_a_campaign_from_any_page_and_may_keep_it(newsroom: Newsroom) -> None:
    await load(newsroom)
    response = await newsroom.web.get(
        "/api/campaigns/spring", headers={"origin": "https://a.example"}
    )
    assert response.headers["access-control-allow-origin"] == "*"
    assert response.headers["cache-control"] == "public, max-age=300"
    assert "set-cookie" not in response.headers
    found = response.json()
    assert (found["id"], found["currency"], found["default_frequency"]) == (
        "spring", "eur", "annual",
    )  # fmt: skip
    assert found["presets"]["monthly"] == [400, 900]
    assert found["message"]["ru"] == "Три репортёра, один год, одна история."
    for name in ("no-such", "A%20b", "x" * 3000, "%00", "%F0%9F%94%91"):
        assert (await newsroom.web.get(f"/api/campaigns/{name}")).status_code == 404


# --- what it led to -------------------------------------------------------------------------------


async def test_every_renewal_counts_for_the_campaign(newsroom: Newsroom) -> None:
    await load(newsroom)
    for _ in range(5):
        page = await opens(newsroom, "/donate?campaign=spring")
        await gives(newsroom, page, frequency="monthly")
    await newsroom.runs_until_idle()
    await load(newsroom, SPRING.replace('currency = "eur"', "enabled = false"))
    await newsroom.advances_time(timedelta(days=31))
    await newsroom.runs_until_idle()
    await newsroom.runs_sweeps()
    async with open_colleague_browser(newsroom, "Ada", Role.FINANCE) as ada:
        await ada.opens_link()
        page = await ada.opens("/finance/sources?from=2026-11-01")
    (spring,) = (row for row in page.cells if row[0] == "spring")
    assert spring[2:6] == ["5", "10", "€45.00", "€45.00"]


async def test_an_article_is_counted_in_tens_and_stored_with_no_contribution(
    newsroom: Newsroom,
) -> None:
    story = "the-story-nobody-may-know"
    for number in range(COUNT_STEP):
        assert await newsroom.count("article_counts") == 0
        if number % 2:
            assert (await newsroom.requests_contribution(article=story)).status_code == 201
        else:
            page = await opens(newsroom, f"/donate?article={story}")
            await gives(newsroom, page, frequency="once")
    assert await newsroom.rows("SELECT article, starts FROM article_counts") == [
        (story, COUNT_STEP)
    ]
    async with open_colleague_browser(newsroom, "Ada", Role.FINANCE) as ada:
        await ada.opens_link()
        page = await ada.opens("/finance/sources?period=2026")
    assert [story, "10"] in page.cells
    for table in ("contributions", "outbox_mails", "stripe_events"):
        found = await newsroom.rows(f"SELECT row_to_json(t)::text FROM {table} t")  # noqa: S608
        assert story not in str(found)
    await newsroom.advances_time(timedelta(days=800))
    await retention.purge_expired(newsroom.ctx)
    assert await newsroom.count("article_counts") == 0


# --- variants -------------------------------------------------------------------------------------


async def test_a_variant_is_drawn_for_each_showing_and_stored_with_the_contribution_alone(
    newsroom: Newsroom,
) -> None:
    await load(newsroom, TESTED)
    drawn: Counter[str] = Counter()
    pages = {}
    for _ in range(200):
        answer = await newsroom.web.get("/donate?campaign=tested")
        assert "set-cookie" not in answer.headers
        page = Page(answer.text)
        lot = page.form("/donate").submission()["variant"]
        assert ("A new word." in page.text) == (lot == "b-1")
        drawn[lot] += 1
        pages[lot] = page
    assert set(drawn) == {"a-1", "b-1"}
    assert min(drawn.values()) >= 55  # a fair coin falls below that once in ten thousand million
    counted = await newsroom.rows(
        "SELECT variant, impressions FROM campaign_impressions ORDER BY 1"
    )
    assert counted == sorted(drawn.items())
    await gives(newsroom, pages["a-1"], frequency="once")
    await gives(newsroom, pages["b-1"], amount_once="700")
    assert await counts_by_campaign_and_variant(newsroom) == {
        ("tested", "a-1"): 1,
        ("tested", "b-1"): 1,
    }


async def test_a_form_that_is_shown_again_keeps_its_variant(newsroom: Newsroom) -> None:
    await load(newsroom, TESTED)
    for _ in range(40):
        page = await opens(newsroom, "/donate?campaign=tested")
        if "A new word." in page.text:
            break
    shown = await newsroom.rows("SELECT sum(impressions) FROM campaign_impressions")
    held = page.form("/donate").submission()
    assert "amount_once" not in held  # nothing is ticked for the reader
    for changes in ({}, {"other_once": "1.00"}):
        answer = await newsroom.web.post("/donate", data={**held, **changes})
        assert answer.status_code == 422
        again = Page(answer.text)
        assert again.problems == []
        assert "A new word." in again.text
        assert again.form("/donate").submission()["variant"] == held["variant"]
        wanted = "USD" if changes else "Choose an amount. Nothing was charged."
        assert wanted in again.alerts[0]
    assert await newsroom.rows("SELECT sum(impressions) FROM campaign_impressions") == shown


@pytest.mark.parametrize("forged", ["b-2", "c-1", "b", "<b>", "a-1' OR 1=1", "x" * 500, "\x00"])
async def test_a_forged_variant_is_not_stored_and_the_contribution_is_accepted(
    newsroom: Newsroom, forged: str
) -> None:
    await load(newsroom, TESTED)
    page = await opens(newsroom, "/donate?campaign=tested")
    await gives(newsroom, page, frequency="once", amount_once="700", variant=forged)
    assert await counts_by_campaign_and_variant(newsroom) == {("tested", None): 1}


async def widget_variants(room: Newsroom, **how: Any) -> dict[str, dict[str, str]]:  # noqa: ANN401
    """What the widget of a campaign's snippet may draw, by lot."""
    async with room.ctx.sessions() as session:
        made = await campaigns.get(session, "tested")
    html = embed.embed_snippet(room.settings, campaign="tested", embedded=made.as_embedded(), **how)
    (widget,) = (found for tag, found in Page(html).attributes if tag == "donate-form")
    return {one["variant"]: one for one in json.loads(widget["variants"])}


async def test_the_widget_is_given_each_variant_and_the_form_goes_on_with_the_one_it_drew(
    newsroom: Newsroom,
) -> None:
    await load(newsroom, TESTED)
    lots = await widget_variants(newsroom)
    assert lots["b-1w"] == {
        "variant": "b-1w", "frequency": "once", "amount": "none",
        "presets": "once:700,1400;monthly:200,500,1000,2500;annual:2500,5000,10000,25000",
    }  # fmt: skip
    assert (lots["a-1w"]["frequency"], lots["a-1w"]["amount"]) == ("monthly", "500")
    page = await opens(newsroom, "/donate?campaign=tested&variant=b-1w&frequency=once&amount=700")
    assert "A new word." in page.text
    assert await newsroom.count("campaign_impressions") == 0  # it was shown where nobody counts
    await gives(newsroom, page)
    assert await counts_by_campaign_and_variant(newsroom) == {("tested", "b-1w"): 1}


@pytest.mark.parametrize("stale", ["b-2w", "b-1", "c-1w", "bw", "<b>", "x" * 500, "%00"])
async def test_a_variant_that_no_widget_draws_now_is_shown_what_the_campaign_says(
    newsroom: Newsroom, stale: str
) -> None:
    await load(newsroom, TESTED)
    page = await opens(newsroom, f"/donate?campaign=tested&variant={stale}")
    assert "As always." in page.text
    await gives(newsroom, page, frequency="once", amount_once="500")
    assert await counts_by_campaign_and_variant(newsroom) == {("tested", None): 1}
    assert await newsroom.count("campaign_impressions") == 0


async def test_a_change_of_what_is_compared_begins_anew(newsroom: Newsroom) -> None:
    await load(newsroom, TESTED)
    old = await opens(newsroom, "/donate?campaign=tested")
    assert await load(newsroom, TESTED) == {"tested": "unchanged"}
    off = TESTED.replace('id = "tested"', 'id = "tested"\nends_on = 2027-01-01')
    assert await load(newsroom, off) == {"tested": "changed"}
    lot = (await opens(newsroom, "/donate?campaign=tested")).form("/donate").submission()["variant"]
    assert lot.endswith("-1")
    await load(newsroom, off.replace("A new word.", "A newer word."))
    lot = (await opens(newsroom, "/donate?campaign=tested")).form("/donate").submission()["variant"]
    assert lot.endswith("-2")
    await gives(newsroom, old, frequency="once", amount_once="700")
    assert await counts_by_campaign_and_variant(newsroom) == {("tested", None): 1}


async def test_variants_are_judged_by_what_was_not_refunded_after_a_month(
    newsroom: Newsroom,
) -> None:
    await load(newsroom, TESTED)
    given: Counter[str] = Counter()
    while given["a-1"] < 10 or given["b-1"] < 10:
        page = await opens(newsroom, "/donate?campaign=tested")
        lot = page.form("/donate").submission()["variant"]
        if given[lot] < 10:
            amount = "1000" if lot == "a-1" else "700"
            await gives(newsroom, page, frequency="once", amount_once=amount)
        given[lot] += 1
    await newsroom.runs_until_idle()
    await newsroom.runs_sweeps()
    (refund,) = await newsroom.rows(
        "SELECT c.stripe_charge_id FROM charges c"
        "  JOIN payment_intent_links i USING (stripe_payment_intent_id)"
        "  JOIN contributions n ON n.id = i.contribution_id"
        " WHERE n.variant = 'b-1' ORDER BY 1 LIMIT 1"
    )
    await newsroom.ctx.stripe.v1.refunds.create_async({"charge": str(refund[0])})
    await newsroom.runs_until_idle()
    await newsroom.runs_sweeps()
    async with open_colleague_browser(newsroom, "Ada", Role.FINANCE) as ada:
        await ada.opens_link()
        early = (await ada.opens(f"{CAMPAIGNS_URL}/tested")).cells
        assert [row[:3] for row in early[1:3]] == [
            ["a", "0", "fewer than 10"], ["b", "0", "fewer than 10"],
        ]  # fmt: skip
    await newsroom.advances_time(timedelta(days=31))
    async with open_colleague_browser(newsroom, "Bea", Role.FINANCE) as bea:
        await bea.opens_link()
        rows = (await bea.opens(f"{CAMPAIGNS_URL}/tested")).cells[1:3]
    assert [row[:3] for row in rows] == [
        ["a", str(given["a-1"]), "10"], ["b", str(given["b-1"]), "10"],
    ]  # fmt: skip
    net = await newsroom.rows(
        "SELECT n.variant, CAST(sum(b.net) AS bigint) FROM balance_transactions b"
        "  JOIN (SELECT DISTINCT balance_transaction, contribution_id FROM ledger_entries) e"
        "    ON e.balance_transaction = b.id"
        "  JOIN contributions n ON n.id = e.contribution_id GROUP BY 1 ORDER BY 1"
    )
    for row, (whose, total) in zip(rows, net, strict=True):
        assert row[3] == f"${int(str(total)) * 10 / given[str(whose)]:,.2f}"
    assert rows[1][5] == "Not enough data yet"


async def test_what_the_widget_drew_is_judged_apart_by_what_came(newsroom: Newsroom) -> None:
    await load(newsroom, TESTED)
    for lot, amount in (("a-1w", "1000"), ("b-1w", "700")):
        for _ in range(10):
            page = await opens(newsroom, f"/donate?campaign=tested&variant={lot}")
            await gives(newsroom, page, frequency="once", amount_once=amount)
    await newsroom.runs_until_idle()
    await newsroom.runs_sweeps()
    await newsroom.advances_time(timedelta(days=31))
    async with open_colleague_browser(newsroom, "Ada", Role.FINANCE) as ada:
        await ada.opens_link()
        rows = (await ada.opens(f"{CAMPAIGNS_URL}/tested")).cells[1:]
    assert [row[1:3] for row in rows[:2]] == [["0", "fewer than 10"]] * 2
    there = rows[3:]  # after the names of the columns
    assert [row[:2] for row in there] == [["a", "10"], ["b", "10"]]
    net = await newsroom.rows(
        "SELECT CAST(sum(b.net) AS bigint) FROM balance_transactions b"
        "  JOIN (SELECT DISTINCT balance_transaction, contribution_id FROM ledger_entries) e"
        "    ON e.balance_transaction = b.id"
        "  JOIN contributions n ON n.id = e.contribution_id GROUP BY n.variant ORDER BY n.variant"
    )
    assert [row[2] for row in there] == [f"${int(str(total)) / 100:.2f}" for (total,) in net]
    assert there[1][4] == "Not enough data yet"


# --- the file -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "field", "says"),
    [
        ("id = 'A b'", "campaigns[0].id", "lower-case letters"),
        (f"id = '{'x' * 65}'", "campaigns[0].id", "1 to 64"),
        ("id = 'reminder'", "campaigns[0].id", "a name we use ourselves"),
        ("id = 'x'\ncolour = 'red'", "campaigns[0]", "colour"),
        ("id = 'x'\ncurrency = 'xyz'", "campaigns[0].currency", "one of usd"),
        ("id = 'x'\nenabled = 'yes'", "campaigns[0].enabled", "true or false"),
        ("id = 'x'\nevaluate_after_days = 7", "campaigns[0].evaluate_after_days", "30 or 90"),
        (
            "id = 'x'\ndefault_frequency = 'weekly'",
            "campaigns[0].default_frequency",
            "once, monthly",
        ),
        (
            "id = 'x'\nstarts_on = 2026-03-02\nends_on = 2026-03-01",
            "campaigns[0].ends_on",
            "before starts_on, 2026-03-02",
        ),
        ("id = 'x'\nmessage.de = 'Hallo'", "campaigns[0].message.de", "one of en, ru"),
        (f"id = 'x'\nmessage.en = '{'x' * 601}'", "campaigns[0].message.en", "600 characters"),
        ("id = 'x'\nmessage.en = ' '", "campaigns[0].message.en", "1 to 600"),
        ('id = "x"\nmessage.en = "a\\nb"', "campaigns[0].message.en", "U+000A"),
        ('id = "x"\nmessage.en = "a\\u202Eb"', "campaigns[0].message.en", "U+202E"),
        (
            "id = 'x'\npresets.weekly.usd = [500]",
            "campaigns[0].presets:",
            "once, monthly or annual",
        ),
        (
            "id = 'x'\npresets.once.usd = [199]",
            "campaigns[0].presets.once.usd",
            "smallest gift, 200 (2.00 USD)",
        ),
        (
            "id = 'x'\npresets.once.usd = [1000001]",
            "campaigns[0].presets.once.usd",
            "largest gift, 1000000 (10000.00 USD)",
        ),
        ("id = 'x'\npresets.once.usd = []", "campaigns[0].presets.once.usd", "1 to 6"),
        (
            "id = 'x'\npresets.once.usd = [200,300,400,500,600,700,800]",
            "campaigns[0].presets.once.usd",
            "here 7",
        ),
        (
            "id = 'x'\npresets.once.usd = [500, 500]",
            "campaigns[0].presets.once.usd",
            "each is more",
        ),
        ("id = 'x'\npresets.once.usd = [5.5]", "campaigns[0].presets:", "whole minor units"),
        ("id = 'x'\npresets.once.kwd = [1501]", "campaigns[0].presets.once.kwd", "multiple of 10"),
        ("id = 'x'\ndefaults.once.usd = 501", "campaigns[0].defaults.once.usd", "not one of"),
        ("id = 'x'\n[[campaigns.variants]]\nname='a'", "campaigns[0].variants", "2 to 4; here 1"),
        (
            "id = 'x'" + "\n[[campaigns.variants]]\nname='a'" * 2,
            "campaigns[0].variants[1].name",
            "there twice",
        ),
        (
            (
                "id = 'x'\n[[campaigns.variants]]\nname='a'\n[[campaigns.variants]]\nname='b'\n"
                "message.ru = ''"
            ),
            "campaigns[0].variants[1].message.ru",
            "1 to 600",
        ),
        ("id = 'x'\n[[campaigns]]\nid = 'x'", "campaigns[1].id", "there twice"),
    ],
)
async def test_a_file_that_makes_no_sense_names_the_field_and_changes_nothing(
    newsroom: Newsroom, bad: str, field: str, says: str
) -> None:
    with pytest.raises(InvalidCampaign) as refused:
        await load(newsroom, f"[[campaigns]]\n{bad}\n[[campaigns]]\nid = 'good'")
    assert refused.value.detail.startswith(field), refused.value.detail
    assert says.lower() in refused.value.detail.lower(), refused.value.detail
    assert "Nothing was changed." in refused.value.detail
    assert await newsroom.count("campaigns") == 0


@pytest.mark.parametrize("data", [b"", b"campaigns = 5", b"\xff\xfe", b"[[campaigns]", b"x = 1"])
async def test_what_is_no_file_of_campaigns_is_refused(newsroom: Newsroom, data: bytes) -> None:
    with pytest.raises(InvalidCampaign):
        await campaigns.apply_file(newsroom.ctx, data)
    with pytest.raises(InvalidCampaign):
        await campaigns.apply_file(newsroom.ctx, data, json=True)


async def test_at_most_fifty_are_shown_at_once(newsroom: Newsroom) -> None:
    def many(number: int) -> str:
        return "".join(f"[[campaigns]]\nid = 'c{n}'\n" for n in range(number))

    with pytest.raises(InvalidCampaign, match="at most 50 campaigns at once"):
        await load(newsroom, many(51))
    assert await newsroom.count("campaigns") == 0
    await load(newsroom, many(50))
    assert await newsroom.count("campaigns") == 50


async def run(room: Newsroom, *words: str) -> tuple[int | None, str, str]:
    """`payments …` as the operator types it."""
    given = {
        f"PAYMENTS_{name.upper()}": value
        for name, value in {
            "database_url": room.settings.database_url.get_secret_value(),
            "base_url": room.settings.base_url,
            "stripe_api_key": room.settings.stripe_api_key.get_secret_value(),
            "stripe_api_base": room.settings.stripe_api_base,
            "stripe_webhook_secrets": "whsec_" + "0" * 32,
            "secret_keys": "k" * 40,
            "close_pack_signing_key": "5e" * 32,
            "environment": "test",
        }.items()
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "from payments.cli import main; main()", *words,
        env={"PATH": os.environ["PATH"], **given}, stdout=PIPE, stderr=PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def test_the_operator_loads_a_file_and_gets_the_same_back(
    newsroom: Newsroom, tmp_path: Path
) -> None:
    file = tmp_path / "campaigns.toml"
    file.write_text(SPRING + TESTED, encoding="utf-8")
    code, out, err = await run(newsroom, "campaigns", "apply", str(file), "--dry-run")
    assert (code, out) == (0, "spring: new\ntested: new\n"), err
    assert "Nothing was changed" in err
    assert await newsroom.count("campaigns") == await newsroom.count("audit_entries") == 0
    code, out, _ = await run(newsroom, "campaigns", "apply", str(file), "--json")
    assert json.loads(out) == {"spring": "new", "tested": "new"}
    code, out, _ = await run(newsroom, "campaigns", "show", "--json")
    again = tmp_path / "again.json"
    again.write_text(out, encoding="utf-8")
    assert {one["id"] for one in json.loads(out)["campaigns"]} == {"spring", "tested"}
    code, out, _ = await run(newsroom, "campaigns", "apply", str(again))
    assert (code, sorted(out.split())) == (0, ["spring:", "tested:", "unchanged", "unchanged"])
    code, out, _ = await run(newsroom, "embed", "--campaign", "spring", "--lang", "ru")
    assert "Три репортёра" in out
    assert 'frequency="annual"' in out
    assert 'amount="3000"' in out
    file.write_text(SPRING.replace("[400, 900]", "[4]"), encoding="utf-8")
    code, out, err = await run(newsroom, "campaigns", "apply", str(file))
    assert (code, out) == (1, "")
    assert (
        "campaigns[0].presets.monthly.eur: 4 (0.04 EUR) is below the smallest gift, 200 (2.00 EUR)"
        in err
    )
    actions = await newsroom.rows("SELECT name, action, object_id FROM audit_entries ORDER BY seq")
    assert actions == [
        ("the command line", "campaign_created", "spring on"),
        ("the command line", "campaign_created", "tested on"),
    ]


# --- the pages ------------------------------------------------------------------------------------


async def sends(one: Colleague, page: Page, **changes: str) -> httpx.Response:
    form = next(form for form in page.forms if form.action.startswith(CAMPAIGNS_URL))
    pressed = {"then": changes.pop("then", "save")}
    return await one.sends(form.action, **form.submission(**changes), **pressed)


async def test_a_colleague_makes_sees_and_changes_a_campaign(newsroom: Newsroom) -> None:
    async with open_colleague_browser(newsroom, "Ada", Role.FINANCE) as ada:
        await ada.opens_link()
        assert "There is none yet." in (await ada.opens(CAMPAIGNS_URL)).text
        empty = await ada.opens(f"{CAMPAIGNS_URL}/new")
        written = {
            "id": "winter",
            "message_en": "A hard\nwinter.",
            "message_ru": "Трудная зима.",
            "amounts_monthly": "usd: 3 *7.50 15\neur: only *10",
            "v1_name": "a",
            "v2_name": "b",
            "v2_message_ru": "Холодная зима.",
            "v2_preselect": "no",
        }
        seen = Page((await sends(ada, empty, **written, then="preview")).text)
        assert seen.problems == []
        for words in (
            "A hard winter.",
            "Трудная зима.",
            "Холодная зима.",
            "$7.50",
            "Поддержать The Example",
        ):
            assert words in seen.text, words
        assert await newsroom.count("campaigns") == 0
        answer = await sends(ada, seen, then="save")
        assert (answer.status_code, answer.headers["location"]) == (303, f"{CAMPAIGNS_URL}/winter")
        page = await ada.opens(f"{CAMPAIGNS_URL}/winter")
        held = page.form(f"{CAMPAIGNS_URL}/winter").submission()
        assert held["amounts_monthly"] == "usd: 3 *7.50 15\neur: only *10"
        assert (held["v2_message_ru"], held["v2_preselect"]) == ("Холодная зима.", "no")
        assert "fewer than 10" in page.text
        assert (await sends(ada, page)).status_code == 303  # nothing was changed
        assert (await sends(ada, page, message_en="Ещё.")).status_code == 303
        late = await sends(ada, page, message_en="Mine is older.")
        assert late.status_code == 409
        again = Page(late.text)
        assert "Nothing was changed" in again.alerts[0]
        assert again.form(f"{CAMPAIGNS_URL}/winter").submission()["message_en"] == "Mine is older."
        assert "winter" in (await ada.opens(CAMPAIGNS_URL)).text
        assert [action[:2] for action in await ada.audit_actions()][-2:] == [
            ("campaign_created", "winter on"), ("campaign_changed", "winter on"),
        ]  # fmt: skip
    asked = await opens(newsroom, "/donate?campaign=winter&currency=eur&frequency=monthly")
    assert asked.form("/donate").submission()["frequency"] == "monthly"


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("id", "A b", "lower-case letters"),
        ("id", "", "1 to 64"),
        ("id", "new", "a name we use ourselves"),
        ("message_en", "x" * 601, "600 characters; here 601"),
        ("amounts_once", "usd 5 10", "write a line for each currency"),
        ("amounts_once", "usd: 1 5", "100 (1.00 USD) is below the smallest gift, 200 (2.00 USD)"),
        ("amounts_once", "usd: 10 5", "each is more than the one before"),
        ("amounts_once", "usd: *5 *10", "two stars"),
        ("amounts_once", "xyz: 5", "is not one of usd"),
        ("amounts_once", "usd: five", "in digits"),
        ("amounts_once", "usd: 5\nusd: 6", "there twice"),
        ("amounts_once", "usd: only *6", "not one of the amounts suggested"),
        ("starts_on", "yesterday", "2026-03-01"),
        ("currency", "xyz", "is not one of usd"),
        ("evaluate_after_days", "7", "30 or 90"),
        ("v1_name", "a", "2 to 4; here 1"),
        ("v3_message_ru", "Привет", "1 to 16"),
    ],
)
async def test_what_is_refused_is_named_and_nothing_typed_is_lost(
    newsroom: Newsroom, field: str, value: str, says: str
) -> None:
    async with open_colleague_browser(newsroom, "Ada", Role.ADMIN) as ada:
        await ada.opens_link()
        empty = await ada.opens(f"{CAMPAIGNS_URL}/new")
        given = {"id": "winter", "message_ru": "Трудная зима.", field: value}
        answer = await ada.sends(
            CAMPAIGNS_URL, **{**empty.form(CAMPAIGNS_URL).submission(), **given}
        )
    assert answer.status_code == 422
    page = Page(answer.text)
    assert page.problems == []
    assert says.lower() in " ".join(page.alerts).lower(), page.alerts
    assert "Nothing was changed." in page.text
    held = page.form(CAMPAIGNS_URL).submission()
    if field not in (
        "currency",
        "evaluate_after_days",
    ):  # a choice cannot hold what it does not offer
        assert held[field] == value
    assert held["message_ru"] == "Трудная зима."
    assert await newsroom.count("campaigns") == 0


async def test_a_field_of_nobody_is_refused(newsroom: Newsroom) -> None:
    async with open_colleague_browser(newsroom, "Ada", Role.ADMIN) as ada:
        await ada.opens_link()
        answer = await ada.sends(CAMPAIGNS_URL, id="x", staff_id="1")
        assert answer.status_code == 422
        assert "the form has no field" in Page(answer.text).alerts[0]
        assert (await ada.sends(f"{CAMPAIGNS_URL}/no-such", message_en="x")).status_code == 404


async def test_support_opens_no_campaign(newsroom: Newsroom) -> None:
    await load(newsroom)
    async with open_colleague_browser(newsroom, "Sue", Role.SUPPORT) as sue:
        await sue.opens_link()
        for address in (CAMPAIGNS_URL, f"{CAMPAIGNS_URL}/new", f"{CAMPAIGNS_URL}/spring"):
            assert (await sue.web.get(address)).status_code == 403
        for address in (CAMPAIGNS_URL, f"{CAMPAIGNS_URL}/spring"):
            assert (await sue.sends(address, id="x")).status_code == 403
    for address in (CAMPAIGNS_URL, f"{CAMPAIGNS_URL}/spring"):
        assert (await newsroom.web.get(address)).status_code == 401
    assert await newsroom.count("campaigns") == 1
