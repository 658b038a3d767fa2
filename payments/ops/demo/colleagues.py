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
from payments.ops.demo.simulation import Simulation
from payments.ops.demo.supporters import CARD_SUCCEEDS
from payments.staff import accounts
from payments.staff.accounts import Role

FINANCE_COLLEAGUE = "Noor"
REFUND_PATH = re.compile(r"/finance/refund/\w+")
CONTRIBUTION_PATH = re.compile(r"/finance/gifts/\w+")
ALERT_PATH = re.compile(r"/staff/alarms/\d+")
CAMPAIGNS_FILE = Path(__file__).with_name("campaigns.toml")


@asynccontextmanager
async def signed_in_browser(
    sim: Simulation, name: str = FINANCE_COLLEAGUE
) -> AsyncIterator[Browser]:
    """A colleague follows a new link and is in."""
    async with sim.ctx.sessions.begin() as session:
        token = await accounts.invite(session, name, role=Role.FINANCE, now=sim.ctx.now())
    async with sim.browser() as browser:
        link = f"/staff/enter/{token}"
        await browser.submit(await browser.get(link), link)
        yield browser


async def apply_campaigns(sim: Simulation) -> None:
    """`payments campaigns apply`."""
    await campaigns.apply_file(sim.ctx, CAMPAIGNS_FILE.read_bytes(), json=False, dry_run=False)


async def refund_contribution(sim: Simulation, currency: str, amount: str) -> None:
    """Somebody gave more than they meant; give it back, or a part of it."""
    await banks.donate_once(sim, CARD_SUCCEEDS, currency)
    await sim.import_balance()
    async with signed_in_browser(sim) as desk:
        lines = await desk.get("/finance/lines?type=charge")
        gift = await desk.get(
            next(link for link in lines.links if CONTRIBUTION_PATH.fullmatch(link))
        )
        refund = next(link for link in gift.links if REFUND_PATH.fullmatch(link))
        asked = {"amount": amount, "reason": "requested_by_customer"}
        await desk.submit(await desk.get(refund), refund, **asked)


async def close_alerts(sim: Simulation) -> None:
    """Look at each, and say what was found."""
    await sim.import_balance()
    async with signed_in_browser(sim) as desk:
        alarms = await desk.get("/staff/alarms")
        for action in filter(ALERT_PATH.fullmatch, alarms.forms):
            await desk.submit(alarms, action, reason="Looked into at Stripe, and settled")


async def close_month(sim: Simulation, morning_after: datetime) -> None:
    """On the first morning of a month close the one before it, and have its pack made."""
    await sim.import_balance()
    month = morning_after - timedelta(days=1)
    async with signed_in_browser(sim) as desk:
        here = f"/finance/periods/{month:%Y-%m}"
        await desk.submit(await desk.get(here), f"{here}/close")
