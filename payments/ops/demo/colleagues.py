"""What colleagues do in the demo, on their own pages: run campaigns, refund, look at alarms, close
months.

Each comes in by a one-time link, as the operator prints it.
"""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path

from payments.giving import campaigns
from payments.ops.demo import banks
from payments.ops.demo.browser import Browser
from payments.ops.demo.people import GOOD
from payments.ops.demo.year import Year
from payments.staff import accounts
from payments.staff.accounts import Role

FINANCE = "Noor"
CHARGE = re.compile(r"/finance/refund/\w+")
GIFT = re.compile(r"/finance/gifts/\w+")
ALARM = re.compile(r"/staff/alarms/\d+")
CAMPAIGNS = Path(__file__).with_name("campaigns.toml")


@asynccontextmanager
async def at_a_desk(year: Year, name: str = FINANCE) -> AsyncIterator[Browser]:
    """A colleague follows a new link and is in."""
    async with year.rt.sessions.begin() as session:
        token = await accounts.invite(session, name, role=Role.FINANCE, now=year.rt.now())
    async with year.browser() as browser:
        link = f"/staff/enter/{token}"
        await browser.presses(await browser.opens(link), link)
        yield browser


async def begins_campaigns(year: Year) -> None:
    """`payments campaigns load`."""
    await campaigns.load(year.rt, CAMPAIGNS.read_bytes(), json=False, dry_run=False)


async def refunds(year: Year, currency: str, amount: str) -> None:
    """Somebody gave more than they meant; give it back, or a part of it."""
    await banks.takes(year, GOOD, currency)
    await year.imports()
    async with at_a_desk(year) as desk:
        lines = await desk.opens("/finance/lines?type=charge")
        gift = await desk.opens(next(link for link in lines.links if GIFT.fullmatch(link)))
        refund = next(link for link in gift.links if CHARGE.fullmatch(link))
        asked = {"amount": amount, "reason": "requested_by_customer"}
        await desk.presses(await desk.opens(refund), refund, **asked)


async def closes_alarms(year: Year) -> None:
    """Look at each, and say what was found."""
    await year.imports()
    async with at_a_desk(year) as desk:
        alarms = await desk.opens("/staff/alarms")
        for action in filter(ALARM.fullmatch, alarms.forms):
            await desk.presses(alarms, action, reason="Looked into at Stripe, and settled")


async def closes(year: Year, over: datetime) -> None:
    """On the first morning of a month close the one before it, and have its pack made."""
    await year.imports()
    month = over - timedelta(days=1)
    async with at_a_desk(year) as desk:
        here = f"/finance/periods/{month:%Y-%m}"
        await desk.presses(await desk.opens(here), f"{here}/close")
