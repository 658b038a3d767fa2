"""Variants are drawn at random, stored with the contribution alone, and compared net of refunds."""

import json
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from payments.giving import campaigns
from payments.staff.accounts import Role
from payments.web.donate import embed
from payments.web.staff.campaigns import CAMPAIGNS_URL
from tests.support.campaigns import (
    TESTED,
    apply_campaigns,
    counts_by_campaign_and_variant,
    give_by_form,
    open_page,
)
from tests.support.colleague import open_colleague_browser
from tests.support.newsroom import Newsroom
from tests.support.page import Page

pytestmark = pytest.mark.anyio


async def test_a_variant_is_drawn_for_each_showing_and_stored_with_the_contribution_alone(
    newsroom: Newsroom,
) -> None:
    await apply_campaigns(newsroom, TESTED)
    drawn: Counter[str] = Counter()
    pages = {}
    for _ in range(100):
        answer = await newsroom.web.get("/donate?campaign=tested")
        assert "set-cookie" not in answer.headers
        page = Page(answer.text)
        variant_key = page.form("/donate").submission()["variant"]
        assert ("A new word." in page.text) == (variant_key == "b-1")
        drawn[variant_key] += 1
        pages[variant_key] = page
    assert set(drawn) == {"a-1", "b-1"}
    assert min(drawn.values()) >= 19  # a fair coin falls below that once in ten thousand million
    counted = await newsroom.rows(
        "SELECT variant, impressions FROM campaign_impressions ORDER BY 1"
    )
    assert counted == sorted(drawn.items())
    await give_by_form(newsroom, pages["a-1"], frequency="once")
    await give_by_form(newsroom, pages["b-1"], amount_once="700")
    assert await counts_by_campaign_and_variant(newsroom) == {
        ("tested", "a-1"): 1,
        ("tested", "b-1"): 1,
    }


async def test_a_form_that_is_shown_again_keeps_its_variant(newsroom: Newsroom) -> None:
    await apply_campaigns(newsroom, TESTED)
    for _ in range(40):
        page = await open_page(newsroom, "/donate?campaign=tested")
        if "A new word." in page.text:
            break
    impressions = await newsroom.rows("SELECT sum(impressions) FROM campaign_impressions")
    fields = page.form("/donate").submission()
    assert "amount_once" not in fields  # nothing is ticked for the reader
    for changes in ({}, {"other_once": "1.00"}):
        answer = await newsroom.web.post("/donate", data={**fields, **changes})
        assert answer.status_code == 422
        again = Page(answer.text)
        assert again.problems == []
        assert "A new word." in again.text
        assert again.form("/donate").submission()["variant"] == fields["variant"]
        message = "$2.00" if changes else "Choose an amount. Nothing was charged."
        assert message in again.alerts[0]
    assert await newsroom.rows("SELECT sum(impressions) FROM campaign_impressions") == impressions

    # The campaign ends, and one with variants of the same names follows.
    today = newsroom.ctx.now().date()
    follower = TESTED.replace('id = "tested"', 'id = "autumn"').replace("A new word.", "Autumn.")
    ending = f'id = "tested"\nends_on = {today}\nfollowed_by = "autumn"'
    await apply_campaigns(newsroom, TESTED.replace('id = "tested"', ending) + follower)
    await newsroom.advances_time(timedelta(days=2))
    shown = (await open_page(newsroom, "/donate?campaign=tested")).form("/donate").submission()
    counted = "SELECT sum(impressions) FROM campaign_impressions WHERE campaign = "
    assert shown["campaign"] == "autumn"
    assert await newsroom.rows(counted + "'tested'") == impressions
    assert await newsroom.rows(counted + "'autumn'") == [(1,)]
    # A key is of the campaign that drew it, under which the gift is counted as the showing was.
    again = Page((await newsroom.web.post("/donate", data=fields)).text)
    assert "As always." in again.text
    shown_again = again.form("/donate").submission()
    assert (shown_again["campaign"], shown_again["variant"]) == ("tested", fields["variant"])


@pytest.mark.parametrize("forged", ["b-2", "c-1", "b", "<b>", "a-1' OR 1=1", "x" * 500, "\x00"])
async def test_a_forged_variant_is_not_stored_and_the_contribution_is_accepted(
    newsroom: Newsroom, forged: str
) -> None:
    await apply_campaigns(newsroom, TESTED)
    page = await open_page(newsroom, "/donate?campaign=tested")
    await give_by_form(newsroom, page, frequency="once", amount_once="700", variant=forged)
    assert await counts_by_campaign_and_variant(newsroom) == {("tested", None): 1}


