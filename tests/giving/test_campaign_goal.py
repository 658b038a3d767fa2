"""What readers read of a campaign's goal, from the first gift to the used up ceiling."""

import json
from datetime import timedelta

import pytest

from payments.giving import campaign_totals
from payments.staff.accounts import Role
from payments.web.staff.campaigns import CAMPAIGNS_URL
from tests.support.campaigns import apply_campaigns, open_page
from tests.support.colleague import open_colleague_browser
from tests.support.newsroom import Newsroom

pytestmark = pytest.mark.anyio

SPONSOR = "<img src=x onerror=canary-7c>\"' </script>"
APPEAL = f"""
[[campaigns]]
id = "spring"
currency = "eur"
currencies = ["usd"]
ends_on = 2026-12-31
[campaigns.goal]
amount = 10000
currency = "eur"
[campaigns.matching]
sponsor = {json.dumps(SPONSOR)}
percent = 50
ceiling = 3000
currency = "eur"
ends_on = 2026-12-24
"""
READ_BY_ANYBODY = (
    "/donate?campaign=spring", "/donate?campaign=spring&lang=ru", "/embed/spring.en.js",
    "/embed/spring.ru.js", "/api/campaigns/spring",
)  # fmt: skip


async def gives(room: Newsroom, amount: int, reader: int, currency: str = "eur") -> None:
    asked = await room.requests_contribution(amount, "once", currency, campaign="spring")
    await room.pays(asked.json()["checkout_url"], email=f"reader-{reader}@example.org")


async def counts_a_day_later(room: Newsroom) -> None:
    await room.runs_until_idle()
    await room.advances_time(timedelta(days=1))
    await campaign_totals.count_all(room.ctx)


async def refunds(room: Newsroom, *amounts: int) -> None:
    for amount in amounts:
        query = "SELECT min(stripe_charge_id) FROM charges WHERE amount = :amount"
        ((charge,),) = await room.rows(query, amount=amount)
        await room.stripe_owner.v1.refunds.create_async({"charge": str(charge)})


async def published(room: Newsroom) -> tuple[int | None, bool]:
    """How many percent of the goal a program is public, and whether gifts are matched."""
    answer = (await room.web.get("/api/campaigns/spring")).json()
    return answer["goal"]["percent"], answer["matching"] is not None


async def said_to_all(room: Newsroom) -> list[str]:
    """Everything that a request of anybody can read of the campaign, but for ids of a form."""
    answers = []
    for address in READ_BY_ANYBODY:
        html = (await room.web.get(address)).text
        answers.append(html.partition('<div class="goal">')[2].partition("</div>")[0] or html)
    return answers


async def test_no_single_gift_is_seen_and_what_is_said_is_true(newsroom: Newsroom) -> None:
    await apply_campaigns(newsroom, APPEAL)
    await campaign_totals.count_all(newsroom.ctx)
    page = await open_page(newsroom, "/donate?campaign=spring")
    text = page.text.replace("\u2068", "").replace("\u2069", "")
    assert "Our goal is €100 by 31 December 2026." in text
    matching = f"For every €1 you give by 24 December 2026, {SPONSOR} adds €0.50, up to €30 in"
    assert matching in text
    assert "Only gifts in EUR count towards this." in text
    assert "canary-7c" in page.html
    assert "<img" not in page.html
    script = (await newsroom.web.get("/embed/spring.en.js")).text
    assert "canary-7c" in script
    assert "</script" not in script

    for reader in range(9):
        await gives(newsroom, 500, reader)
    await gives(newsroom, 90_000, 1, "usd")  # converts nothing
    await counts_a_day_later(newsroom)
    assert await published(newsroom) == (None, True)  # nine
    before = await said_to_all(newsroom)
    await gives(newsroom, 520, 9)
    await newsroom.runs_until_idle()
    await campaign_totals.count_all(newsroom.ctx)  # once more on the same day
    assert await said_to_all(newsroom) == before
    await counts_a_day_later(newsroom)
    assert await published(newsroom) == (50, True)
    for now, then in zip(await said_to_all(newsroom), before, strict=True):
        assert now != then
    page = await open_page(newsroom, "/donate?campaign=spring&lang=ru")
    assert "Уже собрано не меньше" in page.text
    assert '<progress max="10" value="5" aria-hidden="true">' in page.html

    before = await said_to_all(newsroom)
    await gives(newsroom, 1100, 10)  # past the next step, and of one reader
    await counts_a_day_later(newsroom)
    assert (await published(newsroom))[0] == 50
    # nine tenths of the ceiling are used up: it is not said any more, and a refund is no reason to
    assert (await published(newsroom))[1] is False
    assert "canary-7c" not in "".join(await said_to_all(newsroom))
    await refunds(newsroom, 1100, 520, 500)
    await counts_a_day_later(newsroom)
    assert await published(newsroom) == (40, False)

    (claim,) = await claims(newsroom)
    assert (claim.given.amount, claim.to_ask.amount, claim.ceiling.amount) == (4000, 2000, 3000)
    async with open_colleague_browser(newsroom, "Ada", Role.FINANCE) as ada:
        await ada.opens_link()
        finance = await ada.opens("/finance/sources")
        assert "Matching by sponsors" in finance.text
        (goal,) = (row for row in finance.cells if len(row) == 7 and row[0] == "spring")
        assert goal[2:] == ["EUR", "€100.00", "€40.00", "40%", "€20.00"]
        assert SPONSOR in finance.text
        assert "<img" not in finance.html
        staff = await ada.opens(f"{CAMPAIGNS_URL}/spring")
        assert "Readers see: Our goal is" in staff.text
        assert staff.form(f"{CAMPAIGNS_URL}/spring").submission()["ceiling"] == "eur: 30"


async def claims(room: Newsroom) -> list[campaign_totals.SponsorClaim]:
    async with room.ctx.sessions() as session:
        return await campaign_totals.list_claims(room.ctx, session)
