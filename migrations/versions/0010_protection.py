"""Donor safety: quarantine, silence and the emergency stop."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from migrations import words

revision: str = "0010"
down_revision: str | None = "0009"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

ALARMS = ("quarantined", "statement")
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column(
        "contributions",
        sa.Column("protected", sa.Boolean(), server_default=sa.text("false"), nullable=False),
    )
    op.create_table(
        "silences",
        sa.Column("stripe_subscription_id", sa.String(length=255), nullable=False),
        sa.Column("since", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("stripe_subscription_id", name=op.f("pk_silences")),
    )
    op.create_table(
        "quarantines",
        sa.Column("stripe_charge_id", sa.String(length=255), nullable=False),
        sa.Column("found_at", MOMENT, nullable=False),
        sa.Column("done_at", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("stripe_charge_id", name=op.f("pk_quarantines")),
    )
    op.create_table(
        "shreddings",
        sa.Column("shredded_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("shredded_at", name=op.f("pk_shreddings")),
    )
    _stops()
    words.allow("alarms", "kind", *ALARMS)


def _stops() -> None:
    op.create_table(
        "stops",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("group", sa.String(length=40), nullable=False),
        sa.Column("mode", sa.String(length=40), nullable=False),
        sa.Column("decided_at", MOMENT, nullable=False),
        sa.Column("listed_at", MOMENT, nullable=True),
        sa.Column("ended_at", MOMENT, nullable=True),
        sa.CheckConstraint(
            "\"group\" IN ('protected', 'all')", name=op.f("ck_stops_group_is_known")
        ),
        sa.CheckConstraint("mode IN ('pause', 'cancel')", name=op.f("ck_stops_mode_is_known")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stops")),
    )
    op.create_index(
        "uq_stops_open",
        "stops",
        ["group", "mode"],
        unique=True,
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_table(
        "stop_steps",
        sa.Column("stop_id", sa.String(length=32), nullable=False),
        sa.Column("stripe_subscription_id", sa.String(length=255), nullable=False),
        sa.Column("state", sa.String(length=40), nullable=False),
        sa.Column("tried", sa.Integer(), nullable=False),
        sa.CheckConstraint(
            "state IN ('waiting', 'done', 'gone', 'refused')",
            name=op.f("ck_stop_steps_state_is_known"),
        ),
        sa.ForeignKeyConstraint(
            ["stop_id"], ["stops.id"], name=op.f("fk_stop_steps_stop_id_stops"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("stop_id", "stripe_subscription_id", name=op.f("pk_stop_steps")),
    )


def downgrade() -> None:
    words.forbid("alarms", "kind", *ALARMS)
    op.drop_table("stop_steps")
    op.drop_index("uq_stops_open", table_name="stops")
    op.drop_table("stops")
    op.drop_table("shreddings")
    op.drop_table("quarantines")
    op.drop_table("silences")
    op.drop_column("contributions", "protected")
