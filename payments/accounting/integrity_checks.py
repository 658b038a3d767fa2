"""What must hold in the books, each as one question to the database that names the rows that break
it. No tolerance, and no arithmetic between two currencies.
"""

from payments.accounting import daily_totals, mrr_rollforward
from payments.ledger import entries

# One of Stripe's balances -> the account that is it. `ledger.chart` says the same; a test compares.
CASH_ACCOUNT_SQL = """CASE coalesce(bt.balance_type, 'payments')
              WHEN 'payments' THEN 'stripe:balance' WHEN 'risk_reserved' THEN 'stripe:reserved'
              WHEN 'refund_and_dispute_prefunding' THEN 'stripe:prefunding'
              WHEN 'issuing' THEN 'stripe:issuing' ELSE 'stripe:held' END"""

# The frozen form of `ledger.chain`, in the database's own words.
CHAIN_SQL = """
    WITH linked AS (
        SELECT seq, hash, balance_transaction, occurred_at,
               coalesce(lag(seq) OVER by_seq, :before_seq) + 1 AS expected,
               coalesce(lag(hash) OVER by_seq, :before) AS previous,
               convert_to(concat_ws('|', 'v1', seq, debit, credit, amount, currency,
                   to_char(occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
                   balance_transaction, coalesce(contribution_id, '')), 'UTF8') AS frozen
          FROM ledger_entries
         WHERE seq > :before_seq OR CAST(:whole AS boolean)
        WINDOW by_seq AS (ORDER BY seq)
    )
    SELECT CASE WHEN seq <> expected THEN 'row ' || expected || ' is missing'
                ELSE 'row ' || seq || ' (' || balance_transaction || ') was changed' END
      FROM linked
     WHERE seq <> expected OR hash <> sha256(previous || frozen)
        OR occurred_at <> date_trunc('second', occurred_at)
     ORDER BY seq
"""
# What was proven once must still be there: it tells when the end of the chain was cut off.
VERIFIED_HEADS_SQL = """
    SELECT 'row ' || h.seq || ', proven on ' || CAST(h.verified_at AS date) || ', '
           || CASE WHEN e.seq IS NULL THEN 'is gone' ELSE 'was changed' END
      FROM verified_heads h LEFT JOIN ledger_entries e USING (seq)
     WHERE e.hash IS DISTINCT FROM h.hash
     ORDER BY h.seq
"""

# The rows in their order, each with the transaction it came from and whose gift that is. A payout's
# arrival is of the day it reached the bank, as `ledger.confirm_payout` has it.
REPLAY_SQL = f"""
    SELECT e.seq, e.debit, e.credit, e.hash, e.balance_transaction, e.contribution_id AS whose,
           bt.type, bt.reporting_category, bt.balance_type, bt.amount, bt.fee, bt.net, bt.fees,
           bt.currency, bt.exchange_rate, i.contribution_id, i.frequency,
           CASE WHEN e.debit IN ('bank', 'in-transit') AND e.credit IN ('bank', 'in-transit')
                THEN greatest(bt.occurred_at,
                              (p.arrives_on + time '{entries.PAYOUT_ARRIVAL_TIME}') AT TIME ZONE 'UTC')
                ELSE bt.occurred_at END AS occurred_at
      FROM ledger_entries e
      LEFT JOIN balance_transactions bt ON bt.id = e.balance_transaction
      LEFT JOIN payouts p ON p.balance_transaction = e.balance_transaction
      LEFT JOIN charges c ON c.stripe_charge_id = bt.charge
      LEFT JOIN payment_intent_links i USING (stripe_payment_intent_id)
     ORDER BY e.seq
"""  # noqa: S608 - our own constant

