"""Periods: months that finance has closed, and the lines that came too late for theirs."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0013"
down_revision: str | None = "0012"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# Whoever appends to the books, a row of a closed month is marked in the same transaction.
MARK_LATE = """
CREATE FUNCTION mark_late_line() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    last period_closings%ROWTYPE;
    opens date;
BEGIN
    SELECT * INTO last FROM period_closings WHERE reopened_at IS NULL ORDER BY month DESC LIMIT 1;
    IF FOUND THEN
        opens := (last.month + interval '1 month')::date;
        IF (NEW.occurred_at AT TIME ZONE last.zone)::date < opens THEN
            INSERT INTO late_lines (seq, booked_on) VALUES (NEW.seq, opens);
        END IF;
    END IF;
    RETURN NULL;
END $$
"""
TRIGGER = """
CREATE TRIGGER mark_late_line AFTER INSERT ON ledger_entries
FOR EACH ROW EXECUTE FUNCTION mark_late_line()
"""


def upgrade() -> None:
    op.create_table(
        "period_closings",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("zone", sa.String(length=64), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed_by", sa.String(length=80), nullable=False),
        sa.Column("ledger_through", sa.BigInteger(), nullable=False),
        sa.Column("chain_head", sa.LargeBinary(), nullable=False),
        sa.Column("proofs", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("manifest_hash", sa.LargeBinary(), nullable=True),
        sa.Column("pack", sa.LargeBinary(), nullable=True),
        sa.Column("reopened_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reopened_by", sa.String(length=80), nullable=True),
        sa.Column("reopened_why", sa.String(length=200), nullable=True),
        sa.CheckConstraint(
            "extract(day FROM month) = 1", name=op.f("ck_period_closings_month_begins")
        ),
        sa.CheckConstraint(
            "(reopened_at IS NULL) = (reopened_by IS NULL)"
            " AND (reopened_at IS NULL) = (reopened_why IS NULL)",
            name=op.f("ck_period_closings_reopened_with_reason"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_period_closings")),
    )
    op.create_index(
        "uq_period_closings_closed",
        "period_closings",
        ["month"],
        unique=True,
        postgresql_where=sa.text("reopened_at IS NULL"),
    )
    op.create_table(
        "late_lines",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("booked_on", sa.Date(), nullable=False),
        sa.ForeignKeyConstraint(
            ["seq"], ["ledger_entries.seq"], name=op.f("fk_late_lines_seq_ledger_entries")
        ),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_late_lines")),
    )
    op.create_index(op.f("ix_late_lines_booked_on"), "late_lines", ["booked_on"])
    op.execute(MARK_LATE)
    op.execute(TRIGGER)


def downgrade() -> None:
    op.execute("DROP TRIGGER mark_late_line ON ledger_entries")
    op.execute("DROP FUNCTION mark_late_line()")
    op.drop_table("late_lines")
    op.drop_table("period_closings")
