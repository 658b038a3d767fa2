"""Refunds, disputes and early fraud warnings; the lists of payouts; how far the chain was proven;
and the accounts and alarms that go with them.

What Stripe listed in a payout and what was proven of the chain are kept for ever: they are
append-only as the books are.
"""

import re
from collections.abc import Callable, Collection, Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

ROLE = "payments_app"
APPEND_ONLY = ("payout_transactions", "chain_heads")
# A new account -> the one it comes after in the chart.
ACCOUNTS = {
    "stripe:reserved": "stripe:balance",
    "stripe:prefunding": "stripe:reserved",
    "stripe:issuing": "stripe:prefunding",
    "stripe:held": "stripe:issuing",
    "expense:disputes": "expense:processing",
    "clearing:fx": "expense:fx",
}
ALARMS = (
    *("refund_failed", "disputed", "evidence_due", "dispute_lost", "fraud_warning"),
    *("payout_failed", "endpoint"),
)
RECONCILIATION = ("in_progress", "completed", "not_applicable")


def upgrade() -> None:
    _refunds()
    _disputes()
    _payouts()
    op.create_table(
        "chain_heads",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("proven_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_chain_heads")),
    )
    for table in APPEND_ONLY:
        op.execute(f"""
            CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}
            FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()
        """)
        op.execute(f"REVOKE UPDATE, DELETE, TRUNCATE ON {table} FROM {ROLE}")
    _words("ledger_entries", "debit", "debit_is_an_account", _with_accounts)
    _words("ledger_entries", "credit", "credit_is_an_account", _with_accounts)
    _words("alarms", "kind", "kind_is_known", lambda had: [*had, *ALARMS])


def downgrade() -> None:
    def without(gone: Collection[str]) -> Callable[[list[str]], list[str]]:
        return lambda had: [word for word in had if word not in gone]

    kinds = ", ".join(f"'{kind}'" for kind in ALARMS)
    op.execute(f"DELETE FROM alarms WHERE kind IN ({kinds})")  # noqa: S608 - words of ours
    _words("alarms", "kind", "kind_is_known", without(ALARMS))
    _words("ledger_entries", "credit", "credit_is_an_account", without(ACCOUNTS))
    _words("ledger_entries", "debit", "debit_is_an_account", without(ACCOUNTS))
    op.drop_table("chain_heads")
    op.drop_table("payout_transactions")
    for column in (
        *("listed_at", "failure_code", "failure_balance_transaction", "reconciliation", "method"),
    ):
        op.drop_column("payouts", column)
    op.drop_table("fraud_warnings")
    op.drop_table("disputes")
    op.drop_table("refunds")


def _with_accounts(had: list[str]) -> list[str]:
    """In the order of the chart."""
    words = list(had)
    for word, after in ACCOUNTS.items():
        words.insert(words.index(after) + 1, word)
    return words


def _words(table: str, column: str, check: str, change: Callable[[list[str]], list[str]]) -> None:
    """Say anew which words a column may hold, from those it may hold now."""
    name = f"ck_{table}_{check}"
    found = op.get_bind().scalar(
        sa.text("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = :name"),
        {"name": name},
    )
    assert found is not None
    words = change(re.findall(r"'([^']+)'", found))
    listed = ", ".join(f"'{word}'" for word in words)
    op.drop_constraint(op.f(name), table, type_="check")
    op.create_check_constraint(op.f(name), table, sa.text(f"{column} IN ({listed})"))


def _kind(name: str, words: Sequence[str]) -> sa.Enum:
    return sa.Enum(*words, name=name, native_enum=False, create_constraint=True, length=40)


