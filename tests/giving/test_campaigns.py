"""A campaign says its message and suggests its amounts; its gifts and renewals count for it."""

import json
from datetime import timedelta

import pytest

from payments.giving.article_counts import COUNT_STEP
from payments.safety import retention
from payments.staff.accounts import Role
from payments.web.staff.campaigns import CAMPAIGNS_URL
from tests.support.campaigns import (
    FIRST_USERS_MESSAGE,
    SPRING,
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


CANARY = "<script>alert('canary-5f1')</script><img src=x onerror=canary>"


@pytest.mark.parametrize(
    ("locale", "says", "amount"),
    [
        ("en", "Three reporters, one year, one <b>story</b>.", "€70.00"),
        ("ru", "Три репортёра, один год, одна история.", "70,00\N{NO-BREAK SPACE}€"),
    ],
)
async def test_the_form_says_and_suggests_what_the_campaign_does(
    newsroom: Newsroom, locale: str, says: str, amount: str
) -> None:
    await apply_campaigns(newsroom)
    page = await open_page(newsroom, f"/donate?campaign=spring&lang={locale}")
    assert says in page.text
    assert amount in page.html
    assert "<b>story" not in page.html
    fields = page.form("/donate").submission()
    assert (fields["frequency"], fields["currency"], fields["campaign"]) == (
        "annual",
        "eur",
        "spring",
    )
    assert (fields["amount_annual"], fields["amount_monthly"]) == ("3000", "900")
    assert fields["amount_once"] == "1000"  # as without a campaign
    assert "variant" not in fields
    answer = await newsroom.web.post(f"/donate?lang={locale}", data=fields)
    await newsroom.pays(answer.headers["location"])
    assert await counts_by_campaign_and_variant(newsroom) == {("spring", None): 1}
    assert newsroom.sandbox.requests  # nothing of the campaign went to Stripe
    for request in newsroom.sandbox.requests:
        assert "spring" not in str(request.params)


async def test_a_link_that_says_how_much_is_followed(newsroom: Newsroom) -> None:
    await apply_campaigns(newsroom)
    page = await open_page(
        newsroom, "/donate?campaign=spring&frequency=monthly&amount=900&currency=eur"
    )
    fields = page.form("/donate").submission()
    assert (fields["frequency"], fields["amount_monthly"]) == ("monthly", "900")
    page = await open_page(
        newsroom, "/donate?campaign=spring&frequency=once&amount=501&currency=usd"
    )
    fields = page.form("/donate").submission()
    assert (fields["currency"], fields["amount_once"], fields["other_once"]) == (
        "usd",
        "other",
        "5.01",
    )
    assert "Three reporters" in page.text


async def test_an_english_message_stands_as_english_on_a_russian_page(newsroom: Newsroom) -> None:
    await apply_campaigns(newsroom, TESTED)
    html = (await newsroom.web.get("/donate?campaign=tested&lang=ru")).text
    assert '<div class="lede" lang="en" dir="ltr">' in html


async def test_markup_in_a_message_is_text_wherever_it_is_shown(newsroom: Newsroom) -> None:
    await apply_campaigns(newsroom, f"[[campaigns]]\nid = 'x'\nmessage.en = {json.dumps(CANARY)}")
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
    await apply_campaigns(newsroom, SPRING.replace('currency = "eur"', not_shown))
    page = await open_page(newsroom, "/donate?campaign=spring")
    assert "Three reporters" not in page.text
    assert page.form("/donate").submission()["frequency"] == "monthly"
    await give_by_form(newsroom, page)
    assert await counts_by_campaign_and_variant(newsroom) == {("spring", None): 1}
    assert (await newsroom.web.get("/api/campaigns/spring")).status_code == 404


async def test_the_last_day_is_a_whole_day(newsroom: Newsroom) -> None:
    await apply_campaigns(newsroom, SPRING.replace('currency = "eur"', "ends_on = 2026-11-22"))
    await newsroom.advances_time(timedelta(hours=11, minutes=59))
    assert "Three reporters" in (await open_page(newsroom, "/donate?campaign=spring")).text
    await newsroom.advances_time(timedelta(minutes=1))
    assert "Three reporters" not in (await open_page(newsroom, "/donate?campaign=spring")).text


async def test_a_form_with_a_made_up_campaign_is_accepted_and_a_program_gets_an_error(
    newsroom: Newsroom,
) -> None:
    for _ in range(2):  # whether or not one was ever made
        page = await open_page(newsroom, "/donate?campaign=ivan-petrov")
        await give_by_form(newsroom, page, frequency="once")
        refused = await newsroom.requests_contribution(campaign="ivan-petrov")
        assert refused.status_code == 422
        await apply_campaigns(newsroom)
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
    page = await open_page(newsroom, "/donate")
    await give_by_form(newsroom, page, frequency="once", campaign=label, article=label)
    assert await counts_by_campaign_and_variant(newsroom) == {(None, None): 1}


@pytest.mark.parametrize("campaign", ["spring", "tested"])
async def test_who_walks_away_and_comes_back_still_is_the_campaigns(
    newsroom: Newsroom, campaign: str
) -> None:
    await apply_campaigns(newsroom, SPRING + TESTED)
    article = "the-story-nobody-may-know"
    page = await open_page(newsroom, f"/donate?campaign={campaign}&article={article}&lang=ru")
    fields = page.form("/donate").submission(frequency="once", amount_once="700")
    variant_key = fields.get("variant", "")
    impressions = await newsroom.rows("SELECT * FROM campaign_impressions")
    answer = await newsroom.web.post("/donate?lang=ru", data={**fields, "other_once": ""})
    assert answer.status_code == 303, Page(answer.text).text
    (session_params,) = (
        request.params
        for request in newsroom.sandbox.requests
        if (request.method, request.path) == ("POST", "/v1/checkout/sessions")
    )
    for ours in (campaign, article, variant_key or campaign):  # none of it goes to Stripe
        assert ours not in str(session_params)
    leads_on = await newsroom.web.get(session_params["cancel_url"])
    assert leads_on.headers["location"] == "/donate?again=yes&lang=ru"  # nothing of the gift
    back = await open_page(newsroom, leads_on.headers["location"])
    again = back.form("/donate").submission()
    assert (again["campaign"], again.get("variant", ""), again["frequency"]) == (
        campaign, variant_key, "once",
    )  # fmt: skip
    assert again["article"] == ""  # it has been counted
    assert await newsroom.rows("SELECT * FROM campaign_impressions") == impressions  # so has it
    await give_by_form(newsroom, back)
    assert await counts_by_campaign_and_variant(newsroom) == {(campaign, variant_key or None): 2}


async def test_a_gift_that_nobody_remembers_leads_to_the_plain_form(newsroom: Newsroom) -> None:
    await apply_campaigns(newsroom)
    page = await open_page(newsroom, "/donate?campaign=spring")
    contribution_id = await give_by_form(newsroom, page, frequency="once")
    for forged in ("0" * 32, contribution_id[:-1], "x", "%00", contribution_id.upper()):
        html = (await open_page(newsroom, f"/donate?again={forged}")).html
        assert "Three reporters" not in html
    newsroom.web.cookies.clear()
    assert "Three reporters" not in (await open_page(newsroom, "/donate?again=yes")).html
    for text in (f"/donate?again={contribution_id}", "/donate?again=yes"):
        answer = await newsroom.web.get(text, follow_redirects=True)
        assert (str(answer.url.query, "ascii"), answer.status_code) == ("again=yes", 200)
        assert "Three reporters" in answer.text
    await newsroom.advances_time(timedelta(hours=25))
    for text in (f"/donate?again={contribution_id}", "/donate?again=yes"):
        assert "Three reporters" not in (await open_page(newsroom, text)).text


async def test_programs_read_a_campaign_from_any_page_and_may_keep_it(newsroom: Newsroom) -> None:
    await apply_campaigns(newsroom)
    response = await newsroom.web.get(
        "/api/campaigns/spring", headers={"origin": "https://a.example"}
    )
    assert response.headers["access-control-allow-origin"] == "*"
    assert response.headers["cache-control"] == "public, max-age=300"
    assert "set-cookie" not in response.headers
    campaign = response.json()
    assert (campaign["id"], campaign["currency"], campaign["default_frequency"]) == (
        "spring", "eur", "annual",
    )  # fmt: skip
    assert campaign["presets"]["monthly"] == [400, 900]
    assert campaign["message"]["ru"] == "Три репортёра, один год, одна история."
    for name in ("no-such", "A%20b", "x" * 3000, "%00", "%F0%9F%94%91"):
        assert (await newsroom.web.get(f"/api/campaigns/{name}")).status_code == 404


# --- what it led to -------------------------------------------------------------------------------


async def test_every_renewal_counts_for_the_campaign(newsroom: Newsroom) -> None:
    await apply_campaigns(newsroom)
    for _ in range(5):
        page = await open_page(newsroom, "/donate?campaign=spring")
        await give_by_form(newsroom, page, frequency="monthly")
    await newsroom.runs_until_idle()
    await apply_campaigns(newsroom, SPRING.replace('currency = "eur"', "enabled = false"))
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
    article = "the-story-nobody-may-know"
    for number in range(COUNT_STEP):
        assert await newsroom.count("article_counts") == 0
        if number % 2:
            assert (await newsroom.requests_contribution(article=article)).status_code == 201
        else:
            page = await open_page(newsroom, f"/donate?article={article}")
            await give_by_form(newsroom, page, frequency="once")
    assert await newsroom.rows("SELECT article, starts FROM article_counts") == [
        (article, COUNT_STEP)
    ]
    async with open_colleague_browser(newsroom, "Ada", Role.FINANCE) as ada:
        await ada.opens_link()
        page = await ada.opens("/finance/sources?period=2026")
    assert [article, "10"] in page.cells
    for table in ("contributions", "outbox_mails", "stripe_events"):
        rows = await newsroom.rows(f"SELECT row_to_json(t)::text FROM {table} t")  # noqa: S608
        assert article not in str(rows)
    await newsroom.advances_time(timedelta(days=800))
    await retention.purge_expired(newsroom.ctx)
    assert await newsroom.count("article_counts") == 0


async def test_a_campaign_says_all_of_it_in_its_own_words(newsroom: Newsroom) -> None:
    message = json.dumps(
        f"{FIRST_USERS_MESSAGE}\n\n*More* [here](https://news.example/why) {CANARY}"
    )
    await apply_campaigns(
        newsroom,
        f"""
        [[campaigns]]
        id = "asked"
        message.en = {message}
        headline.en = "We need <you>"
        button.en = "Stand with us"
        thanks.en = "*You* did it. {CANARY}"
        """,
    )
    page = await open_page(newsroom, "/donate?campaign=asked")
    for text in FIRST_USERS_MESSAGE.split("\n\n"):
        assert f"<p>{text}</p>".replace("'", "&#39;").replace('"', "&#34;") in page.html
    assert "<em>More</em>" in page.html
    assert page.links["here"] == "https://news.example/why"
    assert "<script>" not in page.html
    assert "onerror=canary>" in page.text
    assert "We need <you>" in page.text
    assert "Stand with us" in page.text
    given = await give_by_form(newsroom, page, amount_once="500", frequency="once")
    await newsroom.runs_until_idle()
    thanks = Page((await newsroom.web.get(f"/thanks/{given}", follow_redirects=True)).text)
    assert "<em>You</em> did it." in thanks.html
    assert "onerror=canary>" in thanks.text
    assert not {"script", "img"} & {tag for tag, _ in thanks.attributes}
