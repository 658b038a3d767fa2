"""The spine: contributions, charges, promises, payouts, the books, staff.

The books are append-only twice over: a trigger refuses UPDATE, DELETE and TRUNCATE to everybody,
and the role the service works as was never given them.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0001"
down_revision: str | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

ROLE = "payments_app"
APPEND_ONLY = ("balance_transactions", "ledger_entries", "stripe_events")


def upgrade() -> None:
    tables()
    append_only()
    grants()


def append_only() -> None:
    op.execute("""
        CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
        END $$
    """)
    for table in APPEND_ONLY:
        op.execute(f"""
            CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()
        """)


def grants() -> None:
    """One role for the service in every database of a cluster; it owns nothing."""
    op.execute(f"""
        DO $$ BEGIN CREATE ROLE {ROLE} NOLOGIN;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$
    """)
    op.execute(f"GRANT {ROLE} TO CURRENT_USER")
    op.execute(f"GRANT USAGE ON SCHEMA public TO {ROLE}")
    everything = "SELECT, INSERT, UPDATE, DELETE"
    op.execute(f"ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT {everything} ON TABLES TO {ROLE}")
    op.execute(
        f"ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE, SELECT ON SEQUENCES TO {ROLE}"
    )
    op.execute(f"GRANT {everything} ON ALL TABLES IN SCHEMA public TO {ROLE}")
    op.execute(f"GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO {ROLE}")
    for table in (*APPEND_ONLY, "alembic_version"):
        op.execute(f"REVOKE UPDATE, DELETE, TRUNCATE ON {table} FROM {ROLE}")
    op.execute(f"REVOKE INSERT ON alembic_version FROM {ROLE}")


def tables() -> None:
    op.create_table(
        "alarms",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column(
            "kind",
            sa.Enum(
                "adopted",
                "suspense",
                "unattributed",
                "books",
                "stuck",
                "after_cancel",
                name="kind_is_known",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("subject", sa.String(length=255), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alarms")),
    )
    op.create_index(
        "uq_alarms_open",
        "alarms",
        ["kind", "subject"],
        unique=True,
        postgresql_where="closed_at IS NULL",
    )
    op.create_table(
        "balance_transactions",
        sa.Column("id", sa.String(length=255), nullable=False),
        sa.Column("type", sa.String(length=64), nullable=False),
        sa.Column("reporting_category", sa.String(length=64), nullable=False),
        sa.Column("balance_type", sa.String(length=64), nullable=True),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("fee", sa.BigInteger(), nullable=False),
        sa.Column("net", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("fees", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("exchange_rate", sa.String(length=40), nullable=True),
        sa.Column("source", sa.String(length=255), nullable=True),
        sa.Column("charge", sa.String(length=255), nullable=True),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("available_on", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "currency ~ '^[a-z]{3}$'", name=op.f("ck_balance_transactions_currency_is_a_code")
        ),
        sa.CheckConstraint(
            "net = amount - fee", name=op.f("ck_balance_transactions_net_is_amount_less_fee")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_balance_transactions")),
    )
    op.create_index(
        op.f("ix_balance_transactions_charge"), "balance_transactions", ["charge"], unique=False
    )
    op.create_index(
        op.f("ix_balance_transactions_occurred_at"),
        "balance_transactions",
        ["occurred_at"],
        unique=False,
    )
    op.create_table(
        "charges",
        sa.Column("stripe_charge_id", sa.String(length=255), nullable=False),
        sa.Column("stripe_payment_intent_id", sa.String(length=255), nullable=True),
        sa.Column(
            "status",
            sa.Enum(
                "succeeded",
                "pending",
                "failed",
                name="status_is_known",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("charged_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("balance_transaction", sa.String(length=255), nullable=True),
        sa.Column("synced_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("currency ~ '^[a-z]{3}$'", name=op.f("ck_charges_currency_is_a_code")),
        sa.CheckConstraint("amount > 0", name=op.f("ck_charges_amount_is_positive")),
        sa.PrimaryKeyConstraint("stripe_charge_id", name=op.f("pk_charges")),
        sa.UniqueConstraint("balance_transaction", name=op.f("uq_charges_balance_transaction")),
    )
    op.create_index(op.f("ix_charges_charged_at"), "charges", ["charged_at"], unique=False)
    op.create_index(
        op.f("ix_charges_stripe_payment_intent_id"),
        "charges",
        ["stripe_payment_intent_id"],
        unique=False,
    )
    op.create_table(
        "contributions",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
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
        ),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column(
            "status",
            sa.Enum(
                "started",
                "open",
                "processing",
                "paid",
                "failed",
                "expired",
                name="status_is_known",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column(
            "origin",
            sa.Enum(
                "reader",
                "adopted",
                name="origin_is_known",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("campaign", sa.String(length=64), nullable=True),
        sa.Column("request_key", sa.LargeBinary(), nullable=True),
        sa.Column("request_digest", sa.LargeBinary(), nullable=True),
        sa.Column("checkout_request", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("checkout_url", sa.String(), nullable=True),
        sa.Column("stripe_session_id", sa.String(length=255), nullable=True),
        sa.CheckConstraint(
            "currency ~ '^[a-z]{3}$'", name=op.f("ck_contributions_currency_is_a_code")
        ),
        sa.CheckConstraint("amount > 0", name=op.f("ck_contributions_amount_is_positive")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_contributions")),
        sa.UniqueConstraint("request_key", name=op.f("uq_contributions_request_key")),
        sa.UniqueConstraint("stripe_session_id", name=op.f("uq_contributions_stripe_session_id")),
    )
    op.create_index(
        op.f("ix_contributions_created_at"), "contributions", ["created_at"], unique=False
    )
    op.create_index(
        "ix_contributions_unsettled",
        "contributions",
        ["created_at"],
        unique=False,
        postgresql_where="status = 'started'",
    )
    op.create_table(
        "payouts",
        sa.Column("stripe_payout_id", sa.String(length=255), nullable=False),
        sa.Column(
            "status",
            sa.Enum(
                "pending",
                "in_transit",
                "paid",
                "failed",
                "canceled",
                name="status_is_known",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("automatic", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("arrives_on", sa.Date(), nullable=False),
        sa.Column("balance_transaction", sa.String(length=255), nullable=True),
        sa.Column("synced_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("currency ~ '^[a-z]{3}$'", name=op.f("ck_payouts_currency_is_a_code")),
        sa.PrimaryKeyConstraint("stripe_payout_id", name=op.f("pk_payouts")),
    )
    op.create_index(op.f("ix_payouts_created_at"), "payouts", ["created_at"], unique=False)
    op.create_table(
        "proofs",
        sa.Column("identity", sa.String(length=40), nullable=False),
        sa.Column("says", sa.String(), nullable=False),
        sa.Column("rows", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("checked_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("identity", name=op.f("pk_proofs")),
    )
    op.create_table(
        "staff",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column(
            "role",
            sa.Enum(
                "finance",
                "admin",
                name="role_is_known",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_staff")),
        sa.UniqueConstraint("name", name=op.f("uq_staff_name")),
    )
    op.create_table(
        "stripe_events",
        sa.Column("id", sa.String(length=255), nullable=False),
        sa.Column("type", sa.String(length=255), nullable=False),
        sa.Column("object_type", sa.String(length=255), nullable=False),
        sa.Column("object_id", sa.String(length=255), nullable=True),
        sa.Column("api_version", sa.String(length=255), nullable=True),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stripe_events")),
    )
    op.create_table(
        "watermarks",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("reached", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_watermarks")),
    )
    op.create_table(
        "contribution_intents",
        sa.Column("stripe_payment_intent_id", sa.String(length=255), nullable=False),
        sa.Column("contribution_id", sa.String(length=32), nullable=False),
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
        ),
        sa.ForeignKeyConstraint(
            ["contribution_id"],
            ["contributions.id"],
            name=op.f("fk_contribution_intents_contribution_id_contributions"),
        ),
        sa.PrimaryKeyConstraint("stripe_payment_intent_id", name=op.f("pk_contribution_intents")),
    )
    op.create_index(
        op.f("ix_contribution_intents_contribution_id"),
        "contribution_intents",
        ["contribution_id"],
        unique=False,
    )
    op.create_table(
        "ledger_entries",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column(
            "debit",
            sa.Enum(
                "stripe:balance",
                "in-transit",
                "bank",
                "income:once",
                "income:monthly",
                "income:annual",
                "refunds",
                "disputes",
                "expense:processing",
                "expense:billing",
                "expense:tax",
                "expense:fx",
                "suspense",
                name="debit_is_an_account",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column(
            "credit",
            sa.Enum(
                "stripe:balance",
                "in-transit",
                "bank",
                "income:once",
                "income:monthly",
                "income:annual",
                "refunds",
                "disputes",
                "expense:processing",
                "expense:billing",
                "expense:tax",
                "expense:fx",
                "suspense",
                name="credit_is_an_account",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("balance_transaction", sa.String(length=255), nullable=False),
        sa.Column("contribution_id", sa.String(length=32), nullable=True),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint(
            "currency ~ '^[a-z]{3}$'", name=op.f("ck_ledger_entries_currency_is_a_code")
        ),
        sa.CheckConstraint("amount > 0", name=op.f("ck_ledger_entries_amount_is_positive")),
        sa.CheckConstraint("debit <> credit", name=op.f("ck_ledger_entries_ends_differ")),
        sa.CheckConstraint(
            "octet_length(hash) = 32", name=op.f("ck_ledger_entries_hash_is_sha256")
        ),
        sa.ForeignKeyConstraint(
            ["balance_transaction"],
            ["balance_transactions.id"],
            name=op.f("fk_ledger_entries_balance_transaction_balance_transactions"),
        ),
        sa.ForeignKeyConstraint(
            ["contribution_id"],
            ["contributions.id"],
            name=op.f("fk_ledger_entries_contribution_id_contributions"),
        ),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_ledger_entries")),
        sa.UniqueConstraint(
            "balance_transaction",
            "debit",
            "credit",
            name=op.f("uq_ledger_entries_balance_transaction_debit_credit"),
        ),
    )
    op.create_index(
        op.f("ix_ledger_entries_contribution_id"),
        "ledger_entries",
        ["contribution_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_ledger_entries_occurred_at"), "ledger_entries", ["occurred_at"], unique=False
    )
    op.create_table(
        "staff_links",
        sa.Column("token_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("staff_id", sa.String(length=32), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["staff_id"],
            ["staff.id"],
            name=op.f("fk_staff_links_staff_id_staff"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("token_sha256", name=op.f("pk_staff_links")),
    )
    op.create_table(
        "staff_sessions",
        sa.Column("token_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("staff_id", sa.String(length=32), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["staff_id"],
            ["staff.id"],
            name=op.f("fk_staff_sessions_staff_id_staff"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("token_sha256", name=op.f("pk_staff_sessions")),
    )
    op.create_table(
        "subscriptions",
        sa.Column("stripe_subscription_id", sa.String(length=255), nullable=False),
        sa.Column("contribution_id", sa.String(length=32), nullable=False),
        sa.Column("stripe_customer_id", sa.String(length=255), nullable=False),
        sa.Column(
            "status",
            sa.Enum(
                "active",
                "past_due",
                "unpaid",
                "canceled",
                "incomplete",
                "incomplete_expired",
                "trialing",
                "paused",
                name="status_is_known",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("renews_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("synced_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "currency ~ '^[a-z]{3}$'", name=op.f("ck_subscriptions_currency_is_a_code")
        ),
        sa.CheckConstraint("amount > 0", name=op.f("ck_subscriptions_amount_is_positive")),
        sa.ForeignKeyConstraint(
            ["contribution_id"],
            ["contributions.id"],
            name=op.f("fk_subscriptions_contribution_id_contributions"),
        ),
        sa.PrimaryKeyConstraint("stripe_subscription_id", name=op.f("pk_subscriptions")),
    )
    op.create_index(
        op.f("ix_subscriptions_contribution_id"), "subscriptions", ["contribution_id"], unique=False
    )
    op.create_index(
        op.f("ix_subscriptions_stripe_customer_id"),
        "subscriptions",
        ["stripe_customer_id"],
        unique=False,
    )
    op.create_table(
        "waiting_transactions",
        sa.Column("balance_transaction", sa.String(length=255), nullable=False),
        sa.ForeignKeyConstraint(
            ["balance_transaction"],
            ["balance_transactions.id"],
            name=op.f("fk_waiting_transactions_balance_transaction_balance_transactions"),
        ),
        sa.PrimaryKeyConstraint("balance_transaction", name=op.f("pk_waiting_transactions")),
    )


def downgrade() -> None:
    op.execute(f"DROP OWNED BY {ROLE}")  # its grants in this database; the role itself is shared
    op.drop_table("waiting_transactions")
    op.drop_index(op.f("ix_subscriptions_stripe_customer_id"), table_name="subscriptions")
    op.drop_index(op.f("ix_subscriptions_contribution_id"), table_name="subscriptions")
    op.drop_table("subscriptions")
    op.drop_table("staff_sessions")
    op.drop_table("staff_links")
    op.drop_index(op.f("ix_ledger_entries_occurred_at"), table_name="ledger_entries")
    op.drop_index(op.f("ix_ledger_entries_contribution_id"), table_name="ledger_entries")
    op.drop_table("ledger_entries")
    op.drop_index(
        op.f("ix_contribution_intents_contribution_id"), table_name="contribution_intents"
    )
    op.drop_table("contribution_intents")
    op.drop_table("watermarks")
    op.drop_table("stripe_events")
    op.drop_table("staff")
    op.drop_table("proofs")
    op.drop_index(op.f("ix_payouts_created_at"), table_name="payouts")
    op.drop_table("payouts")
    op.drop_index(
        "ix_contributions_unsettled",
        table_name="contributions",
        postgresql_where="status = 'started'",
    )
    op.drop_index(op.f("ix_contributions_created_at"), table_name="contributions")
    op.drop_table("contributions")
    op.drop_index(op.f("ix_charges_stripe_payment_intent_id"), table_name="charges")
    op.drop_index(op.f("ix_charges_charged_at"), table_name="charges")
    op.drop_table("charges")
    op.drop_index(op.f("ix_balance_transactions_occurred_at"), table_name="balance_transactions")
    op.drop_index(op.f("ix_balance_transactions_charge"), table_name="balance_transactions")
    op.drop_table("balance_transactions")
    op.drop_index("uq_alarms_open", table_name="alarms", postgresql_where="closed_at IS NULL")
    op.drop_table("alarms")
    op.execute("DROP FUNCTION refuse_change()")
