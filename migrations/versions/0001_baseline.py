"""The schema of the first release: tables by room, triggers, and the job engine.

The books and the other records of fact are append-only twice over: a trigger refuses UPDATE, DELETE
and TRUNCATE to everybody, and the role that the service works as is not granted them
(`payments.infra.service_role`, each time somebody migrates).
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
serves_since = "0001"  # the oldest revision whose code works with this schema

APPEND_ONLY = (
    "account_maps",
    "accounting_zones",
    "audit_entries",
    "balance_transactions",
    "correction_decisions",
    "corrections",
    "ledger_entries",
    "payout_transactions",
    "stripe_events",
    "verified_heads",
)


# PostgreSQL copies values of a column into its statistics, where no erasure finds them.
WITHOUT_STATISTICS = {
    "charges": "stripe_payment_intent_id",
    "confirmation_mails": "address_hash",
    "contributions": "idempotency_key_hash request_digest checkout_session_params checkout_url"
    " stripe_session_id article",
    "alerts": "object_id",
    "donor_customers": "stripe_customer_id",
    "donor_sessions": "token_hash",
    "donors": "address_hash",
    "emergency_stop_items": "stripe_subscription_id",
    "erased_at_stripe": "stripe_object_id",
    "erasures": "address_hash",
    "event_deliveries": "response_excerpt",
    "muted_subscriptions": "stripe_subscription_id",
    "newsletter_signups": "privacy_version address_hash address_ciphertext",
    "outbox_mails": "key subscription_id object_id",
    "outgoing_events": "fact figures",
    "payment_intent_links": "stripe_payment_intent_id",
    "procrastinate_jobs": "lock queueing_lock args",
    "quarantines": "stripe_charge_id",
    "daily_salts": "salt",
    "rate_limit_buckets": "key",
    "reminders": "zone address_hash address_ciphertext",
    "sign_in_links": "address_hash older_hashes browser_hash token_hash code_hash",
    "subscription_changes": "subscription_id stripe_setup_intent_id",
    "subscriptions": "stripe_subscription_id stripe_customer_id stripe_payment_method_id",
    "suppressed_addresses": "address_hash",
}


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
    append_only_triggers()
    late_entry_trigger()
    snapshot_triggers()
    outgoing_event_triggers()
    booking_day_functions()
    report_views()
    paid_period_functions()
    daily_totals_functions()
    deferred_income_functions()
    create_job_engine()
    take_no_statistics_of_persons()


def downgrade() -> None:
    drop_job_engine()
    op.execute("DROP VIEW returned_money, posted_transactions, booked_entries, paid_periods")
    op.execute("""
        DROP FUNCTION
            deferred_months(date, date, text), earned_part(bigint, int, int, boolean),
            daily_totals_now(text), income_daily_sums(bigint, bigint, date, boolean, text),
            earliest_occurrence(date, text), booked_at(timestamptz, date, text),
            is_booked_from(timestamptz, date, date, text),
            is_booked_before(timestamptz, date, date, text), receipt_number(text), anonymised_id(),
            gap_cause(text, timestamptz, date, text), period_end(timestamptz, text, int),
            covered_months(timestamptz, timestamptz, text)
    """)
    op.execute("""
        DROP FUNCTION record_event_of_subscription(
            text, text, timestamptz, subscriptions, subscriptions) CASCADE
    """)
    drop_tables()
    op.execute("""
        DROP FUNCTION
            record_event(text, text, timestamptz, timestamptz, text, jsonb),
            record_event_of_payment(text, text, timestamptz, timestamptz, text, bigint, text),
            record_event_of_row(), record_events_of_subscription(),
            forget_events_of_contribution(), refuse_change(), mark_late_entry(),
            invalidate_mrr_for_change(), invalidate_mrr_for_end(),
            invalidate_mrr_for_charge(), invalidate_mrr_for_period(), invalidate_mrr_for_donor(),
            invalidate_mrr_since(timestamptz),
            invalidate_recovery_snapshots(), invalidate_snapshots(text, date, date)
    """)


# --- what reports read ----------------------------------------------------------------------------
# The planner writes each function out where it is called, so that they cost nothing; but for
# earliest_occurrence, which is called once in a statement, as (SELECT earliest_occurrence(…)).


def booking_day_functions() -> None:
    """Create the rules of the booking day (`accounting.booking_day`), of a receipt's number, and of
    an id that stands for one that is gone.
    """
    op.execute("""
        CREATE FUNCTION booked_at(occurred_at timestamptz, booked_on date, zone text)
        RETURNS timestamp LANGUAGE sql IMMUTABLE
        RETURN coalesce(CAST(booked_on AS timestamp), occurred_at AT TIME ZONE zone)
    """)
    op.execute("""
        CREATE FUNCTION is_booked_from(
            occurred_at timestamptz, booked_on date, since date, zone text)
        RETURNS boolean LANGUAGE sql IMMUTABLE
        RETURN CASE WHEN booked_on IS NULL
                    THEN occurred_at >= CAST(since AS timestamp) AT TIME ZONE zone
                    ELSE booked_on >= since END
    """)
    op.execute("""
        CREATE FUNCTION is_booked_before(
            occurred_at timestamptz, booked_on date, until date, zone text)
        RETURNS boolean LANGUAGE sql IMMUTABLE
        RETURN occurred_at < CAST(until AS timestamp) AT TIME ZONE zone
               AND (booked_on IS NULL OR booked_on < until)
    """)
    op.execute("""
        CREATE FUNCTION earliest_occurrence(since date, zone text)
        RETURNS timestamptz LANGUAGE sql STABLE
        RETURN least(
            CAST(since AS timestamp) AT TIME ZONE zone,
            (SELECT min(late_entry.occurred_at)
               FROM late_entries late
               JOIN ledger_entries late_entry USING (seq)
              WHERE late.booked_on >= since))
    """)
    op.execute("""
        CREATE FUNCTION anonymised_id() RETURNS text LANGUAGE sql VOLATILE
        RETURN 'anonymised_' || replace(CAST(gen_random_uuid() AS text), '-', '')
    """)
    op.execute("""
        CREATE FUNCTION receipt_number(charge_id text) RETURNS text LANGUAGE sql STABLE
        RETURN left(encode(sha256(convert_to(charge_id, 'UTF8')), 'hex'), 16)
    """)


def report_views() -> None:
    """Create the views that lists and files are made of."""
    op.execute("""
        CREATE VIEW booked_entries AS
        SELECT e.*, late.booked_on
          FROM ledger_entries e
          LEFT JOIN late_entries late USING (seq)
    """)
    # What a transaction is follows from its first entry; its contribution, from its charge.
    op.execute("""
        CREATE VIEW posted_transactions AS
        SELECT bt.*,
               e.seq, e.debit, e.credit, e.contribution_id,
               late.booked_on,
               c.amount AS charged_amount,
               c.currency AS charged_currency,
               c.balance_transaction AS charge_transaction,
               link.frequency, link.interval_unit, link.interval_count,
               contribution.campaign, contribution.donor_id
          FROM balance_transactions bt
          JOIN LATERAL (
              SELECT seq, debit, credit, contribution_id
                FROM ledger_entries
               WHERE balance_transaction = bt.id
               ORDER BY seq
               LIMIT 1) e ON true
          LEFT JOIN late_entries late ON late.seq = e.seq
          LEFT JOIN charges c ON c.stripe_charge_id = bt.charge
          LEFT JOIN payment_intent_links link USING (stripe_payment_intent_id)
          LEFT JOIN contributions contribution ON contribution.id = e.contribution_id
    """)
    # What went back of each payment, in the currency the donor paid in: a refund counts from when
    # it is asked for, a dispute while its amount is withdrawn, a debit once its bank returned it.
    op.execute("""
        CREATE VIEW returned_money AS
        SELECT stripe_charge_id, amount AS refunded, 0 AS taken_back
          FROM refunds
         WHERE status NOT IN ('rejected', 'failed', 'canceled')
         UNION ALL
        SELECT stripe_charge_id, 0,
               CASE WHEN dispute.currency = charge.currency THEN dispute.amount
                    ELSE charge.amount END
          FROM disputes dispute
          JOIN charges charge USING (stripe_charge_id)
         WHERE is_withdrawn
         UNION ALL
        SELECT stripe_charge_id, 0, amount
          FROM charges
         WHERE status = 'returned'
    """)


def paid_period_functions() -> None:
    """Create what recurring revenue is computed from: the period that each payment is for, the
    months that it counts in, and why a month is not paid for.

    A payment is for the period of its invoice's line, whenever it is made; without an invoice, for
    the interval that begins with its charge, and without a link for what its account says. A debit
    that the bank returned pays for nothing; a refund or a dispute takes nothing back.
    """
    op.execute("""
        CREATE FUNCTION period_end(starts_at timestamptz, unit text, count int)
        RETURNS timestamptz LANGUAGE sql IMMUTABLE
        RETURN (starts_at AT TIME ZONE 'UTC' + make_interval(
                   years => CASE unit WHEN 'year' THEN count ELSE 0 END,
                   months => CASE unit WHEN 'month' THEN count ELSE 0 END,
                   weeks => CASE unit WHEN 'week' THEN count ELSE 0 END,
                   days => CASE unit WHEN 'day' THEN count ELSE 0 END)) AT TIME ZONE 'UTC'
    """)
    op.execute("""
        CREATE VIEW paid_periods AS
        SELECT e.contribution_id, e.currency, e.amount, e.credit, e.seq, e.occurred_at,
               c.amount AS charged,
               c.currency AS charged_in,
               rhythm.unit,
               rhythm.count AS interval_count,
               beginning.starts_at,
               coalesce(link.service_ends_at,
                        period_end(beginning.starts_at, rhythm.unit, rhythm.count)) AS ends_at
          FROM ledger_entries e
          LEFT JOIN charges c ON c.balance_transaction = e.balance_transaction
          LEFT JOIN payment_intent_links link
            ON link.stripe_payment_intent_id = c.stripe_payment_intent_id
         CROSS JOIN LATERAL (
               SELECT coalesce(link.interval_unit, CASE e.credit WHEN 'income:annual' THEN 'year'
                                                   ELSE 'month' END) AS unit,
                      CAST(coalesce(link.interval_count, 1) AS int) AS count) rhythm
         CROSS JOIN LATERAL (
               SELECT coalesce(link.service_starts_at, c.charged_at, e.occurred_at)
                   AS starts_at) beginning
         WHERE e.credit LIKE 'income:%'
           AND e.credit IN ('income:monthly', 'income:annual', 'income:periodic')
           AND c.status IS DISTINCT FROM 'returned'
    """)
    # Those whose last moment lies in the period. Periods without a gap between them have every
    # month's last moment among them, in any time zone.
    op.execute("""
        CREATE FUNCTION covered_months(starts_at timestamptz, ends_at timestamptz, zone text)
        RETURNS SETOF date LANGUAGE sql STABLE AS $$
        SELECT CAST(month AS date)
          FROM generate_series(
               date_trunc('month', starts_at AT TIME ZONE zone),
               date_trunc('month', ends_at AT TIME ZONE zone) - interval '1 month',
               interval '1 month') AS month
        $$
    """)
    # Lost to a failed payment if the payment that was due failed, or was returned, and was never
    # made, whoever ended the contribution afterwards; cancelled if it was ended; else paused:
    # skipped, paused, moved to another day, or nothing was due. One that only waits is none of
    # these: for a bank's answer, or for a charge that Stripe makes an hour after a period begins.
    op.execute("""
        CREATE FUNCTION gap_cause(contribution text, paid_from timestamptz, month date, zone text)
        RETURNS text LANGUAGE sql STABLE AS $$
        WITH month_end AS (
            SELECT (CAST(month AS timestamp) + interval '1 month') AT TIME ZONE zone AS moment
        ),
        payments AS (
            SELECT c.status, c.charged_at,
                   coalesce(link.service_starts_at, c.charged_at) AS starts_at,
                   coalesce(link.service_ends_at, period_end(
                       c.charged_at, link.interval_unit, link.interval_count)) AS ends_at
              FROM payment_intent_links link
              JOIN charges c USING (stripe_payment_intent_id)
             WHERE link.contribution_id = contribution
               AND link.interval_unit IS NOT NULL
        ),
        paid AS (
            SELECT coalesce(max(starts_at), paid_from) AS since, max(ends_at) AS until
              FROM payments
             CROSS JOIN month_end
             WHERE status = 'succeeded'
               AND starts_at < month_end.moment
        ),
        due AS (
            SELECT max(charged_at) FILTER (WHERE status IN ('failed', 'returned')) AS failed_at,
                   bool_or(status = 'pending') AS is_pending
              FROM payments
             CROSS JOIN paid
             CROSS JOIN month_end
             WHERE starts_at > paid.since
               AND starts_at < month_end.moment
        ),
        last_change AS (
            SELECT (array_agg(change.kind ORDER BY change.done_at DESC, change.id))[1] AS kind,
                   max(change.done_at) AS done_at
              FROM subscriptions s
              JOIN subscription_changes change
                ON change.subscription_id = s.stripe_subscription_id
             CROSS JOIN paid
             CROSS JOIN month_end
             WHERE s.contribution_id = contribution
               AND change.kind IN ('cancelled', 'lapsed', 'paused', 'skipped', 'resumed', 'day')
               AND change.done_at >= paid.since
               AND change.done_at < month_end.moment
        )
        SELECT CASE
               WHEN failed_at IS NOT NULL
                    AND NOT (coalesce(kind, '') IN ('paused', 'skipped') AND done_at > failed_at)
               THEN 'churn_involuntary'
               WHEN kind = 'cancelled' THEN 'churn_voluntary'
               WHEN kind = 'lapsed' THEN 'churn_involuntary'
               WHEN kind IN ('paused', 'skipped', 'day') THEN 'paused'
               WHEN is_pending THEN 'waiting'
               WHEN EXISTS (SELECT
                              FROM subscriptions s
                             WHERE s.contribution_id = contribution
                               AND s.ended_at < month_end.moment) THEN 'churn_voluntary'
               WHEN paid.until > month_end.moment - interval '3 days' THEN 'waiting'
               ELSE 'paused' END
          FROM month_end
         CROSS JOIN paid
         CROSS JOIN due
         CROSS JOIN last_change
        $$
    """)


def daily_totals_functions() -> None:
    """Create the sums of income by day, and the daily totals as they are now.

    The frequency of income is in its account; of a fee or refund, in the payment intent's link. An
    entry is its contribution's first, ever or of a month, if no entry before it in the chain is:
    the rank says so among the entries summed, and the others are looked up, unless `is_complete`
    says that none is left out.
    """
    op.execute("""
        CREATE FUNCTION income_daily_sums(
            after bigint, up_to bigint, since date, is_complete boolean, zone text)
        RETURNS TABLE (day date, frequency text, currency varchar, debit varchar, credit varchar,
                       amount bigint, entries int, payers int, first_time_payers int)
        LANGUAGE sql STABLE AS $$
        WITH income AS (
            SELECT CAST(booked_at(e.occurred_at, e.booked_on, zone) AS date) AS day,
                   split_part(e.credit, ':', 2) AS frequency,
                   e.currency, e.debit, e.credit, e.amount, e.seq, e.contribution_id
              FROM booked_entries e
             WHERE e.credit LIKE 'income:%'
               AND e.seq > after
               AND e.seq <= up_to
               AND (since IS NULL
                    OR e.occurred_at >= (SELECT earliest_occurrence(since, zone))
                       AND is_booked_from(e.occurred_at, e.booked_on, since, zone))
        ),
        ranked_income AS (
            SELECT *,
                   row_number() OVER (
                       PARTITION BY contribution_id, date_trunc('month', day), credit, currency
                       ORDER BY seq) AS rank_in_month,
                   row_number() OVER (PARTITION BY contribution_id ORDER BY seq) AS rank_ever
              FROM income
        ),
        first_payments AS (
            SELECT *,
                   rank_in_month = 1 AND (is_complete OR NOT EXISTS (
                       SELECT
                         FROM booked_entries earlier
                        WHERE earlier.contribution_id = ranked_income.contribution_id
                          AND earlier.seq < ranked_income.seq
                          AND earlier.credit LIKE 'income:%'
                          AND earlier.credit = ranked_income.credit
                          AND earlier.currency = ranked_income.currency
                          AND date_trunc('month',
                                  booked_at(earlier.occurred_at, earlier.booked_on, zone))
                              = date_trunc('month', CAST(ranked_income.day AS timestamp))
                   )) AS is_first_of_month,
                   rank_ever = 1 AND (is_complete OR NOT EXISTS (
                       SELECT
                         FROM ledger_entries earlier
                        WHERE earlier.contribution_id = ranked_income.contribution_id
                          AND earlier.seq < ranked_income.seq
                          AND earlier.credit LIKE 'income:%'
                   )) AS is_first_ever
              FROM ranked_income
        )
        SELECT day, frequency, currency, debit, credit,
               CAST(sum(amount) AS bigint),
               CAST(count(*) AS int),
               CAST(count(*) FILTER (WHERE is_first_of_month) AS int),
               CAST(count(*) FILTER (WHERE is_first_ever) AS int)
          FROM first_payments
         GROUP BY day, frequency, currency, debit, credit
        $$
    """)
    # The stored totals, and those of newer entries. Each of these is looked up, however many the
    # planner thinks there are; the upper end excludes nothing, but tells it that there are few.
    op.execute("""
        CREATE FUNCTION daily_totals_now(of_zone text)
        RETURNS TABLE (day date, frequency text, currency varchar, debit varchar, credit varchar,
                       amount bigint, entries int, payers int, first_time_payers int)
        LANGUAGE sql STABLE AS $$
        SELECT day, CAST(frequency AS text), currency, debit, credit,
               amount, entries, payers, first_time_payers
          FROM daily_totals
         WHERE EXISTS (SELECT FROM daily_totals_positions WHERE zone = of_zone)
         UNION ALL
        SELECT newer.*
          FROM (SELECT coalesce(max(last_seq), 0) AS last_seq,
                       (SELECT coalesce(max(seq), 0) FROM ledger_entries) AS newest_seq
                  FROM daily_totals_positions
                 WHERE zone = of_zone) position
         CROSS JOIN LATERAL income_daily_sums(
                    position.last_seq, position.newest_seq, NULL, false, of_zone) newer
         UNION ALL
        SELECT CAST(booked_at(e.occurred_at, e.booked_on, of_zone) AS date),
               coalesce(link.frequency, 'none'),
               e.currency, e.debit, e.credit,
               CAST(sum(e.amount) AS bigint), CAST(count(*) AS int), 0, 0
          FROM booked_entries e
          JOIN LATERAL (
              SELECT charge FROM balance_transactions
               WHERE id = e.balance_transaction LIMIT 1) bt ON true
          LEFT JOIN LATERAL (
              SELECT stripe_payment_intent_id FROM charges
               WHERE stripe_charge_id = bt.charge LIMIT 1) c ON true
          LEFT JOIN LATERAL (
              SELECT frequency FROM payment_intent_links
               WHERE stripe_payment_intent_id = c.stripe_payment_intent_id LIMIT 1) link ON true
         WHERE e.credit NOT LIKE 'income:%'
           AND e.seq > coalesce(
               (SELECT last_seq FROM daily_totals_positions WHERE zone = of_zone), 0)
           AND e.seq <= (SELECT max(seq) FROM ledger_entries)
         GROUP BY 1, 2, 3, 4, 5
        $$
    """)


# --- triggers -------------------------------------------------------------------------------------


def append_only_triggers() -> None:
    """Refuse UPDATE, DELETE and TRUNCATE of records of fact to everybody, the owner included."""
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


def late_entry_trigger() -> None:
    """Book an entry of a closed month on the first open day, in the transaction that appends it."""
    op.execute("""
        CREATE FUNCTION mark_late_entry() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE
            last_closed period_closings%ROWTYPE;
            first_open_day date;
        BEGIN
            SELECT *
              INTO last_closed
              FROM period_closings
             WHERE reopened_at IS NULL
             ORDER BY month DESC
             LIMIT 1;
            IF FOUND THEN
                first_open_day := (last_closed.month + interval '1 month')::date;
                IF (NEW.occurred_at AT TIME ZONE last_closed.zone)::date < first_open_day THEN
                    INSERT INTO late_entries (seq, booked_on) VALUES (NEW.seq, first_open_day);
                END IF;
            END IF;
            RETURN NULL;
        END $$
    """)
    op.execute("""
        CREATE TRIGGER mark_late_entry AFTER INSERT ON ledger_entries
        FOR EACH ROW EXECUTE FUNCTION mark_late_entry()
    """)


def snapshot_triggers() -> None:
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
    mrr_snapshot_triggers()
    # A charge decides about its own payment intent, whether it recovered, and about the intents
    # after it, that they are renewals.
    op.execute("""
        CREATE FUNCTION invalidate_recovery_snapshots() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE
            failed_at timestamp;
        BEGIN
            FOR failed_at IN
                SELECT failed.charged_at AT TIME ZONE 'UTC'
                  FROM payment_intent_links AS own
                  JOIN payment_intent_links AS other
                    ON other.contribution_id = own.contribution_id
                  JOIN charges AS failed
                    ON failed.stripe_payment_intent_id = other.stripe_payment_intent_id
                 WHERE own.stripe_payment_intent_id = NEW.stripe_payment_intent_id
                   AND failed.status = 'failed'
                   AND failed.charged_at >= (
                       SELECT min(first.charged_at)
                         FROM charges AS first
                        WHERE first.stripe_payment_intent_id = NEW.stripe_payment_intent_id
                   )
            LOOP
                PERFORM invalidate_snapshots('payment_recovery',
                    CAST(date_trunc('month', failed_at - interval '12 hours') AS date),
                    CAST(date_trunc('month', failed_at + interval '14 hours') AS date));
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


