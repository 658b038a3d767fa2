"""The rules of corrections as SQL: their digest, and what breaks them.

The digest is that of `ledger.corrections`, and the moment a correction occurs that of
`ledger.entries`, written another time so that one does not prove itself.
"""

# Of a correction `correction` and what was decided of it, `decision`: both outer joined.
CORRECTION_DIGEST_SQL = """sha256(convert_to(concat_ws('|', 'c1',
        correction.id, correction.balance_transaction, correction.from_account, correction.debit,
        correction.credit, correction.amount, correction.currency,
        to_char(correction.booked_on, 'YYYY-MM-DD'),
        coalesce(to_char(correction.concerns_month, 'YYYY-MM-DD'), ''),
        CASE WHEN correction.needs_approval THEN 'two' ELSE 'alone' END,
        encode(sha256(convert_to(correction.reason, 'UTF8')), 'hex'),
        to_char(correction.proposed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
        encode(sha256(convert_to(correction.proposed_by, 'UTF8')), 'hex'),
        coalesce(decision.outcome, ''),
        coalesce(to_char(decision.decided_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), ''),
        coalesce(encode(sha256(convert_to(decision.decided_by, 'UTF8')), 'hex'), '')), 'UTF8'))"""
JOIN_CORRECTIONS_SQL = """
          LEFT JOIN corrections correction ON correction.id = e.correction_id
          LEFT JOIN correction_decisions decision ON decision.correction_id = correction.id"""

# What stood in an account of a transaction before each of its corrections: debits less credits.
CORRECTIONS_SQL = """
    WITH decided AS (
        SELECT correction.*,
               decision.outcome,
               decision.decided_by_id,
               CASE WHEN correction.needs_approval
                    THEN coalesce(decision.outcome = 'approved', false)
                    ELSE decision.id IS NULL END AS is_to_be_booked
          FROM corrections correction
          LEFT JOIN correction_decisions decision ON decision.correction_id = correction.id
    ),
    sides AS (
        SELECT e.seq, e.balance_transaction, e.correction_id, side.account, side.amount
          FROM ledger_entries e
         CROSS JOIN LATERAL (VALUES (e.debit, e.amount), (e.credit, -e.amount))
                 AS side(account, amount)
         WHERE e.balance_transaction IN (SELECT balance_transaction FROM corrections)
    ),
    standing AS (
        SELECT seq, account, amount, correction_id,
               sum(amount) OVER (PARTITION BY balance_transaction, account ORDER BY seq) - amount
                   AS before
          FROM sides
    )
    SELECT coalesce(correction.id, 'row ' || e.seq) || ': ' || CASE
               WHEN correction.id IS NULL THEN 'of a correction that is gone'
               WHEN e.seq IS NULL THEN 'decided and not in the books'
               WHEN NOT correction.is_to_be_booked THEN 'in the books and not decided'
               WHEN correction.decided_by_id = correction.proposed_by_id
               THEN 'proposed and approved by one person'
               ELSE 'in the books as something else' END
      FROM decided correction
      FULL JOIN (SELECT * FROM ledger_entries WHERE correction_id IS NOT NULL) e
        ON e.correction_id = correction.id
      LEFT JOIN balance_transactions bt ON bt.id = e.balance_transaction
     WHERE (e.seq IS NOT NULL) IS DISTINCT FROM correction.is_to_be_booked
        OR correction.decided_by_id = correction.proposed_by_id AND correction.outcome = 'approved'
        OR e.seq IS NOT NULL
           AND ((e.balance_transaction, e.debit, e.credit, e.amount, e.currency)
                IS DISTINCT FROM
                (correction.balance_transaction, correction.debit, correction.credit,
                 correction.amount, correction.currency)
                OR e.currency IS DISTINCT FROM bt.currency
                OR e.contribution_id IS NOT NULL
                OR e.occurred_at IS DISTINCT FROM greatest(
                    bt.occurred_at, (correction.booked_on + time '10:00') AT TIME ZONE 'UTC'))
     UNION ALL
    SELECT moved.correction_id || ': ' || abs(moved.amount) || ' of ' || moved.account
           || ', where ' || abs(moved.before) || ' stood'
      FROM standing moved
      JOIN corrections correction ON correction.id = moved.correction_id
     WHERE moved.account = correction.from_account
       AND (moved.before = 0 OR sign(moved.before) = sign(moved.amount)
            OR abs(moved.before) < abs(moved.amount))
     ORDER BY 1
"""
