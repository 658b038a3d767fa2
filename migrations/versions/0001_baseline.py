"""The schema of the first release: the job engine, the tables by room, triggers, and one role.

Nothing was released before it. From the first tag on a released revision is never edited: a change
is a new revision after it.

The books and the other records of fact are append-only twice over: a trigger refuses UPDATE, DELETE
and TRUNCATE to everybody, and the role the service works as was never given them.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from procrastinate.schema import SchemaManager
from sqlalchemy.dialects.postgresql import JSONB

revision: str = "0001"
down_revision: str | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

TIMESTAMP = sa.DateTime(timezone=True)
ROLE = "payments_app"
APPEND_ONLY = (
    "audit_entries",
    "balance_transactions",
    "ledger_entries",
    "payout_transactions",
    "stripe_events",
    "verified_heads",
)


def upgrade() -> None:
    donors_tables()
    staff_tables()
    giving_tables()
    ledger_tables()
    settlement_tables()
    accounting_tables()
    mail_tables()
    risk_tables()
    signups_tables()
    safety_tables()
    infra_tables()
    webhooks_tables()
    append_only()
    late_entries()
    snapshot_invalidation()
    job_engine()
    grants()


def downgrade() -> None:
    op.execute(f"DROP OWNED BY {ROLE}")  # its grants in this database; the role itself is shared
    drop_job_engine()
    for table in reversed(TABLES):
        op.drop_table(table)
    for function in FUNCTIONS:
        op.execute(f"DROP FUNCTION {function}")


# --- rules that the database keeps ----------------------------------------------------------------


FUNCTIONS = (
    "refuse_change()",
    "mark_late_entry()",
    "invalidate_mrr_snapshots()",
    "invalidate_recovery_snapshots()",
    "invalidate_snapshots(text, date, date)",
)


def append_only() -> None:
    """Refuse UPDATE, DELETE and TRUNCATE to everybody, the owner included."""
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


def late_entries() -> None:
    """Mark an entry of a closed month, in the transaction that appends it, whoever appends it."""
    op.execute("""
        CREATE FUNCTION mark_late_entry() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE
            last period_closings%ROWTYPE;
            opens date;
        BEGIN
            SELECT * INTO last FROM period_closings
             WHERE reopened_at IS NULL ORDER BY month DESC LIMIT 1;
            IF FOUND THEN
                opens := (last.month + interval '1 month')::date;
                IF (NEW.occurred_at AT TIME ZONE last.zone)::date < opens THEN
                    INSERT INTO late_entries (seq, booked_on) VALUES (NEW.seq, opens);
                END IF;
            END IF;
            RETURN NULL;
        END $$
    """)
    op.execute("""
        CREATE TRIGGER mark_late_entry AFTER INSERT ON ledger_entries
        FOR EACH ROW EXECUTE FUNCTION mark_late_entry()
    """)


def snapshot_invalidation() -> None:
    """Delete the snapshots of the months whose figures a new row changes.

    Whoever writes such a row waits for whoever computes a snapshot, and deletes it afterwards. No
    time zone is more than 12 hours behind UTC or 14 hours ahead of it.
    """
    op.execute("""
        CREATE FUNCTION invalidate_snapshots(of text, since date, last date) RETURNS void
        LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM pg_advisory_xact_lock_shared(hashtext('month_snapshots'), hashtext(of));
            DELETE FROM month_snapshots
             WHERE kind = of AND month >= since AND (last IS NULL OR month <= last);
        END $$
    """)
    op.execute("""
        CREATE FUNCTION invalidate_mrr_snapshots() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM invalidate_snapshots('mrr_rollforward', CAST(date_trunc('month',
                NEW.done_at AT TIME ZONE 'UTC' - interval '12 hours') AS date), NULL);
            RETURN NULL;
        END $$
    """)
    op.execute("""
        CREATE TRIGGER invalidate_mrr_snapshots AFTER INSERT OR UPDATE ON subscription_changes
        FOR EACH ROW WHEN (NEW.done_at IS NOT NULL) EXECUTE FUNCTION invalidate_mrr_snapshots()
    """)
    # A charge decides about its own payment intent, whether it recovered, and about the intents
    # after it, that they are renewals.
    op.execute("""
        CREATE FUNCTION invalidate_recovery_snapshots() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE
            failed timestamp;
        BEGIN
            FOR failed IN
                SELECT c.charged_at AT TIME ZONE 'UTC'
                  FROM payment_intent_links i
                  JOIN payment_intent_links j ON j.contribution_id = i.contribution_id
                  JOIN charges c ON c.stripe_payment_intent_id = j.stripe_payment_intent_id
                 WHERE i.stripe_payment_intent_id = NEW.stripe_payment_intent_id
                   AND c.status = 'failed'
                   AND c.charged_at >= (
                       SELECT min(x.charged_at) FROM charges x
                        WHERE x.stripe_payment_intent_id = NEW.stripe_payment_intent_id)
            LOOP
                PERFORM invalidate_snapshots('payment_recovery',
                    CAST(date_trunc('month', failed - interval '12 hours') AS date),
                    CAST(date_trunc('month', failed + interval '14 hours') AS date));
            END LOOP;
            RETURN NULL;
        END $$
    """)
    op.execute("""
        CREATE TRIGGER invalidate_recovery_snapshots AFTER INSERT ON charges
        FOR EACH ROW EXECUTE FUNCTION invalidate_recovery_snapshots()
    """)
    op.execute("""
        CREATE TRIGGER invalidate_recovery_snapshots_changed AFTER UPDATE ON charges
        FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status)
        EXECUTE FUNCTION invalidate_recovery_snapshots()
    """)
    op.execute("""
        CREATE TRIGGER invalidate_recovery_snapshots AFTER INSERT ON payment_intent_links
        FOR EACH ROW EXECUTE FUNCTION invalidate_recovery_snapshots()
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


# --- the job engine -------------------------------------------------------------------------------