def mrr_snapshot_triggers() -> None:
    """Delete the months of recurring revenue whose figures or causes a new row changes.

    An end counts from the day another contribution of the donor began, up to 31 days earlier.
    """
    op.execute("""
        CREATE FUNCTION invalidate_mrr_since(since timestamptz) RETURNS void
        LANGUAGE plpgsql AS $$
        DECLARE
            first_month date := CAST(
                date_trunc('month', since AT TIME ZONE 'UTC' - interval '12 hours') AS date);
        BEGIN
            PERFORM invalidate_snapshots('mrr_rollforward', first_month, NULL);
            PERFORM invalidate_snapshots('cohort_retention', first_month, NULL);
        END $$
    """)
    op.execute("""
        CREATE FUNCTION invalidate_mrr_for_change() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE
            changed subscription_changes%ROWTYPE := coalesce(NEW, OLD);
            first_done timestamptz := least(
                CASE WHEN TG_OP <> 'INSERT' THEN OLD.done_at END,
                CASE WHEN TG_OP <> 'DELETE' THEN NEW.done_at END);
            other_begun timestamptz;
        BEGIN
            IF first_done IS NULL THEN
                RETURN NULL;
            END IF;
            IF changed.kind = 'cancelled' THEN
                SELECT min(other.created_at)
                  INTO other_begun
                  FROM subscriptions s
                  JOIN contributions ended ON ended.id = s.contribution_id
                  JOIN contributions other ON other.donor_id = ended.donor_id
                 WHERE s.stripe_subscription_id = changed.subscription_id
                   AND other.id <> ended.id
                   AND other.created_at > first_done - interval '31 days';
            END IF;
            PERFORM invalidate_mrr_since(least(first_done, other_begun));
            RETURN NULL;
        END $$
    """)
    op.execute("""
        CREATE TRIGGER invalidate_mrr AFTER INSERT OR UPDATE OR DELETE ON subscription_changes
        FOR EACH ROW EXECUTE FUNCTION invalidate_mrr_for_change()
    """)
    op.execute("""
        CREATE FUNCTION invalidate_mrr_for_end() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM invalidate_mrr_since(NEW.ended_at);
            RETURN NULL;
        END $$
    """)
    op.execute("""
        CREATE TRIGGER invalidate_mrr AFTER UPDATE ON subscriptions
        FOR EACH ROW
        WHEN (NEW.ended_at IS NOT NULL AND OLD.ended_at IS DISTINCT FROM NEW.ended_at)
        EXECUTE FUNCTION invalidate_mrr_for_end()
    """)
    op.execute("""
        CREATE FUNCTION invalidate_mrr_for_charge() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM invalidate_mrr_since(least(NEW.charged_at, service_starts_at))
               FROM payment_intent_links
              WHERE stripe_payment_intent_id = NEW.stripe_payment_intent_id;
            RETURN NULL;
        END $$
    """)
    op.execute("""
        CREATE TRIGGER invalidate_mrr AFTER INSERT ON charges
        FOR EACH ROW WHEN (NEW.status <> 'succeeded') EXECUTE FUNCTION invalidate_mrr_for_charge()
    """)
    op.execute("""
        CREATE TRIGGER invalidate_mrr_changed AFTER UPDATE ON charges
        FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status)
        EXECUTE FUNCTION invalidate_mrr_for_charge()
    """)
    op.execute("""
        CREATE FUNCTION invalidate_mrr_for_period() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM invalidate_mrr_since(least(NEW.service_starts_at, (
                SELECT min(charged_at)
                  FROM charges
                 WHERE stripe_payment_intent_id = NEW.stripe_payment_intent_id)));
            RETURN NULL;
        END $$
    """)
    op.execute("""
        CREATE TRIGGER invalidate_mrr AFTER INSERT ON payment_intent_links
        FOR EACH ROW WHEN (NEW.interval_unit IS NOT NULL)
        EXECUTE FUNCTION invalidate_mrr_for_period()
    """)
    op.execute("""
        CREATE TRIGGER invalidate_mrr_changed AFTER UPDATE ON payment_intent_links
        FOR EACH ROW WHEN (OLD.service_starts_at IS DISTINCT FROM NEW.service_starts_at)
        EXECUTE FUNCTION invalidate_mrr_for_period()
    """)
    # Before, so that the others that one statement takes from a donor are still seen.
    op.execute("""
        CREATE FUNCTION invalidate_mrr_for_donor() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE
            first_given timestamptz;
        BEGIN
            SELECT min(created_at)
              INTO first_given
              FROM contributions
             WHERE donor_id IN (OLD.donor_id, NEW.donor_id)
               AND id <> NEW.id
               AND interval_unit IS NOT NULL;
            IF first_given IS NOT NULL THEN
                PERFORM invalidate_mrr_since(
                    least(first_given, NEW.created_at) - interval '32 days');
            END IF;
            RETURN NEW;
        END $$
    """)
    op.execute("""
        CREATE TRIGGER invalidate_mrr BEFORE UPDATE ON contributions
        FOR EACH ROW
        WHEN (NEW.interval_unit IS NOT NULL AND OLD.donor_id IS DISTINCT FROM NEW.donor_id)
        EXECUTE FUNCTION invalidate_mrr_for_donor()
    """)


