"""Campaigns to test with: applied as the command line does, seen and given to as a reader does."""

from collections import Counter
from typing import Any

from payments.giving import campaigns
from tests.support.newsroom import Newsroom
from tests.support.page import Page

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

# What the first user asks its readers today, word for word.
FIRST_USERS_MESSAGE = (
    "Dear readers,\n"
    "\n"
    "We are facing unprecedented challenges. Russia's Prosecutor General's Office has "
    'designated The Moscow Times as an "undesirable" organization, criminalizing our work and'
    " putting our staff at risk of prosecution. This follows our earlier unjust labeling as a"
    ' "foreign agent."\n'
    "\n"
    "These actions are direct attempts to silence independent journalism in Russia. The "
    'authorities claim our work "discredits the decisions of the Russian leadership." We see '
    "things differently: we strive to provide accurate, unbiased reporting on Russia.\n"
    "\n"
    "We, the journalists of The Moscow Times, refuse to be silenced. But to continue our "
    "work, we need your help.\n"
    "\n"
    "Your support, no matter how small, makes a world of difference. If you can, please "
    "support us monthly starting from just $2. It's quick to set up, and every contribution "
    "makes a significant impact.\n"
    "\n"
    "By supporting The Moscow Times, you're defending open, independent journalism in the "
    "face of repression. Thank you for standing with us."
)


async def apply_campaigns(room: Newsroom, toml: str = SPRING, **how: Any) -> dict[str, str]:  # noqa: ANN401
    """What `payments campaigns apply` does."""
    return {
        k: v.value for k, v in (await campaigns.apply_file(room.ctx, toml.encode(), **how)).items()
    }


async def open_page(room: Newsroom, address: str) -> Page:
    answer = await room.web.get(address)
    assert answer.status_code == 200, answer.text
    page = Page(answer.text)
    assert page.problems == []
    return page


async def give_by_form(room: Newsroom, page: Page, **changes: str) -> str:
    """A reader sends the form and pays. Gives the gift's id."""
    answer = await room.web.post("/donate", data=page.form("/donate").submission(**changes))
    assert answer.status_code == 303, Page(answer.text).text
    await room.pays(answer.headers["location"])
    rows = await room.rows("SELECT id FROM contributions ORDER BY created_at DESC, id LIMIT 1")
    return str(rows[0][0])


async def counts_by_campaign_and_variant(room: Newsroom) -> Counter[tuple[object, ...]]:
    """How many gifts there are of each campaign and variant_key."""
    return Counter(await room.rows("SELECT campaign, variant FROM contributions"))