POSTED_SQL = f"""
    SELECT bt.id || ': net ' || bt.net || ', posted ' || coalesce(sum(CASE
               WHEN e.debit = {CASH_ACCOUNT_SQL} THEN e.amount
               WHEN e.credit = {CASH_ACCOUNT_SQL} THEN -e.amount END), 0)
      FROM balance_transactions bt
      LEFT JOIN ledger_entries e
        ON e.balance_transaction = bt.id AND e.currency = bt.currency
      LEFT JOIN unposted_transactions w ON w.balance_transaction = bt.id
     GROUP BY bt.id, bt.net, w.balance_transaction
    HAVING CASE WHEN w.balance_transaction IS NULL THEN bt.net ELSE 0 END
           <> coalesce(sum(CASE WHEN e.debit = {CASH_ACCOUNT_SQL} THEN e.amount
                                WHEN e.credit = {CASH_ACCOUNT_SQL} THEN -e.amount END), 0)
     ORDER BY bt.id
"""  # noqa: S608 - our own constant
RECORDED_SQL = """
    SELECT DISTINCT e.balance_transaction || ': in the books, and not among what moved at Stripe'
      FROM ledger_entries e LEFT JOIN balance_transactions bt ON bt.id = e.balance_transaction
     WHERE bt.id IS NULL
     ORDER BY 1
"""
FEES_SQL = """
    SELECT bt.id || ': fee ' || bt.fee
      FROM balance_transactions bt
     WHERE bt.fee <> (SELECT coalesce(sum((part ->> 1)::bigint), 0)
                        FROM jsonb_array_elements(bt.fees) AS part)
        OR bt.net <> bt.amount - bt.fee
     ORDER BY bt.id
"""
INCOME_SQL = """
    SELECT coalesce(c.stripe_charge_id, e.balance_transaction) || ': charged '
           || coalesce(c.amount::text, 'nothing') || ', income '
           || coalesce(e.amount::text, 'nothing')
      FROM (SELECT ch.stripe_charge_id, ch.balance_transaction, ch.amount, ch.currency,
                   i.contribution_id, i.frequency
              FROM charges ch
              LEFT JOIN payment_intent_links i USING (stripe_payment_intent_id)
             WHERE ch.status IN ('succeeded', 'returned') AND ch.balance_transaction IS NOT NULL
               AND NOT EXISTS (SELECT 1 FROM unposted_transactions w
                                WHERE w.balance_transaction = ch.balance_transaction)) c
      FULL JOIN (SELECT * FROM ledger_entries WHERE credit LIKE 'income:%') e
        ON e.balance_transaction = c.balance_transaction
      LEFT JOIN balance_transactions bt ON bt.id = e.balance_transaction
     WHERE e.seq IS NULL OR c.stripe_charge_id IS NULL
        OR (e.currency = c.currency AND e.amount <> c.amount) OR e.amount <> bt.amount
        OR e.contribution_id IS DISTINCT FROM c.contribution_id
        OR e.credit <> 'income:' || c.frequency
     ORDER BY 1
"""
REFUNDS_SQL = """
    SELECT coalesce(r.stripe_refund_id, e.balance_transaction) || ': refunded '
           || coalesce(r.amount::text, 'nothing') || ', booked '
           || coalesce(e.amount::text, 'nothing')
      FROM (SELECT m.*
              FROM (SELECT stripe_refund_id, amount, currency, balance_transaction AS moved
                      FROM refunds WHERE balance_transaction IS NOT NULL
                     UNION ALL
                    SELECT stripe_refund_id, amount, currency, failure_balance_transaction
                      FROM refunds WHERE failure_balance_transaction IS NOT NULL) m
              JOIN balance_transactions bt ON bt.id = m.moved
              LEFT JOIN unposted_transactions w ON w.balance_transaction = m.moved
             WHERE w.balance_transaction IS NULL) r
      FULL JOIN (SELECT e.* FROM ledger_entries e
                   JOIN balance_transactions bt ON bt.id = e.balance_transaction
                  WHERE 'refunds' IN (e.debit, e.credit) AND bt.source ~ '^(re|pyr)_') e
        ON e.balance_transaction = r.moved
     WHERE e.seq IS NULL OR r.moved IS NULL OR (e.currency = r.currency AND e.amount <> r.amount)
     UNION ALL
    SELECT c.stripe_charge_id || ': refunded ' || sum(r.amount) || ' of ' || c.amount
      FROM charges c JOIN refunds r USING (stripe_charge_id)
     WHERE r.status NOT IN ('rejected', 'failed', 'canceled')
     GROUP BY c.stripe_charge_id, c.amount HAVING sum(r.amount) > c.amount
     ORDER BY 1
"""
DISPUTES_SQL = """
    SELECT e.balance_transaction || ': of no dispute that is known'
      FROM ledger_entries e
      JOIN balance_transactions bt ON bt.id = e.balance_transaction
      LEFT JOIN disputes d
        ON d.stripe_dispute_id = bt.source AND d.stripe_charge_id = bt.charge
     WHERE 'disputes' IN (e.debit, e.credit) AND d.stripe_dispute_id IS NULL
     ORDER BY e.seq
"""
PAYOUTS_SQL = """
    SELECT coalesce(p.stripe_payout_id, bt.source) || ': ' || coalesce(max(p.status), 'unknown')
           || ', in the bank ' || coalesce(sum(coalesce(p.way, 1)) FILTER (WHERE e.seq > 0), 0)
      FROM (SELECT stripe_payout_id, status, balance_transaction AS moved, 1 AS way FROM payouts
             UNION ALL
            SELECT stripe_payout_id, status, failure_balance_transaction, -1 FROM payouts
             WHERE failure_balance_transaction IS NOT NULL) p
      FULL JOIN (SELECT * FROM ledger_entries WHERE debit IN ('bank', 'in-transit')
                    AND credit IN ('bank', 'in-transit')) e ON e.balance_transaction = p.moved
      LEFT JOIN balance_transactions bt ON bt.id = e.balance_transaction
     GROUP BY coalesce(p.stripe_payout_id, bt.source), bt.source IS NULL AND p.moved IS NULL
    HAVING (max(p.status) = 'paid') IS DISTINCT FROM
           (coalesce(sum(coalesce(p.way, 1)) FILTER (WHERE e.seq > 0), 0) = 1)
     ORDER BY 1
"""
PAYOUT_COMPOSITION_SQL = """
    SELECT t.stripe_payout_id || ': ' || t.balance_transaction || CASE
               WHEN bt.id IS NULL THEN ' is missing'
               WHEN bt.net <> t.net THEN ' is ' || bt.net || ', paid out as ' || t.net
               WHEN t.currency <> p.currency OR bt.currency <> p.currency THEN
                    ' is foreign: ' || bt.currency
               ELSE ' is foreign: in another payout too' END
      FROM payout_transactions t
      JOIN payouts p USING (stripe_payout_id)
      LEFT JOIN balance_transactions bt ON bt.id = t.balance_transaction
     WHERE bt.id IS NULL OR bt.net <> t.net
        OR t.currency <> p.currency OR bt.currency <> p.currency
        OR EXISTS (SELECT 1 FROM payout_transactions o
                    WHERE o.balance_transaction = t.balance_transaction
                      AND o.stripe_payout_id <> t.stripe_payout_id)
     UNION ALL
    SELECT p.stripe_payout_id || ': its transactions are ' || coalesce(sum(t.net), 0)
           || ', paid out ' || p.amount
      FROM payouts p
      LEFT JOIN payout_transactions t ON t.stripe_payout_id = p.stripe_payout_id
                                     AND t.balance_transaction <> p.balance_transaction
     WHERE p.transactions_listed_at IS NOT NULL
     GROUP BY p.stripe_payout_id, p.amount HAVING coalesce(sum(t.net), 0) <> p.amount
     UNION ALL
    SELECT p.stripe_payout_id || ': ' || bt.id || ' took ' || -bt.amount || ', paid out '
           || p.amount
      FROM payouts p JOIN balance_transactions bt ON bt.id = p.balance_transaction
     WHERE bt.amount <> -p.amount OR bt.currency <> p.currency
     ORDER BY 1
"""
SUSPENSE_SQL = """
    SELECT e.balance_transaction || ': ' || e.amount || ' ' || e.currency || ', no open alarm'
      FROM ledger_entries e
     WHERE 'suspense' IN (e.debit, e.credit)
       AND NOT EXISTS (SELECT 1 FROM alerts a
                        WHERE a.kind = 'suspense' AND a.object_id = e.balance_transaction
                          AND a.closed_at IS NULL)
     ORDER BY e.seq
"""
# By month and currency: what the days of the roll-up say moved Stripe's balance, beside what its
# own transactions say. A late row is booked later than its transaction happened.
BALANCE_ROLLFORWARD_SQL = f"""
    WITH mark AS (SELECT last_seq AS seq, zone FROM daily_totals_positions),
    moved AS (
        SELECT CAST(date_trunc('month', day) AS date) AS month, currency,
               sum(CASE debit WHEN 'stripe:balance' THEN amount ELSE -amount END) AS moved
          FROM daily_totals WHERE 'stripe:balance' IN (debit, credit) GROUP BY 1, 2),
    late AS (
        SELECT DISTINCT e.balance_transaction AS id, l.booked_on
          FROM late_entries l JOIN ledger_entries e USING (seq)
         WHERE 'stripe:balance' IN (e.debit, e.credit)),
    came AS (
        SELECT CAST(date_trunc('month', coalesce(CAST(late.booked_on AS timestamp),
                   bt.occurred_at AT TIME ZONE mark.zone)) AS date) AS month, bt.currency,
               sum(bt.net) AS came
          FROM mark CROSS JOIN balance_transactions bt LEFT JOIN late USING (id)
         WHERE {CASH_ACCOUNT_SQL} = 'stripe:balance'
           AND NOT EXISTS (SELECT FROM unposted_transactions w WHERE w.balance_transaction = bt.id)
           AND bt.id NOT IN (SELECT e.balance_transaction FROM ledger_entries e
                              WHERE e.seq > (SELECT seq FROM mark)
                                AND 'stripe:balance' IN (e.debit, e.credit))
         GROUP BY 1, 2),
    months AS (
        SELECT month, currency, coalesce(moved, 0) AS moved, coalesce(came, 0) AS came,
               sum(coalesce(came, 0)) OVER (PARTITION BY currency ORDER BY month) AS closing
          FROM moved FULL JOIN came USING (month, currency))
    SELECT to_char(month, 'YYYY-MM ') || currency || ': opening ' || closing - came || ', moved '
           || moved || ', closing ' || closing
      FROM months WHERE moved <> came AND EXISTS (SELECT FROM mark)
     ORDER BY 1
"""  # noqa: S608 - our own constant
# Only what is kept: whether that is what the rows say is `kept.differences`.
MRR_ROLLFORWARD_SQL = f"""
    WITH months AS (
        SELECT m.month, f.*,
               {" + ".join(f"f.{name}" for name in mrr_rollforward.MRR_MOVEMENTS)} AS moved
          FROM month_snapshots m, jsonb_to_recordset(m.figures) AS f(
               currency text, opening bigint, closing bigint,
               {", ".join(f"{name} bigint" for name in mrr_rollforward.MRR_MOVEMENTS)})
         WHERE m.kind = '{mrr_rollforward.SNAPSHOT_KIND.name}')
    SELECT to_char(month, 'YYYY-MM ') || currency || ': opening ' || opening || ', moved ' || moved
           || ', closing ' || closing
      FROM months WHERE opening + moved <> closing
     UNION ALL
    SELECT to_char(k.month, 'YYYY-MM ') || c.currency || ': opening ' || coalesce(now.opening, 0)
           || ', the month before closed with ' || coalesce(was.closing, 0)
      FROM month_snapshots k
      JOIN month_snapshots b ON b.kind = k.kind AND b.month = k.month - interval '1 month'
     CROSS JOIN (SELECT DISTINCT currency FROM months) c
      LEFT JOIN months now ON now.month = k.month AND now.currency = c.currency
      LEFT JOIN months was ON was.month = b.month AND was.currency = c.currency
     WHERE k.kind = '{mrr_rollforward.SNAPSHOT_KIND.name}'
       AND coalesce(now.opening, 0) <> coalesce(was.closing, 0)
     ORDER BY 1
"""  # noqa: S608 - our own words
AUDIT_APPEND_ONLY_SQL = """
    SELECT 'audit_entries has lost its trigger, or somebody was granted more'
     WHERE has_table_privilege('payments_app', 'audit_entries', 'UPDATE, DELETE, TRUNCATE')
        OR NOT EXISTS (SELECT FROM pg_trigger
                        WHERE tgname = 'append_only' AND tgrelid = 'audit_entries'::regclass
                          AND tgenabled IN ('O', 'A'))
"""

CHECKS = {
    "posted": (
        "the Stripe end of each transaction's rows is its net, or it waits for its contribution",
        POSTED_SQL,
    ),
    "recorded": ("each row of the books is of a transaction that Stripe gave", RECORDED_SQL),
    "fees": ("the parts of each fee add up to it", FEES_SQL),
    "income": (
        "each charge that moved money is income once, of its amount and of its frequency",
        INCOME_SQL,
    ),
    "refunds": (
        "each refund that moved money is booked once, and no payment is given back twice",
        REFUNDS_SQL,
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
    "daily_totals": (daily_totals.CHECK_DESCRIPTION, daily_totals.DIFFERENCES_SQL),
    "balance_rollforward": (
        "in each month what Stripe held at first and all that moved is what it held in the end",
        BALANCE_ROLLFORWARD_SQL,
    ),
    "mrr_rollforward": (
        "recurring revenue of a month and all that changed it is what the next month begins with",
        MRR_ROLLFORWARD_SQL,
    ),
    "audit_append_only": (
        "the audit of the staff can be added to and never changed",
        AUDIT_APPEND_ONLY_SQL,
    ),
}
"""A name -> what holds, and the query that names what does not."""
