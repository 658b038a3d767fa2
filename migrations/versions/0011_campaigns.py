"""Campaigns and their variants, and how often a story led to a gift."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0011"
down_revision: str | None = "0010"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "campaigns",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("terms", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("began_at", MOMENT, nullable=False),
        sa.Column("changed_at", MOMENT, nullable=False),
        sa.CheckConstraint("round > 0 AND version > 0", name=op.f("ck_campaigns_counted_from_one")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_campaigns")),
    )
    op.create_table(
        "campaign_counts",
        sa.Column("campaign", sa.String(length=64), nullable=False),
        sa.Column("variant", sa.String(length=32), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("shown", sa.Integer(), nullable=False),
        sa.CheckConstraint("shown > 0", name=op.f("ck_campaign_counts_shown_is_positive")),
        sa.PrimaryKeyConstraint("campaign", "variant", "day", name=op.f("pk_campaign_counts")),
    )
    op.create_table(
        "article_counts",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("article", sa.String(length=64), nullable=False),
        sa.Column("starts", sa.Integer(), nullable=False),
        sa.CheckConstraint(
            "starts % 10 = 0 AND starts > 0", name=op.f("ck_article_counts_starts_are_tens")
        ),
        sa.PrimaryKeyConstraint("day", "article", name=op.f("pk_article_counts")),
    )
    op.add_column("contributions", sa.Column("variant", sa.String(length=32), nullable=True))
    op.create_index(
        "ix_contributions_variant",
        "contributions",
        ["campaign", "created_at"],
        unique=False,
        postgresql_where=sa.text("variant IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_contributions_variant", table_name="contributions")
    op.drop_column("contributions", "variant")
    op.drop_table("article_counts")
    op.drop_table("campaign_counts")
    op.drop_table("campaigns")
