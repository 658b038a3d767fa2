"""Cohorts and recovery are kept by month like the roll-forward, and forgotten like it."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0014"
down_revision: str | None = "0013"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# Who writes what months follow from waits for whoever keeps one, and then takes it away.
FORGET_MONTHS = """
CREATE FUNCTION forget_months(of text, since date, last date) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(hashtext('recurring_months'), hashtext(of));
    DELETE FROM recurring_months
     WHERE kind = of AND month >= since AND (last IS NULL OR month <= last);
END $$
"""
# No zone is more than 12 hours behind, or 14 before.
OF_PROMISES = """
CREATE OR REPLACE FUNCTION forget_recurring_months() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM forget_months('forward', CAST(date_trunc('month',
        NEW.done_at AT TIME ZONE 'UTC' - interval '12 hours') AS date), NULL);
    RETURN NULL;
END $$
"""
# A charge tells of its own intent, whether it was mended, and of those after it, that they are
# renewals.
OF_CHARGES = """
CREATE FUNCTION forget_recovery() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    failed timestamp;
BEGIN
    FOR failed IN
        SELECT c.charged_at AT TIME ZONE 'UTC'
          FROM contribution_intents i
          JOIN contribution_intents j ON j.contribution_id = i.contribution_id
          JOIN charges c ON c.stripe_payment_intent_id = j.stripe_payment_intent_id
         WHERE i.stripe_payment_intent_id = NEW.stripe_payment_intent_id AND c.status = 'failed'
           AND c.charged_at >= (
               SELECT min(x.charged_at) FROM charges x
                WHERE x.stripe_payment_intent_id = NEW.stripe_payment_intent_id)
    LOOP
        PERFORM forget_months('recovery',
            CAST(date_trunc('month', failed - interval '12 hours') AS date),
            CAST(date_trunc('month', failed + interval '14 hours') AS date));
    END LOOP;
    RETURN NULL;
END $$
"""
TRIGGERS = (
    """
    CREATE TRIGGER forget_recovery AFTER INSERT ON charges
    FOR EACH ROW EXECUTE FUNCTION forget_recovery()
    """,
    """
    CREATE TRIGGER forget_recovery_changed AFTER UPDATE ON charges
    FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION forget_recovery()
    """,
    """
    CREATE TRIGGER forget_recovery AFTER INSERT ON contribution_intents
    FOR EACH ROW EXECUTE FUNCTION forget_recovery()
    """,
)
# As it was in 0008.
OF_PROMISES_BEFORE = """
CREATE OR REPLACE FUNCTION forget_recurring_months() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM recurring_months
     WHERE month >= date_trunc('month', NEW.done_at AT TIME ZONE 'UTC' - interval '12 hours');
    RETURN NULL;
END $$
"""


def upgrade() -> None:
    op.execute("DELETE FROM recurring_months")  # the next import keeps them again
    op.add_column("recurring_months", sa.Column("kind", sa.String(length=20), nullable=False))
    op.drop_constraint(op.f("pk_recurring_months"), "recurring_months", type_="primary")
    op.create_primary_key(op.f("pk_recurring_months"), "recurring_months", ["kind", "month"])
    for statement in (FORGET_MONTHS, OF_PROMISES, OF_CHARGES, *TRIGGERS):
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TRIGGER forget_recovery ON contribution_intents")
    op.execute("DROP TRIGGER forget_recovery_changed ON charges")
    op.execute("DROP TRIGGER forget_recovery ON charges")
    op.execute("DROP FUNCTION forget_recovery()")
    op.execute(OF_PROMISES_BEFORE)
    op.execute("DROP FUNCTION forget_months(text, date, date)")
    op.execute("DELETE FROM recurring_months")
    op.drop_constraint(op.f("pk_recurring_months"), "recurring_months", type_="primary")
    op.drop_column("recurring_months", "kind")
    op.create_primary_key(op.f("pk_recurring_months"), "recurring_months", ["month"])