def job_engine() -> None:
    """The tables of procrastinate 3.10. A newer engine needs a revision that runs its files."""
    op.get_bind().exec_driver_sql(SchemaManager.get_schema().replace("%", "%%"))


def drop_job_engine() -> None:
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


# --- tables, by the room that owns them -----------------------------------------------------------


def words(name: str, length: int, values: str) -> sa.Enum:
    """A text column that holds one of these words, by a CHECK of this name."""
    return sa.Enum(
        *values.split(), name=name, native_enum=False, create_constraint=True, length=length
    )


TABLES = (
    "donors",
    "erasures",
    "global_erasures",
    "sign_in_links",
    "donor_customers",
    "donor_sessions",
    "staff",
    "used_challenges",
    "staff_linked_accounts",
    "staff_links",
    "staff_passkeys",
    "staff_sessions",
    "article_counts",
    "campaign_impressions",
    "campaigns",
    "charges",
    "subscription_changes",
    "contributions",
    "payment_intent_links",
    "subscriptions",
    "balance_transactions",
    "unposted_transactions",
    "ledger_entries",
    "disputes",
    "fraud_warnings",
    "import_cursors",
    "payouts",
    "payout_transactions",
    "refunds",
    "daily_totals",
    "daily_totals_positions",
    "integrity_checks",
    "month_snapshots",
    "period_closings",
    "verified_heads",
    "late_entries",
    "muted_subscriptions",
    "outbox_mails",
    "bulk_stops",
    "quarantines",
    "rate_limit_buckets",
    "risk_state",
    "used_tokens",
    "bulk_stop_items",
    "confirmation_mails",
    "newsletter_signups",
    "reminder_counts",
    "suppressed_addresses",
    "reminders",
    "support_cases",
    "alerts",
    "audit_entries",
    "stripe_events",
)


