"""What came by articles, where the newsroom keeps them: sums that tell of no single gift."""

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from payments.accounting.reports import article_sums, period_totals
from payments.accounting.reports.period import ALL_TIME, Period, month_period
from payments.core.brand_settings import ArticlePolicy
from payments.safety import erasure, retention
from payments.staff.accounts import Role
from tests.support.colleague import open_colleague_browser
from tests.support.newsroom import Newsroom, open_newsroom

pytestmark = pytest.mark.anyio
NOVEMBER, DECEMBER = date(2026, 11, 1), date(2026, 12, 1)


async def gives(room: Newsroom, amount: int, article: str | None, reader: str, **more: str) -> None:
    asked = await room.requests_contribution(amount, more.get("frequency", "once"), article=article)
    assert asked.status_code == 201, asked.text
    await room.pays(asked.json()["checkout_url"], email=f"{reader}@example.org")


async def read(room: Newsroom, period: Period) -> list[tuple[str | None, int]]:
    zone, today = room.settings.accounting_zoneinfo, room.clock().date()
    async with room.ctx.sessions() as session:
        lines = await article_sums.by_article(session, zone, period, today=today)
        overview = (await period_totals.by_currency(session, zone, period))["usd"]
    left = overview.gross - overview.refunds - overview.disputes
    assert sum(one.given for one in lines) == left  # to the cent, of every period
    return [(one.article, one.given) for one in lines]


async def test_a_sum_of_an_article_is_of_several_donors_and_two_reports_tell_of_no_gift(
    database: str, tmp_path: Path
) -> None:
    async with open_newsroom(database, articles="revenue") as room:
        for number in range(5):
            await gives(room, 1100, "story-a", f"a{number}", frequency="monthly")
        for _ in range(5):  # one donor, however often
            await gives(room, 700, "story-b", "b")
        for number, amount in enumerate((100, 100, 100, 100, 9000)):  # one gave nearly all
            await gives(room, amount * 5, "story-c", f"c{number}")
        for number in range(4):  # below the fewest
            await gives(room, 900, "story-d", f"d{number}")
        await gives(room, 800, None, "e")
        await room.runs_until_idle()
        # the month is not over: what comes tomorrow would show in the difference of two days
        assert [article for article, _ in await read(room, month_period(NOVEMBER))] == [None]
        await room.advances_time(timedelta(days=31))
        await room.runs_until_idle()
        await gives(room, 1100, "story-a", "a9", frequency="monthly")
        await room.advances_time(timedelta(days=31))
        await room.runs_until_idle()
        await room.runs_sweeps()

        # five of 1100 are 5500, in steps of 5000; a sixth who came in December changes no step by
        # what that one gave
        november = await read(room, month_period(NOVEMBER))
        december = await read(room, month_period(DECEMBER))
        assert november[0] == ("story-a", 5000)
        assert december[0] == ("story-a", 5000)
        assert [article for article, _ in november] == ["story-a", None]
        # a longer period is the sum of the same; a day more or less shows nothing
        both = Period(NOVEMBER, date(2027, 1, 1))
        assert (await read(room, both))[0] == ("story-a", 10_000)
        for until in (date(2027, 1, 2), date(2026, 12, 31)):
            shown = dict(await read(room, Period(NOVEMBER, until)))
            assert shown["story-a"] == (10_000 if until.year == 2027 else 5000)
        assert dict(await read(room, Period(date(2026, 11, 2), DECEMBER))).keys() == {None}
        assert (await read(room, ALL_TIME))[0][0] == "story-a"
        async with open_colleague_browser(room, "Ada", Role.FINANCE) as ada:
            await ada.opens_link()
            page = await ada.opens("/finance/sources?period=2026")
            assert ["story-a", "USD", "$100.00"] in page.cells
            for hidden in ("story-b", "story-c", "story-d"):
                assert hidden not in page.html
        stored = "Which story a gift began from"
        assert stored in (await room.web.get("/safety?lang=en")).text
        await _erases_and_forgets(room)

        # where donors are in danger it cannot be set
        policy = tmp_path / "policy.toml"
        policy.write_text('protected_countries = ["RU"]\n')
        endangered = {**room.settings.model_dump(), "donor_safety_policy": str(policy)}
        with pytest.raises(ValidationError, match="PAYMENTS_ARTICLES must be counts or off"):
            type(room.settings).model_validate(endangered)


async def _erases_and_forgets(room: Newsroom) -> None:
    """Whose donor is erased has no article, and none has where the newsroom keeps them no more."""
    count = "SELECT count(*) FROM contributions WHERE article = 'story-a'"
    assert await room.rows(count) == [(6,)]
    await retention.purge_expired(room.ctx)
    assert await room.rows(count) == [(6,)]
    async with room.ctx.sessions.begin() as session:
        ids = "SELECT donor_id FROM contributions WHERE article = 'story-a' ORDER BY id LIMIT 1"
        ((donor_id,),) = await room.rows(ids)
        await erasure.erase_donors(session, [str(donor_id)], now=room.clock())
    assert await room.rows(count) == [(5,)]
    counted = room.settings.model_copy(update={"articles": ArticlePolicy.COUNTS})
    await retention.purge_expired(replace(room.ctx, settings=counted))
    assert await room.rows("SELECT 1 FROM contributions WHERE article IS NOT NULL") == []
