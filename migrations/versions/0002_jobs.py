"""The job engine's tables, as procrastinate 3.10 makes them.

A newer engine is a new revision that runs the engine's own migration files, never an edit here.
"""

from collections.abc import Sequence

from alembic import op
from procrastinate.schema import SchemaManager

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.get_bind().exec_driver_sql(SchemaManager.get_schema().replace("%", "%%"))


def downgrade() -> None:
    op.execute("""
        DO $$ DECLARE thing record; BEGIN
            DROP TABLE procrastinate_events, procrastinate_periodic_defers, procrastinate_jobs,
                       procrastinate_workers CASCADE;
            FOR thing IN SELECT oid::regprocedure AS name FROM pg_proc
                          WHERE pronamespace = 'public'::regnamespace
                            AND proname LIKE 'procrastinate%'
            LOOP EXECUTE 'DROP FUNCTION ' || thing.name || ' CASCADE'; END LOOP;
            DROP TYPE procrastinate_job_to_defer_v1, procrastinate_job_status,
                      procrastinate_job_event_type CASCADE;
        END $$
    """)