def donors_tables() -> None:
    op.create_table(
        "donors",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("address_hash", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", TIMESTAMP, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_donors")),
        sa.UniqueConstraint("address_hash", name=op.f("uq_donors_address_hash")),
    )
    op.create_table(
        "erasures",
        sa.Column("address_hash", sa.LargeBinary(), nullable=False),
        sa.Column("erased_at", TIMESTAMP, nullable=False),
        sa.PrimaryKeyConstraint("address_hash", name=op.f("pk_erasures")),
    )
    op.create_table(
        "global_erasures",
        sa.Column("erased_at", TIMESTAMP, nullable=False),
        sa.PrimaryKeyConstraint("erased_at", name=op.f("pk_global_erasures")),
    )
    op.create_table(
        "sign_in_links",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("address_hash", sa.LargeBinary(), nullable=False),
        sa.Column("browser_hash", sa.LargeBinary(), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(), nullable=True),
        sa.Column("code_hash", sa.LargeBinary(), nullable=True),
        sa.Column("code_attempts", sa.Integer(), nullable=False),
        sa.Column("requested_at", TIMESTAMP, nullable=False),
        sa.Column("expires_at", TIMESTAMP, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sign_in_links")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_sign_in_links_token_hash")),
    )
    op.create_index(
        op.f("ix_sign_in_links_address_hash"), "sign_in_links", ["address_hash"], unique=False
    )
    op.create_index(
        op.f("ix_sign_in_links_requested_at"), "sign_in_links", ["requested_at"], unique=False
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
        sa.Column("expires_at", TIMESTAMP, nullable=False),
        sa.ForeignKeyConstraint(
            ["donor_id"],
            ["donors.id"],
            name=op.f("fk_donor_sessions_donor_id_donors"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_donor_sessions")),
    )


def staff_tables() -> None:
    op.create_table(
        "staff",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("role", words("role_is_known", 40, "finance support admin"), nullable=False),
        sa.Column("created_at", TIMESTAMP, nullable=False),
        sa.Column("removed_at", TIMESTAMP, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_staff")),
        sa.UniqueConstraint("name", name=op.f("uq_staff_name")),
    )
    op.create_table(
        "used_challenges",
        sa.Column("challenge_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", TIMESTAMP, nullable=False),
        sa.PrimaryKeyConstraint("challenge_sha256", name=op.f("pk_used_challenges")),
    )
    op.create_table(
        "staff_linked_accounts",
        sa.Column("staff_id", sa.String(length=32), nullable=False),
        sa.Column("subject_hash", sa.LargeBinary(), nullable=False),
        sa.Column("linked_at", TIMESTAMP, nullable=False),
        sa.Column("last_used_at", TIMESTAMP, nullable=True),
        sa.ForeignKeyConstraint(
            ["staff_id"],
            ["staff.id"],
            name=op.f("fk_staff_linked_accounts_staff_id_staff"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("staff_id", name=op.f("pk_staff_linked_accounts")),
        sa.UniqueConstraint("subject_hash", name=op.f("uq_staff_linked_accounts_subject_hash")),
    )
    op.create_table(
        "staff_links",
        sa.Column("token_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("staff_id", sa.String(length=32), nullable=False),
        sa.Column("expires_at", TIMESTAMP, nullable=False),
        sa.ForeignKeyConstraint(
            ["staff_id"],
            ["staff.id"],
            name=op.f("fk_staff_links_staff_id_staff"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("token_sha256", name=op.f("pk_staff_links")),
    )
    op.create_table(
        "staff_passkeys",
        sa.Column("credential_id", sa.LargeBinary(), nullable=False),
        sa.Column("staff_id", sa.String(length=32), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("sign_count", sa.BigInteger(), nullable=False),
        sa.Column("registered_at", TIMESTAMP, nullable=False),
        sa.Column("last_used_at", TIMESTAMP, nullable=True),
        sa.ForeignKeyConstraint(
            ["staff_id"],
            ["staff.id"],
            name=op.f("fk_staff_passkeys_staff_id_staff"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("credential_id", name=op.f("pk_staff_passkeys")),
    )
    op.create_index(
        op.f("ix_staff_passkeys_staff_id"), "staff_passkeys", ["staff_id"], unique=False
    )
    op.create_table(
        "staff_sessions",
        sa.Column("token_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("staff_id", sa.String(length=32), nullable=False),
        sa.Column("expires_at", TIMESTAMP, nullable=False),
        sa.Column("last_seen_at", TIMESTAMP, nullable=False),
        sa.Column("authenticated_at", TIMESTAMP, nullable=False),
        sa.ForeignKeyConstraint(
            ["staff_id"],
            ["staff.id"],
            name=op.f("fk_staff_sessions_staff_id_staff"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("token_sha256", name=op.f("pk_staff_sessions")),
    )


def giving_tables() -> None:
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
    op.create_table(
        "campaign_impressions",
        sa.Column("campaign", sa.String(length=64), nullable=False),
        sa.Column("variant", sa.String(length=32), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("impressions", sa.Integer(), nullable=False),
        sa.CheckConstraint(
            "impressions > 0", name=op.f("ck_campaign_impressions_shown_is_positive")
        ),
        sa.PrimaryKeyConstraint("campaign", "variant", "day", name=op.f("pk_campaign_impressions")),
    )
    op.create_table(
        "campaigns",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("config", JSONB, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("experiment_round", sa.Integer(), nullable=False),
        sa.Column("round_started_at", TIMESTAMP, nullable=False),
        sa.Column("changed_at", TIMESTAMP, nullable=False),
        sa.CheckConstraint(
            "experiment_round > 0 AND version > 0", name=op.f("ck_campaigns_counted_from_one")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_campaigns")),
    )
    op.create_table(
        "charges",
        sa.Column("stripe_charge_id", sa.String(length=255), nullable=False),
        sa.Column("stripe_payment_intent_id", sa.String(length=255), nullable=True),
        sa.Column(
            "status",
            words("status_is_known", 40, "succeeded pending failed returned"),
            nullable=False,
        ),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("charged_at", TIMESTAMP, nullable=False),
        sa.Column("balance_transaction", sa.String(length=255), nullable=True),
        sa.Column("synced_at", TIMESTAMP, nullable=False),
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
        "subscription_changes",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("subscription_id", sa.String(length=255), nullable=False),
        sa.Column(
            "kind",
            words(
                "kind_is_known",
                40,
                "amount frequency card skipped paused resumed cancelled lapsed "
                "end_scheduled end_cancelled",
            ),
            nullable=False,
        ),
        sa.Column("actor", words("by_is_known", 40, "donor link staff stripe"), nullable=False),
        sa.Column("decided_at", TIMESTAMP, nullable=False),
        sa.Column("done_at", TIMESTAMP, nullable=True),
        sa.Column("stripe_setup_intent_id", sa.String(length=255), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_subscription_changes")),
        sa.UniqueConstraint(
            "stripe_setup_intent_id", name=op.f("uq_subscription_changes_stripe_setup_intent_id")
        ),
    )
    op.create_index(
        op.f("ix_subscription_changes_subscription_id"),
        "subscription_changes",
        ["subscription_id"],
        unique=False,
    )
    op.create_table(
        "contributions",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("created_at", TIMESTAMP, nullable=False),
        sa.Column(
            "frequency", words("frequency_is_known", 40, "once monthly annual"), nullable=False
        ),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column(
            "status",
            words("status_is_known", 40, "started open processing paid failed expired returned"),
            nullable=False,
        ),
        sa.Column("origin", words("origin_is_known", 40, "reader imported"), nullable=False),
        sa.Column("campaign", sa.String(length=64), nullable=True),
        sa.Column("variant", sa.String(length=32), nullable=True),
        sa.Column("language", sa.String(length=8), server_default="en", nullable=False),
        sa.Column("donor_id", sa.String(length=32), nullable=True),
        sa.Column("idempotency_key_hash", sa.LargeBinary(), nullable=True),
        sa.Column("request_digest", sa.LargeBinary(), nullable=True),
        sa.Column("checkout_session_params", JSONB, nullable=True),
        sa.Column("checkout_url", sa.String(), nullable=True),
        sa.Column("stripe_session_id", sa.String(length=255), nullable=True),
        sa.Column("outcome_known_at", TIMESTAMP, nullable=True),
        sa.Column("protected", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.CheckConstraint(
            "currency ~ '^[a-z]{3}$'", name=op.f("ck_contributions_currency_is_a_code")
        ),
        sa.CheckConstraint("amount > 0", name=op.f("ck_contributions_amount_is_positive")),
        sa.ForeignKeyConstraint(
            ["donor_id"], ["donors.id"], name=op.f("fk_contributions_donor_id_donors")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_contributions")),
        sa.UniqueConstraint(
            "idempotency_key_hash", name=op.f("uq_contributions_idempotency_key_hash")
        ),
        sa.UniqueConstraint("stripe_session_id", name=op.f("uq_contributions_stripe_session_id")),
    )
    op.create_index(
        op.f("ix_contributions_created_at"), "contributions", ["created_at"], unique=False
    )
    op.create_index(op.f("ix_contributions_donor_id"), "contributions", ["donor_id"], unique=False)
    op.create_index(
        "ix_contributions_started",
        "contributions",
        ["created_at"],
        unique=False,
        postgresql_where="status = 'started'",
    )
    op.create_index(
        "ix_contributions_variant",
        "contributions",
        ["campaign", "created_at"],
        unique=False,
        postgresql_where="variant IS NOT NULL",
    )
    op.create_table(
        "payment_intent_links",
        sa.Column("stripe_payment_intent_id", sa.String(length=255), nullable=False),
        sa.Column("contribution_id", sa.String(length=32), nullable=False),
        sa.Column(
            "frequency", words("frequency_is_known", 40, "once monthly annual"), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["contribution_id"],
            ["contributions.id"],
            name=op.f("fk_payment_intent_links_contribution_id_contributions"),
        ),
        sa.PrimaryKeyConstraint("stripe_payment_intent_id", name=op.f("pk_payment_intent_links")),
    )
    op.create_index(
        op.f("ix_payment_intent_links_contribution_id"),
        "payment_intent_links",
        ["contribution_id"],
        unique=False,
    )
    op.create_table(
        "subscriptions",
        sa.Column("stripe_subscription_id", sa.String(length=255), nullable=False),
        sa.Column("contribution_id", sa.String(length=32), nullable=False),
        sa.Column("stripe_customer_id", sa.String(length=255), nullable=False),
        sa.Column(
            "status",
            words(
                "status_is_known",
                40,
                "active past_due unpaid canceled incomplete incomplete_expired trialing paused",
            ),
            nullable=False,
        ),
        sa.Column(
            "frequency", words("frequency_is_known", 40, "once monthly annual"), nullable=False
        ),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("stripe_price_id", sa.String(length=255), nullable=False),
        sa.Column("stripe_payment_method_id", sa.String(length=255), nullable=True),
        sa.Column("card_expires_on", sa.Date(), nullable=True),
        sa.Column("started_at", TIMESTAMP, nullable=False),
        sa.Column("billing_anchor_at", TIMESTAMP, nullable=False),
        sa.Column("scheduled_end_at", TIMESTAMP, nullable=True),
        sa.Column("current_period_end", TIMESTAMP, nullable=True),
        sa.Column("is_paused", sa.Boolean(), nullable=False),
        sa.Column("resumes_at", TIMESTAMP, nullable=True),
        sa.Column("ended_at", TIMESTAMP, nullable=True),
        sa.Column("synced_at", TIMESTAMP, nullable=False),
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
        op.f("ix_subscriptions_current_period_end"),
        "subscriptions",
        ["current_period_end"],
        unique=False,
    )
    op.create_index(
        op.f("ix_subscriptions_stripe_customer_id"),
        "subscriptions",
        ["stripe_customer_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_subscriptions_stripe_payment_method_id"),
        "subscriptions",
        ["stripe_payment_method_id"],
        unique=False,
    )


def ledger_tables() -> None:
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
        sa.Column("fees", JSONB, nullable=False),
        sa.Column("exchange_rate", sa.String(length=40), nullable=True),
        sa.Column("source", sa.String(length=255), nullable=True),
        sa.Column("charge", sa.String(length=255), nullable=True),
        sa.Column("occurred_at", TIMESTAMP, nullable=False),
        sa.Column("available_on", TIMESTAMP, nullable=False),
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
    op.create_index(
        op.f("ix_balance_transactions_source"), "balance_transactions", ["source"], unique=False
    )
    op.create_table(
        "unposted_transactions",
        sa.Column("balance_transaction", sa.String(length=255), nullable=False),
        sa.ForeignKeyConstraint(
            ["balance_transaction"],
            ["balance_transactions.id"],
            name=op.f("fk_unposted_transactions_balance_transaction_balance_transactions"),
        ),
        sa.PrimaryKeyConstraint("balance_transaction", name=op.f("pk_unposted_transactions")),
    )
    op.create_table(
        "ledger_entries",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column(
            "debit",
            words(
                "debit_is_an_account",
                40,
                "stripe:balance stripe:reserved stripe:prefunding stripe:issuing "
                "stripe:held in-transit bank income:once income:monthly income:annual "
                "refunds disputes expense:processing expense:disputes expense:billing "
                "expense:tax expense:fx clearing:fx suspense",
            ),
            nullable=False,
        ),
        sa.Column(
            "credit",
            words(
                "credit_is_an_account",
                40,
                "stripe:balance stripe:reserved stripe:prefunding stripe:issuing "
                "stripe:held in-transit bank income:once income:monthly income:annual "
                "refunds disputes expense:processing expense:disputes expense:billing "
                "expense:tax expense:fx clearing:fx suspense",
            ),
            nullable=False,
        ),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("occurred_at", TIMESTAMP, nullable=False),
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
    op.create_index(
        "ix_ledger_entries_paid",
        "ledger_entries",
        ["contribution_id", "occurred_at"],
        unique=False,
        postgresql_where="credit LIKE 'income:%'",
    )


def settlement_tables() -> None:
    op.create_table(
        "disputes",
        sa.Column("stripe_dispute_id", sa.String(length=255), nullable=False),
        sa.Column("stripe_charge_id", sa.String(length=255), nullable=False),
        sa.Column(
            "status",
            words(
                "status_is_known",
                40,
                "warning_needs_response warning_under_review warning_closed "
                "needs_response under_review appeal_needs_response appeal_under_review "
                "prevented won lost",
            ),
            nullable=False,
        ),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("reason", sa.String(length=64), nullable=False),
        sa.Column("opened_at", TIMESTAMP, nullable=False),
        sa.Column("evidence_due_at", TIMESTAMP, nullable=True),
        sa.Column("evidence_submitted", sa.Boolean(), nullable=False),
        sa.Column("is_charge_refundable", sa.Boolean(), nullable=False),
        sa.Column("synced_at", TIMESTAMP, nullable=False),
        sa.CheckConstraint("currency ~ '^[a-z]{3}$'", name=op.f("ck_disputes_currency_is_a_code")),
        sa.CheckConstraint("amount > 0", name=op.f("ck_disputes_amount_is_positive")),
        sa.PrimaryKeyConstraint("stripe_dispute_id", name=op.f("pk_disputes")),
    )
    op.create_index(op.f("ix_disputes_opened_at"), "disputes", ["opened_at"], unique=False)
    op.create_index(
        op.f("ix_disputes_stripe_charge_id"), "disputes", ["stripe_charge_id"], unique=False
    )
    op.create_table(
        "fraud_warnings",
        sa.Column("stripe_warning_id", sa.String(length=255), nullable=False),
        sa.Column("stripe_charge_id", sa.String(length=255), nullable=False),
        sa.Column("fraud_type", sa.String(length=64), nullable=False),
        sa.Column("actionable", sa.Boolean(), nullable=False),
        sa.Column("warned_at", TIMESTAMP, nullable=False),
        sa.Column("synced_at", TIMESTAMP, nullable=False),
        sa.PrimaryKeyConstraint("stripe_warning_id", name=op.f("pk_fraud_warnings")),
    )
    op.create_index(
        op.f("ix_fraud_warnings_stripe_charge_id"),
        "fraud_warnings",
        ["stripe_charge_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_fraud_warnings_warned_at"), "fraud_warnings", ["warned_at"], unique=False
    )
    op.create_table(
        "import_cursors",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("reached_at", TIMESTAMP, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_import_cursors")),
    )
    op.create_table(
        "payouts",
        sa.Column("stripe_payout_id", sa.String(length=255), nullable=False),
        sa.Column(
            "status",
            words("status_is_known", 40, "pending in_transit paid failed canceled"),
            nullable=False,
        ),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("automatic", sa.Boolean(), nullable=False),
        sa.Column("created_at", TIMESTAMP, nullable=False),
        sa.Column("arrives_on", sa.Date(), nullable=False),
        sa.Column("balance_transaction", sa.String(length=255), nullable=True),
        sa.Column("synced_at", TIMESTAMP, nullable=False),
        sa.Column("method", sa.String(length=40), server_default="standard", nullable=False),
        sa.Column(
            "reconciliation_status",
            words("reconciliation_is_known", 40, "in_progress completed not_applicable"),
            server_default="in_progress",
            nullable=False,
        ),
        sa.Column("failure_balance_transaction", sa.String(length=255), nullable=True),
        sa.Column("failure_code", sa.String(length=64), nullable=True),
        sa.Column("transactions_listed_at", TIMESTAMP, nullable=True),
        sa.CheckConstraint("currency ~ '^[a-z]{3}$'", name=op.f("ck_payouts_currency_is_a_code")),
        sa.PrimaryKeyConstraint("stripe_payout_id", name=op.f("pk_payouts")),
    )
    op.create_index(op.f("ix_payouts_created_at"), "payouts", ["created_at"], unique=False)
    op.create_table(
        "payout_transactions",
        sa.Column("stripe_payout_id", sa.String(length=255), nullable=False),
        sa.Column("balance_transaction", sa.String(length=255), nullable=False),
        sa.Column("net", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.ForeignKeyConstraint(
            ["stripe_payout_id"],
            ["payouts.stripe_payout_id"],
            name=op.f("fk_payout_transactions_stripe_payout_id_payouts"),
        ),
        sa.PrimaryKeyConstraint(
            "stripe_payout_id", "balance_transaction", name=op.f("pk_payout_transactions")
        ),
    )
    op.create_index(
        op.f("ix_payout_transactions_balance_transaction"),
        "payout_transactions",
        ["balance_transaction"],
        unique=False,
    )
    op.create_table(
        "refunds",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("stripe_refund_id", sa.String(length=255), nullable=True),
        sa.Column("stripe_charge_id", sa.String(length=255), nullable=True),
        sa.Column(
            "status",
            words(
                "status_is_known",
                40,
                "requested rejected requires_action pending succeeded failed canceled",
            ),
            nullable=False,
        ),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("reason", sa.String(length=64), nullable=True),
        sa.Column("requested_by", sa.String(length=32), nullable=True),
        sa.Column("idempotency_key", sa.String(length=64), nullable=True),
        sa.Column("requested_at", TIMESTAMP, nullable=False),
        sa.Column("balance_transaction", sa.String(length=255), nullable=True),
        sa.Column("failure_balance_transaction", sa.String(length=255), nullable=True),
        sa.Column("failure_reason", sa.String(length=64), nullable=True),
        sa.Column("synced_at", TIMESTAMP, nullable=False),
        sa.CheckConstraint("currency ~ '^[a-z]{3}$'", name=op.f("ck_refunds_currency_is_a_code")),
        sa.CheckConstraint("amount > 0", name=op.f("ck_refunds_amount_is_positive")),
        sa.ForeignKeyConstraint(
            ["requested_by"], ["staff.id"], name=op.f("fk_refunds_requested_by_staff")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_refunds")),
        sa.UniqueConstraint("idempotency_key", name=op.f("uq_refunds_idempotency_key")),
        sa.UniqueConstraint("stripe_refund_id", name=op.f("uq_refunds_stripe_refund_id")),
    )
    op.create_index(op.f("ix_refunds_requested_at"), "refunds", ["requested_at"], unique=False)
    op.create_index(
        op.f("ix_refunds_stripe_charge_id"), "refunds", ["stripe_charge_id"], unique=False
    )


def accounting_tables() -> None:
    op.create_table(
        "daily_totals",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("frequency", sa.String(length=40), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("debit", sa.String(length=40), nullable=False),
        sa.Column("credit", sa.String(length=40), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("entries", sa.Integer(), nullable=False),
        sa.Column("payers", sa.Integer(), nullable=False),
        sa.Column("first_time_payers", sa.Integer(), nullable=False),
        sa.CheckConstraint(
            "currency ~ '^[a-z]{3}$'", name=op.f("ck_daily_totals_currency_is_a_code")
        ),
        sa.CheckConstraint("amount > 0", name=op.f("ck_daily_totals_amount_is_positive")),
        sa.PrimaryKeyConstraint(
            "day", "frequency", "currency", "debit", "credit", name=op.f("pk_daily_totals")
        ),
    )
    op.create_table(
        "daily_totals_positions",
        sa.Column("zone", sa.String(length=64), nullable=False),
        sa.Column("last_seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("zone", name=op.f("pk_daily_totals_positions")),
    )
    op.create_table(
        "integrity_checks",
        sa.Column("check_name", sa.String(length=40), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("failures", JSONB, nullable=False),
        sa.Column("checked_at", TIMESTAMP, nullable=False),
        sa.PrimaryKeyConstraint("check_name", name=op.f("pk_integrity_checks")),
    )
    op.create_table(
        "month_snapshots",
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("figures", JSONB, nullable=False),
        sa.PrimaryKeyConstraint("kind", "month", name=op.f("pk_month_snapshots")),
    )
    op.create_table(
        "period_closings",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("zone", sa.String(length=64), nullable=False),
        sa.Column("closed_at", TIMESTAMP, nullable=False),
        sa.Column("closed_by", sa.String(length=80), nullable=False),
        sa.Column("last_seq", sa.BigInteger(), nullable=False),
        sa.Column("chain_head", sa.LargeBinary(), nullable=False),
        sa.Column("checklist", JSONB, nullable=False),
        sa.Column("manifest_hash", sa.LargeBinary(), nullable=True),
        sa.Column("pack", sa.LargeBinary(), nullable=True),
        sa.Column("reopened_at", TIMESTAMP, nullable=True),
        sa.Column("reopened_by", sa.String(length=80), nullable=True),
        sa.Column("reopen_reason", sa.String(length=200), nullable=True),
        sa.CheckConstraint(
            "(reopened_at IS NULL) = (reopened_by IS NULL) AND (reopened_at IS NULL) = (reopen_reason IS NULL)",
            name=op.f("ck_period_closings_reopened_with_reason"),
        ),
        sa.CheckConstraint(
            "extract(day FROM month) = 1", name=op.f("ck_period_closings_month_begins")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_period_closings")),
    )
    op.create_index(
        "uq_period_closings_closed",
        "period_closings",
        ["month"],
        unique=True,
        postgresql_where="reopened_at IS NULL",
    )
    op.create_table(
        "verified_heads",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("verified_at", TIMESTAMP, nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_verified_heads")),
    )
    op.create_table(
        "late_entries",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("booked_on", sa.Date(), nullable=False),
        sa.ForeignKeyConstraint(
            ["seq"], ["ledger_entries.seq"], name=op.f("fk_late_entries_seq_ledger_entries")
        ),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_late_entries")),
    )
    op.create_index(op.f("ix_late_entries_booked_on"), "late_entries", ["booked_on"], unique=False)


def mail_tables() -> None:
    op.create_table(
        "muted_subscriptions",
        sa.Column("stripe_subscription_id", sa.String(length=255), nullable=False),
        sa.Column("muted_at", TIMESTAMP, nullable=False),
        sa.PrimaryKeyConstraint("stripe_subscription_id", name=op.f("pk_muted_subscriptions")),
    )
    op.create_table(
        "outbox_mails",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column(
            "kind",
            words(
                "kind_is_known",
                40,
                "sign_in payment_failed action_needed lapsed needs_card card_changed "
                "card_expiring renews_soon amount_changed frequency_changed skipped "
                "paused resumed cancelled end_scheduled end_cancelled",
            ),
            nullable=False,
        ),
        sa.Column("status", words("status_is_known", 40, "pending sent dropped"), nullable=False),
        sa.Column("subscription_id", sa.String(length=255), nullable=True),
        sa.Column("object_id", sa.String(length=255), nullable=True),
        sa.Column("context", JSONB, nullable=False),
        sa.Column("language", sa.String(length=8), nullable=False),
        sa.Column("created_at", TIMESTAMP, nullable=False),
        sa.Column("expires_at", TIMESTAMP, nullable=False),
        sa.Column("sent_at", TIMESTAMP, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox_mails")),
        sa.UniqueConstraint("key", name=op.f("uq_outbox_mails_key")),
    )
    op.create_index(
        op.f("ix_outbox_mails_created_at"), "outbox_mails", ["created_at"], unique=False
    )
    op.create_index(
        op.f("ix_outbox_mails_subscription_id"), "outbox_mails", ["subscription_id"], unique=False
    )


def risk_tables() -> None:
    op.create_table(
        "bulk_stops",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("group", words("group_is_known", 40, "protected all"), nullable=False),
        sa.Column("mode", words("mode_is_known", 40, "pause cancel"), nullable=False),
        sa.Column("decided_at", TIMESTAMP, nullable=False),
        sa.Column("items_listed_at", TIMESTAMP, nullable=True),
        sa.Column("ended_at", TIMESTAMP, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bulk_stops")),
    )
    op.create_index(
        "uq_bulk_stops_open",
        "bulk_stops",
        ["group", "mode"],
        unique=True,
        postgresql_where="ended_at IS NULL",
    )
    op.create_table(
        "quarantines",
        sa.Column("stripe_charge_id", sa.String(length=255), nullable=False),
        sa.Column("flagged_at", TIMESTAMP, nullable=False),
        sa.Column("processed_at", TIMESTAMP, nullable=True),
        sa.PrimaryKeyConstraint("stripe_charge_id", name=op.f("pk_quarantines")),
    )
    op.create_table(
        "rate_limit_buckets",
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("full_at", TIMESTAMP, nullable=False),
        sa.Column("salt_date", sa.Date(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_rate_limit_buckets")),
        prefixes=["UNLOGGED"],
    )
    op.create_table(
        "risk_state",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("restricted_until", TIMESTAMP, nullable=False),
        sa.Column("challenge_until", TIMESTAMP, nullable=False),
        sa.Column("evaluated_since", TIMESTAMP, nullable=False),
        sa.Column("trip_count", sa.Integer(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_risk_state_is_single_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_risk_state")),
    )
    op.create_table(
        "used_tokens",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", TIMESTAMP, nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_used_tokens")),
    )
    op.create_table(
        "bulk_stop_items",
        sa.Column("bulk_stop_id", sa.String(length=32), nullable=False),
        sa.Column("stripe_subscription_id", sa.String(length=255), nullable=False),
        sa.Column(
            "state",
            words("state_is_known", 40, "pending done already_ended rejected"),
            nullable=False,
        ),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["bulk_stop_id"],
            ["bulk_stops.id"],
            name=op.f("fk_bulk_stop_items_bulk_stop_id_bulk_stops"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(
            "bulk_stop_id", "stripe_subscription_id", name=op.f("pk_bulk_stop_items")
        ),
    )


def signups_tables() -> None:
    op.create_table(
        "confirmation_mails",
        sa.Column("address_hash", sa.LargeBinary(), nullable=False),
        sa.Column("sent_at", TIMESTAMP, nullable=False),
        sa.PrimaryKeyConstraint("address_hash", name=op.f("pk_confirmation_mails")),
    )
    op.create_index(
        op.f("ix_confirmation_mails_sent_at"), "confirmation_mails", ["sent_at"], unique=False
    )
    op.create_table(
        "newsletter_signups",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column(
            "state",
            words(
                "state_is_known", 40, "unconfirmed confirmed stuck delivered suppressed undelivered"
            ),
            nullable=False,
        ),
        sa.Column("address_hash", sa.LargeBinary(), nullable=True),
        sa.Column("address_ciphertext", sa.LargeBinary(), nullable=True),
        sa.Column("privacy_version", sa.String(length=64), nullable=False),
        sa.Column("language", sa.String(length=8), nullable=False),
        sa.Column("deprioritised", sa.Boolean(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("signed_up_at", TIMESTAMP, nullable=False),
        sa.Column("consented_at", TIMESTAMP, nullable=False),
        sa.Column("confirmation_sent_at", TIMESTAMP, nullable=True),
        sa.Column("confirmed_at", TIMESTAMP, nullable=True),
        sa.Column("delivery_started_at", TIMESTAMP, nullable=True),
        sa.Column("next_attempt_at", TIMESTAMP, nullable=True),
        sa.Column("ended_at", TIMESTAMP, nullable=True),
        sa.CheckConstraint(
            "(state = 'confirmed') = (next_attempt_at IS NOT NULL)",
            name=op.f("ck_newsletter_signups_next_attempt_while_confirmed"),
        ),
        sa.CheckConstraint(
            "(state IN ('unconfirmed', 'confirmed', 'stuck')) = (address_ciphertext IS NOT NULL)",
            name=op.f("ck_newsletter_signups_ciphertext_while_active"),
        ),
        sa.CheckConstraint(
            "state NOT IN ('confirmed', 'stuck', 'delivered') OR confirmed_at IS NOT NULL",
            name=op.f("ck_newsletter_signups_confirmed_before_delivered"),
        ),
        sa.CheckConstraint(
            "(address_ciphertext IS NULL) = (address_hash IS NULL)",
            name=op.f("ck_newsletter_signups_hash_with_ciphertext"),
        ),
        sa.CheckConstraint(
            "(address_ciphertext IS NULL) = (ended_at IS NOT NULL)",
            name=op.f("ck_newsletter_signups_ended_when_erased"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_newsletter_signups")),
    )
    op.create_index(
        op.f("ix_newsletter_signups_address_hash"),
        "newsletter_signups",
        ["address_hash"],
        unique=False,
    )
    op.create_index(
        "ix_newsletter_signups_next_attempt_at",
        "newsletter_signups",
        ["next_attempt_at"],
        unique=False,
        postgresql_where="state = 'confirmed'",
    )
    op.create_index(
        op.f("ix_newsletter_signups_signed_up_at"),
        "newsletter_signups",
        ["signed_up_at"],
        unique=False,
    )
    op.create_index(
        "uq_newsletter_signups_unconfirmed",
        "newsletter_signups",
        ["address_hash"],
        unique=True,
        postgresql_where="state = 'unconfirmed'",
    )
    op.create_table(
        "reminder_counts",
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column(
            "step",
            words("step_is_known", 40, "signed_up confirmed sent opened missed calendar"),
            nullable=False,
        ),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.CheckConstraint("number > 0", name=op.f("ck_reminder_counts_number_is_positive")),
        sa.PrimaryKeyConstraint("month", "step", name=op.f("pk_reminder_counts")),
    )
    op.create_table(
        "suppressed_addresses",
        sa.Column("address_hash", sa.LargeBinary(), nullable=False),
        sa.Column(
            "reason",
            words("reason_is_known", 40, "unsubscribed complained bounced"),
            nullable=False,
        ),
        sa.Column("suppressed_at", TIMESTAMP, nullable=False),
        sa.Column("expires_at", TIMESTAMP, nullable=True),
        sa.PrimaryKeyConstraint("address_hash", name=op.f("pk_suppressed_addresses")),
    )
    op.create_table(
        "reminders",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column(
            "state",
            words(
                "state_is_known",
                40,
                "unconfirmed checkout_open scheduled sent cancelled donated missed "
                "suppressed superseded key_lost",
            ),
            nullable=False,
        ),
        sa.Column("address_hash", sa.LargeBinary(), nullable=True),
        sa.Column("address_ciphertext", sa.LargeBinary(), nullable=True),
        sa.Column("verified", sa.Boolean(), nullable=False),
        sa.Column("deprioritised", sa.Boolean(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("language", sa.String(length=8), nullable=False),
        sa.Column("zone", sa.String(length=64), nullable=False),
        sa.Column(
            "frequency", words("frequency_is_known", 40, "once monthly annual"), nullable=True
        ),
        sa.Column("amount", sa.BigInteger(), nullable=True),
        sa.Column("currency", sa.String(length=3), nullable=True),
        sa.Column("signed_up_on", sa.Date(), nullable=False),
        sa.Column("first_send_on", sa.Date(), nullable=False),
        sa.Column("interval_months", sa.Integer(), nullable=True),
        sa.Column("slots", sa.Integer(), nullable=False),
        sa.Column("slot", sa.Integer(), nullable=False),
        sa.Column("sent_count", sa.Integer(), nullable=False),
        sa.Column("due_on", sa.Date(), nullable=True),
        sa.Column("contribution_id", sa.String(length=32), nullable=True),
        sa.Column("signed_up_at", TIMESTAMP, nullable=False),
        sa.Column("confirmation_sent_at", TIMESTAMP, nullable=True),
        sa.Column("enqueued_at", TIMESTAMP, nullable=True),
        sa.Column("ended_at", TIMESTAMP, nullable=True),
        sa.CheckConstraint(
            "(state = 'scheduled') = (due_on IS NOT NULL)",
            name=op.f("ck_reminders_due_if_scheduled"),
        ),
        sa.CheckConstraint(
            "(state IN ('unconfirmed', 'checkout_open', 'scheduled')) = (address_ciphertext IS NOT NULL)",
            name=op.f("ck_reminders_ciphertext_while_active"),
        ),
        sa.CheckConstraint("currency ~ '^[a-z]{3}$'", name=op.f("ck_reminders_currency_is_a_code")),
        sa.CheckConstraint(
            "first_send_on > signed_up_on AND first_send_on <= signed_up_on + interval '1 year'",
            name=op.f("ck_reminders_first_send_is_within_a_year"),
        ),
        sa.CheckConstraint("amount > 0", name=op.f("ck_reminders_amount_is_positive")),
        sa.CheckConstraint(
            "interval_months BETWEEN 1 AND 12", name=op.f("ck_reminders_interval_is_1_to_12_months")
        ),
        sa.CheckConstraint(
            "num_nonnulls(frequency, amount, currency) IN (0, 3)",
            name=op.f("ck_reminders_contribution_is_whole"),
        ),
        sa.CheckConstraint(
            "slot BETWEEN 0 AND slots AND sent_count <= slot",
            name=op.f("ck_reminders_slot_is_within_slots"),
        ),
        sa.CheckConstraint("slots BETWEEN 1 AND 2", name=op.f("ck_reminders_slots_are_1_or_2")),
        sa.ForeignKeyConstraint(
            ["contribution_id"],
            ["contributions.id"],
            name=op.f("fk_reminders_contribution_id_contributions"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reminders")),
        sa.UniqueConstraint("contribution_id", name=op.f("uq_reminders_contribution_id")),
    )
    op.create_index(op.f("ix_reminders_address_hash"), "reminders", ["address_hash"], unique=False)
    op.create_index(
        "ix_reminders_due",
        "reminders",
        ["due_on", "id"],
        unique=False,
        postgresql_where="state = 'scheduled'",
    )
    op.create_index(op.f("ix_reminders_signed_up_at"), "reminders", ["signed_up_at"], unique=False)
    op.create_index(
        "uq_reminders_scheduled",
        "reminders",
        ["address_hash"],
        unique=True,
        postgresql_where="state = 'scheduled'",
    )
    op.create_index(
        "uq_reminders_unconfirmed",
        "reminders",
        ["address_hash"],
        unique=True,
        postgresql_where="state = 'unconfirmed'",
    )


def safety_tables() -> None:
    op.create_table(
        "support_cases",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("staff_id", sa.String(length=32), nullable=False),
        sa.Column("donor_id", sa.String(length=32), nullable=False),
        sa.Column("expires_at", TIMESTAMP, nullable=False),
        sa.ForeignKeyConstraint(
            ["donor_id"],
            ["donors.id"],
            name=op.f("fk_support_cases_donor_id_donors"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["staff_id"],
            ["staff.id"],
            name=op.f("fk_support_cases_staff_id_staff"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_support_cases")),
    )
    op.create_index(op.f("ix_support_cases_donor_id"), "support_cases", ["donor_id"], unique=False)


def infra_tables() -> None:
    op.create_table(
        "alerts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column(
            "kind",
            words(
                "kind_is_known",
                40,
                "imported suspense unattributed integrity_check_failed retries_exhausted "
                "card_testing charged_after_cancellation confirmation_limit_reached "
                "sign_in_link_limit_reached newsletter_delivery_failed refund_failed "
                "dispute_opened evidence_due dispute_lost fraud_warning payout_failed "
                "webhook_endpoint_drift quarantined statement_descriptor passkey_cloned "
                "donor_view_limit_reached descriptor_review_due",
            ),
            nullable=False,
        ),
        sa.Column("object_id", sa.String(length=255), nullable=False),
        sa.Column("opened_at", TIMESTAMP, nullable=False),
        sa.Column("closed_at", TIMESTAMP, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alerts")),
    )
    op.create_index(
        "uq_alerts_open",
        "alerts",
        ["kind", "object_id"],
        unique=True,
        postgresql_where="closed_at IS NULL",
    )
    op.create_table(
        "audit_entries",
        sa.Column("seq", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("recorded_at", TIMESTAMP, nullable=False),
        sa.Column("staff_id", sa.String(length=32), nullable=True),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("action", sa.String(length=40), nullable=False),
        sa.Column("object_id", sa.String(length=255), nullable=False),
        sa.Column("reason", sa.String(length=200), nullable=False),
        sa.CheckConstraint("action ~ '^[a-z_]+$'", name=op.f("ck_audit_entries_action_is_a_word")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_audit_entries")),
    )
    op.create_index("ix_audit_entries_action", "audit_entries", ["action", "seq"], unique=False)
    op.create_index("ix_audit_entries_name", "audit_entries", ["name", "seq"], unique=False)
    op.create_index("ix_audit_entries_recorded_at", "audit_entries", ["recorded_at"], unique=False)


def webhooks_tables() -> None:
    op.create_table(
        "stripe_events",
        sa.Column("id", sa.String(length=255), nullable=False),
        sa.Column("type", sa.String(length=255), nullable=False),
        sa.Column("object_type", sa.String(length=255), nullable=False),
        sa.Column("object_id", sa.String(length=255), nullable=True),
        sa.Column("api_version", sa.String(length=255), nullable=True),
        sa.Column("created", TIMESTAMP, nullable=False),
        sa.Column("received_at", TIMESTAMP, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stripe_events")),
    )
    op.create_index(
        op.f("ix_stripe_events_object_id"), "stripe_events", ["object_id"], unique=False
    )
