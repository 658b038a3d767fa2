"""Two years of books made by the database itself: as many gifts as are asked for, with renewals,
those that failed first or for good, refunds, disputes and payouts, in three currencies. The rows
keep every constraint; only the chain's hashes are not of what they stand beside.
"""

from collections.abc import Mapping

import psycopg
from sqlalchemy.engine import make_url

MONTHS = 24
# One row for each gift. A promise pays every month, for three to twenty-two months.
_CREATE_GIFTS = """
    CREATE TEMP TABLE gifts AS
    WITH numbered AS (
        SELECT g, g % 10 AS bucket, g / 10 AS k, greatest({gifts} / {months} / 10, 1) AS promises,
               TIMESTAMPTZ '{since}' + g * (INTERVAL '{days} days' / {gifts}) AS at
          FROM generate_series(1, {gifts}) AS g),
    owned AS (
        SELECT *, CASE WHEN bucket < 3 THEN 'once' WHEN bucket < 9 THEN 'monthly'
                       ELSE 'annual' END AS frequency,
               md5(CASE WHEN bucket < 3 THEN 'o' || g
                        WHEN bucket < 9 THEN 'm' || bucket || '-' || k % promises || '-'
                             || k / promises / (3 + k % promises % 20)
                        ELSE 'a' || k % promises || '-' || k / promises / 12 END
                   ) AS owner
          FROM numbered)
    SELECT g, frequency, owner, date_trunc('second', at) AS at,
           CASE WHEN left(owner, 1) < 'a' THEN 'usd' WHEN left(owner, 1) < 'e' THEN 'eur'
                ELSE 'gbp' END AS currency,
           CASE WHEN left(owner, 1) < 'a' THEN 500 ELSE 700 END
             + ('x' || substr(owner, 2, 2))::bit(8)::int % 20 * 125
             + CASE WHEN frequency = 'monthly' AND g * 2 > {gifts}
                     AND substr(owner, 5, 1) < '3' THEN 300 ELSE 0 END AS amount,
           CASE substr(owner, 4, 1) WHEN '0' THEN 'spring' WHEN '1' THEN 'spring'
                WHEN '2' THEN 'war-diary' WHEN '3' THEN 'newsletter' WHEN '4' THEN 'newsletter'
           END AS campaign
      FROM owned;
    ALTER TABLE gifts ADD fee int;
    UPDATE gifts SET fee = amount * 29 / 1000 + 30;
    CREATE INDEX ON gifts (owner);
"""
_INSERT_STEPS = (
    """
    INSERT INTO contributions (id, created_at, frequency, amount, currency, status, origin,
                               campaign, language)
    SELECT DISTINCT ON (owner) owner, at, frequency, amount, currency, 'paid', 'reader', campaign,
           'en' FROM gifts ORDER BY owner, at
    """,
    """
    INSERT INTO payment_intent_links SELECT 'pi_' || g, owner, frequency FROM gifts
    """,
    """
    INSERT INTO charges (stripe_charge_id, stripe_payment_intent_id, status, amount, currency,
                         charged_at, balance_transaction, synced_at)
    SELECT 'ch_' || g, 'pi_' || g, 'succeeded', amount, currency, at, 'txn_' || g, at FROM gifts
    """,
    # each 20th gift failed three days before, all of them renewals, and each 50th does for good
    """
    INSERT INTO payment_intent_links
    SELECT 'pi_f' || g, owner, frequency FROM gifts WHERE g % 50 = 3
    """,
    """
    INSERT INTO charges (stripe_charge_id, stripe_payment_intent_id, status, amount, currency,
                         charged_at, synced_at)
    SELECT 'ch_f' || g, CASE WHEN g % 20 = 7 THEN 'pi_' ELSE 'pi_f' END || g, 'failed', amount,
           currency, at - CASE WHEN g % 20 = 7 THEN INTERVAL '3 days' ELSE INTERVAL '0' END, at
      FROM gifts WHERE g % 20 = 7 OR g % 50 = 3
    """,
    """
    INSERT INTO balance_transactions (id, type, reporting_category, balance_type, amount, fee, net,
                                      currency, fees, source, charge, occurred_at, available_on)
    SELECT 'txn_' || g, 'charge', 'charge', 'payments', amount, fee, amount - fee, currency,
           jsonb_build_array(jsonb_build_array('stripe_fee', fee)), 'ch_' || g, 'ch_' || g, at,
           at + INTERVAL '2 days' FROM gifts
    """,
    """
    INSERT INTO ledger_entries
    SELECT 2 * g - 2 + n, CASE n WHEN 1 THEN 'stripe:balance' ELSE 'expense:processing' END,
           CASE n WHEN 1 THEN 'income:' || frequency ELSE 'stripe:balance' END,
           CASE n WHEN 1 THEN amount ELSE fee END, currency, at, 'txn_' || g, owner,
           sha256(int8send(2 * g + n)) FROM gifts, generate_series(1, 2) AS n
    """,
    # back again: each 49th gift is refunded a week later, each 997th is disputed
    """
    INSERT INTO balance_transactions (id, type, reporting_category, balance_type, amount, fee, net,
                                      currency, fees, source, charge, occurred_at, available_on)
    SELECT 'txn_r' || g, CASE WHEN g % 49 = 0 THEN 'refund' ELSE 'adjustment' END,
           CASE WHEN g % 49 = 0 THEN 'refund' ELSE 'dispute' END, 'payments',
           -amount, 0, -amount, currency, '[]',
           CASE WHEN g % 49 = 0 THEN 're_' ELSE 'dp_' END || g, 'ch_' || g, at + INTERVAL '7 days',
           at + INTERVAL '7 days'
      FROM gifts WHERE g % 49 = 0 OR g % 997 = 0
    """,
    """
    INSERT INTO ledger_entries
    SELECT (SELECT max(seq) FROM ledger_entries) + row_number() OVER (ORDER BY at, g),
           CASE WHEN g % 49 = 0 THEN 'refunds' ELSE 'disputes' END, 'stripe:balance', amount,
           currency, at + INTERVAL '7 days', 'txn_r' || g, owner, sha256(int8send(-g))
      FROM gifts WHERE g % 49 = 0 OR g % 997 = 0
    """,
    """
    INSERT INTO refunds (id, stripe_refund_id, stripe_charge_id, status, amount, currency, reason,
                         requested_at, balance_transaction, synced_at)
    SELECT md5('r' || g), 're_' || g, 'ch_' || g, 'succeeded', amount, currency,
           'requested_by_customer', at + INTERVAL '7 days', 'txn_r' || g, at FROM gifts
     WHERE g % 49 = 0
    """,
    """
    INSERT INTO disputes
    SELECT 'dp_' || g, 'ch_' || g, CASE g % 3 WHEN 0 THEN 'won' WHEN 1 THEN 'lost'
           ELSE 'needs_response' END, amount, currency, 'fraudulent', at + INTERVAL '7 days',
           at + INTERVAL '17 days', g % 3 < 2, false, at FROM gifts WHERE g % 997 = 0 AND g % 49 > 0
    """,
    # a payout a day, of all that became available
    """
    CREATE TEMP TABLE days AS
    SELECT 'po_' || currency || to_char(occurred_at, 'YYYYMMDD') AS id, currency,
           date_trunc('day', occurred_at) + INTERVAL '3 days' AS at, sum(net) AS amount
      FROM balance_transactions GROUP BY 1, 2, 3 HAVING sum(net) > 0
    """,
    """
    INSERT INTO balance_transactions (id, type, reporting_category, balance_type, amount, fee, net,
                                      currency, fees, source, occurred_at, available_on)
    SELECT 'txn_' || id, 'payout', 'payout', 'payments', -amount, 0, -amount, currency, '[]', id,
           at, at FROM days
    """,
    """
    INSERT INTO payouts (stripe_payout_id, status, amount, currency, automatic, created_at,
                         arrives_on, balance_transaction, synced_at, method, reconciliation_status,
                         transactions_listed_at)
    SELECT id, 'paid', amount, currency, true, at, at::date + 2, 'txn_' || id, at, 'standard',
           'completed', at FROM days
    """,
    """
    INSERT INTO payout_transactions
    SELECT 'po_' || b.currency || to_char(b.occurred_at, 'YYYYMMDD'), b.id, b.net, b.currency
      FROM balance_transactions b
      JOIN days ON days.id = 'po_' || b.currency || to_char(b.occurred_at, 'YYYYMMDD')
     WHERE b.type <> 'payout'
    """,
    """
    INSERT INTO ledger_entries
    SELECT (SELECT max(seq) FROM ledger_entries) + row_number() OVER (ORDER BY at, id, n),
           CASE n WHEN 1 THEN 'in-transit' ELSE 'bank' END,
           CASE n WHEN 1 THEN 'stripe:balance' ELSE 'in-transit' END, amount, currency,
           at + (n - 1) * INTERVAL '2 days', 'txn_' || id, NULL,
           sha256(convert_to(id || n, 'UTF8'))
      FROM days, generate_series(1, 2) AS n
    """,
    """
    INSERT INTO subscriptions (stripe_subscription_id, contribution_id, stripe_customer_id, status,
                               frequency, amount, currency, stripe_price_id,
                               stripe_payment_method_id, card_expires_on, started_at,
                               current_period_end, is_paused, ended_at, billing_anchor_at,
                               synced_at)
    SELECT 'sub_' || left(owner, 20), owner, 'cus_' || left(owner, 20),
           CASE WHEN alive AND substr(owner, 9, 2) < '05' THEN 'past_due' WHEN alive THEN 'active'
                ELSE 'canceled' END, frequency, amount, currency, 'price_1',
           CASE WHEN substr(owner, 11, 2) > '02' THEN 'pm_' || left(owner, 12) END,
           CASE WHEN substr(owner, 13, 1) > '8' THEN until::date + 20 ELSE until::date + 700 END,
           since, until + CASE frequency WHEN 'monthly' THEN INTERVAL '1 month'
                                         ELSE INTERVAL '1 year' END, false,
           CASE WHEN NOT alive THEN until + INTERVAL '25 days' END, since, until
      FROM (SELECT owner, max(frequency) AS frequency, max(amount) AS amount,
                   max(currency) AS currency, min(at) AS since, max(at) AS until,
                   max(at) > (SELECT max(at) FROM gifts) - CASE max(frequency)
                       WHEN 'annual' THEN INTERVAL '1 year' ELSE INTERVAL '32 days' END AS alive
              FROM gifts WHERE frequency <> 'once' GROUP BY owner) AS promises
    """,
    """
    INSERT INTO subscription_changes
    SELECT md5('c' || contribution_id), stripe_subscription_id,
           CASE WHEN substr(contribution_id, 6, 1) < '9' THEN 'cancelled' ELSE 'lapsed' END,
           'donor', ended_at, ended_at
      FROM subscriptions WHERE ended_at IS NOT NULL
    """,
    "INSERT INTO import_cursors VALUES ('import_completed', now()) ON CONFLICT DO NOTHING",
)


def generate(
    database: str, gifts: int, *, since: str = "2024-12-01 00:00+00", days: int = 720
) -> None:
    """Make two years of that many gifts in an empty, migrated database."""
    facts: Mapping[str, object] = {"gifts": gifts, "months": MONTHS, "since": since, "days": days}
    plain = make_url(database).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off; SET work_mem = '128MB'")
        connection.execute("SET session_replication_role = replica")  # no month is kept yet
        for step in (_CREATE_GIFTS, *_INSERT_STEPS):
            connection.execute(step.format(**facts).encode())
        connection.execute("VACUUM ANALYZE")
