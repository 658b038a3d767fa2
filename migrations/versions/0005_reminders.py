"""Reminders: asked for, proved, sent at most once, shredded."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from migrations import words

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

ALARM = "many_reminders"
STATES = (
    *("asked", "watching", "waiting", "sent", "cancelled", "gave", "late", "unwanted"),
    *("replaced", "lost"),
)


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "suppressed_addresses",
        sa.Column("address_hash", sa.LargeBinary(), nullable=False),
        _words("reason", ("asked", "complained", "bounced"), "reason_is_known"),
        sa.Column("since", moment, nullable=False),
        sa.Column("until", moment, nullable=True),
        sa.PrimaryKeyConstraint("address_hash", name=op.f("pk_suppressed_addresses")),
    )
    op.create_table(
        "address_invitations",
        sa.Column("address_hash", sa.LargeBinary(), nullable=False),
        sa.Column("invited_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("address_hash", name=op.f("pk_address_invitations")),
    )
    op.create_index(
        op.f("ix_address_invitations_invited_at"), "address_invitations", ["invited_at"]
    )
    op.create_table(
        "reminder_counts",
        sa.Column("month", sa.Date(), nullable=False),
        _words(
            "step", ("asked", "confirmed", "sent", "opened", "late", "calendar"), "step_is_known"
        ),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.CheckConstraint("number > 0", name=op.f("ck_reminder_counts_number_is_positive")),
        sa.PrimaryKeyConstraint("month", "step", name=op.f("pk_reminder_counts")),
    )
    _reminders()
    words.allow("alarms", "kind", ALARM)


def downgrade() -> None:
    words.forbid("alarms", "kind", ALARM)
    op.drop_table("reminders")
    op.drop_table("reminder_counts")
    op.drop_table("address_invitations")
    op.drop_table("suppressed_addresses")


def _reminders() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "reminders",
        sa.Column("id", sa.String(length=32), nullable=False),
        _words("state", STATES, "state_is_known"),
        sa.Column("address_hash", sa.LargeBinary(), nullable=True),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.Column("proved", sa.Boolean(), nullable=False),
        sa.Column("crowded", sa.Boolean(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("language", sa.String(length=8), nullable=False),
        sa.Column("zone", sa.String(length=64), nullable=False),
        _words("frequency", ("once", "monthly", "annual"), "frequency_is_known", nullable=True),
        sa.Column("amount", sa.BigInteger(), nullable=True),
        sa.Column("currency", sa.String(length=3), nullable=True),
        sa.Column("asked_on", sa.Date(), nullable=False),
        sa.Column("first_on", sa.Date(), nullable=False),
        sa.Column("months", sa.Integer(), nullable=True),
        sa.Column("turns", sa.Integer(), nullable=False),
        sa.Column("turn", sa.Integer(), nullable=False),
        sa.Column("mails", sa.Integer(), nullable=False),
        sa.Column("due_on", sa.Date(), nullable=True),
        sa.Column("contribution_id", sa.String(length=32), nullable=True),
        sa.Column("asked_at", moment, nullable=False),
        sa.Column("invited_at", moment, nullable=True),
        sa.Column("rung_at", moment, nullable=True),
        sa.Column("ended_at", moment, nullable=True),
        *_rules(),
        sa.ForeignKeyConstraint(
            ["contribution_id"],
            ["contributions.id"],
            name=op.f("fk_reminders_contribution_id_contributions"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reminders")),
        sa.UniqueConstraint("contribution_id", name=op.f("uq_reminders_contribution_id")),
    )
    op.create_index(op.f("ix_reminders_address_hash"), "reminders", ["address_hash"])
    op.create_index(op.f("ix_reminders_asked_at"), "reminders", ["asked_at"])
    op.create_index(
        "ix_reminders_due",
        "reminders",
        ["due_on", "id"],
        postgresql_where=sa.text("state = 'waiting'"),
    )
    for state in ("asked", "waiting"):
        op.create_index(
            f"uq_reminders_{state}",
            "reminders",
            ["address_hash"],
            unique=True,
            postgresql_where=sa.text(f"state = '{state}'"),
        )


def _rules() -> list[sa.CheckConstraint]:
    rules = {
        "months_are_1_to_12": "months BETWEEN 1 AND 12",
        "first_is_within_a_year": (
            "first_on > asked_on AND first_on <= asked_on + interval '1 year'"
        ),
        "turns_are_1_or_2": "turns BETWEEN 1 AND 2",
        "turn_is_counted": "turn BETWEEN 0 AND turns AND mails <= turn",
        "due_if_waiting": "(state = 'waiting') = (due_on IS NOT NULL)",
        "sealed_while_live": ("(state IN ('asked', 'watching', 'waiting')) = (sealed IS NOT NULL)"),
        "gift_is_whole": "num_nonnulls(frequency, amount, currency) IN (0, 3)",
        "amount_is_positive": "amount > 0",
        "currency_is_a_code": "currency ~ '^[a-z]{3}$'",
    }
    return [
        sa.CheckConstraint(rule, name=op.f(f"ck_reminders_{name}")) for name, rule in rules.items()
    ]


def _words(
    column: str, words: Sequence[str], name: str, *, nullable: bool = False
) -> sa.Column[str]:
    kind = sa.Enum(*words, name=name, native_enum=False, create_constraint=True, length=40)
    return sa.Column(column, kind, nullable=nullable)