def outgoing_event_triggers() -> None:
    """Record an outgoing event in the transaction of the fact it is about, once.

    Only a transition is an event: what is synced again unchanged, in any order, is none. Nothing is
    recorded of a contribution whose donor is protected or erased, and what was recorded of it goes
    in the transaction that marks it so.
    """
    op.execute("""
        CREATE FUNCTION record_event(
            of_kind text, of_fact text, at timestamptz, seen_at timestamptz,
            of_contribution text, of_figures jsonb)
        RETURNS void LANGUAGE plpgsql AS $$
        DECLARE
            new_id text;
        BEGIN
            IF NOT EXISTS (SELECT FROM event_endpoints
                            WHERE created_at <= at AND of_kind = ANY(kinds))
               OR EXISTS (SELECT FROM contributions
                           WHERE id = of_contribution AND (protected OR erased OR dropped))
            THEN
                RETURN;
            END IF;
            INSERT INTO outgoing_events
                   (id, kind, fact, occurred_at, recorded_at, contribution_id, figures)
            VALUES (replace(gen_random_uuid()::text, '-', ''), of_kind, of_fact, at, seen_at,
                    of_contribution, of_figures)
                ON CONFLICT (kind, fact) DO NOTHING
         RETURNING id INTO new_id;
            INSERT INTO event_deliveries (event_id, endpoint_id, state, next_attempt_at)
            SELECT new_id, id, 'waiting', seen_at
              FROM event_endpoints
             WHERE new_id IS NOT NULL AND created_at <= at AND of_kind = ANY(kinds);
        END $$
    """)
    op.execute("""
        CREATE FUNCTION record_event_of_payment(
            of_kind text, of_fact text, at timestamptz, seen_at timestamptz,
            of_charge text, of_amount bigint, of_currency text)
        RETURNS void LANGUAGE sql AS $$
            SELECT record_event(of_kind, of_fact, at, seen_at, link.contribution_id,
                       jsonb_build_object(
                           'amount', of_amount, 'currency', of_currency,
                           'frequency', link.frequency, 'interval_unit', link.interval_unit,
                           'interval_count', link.interval_count))
              FROM charges AS charge
              JOIN payment_intent_links AS link USING (stripe_payment_intent_id)
             WHERE charge.stripe_charge_id = of_charge
               AND link.contribution_id IS NOT NULL
        $$
    """)
    op.execute("""
        CREATE FUNCTION record_event_of_subscription(
            of_kind text, of_fact text, at timestamptz, of_row subscriptions, of_old subscriptions)
        RETURNS void LANGUAGE sql AS $$
            SELECT record_event(of_kind, of_row.contribution_id || ':' || of_fact, at,
                       of_row.synced_at, of_row.contribution_id,
                       jsonb_build_object(
                           'amount', of_row.amount, 'currency', of_row.currency,
                           'frequency', of_row.frequency, 'interval_unit', of_row.interval_unit,
                           'interval_count', of_row.interval_count, 'is_paused', of_row.is_paused)
                       || CASE WHEN of_kind <> 'subscription.changed' THEN '{}'
                          ELSE jsonb_build_object('before', jsonb_build_object(
                              'amount', of_old.amount, 'currency', of_old.currency,
                              'frequency', of_old.frequency,
                              'interval_unit', of_old.interval_unit,
                              'interval_count', of_old.interval_count,
                              'is_paused', of_old.is_paused)) END)
        $$
    """)
    op.execute("""
        CREATE FUNCTION record_event_of_row() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE
            is_new boolean := TG_OP = 'INSERT';
        BEGIN
            CASE TG_TABLE_NAME
            WHEN 'charges' THEN
                PERFORM record_event_of_payment('contribution.paid', NEW.stripe_charge_id,
                    CASE WHEN is_new THEN NEW.charged_at ELSE NEW.synced_at END, NEW.synced_at,
                    NEW.stripe_charge_id, NEW.amount, NEW.currency);
            WHEN 'payment_intent_links' THEN
                PERFORM record_event_of_payment('contribution.paid', stripe_charge_id, charged_at,
                        synced_at, stripe_charge_id, amount, currency)
                   FROM charges
                  WHERE stripe_payment_intent_id = NEW.stripe_payment_intent_id
                    AND status = 'succeeded';
            WHEN 'refunds' THEN
                PERFORM record_event_of_payment('contribution.refunded', NEW.id,
                    CASE WHEN is_new THEN NEW.requested_at ELSE NEW.synced_at END, NEW.synced_at,
                    NEW.stripe_charge_id, NEW.amount, NEW.currency);
            WHEN 'disputes' THEN
                PERFORM record_event_of_payment('contribution.disputed', NEW.stripe_dispute_id,
                    CASE WHEN is_new THEN NEW.opened_at ELSE NEW.synced_at END, NEW.synced_at,
                    NEW.stripe_charge_id, NEW.amount, NEW.currency);
            WHEN 'payouts' THEN
                PERFORM record_event('payout.paid', NEW.stripe_payout_id,
                    CASE WHEN is_new THEN NEW.created_at ELSE NEW.synced_at END, NEW.synced_at,
                    NULL, jsonb_build_object(
                        'payout', NEW.stripe_payout_id, 'amount', NEW.amount,
                        'currency', NEW.currency, 'arrives_on', NEW.arrives_on));
            WHEN 'period_closings' THEN
                PERFORM record_event('period.closed', NEW.id::text, NEW.closed_at, NEW.closed_at,
                    NULL, jsonb_build_object(
                        'month', to_char(NEW.month, 'YYYY-MM'), 'zone', NEW.zone));
            END CASE;
            RETURN NULL;
        END $$
    """)
    op.execute("""
        CREATE FUNCTION record_events_of_subscription() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE
            begun text[] := ARRAY['active', 'trialing', 'past_due', 'unpaid', 'paused', 'unknown'];
            behind text[] := ARRAY['past_due', 'unpaid'];
            was text := CASE WHEN TG_OP = 'UPDATE' THEN OLD.status ELSE '' END;
            since text := extract(epoch FROM NEW.started_at)::bigint::text;
            seen text := since || ':' || extract(epoch FROM NEW.synced_at)::text;
        BEGIN
            IF NEW.status = ANY(begun) AND NOT was = ANY(begun) THEN
                PERFORM record_event_of_subscription('subscription.started', since,
                    CASE WHEN TG_OP = 'INSERT' THEN NEW.started_at ELSE NEW.synced_at END,
                    NEW, NEW);
            END IF;
            IF NEW.status = ANY(behind) AND NOT was = ANY(behind) THEN
                PERFORM record_event_of_subscription('subscription.failed', seen,
                    CASE WHEN TG_OP = 'INSERT' THEN NEW.started_at ELSE NEW.synced_at END,
                    NEW, NEW);
            END IF;
            IF TG_OP = 'INSERT' THEN
                RETURN NULL;
            END IF;
            IF NEW.status IN ('active', 'trialing') AND was = ANY(behind) THEN
                PERFORM record_event_of_subscription('subscription.recovered', seen,
                    NEW.synced_at, NEW, OLD);
            END IF;
            IF NEW.status = ANY(begun) AND was = ANY(begun)
               AND (NEW.amount <> OLD.amount OR NEW.currency <> OLD.currency
                    OR NEW.interval_unit <> OLD.interval_unit
                    OR NEW.interval_count <> OLD.interval_count
                    OR NEW.is_paused <> OLD.is_paused)
            THEN
                PERFORM record_event_of_subscription('subscription.changed', seen,
                    NEW.synced_at, NEW, OLD);
            END IF;
            IF NEW.ended_at IS NOT NULL AND NEW.missing_since IS NULL
               AND (OLD.ended_at IS NULL OR OLD.missing_since IS NOT NULL)
               AND (was = ANY(begun) OR OLD.missing_since IS NOT NULL)
            THEN
                PERFORM record_event_of_subscription('subscription.ended', since,
                    NEW.ended_at, NEW, OLD);
            END IF;
            RETURN NULL;
        END $$
    """)
    op.execute("""
        CREATE FUNCTION forget_events_of_contribution() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            DELETE FROM outgoing_events WHERE contribution_id = NEW.id;
            RETURN NULL;
        END $$
    """)
    dispute_moves_money = (
        "NEW.status IN ('needs_response', 'under_review', 'appeal_needs_response',"
        " 'appeal_under_review', 'won', 'lost')"
    )
    was_inquiry = "starts_with(OLD.status, 'warning_') OR OLD.status = 'unknown'"
    for table, on_insert, on_update in (
        ("charges", "NEW.status = 'succeeded'", "OLD.status <> 'succeeded'"),
        ("refunds", "NEW.status = 'succeeded'", "OLD.status <> 'succeeded'"),
        ("payouts", "NEW.status = 'paid'", "OLD.status <> 'paid'"),
        ("disputes", dispute_moves_money, was_inquiry),
        ("payment_intent_links", "NEW.contribution_id IS NOT NULL", ""),
        ("period_closings", "true", ""),
    ):
        op.execute(f"""
            CREATE TRIGGER record_event_new AFTER INSERT ON {table}
            FOR EACH ROW WHEN ({on_insert}) EXECUTE FUNCTION record_event_of_row()
        """)
        if on_update:
            op.execute(f"""
                CREATE TRIGGER record_event_changed AFTER UPDATE ON {table}
                FOR EACH ROW WHEN (({on_insert}) AND ({on_update}))
                EXECUTE FUNCTION record_event_of_row()
            """)
    op.execute("""
        CREATE TRIGGER record_events AFTER INSERT OR UPDATE ON subscriptions
        FOR EACH ROW EXECUTE FUNCTION record_events_of_subscription()
    """)
    op.execute("""
        CREATE TRIGGER forget_events AFTER UPDATE OF protected, erased, dropped ON contributions
        FOR EACH ROW WHEN (NEW.protected OR NEW.erased OR NEW.dropped)
        EXECUTE FUNCTION forget_events_of_contribution()
    """)


def take_no_statistics_of_persons() -> None:
    """Have the database take no samples of what leads to a person."""
    for table, columns in WITHOUT_STATISTICS.items():
        for column in columns.split():
            op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} SET STATISTICS 0")


