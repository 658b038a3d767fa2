"""Refusals of Stripe's that a person must repair: a key it does not accept, a missing permission.

They are seen where every request passes, so that none is missed, whoever asked and whatever they
made of the answer.
"""

from collections.abc import Callable
from datetime import datetime

import structlog
from sqlalchemy.exc import SQLAlchemyError

from payments.infra import alerts, db, stripe_client
from payments.infra.alerts import AlertKind
from payments.infra.stripe_client import OnRefusal

log = structlog.get_logger("payments.infra.stripe_refusals")
KEY_OBJECT_ID = "stripe_api_key"  # the alert's object: there is one key


def alert_on_refusal(sessions: db.SessionFactory, now: Callable[[], datetime]) -> OnRefusal:
    """Return what a Stripe client calls for each refusal: it raises an alert.

    Where the database is away there is no alert, and the request goes on to its caller all the
    same.
    """

    async def raise_alert(status: int, body: bytes) -> None:
        kind, object_id = AlertKind.STRIPE_KEY_REFUSED, KEY_OBJECT_ID
        if status == stripe_client.HTTP_FORBIDDEN:
            kind = AlertKind.STRIPE_PERMISSION_MISSING
            object_id = stripe_client.missing_permission(body.decode(errors="replace"))
        log.warning(kind.value, object_id=object_id)
        try:
            async with sessions.begin() as session:
                if kind is AlertKind.STRIPE_PERMISSION_MISSING and await alerts.is_open(
                    session, AlertKind.STRIPE_KEY_REFUSED, object_id=KEY_OBJECT_ID
                ):
                    return  # a key that may do nothing is one alert
                await alerts.raise_alert(session, kind, object_id=object_id, now=now())
        except (SQLAlchemyError, OSError):
            log.warning("alert_not_stored", exc_info=True)

    return raise_alert
