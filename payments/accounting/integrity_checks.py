"""The rules of the ledger as SQL: each check is one query that names the rows that break it.

No tolerance, and no arithmetic between two currencies. A query returns one column, a sentence for
each row that breaks the rule, and is given a LIMIT by its caller.
"""

from payments.accounting import correction_checks, daily_totals, deferred_income, mrr_rollforward
from payments.infra import audit_log
from payments.settlement.refunds import UNSUCCESSFUL_STATUSES

# The account that a transaction moves, by which of Stripe's balances it is of. `posting_rules` has
# the same table; a test compares them.
CASH_ACCOUNT_SQL = """CASE coalesce(bt.balance_type, 'payments')
        WHEN 'payments' THEN 'stripe:balance'
        WHEN 'risk_reserved' THEN 'stripe:reserved'
        WHEN 'refund_and_dispute_prefunding' THEN 'stripe:prefunding'
        WHEN 'issuing' THEN 'stripe:issuing'
        ELSE 'stripe:held' END"""

POSTED_SQL = f"""
    WITH posted_amounts AS (
        SELECT bt.id,
               bt.net,
               coalesce(sum(CASE
                   WHEN e.debit = {CASH_ACCOUNT_SQL} THEN e.amount
                   WHEN e.credit = {CASH_ACCOUNT_SQL} THEN -e.amount END), 0) AS posted
          FROM balance_transactions bt
          LEFT JOIN ledger_entries e
            ON e.balance_transaction = bt.id AND e.currency = bt.currency
         GROUP BY bt.id, bt.net
    )
    SELECT id || ': net ' || net || ', posted ' || posted
      FROM posted_amounts
      LEFT JOIN unposted_transactions unposted ON unposted.balance_transaction = id
     WHERE posted <> CASE WHEN unposted.balance_transaction IS NULL THEN net ELSE 0 END
     ORDER BY id
"""  # noqa: S608 - our own constant
RECORDED_SQL = """
    SELECT DISTINCT e.balance_transaction || ': in the books, and not among what moved at Stripe'
      FROM ledger_entries e
      LEFT JOIN balance_transactions bt ON bt.id = e.balance_transaction
     WHERE bt.id IS NULL
     ORDER BY 1
"""
FEES_SQL = """
    SELECT bt.id || ': fee ' || bt.fee
      FROM balance_transactions bt
     WHERE bt.fee <> (SELECT coalesce(sum(CAST(part ->> 1 AS bigint)), 0)
                        FROM jsonb_array_elements(bt.fees) AS part)
        OR bt.net <> bt.amount - bt.fee
     ORDER BY bt.id
"""
INCOME_SQL = """
    WITH posted_charges AS (
        SELECT c.stripe_charge_id,
               c.balance_transaction,
               c.amount,
               c.currency,
               link.contribution_id,
               link.frequency
          FROM charges c
          LEFT JOIN payment_intent_links link USING (stripe_payment_intent_id)
         WHERE c.status IN ('succeeded', 'returned')
           AND c.balance_transaction IS NOT NULL
           AND NOT EXISTS (SELECT FROM unposted_transactions unposted
                            WHERE unposted.balance_transaction = c.balance_transaction)
    ),
    income_entries AS (
        SELECT *
          FROM ledger_entries
         WHERE (credit LIKE 'income:%' OR credit = 'other:income')
           AND correction_id IS NULL
    )
    SELECT coalesce(c.stripe_charge_id, e.balance_transaction)
           || ': charged ' || coalesce(CAST(c.amount AS text), 'nothing')
           || ', income ' || coalesce(CAST(e.amount AS text), 'nothing')
      FROM posted_charges c
      FULL JOIN income_entries e ON e.balance_transaction = c.balance_transaction
      LEFT JOIN balance_transactions bt ON bt.id = e.balance_transaction
     WHERE e.seq IS NULL
        OR c.stripe_charge_id IS NULL
        OR (e.currency = c.currency AND e.amount <> c.amount)
        OR e.amount <> bt.amount
        OR e.contribution_id IS DISTINCT FROM c.contribution_id
        OR e.credit <> CASE c.frequency WHEN 'other' THEN 'other:income'
                                        ELSE 'income:' || c.frequency END
     ORDER BY 1
"""
_UNSUCCESSFUL_REFUNDS_SQL = ", ".join(f"'{status}'" for status in UNSUCCESSFUL_STATUSES)
REFUNDS_SQL = f"""
    WITH refund_transactions AS (
        SELECT stripe_refund_id, amount, currency, balance_transaction
          FROM refunds
         WHERE balance_transaction IS NOT NULL
         UNION ALL
        SELECT stripe_refund_id, amount, currency, failure_balance_transaction
          FROM refunds
         WHERE failure_balance_transaction IS NOT NULL
    ),
    posted_refunds AS (
        SELECT r.*
          FROM refund_transactions r
          JOIN balance_transactions bt ON bt.id = r.balance_transaction
          LEFT JOIN unposted_transactions unposted USING (balance_transaction)
         WHERE unposted.balance_transaction IS NULL
    ),
    refund_entries AS (
        SELECT e.*
          FROM ledger_entries e
          JOIN balance_transactions bt ON bt.id = e.balance_transaction
         WHERE ARRAY['refunds', 'other:refunds'] && ARRAY[e.debit, e.credit]::text[]
           AND bt.source ~ '^(re|pyr)_'
           AND e.correction_id IS NULL
    )
    SELECT coalesce(r.stripe_refund_id, e.balance_transaction)
           || ': refunded ' || coalesce(CAST(r.amount AS text), 'nothing')
           || ', booked ' || coalesce(CAST(e.amount AS text), 'nothing')
      FROM posted_refunds r
      FULL JOIN refund_entries e USING (balance_transaction)
     WHERE e.seq IS NULL
        OR r.balance_transaction IS NULL
        OR (e.currency = r.currency AND e.amount <> r.amount)
     UNION ALL
    SELECT c.stripe_charge_id || ': refunded ' || sum(r.amount) || ' of ' || c.amount
      FROM charges c
      JOIN refunds r USING (stripe_charge_id)
     WHERE r.status NOT IN ({_UNSUCCESSFUL_REFUNDS_SQL})
     GROUP BY c.stripe_charge_id, c.amount
    HAVING sum(r.amount) > c.amount
     ORDER BY 1
"""  # noqa: S608 - constants only
OTHER_INCOME_SQL = """
    WITH other_transactions AS (
        SELECT bt.id
          FROM payment_intent_links link
          JOIN charges c USING (stripe_payment_intent_id)
          JOIN balance_transactions bt ON bt.charge = c.stripe_charge_id
         WHERE link.frequency = 'other'
    )
    SELECT e.balance_transaction || ': ' || side.account || ' moved by '
           || CASE WHEN other.id IS NULL THEN 'no other income' ELSE 'other income' END
      FROM ledger_entries e
     CROSS JOIN LATERAL (VALUES (e.debit), (e.credit)) AS side(account)
      LEFT JOIN other_transactions other ON other.id = e.balance_transaction
     WHERE e.correction_id IS NULL
       AND CASE WHEN other.id IS NULL THEN side.account LIKE 'other:%'
                ELSE side.account NOT LIKE ALL ('{stripe:%,other:%,suspense}') END
     ORDER BY e.seq
"""
DISPUTES_SQL = """
    SELECT e.balance_transaction || ': of no dispute that is known'
      FROM ledger_entries e
      JOIN balance_transactions bt ON bt.id = e.balance_transaction
      LEFT JOIN disputes d
        ON d.stripe_dispute_id = bt.source AND d.stripe_charge_id = bt.charge
     WHERE ARRAY['disputes', 'other:disputes'] && ARRAY[e.debit, e.credit]::text[]
       AND d.stripe_dispute_id IS NULL
       AND e.correction_id IS NULL
     ORDER BY e.seq
"""
# A payout that arrived counts 1 for its arrival, and -1 for its return.
PAYOUTS_SQL = """
    WITH payout_movements AS (
        SELECT stripe_payout_id, status, balance_transaction, 1 AS arrivals
          FROM payouts
         UNION ALL
        SELECT stripe_payout_id, status, failure_balance_transaction, -1
          FROM payouts
         WHERE failure_balance_transaction IS NOT NULL
    ),
    bank_entries AS (
        SELECT *
          FROM ledger_entries
         WHERE debit IN ('bank', 'in-transit')
           AND credit IN ('bank', 'in-transit')
    ),
    payouts_in_bank AS (
        SELECT coalesce(p.stripe_payout_id, bt.source) AS payout_id,
               max(p.status) AS status,
               coalesce(sum(coalesce(p.arrivals, 1)) FILTER (WHERE e.seq IS NOT NULL), 0) AS in_bank
          FROM payout_movements p
          FULL JOIN bank_entries e USING (balance_transaction)
          LEFT JOIN balance_transactions bt ON bt.id = e.balance_transaction
         GROUP BY 1
    )
    SELECT payout_id || ': ' || coalesce(status, 'unknown') || ', in the bank ' || in_bank
      FROM payouts_in_bank
     WHERE (status = 'paid') IS DISTINCT FROM (in_bank = 1)
     ORDER BY 1
"""
PAYOUT_COMPOSITION_SQL = """
    SELECT t.stripe_payout_id || ': ' || t.balance_transaction || CASE
               WHEN bt.id IS NULL THEN ' is missing'
               WHEN bt.net <> t.net THEN ' is ' || bt.net || ', paid out as ' || t.net
               WHEN t.currency <> p.currency OR bt.currency <> p.currency
               THEN ' is foreign: ' || bt.currency
               ELSE ' is foreign: in another payout too' END
      FROM payout_transactions t
      JOIN payouts p USING (stripe_payout_id)
      LEFT JOIN balance_transactions bt ON bt.id = t.balance_transaction
     WHERE bt.id IS NULL
        OR bt.net <> t.net
        OR t.currency <> p.currency
        OR bt.currency <> p.currency
        OR EXISTS (SELECT FROM payout_transactions other
                    WHERE other.balance_transaction = t.balance_transaction
                      AND other.stripe_payout_id <> t.stripe_payout_id)
     UNION ALL
    SELECT p.stripe_payout_id || ': its transactions are ' || coalesce(sum(t.net), 0)
           || ', paid out ' || p.amount
      FROM payouts p
      LEFT JOIN payout_transactions t
        ON t.stripe_payout_id = p.stripe_payout_id
       AND t.balance_transaction <> p.balance_transaction
     WHERE p.transactions_listed_at IS NOT NULL
     GROUP BY p.stripe_payout_id, p.amount
    HAVING coalesce(sum(t.net), 0) <> p.amount
     UNION ALL
    SELECT p.stripe_payout_id || ': ' || bt.id || ' took ' || -bt.amount
           || ', paid out ' || p.amount
      FROM payouts p
      JOIN balance_transactions bt ON bt.id = p.balance_transaction
     WHERE bt.amount <> -p.amount
        OR bt.currency <> p.currency
     ORDER BY 1
"""
SUSPENSE_SQL = """
    SELECT e.balance_transaction || ': '
           || abs(sum(CASE e.debit WHEN 'suspense' THEN e.amount ELSE -e.amount END)) || ' '
           || e.currency || ', no open alert'
      FROM ledger_entries e
     WHERE 'suspense' IN (e.debit, e.credit)
       AND NOT EXISTS (SELECT FROM alerts a
                        WHERE a.kind = 'suspense'
                          AND a.object_id = e.balance_transaction
                          AND a.closed_at IS NULL)
     GROUP BY e.balance_transaction, e.currency
    HAVING sum(CASE e.debit WHEN 'suspense' THEN e.amount ELSE -e.amount END) <> 0
     ORDER BY min(e.seq)
"""
# By month and currency: what the daily totals say moved Stripe's balance, beside what Stripe's own
# transactions say. A late entry is booked later than its transaction occurred.
BALANCE_ROLLFORWARD_SQL = f"""
    WITH totals_position AS (
        SELECT last_seq, zone FROM daily_totals_positions
    ),
    ledger_months AS (
        SELECT CAST(date_trunc('month', day) AS date) AS month,
               currency,
               sum(CASE debit WHEN 'stripe:balance' THEN amount ELSE -amount END) AS net
          FROM daily_totals
         WHERE 'stripe:balance' IN (debit, credit)
         GROUP BY 1, 2
    ),
    late_transactions AS (
        SELECT DISTINCT e.balance_transaction AS id, late.booked_on
          FROM late_entries late
          JOIN ledger_entries e USING (seq)
         WHERE 'stripe:balance' IN (e.debit, e.credit)
    ),
    later_transactions AS (
        SELECT e.balance_transaction AS id
          FROM ledger_entries e
         WHERE e.seq > (SELECT last_seq FROM totals_position)
           AND 'stripe:balance' IN (e.debit, e.credit)
    ),
    stripe_months AS (
        SELECT CAST(date_trunc('month', coalesce(
                   CAST(late.booked_on AS timestamp),
                   bt.occurred_at AT TIME ZONE totals_position.zone)) AS date) AS month,
               bt.currency,
               sum(bt.net) AS net
          FROM totals_position
         CROSS JOIN balance_transactions bt
          LEFT JOIN late_transactions late USING (id)
         WHERE {CASH_ACCOUNT_SQL} = 'stripe:balance'
           AND NOT EXISTS (SELECT FROM unposted_transactions unposted
                            WHERE unposted.balance_transaction = bt.id)
           AND bt.id NOT IN (SELECT id FROM later_transactions)
         GROUP BY 1, 2
    ),
    months AS (
        SELECT month,
               currency,
               coalesce(ledger_months.net, 0) AS ledger_net,
               coalesce(stripe_months.net, 0) AS stripe_net,
               sum(coalesce(stripe_months.net, 0))
                   OVER (PARTITION BY currency ORDER BY month) AS closing
          FROM ledger_months
          FULL JOIN stripe_months USING (month, currency)
    )
    SELECT to_char(month, 'YYYY-MM ') || currency || ': opening ' || closing - stripe_net
           || ', moved ' || ledger_net || ', closing ' || closing
      FROM months
     WHERE ledger_net <> stripe_net
       AND EXISTS (SELECT FROM totals_position)
     ORDER BY 1
"""  # noqa: S608 - our own constant