# --- the job engine -------------------------------------------------------------------------------


def deferred_income_functions() -> None:
    """Create what is earned of an amount after some of its parts, and deferred income by month
    (`accounting.deferred_income`); both days are first days of a month.
    """
    op.execute("""
        CREATE FUNCTION earned_part(amount bigint, elapsed int, parts int, is_by_day boolean)
        RETURNS bigint LANGUAGE sql IMMUTABLE
        RETURN CASE WHEN elapsed >= parts THEN amount
                    WHEN is_by_day THEN amount * elapsed / parts
                    ELSE amount / parts * elapsed END
    """)
    op.execute("""
        CREATE FUNCTION deferred_months(since date, until date, zone text)
        RETURNS TABLE (month date, currency varchar, account varchar, opening bigint,
                       received bigint, released bigint, refunded bigint, disputed bigint,
                       closing bigint)
        LANGUAGE sql STABLE AS $$
        WITH
        payments AS (
            SELECT e.seq, bt.charge, e.currency, e.credit AS account, e.amount,
                   CAST(date_trunc('month', booked_at(e.occurred_at, e.booked_on, zone)) AS date)
                       AS booked_month,
                   CAST(coalesce(link.service_starts_at, e.occurred_at) AT TIME ZONE zone AS date)
                       AS starts_on,
                   coalesce(link.interval_unit,
                            CASE e.credit WHEN 'income:annual' THEN 'year' ELSE 'month' END)
                       AS unit,
                   coalesce(link.interval_count, 1) AS interval_count
              FROM booked_entries e
              JOIN balance_transactions bt ON bt.id = e.balance_transaction
              LEFT JOIN charges c ON c.balance_transaction = e.balance_transaction
              LEFT JOIN payment_intent_links link
                ON link.stripe_payment_intent_id = c.stripe_payment_intent_id
             WHERE e.credit IN ('income:annual', 'income:periodic')
               AND e.occurred_at >= (SELECT earliest_occurrence(
                       CAST(since - interval '60 months' AS date), zone))
               AND is_booked_before(e.occurred_at, e.booked_on, until, zone)
        ),
        deferred_payments AS (
            SELECT *,
                   CASE unit WHEN 'year' THEN 12 * interval_count WHEN 'month' THEN interval_count
                             WHEN 'week' THEN 7 * interval_count ELSE interval_count END AS parts,
                   unit IN ('week', 'day') AS is_by_day
              FROM payments
             WHERE unit = 'year'
                OR unit = 'month' AND interval_count > 1
                OR unit = 'week' AND interval_count > 4
                OR unit = 'day' AND interval_count > 31
        ),
        returns AS (
            SELECT payment.seq,
                   greatest(payment.booked_month, CAST(date_trunc('month',
                       booked_at(e.occurred_at, e.booked_on, zone)) AS date)) AS month,
                   sum(CASE 'refunds' WHEN e.debit THEN e.amount WHEN e.credit THEN -e.amount
                       ELSE 0 END) AS refunds,
                   sum(CASE 'disputes' WHEN e.debit THEN e.amount WHEN e.credit THEN -e.amount
                       ELSE 0 END) AS disputes
              FROM deferred_payments payment
              JOIN balance_transactions bt ON bt.charge = payment.charge
              JOIN booked_entries e
                ON e.balance_transaction = bt.id AND e.currency = payment.currency
             WHERE ('refunds' IN (e.debit, e.credit) OR 'disputes' IN (e.debit, e.credit))
               AND is_booked_before(e.occurred_at, e.booked_on, until, zone)
             GROUP BY 1, 2
        ),
        last_returns AS (
            SELECT seq, max(month) AS month FROM returns GROUP BY seq
        ),
        payment_months AS (
            SELECT payment.seq, payment.currency, payment.account, payment.amount, payment.parts,
                   payment.is_by_day,
                   of.month,
                   of.month = payment.booked_month AS is_received,
                   elapsed.until_now,
                   CASE WHEN of.month = payment.booked_month THEN 0 ELSE elapsed.until_before END
                       AS until_before,
                   coalesce(returns.refunds, 0) AS refunds,
                   coalesce(returns.disputes, 0) AS disputes,
                   coalesce(sum(returns.refunds + returns.disputes) OVER (
                       PARTITION BY payment.seq ORDER BY of.month), 0) AS returned
              FROM deferred_payments payment
              LEFT JOIN last_returns ON last_returns.seq = payment.seq
             CROSS JOIN LATERAL (
                   SELECT CAST(first_of_month AS date) AS month
                     FROM generate_series(
                          payment.booked_month,
                          least(CAST(until - interval '1 month' AS date),
                                greatest(payment.booked_month,
                                         payment.starts_on + CASE WHEN payment.is_by_day
                                             THEN make_interval(days => payment.parts)
                                             ELSE make_interval(months => payment.parts) END,
                                         last_returns.month)),
                          interval '1 month') AS first_of_month) AS of
             CROSS JOIN LATERAL (
                   SELECT CASE WHEN payment.is_by_day THEN of.month - payment.starts_on
                               ELSE CAST(12 * (extract(year FROM of.month)
                                               - extract(year FROM payment.starts_on))
                                         + extract(month FROM of.month)
                                         - extract(month FROM payment.starts_on) AS int)
                           END AS before,
                          CASE WHEN payment.is_by_day
                               THEN CAST(of.month + interval '1 month' AS date) - of.month
                               ELSE 1 END AS of_month) AS parts_by
             CROSS JOIN LATERAL (
                   SELECT least(payment.parts, greatest(0, parts_by.before)) AS until_before,
                          least(payment.parts, greatest(0, parts_by.before + parts_by.of_month))
                              AS until_now) AS elapsed
              LEFT JOIN returns ON returns.seq = payment.seq AND returns.month = of.month
        ),
        -- What was left of a payment before this month, after its refunds, and its disputes.
        payments_left AS (
            SELECT *,
                   CAST(amount - returned + refunds + disputes AS bigint) AS before,
                   CAST(amount - returned + disputes AS bigint) AS after_refunds,
                   CAST(amount - returned AS bigint) AS after_disputes
              FROM payment_months
             WHERE month >= since
        ),
        payments_deferred AS (
            SELECT *,
                   before - earned_part(before, until_before, parts, is_by_day) AS deferred_before,
                   after_refunds - earned_part(after_refunds, until_before, parts, is_by_day)
                       AS deferred_after_refunds,
                   after_disputes - earned_part(after_disputes, until_before, parts, is_by_day)
                       AS deferred_after_disputes,
                   after_disputes - earned_part(after_disputes, until_now, parts, is_by_day)
                       AS deferred_now
              FROM payments_left
        ),
        deferred_months AS (
            SELECT month, currency, account,
                   CAST(coalesce(sum(deferred_before) FILTER (WHERE NOT is_received), 0) AS bigint)
                       AS opening,
                   CAST(coalesce(sum(amount) FILTER (WHERE is_received), 0) AS bigint) AS received,
                   CAST(sum(deferred_after_disputes - deferred_now) AS bigint) AS released,
                   CAST(sum(deferred_before - deferred_after_refunds) AS bigint) AS refunded,
                   CAST(sum(deferred_after_refunds - deferred_after_disputes) AS bigint)
                       AS disputed,
                   CAST(sum(deferred_now) AS bigint) AS closing
              FROM payments_deferred
             GROUP BY month, currency, account
        )
        SELECT * FROM deferred_months
        $$
    """)


def create_job_engine() -> None:
    """Create the tables of procrastinate 3.10. A newer engine needs a revision with its changes.

    What follows them is ours: a fetch of a job then reads a few pages, however many jobs wait.
    Whether a job's lock is free is asked of each candidate, and the engine's own index for that
    begins with the id; and a plan that sorts asks it of every job that waits, to return one.
    """
    op.get_bind().exec_driver_sql(SchemaManager.get_schema().replace("%", "%%"))
    op.execute("""
        CREATE INDEX ix_procrastinate_jobs_lock ON procrastinate_jobs (lock)
         WHERE status IN ('todo', 'doing')
    """)
    op.execute("ALTER FUNCTION procrastinate_fetch_job_v2 SET enable_sort = off")


def drop_job_engine() -> None:
    op.execute("""
        DO $$ DECLARE engine_function record; BEGIN
            DROP TABLE procrastinate_events, procrastinate_periodic_defers, procrastinate_jobs,
                       procrastinate_workers CASCADE;
            FOR engine_function IN SELECT oid::regprocedure AS name FROM pg_proc
                          WHERE pronamespace = 'public'::regnamespace
                            AND proname LIKE 'procrastinate%'
            LOOP EXECUTE 'DROP FUNCTION ' || engine_function.name || ' CASCADE'; END LOOP;
            DROP TYPE procrastinate_job_to_defer_v1, procrastinate_job_status,
                      procrastinate_job_event_type CASCADE;
        END $$
    """)


# --- tables, by the room that owns them -----------------------------------------------------------


def drop_tables() -> None:
    op.execute("""
        DROP TABLE
            donors, erasures, erased_at_stripe, global_erasures, sign_in_links, donor_customers,
            donor_sessions, staff, used_challenges, api_tokens, staff_linked_accounts, staff_links,
            staff_passkeys, staff_sessions, article_counts, campaign_impressions, campaigns,
            charges, subscription_changes, contributions, payment_intent_links, subscriptions,
            balance_transactions, unposted_transactions, ledger_entries, disputes,
            corrections, correction_decisions, refund_proposals,
            fraud_warnings, import_cursors, payouts, payout_transactions, refunds, daily_totals,
            account_maps, accounting_zones,
            daily_totals_positions, integrity_checks, month_snapshots, period_closings,
            verified_heads, report_recipients, late_entries, mail_refusals, muted_subscriptions,
            outbox_mails,
            emergency_stops, quarantines, rate_limit_buckets, daily_salts, risk_state,
            used_tokens, emergency_stop_items, confirmation_mails, newsletter_signups,
            reminder_counts, suppressed_addresses, reminders, support_cases, alerts, audit_entries,
            schedule_failures, shown_pages, stripe_accounts, stripe_events, event_deliveries,
            event_endpoints, outgoing_events
    """)


Kind = sa.types.TypeEngine | type[sa.types.TypeEngine]
ROW_ID = sa.String(32)
STRIPE_ID = sa.String(255)
CURRENCY = sa.String(3)
TIMESTAMP = sa.DateTime(timezone=True)


def one_of(check: str, values: str) -> sa.Enum:
    """Return the type of a text column that a CHECK of this name limits to these words."""
    return sa.Enum(
        *values.split(), name=check, native_enum=False, create_constraint=True, length=40
    )


def required(
    name: str, type_: Kind, *more: sa.Identity | sa.Computed, **options: object
) -> sa.Column:
    """Return a column that is never null."""
    return sa.Column(name, type_, *more, **options, nullable=False)


def optional(name: str, type_: Kind) -> sa.Column:
    """Return a column that may be null."""
    return sa.Column(name, type_, nullable=True)


