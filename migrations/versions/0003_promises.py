"""Promises: donors by keyed hash, what a promise is charged to, its history, and the mails owed."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "donors",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("address_hash", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_donors")),
        sa.UniqueConstraint("address_hash", name=op.f("uq_donors_address_hash")),
    )
    op.create_table(
        "messages",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column(
            "kind",
            sa.Enum(
                "sign_in",
                "payment_failed",
                "action_needed",
                "lapsed",
                "needs_card",
                "card_changed",
                "card_expiring",
                "renews_soon",
                "amount_changed",
                "frequency_changed",
                "skipped",
                "paused",
                "resumed",
                "stopped",
                name="kind_is_known",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column(
            "status",
            sa.Enum(
                "waiting",
                "sent",
                "dropped",
                name="status_is_known",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("subscription_id", sa.String(length=255), nullable=True),
        sa.Column("subject", sa.String(length=255), nullable=True),
        sa.Column("facts", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("language", sa.String(length=8), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_messages")),
        sa.UniqueConstraint("key", name=op.f("uq_messages_key")),
    )
    op.create_index(op.f("ix_messages_created_at"), "messages", ["created_at"], unique=False)
    op.create_index(
        op.f("ix_messages_subscription_id"), "messages", ["subscription_id"], unique=False
    )
    op.create_table(
        "sign_ins",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("address_hash", sa.LargeBinary(), nullable=False),
        sa.Column("browser_hash", sa.LargeBinary(), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(), nullable=True),
        sa.Column("code_hash", sa.LargeBinary(), nullable=True),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sign_ins")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_sign_ins_token_hash")),
    )
    op.create_index(op.f("ix_sign_ins_address_hash"), "sign_ins", ["address_hash"], unique=False)
    op.create_index(op.f("ix_sign_ins_asked_at"), "sign_ins", ["asked_at"], unique=False)
    op.create_table(
        "subscription_changes",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("subscription_id", sa.String(length=255), nullable=False),
        sa.Column(
            "kind",
            sa.Enum(
                "amount",
                "frequency",
                "card",
                "skipped",
                "paused",
                "resumed",
                "stopped",
                "lapsed",
                name="kind_is_known",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column(
            "by",
            sa.Enum(
                "donor",
                "link",
                "staff",
                "stripe",
                name="by_is_known",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("done_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_subscription_changes")),
    )
    op.create_index(
        op.f("ix_subscription_changes_subscription_id"),
        "subscription_changes",
        ["subscription_id"],
        unique=False,
    )
    op.create_table(
        "donor_customers",
        sa.Column("stripe_customer_id", sa.String(length=255), nullable=False),
        sa.Column("donor_id", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(
            ["donor_id"], ["donors.id"], name=op.f("fk_donor_customers_donor_id_donors")
        ),
        sa.PrimaryKeyConstraint("stripe_customer_id", name=op.f("pk_donor_customers")),
    )
    op.create_index(
        op.f("ix_donor_customers_donor_id"), "donor_customers", ["donor_id"], unique=False
    )
    op.create_table(
        "donor_sessions",
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("donor_id", sa.String(length=32), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["donor_id"],
            ["donors.id"],
            name=op.f("fk_donor_sessions_donor_id_donors"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_donor_sessions")),
    )
    op.add_column(
        "contributions",
        sa.Column("language", sa.String(length=8), server_default="en", nullable=False),
    )
    op.add_column("contributions", sa.Column("donor_id", sa.String(length=32), nullable=True))
    op.create_index(op.f("ix_contributions_donor_id"), "contributions", ["donor_id"], unique=False)
    op.create_foreign_key(
        op.f("fk_contributions_donor_id_donors"), "contributions", "donors", ["donor_id"], ["id"]
    )
    op.add_column(
        "subscriptions",
        sa.Column(
            "frequency",
            sa.Enum(
                "once",
                "monthly",
                "annual",
                name="frequency_is_known",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
            server_default="monthly",  # until the next sync
        ),
    )
    op.add_column(
        "subscriptions",
        sa.Column("stripe_price_id", sa.String(length=255), nullable=False, server_default=""),
    )
    op.add_column(
        "subscriptions", sa.Column("stripe_payment_method_id", sa.String(length=255), nullable=True)
    )
    op.add_column("subscriptions", sa.Column("card_expires_on", sa.Date(), nullable=True))
    op.add_column(
        "subscriptions",
        sa.Column("pauses", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
    op.add_column(
        "subscriptions", sa.Column("resumes_at", sa.DateTime(timezone=True), nullable=True)
    )
    for column in ("frequency", "stripe_price_id", "pauses"):
        op.alter_column("subscriptions", column, server_default=None)
    op.create_index(
        op.f("ix_subscriptions_renews_at"), "subscriptions", ["renews_at"], unique=False
    )
    op.create_index(
        op.f("ix_subscriptions_stripe_payment_method_id"),
        "subscriptions",
        ["stripe_payment_method_id"],
        unique=False,
    )


def downgrade() -> None:
    op.drop_index(op.f("ix_subscriptions_stripe_payment_method_id"), table_name="subscriptions")
    op.drop_index(op.f("ix_subscriptions_renews_at"), table_name="subscriptions")
    op.drop_column("subscriptions", "resumes_at")
    op.drop_column("subscriptions", "pauses")
    op.drop_column("subscriptions", "card_expires_on")
    op.drop_column("subscriptions", "stripe_payment_method_id")
    op.drop_column("subscriptions", "stripe_price_id")
    op.drop_column("subscriptions", "frequency")
    op.drop_constraint(
        op.f("fk_contributions_donor_id_donors"), "contributions", type_="foreignkey"
    )
    op.drop_index(op.f("ix_contributions_donor_id"), table_name="contributions")
    op.drop_column("contributions", "donor_id")
    op.drop_column("contributions", "language")
    op.drop_table("donor_sessions")
    op.drop_index(op.f("ix_donor_customers_donor_id"), table_name="donor_customers")
    op.drop_table("donor_customers")
    op.drop_index(
        op.f("ix_subscription_changes_subscription_id"), table_name="subscription_changes"
    )
    op.drop_table("subscription_changes")
    op.drop_index(op.f("ix_sign_ins_asked_at"), table_name="sign_ins")
    op.drop_index(op.f("ix_sign_ins_address_hash"), table_name="sign_ins")
    op.drop_table("sign_ins")
    op.drop_index(op.f("ix_messages_subscription_id"), table_name="messages")
    op.drop_index(op.f("ix_messages_created_at"), table_name="messages")
    op.drop_table("messages")
    op.drop_table("donors")