_MRR_COLUMNS_SQL = ", ".join(f"{name} bigint" for name in mrr_rollforward.MRR_MOVEMENTS)
_MRR_SUM_SQL = " + ".join(mrr_rollforward.MRR_MOVEMENTS)
# Of the stored snapshots alone; `month_snapshots.find_differences` compares them with the ledger.
MRR_ROLLFORWARD_SQL = f"""
    WITH snapshots AS (
        SELECT month, figures
          FROM month_snapshots
         WHERE kind = '{mrr_rollforward.SNAPSHOT_KIND.name}'
    ),
    mrr_months AS (
        SELECT month, currency, opening, closing, {_MRR_SUM_SQL} AS net_movement
          FROM snapshots
         CROSS JOIN jsonb_to_recordset(figures) AS figure(
               currency text, opening bigint, closing bigint, {_MRR_COLUMNS_SQL})
    ),
    currencies AS (
        SELECT DISTINCT currency FROM mrr_months
    ),
    consecutive_months AS (
        SELECT later.month, earlier.month AS month_before
          FROM snapshots later
          JOIN snapshots earlier ON earlier.month = later.month - interval '1 month'
    )
    SELECT to_char(month, 'YYYY-MM ') || currency || ': opening ' || opening
           || ', moved ' || net_movement || ', closing ' || closing
      FROM mrr_months
     WHERE opening + net_movement <> closing
     UNION ALL
    SELECT to_char(pair.month, 'YYYY-MM ') || currencies.currency
           || ': opening ' || coalesce(later.opening, 0)
           || ', the month before closed with ' || coalesce(earlier.closing, 0)
      FROM consecutive_months pair
     CROSS JOIN currencies
      LEFT JOIN mrr_months later
        ON later.month = pair.month AND later.currency = currencies.currency
      LEFT JOIN mrr_months earlier
        ON earlier.month = pair.month_before AND earlier.currency = currencies.currency
     WHERE coalesce(later.opening, 0) <> coalesce(earlier.closing, 0)
     ORDER BY 1
"""  # noqa: S608 - constants only
AUDIT_APPEND_ONLY_SQL = f"""
    SELECT 'audit_entries has lost its trigger, or somebody was granted more'
     WHERE NOT ({audit_log.IS_APPEND_ONLY_SQL})
"""

