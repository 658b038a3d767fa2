"""Words of Stripe's that this version does not know: stored as unknown, with an alert."""

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from payments.core.open_enum import OpenEnum
from payments.infra import alerts
from payments.infra.alerts import AlertKind

UNKNOWN = "unknown"


async def update_alert(
    session: AsyncSession, object_id: str, *words: OpenEnum, now: datetime
) -> None:
    """Raise the alert about an object if any of its words is unknown, else close it."""
    change = alerts.raise_alert if UNKNOWN in words else alerts.close
    await change(session, AlertKind.STRIPE_VALUE_UNKNOWN, object_id=object_id, now=now)