def donors_tables() -> None:
    op.create_table(
        "donors",
        required("id", ROW_ID),
        optional("address_hash", sa.LargeBinary),
        required("created_at", TIMESTAMP),
        required("mailbox_proved", sa.Boolean),
        optional("invited_at", TIMESTAMP),
        optional("invited_by", ROW_ID),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_donors")),
        sa.UniqueConstraint("address_hash", name=op.f("uq_donors_address_hash")),
    )
    op.create_table(
        "erasures",
        required("address_hash", sa.LargeBinary),
        required("erased_at", TIMESTAMP),
        sa.PrimaryKeyConstraint("address_hash", name=op.f("pk_erasures")),
    )
    op.create_table(
        "global_erasures",
        required("erased_at", TIMESTAMP),
        required("adopt", sa.String()),
        sa.PrimaryKeyConstraint("erased_at", name=op.f("pk_global_erasures")),
    )
    op.create_table(
        "sign_in_links",
        required("id", ROW_ID),
        required("address_hash", sa.LargeBinary),
        required("older_hashes", sa.ARRAY(sa.LargeBinary)),
        required("browser_hash", sa.LargeBinary),
        optional("token_hash", sa.LargeBinary),
        optional("code_hash", sa.LargeBinary),
        required("code_attempts", sa.Integer),
        required("requested_at", TIMESTAMP),
        required("expires_at", TIMESTAMP),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sign_in_links")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_sign_in_links_token_hash")),
    )
    op.create_index(op.f("ix_sign_in_links_address_hash"), "sign_in_links", ["address_hash"])
    op.create_index(op.f("ix_sign_in_links_requested_at"), "sign_in_links", ["requested_at"])
    op.create_table(
        "donor_customers",
        required("stripe_customer_id", STRIPE_ID),
        required("donor_id", ROW_ID),
        sa.ForeignKeyConstraint(
            ["donor_id"], ["donors.id"], name=op.f("fk_donor_customers_donor_id_donors")
        ),
        sa.PrimaryKeyConstraint("stripe_customer_id", name=op.f("pk_donor_customers")),
    )
    op.create_index(op.f("ix_donor_customers_donor_id"), "donor_customers", ["donor_id"])
    op.create_table(
        "donor_sessions",
        required("token_hash", sa.LargeBinary),
        required("donor_id", ROW_ID),
        required("expires_at", TIMESTAMP),
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
        required("id", ROW_ID),
        required("name", sa.String(80)),
        required("role", one_of("role_is_known", "finance support admin auditor")),
        required("created_at", TIMESTAMP),
        optional("removed_at", TIMESTAMP),
        optional("access_ends_at", TIMESTAMP),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_staff")),
        sa.UniqueConstraint("name", name=op.f("uq_staff_name")),
    )
    op.create_table(
        "used_challenges",
        required("challenge_sha256", sa.LargeBinary),
        required("expires_at", TIMESTAMP),
        sa.PrimaryKeyConstraint("challenge_sha256", name=op.f("pk_used_challenges")),
    )
    op.create_table(
        "api_tokens",
        required("id", ROW_ID),
        required("staff_id", ROW_ID),
        required("name", sa.String(60)),
        required("prefix", sa.String(12)),
        required("token_sha256", sa.LargeBinary),
        required("scopes", sa.String(200)),
        required("created_at", TIMESTAMP),
        required("expires_at", TIMESTAMP),
        optional("revoked_at", TIMESTAMP),
        optional("last_used_on", sa.Date),
        sa.CheckConstraint("expires_at > created_at", name=op.f("ck_api_tokens_expires_later")),
        sa.ForeignKeyConstraint(
            ["staff_id"],
            ["staff.id"],
            name=op.f("fk_api_tokens_staff_id_staff"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_tokens")),
        sa.UniqueConstraint("prefix", name=op.f("uq_api_tokens_prefix")),
    )
    op.create_index(op.f("ix_api_tokens_staff_id"), "api_tokens", ["staff_id"])
    op.create_index(
        "uq_api_tokens_name",
        "api_tokens",
        ["name"],
        unique=True,
        postgresql_where="revoked_at IS NULL",
    )
    op.create_table(
        "staff_linked_accounts",
        required("staff_id", ROW_ID),
        required("subject_hash", sa.LargeBinary),
        required("linked_at", TIMESTAMP),
        optional("last_used_at", TIMESTAMP),
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
        required("token_sha256", sa.LargeBinary),
        required("staff_id", ROW_ID),
        required("expires_at", TIMESTAMP),
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
        required("credential_id", sa.LargeBinary),
        required("staff_id", ROW_ID),
        required("public_key", sa.LargeBinary),
        required("sign_count", sa.BigInteger),
        required("registered_at", TIMESTAMP),
        optional("last_used_at", TIMESTAMP),
        sa.ForeignKeyConstraint(
            ["staff_id"],
            ["staff.id"],
            name=op.f("fk_staff_passkeys_staff_id_staff"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("credential_id", name=op.f("pk_staff_passkeys")),
    )
    op.create_index(op.f("ix_staff_passkeys_staff_id"), "staff_passkeys", ["staff_id"])
    op.create_table(
        "staff_sessions",
        required("token_sha256", sa.LargeBinary),
        required("staff_id", ROW_ID),
        required("expires_at", TIMESTAMP),
        required("last_seen_at", TIMESTAMP),
        required("authenticated_at", TIMESTAMP),
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
        required("day", sa.Date),
        required("article", sa.String(64)),
        required("starts", sa.Integer),
        sa.CheckConstraint(
            "starts % 10 = 0 AND starts > 0", name=op.f("ck_article_counts_starts_are_tens")
        ),
        sa.PrimaryKeyConstraint("day", "article", name=op.f("pk_article_counts")),
    )
    op.create_table(
        "campaign_impressions",
        required("campaign", sa.String(64)),
        required("variant", sa.String(32)),
        required("day", sa.Date),
        required("impressions", sa.Integer),
        sa.CheckConstraint(
            "impressions > 0", name=op.f("ck_campaign_impressions_impressions_are_positive")
        ),
        sa.PrimaryKeyConstraint("campaign", "variant", "day", name=op.f("pk_campaign_impressions")),
    )
    op.create_table(
        "campaigns",
        required("id", sa.String(64)),
        required("config", JSONB),
        required("version", sa.Integer),
        required("experiment_round", sa.Integer),
        required("round_started_at", TIMESTAMP),
        required("changed_at", TIMESTAMP),
        optional("progress", JSONB),
        sa.CheckConstraint(
            "experiment_round > 0 AND version > 0", name=op.f("ck_campaigns_counted_from_one")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_campaigns")),
    )
    op.create_table(
        "charges",
        required("stripe_charge_id", STRIPE_ID),
        optional("stripe_payment_intent_id", STRIPE_ID),
        required("status", one_of("status_is_known", "succeeded pending failed returned unknown")),
        required("amount", sa.BigInteger),
        required("currency", CURRENCY),
        required("charged_at", TIMESTAMP),
        optional("balance_transaction", STRIPE_ID),
        required("synced_at", TIMESTAMP),
        sa.CheckConstraint("currency ~ '^[a-z]{3}$'", name=op.f("ck_charges_currency_is_a_code")),
        sa.CheckConstraint("amount > 0", name=op.f("ck_charges_amount_is_positive")),
        sa.PrimaryKeyConstraint("stripe_charge_id", name=op.f("pk_charges")),
        sa.UniqueConstraint("balance_transaction", name=op.f("uq_charges_balance_transaction")),
    )
    op.create_index(op.f("ix_charges_charged_at"), "charges", ["charged_at"])
    op.create_index(
        op.f("ix_charges_stripe_payment_intent_id"), "charges", ["stripe_payment_intent_id"]
    )
    op.create_table(
        "subscription_changes",
        required("id", ROW_ID),
        required("subscription_id", STRIPE_ID),
        required(
            "kind",
            one_of(
                "kind_is_known",
                "amount frequency day card skipped paused resumed cancelled lapsed "
                "end_scheduled end_moved end_cancelled",
            ),
        ),
        required("actor", one_of("actor_is_known", "donor link staff service stripe")),
        required("decided_at", TIMESTAMP),
        optional("done_at", TIMESTAMP),
        optional("failed_at", TIMESTAMP),
        optional("stripe_setup_intent_id", STRIPE_ID),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_subscription_changes")),
        sa.UniqueConstraint(
            "stripe_setup_intent_id", name=op.f("uq_subscription_changes_stripe_setup_intent_id")
        ),
    )
    op.create_index(
        op.f("ix_subscription_changes_subscription_id"), "subscription_changes", ["subscription_id"]
    )
    op.create_table(
        "contributions",
        required("id", ROW_ID),
        required("created_at", TIMESTAMP),
        optional("amount", sa.BigInteger),
        required("currency", CURRENCY),
        required(
            "status",
            one_of("status_is_known", "started open processing trial paid failed expired returned"),
        ),
        required("origin", one_of("origin_is_known", "reader imported")),
        optional("campaign", sa.String(64)),
        optional("variant", sa.String(32)),
        optional("article", sa.String(64)),
        required("language", sa.String(8), server_default="en"),
        optional("donor_id", ROW_ID),
        optional("idempotency_key_hash", sa.LargeBinary),
        optional("request_digest", sa.LargeBinary),
        optional("checkout_session_params", JSONB),
        optional("checkout_url", sa.String()),
        optional("stripe_session_id", STRIPE_ID),
        optional("outcome_known_at", TIMESTAMP),
        required("protected", sa.Boolean, server_default=sa.text("false")),
        required("erased", sa.Boolean, server_default=sa.text("false")),
        required("dropped", sa.Boolean, server_default=sa.text("false")),
        optional("interval_unit", one_of("interval_unit_is_known", "day week month year")),
        optional("interval_count", sa.SmallInteger()),
        required(
            "frequency",
            one_of("frequency_is_known", "once monthly annual periodic other"),
            sa.Computed(
                "CASE WHEN interval_unit IS NULL THEN 'once' WHEN interval_count = 1 "
                "AND interval_unit = 'month' THEN 'monthly' WHEN interval_count = 1 "
                "AND interval_unit = 'year' THEN 'annual' ELSE 'periodic' END",
                persisted=True,
            ),
        ),
        sa.CheckConstraint(
            "currency ~ '^[a-z]{3}$'", name=op.f("ck_contributions_currency_is_a_code")
        ),
        sa.CheckConstraint(
            "(interval_unit IS NULL) = (interval_count IS NULL) "
            "AND coalesce(interval_count, 1) > 0",
            name=op.f("ck_contributions_interval_is_whole"),
        ),
        sa.CheckConstraint("amount >= 0", name=op.f("ck_contributions_amount_is_not_negative")),
        sa.ForeignKeyConstraint(
            ["donor_id"], ["donors.id"], name=op.f("fk_contributions_donor_id_donors")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_contributions")),
        sa.UniqueConstraint(
            "idempotency_key_hash", name=op.f("uq_contributions_idempotency_key_hash")
        ),
        sa.UniqueConstraint("stripe_session_id", name=op.f("uq_contributions_stripe_session_id")),
    )
    op.create_index(op.f("ix_contributions_created_at"), "contributions", ["created_at"])
    op.create_index(op.f("ix_contributions_donor_id"), "contributions", ["donor_id"])
    op.create_index(
        "ix_contributions_started",
        "contributions",
        ["created_at"],
        postgresql_where="status = 'started'",
    )
    op.create_index(
        "ix_contributions_variant",
        "contributions",
        ["campaign", "created_at"],
        postgresql_where="variant IS NOT NULL",
    )
    op.create_table(
        "payment_intent_links",
        required("stripe_payment_intent_id", STRIPE_ID),
        optional("contribution_id", ROW_ID),
        required(
            "frequency",
            one_of("frequency_is_known", "once monthly annual periodic other"),
            sa.Computed(
                "CASE WHEN contribution_id IS NULL THEN 'other' "
                "ELSE CASE WHEN interval_unit IS NULL THEN 'once' WHEN interval_count = 1 "
                "AND interval_unit = 'month' THEN 'monthly' WHEN interval_count = 1 "
                "AND interval_unit = 'year' THEN 'annual' ELSE 'periodic' END END",
                persisted=True,
            ),
        ),
        optional("service_starts_at", TIMESTAMP),
        optional("service_ends_at", TIMESTAMP),
        optional("interval_unit", one_of("interval_unit_is_known", "day week month year")),
        optional("interval_count", sa.SmallInteger()),
        sa.CheckConstraint(
            "(interval_unit IS NULL) = (interval_count IS NULL) "
            "AND coalesce(interval_count, 1) > 0",
            name=op.f("ck_payment_intent_links_interval_is_whole"),
        ),
        sa.CheckConstraint(
            "(service_starts_at IS NULL) = (service_ends_at IS NULL) "
            "AND service_starts_at <= service_ends_at",
            name=op.f("ck_payment_intent_links_service_is_a_period"),
        ),
        sa.ForeignKeyConstraint(
            ["contribution_id"],
            ["contributions.id"],
            name=op.f("fk_payment_intent_links_contribution_id_contributions"),
        ),
        sa.PrimaryKeyConstraint("stripe_payment_intent_id", name=op.f("pk_payment_intent_links")),
    )
    op.create_index(
        op.f("ix_payment_intent_links_contribution_id"), "payment_intent_links", ["contribution_id"]
    )
    op.create_table(
        "subscriptions",
        required("stripe_subscription_id", STRIPE_ID),
        required("contribution_id", ROW_ID),
        required("stripe_customer_id", STRIPE_ID),
        required(
            "status",
            one_of(
                "status_is_known",
                "active past_due unpaid canceled incomplete incomplete_expired trialing "
                "paused unknown",
            ),
        ),
        optional("amount", sa.BigInteger),
        optional("fee_cover", sa.BigInteger),
        required("currency", CURRENCY),
        required("stripe_price_id", STRIPE_ID),
        optional("stripe_payment_method_id", STRIPE_ID),
        optional("card_expires_on", sa.Date),
        required("started_at", TIMESTAMP),
        required("billing_anchor_at", TIMESTAMP),
        optional("scheduled_end_at", TIMESTAMP),
        optional("current_period_end", TIMESTAMP),
        required("is_paused", sa.Boolean),
        optional("resumes_at", TIMESTAMP),
        optional("trial_ends_at", TIMESTAMP),
        optional("ended_at", TIMESTAMP),
        optional("missing_since", TIMESTAMP),
        required("synced_at", TIMESTAMP),
        optional("interval_unit", one_of("interval_unit_is_known", "day week month year")),
        optional("interval_count", sa.SmallInteger()),
        required(
            "frequency",
            one_of("frequency_is_known", "once monthly annual periodic other"),
            sa.Computed(
                "CASE WHEN interval_unit IS NULL THEN 'once' WHEN interval_count = 1 "
                "AND interval_unit = 'month' THEN 'monthly' WHEN interval_count = 1 "
                "AND interval_unit = 'year' THEN 'annual' ELSE 'periodic' END",
                persisted=True,
            ),
        ),
        sa.CheckConstraint(
            "currency ~ '^[a-z]{3}$'", name=op.f("ck_subscriptions_currency_is_a_code")
        ),
        sa.CheckConstraint(
            "(interval_unit IS NULL) = (interval_count IS NULL) "
            "AND coalesce(interval_count, 1) > 0",
            name=op.f("ck_subscriptions_interval_is_whole"),
        ),
        sa.CheckConstraint("amount >= 0", name=op.f("ck_subscriptions_amount_is_not_negative")),
        sa.CheckConstraint(
            "interval_unit IS NOT NULL", name=op.f("ck_subscriptions_has_an_interval")
        ),
        sa.ForeignKeyConstraint(
            ["contribution_id"],
            ["contributions.id"],
            name=op.f("fk_subscriptions_contribution_id_contributions"),
        ),
        sa.PrimaryKeyConstraint("stripe_subscription_id", name=op.f("pk_subscriptions")),
    )
    op.create_index(op.f("ix_subscriptions_contribution_id"), "subscriptions", ["contribution_id"])
    op.create_index(
        op.f("ix_subscriptions_current_period_end"), "subscriptions", ["current_period_end"]
    )
    op.create_index(
        op.f("ix_subscriptions_stripe_customer_id"), "subscriptions", ["stripe_customer_id"]
    )
    op.create_index(
        op.f("ix_subscriptions_stripe_payment_method_id"),
        "subscriptions",
        ["stripe_payment_method_id"],
    )


def ledger_tables() -> None:
    op.create_table(
        "balance_transactions",
        required("id", STRIPE_ID),
        required("type", sa.String(64)),
        required("reporting_category", sa.String(64)),
        optional("balance_type", sa.String(64)),
        required("amount", sa.BigInteger),
        required("fee", sa.BigInteger),
        required("net", sa.BigInteger),
        required("currency", CURRENCY),
        required("fees", JSONB),
        optional("exchange_rate", sa.String(40)),
        optional("source", STRIPE_ID),
        optional("charge", STRIPE_ID),
        required("occurred_at", TIMESTAMP),
        required("available_on", TIMESTAMP),
        sa.CheckConstraint(
            "currency ~ '^[a-z]{3}$'", name=op.f("ck_balance_transactions_currency_is_a_code")
        ),
        sa.CheckConstraint(
            "net = amount - fee", name=op.f("ck_balance_transactions_net_is_amount_less_fee")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_balance_transactions")),
    )
    op.create_index(op.f("ix_balance_transactions_charge"), "balance_transactions", ["charge"])
    op.create_index(
        op.f("ix_balance_transactions_occurred_at"), "balance_transactions", ["occurred_at"]
    )
    op.create_index(op.f("ix_balance_transactions_source"), "balance_transactions", ["source"])
    op.create_table(
        "unposted_transactions",
        required("balance_transaction", STRIPE_ID),
        sa.ForeignKeyConstraint(
            ["balance_transaction"],
            ["balance_transactions.id"],
            name=op.f("fk_unposted_transactions_balance_transaction_balance_transactions"),
        ),
        sa.PrimaryKeyConstraint("balance_transaction", name=op.f("pk_unposted_transactions")),
    )
    op.create_table(
        "corrections",
        required("id", ROW_ID),
        required("balance_transaction", STRIPE_ID),
        required("from_account", sa.String(40)),
        required(
            "debit",
            one_of(
                "debit_is_an_account",
                "stripe:balance stripe:reserved stripe:prefunding stripe:issuing "
                "stripe:held in-transit bank income:once income:monthly income:annual "
                "income:periodic other:income other:refunds other:disputes other:fees "
                "refunds disputes expense:processing expense:disputes expense:billing "
                "expense:tax expense:fx clearing:fx suspense unexplained",
            ),
        ),
        required(
            "credit",
            one_of(
                "credit_is_an_account",
                "stripe:balance stripe:reserved stripe:prefunding stripe:issuing "
                "stripe:held in-transit bank income:once income:monthly income:annual "
                "income:periodic other:income other:refunds other:disputes other:fees "
                "refunds disputes expense:processing expense:disputes expense:billing "
                "expense:tax expense:fx clearing:fx suspense unexplained",
            ),
        ),
        required("amount", sa.BigInteger),
        required("currency", CURRENCY),
        required("booked_on", sa.Date),
        optional("concerns_month", sa.Date),
        required("needs_approval", sa.Boolean),
        required("reason", sa.String(200)),
        required("proposed_at", TIMESTAMP),
        required("proposed_by", sa.String(80)),
        required("proposed_by_id", ROW_ID),
        sa.CheckConstraint(
            "currency ~ '^[a-z]{3}$'", name=op.f("ck_corrections_currency_is_a_code")
        ),
        sa.CheckConstraint("amount > 0", name=op.f("ck_corrections_amount_is_positive")),
        sa.CheckConstraint("debit <> credit", name=op.f("ck_corrections_accounts_differ")),
        sa.CheckConstraint(
            "extract(day FROM concerns_month) = 1", name=op.f("ck_corrections_month_begins")
        ),
        sa.CheckConstraint(
            "from_account IN (debit, credit)", name=op.f("ck_corrections_from_is_an_end")
        ),
        sa.ForeignKeyConstraint(
            ["balance_transaction"],
            ["balance_transactions.id"],
            name=op.f("fk_corrections_balance_transaction_balance_transactions"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_corrections")),
    )
    op.create_index(
        op.f("ix_corrections_balance_transaction"), "corrections", ["balance_transaction"]
    )
    op.create_table(
        "correction_decisions",
        required("id", ROW_ID),
        required("correction_id", ROW_ID),
        required("outcome", one_of("outcome_is_known", "approved refused withdrawn expired")),
        required("reason", sa.String(200)),
        required("decided_at", TIMESTAMP),
        required("decided_by", sa.String(80)),
        required("decided_by_id", ROW_ID),
        sa.ForeignKeyConstraint(
            ["correction_id"],
            ["corrections.id"],
            name=op.f("fk_correction_decisions_correction_id_corrections"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_correction_decisions")),
        sa.UniqueConstraint("correction_id", name=op.f("uq_correction_decisions_correction_id")),
    )
    op.create_table(
        "ledger_entries",
        required("seq", sa.BigInteger, autoincrement=False),
        required(
            "debit",
            one_of(
                "debit_is_an_account",
                "stripe:balance stripe:reserved stripe:prefunding stripe:issuing "
                "stripe:held in-transit bank income:once income:monthly income:annual "
                "income:periodic other:income other:refunds other:disputes other:fees "
                "refunds disputes expense:processing expense:disputes expense:billing "
                "expense:tax expense:fx clearing:fx suspense unexplained",
            ),
        ),
        required(
            "credit",
            one_of(
                "credit_is_an_account",
                "stripe:balance stripe:reserved stripe:prefunding stripe:issuing "
                "stripe:held in-transit bank income:once income:monthly income:annual "
                "income:periodic other:income other:refunds other:disputes other:fees "
                "refunds disputes expense:processing expense:disputes expense:billing "
                "expense:tax expense:fx clearing:fx suspense unexplained",
            ),
        ),
        required("amount", sa.BigInteger),
        required("currency", CURRENCY),
        required("occurred_at", TIMESTAMP),
        required("balance_transaction", STRIPE_ID),
        optional("contribution_id", ROW_ID),
        required("posting_version", sa.SmallInteger),
        optional("correction_id", ROW_ID),
        required("hash", sa.LargeBinary),
        sa.CheckConstraint(
            "currency ~ '^[a-z]{3}$'", name=op.f("ck_ledger_entries_currency_is_a_code")
        ),
        sa.CheckConstraint("amount > 0", name=op.f("ck_ledger_entries_amount_is_positive")),
        sa.CheckConstraint("debit <> credit", name=op.f("ck_ledger_entries_accounts_differ")),
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
        sa.ForeignKeyConstraint(
            ["correction_id"],
            ["corrections.id"],
            name=op.f("fk_ledger_entries_correction_id_corrections"),
        ),
        sa.UniqueConstraint(
            "balance_transaction",
            "debit",
            "credit",
            "correction_id",
            name=op.f("uq_ledger_entries_pair"),
            postgresql_nulls_not_distinct=True,
        ),
        sa.UniqueConstraint("correction_id", name=op.f("uq_ledger_entries_correction_id")),
    )
    op.create_index(
        op.f("ix_ledger_entries_contribution_id"), "ledger_entries", ["contribution_id"]
    )
    op.create_index(op.f("ix_ledger_entries_occurred_at"), "ledger_entries", ["occurred_at"])
    op.create_index(
        "ix_ledger_entries_paid",
        "ledger_entries",
        ["contribution_id", "occurred_at"],
        postgresql_where="credit LIKE 'income:%'",
    )


def settlement_tables() -> None:
    op.create_table(
        "disputes",
        required("stripe_dispute_id", STRIPE_ID),
        required("stripe_charge_id", STRIPE_ID),
        required(
            "status",
            one_of(
                "status_is_known",
                "warning_needs_response warning_under_review warning_closed needs_response "
                "under_review appeal_needs_response appeal_under_review prevented won lost "
                "unknown",
            ),
        ),
        required("amount", sa.BigInteger),
        required("currency", CURRENCY),
        required("reason", sa.String(64)),
        required("opened_at", TIMESTAMP),
        optional("evidence_due_at", TIMESTAMP),
        required("evidence_submitted", sa.Boolean),
        required("is_charge_refundable", sa.Boolean),
        required("is_withdrawn", sa.Boolean),
        required("synced_at", TIMESTAMP),
        sa.CheckConstraint("currency ~ '^[a-z]{3}$'", name=op.f("ck_disputes_currency_is_a_code")),
        sa.CheckConstraint("amount > 0", name=op.f("ck_disputes_amount_is_positive")),
        sa.PrimaryKeyConstraint("stripe_dispute_id", name=op.f("pk_disputes")),
    )
    op.create_index(op.f("ix_disputes_opened_at"), "disputes", ["opened_at"])
    op.create_index(op.f("ix_disputes_stripe_charge_id"), "disputes", ["stripe_charge_id"])
    op.create_table(
        "fraud_warnings",
        required("stripe_warning_id", STRIPE_ID),
        required("stripe_charge_id", STRIPE_ID),
        required("fraud_type", sa.String(64)),
        required("actionable", sa.Boolean),
        required("warned_at", TIMESTAMP),
        required("synced_at", TIMESTAMP),
        sa.PrimaryKeyConstraint("stripe_warning_id", name=op.f("pk_fraud_warnings")),
    )
    op.create_index(
        op.f("ix_fraud_warnings_stripe_charge_id"), "fraud_warnings", ["stripe_charge_id"]
    )
    op.create_index(op.f("ix_fraud_warnings_warned_at"), "fraud_warnings", ["warned_at"])
    op.create_table(
        "import_cursors",
        required("name", sa.String(64)),
        required("reached_at", TIMESTAMP),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_import_cursors")),
    )
    op.create_table(
        "payouts",
        required("stripe_payout_id", STRIPE_ID),
        required(
            "status", one_of("status_is_known", "pending in_transit paid failed canceled unknown")
        ),
        required("amount", sa.BigInteger),
        required("currency", CURRENCY),
        required("automatic", sa.Boolean),
        required("created_at", TIMESTAMP),
        required("arrives_on", sa.Date),
        optional("balance_transaction", STRIPE_ID),
        required("synced_at", TIMESTAMP),
        required("method", sa.String(40), server_default="standard"),
        required(
            "reconciliation_status",
            one_of(
                "reconciliation_status_is_known", "in_progress completed not_applicable unknown"
            ),
            server_default="in_progress",
        ),
        optional("failure_balance_transaction", STRIPE_ID),
        optional("failure_code", sa.String(64)),
        optional("transactions_listed_at", TIMESTAMP),
        sa.CheckConstraint("currency ~ '^[a-z]{3}$'", name=op.f("ck_payouts_currency_is_a_code")),
        sa.PrimaryKeyConstraint("stripe_payout_id", name=op.f("pk_payouts")),
    )
    op.create_index(op.f("ix_payouts_created_at"), "payouts", ["created_at"])
    op.create_table(
        "payout_transactions",
        required("stripe_payout_id", STRIPE_ID),
        required("balance_transaction", STRIPE_ID),
        required("net", sa.BigInteger),
        required("currency", CURRENCY),
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
    )
    op.create_table(
        "refunds",
        required("id", ROW_ID),
        optional("stripe_refund_id", STRIPE_ID),
        optional("stripe_charge_id", STRIPE_ID),
        required(
            "status",
            one_of(
                "status_is_known",
                "requested rejected requires_action pending succeeded failed canceled unknown",
            ),
        ),
        required("amount", sa.BigInteger),
        required("currency", CURRENCY),
        optional("reason", sa.String(64)),
        optional("requested_by", sa.String(32)),
        optional("idempotency_key", sa.String(64)),
        required("requested_at", TIMESTAMP),
        optional("succeeded_at", TIMESTAMP),
        optional("balance_transaction", STRIPE_ID),
        optional("failure_balance_transaction", STRIPE_ID),
        optional("failure_reason", sa.String(64)),
        required("synced_at", TIMESTAMP),
        sa.CheckConstraint("currency ~ '^[a-z]{3}$'", name=op.f("ck_refunds_currency_is_a_code")),
        sa.CheckConstraint("amount > 0", name=op.f("ck_refunds_amount_is_positive")),
        sa.ForeignKeyConstraint(
            ["requested_by"], ["staff.id"], name=op.f("fk_refunds_requested_by_staff")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_refunds")),
        sa.UniqueConstraint("idempotency_key", name=op.f("uq_refunds_idempotency_key")),
        sa.UniqueConstraint("stripe_refund_id", name=op.f("uq_refunds_stripe_refund_id")),
    )
    op.create_index(op.f("ix_refunds_requested_at"), "refunds", ["requested_at"])
    op.create_index(op.f("ix_refunds_stripe_charge_id"), "refunds", ["stripe_charge_id"])
    op.create_table(
        "refund_proposals",
        required("id", ROW_ID),
        required("stripe_charge_id", STRIPE_ID),
        required("amount", sa.BigInteger),
        required("currency", CURRENCY),
        required("reason", one_of("reason_is_known", "requested_by_customer duplicate fraudulent")),
        required("idempotency_key", sa.String(64)),
        required("proposed_at", TIMESTAMP),
        required("proposed_by", sa.String(80)),
        required("proposed_by_id", ROW_ID),
        optional("outcome", one_of("outcome_is_known", "approved refused withdrawn expired")),
        required("refusal", sa.String(200)),
        optional("decided_at", TIMESTAMP),
        optional("decided_by", sa.String(80)),
        optional("decided_by_id", ROW_ID),
        optional("refund_id", ROW_ID),
        sa.CheckConstraint(
            "currency ~ '^[a-z]{3}$'", name=op.f("ck_refund_proposals_currency_is_a_code")
        ),
        sa.CheckConstraint("amount > 0", name=op.f("ck_refund_proposals_amount_is_positive")),
        sa.CheckConstraint(
            "(outcome IS NULL) = (decided_at IS NULL)",
            name=op.f("ck_refund_proposals_decided_when_it_ended"),
        ),
        sa.CheckConstraint(
            "(outcome IS NOT DISTINCT FROM 'approved') = (refund_id IS NOT NULL)",
            name=op.f("ck_refund_proposals_made_if_approved"),
        ),
        sa.ForeignKeyConstraint(
            ["decided_by_id"], ["staff.id"], name=op.f("fk_refund_proposals_decided_by_id_staff")
        ),
        sa.ForeignKeyConstraint(
            ["proposed_by_id"], ["staff.id"], name=op.f("fk_refund_proposals_proposed_by_id_staff")
        ),
        sa.ForeignKeyConstraint(
            ["refund_id"], ["refunds.id"], name=op.f("fk_refund_proposals_refund_id_refunds")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_refund_proposals")),
        sa.UniqueConstraint("idempotency_key", name=op.f("uq_refund_proposals_idempotency_key")),
        sa.UniqueConstraint("refund_id", name=op.f("uq_refund_proposals_refund_id")),
    )
    op.create_index(op.f("ix_refund_proposals_proposed_at"), "refund_proposals", ["proposed_at"])
    op.create_index(
        op.f("ix_refund_proposals_stripe_charge_id"), "refund_proposals", ["stripe_charge_id"]
    )


def accounting_tables() -> None:
    op.create_table(
        "accounting_zones",
        required("id", sa.Integer, sa.Identity(always=True)),
        required("zone", sa.String(64)),
        required("recorded_at", TIMESTAMP),
        required("recorded_by", sa.String(80)),
        optional("reason", sa.String(200)),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_accounting_zones")),
    )
    op.create_table(
        "account_maps",
        required("id", sa.Integer, sa.Identity(always=True)),
        required("saved_at", TIMESTAMP),
        required("saved_by", sa.String(80)),
        required("names", JSONB),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_account_maps")),
    )
    op.create_table(
        "daily_totals",
        required("day", sa.Date),
        required("frequency", sa.String(40)),
        required("currency", CURRENCY),
        required("debit", sa.String(40)),
        required("credit", sa.String(40)),
        required("amount", sa.BigInteger),
        required("entries", sa.Integer),
        required("payers", sa.Integer),
        required("first_time_payers", sa.Integer),
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
        required("zone", sa.String(64)),
        required("last_seq", sa.BigInteger),
        sa.PrimaryKeyConstraint("zone", name=op.f("pk_daily_totals_positions")),
    )
    op.create_table(
        "integrity_checks",
        required("check_name", sa.String(40)),
        required("description", sa.String()),
        required("failures", JSONB),
        required("checked_at", TIMESTAMP),
        sa.PrimaryKeyConstraint("check_name", name=op.f("pk_integrity_checks")),
    )
    op.create_table(
        "month_snapshots",
        required("kind", sa.String(20)),
        required("month", sa.Date),
        required("figures", JSONB),
        sa.PrimaryKeyConstraint("kind", "month", name=op.f("pk_month_snapshots")),
    )
    op.create_table(
        "period_closings",
        required("id", sa.Integer),
        required("month", sa.Date),
        required("zone", sa.String(64)),
        required("closed_at", TIMESTAMP),
        required("closed_by", sa.String(80)),
        required("last_seq", sa.BigInteger),
        required("chain_head", sa.LargeBinary),
        required("checklist", JSONB),
        optional("manifest_hash", sa.LargeBinary),
        optional("pack", sa.LargeBinary),
        optional("reopened_at", TIMESTAMP),
        optional("reopened_by", sa.String(80)),
        optional("reopen_reason", sa.String(200)),
        sa.CheckConstraint(
            "(reopened_at IS NULL) = (reopened_by IS NULL) AND (reopened_at IS NULL) "
            "= (reopen_reason IS NULL)",
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
        required("seq", sa.BigInteger, autoincrement=False),
        required("hash", sa.LargeBinary),
        required("verified_at", TIMESTAMP),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_verified_heads")),
    )
    op.create_table(
        "report_recipients",
        required("staff_id", ROW_ID),
        required("address_sealed", sa.LargeBinary),
        required("asked_at", TIMESTAMP),
        required("sent_month", sa.Date),
        sa.ForeignKeyConstraint(
            ["staff_id"],
            ["staff.id"],
            name=op.f("fk_report_recipients_staff_id_staff"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("staff_id", name=op.f("pk_report_recipients")),
    )
    op.create_table(
        "late_entries",
        required("seq", sa.BigInteger, autoincrement=False),
        required("booked_on", sa.Date),
        sa.ForeignKeyConstraint(
            ["seq"], ["ledger_entries.seq"], name=op.f("fk_late_entries_seq_ledger_entries")
        ),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_late_entries")),
    )
    op.create_index(op.f("ix_late_entries_booked_on"), "late_entries", ["booked_on"])


def mail_tables() -> None:
    op.create_table(
        "mail_refusals",
        required("mail_hash", sa.String(64)),
        required("status", sa.String(16)),
        required("first_at", TIMESTAMP),
        required("last_at", TIMESTAMP),
        sa.PrimaryKeyConstraint("mail_hash", name=op.f("pk_mail_refusals")),
    )
    op.create_index(op.f("ix_mail_refusals_status"), "mail_refusals", ["status"])
    op.create_table(
        "muted_subscriptions",
        required("stripe_subscription_id", STRIPE_ID),
        required("muted_at", TIMESTAMP),
        sa.PrimaryKeyConstraint("stripe_subscription_id", name=op.f("pk_muted_subscriptions")),
    )
    op.create_table(
        "outbox_mails",
        required("id", ROW_ID),
        required("key", sa.String(64)),
        required(
            "kind",
            one_of(
                "kind_is_known",
                "sign_in payment_failed action_needed lapsed needs_card card_changed "
                "card_expiring renews_soon amount_changed frequency_changed day_changed "
                "skipped paused resumed cancelled second_begun end_scheduled end_moved "
                "end_cancelled thanks receipt refunded yearly_statement",
            ),
        ),
        required("status", one_of("status_is_known", "pending sent dropped undeliverable")),
        optional("subscription_id", STRIPE_ID),
        optional("object_id", sa.String(255)),
        required("language", sa.String(8)),
        required("created_at", TIMESTAMP),
        required("expires_at", TIMESTAMP),
        optional("sent_at", TIMESTAMP),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox_mails")),
        sa.UniqueConstraint("key", name=op.f("uq_outbox_mails_key")),
    )
    op.create_index(op.f("ix_outbox_mails_created_at"), "outbox_mails", ["created_at"])
    op.create_index(op.f("ix_outbox_mails_subscription_id"), "outbox_mails", ["subscription_id"])


def risk_tables() -> None:
    op.create_table(
        "daily_salts",
        required("day", sa.Date),
        required("salt", sa.LargeBinary),
        sa.PrimaryKeyConstraint("day", name=op.f("pk_daily_salts")),
        prefixes=["UNLOGGED"],
    )
    op.create_table(
        "emergency_stops",
        required("id", ROW_ID),
        required("group", one_of("group_is_known", "protected all")),
        required("mode", one_of("mode_is_known", "pause cancel")),
        required("decided_at", TIMESTAMP),
        optional("proved_at", TIMESTAMP),
        optional("left_at_stripe", JSONB),
        optional("lifted_at", TIMESTAMP),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_emergency_stops")),
    )
    op.create_index(
        "uq_emergency_stops_standing",
        "emergency_stops",
        ["group", "mode"],
        unique=True,
        postgresql_where="lifted_at IS NULL",
    )
    op.create_table(
        "quarantines",
        required("stripe_charge_id", STRIPE_ID),
        required("flagged_at", TIMESTAMP),
        optional("processed_at", TIMESTAMP),
        sa.PrimaryKeyConstraint("stripe_charge_id", name=op.f("pk_quarantines")),
    )
    op.create_table(
        "rate_limit_buckets",
        required("key", sa.LargeBinary),
        required("full_at", TIMESTAMP),
        required("salt_date", sa.Date),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_rate_limit_buckets")),
        prefixes=["UNLOGGED"],
    )
    op.create_table(
        "risk_state",
        required("id", sa.Integer, autoincrement=False),
        required("restricted_until", TIMESTAMP),
        required("challenge_until", TIMESTAMP),
        required("evaluated_since", TIMESTAMP),
        required("trip_count", sa.Integer),
        sa.CheckConstraint("id = 1", name=op.f("ck_risk_state_is_single_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_risk_state")),
    )
    op.create_table(
        "used_tokens",
        required("digest", sa.LargeBinary),
        required("expires_at", TIMESTAMP),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_used_tokens")),
    )
    op.create_table(
        "emergency_stop_items",
        required("emergency_stop_id", ROW_ID),
        required("stripe_subscription_id", STRIPE_ID),
        required("state", one_of("state_is_known", "pending done already_ended rejected")),
        required("attempts", sa.Integer),
        sa.ForeignKeyConstraint(
            ["emergency_stop_id"],
            ["emergency_stops.id"],
            name=op.f("fk_emergency_stop_items_emergency_stop_id_emergency_stops"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(
            "emergency_stop_id", "stripe_subscription_id", name=op.f("pk_emergency_stop_items")
        ),
    )


def signups_tables() -> None:
    op.create_table(
        "confirmation_mails",
        required("address_hash", sa.LargeBinary),
        required("sent_at", TIMESTAMP),
        sa.PrimaryKeyConstraint("address_hash", name=op.f("pk_confirmation_mails")),
    )
    op.create_index(op.f("ix_confirmation_mails_sent_at"), "confirmation_mails", ["sent_at"])
    op.create_table(
        "newsletter_signups",
        required(
            "state",
            one_of(
                "state_is_known", "unconfirmed confirmed stuck delivered suppressed undelivered"
            ),
        ),
        required("privacy_version", sa.String(64)),
        required("consented_at", TIMESTAMP),
        optional("confirmed_at", TIMESTAMP),
        optional("delivery_started_at", TIMESTAMP),
        optional("next_attempt_at", TIMESTAMP),
        required("id", ROW_ID),
        optional("address_hash", sa.LargeBinary),
        optional("address_ciphertext", sa.LargeBinary),
        required("language", sa.String(8)),
        required("deprioritised", sa.Boolean),
        required("attempts", sa.Integer),
        required("signed_up_at", TIMESTAMP),
        optional("confirmation_sent_at", TIMESTAMP),
        optional("ended_at", TIMESTAMP),
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
        op.f("ix_newsletter_signups_address_hash"), "newsletter_signups", ["address_hash"]
    )
    op.create_index(
        "ix_newsletter_signups_next_attempt_at",
        "newsletter_signups",
        ["next_attempt_at"],
        postgresql_where="state = 'confirmed'",
    )
    op.create_index(
        op.f("ix_newsletter_signups_signed_up_at"), "newsletter_signups", ["signed_up_at"]
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
        required("month", sa.Date),
        required(
            "step", one_of("step_is_known", "signed_up confirmed sent opened missed calendar")
        ),
        required("number", sa.Integer),
        sa.CheckConstraint("number > 0", name=op.f("ck_reminder_counts_number_is_positive")),
        sa.PrimaryKeyConstraint("month", "step", name=op.f("pk_reminder_counts")),
    )
    op.create_table(
        "suppressed_addresses",
        required("address_hash", sa.LargeBinary),
        required("reason", one_of("reason_is_known", "unsubscribed complained bounced")),
        required("suppressed_at", TIMESTAMP),
        optional("expires_at", TIMESTAMP),
        sa.PrimaryKeyConstraint("address_hash", name=op.f("pk_suppressed_addresses")),
    )
    op.create_table(
        "reminders",
        required(
            "state",
            one_of(
                "state_is_known",
                "unconfirmed checkout_open scheduled sent cancelled donated missed "
                "suppressed superseded key_lost",
            ),
        ),
        required("verified", sa.Boolean),
        required("zone", sa.String(64)),
        optional("frequency", one_of("frequency_is_known", "once monthly annual periodic other")),
        optional("amount", sa.BigInteger),
        optional("currency", CURRENCY),
        required("signed_up_on", sa.Date),
        required("first_send_on", sa.Date),
        optional("interval_months", sa.Integer),
        required("slots", sa.Integer),
        required("slot", sa.Integer),
        required("sent_count", sa.Integer),
        optional("due_on", sa.Date),
        optional("contribution_id", ROW_ID),
        optional("enqueued_at", TIMESTAMP),
        required("id", ROW_ID),
        optional("address_hash", sa.LargeBinary),
        optional("address_ciphertext", sa.LargeBinary),
        required("language", sa.String(8)),
        required("deprioritised", sa.Boolean),
        required("attempts", sa.Integer),
        required("signed_up_at", TIMESTAMP),
        optional("confirmation_sent_at", TIMESTAMP),
        optional("ended_at", TIMESTAMP),
        sa.CheckConstraint(
            "(state = 'scheduled') = (due_on IS NOT NULL)",
            name=op.f("ck_reminders_due_if_scheduled"),
        ),
        sa.CheckConstraint(
            "(state IN ('unconfirmed', 'checkout_open', 'scheduled')) "
            "= (address_ciphertext IS NOT NULL)",
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
    op.create_index(op.f("ix_reminders_address_hash"), "reminders", ["address_hash"])
    op.create_index(
        "ix_reminders_due", "reminders", ["due_on", "id"], postgresql_where="state = 'scheduled'"
    )
    op.create_index(op.f("ix_reminders_signed_up_at"), "reminders", ["signed_up_at"])
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
        "erased_at_stripe",
        required("stripe_object_id", STRIPE_ID),
        required("erased_at", TIMESTAMP),
        sa.PrimaryKeyConstraint("stripe_object_id", name=op.f("pk_erased_at_stripe")),
    )
    op.create_index(op.f("ix_erased_at_stripe_erased_at"), "erased_at_stripe", ["erased_at"])
    op.create_table(
        "support_cases",
        required("id", ROW_ID),
        required("staff_id", ROW_ID),
        required("donor_id", ROW_ID),
        required("expires_at", TIMESTAMP),
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
    op.create_index(op.f("ix_support_cases_donor_id"), "support_cases", ["donor_id"])


def infra_tables() -> None:
    op.create_table(
        "alerts",
        required("id", sa.Integer),
        required(
            "kind",
            one_of(
                "kind_is_known",
                "imported adoption_mismatch suspense unattributed integrity_check_failed "
                "retries_exhausted mail_undeliverable mail_refused missing_at_stripe "
                "card_testing charged_after_cancellation change_not_made debt_left "
                "invoice_left "
                "activity_during_stop stop_incomplete confirmation_limit_reached "
                "sign_in_link_limit_reached newsletter_delivery_failed "
                "approval_waits refund_failed "
                "dispute_opened evidence_due dispute_lost fraud_warning payout_failed "
                "webhook_endpoint_drift quarantined statement_descriptor passkey_cloned "
                "donor_view_limit_reached descriptor_review_due stripe_unavailable "
                "stripe_route_unavailable "
                "stripe_key_refused stripe_permission_missing wrong_stripe_account "
                "stripe_value_unknown "
                "object_failed schedule_failed address_keys_unreadable import_stalled "
                "webhooks_missing "
                "readers_hidden erase_at_stripe event_endpoint_disabled",
            ),
        ),
        required("object_id", sa.String(255)),
        optional("job", sa.String(64)),
        required("opened_at", TIMESTAMP),
        optional("closed_at", TIMESTAMP),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alerts")),
    )
    op.create_index(
        "uq_alerts_open",
        "alerts",
        ["kind", "object_id", "job"],
        unique=True,
        postgresql_nulls_not_distinct=True,
        postgresql_where="closed_at IS NULL",
    )
    op.create_table(
        "audit_entries",
        required("seq", sa.BigInteger, sa.Identity(always=True)),
        required("recorded_at", TIMESTAMP),
        optional("staff_id", ROW_ID),
        required("name", sa.String(80)),
        required("action", sa.String(40)),
        required("object_id", sa.String(255)),
        required("reason", sa.String(200)),
        sa.CheckConstraint("action ~ '^[a-z_]+$'", name=op.f("ck_audit_entries_action_is_a_word")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_audit_entries")),
    )
    op.create_index("ix_audit_entries_action", "audit_entries", ["action", "seq"])
    op.create_index("ix_audit_entries_name", "audit_entries", ["name", "seq"])
    op.create_index("ix_audit_entries_recorded_at", "audit_entries", ["recorded_at"])
    op.create_table(
        "event_endpoints",
        required("id", ROW_ID),
        required("name", sa.String(80)),
        required("sealed", sa.LargeBinary),
        required("kinds", sa.ARRAY(sa.Text)),
        required("created_at", TIMESTAMP),
        optional("disabled_at", TIMESTAMP),
        optional(
            "disabled_reason",
            one_of("disabled_reason_is_known", "by_colleague failing gone unreadable"),
        ),
        optional("failing_since", TIMESTAMP),
        required("failures", sa.SmallInteger, server_default="0"),
        optional("retry_at", TIMESTAMP),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_event_endpoints")),
    )
    op.create_table(
        "outgoing_events",
        required("id", ROW_ID),
        required(
            "kind",
            one_of(
                "kind_is_known",
                "contribution.paid contribution.refunded contribution.disputed "
                "subscription.started subscription.changed subscription.failed "
                "subscription.recovered subscription.ended payout.paid period.closed "
                "endpoint.test",
            ),
        ),
        required("fact", sa.String(255)),
        required("occurred_at", TIMESTAMP),
        required("recorded_at", TIMESTAMP),
        optional("contribution_id", ROW_ID),
        required("figures", JSONB),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outgoing_events")),
    )
    op.create_index(
        op.f("ix_outgoing_events_contribution_id"), "outgoing_events", ["contribution_id"]
    )
    op.create_index("ix_outgoing_events_recorded_at", "outgoing_events", ["recorded_at"])
    op.create_index(
        "uq_outgoing_events_kind_fact", "outgoing_events", ["kind", "fact"], unique=True
    )
    op.create_table(
        "event_deliveries",
        required("event_id", ROW_ID),
        required("endpoint_id", ROW_ID),
        required("state", one_of("state_is_known", "waiting delivered given_up")),
        required("attempts", sa.SmallInteger, server_default="0"),
        optional("next_attempt_at", TIMESTAMP),
        optional("last_attempt_at", TIMESTAMP),
        optional(
            "problem",
            one_of(
                "problem_is_known",
                "address_refused unreachable timed_out tls garbage redirected status",
            ),
        ),
        optional("response_status", sa.SmallInteger),
        required("response_excerpt", sa.String(200), server_default=""),
        sa.ForeignKeyConstraint(
            ["endpoint_id"],
            ["event_endpoints.id"],
            name=op.f("fk_event_deliveries_endpoint_id_event_endpoints"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["event_id"],
            ["outgoing_events.id"],
            name=op.f("fk_event_deliveries_event_id_outgoing_events"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("event_id", "endpoint_id", name=op.f("pk_event_deliveries")),
    )
    op.create_index(
        "ix_event_deliveries_waiting",
        "event_deliveries",
        ["endpoint_id", "next_attempt_at"],
        postgresql_where="state = 'waiting'",
    )
    op.create_table(
        "schedule_failures",
        required("name", sa.String(64)),
        required("failures", sa.Integer),
        required("failed_since", TIMESTAMP),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_schedule_failures")),
    )
    op.create_table(
        "shown_pages",
        required("id", ROW_ID),
        required("sealed", sa.LargeBinary),
        optional("key_by_ticket", sa.LargeBinary),
        required("expires_at", TIMESTAMP),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_shown_pages")),
        prefixes=["UNLOGGED"],
    )
    op.create_index(op.f("ix_shown_pages_expires_at"), "shown_pages", ["expires_at"])
    op.create_table(
        "stripe_accounts",
        required("is_bound", sa.Boolean),
        required("account_id", sa.String(255)),
        required("livemode", sa.Boolean),
        required("bound_at", TIMESTAMP),
        optional("own_name_since", TIMESTAMP),
        sa.CheckConstraint("is_bound", name=op.f("ck_stripe_accounts_there_is_one")),
        sa.PrimaryKeyConstraint("is_bound", name=op.f("pk_stripe_accounts")),
    )


def webhooks_tables() -> None:
    op.create_table(
        "stripe_events",
        required("id", STRIPE_ID),
        required("type", sa.String(255)),
        required("object_type", sa.String(255)),
        optional("object_id", sa.String(255)),
        optional("api_version", sa.String(255)),
        required("created", TIMESTAMP),
        required("received_at", TIMESTAMP),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stripe_events")),
    )
    op.create_index(op.f("ix_stripe_events_object_id"), "stripe_events", ["object_id"])
    op.create_index(
        "ix_stripe_events_received_at", "stripe_events", ["received_at"], postgresql_using="brin"
    )