CHECKS = {
    "posted": (
        "the Stripe end of each transaction's rows is its net, or it waits for its contribution",
        POSTED_SQL,
    ),
    "recorded": ("each row of the books is of a transaction that Stripe gave", RECORDED_SQL),
    "fees": ("the parts of each fee add up to it", FEES_SQL),
    "income": (
        "each charge that moved money is income once, of its amount and frequency, or other income",
        INCOME_SQL,
    ),
    "refunds": (
        "each refund that moved money is booked once, and no payment is given back twice",
        REFUNDS_SQL,
    ),
    "other_income": (
        "what is no contribution moves accounts of its own, and nothing else moves them",
        OTHER_INCOME_SQL,
    ),
    "disputes": ("each disputed amount is of a dispute of that payment", DISPUTES_SQL),
    "payouts": (
        "each payout that is paid is in the bank once, and none is there that is not",
        PAYOUTS_SQL,
    ),
    "payout_composition": (
        "each completed payout is the sum of its transactions, and each of them is here",
        PAYOUT_COMPOSITION_SQL,
    ),
    "suspense": ("what is in suspense has an open alert", SUSPENSE_SQL),
    "corrections": (
        "each correction that was decided is in the books once, and moved no more than stood there",
        correction_checks.CORRECTIONS_SQL,
    ),
    "daily_totals": (daily_totals.CHECK_DESCRIPTION, daily_totals.DIFFERENCES_SQL),
    "balance_rollforward": (
        "in each month what Stripe held at first and all that moved is what it held in the end",
        BALANCE_ROLLFORWARD_SQL,
    ),
    "mrr_rollforward": (
        "recurring revenue of a month and all that changed it is what the next month begins with",
        MRR_ROLLFORWARD_SQL,
    ),
    "deferred_income": (
        "what was paid for several months is earned, given back, or still deferred",
        deferred_income.ROLLFORWARD_SQL,
    ),
    "audit_append_only": (
        "the audit of the staff can be added to and never changed",
        AUDIT_APPEND_ONLY_SQL,
    ),
}
"""The name of a check -> its description, and the query that names what breaks its rule."""