def _refunds() -> None:
    statuses = (
        *("asked", "refused", "requires_action", "pending", "succeeded", "failed", "canceled"),
    )
    op.create_table(
        "refunds",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("stripe_refund_id", sa.String(length=255), nullable=True),
        sa.Column("stripe_charge_id", sa.String(length=255), nullable=True),
        sa.Column("status", _kind("status_is_known", statuses), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("reason", sa.String(length=64), nullable=True),
        sa.Column("asked_by", sa.String(length=32), nullable=True),
        sa.Column("intent", sa.String(length=64), nullable=True),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("balance_transaction", sa.String(length=255), nullable=True),
        sa.Column("failure_balance_transaction", sa.String(length=255), nullable=True),
        sa.Column("failure_reason", sa.String(length=64), nullable=True),
        sa.Column("synced_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("amount > 0", name=op.f("ck_refunds_amount_is_positive")),
        sa.CheckConstraint("currency ~ '^[a-z]{3}$'", name=op.f("ck_refunds_currency_is_a_code")),
        sa.ForeignKeyConstraint(["asked_by"], ["staff.id"], name=op.f("fk_refunds_asked_by_staff")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_refunds")),
        sa.UniqueConstraint("intent", name=op.f("uq_refunds_intent")),
        sa.UniqueConstraint("stripe_refund_id", name=op.f("uq_refunds_stripe_refund_id")),
    )
    op.create_index(op.f("ix_refunds_asked_at"), "refunds", ["asked_at"])
    op.create_index(op.f("ix_refunds_stripe_charge_id"), "refunds", ["stripe_charge_id"])


def _disputes() -> None:
    statuses = (
        *("warning_needs_response", "warning_under_review", "warning_closed", "needs_response"),
        *("under_review", "appeal_needs_response", "appeal_under_review", "prevented", "won"),
        "lost",
    )
    op.create_table(
        "disputes",
        sa.Column("stripe_dispute_id", sa.String(length=255), nullable=False),
        sa.Column("stripe_charge_id", sa.String(length=255), nullable=False),
        sa.Column("status", _kind("status_is_known", statuses), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("reason", sa.String(length=64), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("evidence_due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("answered", sa.Boolean(), nullable=False),
        sa.Column("refundable", sa.Boolean(), nullable=False),
        sa.Column("synced_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("amount > 0", name=op.f("ck_disputes_amount_is_positive")),
        sa.CheckConstraint("currency ~ '^[a-z]{3}$'", name=op.f("ck_disputes_currency_is_a_code")),
        sa.PrimaryKeyConstraint("stripe_dispute_id", name=op.f("pk_disputes")),
    )
    op.create_index(op.f("ix_disputes_opened_at"), "disputes", ["opened_at"])
    op.create_index(op.f("ix_disputes_stripe_charge_id"), "disputes", ["stripe_charge_id"])
    op.create_table(
        "fraud_warnings",
        sa.Column("stripe_warning_id", sa.String(length=255), nullable=False),
        sa.Column("stripe_charge_id", sa.String(length=255), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("actionable", sa.Boolean(), nullable=False),
        sa.Column("warned_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("synced_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("stripe_warning_id", name=op.f("pk_fraud_warnings")),
    )
    op.create_index(op.f("ix_fraud_warnings_warned_at"), "fraud_warnings", ["warned_at"])
    op.create_index(
        op.f("ix_fraud_warnings_stripe_charge_id"), "fraud_warnings", ["stripe_charge_id"]
    )


def _payouts() -> None:
    """What was written before is `in_progress`: its list is fetched when it is next looked at."""
    method = sa.Column("method", sa.String(length=40), server_default="standard", nullable=False)
    op.add_column("payouts", method)
    op.add_column(
        "payouts",
        sa.Column(
            "reconciliation",
            _kind("reconciliation_is_known", RECONCILIATION),
            server_default="in_progress",
            nullable=False,
        ),
    )
    op.add_column(
        "payouts", sa.Column("failure_balance_transaction", sa.String(length=255), nullable=True)
    )
    op.add_column("payouts", sa.Column("failure_code", sa.String(length=64), nullable=True))
    op.add_column("payouts", sa.Column("listed_at", sa.DateTime(timezone=True), nullable=True))
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
    )
