"""What colleagues do in the demo, on their own pages: run campaigns, refund, close alerts and
months.

Each signs in by a one-time link, as the operator prints it.
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
CONTRIBUTION_PATH = re.compile(r"/finance/contributions/\w+")
ALERT_PATH = re.compile(r"/staff/alerts/\d+")
CAMPAIGNS_FILE = Path(__file__).with_name("campaigns.toml")


@asynccontextmanager
async def signed_in_browser(
    sim: Simulation, name: str = FINANCE_COLLEAGUE
) -> AsyncIterator[Browser]:
    """Yield a browser in which a colleague of finance has signed in by a new link."""
    async with sim.ctx.sessions.begin() as session:
        token = await accounts.invite(session, name, role=Role.FINANCE, now=sim.ctx.now())
    async with sim.browser() as browser:
        link = f"/staff/enter/{token}"
        await browser.submit(await browser.get(link), link)
        yield browser


async def apply_campaigns(sim: Simulation) -> None:
    """Apply the demo's campaigns, as `payments campaigns apply` does."""
    await campaigns.apply_file(sim.ctx, CAMPAIGNS_FILE.read_bytes(), json=False, dry_run=False)


async def refund_contribution(sim: Simulation, currency: str, amount: str) -> None:
    """Refund a new contribution of 25.00, or a part of it. The amount is as typed in the form."""
    await banks.donate_once(sim, CARD_SUCCEEDS, currency)
    await sim.import_balance()
    async with signed_in_browser(sim) as browser:
        transactions = await browser.get("/finance/transactions?type=charge")
        contribution = await browser.get(
            next(link for link in transactions.links if CONTRIBUTION_PATH.fullmatch(link))
        )
        refund = next(link for link in contribution.links if REFUND_PATH.fullmatch(link))
        fields = {"amount": amount, "reason": "requested_by_customer"}
        await browser.submit(await browser.get(refund), refund, **fields)


async def close_alerts(sim: Simulation) -> None:
    """Close every open alert that can be closed, with what was found."""
    await sim.import_balance()
    async with signed_in_browser(sim) as browser:
        alerts = await browser.get("/staff/alerts")
        for action in filter(ALERT_PATH.fullmatch, alerts.forms):
            await browser.submit(alerts, action, reason="Looked into at Stripe, and settled")


async def close_month(sim: Simulation, morning_after: datetime) -> None:
    """Close the month before the morning, which builds its pack."""
    await sim.import_balance()
    month = morning_after - timedelta(days=1)
    async with signed_in_browser(sim) as browser:
        period = f"/finance/periods/{month:%Y-%m}"
        await browser.submit(await browser.get(period), f"{period}/close")
