"""Steps are counted by the month, and small numbers are not reported."""

from datetime import date

import pytest

from payments.sandbox.hosted_page_client import pay
from payments.signups import reminder_stats
from tests.support.donor import Donor
from tests.support.newsroom import Newsroom
from tests.support.reminders import DAY, is_reminded_in_a_week, passes, signs_up

pytestmark = pytest.mark.anyio


async def test_the_funnel_counts_steps_and_hides_the_few(reader: Donor) -> None:
    room = reader.room
    for number in range(6):
        await is_reminded_in_a_week(reader, f"reader{number}@example.org")
    await signs_up(reader, "silent@example.org")
    await passes(room, 7 * DAY)
    links = [mail.link("/back/") for mail in room.mails() if "/back/" in mail.part()]
    assert len(set(links)) == 1  # the same for all, so it names nobody
    for number in range(5):
        page = await reader.opens(links[0])
        answer = await reader.web.post("/donate", data=page.form("/donate?lang=en").submission())
        await pay(answer.headers["location"], email=f"reader{number}@example.org")
    await room.runs_until_idle()
    months = await funnel_rows(room)
    ((month, steps, gave, amounts),) = months
    assert month == "2026-11"
    assert steps == {
        "signed_up": 7, "confirmed": 6, "sent": 6, "opened": 5, "missed": 0, "calendar": 0,
    }  # fmt: skip
    assert (gave, amounts) == (5, ["25.00 USD"])


async def funnel_rows(room: Newsroom) -> list[tuple[str, dict[str, int | None], object, object]]:
    async with room.ctx.sessions() as session:
        rows = await reminder_stats.monthly_stats(
            session, room.settings, since=date(2026, 1, 1), until=date(2028, 1, 1)
        )
    return [
        (
            f"{row.month:%Y-%m}",
            {step.value: number for step, number in row.steps.items()},
            row.donated,
            [str(amount) for amount in row.amounts],
        )
        for row in rows
    ]


async def test_a_month_with_few_says_nothing_of_them(reader: Donor) -> None:
    await signs_up(reader)
    ((_, steps, gave, amounts),) = await funnel_rows(reader.room)
    assert steps["signed_up"] is None
    assert steps["sent"] == 0
    assert (gave, amounts) == (0, [])
