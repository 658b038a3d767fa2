"""Early fraud warnings: a card network reports a payment as likely fraudulent, before any dispute.

While something can be done about one (the payment is neither refunded nor disputed), it is an open
alert. https://docs.stripe.com/disputes/measuring#early-fraud-warnings
"""

from sqlalchemy import String
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, mapped_column

from payments.core.calendar import from_unix
from payments.infra import alerts, db, stripe_account, stripe_client
from payments.infra.alerts import AlertKind
from payments.infra.context import Context


class FraudWarning(db.Base):
    """Stripe's early fraud warning as last fetched."""

    __tablename__ = "fraud_warnings"

    stripe_warning_id: Mapped[db.StripeId] = mapped_column(primary_key=True)
    stripe_charge_id: Mapped[db.StripeId] = mapped_column(index=True)
    fraud_type: Mapped[str] = mapped_column(String(64))  # Stripe's word
    actionable: Mapped[bool]  # neither refunded nor disputed yet
    warned_at: Mapped[db.Timestamp] = mapped_column(index=True)
    synced_at: Mapped[db.Timestamp]


async def sync(ctx: Context, warning_id: str) -> None:
    """Fetch a warning as it is now, store it, and open or close its alert."""
    with stripe_client.translate_errors():
        fetched = await ctx.stripe.v1.radar.early_fraud_warnings.retrieve_async(warning_id)
    charge_id = stripe_client.id_of(fetched.charge)
    assert charge_id is not None
    changing = {"actionable": fetched.actionable, "synced_at": ctx.now()}
    async with ctx.sessions.begin() as session:
        await session.execute(
            insert(FraudWarning)
            .values(
                stripe_warning_id=fetched.id,
                stripe_charge_id=charge_id,
                fraud_type=fetched.fraud_type[:64],
                warned_at=from_unix(fetched.created),
                **changing,
            )
            .on_conflict_do_update(index_elements=["stripe_warning_id"], set_=changing)
        )
        is_history = await stripe_account.is_history(session, from_unix(fetched.created))
        applies = fetched.actionable and not is_history
        change = alerts.raise_alert if applies else alerts.close
        await change(session, AlertKind.FRAUD_WARNING, object_id=fetched.id, now=ctx.now())
