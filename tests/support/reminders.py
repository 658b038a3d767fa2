"""Readers who ask to be reminded, what their newsroom does, and what it stores."""

from datetime import timedelta
from pathlib import Path

from sqlalchemy import text

from payments.signups import reminder_sender
from tests.support.donor import Donor, link_in
from tests.support.newsroom import Mail, Newsroom
from tests.support.page import Page

READER = "reader@example.org"
DAY = timedelta(days=1)


async def signs_up(reader: Donor, address: str = READER, **more: str) -> Page:
    """Fill in the form as it came from a link, and send it."""
    page = await reader.opens("/remind?frequency=monthly&amount=500&currency=usd")
    answer = await reader.submits(page, "/remind", **{"when": "week", "address": address, **more})
    assert answer.status_code == 200, answer.text
    return Page(answer.text)


async def works(room: Newsroom) -> None:
    """What the worker does in a minute."""
    await reminder_sender.enqueue_due(room.ctx)
    await reminder_sender.send_confirmations(room.ctx)
    await room.runs_due_jobs()


async def confirms(reader: Donor, mail: Mail) -> Page:
    page = await reader.opens(link_in(mail, "/remind/confirm/"))
    answer = await reader.submits_without_session(page, link_in(mail, "/remind/confirm/"))
    assert answer.status_code == 200
    return Page(answer.text)


async def is_reminded_in_a_week(reader: Donor, address: str = READER, **more: str) -> None:
    await signs_up(reader, address, **more)
    await works(reader.room)
    await confirms(reader, reader.room.mails()[-1])


async def passes(room: Newsroom, by: timedelta) -> None:
    await room.advances_time(by)
    await works(room)


async def states(room: Newsroom) -> list[object]:
    return [
        state for (state,) in await room.rows("SELECT state FROM reminders ORDER BY signed_up_at")
    ]


def keys(room: Newsroom) -> list[Path]:
    return [path for path in Path(room.settings.address_key_dir).glob("??/*") if path.is_file()]


async def change(room: Newsroom, statement: str) -> None:
    async with room.ctx.sessions.begin() as session:
        await session.execute(text(statement))


async def walks_away(reader: Donor, **ticks: str) -> None:
    """Start a gift at the form, and close Stripe's page."""
    page = await reader.opens("/donate?frequency=once&amount=500&currency=usd")
    sent = page.form("/donate").submission() | ticks
    answer = await reader.web.post("/donate", data=sent)
    assert answer.status_code == 303, Page(answer.text).text
    await reader.room.advances_time(timedelta(minutes=70))
    await reader.room.runs_until_idle()


async def asks(room: Newsroom, **body: object):  # type: ignore[no-untyped-def]  # noqa: ANN201 - httpx's
    return await room.web.post(
        "/api/reminders", json={"address": READER, "on": "2026-12-24", **body}
    )


async def retries_at_once(room: Newsroom) -> None:
    """The engine goes by the database's clock, which no test turns."""
    await change(room, "UPDATE procrastinate_jobs SET scheduled_at = now() WHERE status = 'todo'")
    await room.runs_due_jobs()
