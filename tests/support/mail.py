"""Causes for mails, and what tests of them look for."""

import re

from sqlalchemy import text

from payments.giving.contributions import Contribution
from tests.support.donor import months_pass
from tests.support.newsroom import Newsroom
from tests.support.past import begin_with

GOOD_CARD, CARD_FAILS_LATER = "4242424242424242", "4000000000000341"
ADDRESS = "reader@example.org"

# What would tell somebody at the donor's shoulder what the payment is for.
TELLTALE = re.compile(
    r"courier|donat|donor|\bgift|\bgiv(e|es|ing)\b|charit|newsroom|journalis|"
    r"newspaper|\bnews\b|\bmedia\b|reader|reporter|reporting|publish|publication|article|"
    r"membership|campaign|жертв|донат|донор|подар|журнал|газет|редакц|изда[нт]|новост|"
    r"читател|стать|благотвор|подписк|поддерж"
    r"|читач|статт|газет|видавн|підтрим|розсилк"
    r"|تبرع|صحيف|صحاف|جريد|أخبار|مقال|قارئ|القراء\b|دعم|مساهم|نشر|تحرير",
    re.IGNORECASE,
)


async def subscribe_monthly(
    room: Newsroom,
    *,
    card: str = CARD_FAILS_LATER,
    locale: str = "en",
    email: str = ADDRESS,
    name: str = "A Reader",
    months: int = 0,
) -> Contribution:
    """Give five dollars a month with a card that the next charge fails on, so many months ago."""

    async def play(room: Newsroom) -> str:
        started = await room.requests_contribution(500, "monthly", locale=locale)
        await room.pays(started.json()["checkout_url"], card, email=email, name=name)
        await room.runs_until_idle()
        await months_pass(room, months)
        return str(started.json()["id"])

    past = repr(("monthly", card, locale, email, name, months))
    return await room.contribution(await begin_with(room, past, play))


async def execute(room: Newsroom, statement: str) -> None:
    """Execute a statement in a transaction of its own."""
    async with room.ctx.sessions.begin() as session:
        await session.execute(text(statement))


async def run_scheduled_jobs(room: Newsroom) -> None:
    """Run the jobs that wait for a retry.

    The queue goes by the database's clock, which no test turns.
    """
    await execute(room, "UPDATE procrastinate_jobs SET scheduled_at = now() WHERE status = 'todo'")
    await room.runs_due_jobs()


async def mail_statuses(room: Newsroom) -> dict[str, str]:
    """Return the status of the mail of each kind."""
    return {str(k): str(v) for k, v in await room.rows("SELECT kind, status FROM outbox_mails")}


async def request_sign_in_link(room: Newsroom, address: str) -> None:
    """Request a link for an address, and send what is due."""
    answer = await room.web.post(
        "/manage", data={"address": address}, headers={"Sec-Fetch-Site": "same-origin"}
    )
    assert answer.status_code == 200, answer.text
    await room.runs_due_jobs()
