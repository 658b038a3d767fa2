"""Promises for life: the day that was set for an end, the anchor of the charges, payments that
banks took back, and what keeps an erased donor from coming back by late word.
"""

from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# (table, column, name of its check) -> the words it had
BEFORE: Mapping[tuple[str, str, str], tuple[str, ...]] = {
    ("alarms", "kind", "kind_is_known"): (
        *("adopted", "suspense", "unattributed", "books", "stuck", "after_cancel"),
    ),
    ("charges", "status", "status_is_known"): ("succeeded", "pending", "failed"),
    ("contributions", "status", "status_is_known"): (
        *("started", "open", "processing", "paid", "failed", "expired"),
    ),
    ("messages", "kind", "kind_is_known"): (
        *("sign_in", "payment_failed", "action_needed", "lapsed", "needs_card", "card_changed"),
        *("card_expiring", "renews_soon", "amount_changed", "frequency_changed", "skipped"),
        *("paused", "resumed", "stopped"),
    ),
    ("subscription_changes", "kind", "kind_is_known"): (
        *("amount", "frequency", "card", "skipped", "paused", "resumed", "stopped", "lapsed"),
    ),
}
ADDED: Mapping[str, tuple[str, ...]] = {
    "alarms": ("many_links",),
    "charges": ("returned",),
    "contributions": ("returned",),
    "messages": ("ending", "kept"),
    "subscription_changes": ("ending", "kept"),
}


def _may_be(table: str, column: str, check: str, words: Sequence[str]) -> None:
    """Let a column hold these words and no other."""
    name = op.f(f"ck_{table}_{check}")
    op.drop_constraint(name, table, type_="check")
    listed = ", ".join(f"'{word}'" for word in words)
    op.create_check_constraint(name, table, f"{column} IN ({listed})")


def upgrade() -> None:
    for (table, column, check), words in BEFORE.items():
        _may_be(table, column, check, (*words, *ADDED[table]))
    op.create_table(
        "erasures",
        sa.Column("address_hash", sa.LargeBinary(), nullable=False),
        sa.Column("erased_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("address_hash", name=op.f("pk_erasures")),
    )
    moment = sa.DateTime(timezone=True)
    op.add_column("contributions", sa.Column("settled_at", moment, nullable=True))
    op.execute(
        "UPDATE contributions SET settled_at = created_at"
        " WHERE status IN ('paid', 'failed', 'expired')"
    )
    op.add_column("subscriptions", sa.Column("ends_at", moment, nullable=True))
    op.add_column("subscriptions", sa.Column("anchored_at", moment, nullable=True))
    op.execute("UPDATE subscriptions SET anchored_at = started_at")
    op.alter_column("subscriptions", "anchored_at", nullable=False)
    op.add_column(
        "subscription_changes",
        sa.Column("stripe_setup_intent_id", sa.String(length=255), nullable=True),
    )
    op.create_unique_constraint(
        op.f("uq_subscription_changes_stripe_setup_intent_id"),
        "subscription_changes",
        ["stripe_setup_intent_id"],
    )


def downgrade() -> None:
    op.drop_column("subscription_changes", "stripe_setup_intent_id")
    op.drop_column("subscriptions", "anchored_at")
    op.drop_column("subscriptions", "ends_at")
    op.drop_column("contributions", "settled_at")
    op.drop_table("erasures")
    op.execute("UPDATE charges SET status = 'failed' WHERE status = 'returned'")
    op.execute("UPDATE contributions SET status = 'failed' WHERE status = 'returned'")
    for table in ("alarms", "messages", "subscription_changes"):
        gone = ", ".join(f"'{word}'" for word in ADDED[table])
        op.execute(f"DELETE FROM {table} WHERE kind IN ({gone})")  # noqa: S608 - words of ours
    for (table, column, check), words in BEFORE.items():
        _may_be(table, column, check, words)
