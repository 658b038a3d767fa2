"""Buckets, spent proofs of work, the breaker.

Buckets are not logged: what a network prefix is hashed to reaches no archive and no replica, and a
crash costs one period of limits.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from migrations import words

revision: str = "0009"
down_revision: str | None = "0008"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

ALARM = "card_testing"


def upgrade() -> None:
    op.create_table(
        "shield_buckets",
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("full_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("made_on", sa.Date(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_shield_buckets")),
        prefixes=["UNLOGGED"],
    )
    op.create_table(
        "shield_spent",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("forget_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_shield_spent")),
    )
    op.create_table(
        "shield_state",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("paused_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("elevated_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("judged_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("trips", sa.Integer(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_shield_state_there_is_one")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_shield_state")),
    )
    words.allow("alarms", "kind", ALARM)


def downgrade() -> None:
    words.forbid("alarms", "kind", ALARM)
    op.drop_table("shield_state")
    op.drop_table("shield_spent")
    op.drop_table("shield_buckets")
