"""The daily roll-up of the books, the months of recurring revenue, and indexes for reports."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0008"
down_revision: str | None = "0007"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# What changed a promise in a month that is reckoned already. No zone is more than 12 hours behind.
FORGET = """
CREATE FUNCTION forget_recurring_months() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM recurring_months
     WHERE month >= date_trunc('month', NEW.done_at AT TIME ZONE 'UTC' - interval '12 hours');
    RETURN NULL;
END $$
"""
TRIGGER = """
CREATE TRIGGER forget_recurring_months AFTER INSERT OR UPDATE ON subscription_changes
FOR EACH ROW WHEN (NEW.done_at IS NOT NULL) EXECUTE FUNCTION forget_recurring_months()
"""


def upgrade() -> None:
    op.create_table(
        "rollup_marks",
        sa.Column("zone", sa.String(length=64), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("zone", name=op.f("pk_rollup_marks")),
    )
    op.create_table(
        "ledger_days",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("frequency", sa.String(length=40), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("debit", sa.String(length=40), nullable=False),
        sa.Column("credit", sa.String(length=40), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("entries", sa.Integer(), nullable=False),
        sa.Column("givers", sa.Integer(), nullable=False),
        sa.Column("newcomers", sa.Integer(), nullable=False),
        sa.CheckConstraint("amount > 0", name=op.f("ck_ledger_days_amount_is_positive")),
        sa.CheckConstraint(
            "currency ~ '^[a-z]{3}$'", name=op.f("ck_ledger_days_currency_is_a_code")
        ),
        sa.PrimaryKeyConstraint(
            "day", "frequency", "currency", "debit", "credit", name=op.f("pk_ledger_days")
        ),
    )
    op.create_table(
        "recurring_months",
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("figures", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("month", name=op.f("pk_recurring_months")),
    )
    op.execute(FORGET)
    op.execute(TRIGGER)
    op.create_index(
        "ix_ledger_entries_paid",
        "ledger_entries",
        ["contribution_id", "occurred_at"],
        postgresql_where=sa.text("credit LIKE 'income:%'"),
    )
    op.create_index(op.f("ix_balance_transactions_source"), "balance_transactions", ["source"])
    op.create_index(op.f("ix_stripe_events_object_id"), "stripe_events", ["object_id"])


def downgrade() -> None:
    op.drop_index(op.f("ix_stripe_events_object_id"), "stripe_events")
    op.drop_index(op.f("ix_balance_transactions_source"), "balance_transactions")
    op.drop_index("ix_ledger_entries_paid", "ledger_entries")
    op.execute("DROP TRIGGER forget_recurring_months ON subscription_changes")
    op.execute("DROP FUNCTION forget_recurring_months()")
    op.drop_table("recurring_months")
    op.drop_table("ledger_days")
    op.drop_table("rollup_marks")
