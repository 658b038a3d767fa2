"""What became of a gift, told from our own records. The return address proves nothing.

While we wait for Stripe's word the page asks again by itself, and rings for the session, so a
webhook that is late or lost does not leave a reader in doubt. A day later the address tells
nothing.
"""

from datetime import timedelta
from typing import Any

from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from payments import contributions, jobs, money
from payments.contributions import Contribution, Status
from payments.errors import NotFound
from payments.runtime import Runtime
from payments.subscriptions import Subscription
from payments.web import pages
from payments.web.donate import EVERY

PAUSES = (2, 2, 2, 3, 3, 5, 5, 8, 8, 13, 13)  # seconds before each look; then we stop looking
SHOWN_FOR = timedelta(hours=24)  # then whoever finds the address learns nothing from it
STATES = {
    Status.STARTED: "confirming",
    Status.OPEN: "confirming",
    Status.PROCESSING: "confirming",
    Status.PAID: "paid",
    Status.FAILED: "failed",
    Status.EXPIRED: "expired",
}


@get("/thanks/{contribution_id:str}", include_in_schema=False)
async def thanks(
    rt: NamedDependency[Runtime], request: Request[Any, Any, Any], contribution_id: FromPath[str]
) -> Response[str]:
    """Confirming, paid, failed or expired; the same answer for a gift that never was."""
    async with rt.sessions.begin() as session:
        try:
            gift = await contributions.find(session, contribution_id)
            if rt.now() - gift.created_at > SHOWN_FOR:
                raise NotFound("This page has said what it had to say.")
        except NotFound:
            return pages.page(rt, "thanks.html", status=404, **_unknown())
        if gift.status is Status.OPEN and gift.stripe_session_id is not None:
            await jobs.ring(session, "checkout.session", gift.stripe_session_id)
        renews = await _next_charge(session, gift)
    state = STATES[gift.status]
    looked = _looked(request.query_params.get("looked", "0"))
    waits = state == "confirming" and gift.status is not Status.PROCESSING and looked < len(PAUSES)
    answer = pages.page(
        rt,
        "thanks.html",
        state=state,
        amount=money.format(gift.money),
        frequency_label=EVERY[gift.frequency],
        next_charge=renews,
        retry_url=contributions.again_url(gift.frequency, gift.money),
        refresh_seconds=PAUSES[looked] if waits else None,
        stop_refresh_url=f"/thanks/{gift.id}?looked={len(PAUSES)}",
        reference=gift.id[:8].upper(),
    )
    if waits:
        answer.headers["refresh"] = f"{PAUSES[looked]}; url=/thanks/{gift.id}?looked={looked + 1}"
    return answer


def _looked(text: str) -> int:
    """How often the page has looked by itself. What makes no sense counts as enough."""
    return int(text) if text.isdecimal() and text.isascii() and len(text) < 4 else len(PAUSES)


async def _next_charge(session: AsyncSession, gift: Contribution) -> str | None:
    renews = await session.scalar(
        select(Subscription.renews_at).where(Subscription.contribution_id == gift.id)
    )
    return None if renews is None else f"{renews.day} {renews:%B %Y}"


def _unknown() -> dict[str, Any]:
    return {
        "state": "unknown",
        "amount": "",
        "frequency_label": "",
        "next_charge": None,
        "retry_url": "/donate",
        "refresh_seconds": None,
        "stop_refresh_url": "",
        "reference": "",
    }