async def widget_variants(room: Newsroom, **how: Any) -> dict[str, dict[str, str]]:  # noqa: ANN401
    """What the widget of a campaign's snippet may draw, by variant_key."""
    async with room.ctx.sessions() as session:
        campaign = await campaigns.get(session, "tested")
    html = embed.embed_snippet(
        room.settings, campaign="tested", embedded=campaign.as_embedded(), **how
    )
    (widget,) = (attributes for tag, attributes in Page(html).attributes if tag == "donate-form")
    return {one["variant"]: one for one in json.loads(widget["variants"])}


async def test_the_widget_is_given_each_variant_and_the_form_goes_on_with_the_one_it_drew(
    newsroom: Newsroom,
) -> None:
    await apply_campaigns(newsroom, TESTED)
    variants = await widget_variants(newsroom)
    assert variants["b-1w"] == {
        "variant": "b-1w", "frequency": "once", "amount": "none",
        "presets": "once:700,1400;monthly:200,500,1000,2500;annual:2500,5000,10000,25000",
    }  # fmt: skip
    assert (variants["a-1w"]["frequency"], variants["a-1w"]["amount"]) == ("monthly", "500")
    page = await open_page(
        newsroom, "/donate?campaign=tested&variant=b-1w&frequency=once&amount=700"
    )
    assert "A new word." in page.text
    assert await newsroom.count("campaign_impressions") == 0  # it was shown where nobody counts
    await give_by_form(newsroom, page)
    assert await counts_by_campaign_and_variant(newsroom) == {("tested", "b-1w"): 1}


@pytest.mark.parametrize("stale", ["b-2w", "b-1", "c-1w", "bw", "<b>", "x" * 500, "%00"])
async def test_a_variant_that_no_widget_draws_now_is_shown_what_the_campaign_says(
    newsroom: Newsroom, stale: str
) -> None:
    await apply_campaigns(newsroom, TESTED)
    page = await open_page(newsroom, f"/donate?campaign=tested&variant={stale}")
    assert "As always." in page.text
    await give_by_form(newsroom, page, frequency="once", amount_once="500")
    assert await counts_by_campaign_and_variant(newsroom) == {("tested", None): 1}
    assert await newsroom.count("campaign_impressions") == 0


async def test_a_change_of_what_is_compared_begins_anew(newsroom: Newsroom) -> None:
    await apply_campaigns(newsroom, TESTED)
    old = await open_page(newsroom, "/donate?campaign=tested")
    assert await apply_campaigns(newsroom, TESTED) == {"tested": "unchanged"}
    off = TESTED.replace('id = "tested"', 'id = "tested"\nends_on = 2027-01-01')
    assert await apply_campaigns(newsroom, off) == {"tested": "changed"}
    variant_key = (
        (await open_page(newsroom, "/donate?campaign=tested"))
        .form("/donate")
        .submission()["variant"]
    )
    assert variant_key.endswith("-1")
    await apply_campaigns(newsroom, off.replace("A new word.", "A newer word."))
    variant_key = (
        (await open_page(newsroom, "/donate?campaign=tested"))
        .form("/donate")
        .submission()["variant"]
    )
    assert variant_key.endswith("-2")
    await give_by_form(newsroom, old, frequency="once", amount_once="700")
    assert await counts_by_campaign_and_variant(newsroom) == {("tested", None): 1}


async def test_variants_are_judged_by_what_was_not_refunded_after_a_month(
    newsroom: Newsroom,
) -> None:
    await apply_campaigns(newsroom, TESTED)
    given: Counter[str] = Counter()
    while given["a-1"] < 10 or given["b-1"] < 10:
        page = await open_page(newsroom, "/donate?campaign=tested")
        variant_key = page.form("/donate").submission()["variant"]
        if given[variant_key] < 10:
            amount = "1000" if variant_key == "a-1" else "700"
            await give_by_form(newsroom, page, frequency="once", amount_once=amount)
        given[variant_key] += 1
    await newsroom.runs_until_idle()
    await newsroom.runs_sweeps()
    (refund,) = await newsroom.rows(
        "SELECT c.stripe_charge_id FROM charges c"
        "  JOIN payment_intent_links i USING (stripe_payment_intent_id)"
        "  JOIN contributions n ON n.id = i.contribution_id"
        " WHERE n.variant = 'b-1' ORDER BY 1 LIMIT 1"
    )
    await newsroom.stripe_owner.v1.refunds.create_async({"charge": str(refund[0])})
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
    await apply_campaigns(newsroom, TESTED)
    for variant_key, amount in (("a-1w", "1000"), ("b-1w", "700")):
        for _ in range(10):
            page = await open_page(newsroom, f"/donate?campaign=tested&variant={variant_key}")
            await give_by_form(newsroom, page, frequency="once", amount_once=amount)
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
