"""The newsletter box: consent, proof, handing over."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from migrations import words

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

TABLE = "newsletter_signups"
ALARM = "newsletter"
RULES = {
    "sealed_while_live": "(state IN ('asked', 'proved', 'stuck')) = (sealed IS NOT NULL)",
    "hashed_while_sealed": "(sealed IS NULL) = (address_hash IS NULL)",
    "ended_when_over": "(sealed IS NULL) = (ended_at IS NOT NULL)",
    "next_while_proved": "(state = 'proved') = (next_at IS NOT NULL)",
    "proved_before_handed": ("state NOT IN ('proved', 'stuck', 'handed') OR proved_at IS NOT NULL"),
}


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        TABLE,
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                *("asked", "proved", "stuck", "handed", "unwanted", "lost"),
                name="state_is_known",
                native_enum=False,
                create_constraint=True,
                length=40,
            ),
            nullable=False,
        ),
        sa.Column("address_hash", sa.LargeBinary(), nullable=True),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.Column("privacy_version", sa.String(length=64), nullable=False),
        sa.Column("language", sa.String(length=8), nullable=False),
        sa.Column("crowded", sa.Boolean(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("asked_at", moment, nullable=False),
        sa.Column("agreed_at", moment, nullable=False),
        sa.Column("invited_at", moment, nullable=True),
        sa.Column("proved_at", moment, nullable=True),
        sa.Column("trying_since", moment, nullable=True),
        sa.Column("next_at", moment, nullable=True),
        sa.Column("ended_at", moment, nullable=True),
        *(
            sa.CheckConstraint(rule, name=op.f(f"ck_{TABLE}_{name}"))
            for name, rule in RULES.items()
        ),
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{TABLE}")),
    )
    for column in ("address_hash", "asked_at"):
        op.create_index(op.f(f"ix_{TABLE}_{column}"), TABLE, [column])
    op.create_index(
        f"ix_{TABLE}_next_at", TABLE, ["next_at"], postgresql_where=sa.text("state = 'proved'")
    )
    op.create_index(
        f"uq_{TABLE}_asked",
        TABLE,
        ["address_hash"],
        unique=True,
        postgresql_where=sa.text("state = 'asked'"),
    )
    words.allow("alarms", "kind", ALARM)


def downgrade() -> None:
    words.forbid("alarms", "kind", ALARM)
    op.drop_table(TABLE)
